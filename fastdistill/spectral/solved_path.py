"""Paths of a solver: students without eigenvalues and eigenvectors.

A solver gives coefficients and fits of the scaled problem (`decompositions.solved`), and traces of smoothers. What it
does not give (filters, standard deviations, ...) comes from the decomposition, which the spectrum then makes, or
refuses to where the user named the solver.

Cost: that of the solver; see its module.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from fastdistill.spectral.decompositions.cholesky import Cholesky
from fastdistill.spectral.decompositions.solved import Solved
from fastdistill.spectral.decompositions.tridiagonal import Tridiagonal
from fastdistill.spectral.frame import Targets
from fastdistill.spectral.path import DistillationPath
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.queries import Queries

# Residuals below this share of the targets are differences of nearly equal numbers: the decomposition has them exactly.
NEARLY_FITTED = 1e-4
# Every second step takes a product of n by n matrices: at six, leave-one-out costs 0.7 of the eigenvalues.
MOST_POWERS = 6


class Solver(Protocol):
    """What a path may ask of a solver, for families of penalties lam (P,) and weights xi (P, k), targets (n, m)."""

    def students(self, y_s: np.ndarray, lam: np.ndarray, xi: np.ndarray) -> Solved:
        """Coefficients and fits."""

    def traces(self, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """Traces (P, k+1) of the smoothers, without the intercept's one."""

    def remaining(self, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """Traces (P, k+1) of I − smoother."""


class CoefficientPath(DistillationPath):
    """A `DistillationPath` whose predictions follow from coefficients; `queries` say how new points enter."""

    _reads_coefficients = True

    def __init__(
        self, spectrum: Decomposed, targets: Targets, lam: np.ndarray, xi: np.ndarray, queries: Queries
    ) -> None:
        super().__init__(spectrum, targets, lam, xi)
        self.queries = queries

    def _solved(self, *, with_fits: bool) -> Solved:
        """Students of the scaled problem."""
        raise TypeError("CoefficientPath is a base class; use Spectrum.path.")

    @cached_property
    def _coefficients(self) -> np.ndarray:
        """Public coefficients (students, width, m)."""
        solved = self._solved(with_fits=False).coefficients
        flat = solved.reshape(self.n_students, *solved.shape[2:])
        return self.queries.coefficients(flat.swapaxes(1, 2)).swapaxes(1, 2)

    @cached_property
    def intercept(self) -> np.ndarray:
        """Intercepts (...[, m]), as of `DistillationPath`: predictions of a query of zeros, in a few calls."""
        if not self.spectrum.frame.fit_intercept:
            return super().intercept
        flat = self._coefficients.swapaxes(1, 2).reshape(-1, self._coefficients.shape[1])
        level = self.queries.at_origin(flat).reshape(self.n_students, -1) + self.targets.mean
        return self._result(level, "intercepts", power=1)

    def query_map(self, queries: Any) -> Callable[[int, int], np.ndarray]:
        """Centred predictions (students, q, m) of a range of students on checked queries."""

        def predict(start: int, stop: int) -> np.ndarray:
            coefficients = self._coefficients[start:stop].swapaxes(1, 2)
            flat = coefficients.reshape(-1, coefficients.shape[2])
            return self._by_target(self.queries.evaluate(queries, flat))

        return predict


class SolvedPath(CoefficientPath):
    """By a solver."""

    def __init__(
        self,
        spectrum: Decomposed,
        targets: Targets,
        lam: np.ndarray,
        xi: np.ndarray,
        solver: Solver,
        queries: Queries,
    ) -> None:
        super().__init__(spectrum, targets, lam, xi, queries)
        self._solver = solver

    @cached_property
    def _students(self) -> Solved:
        """Coefficients and fits together."""
        return self._solver.students(self.targets.scaled, self.family_penalties[:, 0], self.family_weights)

    def _solved(self, *, with_fits: bool) -> Solved:
        return self._students

    @cached_property
    def _scaled_fits(self) -> np.ndarray:
        """Fits of the scaled targets (students, n, m)."""
        fits = self._solved(with_fits=True).fits
        return fits.reshape(self.n_students, *fits.shape[2:])

    @cached_property
    def fitted(self) -> np.ndarray:
        """Fits on the training samples (..., n[, m])."""
        return self._result(self._unscaled(self._scaled_fits) + self.targets.mean, "fitted values", power=1)

    def _unscaled(self, scaled: np.ndarray) -> np.ndarray:
        """W^-½ times values of the scaled problem (students, n, m)."""
        inverse = self.spectrum.frame.inverse_root
        return scaled if inverse is None else scaled * inverse[:, None]

    @cached_property
    def dof(self) -> np.ndarray:
        """Effective degrees of freedom (...): the trace of the smoother, plus one for an intercept."""
        traces = self._solver.traces(self.family_penalties[:, 0], self.family_weights).reshape(-1, 1)
        return self._result(traces + self.spectrum.frame.fit_intercept, "degrees of freedom", per_target=False)

    @cached_property
    def _residuals(self) -> tuple[np.ndarray, np.ndarray]:
        frame, y = self.spectrum.frame, self.targets.scaled
        residuals = np.linalg.norm(y - self._scaled_fits, axis=1)
        if np.any(residuals < NEARLY_FITTED * np.linalg.norm(y, axis=0)):
            return super()._residuals
        left = self._solver.remaining(self.family_penalties[:, 0], self.family_weights).reshape(-1, 1)
        return residuals / np.sqrt(frame.total_weight), left - (frame.n_samples - frame.degrees)


class TridiagonalPath(SolvedPath):
    """By the tridiagonal form of a kernel: every penalty, weight and step without eigenvectors."""

    _solver: Tridiagonal

    @cached_property
    def _residuals(self) -> tuple[np.ndarray, np.ndarray]:
        frame, penalties = self.spectrum.frame, self.family_penalties[:, 0]
        squares = self._students.misfits if "_students" in vars(self) else None
        if squares is None:
            squares = self._solver.misfits(self.targets.scaled, penalties, self.family_weights)
        left = self._solver.remaining(penalties, self.family_weights).reshape(-1, 1) - frame.fit_intercept
        return np.sqrt(squares.reshape(self.n_students, -1) / frame.total_weight), left


class OnePenaltyPath(SolvedPath):
    """By a Cholesky factor, with exact leave-one-out."""

    _solver: Cholesky

    def __init__(
        self,
        spectrum: Decomposed,
        targets: Targets,
        lam: np.ndarray,
        xi: np.ndarray,
        solver: Cholesky,
        queries: Queries,
        masked: Any = None,
    ) -> None:
        """`masked` are the samples of zero weight, as queries."""
        super().__init__(spectrum, targets, lam, xi, solver, queries)
        self._masked = masked

    def _unscaled(self, scaled: np.ndarray) -> np.ndarray:
        """W^-½ times fits or leave-one-out predictions; samples of zero weight are predicted."""
        values = super()._unscaled(scaled)
        if self._masked is not None:
            values[:, self.spectrum.frame.light] = self.query_map(self._masked)(0, self.n_students)
        return values

    def _solved(self, *, with_fits: bool) -> Solved:
        """Without fits, which a design would be multiplied for, where only coefficients are asked for."""
        penalties = self.family_penalties[:, 0]
        return self._solver.students(self.targets.scaled, penalties, self.family_weights, with_fits=with_fits)

    @property
    def _has_traces(self) -> bool:
        """Whether powers of the smoother cost less than its eigenvalues."""
        return self.n_steps <= MOST_POWERS

    @cached_property
    def dof(self) -> np.ndarray:
        """Effective degrees of freedom (...), as of `DistillationPath`."""
        return super().dof if self._has_traces else super(SolvedPath, self).dof

    @cached_property
    def _residuals(self) -> tuple[np.ndarray, np.ndarray]:
        return super()._residuals if self._has_traces else super(SolvedPath, self)._residuals

    @cached_property
    def _left_out(self) -> np.ndarray | None:
        """Scaled leave-one-out predictions (students, n, m) of one schedule; None where they need the decomposition."""
        if len(self.family_weights) > 1 or not self._has_traces:
            return None
        return self._solver.leave_one_out(
            self.targets.scaled, self.family_weights[0], self.spectrum.frame.intercept_share
        )

    @cached_property
    def loo(self) -> np.ndarray:
        """Exact leave-one-out predictions (..., n[, m]), as of `DistillationPath`."""
        if self._left_out is None:
            return super().loo
        predictions = self._unscaled(self._left_out) + self.targets.mean
        return self._result(predictions, "leave-one-out predictions", power=1)

    @cached_property
    def loo_mse(self) -> np.ndarray:
        """Leave-one-out error Σ w (y − loo)² / Σ w, (...[, m])."""
        if self._left_out is None:
            return super().loo_mse
        frame, errors = self.spectrum.frame, np.square(self.targets.scaled - self._left_out)
        if self._masked is not None:
            errors[:, frame.light] = 0.0
        errors = errors.sum(axis=1) / frame.total_weight
        return self._result(errors, "mean squared errors", power=2)
