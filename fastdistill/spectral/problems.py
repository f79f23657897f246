"""Designs and kernels in their frame, before anything is decomposed: each solver takes from here what it needs.

::

    design   X_s = W^½ (X − 1 x̄ᵀ)                kernel   K_s = W^½ (K − 1 k̄ᵀ − k̄ 1ᵀ + k̿) W^½

Cost: O(n p) for a design, a copy and O(n²) for a kernel; then that of the solver.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

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
    negated_kernel,
    scaled_design,
)
from fastdistill.spectral.frame import Frame
from fastdistill.spectral.queries import DesignQueries, KernelQueries, Queries

# Squares of the data below this are not told from zero: the decomposition says what is wrong.
UNDERFLOW = 1e-280


class Problem(Protocol):
    """A design or kernel in its frame."""

    frame: Frame

    def decompose(self) -> tuple[Decomposition, Queries]:
        """Eigenvalues and bases, and how new points enter; a kernel can be decomposed once."""

    def factor(self, lam: float) -> tuple[Cholesky, Queries] | None:
        """A Cholesky factor for the penalty, and how new points enter; None where it would cost digits."""

    def light_queries(self) -> Any:
        """The rows of the data that the frame calls light."""


class DesignProblem:
    """A checked design, dense (n, p) or CSR."""

    def __init__(self, design: Any, frame: Frame) -> None:
        self.design, self.frame = design, frame

    def decompose(self) -> tuple[Decomposition, DesignQueries]:
        """By the smaller Gram matrix, or an SVD."""
        decomposition = decompose_design(self.design, self.frame.weight, self.frame.fit_intercept)
        return decomposition, DesignQueries(self.design.shape[1], decomposition.centre)

    def factor(self, lam: float) -> tuple[Cholesky, DesignQueries] | None:
        """Of the smaller Gram matrix of a dense design."""
        if not isinstance(self.design, np.ndarray):
            return None
        weight = self.frame.weight
        means = column_means(self.design, weight) if self.frame.fit_intercept else None
        scaled, centre = scaled_design(self.design, weight, means)
        factor = _factored(lambda: Cholesky.of_design(scaled, lam))
        return None if factor is None else (factor, DesignQueries(self.design.shape[1], centre))

    def light_queries(self) -> Any:
        """Rows of X."""
        return self.design[self.frame.light]


class KernelProblem:
    """A checked symmetric matrix with entries known to a relative `resolution`.

    With `indefinite` it may have negative eigenvalues; with `known_definite` none is looked for.
    """

    def __init__(
        self, kernel: np.ndarray, frame: Frame, resolution: float, *, indefinite: bool, known_definite: bool
    ) -> None:
        self.frame, self._resolution, self._indefinite = frame, resolution, indefinite
        self._light = kernel[frame.light]
        self._heavy = kernel.copy() if has_heavy_rows(frame.weight) else None
        self._scale = entry_scale(kernel.diagonal(), frame.weight, frame.fit_intercept)
        self._negated, self._centre = negated_kernel(kernel, frame.weight, frame.fit_intercept)
        self._queries = KernelQueries(frame, self._centre)
        self._known_definite = known_definite

    def is_definite(self) -> bool:
        """Whether a Cholesky factor shows K_s to be positive semi-definite; if not, eigenvalues have the last word."""
        # the largest entry is at most the largest eigenvalue, so that this allows no more than they do
        allowed = max(INDEFINITE, self._resolution * len(self._negated)) * -self._negated.diagonal().min(initial=0.0)
        if not self._known_definite and allowed > 0 and np.isfinite(self._negated.sum()):
            self._known_definite = is_positive_semidefinite(-self._negated, allowed)
        return self._known_definite

    def decompose(self) -> tuple[Decomposition, KernelQueries]:
        """By all eigenvalues; of heavy rows by the graded SVD of a factor."""
        weight = self.frame.weight
        decomposition = decompose_kernel(
            self._negated, self._centre, weight, self._scale, self._resolution, indefinite=self._indefinite
        )
        is_indefinite = self._indefinite and decomposition.d.min(initial=0.0) < 0
        if self._heavy is not None and weight is not None and not is_indefinite:
            decomposition = decompose_factor(self._heavy, weight, self._centre)
        return decomposition, self._queries

    def factor(self, lam: float) -> tuple[Cholesky, KernelQueries] | None:
        """Of K_s + λI, where K_s is positive semi-definite."""
        if not self.is_definite():
            return None
        factor = _factored(lambda: Cholesky.of_kernel(-self._negated, lam, overwrite=True))
        return None if factor is None else (factor, self._queries)

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
