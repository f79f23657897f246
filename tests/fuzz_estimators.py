"""Random problems through the estimators, leave-one-out, batches and classifiers, against naive refits.

``python tests/fuzz_estimators.py --count 10000 --seed 0`` compares every problem with the twins in ``oracle.py`` and
prints the problems and the worst relative error of each kind. After a failure it ends with 1, and prints the problem
and its seed, with which ``--count 1 --seed SEED`` repeats it.

Tolerances. Both sides are stable: each solves a problem whose rows are off by ε = u (n + p) (‖X‖ + √λ), X being the
weighted rows before centring, √λ the rows that the twin's least squares adds, and u the unit of rounding (that of
float32 where X is). Let σ² = s² + λ with s the smallest singular value of the centred rows, so that
‖(XᵀX + λ)⁻¹‖ = 1/σ² and ‖(XᵀX + λ)⁻¹Xᵀ‖ <= 1/σ. With the targets of a step at most g ‖y‖,
g_t = |1 − ξ_t| + |ξ_t| g_{t−1}, a step then moves, to first order in ε,

    coefficients        by 2 ε g ‖y‖ / σ²,
    fitted values       by 2 ε g ‖y‖ / σ             (weighted norm),
    leave-one-out       by 2 ε g ‖y‖ ‖x‖ / σ²        (σ of the samples that are left, x the sample, for the refit) and
                           (2 ε g ‖y‖ / σ) / √w (1 − h)  (of all samples, from which one of weight w is taken out;
                           1 / (1 − h) <= 1 + w (‖x‖² / σ² + 1 / Σ w), the last term with an intercept),
    normal equations    by 2 ε g ‖y‖ ‖X‖ / σ³        (coefficients of `batched_path`; the Gram matrix is rounded)
    kernels             by u n κ g ‖y‖               (κ the condition of K + λ W⁻¹, with √(max w / min w) beside it),

and steps add up. `FACTOR` times this is allowed. Where it is above `UNDECIDED` of the size of the targets (in units of
the quantity), rounding may decide the answer, and the problem is counted as undecided.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script would find its own folder only

import fastdistill as fd
from tests import oracle

FACTOR = 10.0
UNDECIDED = 1e-2
FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "dense": np.ascontiguousarray,
    "csr": sp.csr_array,
    "float32": lambda X: X.astype(np.float32),
    "fortran": np.asfortranarray,
}


@dataclass
class Problem:
    """A drawn problem; the numbers of X are those that its form holds."""

    kind: str
    form: str
    X: np.ndarray
    y: np.ndarray  # (n, m)
    weight: np.ndarray | None
    fit_intercept: bool
    lam: float
    xi: np.ndarray
    kernel: str

    def __str__(self) -> str:
        n, p = self.X.shape
        return (
            f"{self.kind}, X {self.form} ({n}, {p}) of size {np.abs(self.X).max():.3g}, {self.y.shape[1]} targets, "
            f"weights {None if self.weight is None else self.weight.tolist()}, fit_intercept={self.fit_intercept}, "
            f"lam={self.lam!r}, xi={self.xi.tolist()}, kernel={self.kernel}"
        )

    @property
    def options(self) -> dict[str, Any]:
        return {"fit_intercept": self.fit_intercept, "sample_weight": self.weight}

    @property
    def given(self) -> Any:
        """X as it is passed on."""
        return FORMS[self.form](self.X)

    @property
    def unit(self) -> float:
        return float(np.finfo(np.float32 if self.form == "float32" else np.float64).eps)


@dataclass
class Found:
    """What a run of one kind found."""

    count: int = 0
    undecided: int = 0
    error: float = 0.0
    share: float = 0.0  # of the tolerance
    failures: list[str] = field(default_factory=list)


def draw(kind: str, rng: np.random.Generator) -> Problem:
    """A problem of a kind."""
    n, p, m = int(rng.integers(2, 41)), int(rng.integers(1, 21)), int(rng.choice([1, 1, 2, 3]))
    if kind == "leave-one-out":
        n = int(rng.integers(4, 15))
    X = rng.standard_normal((n, p)) + (rng.standard_normal(p) if rng.random() < 0.5 else 0.0)
    structure = rng.choice(["full", "full", "rank", "rows", "sparse"])
    if structure == "rank":
        r = int(rng.integers(1, p + 1))
        X = X[:, :r] @ rng.standard_normal((r, p))
    elif structure == "rows":
        X = X[rng.integers(0, max(1, n // 2), n)]
    elif structure == "sparse":
        X = X * (rng.random((n, p)) < 0.4)
    X = X * 10.0 ** rng.uniform(-1, 1, p) * 10.0 ** rng.uniform(-6, 6)
    form = "dense" if kind in ("batch", "kernel") else str(rng.choice(list(FORMS)))
    if form == "float32":
        X = X.astype(np.float32).astype(np.float64)
    weight = None
    if rng.random() < 0.6:
        weight = 10.0 ** rng.uniform(-1, 1, n)
        if rng.random() < 0.3:
            weight[rng.integers(n)] *= 1e4
        if n > 4 and rng.random() < 0.5:
            weight[rng.choice(n, int(rng.integers(1, n - 3)), replace=False)] = 0.0
    y = X @ rng.standard_normal((p, m)) / max(np.abs(X).max(), 1e-300) + rng.standard_normal((n, m))
    if kind == "classifier":
        m = 1
        y = rng.integers(0, 2, (n, 1)) * 2.0 - 1.0
        used = np.flatnonzero(np.ones(n) if weight is None else weight)
        y[used[:2], 0] = 1.0, -1.0
    lam, xi = 10.0 ** rng.uniform(-10, 10), rng.uniform(-2, 2, int(rng.integers(0, 5)))
    if kind == "kernel":
        X = X / np.abs(X).max() if X.any() else X
    kernel = str(rng.choice(["rbf", "linear"])) if kind == "kernel" else "none"
    return Problem(kind, form, X, y, weight, bool(rng.integers(2)), lam, xi, kernel)


def growth(xi: np.ndarray) -> float:
    """Σ_t g_t, an upper bound of what the targets of all steps add up to, over ‖y‖."""
    of_step, total = 1.0, 1.0
    for step in xi:
        of_step = abs(1.0 - step) + abs(step) * of_step
        total += max(1.0, abs(step)) * of_step
    return total * max(1.0, float(np.prod(np.maximum(1.0, np.abs(xi)))))


def rounding(problem: Problem, kept: np.ndarray | None = None) -> tuple[float, float, float, float]:
    """(2 ε g, σ, ‖X‖, ‖y‖) of the samples kept, weighted; see the top of this file."""
    rows, y = problem.X, problem.y
    w = np.ones(len(rows)) if problem.weight is None else problem.weight
    if kept is not None:
        rows, y, w = rows[kept], y[kept], w[kept]
    rows, y, w = rows[w > 0], y[w > 0], w[w > 0]
    root = np.sqrt(w)[:, None]
    centred = rows - w @ rows / w.sum() if problem.fit_intercept else rows
    values = np.linalg.svd(root * centred, compute_uv=False)
    free = len(w) - problem.fit_intercept
    least = values[rows.shape[1] - 1] if rows.shape[1] <= free else 0.0
    size = float(np.linalg.norm(root * rows))
    epsilon = problem.unit * sum(problem.X.shape) * (size + np.sqrt(problem.lam))
    sigma = float(np.sqrt(least**2 + problem.lam))
    return 2.0 * epsilon * growth(problem.xi), sigma, size, float(np.linalg.norm(root * y))


def linear(problem: Problem) -> tuple[float, float, float]:
    """(error, tolerance, size) of the coefficients, in targets per σ, and of the fitted values of `DistilledRidge`."""
    twin = oracle.students(problem.X, problem.y, problem.lam, problem.xi, kernel=False, **problem.options)
    model = fd.DistilledRidge(problem.lam, problem.xi, None, problem.fit_intercept)
    model.fit(problem.given, problem.y, problem.weight)
    moved, sigma, size, targets = rounding(problem)
    root = np.sqrt(np.ones(len(problem.X)) if problem.weight is None else problem.weight)[:, None]
    fitted = np.asarray(model.predict(problem.given), dtype=float).reshape(problem.y.shape)
    apart = np.linalg.norm(root * (fitted - twin.fitted[-1]))
    coef = np.linalg.norm(np.asarray(model.coef_, dtype=float).reshape(problem.y.shape[1], -1).T - twin.parameters[-1])
    if problem.unit > 1e-10:  # coefficients are rounded to float32, which moves every prediction by so much
        moved += problem.unit * size * growth(problem.xi)
    tolerance = moved / sigma * targets + problem.unit * 4.0 * np.linalg.norm(root * twin.fitted[-1])
    return max(apart, coef * sigma), tolerance, targets


def leave_one_out(problem: Problem) -> tuple[float, float, float]:
    """The same for predictions of each sample by students that were trained without it."""
    n = len(problem.X)
    w = np.ones(n) if problem.weight is None else problem.weight
    if np.count_nonzero(w) < 3:
        return 0.0, np.inf, 1.0
    twin = oracle.leave_one_out(problem.X, problem.y, problem.lam, problem.xi, kernel=False, **problem.options)
    S = fd.Spectrum.from_design(problem.given, problem.fit_intercept, problem.weight)
    found = S.path(problem.y, problem.lam, problem.xi).loo
    error, tolerance, size = 0.0, 0.0, float(np.linalg.norm(problem.y))
    moved_all, sigma_all, _, targets_all = rounding(problem)
    for i in range(n):
        rest = np.delete(np.arange(n), i)
        moved, sigma, _, targets = rounding(problem, rest)
        away = problem.X[i] - (w[rest] @ problem.X[rest] / w[rest].sum() if problem.fit_intercept else 0.0)
        square = float(away @ away)
        refitted = moved * (np.sqrt(square) + np.abs(problem.X).max()) / sigma**2 * targets
        taken_out = 0.0
        if w[i] > 0:
            larger = 1.0 + w[i] * (square / sigma**2 + problem.fit_intercept / w[rest].sum())
            of_all = moved_all / sigma_all * targets_all / np.sqrt(w[i])
            taken_out = larger * (of_all + problem.unit * 8.0 * growth(problem.xi) * size)
        error = max(error, float(np.linalg.norm(found[-1, i] - twin[-1, i])))
        tolerance = max(tolerance, refitted + taken_out + problem.unit * 8.0 * size)
    return error, tolerance, size


def kernel(problem: Problem) -> tuple[float, float, float]:
    """The same for the fitted values of `DistilledKernelRidge`."""
    X = problem.X
    K = X @ X.T if problem.kernel == "linear" else oracle.rbf(X, X, 0.5)
    twin = oracle.students(K, problem.y, problem.lam, problem.xi, kernel=True, **problem.options)
    model = fd.DistilledKernelRidge(
        problem.lam, problem.xi, None, kernel="precomputed", fit_intercept=problem.fit_intercept
    )
    model.fit(K, problem.y, problem.weight)
    w = np.ones(len(K)) if problem.weight is None else problem.weight
    used = w > 0
    root = np.sqrt(w[used])[:, None]
    condition = np.linalg.cond(K[np.ix_(used, used)] + np.diag(problem.lam / w[used]))
    condition *= np.sqrt(w[used].max() / w[used].min())
    found = np.asarray(model.predict(K), dtype=float).reshape(problem.y.shape)
    error = np.linalg.norm(root * (found - twin.fitted[-1])[used])
    targets = np.linalg.norm(root * problem.y[used])
    return error, problem.unit * len(K) * condition * growth(problem.xi) * targets, targets


def batch(problem: Problem) -> tuple[float, float, float]:
    """The same for the coefficients of `batched_path`, in targets per σ; the second problem has its rows reversed."""
    twin = oracle.students(problem.X, problem.y, problem.lam, problem.xi, kernel=False, **problem.options)
    w = None if problem.weight is None else np.stack([problem.weight, problem.weight[::-1]])
    found = fd.batched_path(
        np.stack([problem.X, problem.X[::-1]]),
        np.stack([problem.y, problem.y[::-1]]),
        problem.lam,
        problem.xi,
        fit_intercept=problem.fit_intercept,
        sample_weight=w,
    )
    moved, sigma, size, targets = rounding(problem)
    error = max(float(np.linalg.norm(found.coef[b] - twin.parameters, axis=(1, 2)).max()) for b in range(2))
    return error * sigma, moved * size / sigma**2 * targets + moved / sigma * targets, targets


def classifier(problem: Problem) -> tuple[float, float, float]:
    """The same for the decision values of `DistilledRidgeClassifier`."""
    twin = oracle.students(problem.X, problem.y, problem.lam, problem.xi, kernel=False, **problem.options)
    labels = np.where(problem.y[:, 0] > 0, "yes", "no")
    model = fd.DistilledRidgeClassifier(problem.lam, problem.xi, None, problem.fit_intercept)
    found = model.fit(problem.given, labels, problem.weight).decision_function(problem.given)
    moved, sigma, size, targets = rounding(problem)
    root = np.sqrt(np.ones(len(problem.X)) if problem.weight is None else problem.weight)
    if problem.unit > 1e-10:
        moved += problem.unit * size * growth(problem.xi)
    error = np.linalg.norm(root * (np.asarray(found, dtype=float) - twin.fitted[-1, :, 0]))
    return error, moved / sigma * targets + problem.unit * 4.0 * np.linalg.norm(root * twin.fitted[-1, :, 0]), targets


KINDS: dict[str, Callable[[Problem], tuple[float, float, float]]] = {
    "linear": linear,
    "leave-one-out": leave_one_out,
    "kernel": kernel,
    "batch": batch,
    "classifier": classifier,
}


def fuzz(count: int, seed: int) -> dict[str, Found]:
    """`count` problems, of the seeds from `seed` on, each of the kind that its seed names."""
    found = {kind: Found() for kind in KINDS}
    for one in range(seed, seed + count):
        kind = list(KINDS)[one % len(KINDS)]
        problem, at = draw(kind, np.random.default_rng(one)), found[kind]
        at.count += 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "Rounding of K hides", RuntimeWarning)
            try:
                error, tolerance, size = KINDS[kind](problem)
            except Exception as err:  # whatever is raised is a finding
                at.failures.append(f"seed {one}: {type(err).__name__}: {err}; {problem}")
                continue
        if FACTOR * tolerance > UNDECIDED * size:
            at.undecided += 1
            continue
        at.error = max(at.error, error / size)
        at.share = max(at.share, error / (FACTOR * tolerance))
        if not error <= FACTOR * tolerance:
            off = f"{error / size:.3g} of the targets, {FACTOR * tolerance / size:.3g} allowed"
            at.failures.append(f"seed {one}: {off}; {problem}")
    return found


def main() -> int:
    """Command line: print what was found, 1 on a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found = fuzz(arguments.count, arguments.seed)
    print(f"{arguments.count} problems from seed {arguments.seed}")
    for kind, at in found.items():
        print(
            f"{kind}: {at.count} problems, {at.undecided} undecided by rounding, worst relative error {at.error:.2g}, "
            f"at most {at.share:.2g} of what is allowed, {len(at.failures)} failures"
        )
    failures = [line for at in found.values() for line in at.failures]
    print(*failures[:10], sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
