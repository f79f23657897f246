"""Every task in several implementations: ``TASKS[task][implementation](size)`` makes a call returning the answers.

Students of the recursion, refitted from scratch by the twins and filtered out of one decomposition by fastdistill::

    ŷ_0 = fit(y),   ŷ_t = fit((1 − ξ_t) y + ξ_t ŷ_{t−1}),   for every penalty λ

The answers of all implementations of a task agree to 1e-9 of their largest entry (`disagreement`, kept by
``tests/test_comparisons.py``), so whatever is timed is also right. An implementation may answer less than the first
one does (scikit-learn's KernelRidge has no degrees of freedom), never anything else.

==================  ====================================================================================
task                twins of fastdistill, the first implementation
==================  ====================================================================================
kernel_path         ``KernelRidge`` refits; ``numpy.linalg.solve`` of the smoother itself, for dof and GCV
kernel_loo          refits without each sample, by one Cholesky factor each
kernel_folds        refits without each fold, by one Cholesky factor for each penalty
design_path         ``Ridge`` refits
tolerance_rounds    ``scipy.optimize.brentq`` for each round's multiplier
tune_holdout        ``Ridge`` refits of the pure steps, then least squares
tune_loo            ``RidgeCV`` for plain ridge; Gram matrices without each sample, solved, then least squares
many_problems       ``Ridge`` refits of every problem
student_filters     the recursion in NumPy
kernel_estimator    ``KernelRidge`` refits on the training rows, then prediction of others
excess_risk         bias and variance of the smoothers themselves, refitted with ``numpy.linalg.solve``
…_fit, …_sweep_…    `benchmarks.solver_comparisons`
sgd_…               `benchmarks.sgd_comparisons`
…_targets, others   `benchmarks.peer_comparisons`: himalaya, gpsd, PyTorch, where they are installed
==================  ====================================================================================

Cost of the twins: one O(n³) solve per penalty and step; hence their sizes stop at "medium".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peer_comparisons import PEER_TASKS
from benchmarks.problems import Answers, Setup, chain, gaussian_kernel
from benchmarks.sgd_comparisons import SGD_TASKS
from benchmarks.solver_comparisons import SOLVER_TASKS

# What a task is run on: (samples, penalties, steps); "full" is the size of the published targets.
KERNEL_SIZES = {"small": (60, 4, 3), "medium": (500, 10, 5), "full": (2000, 50, 20)}
FOLD_SIZES = {"small": (60, 4, 5), "medium": (500, 10, 10), "full": (2000, 50, 10)}  # samples, penalties, folds
DESIGN_SIZES = {"small": (80, 4, 3), "medium": (20_000, 10, 5), "full": (100_000, 50, 20)}
TOLERANCE_SIZES = {"small": (40, 0.1), "medium": (500, 0.01), "full": (2000, 0.01)}
TUNE_SIZES = {
    "small": (80, 5, 4),
    "medium": (20_000, 20, 10),
    "full": (100_000, 50, 50),
}  # samples, features, penalties
BATCH_SIZES = {"small": 20, "medium": 2000, "full": 100_000}  # problems of 64 samples and 8 features
FILTER_SIZES = {"small": (60, 4, 3), "medium": (500, 50, 20), "full": (2000, 50, 20)}
N_FEATURES = 20


def kernel_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian kernel matrix (n, n), targets (n,), penalties (L,) and a schedule (k,)."""
    n, n_penalties, n_steps = KERNEL_SIZES[size]
    return *gaussian_kernel(n), np.logspace(-2, 3, n_penalties), np.linspace(1.0, -0.5, n_steps)


def folds_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """A Gaussian kernel matrix (n, n), targets (n,), penalties (L,), weights of 3 steps, and a number of folds."""
    n, n_penalties, n_folds = FOLD_SIZES[size]
    return *gaussian_kernel(n), np.logspace(-2, 3, n_penalties), np.linspace(1.0, -0.5, 3), n_folds


def design_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A design (n, p), targets (n,), penalties (L,) and a schedule (k,)."""
    n, n_penalties, n_steps = DESIGN_SIZES[size]
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, N_FEATURES)) * np.logspace(0, -1, N_FEATURES) + 1.0
    y = X @ rng.standard_normal(N_FEATURES) + rng.standard_normal(n)
    return X, y, np.logspace(-2, 3, n_penalties), np.linspace(1.0, -0.5, n_steps)


def kernel_path_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    K, y, lam, xi = kernel_problem(size)

    def answer() -> Answers:
        path = fd.Spectrum.from_kernel(K).path(y, lam, xi)
        return {"filters": path.filters, "fitted": path.fitted, "dof": path.dof, "gcv": path.gcv}

    return answer


def kernel_path_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.kernel_ridge import KernelRidge

    K, y, lam, xi = kernel_problem(size)

    def students(penalty: float) -> np.ndarray:
        model = KernelRidge(alpha=penalty, kernel="precomputed")
        return chain(lambda targets: model.fit(K, targets).predict(K), y, xi)

    return lambda: {"fitted": np.stack([students(penalty) for penalty in lam])}


def kernel_path_numpy(size: str) -> Callable[[], Answers]:
    K, y, lam, xi = kernel_problem(size)
    n = len(y)
    vectors = np.linalg.eigh(K)[1][:, ::-1]

    def smoothers(penalty: float) -> np.ndarray:
        """The matrices H_t with ŷ_t = H_t y (k+1, n, n): refits to the identity."""
        return chain(lambda targets: K @ np.linalg.solve(K + penalty * np.eye(n), targets), np.eye(n), xi)

    def answer() -> Answers:
        parts: dict[str, list[np.ndarray]] = {"filters": [], "fitted": [], "dof": [], "gcv": []}
        for penalty in lam:
            H = smoothers(penalty)
            fitted, dof = H @ y, np.trace(H, axis1=1, axis2=2)
            parts["filters"].append(np.einsum("ij,tij->tj", vectors, H @ vectors))
            parts["fitted"].append(fitted)
            parts["dof"].append(dof)
            parts["gcv"].append(np.square(y - fitted).mean(axis=1) / np.square(1.0 - dof / n))
        return {name: np.stack(values) for name, values in parts.items()}

    return answer


def kernel_loo_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    K, y, lam, xi = kernel_problem(size)

    def answer() -> Answers:
        path = fd.Spectrum.from_kernel(K).path(y, lam, xi)
        return {"loo": path.loo, "fitted": path.fitted, "dof": path.dof, "gcv": path.gcv}

    return answer


def kernel_loo_scipy(size: str) -> Callable[[], Answers]:
    from scipy.linalg import cho_factor, cho_solve

    K, y, lam, xi = kernel_problem(size)

    def left_out(i: int, penalty: float) -> np.ndarray:
        """Predictions (k+1,) for sample i by students that never saw it."""
        rest = np.delete(np.arange(len(y)), i)
        inner = K[np.ix_(rest, rest)]
        factor = cho_factor(inner + penalty * np.eye(len(rest)))
        duals: list[np.ndarray] = []

        def refit(targets: np.ndarray) -> np.ndarray:
            duals.append(cho_solve(factor, targets))
            return inner @ duals[-1]

        chain(refit, y[rest], xi)
        return np.array(duals) @ K[rest, i]

    return lambda: {"loo": np.array([[left_out(i, penalty) for i in range(len(y))] for penalty in lam]).swapaxes(1, 2)}


def kernel_folds_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    K, y, lam, xi, n_folds = folds_problem(size)
    return lambda: {"cv": fd.Spectrum.from_kernel(K).path(y, lam, xi).cv(n_folds)}


def kernel_folds_scipy(size: str) -> Callable[[], Answers]:
    from scipy.linalg import cho_factor, cho_solve

    K, y, lam, xi, n_folds = folds_problem(size)

    def left_out(test: np.ndarray, penalty: float) -> np.ndarray:
        """Predictions (k+1, q) for a fold by students that never saw it."""
        rest = np.setdiff1d(np.arange(len(y)), test)
        inner = K[np.ix_(rest, rest)]
        factor = cho_factor(inner + penalty * np.eye(len(rest)))
        duals: list[np.ndarray] = []

        def refit(targets: np.ndarray) -> np.ndarray:
            duals.append(cho_solve(factor, targets))
            return inner @ duals[-1]

        chain(refit, y[rest], xi)
        return np.array(duals) @ K[np.ix_(rest, test)]

    folds = np.array_split(np.arange(len(y)), n_folds)
    return lambda: {"cv": np.array([np.hstack([left_out(fold, penalty) for fold in folds]) for penalty in lam])}


def design_path_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y, lam, xi = design_problem(size)

    def answer() -> Answers:
        path = fd.Spectrum.from_design(X, fit_intercept=True).path(y, lam, xi)
        return {"coef": path.coef, "intercept": path.intercept, "train_mse": path.train_mse}

    return answer


def design_path_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.linear_model import Ridge

    X, y, lam, xi = design_problem(size)

    def answer() -> Answers:
        coef, intercept, train_mse = [], [], []
        for penalty in lam:

            def refit(targets: np.ndarray, penalty: float = penalty) -> np.ndarray:
                model = Ridge(alpha=penalty).fit(X, targets)
                fitted = model.predict(X)
                coef.append(model.coef_)
                intercept.append(model.intercept_)
                train_mse.append(np.square(y - fitted).mean())
                return fitted

            chain(refit, y, xi)
        shape = (len(lam), len(xi) + 1)
        return {
            "coef": np.reshape(coef, (*shape, -1)),
            "intercept": np.reshape(intercept, shape),
            "train_mse": np.reshape(train_mse, shape),
        }

    return answer


def tolerance_problem(size: str) -> tuple[np.ndarray, np.ndarray, float]:
    """A smoothing-spline kernel matrix (n, n), a noisy sine (n,) and a tolerance."""
    n, eps = TOLERANCE_SIZES[size]
    rng = np.random.default_rng(n)
    x = (np.arange(n) + 0.5) / n
    low, high = np.minimum(x[:, None], x), np.maximum(x[:, None], x)
    return low * (1.0 - high), np.sin(2 * np.pi * x) + 0.3 * rng.standard_normal(n), eps


def tolerance_rounds_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    g, y, eps = tolerance_problem(size)

    def answer() -> Answers:
        rounds = fd.Spectrum.from_kernel(g).tolerance_path(y, eps)
        return {"multipliers": rounds.multipliers, "fitted": rounds.fitted}

    return answer


def tolerance_rounds_brentq(size: str) -> Callable[[], Answers]:
    from scipy.optimize import brentq

    g, y, eps = tolerance_problem(size)
    n = len(y)

    def answer() -> Answers:
        d, vectors = np.linalg.eigh(g / n)
        z = vectors.T @ y
        multipliers, fitted = [], []
        while z @ z > n * eps:

            def excess(log_c: float, z: np.ndarray = z) -> float:
                lost = z / (1.0 + d * np.exp(-log_c))
                return float(lost @ lost) / n - eps

            c = np.exp(brentq(excess, -40.0, 40.0, xtol=1e-15))
            z = z * d / (d + c)
            multipliers.append(c)
            fitted.append(vectors @ z)
        return {"multipliers": np.array(multipliers), "fitted": np.array(fitted)}

    return answer


def holdout_problem(size: str) -> tuple[np.ndarray, ...]:
    """A design and targets, half as many held-out ones, and penalties; always two steps.

    No smaller penalties: the twin subtracts students that differ by (λ / d)² of themselves.
    """
    X, y, lam, _ = design_problem(size)
    n = 2 * len(y) // 3
    return X[:n], y[:n], X[n:], y[n:], np.logspace(0, 4, len(lam))


def tune_holdout_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y, Xq, yq, lam = holdout_problem(size)

    def answer() -> Answers:
        S = fd.Spectrum.from_design(X, fit_intercept=True)
        tuned = fd.tune(S, y, lam, n_steps=2, criterion=fd.Holdout(Xq, yq), strategy="joint")
        return {"scores": tuned.scores, "lam": np.array(tuned.lam), "predicted": tuned.path.predict(Xq)[-1]}

    return answer


def tune_holdout_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.linear_model import Ridge

    X, y, Xq, yq, lam = holdout_problem(size)

    def solutions(penalty: float) -> list[np.ndarray]:
        """Best held-out predictions with 0, 1 and 2 steps: affine mixtures of the refitted pure steps."""
        model = Ridge(alpha=penalty)
        pure: list[np.ndarray] = []

        def refit(targets: np.ndarray) -> np.ndarray:
            fitted = model.fit(X, targets).predict(X)
            pure.append(model.predict(Xq))
            return fitted

        chain(refit, y, np.ones(2))
        best = pure[:1]
        for steps in (1, 2):
            change = np.column_stack(pure[1 : steps + 1]) - pure[0][:, None]
            best.append(pure[0] + change @ np.linalg.lstsq(change, yq - pure[0], rcond=None)[0])
        return best

    def answer() -> Answers:
        predicted = np.array([solutions(penalty) for penalty in lam])
        scores = np.square(predicted - yq).mean(axis=2)
        best = int(scores[:, 2].argmin())
        return {"scores": scores, "lam": lam[best], "predicted": predicted[best, 2]}

    return answer


def loo_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A design (n, p), targets (n,) and penalties (L,), not small ones as in `holdout_problem`; always two steps."""
    n, p, n_penalties = TUNE_SIZES[size]
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, p)) * np.logspace(0, -1, p) + 1.0
    return X, X @ rng.standard_normal(p) + rng.standard_normal(n), np.logspace(0, 4, n_penalties)


def tune_loo_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y, lam = loo_problem(size)

    def answer() -> Answers:
        tuned = fd.tune(fd.Spectrum.from_design(X, fit_intercept=True), y, lam, n_steps=2, strategy="joint")
        return {"ridge": tuned.scores[:, 0], "scores": tuned.scores, "lam": np.array(tuned.lam)}

    return answer


def tune_loo_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.linear_model import RidgeCV

    X, y, lam = loo_problem(size)
    return lambda: {"ridge": RidgeCV(lam, store_cv_results=True).fit(X, y).cv_results_.mean(axis=0)}


def tune_loo_numpy(size: str) -> Callable[[], Answers]:
    X, y, lam = loo_problem(size)
    n, p = X.shape
    rows, goals = X - X.mean(axis=0), y - y.mean()
    share = n / (n - 1)  # leaving a sample out moves the mean too: it is (n − 1) / n nearer than the sample itself
    grams = rows.T @ rows - share * rows[:, :, None] * rows[:, None, :]
    products = goals @ rows - share * goals[:, None] * rows

    def scores(penalty: float) -> list[float]:
        """Best leave-one-out errors with 0, 1 and 2 steps: affine mixtures of the refitted pure steps."""
        pure, right = [], products
        for _ in range(3):
            coef = np.linalg.solve(grams + penalty * np.eye(p), right[:, :, None])[:, :, 0]
            pure.append(share * np.einsum("ij,ij->i", rows, coef) - goals / (n - 1))
            right = np.einsum("ijk,ik->ij", grams, coef)
        found = [float(np.square(goals - pure[0]).mean())]
        for steps in (1, 2):
            change = np.column_stack(pure[1 : steps + 1]) - pure[0][:, None]
            left = goals - pure[0]
            left = left - change @ np.linalg.lstsq(change, left, rcond=None)[0]
            found.append(float(np.square(left).mean()))
        return found

    def answer() -> Answers:
        table = np.array([scores(penalty) for penalty in lam])
        return {"ridge": table[:, 0], "scores": table, "lam": lam[table[:, 2].argmin()]}

    return answer


def batch_problem(size: str) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Rows (B, 64, 8) and targets (B, 64) of independent problems, a penalty and a schedule (3,)."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((BATCH_SIZES[size], 64, 8)) + 1.0
    return X, X[:, :, 0] + rng.standard_normal(X.shape[:2]), 2.0, np.array([1.0, 0.5, -1.0])


def many_problems_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, y, lam, xi = batch_problem(size)

    def answer() -> Answers:
        students = fd.batched_path(X, y, lam, xi, fit_intercept=True)
        return {"coef": students.coef, "intercept": students.intercept}

    return answer


def many_problems_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.linear_model import Ridge

    X, y, lam, xi = batch_problem(size)
    model = Ridge(lam)

    def students(rows: np.ndarray, goals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        coef, intercept = [], []

        def refit(targets: np.ndarray) -> np.ndarray:
            model.fit(rows, targets)
            coef.append(model.coef_)
            intercept.append(model.intercept_)
            return model.predict(rows)

        chain(refit, goals, xi)
        return np.array(coef), np.array(intercept)

    def answer() -> Answers:
        coef, intercept = zip(*(students(rows, goals) for rows, goals in zip(X, y, strict=True)), strict=True)
        return {"coef": np.array(coef), "intercept": np.array(intercept)}

    return answer


def filter_problem(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (r,), penalties (L,) and a schedule (k,)."""
    r, n_penalties, n_steps = FILTER_SIZES[size]
    return np.logspace(3, -6, r), np.logspace(-4, 4, n_penalties), np.linspace(1.0, -0.5, n_steps)


def student_filters_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    d, lam, xi = filter_problem(size)
    return lambda: {"filters": fd.multistep_filter(d, lam, xi)}


def student_filters_numpy(size: str) -> Callable[[], Answers]:
    d, lam, xi = filter_problem(size)

    def answer() -> Answers:
        a = d / (d + lam[:, None])
        filters = np.empty((len(lam), len(xi) + 1, len(d)))
        filters[:, 0] = a
        for t, weight in enumerate(xi):
            filters[:, t + 1] = a * ((1.0 - weight) + weight * filters[:, t])
        return {"filters": filters}

    return answer


def estimator_problem(size: str) -> tuple[np.ndarray, ...]:
    """Rows, targets and half as many queries; the penalty, weight and steps are the estimator's arguments."""
    n = KERNEL_SIZES[size][0]
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n + n // 2, 5))
    return X[:n], np.sin(X[:n, 0]) + 0.3 * rng.standard_normal(n), X[n:]


ESTIMATOR: dict[str, Any] = {"alpha": 0.5, "kernel": "rbf", "gamma": 0.1}


def kernel_estimator_fastdistill(size: str) -> Callable[[], Answers]:
    from fastdistill import DistilledKernelRidge

    X, y, Xq = estimator_problem(size)
    model = DistilledKernelRidge(**ESTIMATOR, xi=0.6, n_steps=4, fit_intercept=False)
    return lambda: {"predicted": model.fit(X, y).predict(Xq)}


def kernel_estimator_sklearn(size: str) -> Callable[[], Answers]:
    from sklearn.kernel_ridge import KernelRidge

    X, y, Xq = estimator_problem(size)
    model = KernelRidge(**ESTIMATOR)

    def answer() -> Answers:
        chain(lambda targets: model.fit(X, targets).predict(X), y, np.full(4, 0.6))
        return {"predicted": model.predict(Xq)}

    return answer


def risk_problem(size: str) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray]:
    """A design (n, p), true coefficients (p,), the noise's deviation, penalties (L,) and a schedule (k,)."""
    n, n_penalties, n_steps = KERNEL_SIZES[size]
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, N_FEATURES)) * np.logspace(0, -1, N_FEATURES)
    return X, rng.standard_normal(N_FEATURES), 0.5, np.logspace(-2, 3, n_penalties), np.linspace(1.0, -0.5, n_steps)


def excess_risk_fastdistill(size: str) -> Callable[[], Answers]:
    import fastdistill as fd

    X, theta, gamma, lam, xi = risk_problem(size)

    def answer() -> Answers:
        _, s, Vt = np.linalg.svd(X, full_matrices=False)
        filters = fd.multistep_filter(s**2, lam, xi)
        return {"risk": fd.theory.excess_risk(s**2, Vt @ theta, gamma, len(X), filters)}

    return answer


def excess_risk_numpy(size: str) -> Callable[[], Answers]:
    X, theta, gamma, lam, xi = risk_problem(size)
    n, p = X.shape

    def risks(penalty: float) -> np.ndarray:
        inverse = np.linalg.solve(X.T @ X + penalty * np.eye(p), X.T)
        H = chain(lambda targets: X @ (inverse @ targets), np.eye(n), xi)
        bias = X @ theta - H @ (X @ theta)
        return (np.square(bias).sum(axis=1) + gamma**2 * np.square(H).sum(axis=(1, 2))) / n

    return lambda: {"risk": np.stack([risks(penalty) for penalty in lam])}


TASKS: dict[str, dict[str, Setup]] = {
    "kernel_path": {
        "fastdistill": kernel_path_fastdistill,
        "sklearn": kernel_path_sklearn,
        "numpy": kernel_path_numpy,
    },
    "kernel_loo": {"fastdistill": kernel_loo_fastdistill, "scipy": kernel_loo_scipy},
    "kernel_folds": {"fastdistill": kernel_folds_fastdistill, "scipy": kernel_folds_scipy},
    "design_path": {"fastdistill": design_path_fastdistill, "sklearn": design_path_sklearn},
    "tolerance_rounds": {"fastdistill": tolerance_rounds_fastdistill, "brentq": tolerance_rounds_brentq},
    "tune_holdout": {"fastdistill": tune_holdout_fastdistill, "sklearn": tune_holdout_sklearn},
    "tune_loo": {"fastdistill": tune_loo_fastdistill, "sklearn": tune_loo_sklearn, "numpy": tune_loo_numpy},
    "many_problems": {"fastdistill": many_problems_fastdistill, "sklearn": many_problems_sklearn},
    "student_filters": {"fastdistill": student_filters_fastdistill, "numpy": student_filters_numpy},
    "kernel_estimator": {"fastdistill": kernel_estimator_fastdistill, "sklearn": kernel_estimator_sklearn},
    "excess_risk": {"fastdistill": excess_risk_fastdistill, "numpy": excess_risk_numpy},
    **SOLVER_TASKS,
    **SGD_TASKS,
    **PEER_TASKS,
}


def disagreement(found: Answers, wanted: Answers) -> float:
    """Largest |found − wanted| of any answer both give, relative to its largest entry; inf for wrong shapes."""
    worst = 0.0
    for name in wanted.keys() & found.keys():
        a: Any = np.asarray(found[name])
        b: Any = np.asarray(wanted[name])
        if a.shape != b.shape:
            return float("inf")
        worst = max(worst, float(np.abs(a - b).max() / np.abs(b).max()))
    return worst
