"""Coordinates of one problem in an orthonormal basis of its samples: a student multiplies each by a number.

With U, V and d of the scaled design X_s = U diag(sqrt(d)) Vᵀ, or U and d of the scaled kernel K_s = U diag(d) Uᵀ, and
the filter f of a student (see `fastdistill.kernels.student_grid`)::

    targets   z = Uᵀ y_s                                 fits          ŷ = ȳ + W^-½ U (f ∘ z)
    queries   Q = (X_q − x̄) V   or   (K_q − k̄) W^½ U     predictions   ȳ + Q (m ∘ z),  m = f / sqrt(d)   or   f / d

======================================  =================================
symbol                                  here
======================================  =================================
d                                       ``Coordinates.d`` (r,)
V of a design, U of a kernel            ``Coordinates.basis``
z                                       ``Rotated.z`` (r, m)
y_s − U z, outside the span of U        ``Rotated.outside_part`` (n, m)
‖y_s − U z‖²                            ``Rotated.outside`` (m,)
======================================  =================================

Cost: O(n r) per target, student or query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from fastdistill.spectral.decompositions.eigen import Decomposition, WideBasis
from fastdistill.spectral.decompositions.tall import TallRows
from fastdistill.spectral.frame import Frame, Targets
from fastdistill.spectral.queries import Queries

BLOCK_ENTRIES = 2**17  # of a working array (1 MiB)
# ‖y_s − U z‖² is ‖y_s‖² − ‖z‖² to 12 digits where this share of ‖y_s‖² is left and the eigenvalues of a Gram matrix are
# this even. That saves a pass over a tall design.
FAR_OUTSIDE, EVEN = 1 / 16, 1e-3


@dataclass(frozen=True, eq=False)
class Rotated:
    """Scaled targets y_s (n, m) in the basis U, and their part outside its span.

    Attributes
    ----------
    scaled : ndarray (n, m)
        y_s itself.
    z : ndarray (r, m)
        Uᵀ y_s.
    left : ndarray (n, m), or a function without arguments that forms it
        y_s − U z, orthogonal to U. No fit reaches it. Read it from `outside_part`.
    outside : ndarray (m,)
        Its squared norm.
    outside_dual : ndarray (n, m) or None
        Of a kernel: the dual coefficients W^½ (y_s − U z), to be multiplied by `Students.outside_multipliers`. None
        where they are zero, and of a design. The dual coefficients (K + λ I)⁻¹ y contain the outside part divided by
        λ. It moves no fit by more than rounding, but it counts in predictions: a query weighs a direction of
        eigenvalue d by sqrt(d), and rounding errors of K hide small d.
    """

    scaled: np.ndarray
    z: np.ndarray
    left: np.ndarray | Callable[[], np.ndarray]
    outside: np.ndarray
    outside_dual: np.ndarray | None

    @cached_property
    def outside_part(self) -> np.ndarray:
        """y_s − U z (n, m)."""
        return self.left() if callable(self.left) else self.left

    def merged(self) -> Rotated:
        """At most r + 1 targets that have the same sums of products, for students that all targets share.

        A student is linear in y, so that Σ_j of squares over the targets does not change when they are rotated among
        each other: with zᵀ = Q R, to those of coordinates Rᵀ and others of z = 0. Fits of these are 0, and every sum
        over them is one over samples i of ρ_i, the squares of their parts outside: they merge into one, sqrt(ρ).
        """
        r, m = self.z.shape
        if m <= r + 1:
            return self
        q, upper = np.linalg.qr(self.z.T)
        outside = self.outside_part @ q
        rest = np.zeros((len(outside), 1))
        for index in _row_blocks(len(outside), m):
            left = self.outside_part[index] - outside[index] @ q.T
            rest[index, 0] = np.sqrt(np.einsum("ij,ij->i", left, left))
        outside = np.hstack([outside, rest])
        return Rotated(
            np.hstack([self.scaled @ q, rest]),
            np.hstack([upper.T, np.zeros((r, 1))]),
            outside,
            np.einsum("ij,ij->j", outside, outside),
            None,
        )


def _row_blocks(n: int, width: int) -> Iterator[slice]:
    height = max(1, BLOCK_ENTRIES // width)
    for start in range(0, n, height):
        yield slice(start, min(start + height, n))


def _outside_part(rows: Any, scaled: np.ndarray, z: np.ndarray) -> np.ndarray:
    fitted = rows @ z
    return np.subtract(scaled, fitted, out=fitted)


class Coordinates:
    """The basis of one decomposition, with the weights and the intercept of its frame.

    Attributes
    ----------
    d : ndarray (r,)
        Eigenvalues, descending.
    noise : float
        Eigenvalues of a kernel below this were dropped: rounding could have made them of zero.
    light_queries : ndarray or sparse
        The samples of next to no weight (`Frame.light`), as queries.
    is_complete : bool
        Whether the basis spans all centred targets, so that `Rotated.outside` is zero.
    """

    def __init__(
        self, decomposition: Decomposition, frame: Frame, queries: Queries, light_queries: Any, *, is_kernel: bool
    ) -> None:
        self.d, self._rows, self._basis = decomposition.d, decomposition.rows, decomposition.basis
        self.noise, self.frame, self.queries, self.is_kernel = decomposition.noise, frame, queries, is_kernel
        self.is_complete = self.rank == frame.degrees
        self.light_queries, self._light_rows = light_queries, np.empty((0, self.rank))
        if len(frame.light):
            self._light_rows = self.project(light_queries) / (self.d if is_kernel else np.sqrt(self.d))

    @property
    def basis(self) -> np.ndarray:
        """V (p, r) of a design, U (n, r) of a kernel."""
        return self._basis.array if isinstance(self._basis, WideBasis) else self._basis

    @property
    def tall(self) -> TallRows | None:
        """The rows of U where they are formed from a tall design without weights; None elsewhere."""
        return self._rows if isinstance(self._rows, TallRows) else None

    @property
    def rank(self) -> int:
        """Number r of eigenvalues."""
        return len(self.d)

    @property
    def smallest(self) -> float:
        """The smallest eigenvalue where it is negative, as of an indefinite kernel; 0 otherwise."""
        return min(0.0, float(self.d[-1])) if self.rank else 0.0

    def rotate(self, targets: Targets) -> Rotated:
        """z = Uᵀ y_s, and the part of the targets outside the span of U."""
        scaled = targets.scaled
        z = np.ascontiguousarray(self._rows.T @ scaled)
        if self.tall is not None and self.d[-1] > EVEN * self.d[0]:
            within, total = np.einsum("ij,ij->j", z, z), np.einsum("ij,ij->j", scaled, scaled)
            if np.all(total - within > FAR_OUTSIDE * total):
                return Rotated(scaled, z, partial(_outside_part, self._rows, scaled, z), total - within, None)
        if self.is_complete:
            outside_part = np.zeros_like(scaled)
        else:
            outside_part = _outside_part(self._rows, scaled, z)
            if self.frame.weight is not None:  # once more: rounding errors have the size of the heaviest row
                outside_part -= self._rows @ (self._rows.T @ outside_part)
        # ‖y‖² − ‖z‖² would cancel where nearly all of y is in the span
        outside = np.einsum("ij,ij->j", outside_part, outside_part)
        outside_dual = self.queries.coefficients(outside_part.T).T if self.is_kernel and outside.any() else None
        return Rotated(scaled, z, outside_part, outside, outside_dual)

    def fits(self, coordinates: np.ndarray) -> np.ndarray:
        """Centred fits W^-½ U c for each row c of `coordinates` (N, r) -> (N, n); light samples as queries."""
        if isinstance(self._rows, np.ndarray):
            fitted = coordinates @ self._rows.T
        else:
            fitted = self._rows.fits(coordinates)
        if self.frame.weight is not None:
            fitted = self.frame.unscaled(fitted.T).T
            fitted[:, self.frame.light] = coordinates @ self._light_rows.T
        return fitted

    def row_block(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop of U (stop − start, r), as a dense array."""
        if isinstance(self._rows, np.ndarray):
            return self._rows[start:stop]
        return self._rows.block(start, stop)

    def rows_at(self, index: np.ndarray) -> np.ndarray:
        """Rows `index` (h,) of U (h, r), as a dense array."""
        if isinstance(self._rows, np.ndarray):
            return self._rows[index]
        out = np.empty((len(index), self.rank))
        height = max(1, 2**20 // max(1, self.rank))  # 8 MiB
        for start in range(0, self.frame.n_samples, height):
            inside = (index >= start) & (index < start + height)
            if inside.any():
                out[inside] = self.row_block(start, min(start + height, self.frame.n_samples))[index[inside] - start]
        return out

    def light_rows_at(self, index: np.ndarray) -> np.ndarray:
        """W^-½ U (h, r) of light samples `index` (h,), as queries."""
        return self._light_rows[np.searchsorted(self.frame.light, index)]

    def unscaled_block(self, index: slice, u: np.ndarray) -> np.ndarray:
        """W^-½ U of a block of rows u of U; light samples as queries."""
        if self.frame.weight is None:
            return u
        rows, light = self.frame.unscaled(u, index), self.frame.light
        inside = (light >= index.start) & (light < index.stop)
        rows[light[inside] - index.start] = self._light_rows[inside]
        return rows

    def samples(self) -> np.ndarray:
        """A design W^-½ U diag(sqrt(d)) (n, r) that gives the same students.

        It equals the samples, or the features of a kernel, up to a rotation and, with an intercept, a shift: neither
        changes a ridge fit.
        """
        n = self.frame.n_samples
        if not self.rank:
            return np.zeros((n, 1))
        return self.unscaled_block(slice(0, n), self.row_block(0, n)) * np.sqrt(self.d)

    def coefficients(self, coordinates: np.ndarray) -> np.ndarray:
        """Coefficients V c of a design, W^½ U c of a kernel, for each row c of `coordinates` (N, r) -> (N, p or n)."""
        basis = self._basis
        combined = basis.combined(coordinates) if isinstance(basis, WideBasis) else coordinates @ basis.T
        return self.queries.coefficients(combined)

    def project(self, queries: Any) -> np.ndarray:
        """Coordinates Q (q, r) of checked queries."""
        if isinstance(self._basis, WideBasis):
            return self.queries.project(queries, self._basis.scaled.T) @ self._basis.inner
        return self.queries.project(queries, self._basis)
