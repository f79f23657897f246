"""Time against *measured* error, ours beside scikit-learn's: ``python -m benchmarks.accuracy``, about a minute.

Every point is one call: its fewest seconds over rounds, and the relative error of its result against a reference that
is computed another way, in digits that float64 holds::

    sparse    one ridge fit, CSR 5000 × 2000, 1 %    against the normal equations, factored; tolerances 1e-2 .. 1e-10
    dense     one ridge fit, 2000 × 500              against numpy's least squares of the rows with √λ I below them
    kernel    one kernel ridge fit, n = 1500         against an eigendecomposition of K by numpy
    left out  errors of 30 penalties, 300 × 40       against as many refits as there are samples and penalties

The command rewrites ``docs/measured/curves.md`` and ``curves.png``. One thread for BLAS and OpenMP.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, KFold
from threadpoolctl import threadpool_info, threadpool_limits

import fastdistill as fd
from benchmarks import REDUCED
from benchmarks.limits import seconds

MEASURED = Path(__file__).parents[1] / "docs" / "measured"
TOLERANCES = tuple(10.0**-k for k in range(2, 11, 2))
ROUNDS = 2 if REDUCED else 5
LEAST = 1e-17  # a relative error of zero has no place on a logarithmic axis


class Point(NamedTuple):
    """One call of a job: who, how exactly (a tolerance, a number of folds), its seconds and its error."""

    job: str
    who: str
    setting: str
    seconds: float
    error: float


Call = Callable[[], np.ndarray]


def relative_error(found: np.ndarray, reference: np.ndarray) -> float:
    """‖found − reference‖ / ‖reference‖."""
    return max(float(np.linalg.norm(found - reference) / np.linalg.norm(reference)), LEAST)


def points(job: str, calls: dict[tuple[str, str], Call], reference: np.ndarray) -> Iterator[Point]:
    """All calls of a job, round by round in turn."""
    errors = {key: relative_error(call(), reference) for key, call in calls.items()}  # also warms up
    spent: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(ROUNDS):
        for key, call in calls.items():
            spent[key].append(seconds(call))
    for key in calls:
        yield Point(job, *key, min(spent[key]), errors[key])


def sparse_job() -> Iterator[Point]:
    """Tolerances of iterative solvers; alpha = 1 of columns of unit size."""
    n, p = (500, 200) if REDUCED else (5000, 2000)
    rng = np.random.default_rng(0)
    X = scipy.sparse.random(n, p, density=0.01, format="csr", random_state=0, data_rvs=rng.standard_normal)
    y = X @ rng.standard_normal(p) + 0.1 * rng.standard_normal(n)
    normal = (X.T @ X + scipy.sparse.identity(p)).tocsc()
    reference = scipy.sparse.linalg.spsolve(normal, X.T @ y)

    def theirs(solver: str, tol: float) -> Call:
        model = Ridge(1.0, fit_intercept=False, solver=solver, tol=tol, max_iter=10_000, random_state=0)
        return lambda: model.fit(X, y).coef_

    def ours(tol: float) -> Call:
        model = fd.DistilledRidge(1.0, n_steps=0, fit_intercept=False, solver="krylov", tol=tol)
        return lambda: model.fit(X, y).coef_

    calls = {("fastdistill, krylov", f"{tol:g}"): ours(tol) for tol in TOLERANCES}
    for solver in ("sparse_cg", "lsqr", "sag"):
        calls |= {(f"Ridge, {solver}", f"{tol:g}"): theirs(solver, tol) for tol in TOLERANCES}
    yield from points("sparse", calls, reference)


def dense_job() -> Iterator[Point]:
    n, p = (200, 50) if REDUCED else (2000, 500)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.logspace(0, -1, p)
    y = X @ rng.standard_normal(p) + 0.1 * rng.standard_normal(n)
    rows, targets = np.vstack([X, np.sqrt(1e-3) * np.eye(p)]), np.concatenate([y, np.zeros(p)])
    reference = np.linalg.lstsq(rows, targets, rcond=None)[0]
    calls: dict[tuple[str, str], Call] = {
        ("fastdistill, auto", ""): lambda: fd.DistilledRidge(1e-3, n_steps=0, fit_intercept=False).fit(X, y).coef_,
        ("fastdistill, 50 penalties × 4 students", ""): lambda: _path(X, y)[0],
    }
    for solver in ("cholesky", "svd"):
        calls[f"Ridge, {solver}", ""] = _ridge(X, y, solver, 1e-4)
    calls |= {("Ridge, lsqr", f"{tol:g}"): _ridge(X, y, "lsqr", tol) for tol in TOLERANCES}
    yield from points("dense", calls, reference)


def _ridge(X: np.ndarray, y: np.ndarray, solver: str, tol: float) -> Call:
    model = Ridge(1e-3, fit_intercept=False, solver=solver, tol=tol, max_iter=10_000)
    return lambda: model.fit(X, y).coef_


def _path(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients of a whole path, ridge of the penalty 1e-3 first."""
    lam = np.concatenate([[1e-3], np.logspace(-2, 3, 49)])
    return fd.Spectrum.from_design(X).path(y, lam, 1.0, 3).coef[:, 0]


def kernel_job() -> Iterator[Point]:
    n = 200 if REDUCED else 1500
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 5))
    K, y = rbf_kernel(X, gamma=0.1), np.sin(X[:, 0]) + 0.1 * rng.standard_normal(n)
    d, U = np.linalg.eigh(K)
    reference = K @ (U @ ((U.T @ y) / (d + 1.0)))
    calls: dict[tuple[str, str], Call] = {
        ("fastdistill, auto", ""): lambda: _fits(K, y, "auto", 1e-8),
        ("KernelRidge", ""): lambda: K @ KernelRidge(alpha=1.0, kernel="precomputed").fit(K, y).dual_coef_,
    }
    calls |= {("fastdistill, krylov", f"{tol:g}"): _krylov_fits(K, y, tol) for tol in TOLERANCES}
    yield from points("kernel", calls, reference)


def _fits(K: np.ndarray, y: np.ndarray, solver: str, tol: float) -> np.ndarray:
    return fd.Spectrum.from_kernel(K, solver=solver, tol=tol).path(y, 1.0, []).fitted[0]


def _krylov_fits(K: np.ndarray, y: np.ndarray, tol: float) -> Call:
    return lambda: _fits(K, y, "krylov", tol)


def left_out_job() -> Iterator[Point]:
    """The leave-one-out curve, and folds that stand in for it."""
    n, p, lam = 60 if REDUCED else 300, 40, np.logspace(-2, 3, 30)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    y = X @ rng.standard_normal(p) + 3.0 * rng.standard_normal(n)
    reference = np.array([_refitted(X, y, alpha) for alpha in lam])

    def folds(count: int) -> Call:
        search = GridSearchCV(Ridge(), {"alpha": lam}, cv=KFold(count), scoring="neg_mean_squared_error")
        return lambda: -search.fit(X, y).cv_results_["mean_test_score"]

    def ridge_cv() -> np.ndarray:
        return RidgeCV(lam, store_cv_results=True).fit(X, y).cv_results_.mean(axis=0)

    calls: dict[tuple[str, str], Call] = {
        ("fastdistill", ""): lambda: fd.Spectrum.from_design(X, fit_intercept=True).path(y, lam, []).loo_mse[:, 0],
        ("RidgeCV", ""): ridge_cv,
    }
    calls |= {("GridSearchCV, folds", f"{count}"): folds(count) for count in (3, 5, 10, 20)}
    yield from points("left out", calls, reference)


def _refitted(X: np.ndarray, y: np.ndarray, alpha: float) -> float:
    """The leave-one-out error by as many refits as there are samples."""
    squares = []
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        model = Ridge(alpha, solver="svd").fit(X[others], y[others])
        squares.append((model.predict(X[i : i + 1])[0] - y[i]) ** 2)
    return float(np.mean(squares))


JOBS = {
    "sparse": (sparse_job, "One ridge fit, CSR 5000 × 2000, 1 %"),
    "dense": (dense_job, "One ridge fit, 2000 × 500"),
    "kernel": (kernel_job, "One kernel ridge fit, n = 1500"),
    "left out": (left_out_job, "Leave-one-out errors of 30 penalties, 300 × 40"),
}


def conditions() -> list[str]:
    """Versions, and how the peers were built."""
    names = ("fastdistill", "numpy", "scipy", "scikit-learn", "numba")
    compilers: Any = np.show_config(mode="dicts")
    c, simd = compilers["Compilers"]["c"], compilers["SIMD Extensions"]
    blas = {f"{each['internal_api']} {each['version']} ({each.get('architecture', '')})" for each in threadpool_info()}
    return [
        ", ".join(f"{name} {version(name)}" for name in names),
        f"BLAS and OpenMP, one thread: {', '.join(sorted(blas))}",
        f"numpy built by {c['name']} {c['version']}; SIMD found: {', '.join(simd.get('found', ())) or 'baseline only'}",
        f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, {datetime.date.today()}",
    ]


def table(found: list[Point]) -> str:
    lines = ["| job | who | setting | time | measured error |", "|---|---|---|---|---|"]
    for point in found:
        title = JOBS[point.job][1]
        time = f"{1e3 * point.seconds:.3g} ms"
        lines.append(f"| {title} | {point.who} | {point.setting} | {time} | {point.error:.1e} |")
    return "\n".join(lines)


def draw(found: list[Point], file: Path) -> None:
    """A panel for each job: seconds against error, a line for each method."""
    from fastdistill.pages import figures

    figure, axes = figures.panels(2, 2, 11.0, 8.0)
    for ax, (job, (_, title)) in zip(axes, JOBS.items(), strict=True):
        own = [point for point in found if point.job == job]
        methods = list(dict.fromkeys(point.who for point in own))
        ours, theirs = iter((figures.BLUE, figures.SKY)), iter((figures.ORANGE, figures.GREEN, figures.PINK))
        for who in methods:
            line = [(point.error, point.seconds) for point in own if point.who == who]
            is_ours = who.startswith("fastdistill")
            mark, colour = ("o-", next(ours)) if is_ours else ("s--", next(theirs))
            ax.loglog(*zip(*line, strict=True), mark, color=colour, markersize=5, label=who)
        ax.invert_xaxis()
        figures.label(ax, title, "measured relative error, smaller to the right", "seconds")
        ax.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=110)


def main() -> None:
    with threadpool_limits(1):
        found = [point for measure, _ in JOBS.values() for point in measure()]
        where = conditions()
    text = "\n".join([table(found), "", *(f"* {line}" for line in where)]) + "\n"
    print(text)
    (MEASURED / "curves.md").write_text(text, encoding="utf-8")
    draw(found, MEASURED / "curves.png")


if __name__ == "__main__":
    main()
