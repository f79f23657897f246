"""Paths of iterative solvers, conjugate gradients or one Krylov basis: coefficients with a stated error.

Fits, training errors and predictions follow from the coefficients, by products with X or K. With probes g of random
signs, and T the projection of K_s on the Krylov space of each::

    dof ≈ mean of gᵀ f(K_s) g  (+ 1 for an intercept),  gᵀ f(K_s) g ≈ ‖g‖² [f(T)]₁₁       GCV = mse / (1 − dof / n)²

The probes are always the same, so that calls repeat; with as many as min(n, p) they are the unit vectors, and exact.

Cost: a product with X for fits and predictions; 32 bases of their own for dof and GCV. Measured, one thread, whole
paths from the data on, `tol` 1e-8 and an intercept:

==================================================================  =======  =======================================
path                                                                seconds  beside it
==================================================================  =======  =======================================
CSR 5000 × 20 000, 0.2 %: 20 penalties 0.01..100, 3 students        0.054    ``Ridge(tol=1e-8).fit`` 0.026
the same by solver="auto", at 1e-12                                 0.076
CSR 200 000 × 50 000, 1e7 values: 5 penalties, 3 students           2.0      peak 1.67 × the data's memory
RBF kernel of 2000: 3 penalties ≥ 0.1, 3 students, `tol` 1e-6       0.104    ``scipy.linalg.eigh`` 1.18
==================================================================  =======  =======================================

`DistilledKernelRidge(solver="krylov")` of 20 000 points: a peak of 52 MB, where K has 3.2 GB.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.decompositions.krylov import Krylov
from fastdistill.spectral.decompositions.operators import DesignOperator, KernelOperator
from fastdistill.spectral.decompositions.solved import Solved
from fastdistill.spectral.frame import Targets
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.queries import Queries
from fastdistill.spectral.solved_path import NEARLY_FITTED, CoefficientPath

SEED = 0


class KrylovPath(CoefficientPath):
    """A `DistillationPath` by an iterative solver, which gives neither filters nor leave-one-out.

    Attributes
    ----------
    error_estimate : ndarray (..., k+1[, m])
        Relative error of the fits of each student.
    dof_error : ndarray (...)
        Standard error of `dof`, which is estimated; that of GCV is 2 gcv dof_error / (n − dof).
    """

    def __init__(
        self,
        spectrum: Decomposed,
        targets: Targets,
        lam: np.ndarray,
        xi: np.ndarray,
        queries: Queries,
        operator: DesignOperator | KernelOperator,
        solved: Solved,
        traces: Krylov | None,
    ) -> None:
        """With the students themselves; without a basis for `traces` a decomposition says what they do not."""
        super().__init__(spectrum, targets, lam, xi, queries)
        self._operator, self._students, self._basis = operator, solved, traces

    @cached_property
    def error_estimate(self) -> np.ndarray:
        """Estimated relative error of the fits (..., k+1[, m])."""
        errors = self._students.error
        assert errors is not None
        return self._result(errors.reshape(self.n_students, -1), "error estimates")

    def _solved(self, *, with_fits: bool) -> Solved:
        return self._students

    @cached_property
    def _centred_fits(self) -> np.ndarray:
        """Fits less the mean, without the factor W^½ (students, n, m)."""
        coefficients, frame = self._students.coefficients, self.spectrum.frame
        fits = self._students.fits
        if fits.shape[2] and not len(frame.light):
            fits = fits.reshape(self.n_students, *fits.shape[2:])
            return fits if frame.root is None else fits / frame.root[:, None]
        flat = np.moveaxis(coefficients.reshape(self.n_students, *coefficients.shape[2:]), 1, 0)
        images = self._operator.unweighted(np.ascontiguousarray(flat).reshape(len(flat), -1))
        return np.moveaxis(images.reshape(-1, self.n_students, self.targets.count), 1, 0)

    @cached_property
    def _scaled_fits(self) -> np.ndarray:
        root = self.spectrum.frame.root
        return self._centred_fits if root is None else self._centred_fits * root[:, None]

    @cached_property
    def fitted(self) -> np.ndarray:
        """Fits on the training samples (..., n[, m])."""
        return self._result(self._centred_fits + self.targets.mean, "fitted values", power=1)

    @cached_property
    def _traces(self) -> tuple[np.ndarray, np.ndarray]:
        """Traces of the smoothers and their standard errors, each (students, 1)."""
        assert self._basis is not None
        found = self._basis.traces(self.family_penalties[:, 0], self.family_weights, random_state=SEED)
        traces, errors = (values.reshape(-1, 1) for values in found)
        return traces, errors

    @cached_property
    def dof(self) -> np.ndarray:
        """Effective degrees of freedom (...): estimated, see `dof_error`, or from the decomposition."""
        if self._basis is None:
            return super().dof
        return self._result(self._traces[0] + self.spectrum.frame.fit_intercept, "degrees of freedom", per_target=False)

    @cached_property
    def dof_error(self) -> np.ndarray:
        """Standard error (...) of `dof`."""
        if self._basis is None:
            return super().dof_error
        return self._result(self._traces[1], "standard errors", per_target=False)

    @cached_property
    def train_mse(self) -> np.ndarray:
        """Training error Σ w residual² / Σ w, (...[, m])."""
        return self._result(np.square(self._root_mean_squares()), "mean squared errors", power=2)

    def _root_mean_squares(self) -> np.ndarray:
        frame, y = self.spectrum.frame, self.targets.scaled
        norms = np.linalg.norm(y - self._scaled_fits, axis=1)
        if self._basis is None and np.any(norms < NEARLY_FITTED * np.linalg.norm(y, axis=0)):
            return super()._residuals[0]
        return norms / np.sqrt(frame.total_weight)

    @cached_property
    def _residuals(self) -> tuple[np.ndarray, np.ndarray]:
        if self._basis is None:
            return super()._residuals
        frame = self.spectrum.frame
        left = frame.n_effective - (self._traces[0] + frame.fit_intercept)
        return self._root_mean_squares(), left


def checked_size(operator: DesignOperator | KernelOperator, targets: Targets) -> float | None:
    """About the largest eigenvalue, 0 if unknown; None where squares of it and the targets leave float64."""
    largest, y = 0.0, targets.scaled
    if isinstance(operator, DesignOperator):
        squares = operator.column_squares
        if squares is not None:
            largest = float(squares.sum())
        elif y.any():
            probe = y[:, :1] / validation.largest_entry(y[:, :1]) if y[:, :1].any() else np.ones((len(y), 1))
            largest = float(np.square(operator.transposed(probe)).sum() / np.square(probe).sum())
    else:
        diagonal = operator.diagonal()
        largest = 0.0 if diagonal is None else float(diagonal.sum())
    sizes = (largest, validation.largest_entry(y))
    return largest if all(size == 0.0 or SMALLEST <= size <= LARGEST for size in sizes) else None


# Of eigenvalues and targets: fourth powers of their square roots and products stay within float64 with room to spare.
SMALLEST, LARGEST = 1e-60, 1e60
