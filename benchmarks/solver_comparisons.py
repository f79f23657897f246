"""Tasks of the solvers, in the form of `benchmarks.comparisons`: fits of one penalty, sweeps without eigenvectors.

A fit answers its first student, plain ridge (``ridge``), and its last (``student``), which refits need all others for.

========================  ==========================================================================================
task                      twins of fastdistill
========================  ==========================================================================================
kernel_fit                the estimator (last student); ``KernelRidge`` once (ridge); its refits
design_fit                the estimator (last student); ``Ridge`` once (ridge); its refits
design_fit_targets        the same, of many targets
wide_fit                  the same, of more features than samples
sparse_fit                the same, CSR with an intercept; dense normal equations in NumPy
one_hot_fit               the same of categories: four ones a row, columns that add up to the intercept
sparse_sweep              ``Ridge`` refits of each penalty
kernel_sweep_tridiagonal  ``solver="eigh"``, one eigendecomposition; ``numpy.linalg.solve`` of the smoother itself
========================  ==========================================================================================

scikit-learn fits sparse designs by conjugate gradients, to the relative residual `TOL`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks.problems import Answers, Setup, chain, gaussian_kernel

# samples
KERNEL_FIT_SIZES = {"small": 60, "medium": 500, "full": 3000}
# samples, features, targets; 0 is one target without an axis
DESIGN_FIT_SIZES = {"small": (80, 8, 0), "medium": (2000, 100, 0), "full": (100_000, 50, 0)}
TARGETS_SIZES = {"small": (80, 8, 5), "medium": (500, 50, 100), "full": (2000, 100, 300)}
WIDE_SIZES = {"small": (20, 120, 0), "medium": (200, 4000, 0), "full": (300, 20_000, 0)}
# samples, features
SPARSE_FIT_SIZES = {"small": (200, 80), "medium": (2000, 800), "full": (5000, 2000)}
# samples, categories of each variable
ONE_HOT_SIZES = {
    "small": (120, (3, 5, 8, 24)),
    "medium": (1000, (10, 25, 65, 150)),
    "full": (4000, (50, 100, 250, 600)),
}
# samples, features, penalties
SPARSE_SWEEP_SIZES = {"small": (100, 200, 3), "medium": (1000, 4000, 6), "full": (5000, 20_000, 20)}
# samples, penalties, steps
SWEEP_SIZES = {"small": (60, 4, 3), "medium": (500, 10, 5), "full": (2000, 50, 20)}

PENALTY = 1.0
KERNEL_WEIGHTS = np.array([0.8, 0.5, -0.5])
WEIGHTS = np.array([0.6])  # of one step
SWEEP_WEIGHTS = np.array([0.6, -0.5])
STORED, SWEEP_STORED = 0.01, 0.002
TOL = 1e-11


class Fit(NamedTuple):
    """A design (n, p), dense or CSR, and targets (n,) or (n, m)."""

    X: Any
    y: np.ndarray


def design_of(n: int, p: int, m: int = 0) -> Fit:
    """Columns of several sizes and far from zero, and m targets."""
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, p)) * np.logspace(0, -1, p) + 1.0
    truth = rng.standard_normal((p, m) if m else p) / p**0.5
    y = X @ truth
    return Fit(X, y + rng.standard_normal(y.shape))


def sparse_of(n: int, p: int, stored: float = STORED) -> Fit:
    """A CSR design with so much of its values stored; columns and rows may be empty."""
    from scipy.sparse import csr_array, random_array

    rng = np.random.default_rng(n)
    X = csr_array(random_array((n, p), density=stored, rng=rng, data_sampler=rng.standard_normal))
    return Fit(X, X @ rng.standard_normal(p) + 3.0 + rng.standard_normal(n))


def one_hot_of(n: int, categories: tuple[int, ...]) -> Fit:
    """A CSR design with one column for every category of some variables; the columns of each add up to one."""
    from scipy.sparse import csr_array

    rng = np.random.default_rng(n)
    starts = np.cumsum((0, *categories[:-1]))
    columns = np.stack([rng.integers(0, count, n) for count in categories], axis=1) + starts
    indices, indptr = columns.ravel().astype(np.int32), np.arange(n + 1, dtype=np.int32) * len(categories)
    X = csr_array((np.ones(indices.size), indices, indptr), (n, sum(categories)))
    return Fit(X, X @ rng.standard_normal(sum(categories)) + 3.0 + rng.standard_normal(n))


def kernel_fit_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    K, y = gaussian_kernel(KERNEL_FIT_SIZES[size])

    def answer() -> Answers:
        duals = fd.Spectrum.from_kernel(K).path(y, PENALTY, KERNEL_WEIGHTS).dual_coef
        return {"duals": duals, "ridge": duals[0], "student": duals[-1]}

    return answer


def kernel_fit_estimator(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    K, y = gaussian_kernel(KERNEL_FIT_SIZES[size])
    model = fd.DistilledKernelRidge(
        alpha=PENALTY, xi=KERNEL_WEIGHTS, n_steps=3, kernel="precomputed", fit_intercept=False
    )
    return lambda: {"student": model.fit(K, y).dual_coef_}


def kernel_fit_once(size: str) -> Callable[[], Answers]:
    from sklearn.kernel_ridge import KernelRidge

    K, y = gaussian_kernel(KERNEL_FIT_SIZES[size])
    model = KernelRidge(alpha=PENALTY, kernel="precomputed")
    return lambda: {"ridge": model.fit(K, y).dual_coef_}


def kernel_fit_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.kernel_ridge import KernelRidge

    K, y = gaussian_kernel(KERNEL_FIT_SIZES[size])
    model = KernelRidge(alpha=PENALTY, kernel="precomputed")

    def answer() -> Answers:
        duals: list[np.ndarray] = []

        def refit(targets: np.ndarray) -> np.ndarray:
            duals.append(model.fit(K, targets).dual_coef_)
            return model.predict(K)

        chain(refit, y, KERNEL_WEIGHTS)
        return {"duals": np.stack(duals), "ridge": duals[0], "student": duals[-1]}

    return answer


def linear_answers(students: dict[str, tuple[np.ndarray, Any]]) -> Answers:
    """Coefficients and intercepts of the students named."""
    parts = {name: {"coef": coef, "intercept": np.asarray(b)} for name, (coef, b) in students.items()}
    return {f"{name}_{part}": value for name, both in parts.items() for part, value in both.items()}


def fit_fastdistill(problem: Callable[[str], Fit], size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y = problem(size)

    def answer() -> Answers:
        path = fd.Spectrum.from_design(X, fit_intercept=True).path(y, PENALTY, WEIGHTS)
        coef, intercept = path.coef, path.intercept
        if y.ndim == 2:
            coef = coef.swapaxes(1, 2)  # (targets, features), as scikit-learn has them
        return linear_answers({"ridge": (coef[0], intercept[0]), "student": (coef[-1], intercept[-1])})

    return answer


def fit_estimator(problem: Callable[[str], Fit], size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y = problem(size)
    model = fd.DistilledRidge(alpha=PENALTY, xi=WEIGHTS, n_steps=len(WEIGHTS))

    def answer() -> Answers:
        model.fit(X, y)
        return linear_answers({"student": (model.coef_, model.intercept_)})

    return answer


def fit_once(problem: Callable[[str], Fit], size: str) -> Callable[[], Answers]:
    from sklearn.linear_model import Ridge

    X, y = problem(size)
    model = Ridge(alpha=PENALTY, tol=TOL)

    def answer() -> Answers:
        model.fit(X, y)
        return linear_answers({"ridge": (model.coef_, model.intercept_)})

    return answer


def ridge_students(X: Any, y: np.ndarray, penalty: float, xi: np.ndarray) -> list[tuple[np.ndarray, Any]]:
    """Coefficients and intercept of every student, by refits."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=penalty, tol=TOL)
    students: list[tuple[np.ndarray, Any]] = []

    def refit(targets: np.ndarray) -> np.ndarray:
        model.fit(X, targets)
        students.append((model.coef_, model.intercept_))
        return model.predict(X)

    chain(refit, y, xi)
    return students


def fit_sklearn(problem: Callable[[str], Fit], size: str) -> Callable[[], Answers]:
    X, y = problem(size)

    def answer() -> Answers:
        first, *_, last = ridge_students(X, y, PENALTY, WEIGHTS)
        return linear_answers({"ridge": first, "student": last})

    return answer


def fit_numpy(problem: Callable[[str], Fit], size: str) -> Callable[[], Answers]:
    X, y = problem(size)

    def answer() -> Answers:
        rows = X.toarray()
        means = rows.mean(axis=0)
        rows -= means
        gram = rows.T @ rows + PENALTY * np.eye(rows.shape[1])
        students: list[tuple[np.ndarray, Any]] = []

        def refit(targets: np.ndarray) -> np.ndarray:
            coef = np.linalg.solve(gram, rows.T @ (targets - targets.mean()))
            students.append((coef, targets.mean() - means @ coef))
            return rows @ coef + targets.mean()

        chain(refit, y, WEIGHTS)
        return linear_answers({"ridge": students[0], "student": students[-1]})

    return answer


def fits(problem: Callable[[str], Fit], *, is_sparse: bool = False) -> dict[str, Setup]:
    """The implementations of a linear fit."""
    ways = {
        "fastdistill": fit_fastdistill,
        "fastdistill_estimator": fit_estimator,
        "sklearn_once": fit_once,
        "sklearn": fit_sklearn,
    }
    return {name: partial(way, problem) for name, way in (ways | ({"numpy": fit_numpy} if is_sparse else {})).items()}


def sparse_sweep_problem(size: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A CSR design (n, p), targets (n,) and penalties (L,)."""
    n, p, n_penalties = SPARSE_SWEEP_SIZES[size]
    return *sparse_of(n, p, SWEEP_STORED), np.logspace(-1, 2, n_penalties)


def sparse_sweep_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y, lam = sparse_sweep_problem(size)

    def answer() -> Answers:
        path = fd.Spectrum.from_design(X, True, solver="krylov", tol=1e-10).path(y, lam, SWEEP_WEIGHTS)
        return {"coef": path.coef, "intercept": path.intercept}

    return answer


def sparse_sweep_sklearn(size: str) -> Callable[[], Answers]:
    X, y, lam = sparse_sweep_problem(size)

    def answer() -> Answers:
        students = [ridge_students(X, y, penalty, SWEEP_WEIGHTS) for penalty in lam]
        return {
            "coef": np.array([[coef for coef, _ in both] for both in students]),
            "intercept": np.array([[intercept for _, intercept in both] for both in students]),
        }

    return answer


def sweep_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian kernel matrix (n, n), targets (n,), penalties (L,) and a schedule (k,)."""
    n, n_penalties, n_steps = SWEEP_SIZES[size]
    return *gaussian_kernel(n), np.logspace(-2, 3, n_penalties), np.linspace(1.0, -0.5, n_steps)


def kernel_sweep(solver: str, size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    K, y, lam, xi = sweep_problem(size)

    def answer() -> Answers:
        path = fd.Spectrum.from_kernel(K, solver=solver).path(y, lam, xi)
        return {"fitted": path.fitted, "gcv": path.gcv}

    return answer


def kernel_sweep_numpy(size: str) -> Callable[[], Answers]:
    K, y, lam, xi = sweep_problem(size)
    n = len(y)

    def answer() -> Answers:
        fitted, gcv = [], []
        for penalty in lam:
            H = chain(np.linalg.solve(K + penalty * np.eye(n), K).__matmul__, np.eye(n), xi)
            fitted.append(H @ y)
            left = 1.0 - np.trace(H, axis1=1, axis2=2) / n
            gcv.append(np.square(y - fitted[-1]).mean(axis=1) / np.square(left))
        return {"fitted": np.stack(fitted), "gcv": np.stack(gcv)}

    return answer


SOLVER_TASKS: dict[str, dict[str, Setup]] = {
    "kernel_fit": {
        "fastdistill": kernel_fit_fastdistill,
        "fastdistill_estimator": kernel_fit_estimator,
        "sklearn_once": kernel_fit_once,
        "sklearn": kernel_fit_sklearn,
    },
    "design_fit": fits(lambda size: design_of(*DESIGN_FIT_SIZES[size])),
    "design_fit_targets": fits(lambda size: design_of(*TARGETS_SIZES[size])),
    "wide_fit": fits(lambda size: design_of(*WIDE_SIZES[size])),
    "sparse_fit": fits(lambda size: sparse_of(*SPARSE_FIT_SIZES[size]), is_sparse=True),
    "one_hot_fit": fits(lambda size: one_hot_of(*ONE_HOT_SIZES[size]), is_sparse=True),
    "sparse_sweep": {"fastdistill": sparse_sweep_fastdistill, "sklearn": sparse_sweep_sklearn},
    "kernel_sweep_tridiagonal": {
        "fastdistill": partial(kernel_sweep, "tridiagonal"),
        "fastdistill_eigh": partial(kernel_sweep, "eigh"),
        "numpy": kernel_sweep_numpy,
    },
}
