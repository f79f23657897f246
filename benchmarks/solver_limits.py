"""Fits of one penalty against scikit-learn's single fit, sweeps against one ``eigh``; in one process, in turn.

===========================  =================================================  ================================  ======
track_ratio_*                ours                                               limit or yardstick                target
===========================  =================================================  ================================  ======
KernelFit.…_points           ``DistilledKernelRidge(n_steps=3).fit``            ``KernelRidge.fit``               1.0
KernelFit.…_matrix           three steps of a kernel matrix, no intercept       the same of the same matrix       1.0
DesignFit.…_ridge            ``DistilledRidge(n_steps=1).fit``                  ``Ridge.fit``                     1.2
SparseFit.…_ridge            the same of CSR 5000 × 2000, 1 %; one-hot 4000 ×   ``Ridge(tol=1e-10).fit``          2
                             1000
SparseSweep.…_ridge          20 penalties × 3 students at 1e-8 of CSR 5000 ×    one ``Ridge(tol=1e-8).fit``       3
                             20 000, 0.2 %
TridiagonalSweep.…_limit     fits, GCV of 50 penalties × 20 steps, n = 2000     one ``numpy.linalg.eigh(K)``      0.5
TridiagonalSweep.…_eigh      the same                                           ``solver="eigh"``, the same job
===========================  =================================================  ================================  ======

One thread. Our fits answer a distilled student besides the ridge that scikit-learn answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import REDUCED
from benchmarks.limits import interleaved_ratio
from benchmarks.problems import gaussian_kernel
from benchmarks.solver_comparisons import (
    KERNEL_WEIGHTS,
    ONE_HOT_SIZES,
    PENALTY,
    SOLVER_TASKS,
    SPARSE_FIT_SIZES,
    SWEEP_WEIGHTS,
    design_of,
    one_hot_of,
    sparse_of,
    sparse_sweep_problem,
    sweep_problem,
)

SIZE = "small" if REDUCED else "full"
SAMPLES = [60] if REDUCED else [500, 1500, 3000]
SHAPES = ["80x8"] if REDUCED else ["2000x100", "2000x100x300", "300x20000", "100000x50"]  # samples, features, targets
ROUNDS = 5 if REDUCED else 21


class KernelFit:
    """Three steps for less than one fit."""

    timeout = 600
    params = (SAMPLES,)
    param_names = ("samples",)

    def setup(self, samples: int) -> None:
        SOLVER_TASKS["kernel_fit"]["fastdistill_estimator"]("small")()
        SOLVER_TASKS["kernel_fit"]["sklearn_once"]("small")()
        threadpool_limits(1)  # after the first answer: it reaches only the libraries that are loaded by now
        self.rounds = max(3, min(ROUNDS, 15_000 // samples))

    def track_ratio_points(self, samples: int) -> float:
        from sklearn.kernel_ridge import KernelRidge

        import fastdistill as fd

        rng = np.random.default_rng(samples)
        X = rng.standard_normal((samples, 10))
        y = np.sin(X[:, 0]) + 0.3 * rng.standard_normal(samples)
        ours = fd.DistilledKernelRidge(alpha=PENALTY, n_steps=3)
        theirs = KernelRidge(alpha=PENALTY, kernel="rbf")
        return interleaved_ratio(lambda: ours.fit(X, y), lambda: theirs.fit(X, y), self.rounds)

    def track_ratio_matrix(self, samples: int) -> float:
        from sklearn.kernel_ridge import KernelRidge

        import fastdistill as fd

        K, y = gaussian_kernel(samples)
        ours = fd.DistilledKernelRidge(PENALTY, KERNEL_WEIGHTS, 3, "precomputed", fit_intercept=False)
        theirs = KernelRidge(alpha=PENALTY, kernel="precomputed")
        return interleaved_ratio(lambda: ours.fit(K, y), lambda: theirs.fit(K, y), self.rounds)


def ratio_to_ridge(X: Any, y: np.ndarray, rounds: int, **options: Any) -> float:
    """`DistilledRidge` of one step / `Ridge` with these options."""
    from sklearn.linear_model import Ridge

    import fastdistill as fd

    ours, theirs = fd.DistilledRidge(alpha=PENALTY), Ridge(alpha=PENALTY, **options)
    return interleaved_ratio(lambda: ours.fit(X, y), lambda: theirs.fit(X, y), rounds)


class DesignFit:
    """One step for the price of a fit."""

    timeout = 600
    params = (SHAPES,)
    param_names = ("shape",)

    def setup(self, shape: str) -> None:
        SOLVER_TASKS["design_fit"]["fastdistill_estimator"]("small")()
        SOLVER_TASKS["design_fit"]["sklearn_once"]("small")()
        threadpool_limits(1)
        self.problem = design_of(*map(int, shape.split("x")))

    def track_ratio_ridge(self, shape: str) -> float:
        return ratio_to_ridge(*self.problem, ROUNDS)


class SparseFit:
    """One step without a dense copy."""

    timeout = 600
    params = (["sparse", "one_hot"],)
    param_names = ("design",)

    def setup(self, design: str) -> None:
        SOLVER_TASKS["sparse_fit"]["fastdistill_estimator"]("small")()
        SOLVER_TASKS["sparse_fit"]["sklearn_once"]("small")()
        threadpool_limits(1)
        sparse, one_hot = SPARSE_FIT_SIZES[SIZE], ONE_HOT_SIZES[SIZE]
        self.problem = sparse_of(*sparse) if design == "sparse" else one_hot_of(*one_hot)

    def track_ratio_ridge(self, design: str) -> float:
        return ratio_to_ridge(*self.problem, ROUNDS, tol=1e-10)


class SparseSweep:
    """Every coefficient of a sparse design for a few fits."""

    timeout = 600

    def setup(self) -> None:
        SOLVER_TASKS["sparse_sweep"]["fastdistill"]("small")()
        SOLVER_TASKS["sparse_sweep"]["sklearn"]("small")()
        threadpool_limits(1)

    def track_ratio_ridge(self) -> float:
        from sklearn.linear_model import Ridge

        import fastdistill as fd

        X, y, lam = sparse_sweep_problem(SIZE)

        def ours() -> Any:
            return fd.Spectrum.from_design(X, True, solver="krylov", tol=1e-8).path(y, lam, SWEEP_WEIGHTS).coef

        return interleaved_ratio(ours, lambda: Ridge(alpha=PENALTY, tol=1e-8).fit(X, y), ROUNDS)


class TridiagonalSweep:
    """Every fit and GCV for less than the eigenvectors."""

    timeout = 600

    def setup(self) -> None:
        tasks = SOLVER_TASKS["kernel_sweep_tridiagonal"]
        self.ours, self.eigh = tasks["fastdistill"](SIZE), tasks["fastdistill_eigh"](SIZE)
        tasks["fastdistill"]("small")()
        threadpool_limits(1)

    def track_ratio_limit(self) -> float:
        K = sweep_problem(SIZE)[0]
        return interleaved_ratio(self.ours, lambda: np.linalg.eigh(K), 3)

    def track_ratio_eigh(self) -> float:
        return interleaved_ratio(self.ours, self.eigh, 3)
