"""Coordinates of one problem in an orthonormal basis of its samples: every student is a multiplier of each.

With U, V and d of the scaled design X_s = U diag(sqrt(d)) Vᵀ, or U and d of the scaled kernel K_s = U diag(d) Uᵀ::

    targets   z = Uᵀ y_s,  unreached = y_s − U z          fits     ŷ_s = U (f ∘ z)
    queries   Q = (X_q − x̄) V   or   (K_q − k̄) W^½ U       predictions   ȳ + Q (m ∘ z),  m = f / sqrt(d)   or   f / d

Cost: O(n r) per target, student or query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdistill.spectral.decompositions.eigen import Decomposition
from fastdistill.spectral.frame import Frame, Targets
from fastdistill.spectral.queries import Queries


@dataclass(frozen=True, eq=False)
class Rotated:
    """Targets in the coordinates of a basis; plain values.

    Attributes
    ----------
    z : ndarray (r, m)
        Uᵀ y_s.
    unreached : ndarray (n, m)
        y_s − U z, orthogonal to U.
    outside : ndarray (m,)
        Its squared norm.
    null_dual : ndarray (n, m) or None
        Of a kernel: what a direction with d = 0 adds to dual coefficients, before its multiplier. It moves no fit by
        more than rounding, but (K + λ I)⁻¹ y carries it along, divided by λ, and a query sees a direction of eigenvalue
        d with the weight sqrt(d): rounding errors of K count there.
    """

    z: np.ndarray
    unreached: np.ndarray
    outside: np.ndarray
    null_dual: np.ndarray | None


class Coordinates:
    """The basis of one decomposition in its frame.

    Attributes
    ----------
    d : ndarray (r,)
        Eigenvalues, descending.
    noise : float
        Eigenvalues of a kernel below this were cut.
    basis : ndarray (p, r) or (n, r)
        V of a design, U of a kernel.
    light_queries : ndarray or sparse
        The rows of the data without weight, as queries.
    is_complete : bool
        Whether the basis spans all centred targets, so that nothing is unreached.
    """

    def __init__(
        self, decomposition: Decomposition, frame: Frame, queries: Queries, light_queries: Any, *, is_kernel: bool
    ) -> None:
        self.d, self._rows, self.basis = decomposition.d, decomposition.rows, decomposition.basis
        self.noise, self.frame, self.queries, self.is_kernel = decomposition.noise, frame, queries, is_kernel
        self.is_complete = self.rank == frame.degrees
        self.light_queries, self._light_rows = light_queries, np.empty((0, self.rank))
        if len(frame.light):
            self._light_rows = self.of_queries(light_queries) / (self.d if is_kernel else np.sqrt(self.d))

    @property
    def rank(self) -> int:
        """Number r of eigenvalues."""
        return len(self.d)

    @property
    def smallest(self) -> float:
        """The smallest eigenvalue where it is negative, as of an indefinite kernel; 0 otherwise."""
        return min(0.0, float(self.d[-1])) if self.rank else 0.0

    def rotate(self, targets: Targets) -> Rotated:
        """z, and what of the targets the basis does not reach."""
        scaled = targets.scaled
        z = np.ascontiguousarray(self._rows.T @ scaled)
        if self.is_complete:
            unreached = np.zeros_like(scaled)
        else:
            unreached = scaled - self._rows @ z
            if self.frame.weight is not None:  # once more: what a heavy row leaves is the rounding of its own size
                unreached -= self._rows @ (self._rows.T @ unreached)
        # from the residual itself: ‖y‖² − ‖z‖² would cancel where y is nearly reached
        outside = np.einsum("ij,ij->j", unreached, unreached)
        null_dual = self.queries.coefficients(unreached.T).T if self.is_kernel and outside.any() else None
        return Rotated(z, unreached, outside, null_dual)

    def expand(self, coordinates: np.ndarray) -> np.ndarray:
        """W^-½ U c for each row c of `coordinates` (N, r) -> (N, n); light rows as queries."""
        if isinstance(self._rows, np.ndarray):
            fitted = coordinates @ self._rows.T
        else:
            fitted = np.ascontiguousarray((self._rows @ coordinates.T).T)
        if self.frame.weight is not None:
            fitted = self.frame.unscaled(fitted.T).T
            fitted[:, self.frame.light] = coordinates @ self._light_rows.T
        return fitted

    def row_block(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop of U (stop − start, r), as a dense array."""
        if isinstance(self._rows, np.ndarray):
            return self._rows[start:stop]
        return self._rows.block(start, stop)

    def unscaled_block(self, index: slice, u: np.ndarray) -> np.ndarray:
        """W^-½ U of a block of rows u of U; light rows as queries."""
        if self.frame.weight is None:
            return u
        rows, light = self.frame.unscaled(u, index), self.frame.light
        inside = (light >= index.start) & (light < index.stop)
        rows[light[inside] - index.start] = self._light_rows[inside]
        return rows

    def samples(self) -> np.ndarray:
        """The samples as W^-½ U s (n, r): those of the design, or of the kernel's features, up to a rotation and a
        shift, which neither ridge nor its intercept sees.
        """
        n = self.frame.n_samples
        if not self.rank:
            return np.zeros((n, 1))
        return self.unscaled_block(slice(0, n), self.row_block(0, n)) * np.sqrt(self.d)

    def lift(self, coordinates: np.ndarray) -> np.ndarray:
        """Public coefficients, V c or W^½ U c, for each row c of `coordinates` (N, r) -> (N, p or n)."""
        return self.queries.coefficients(coordinates @ self.basis.T)

    def of_queries(self, queries: Any) -> np.ndarray:
        """Coordinates Q (q, r) of checked queries."""
        return self.queries.project(queries, self.basis)
