"""Designs and kernels in their frame, before anything is decomposed: each solver takes from here what it needs.

::

    design   X_s = W^½ (X − 1 x̄ᵀ)                kernel   K_s = W^½ (K − 1 k̄ᵀ − k̄ 1ᵀ + k̿) W^½

Cost: O(n p) for a design, a copy and O(n²) for a kernel; then that of the solver.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fastdistill.spectral.decompositions.centre import Centre
from fastdistill.spectral.decompositions.cholesky import Cholesky, is_positive_semidefinite
from fastdistill.spectral.decompositions.eigen import (
    INDEFINITE,
    Decomposition,
    column_means,
    decompose_design,
    decompose_factor,
    decompose_kernel,
    entry_scale,
    has_heavy_rows,
    scaled_design,
    scaled_kernel,
)
from fastdistill.spectral.decompositions.tridiagonal import Tridiagonal
from fastdistill.spectral.frame import Frame
from fastdistill.spectral.queries import DesignQueries, KernelQueries, Queries

# Squares of the data below this are not told from zero: the decomposition says what is wrong.
UNDERFLOW = 1e-280
# Means of at most so many deviations of one of the first rows: their rounding moves no digit of the students.
NEAR, FEW_ROWS = 1e3, 16


class Problem(Protocol):
    """A design or kernel in its frame."""

    frame: Frame

    def decompose(self, solver: str) -> tuple[Decomposition, Queries]:
        """Eigenvalues and bases, by the solver named or "auto", and how new points enter; a kernel only once."""

    def factor(self, lam: float) -> tuple[Cholesky, Queries] | None:
        """A Cholesky factor for the penalty, and how new points enter; None where it would cost digits."""

    def light_queries(self) -> Any:
        """The rows of the data that the frame calls light."""


class DesignProblem:
    """A checked design, dense (n, p) or CSR."""

    def __init__(self, design: Any, frame: Frame) -> None:
        self.design, self.frame = design, frame

    def decompose(self, solver: str) -> tuple[Decomposition, DesignQueries]:
        """By the smaller Gram matrix, or an SVD."""
        decomposition = decompose_design(self.design, self.frame.weight, self.frame.fit_intercept, solver)
        return decomposition, DesignQueries(self.design.shape[1], decomposition.centre)

    def factor(self, lam: float) -> tuple[Cholesky, DesignQueries] | None:
        """Of the smaller Gram matrix of a dense design."""
        if not isinstance(self.design, np.ndarray):
            return None
        scaled, centre = self._scaled()
        factor = _factored(lambda: Cholesky.of_design(scaled, lam))
        return None if factor is None else (factor, DesignQueries(self.design.shape[1], centre))

    def _scaled(self) -> tuple[np.ndarray, Centre | None]:
        """X_s and x̄; in half the passes over X where no column is far from zero."""
        weight, fit_intercept = self.frame.weight, self.frame.fit_intercept
        if fit_intercept and weight is None:
            means = np.full(len(self.design), 1.0 / len(self.design)) @ self.design
            scaled = self.design - means
            # a few rows bound the spread from below
            if np.all(np.abs(means) <= NEAR * np.abs(scaled[:FEW_ROWS]).max(axis=0)):
                return scaled, Centre(means)
        return scaled_design(self.design, weight, column_means(self.design, weight) if fit_intercept else None)

    def light_queries(self) -> Any:
        """Rows of X."""
        return self.design[self.frame.light]


class KernelProblem:
    """A checked symmetric matrix with entries known to a relative `resolution`.

    With `indefinite` it may have negative eigenvalues; with `known_definite` none is looked for, and the matrix may be
    overwritten.
    """

    def __init__(
        self, kernel: np.ndarray, frame: Frame, resolution: float, *, indefinite: bool, known_definite: bool
    ) -> None:
        self.frame, self._resolution, self._indefinite = frame, resolution, indefinite
        self._light = kernel[frame.light]
        self._heavy = kernel.copy() if has_heavy_rows(frame.weight) else None
        self._scale = entry_scale(kernel.diagonal(), frame.weight, frame.fit_intercept)
        self._scaled, self._centre = scaled_kernel(kernel, frame.weight, frame.fit_intercept, overwrite=known_definite)
        self._queries = KernelQueries(frame, self._centre)
        self._known_definite = known_definite

    def is_definite(self) -> bool:
        """Whether a Cholesky factor shows K_s to be positive semi-definite; if not, eigenvalues have the last word."""
        # the largest entry is at most the largest eigenvalue, so that this allows no more than they do
        allowed = max(INDEFINITE, self._resolution * len(self._scaled)) * self._scaled.diagonal().max(initial=0.0)
        if not self._known_definite and allowed > 0 and np.isfinite(self._scaled.sum()):
            self._known_definite = is_positive_semidefinite(self._scaled, allowed)
        return self._known_definite

    def decompose(self, solver: str) -> tuple[Decomposition, KernelQueries]:
        """By all eigenvalues; of heavy rows by the graded SVD of a factor."""
        weight = self.frame.weight
        decomposition = decompose_kernel(
            np.negative(self._scaled, out=self._scaled),
            self._centre,
            weight,
            self._scale,
            self._resolution,
            indefinite=self._indefinite,
        )
        is_indefinite = self._indefinite and decomposition.d.min(initial=0.0) < 0
        if self._heavy is not None and weight is not None and not is_indefinite:
            decomposition = decompose_factor(self._heavy, weight, self._centre)
        return decomposition, self._queries

    def factor(self, lam: float) -> tuple[Cholesky, KernelQueries] | None:
        """Of K_s + λI, where K_s is positive semi-definite."""
        if not self.is_definite():
            return None
        factor = _factored(lambda: Cholesky.of_kernel(self._scaled, lam))
        return None if factor is None else (factor, self._queries)

    def tridiagonal(self) -> tuple[Tridiagonal, KernelQueries]:
        """The tridiagonal form of K_s, and how new points enter."""
        return Tridiagonal(self._scaled), self._queries

    def light_queries(self) -> np.ndarray:
        """Rows of K."""
        return self._light


def _factored(make: Any) -> Cholesky | None:
    """The factor, unless it fails, is inaccurate, or squares leave float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            factor: Cholesky = make()
        except np.linalg.LinAlgError:
            return None
    return factor if factor.trace > UNDERFLOW and np.isfinite(factor.trace) and factor.accurate else None
