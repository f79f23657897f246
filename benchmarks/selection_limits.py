"""Tuned estimators against scikit-learn's and himalaya's tuned ridge, without distillation; in one process, in turn.

============================  =============================================  ===========================  ============
track_ratio_*                 ours                                           yardstick                    target
============================  =============================================  ===========================  ============
OneTarget.…_ridge_cv          ``DistilledRidgeCV`` over 20 penalties         ``RidgeCV``                  1, 0.2, 0.05
                              (200×8, 2000×100, 100 000×50, 300×20 000)                                   and 1
ManyTargets.…_together        the same of 2000 × 100 and many targets        ``RidgeCV``                  1
ManyTargets.…_each            a penalty for each of them                     the same                     1.5
KernelTargets.…_left_out      ``DistilledKernelRidgeCV`` over 20 penalties,  himalaya ``KernelRidgeCV``,  0.3
                              n = 1000, a penalty for each of 100 targets    5 folds
KernelTargets.…_folds         the same by the same folds                     the same                     1
KernelGrid.…_grid_search      7 widths and 40 penalties by 5 folds, n = 500  ``GridSearchCV`` of          0.2
                                                                             ``KernelRidge``
KernelGrid.…_left_out         the same by leave-one-out                      the same                     0.05
KernelGrid.…_dof              7 widths by leave-one-out, penalties spaced    as many penalties, given     1.1
                              in degrees of freedom
============================  =============================================  ===========================  ============

One thread. Targets are linear in all columns, or drawn from the prior of the kernel: none supports distillation, and
each is found not to. One that does costs five folds of its own. himalaya is optional.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import REDUCED
from benchmarks.limits import interleaved_ratio

PENALTIES = np.logspace(-2, 4, 20)
KERNEL_PENALTIES = np.logspace(-4, 3, 20)
ONE_TARGET = ["80x8"] if REDUCED else ["200x8", "2000x100", "100000x50", "300x20000"]  # samples, features
TARGETS = [5] if REDUCED else [300, 1000]
SAMPLES, FEATURES = (80, 8) if REDUCED else (2000, 100)
GRID_SAMPLES = 60 if REDUCED else 500
KERNEL_SAMPLES, KERNEL_TARGETS = (60, 4) if REDUCED else (1000, 100)


def linear_problem(n: int, p: int, *targets: int) -> tuple[np.ndarray, np.ndarray]:
    """A design, and targets of all columns with noise."""
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, p))
    y = X @ rng.standard_normal((p, *targets))
    return X, y + 3.0 * rng.standard_normal(y.shape)


def kernel_targets(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian kernel matrix, and targets drawn from its Gaussian process with noise."""
    from sklearn.metrics.pairwise import rbf_kernel

    rng = np.random.default_rng(n)
    K = rbf_kernel(rng.standard_normal((n, 20)), gamma=0.02)
    d, vectors = np.linalg.eigh(K)
    y = vectors @ (np.sqrt(np.maximum(d, 0.0))[:, None] * rng.standard_normal((n, m)))
    return K, y + 0.3 * rng.standard_normal((n, m))


def ratio_to_ridge_cv(X: np.ndarray, y: np.ndarray, rounds: int, **options: Any) -> float:
    """`DistilledRidgeCV` / `RidgeCV`: of the same errors and best penalties, and of one penalty the same models."""
    from sklearn.linear_model import RidgeCV

    import fastdistill as fd

    ours, theirs = fd.DistilledRidgeCV(PENALTIES, **options), RidgeCV(PENALTIES, **options)
    ratio = interleaved_ratio(lambda: ours.fit(X, y), lambda: theirs.fit(X, y), rounds)
    np.testing.assert_array_equal(ours.alpha_, theirs.alpha_)
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-6)
    plain = fd.DistilledRidgeCV(PENALTIES, strategy="ridge", **options).fit(X, y)
    np.testing.assert_allclose(plain.coef_, theirs.coef_, rtol=1e-6, atol=1e-8)
    return ratio


class OneTarget:
    """The whole choice, leave-one-out of every penalty, for less than scikit-learn's."""

    timeout = 600
    params = (ONE_TARGET,)
    param_names = ("shape",)

    def setup(self, shape: str) -> None:
        self.problem = linear_problem(*map(int, shape.split("x")))
        ratio_to_ridge_cv(*linear_problem(80, 8), 1)  # compiles
        threadpool_limits(1)

    def track_ratio_ridge_cv(self, shape: str) -> float:
        rounds = 51 if shape == ONE_TARGET[0] else 7
        return ratio_to_ridge_cv(*self.problem, 3 if REDUCED else rounds)


class ManyTargets:
    """One pass of matrix products over all targets."""

    timeout = 600
    params = (TARGETS,)
    param_names = ("targets",)

    def setup(self, targets: int) -> None:
        self.problem = linear_problem(SAMPLES, FEATURES, targets)
        ratio_to_ridge_cv(*linear_problem(80, 8, 5), 1, alpha_per_target=True)
        threadpool_limits(1)

    def track_ratio_together(self, targets: int) -> float:
        return ratio_to_ridge_cv(*self.problem, 5)

    def track_ratio_each(self, targets: int) -> float:
        return ratio_to_ridge_cv(*self.problem, 5, alpha_per_target=True)


class KernelTargets:
    """One decomposition beside one for each fold; and the same folds."""

    timeout = 600

    def setup(self) -> None:
        if find_spec("himalaya") is None:
            missing = "himalaya is not installed: pip install himalaya"
            raise NotImplementedError(missing)  # by this asv knows that a benchmark is to be skipped
        self.problem = kernel_targets(KERNEL_SAMPLES, KERNEL_TARGETS)
        self.ratio(*kernel_targets(30, 3), cv=None)
        threadpool_limits(1)

    @staticmethod
    def ratio(K: np.ndarray, y: np.ndarray, cv: Any) -> float:
        from himalaya.kernel_ridge import KernelRidgeCV
        from sklearn.model_selection import KFold

        import fastdistill as fd

        theirs = KernelRidgeCV(alphas=KERNEL_PENALTIES, kernel="precomputed", cv=KFold(5))
        ours = fd.DistilledKernelRidgeCV(
            KERNEL_PENALTIES, kernel="precomputed", cv=cv, alpha_per_target=True, fit_intercept=False
        )
        ratio = interleaved_ratio(lambda: ours.fit(K, y), lambda: theirs.fit(K, y), 3)
        if cv is not None:
            np.testing.assert_allclose(ours.alpha_, theirs.best_alphas_)
        return ratio

    def track_ratio_left_out(self) -> float:
        return self.ratio(*self.problem, cv=None)

    def track_ratio_folds(self) -> float:
        from sklearn.model_selection import KFold

        return self.ratio(*self.problem, cv=KFold(5))


class KernelGrid:
    """Kernel ridge without distillation, its width and penalty chosen; folds of one size give the same scores."""

    timeout = 600
    alphas, gammas = np.logspace(-4, 3, 40), 0.1 * 4.0 ** np.arange(-4, 3)

    def setup(self) -> None:
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((GRID_SAMPLES, 5))
        signal = np.sin(self.X[:, 0]) + self.X[:, 1] * self.X[:, 2]
        self.y = signal + 0.3 * rng.standard_normal(GRID_SAMPLES)
        threadpool_limits(1)

    def model(self, alphas: Any, cv: int | None) -> Any:
        import fastdistill as fd

        return fd.DistilledKernelRidgeCV(alphas, 0, gamma=self.gammas, cv=cv, fit_intercept=False)

    def ratio_to_grid_search(self, cv: int | None) -> float:
        from sklearn.kernel_ridge import KernelRidge
        from sklearn.model_selection import GridSearchCV

        grid = {"alpha": self.alphas, "gamma": self.gammas}
        theirs = GridSearchCV(KernelRidge(kernel="rbf"), grid, cv=5, scoring="neg_mean_squared_error")
        ours = self.model(self.alphas, cv)
        ratio = interleaved_ratio(lambda: ours.fit(self.X, self.y), lambda: theirs.fit(self.X, self.y), 1)
        if cv is not None:
            scores = theirs.cv_results_["mean_test_score"].reshape(len(self.alphas), len(self.gammas)).T
            np.testing.assert_allclose(ours.cv_results_["scores"][..., 0], scores, rtol=1e-5)
        return ratio

    def track_ratio_grid_search(self) -> float:
        return self.ratio_to_grid_search(5)

    def track_ratio_left_out(self) -> float:
        return self.ratio_to_grid_search(None)

    def track_ratio_dof(self) -> float:
        ours, given = self.model("dof", None), self.model(self.alphas, None)
        return interleaved_ratio(lambda: ours.fit(self.X, self.y), lambda: given.fit(self.X, self.y), 7)
