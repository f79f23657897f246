"""Exact leave-one-out predictions of every student, its teachers refitted without the point too, and no refit done.

With h = diag(H), H = U a Uᵀ (an intercept adds the direction sqrt(w) with filter 1), u_t the targets of step t, and
G_{t,s} = Π_{s<r≤t} ξ_r a^(t−s+1), for each point i::

    δ_t = ( [H u_t]_i − u_{t,i} + ξ_t Σ_{s<t} δ_s ([H G_{t−1,s}]_ii − [G_{t−1,s}]_ii) ) / (1 − h_i)
    loo_t = [H u_t]_i + Σ_{s≤t} δ_s [G_{t,s}]_ii

Subtracting as written costs a relative error of eps / (1 − h): good enough where no leverage in a block of rows is near
one. Elsewhere every difference is formed without subtraction, from 1 − a = λ / (d + λ), which takes twice the products:
the result is as exact at λ = 1e-14 as at 1. Where a point has the leverage one it alone fixes a direction; numerator
and 1 − h then vanish together with λ, and the ratio of their parts linear in λ is the least-norm refit.

None of the four papers has this formula; for one step of ridge it is Allen's PRESS.

Cost: two or four products with the (n, r) rows of U per penalty and step, and O(n k²); working arrays hold a block of
rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from fastdistill.spectral.coordinates import Coordinates, Rotated
from fastdistill.spectral.students import compiled_kernels

BLOCK_ENTRIES = 2**20  # entries of a working array (8 MiB)
# Four times as many can take three times as long: beyond 1 MiB the allocator maps fresh pages every time.
CACHED_ENTRIES = 2**16  # entries of what a product writes and a kernel reads again at once
EFFICIENT_ROWS = 512  # fewer would slow products with thousands of columns down
CROWDED = 1 / 64  # below this, 1 − h is formed without subtraction: the other way would lose two digits
WORTH_COMPRESSING = 50  # rows per multiplier from which the SVD of the multipliers costs less than it can save
EPS = float(np.finfo(np.float64).eps)


def leave_one_out_blocks(
    coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray
) -> Iterator[tuple[int, _Rows, np.ndarray]]:
    """(family, rows, centred predictions (k+1, rows, m)) for families of penalties lam (P,) and weights xi (P, k)."""
    for first, families, rows in _blocks(coordinates, rotated, lam, xi):
        for family, predictions in enumerate(families.predictions(rows)):
            yield first + family, rows, predictions


def leave_one_out_factors(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """R factors (P, k+2, k+2) of √w [loo_0 .. loo_k y] for each family, the targets one below the other."""
    factors = np.zeros((len(lam), xi.shape[1] + 2, xi.shape[1] + 2))
    for first, families, rows in _blocks(coordinates, rotated, lam, xi):
        families.append_to(factors[first : first + len(families.lam)], rows)
    return factors


def _blocks(
    coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray
) -> Iterator[tuple[int, _Families, _Rows]]:
    """Some families, the first one's number, and some rows, such that working arrays keep their size."""
    steps = xi.shape[1] + 1
    at_once = max(1, BLOCK_ENTRIES // (steps * max(1, coordinates.rank)))
    for first in range(0, len(lam), at_once):
        families = _Families(coordinates, rotated, lam[first : first + at_once], xi[first : first + at_once])
        width = steps * len(families.lam) * rotated.z.shape[1]
        height = max(
            1, min(BLOCK_ENTRIES // max(coordinates.rank, width), max(CACHED_ENTRIES // width, EFFICIENT_ROWS))
        )
        for start in range(0, coordinates.frame.n_samples, height):
            yield (
                first,
                families,
                _Rows(coordinates, rotated, slice(start, min(start + height, coordinates.frame.n_samples))),
            )


def leverages(coordinates: Coordinates, filter_: np.ndarray) -> np.ndarray:
    """Diagonal (n,) of the smoother U F Uᵀ of a filter F (r,), the intercept's share included."""
    n, diagonal = coordinates.frame.n_samples, coordinates.frame.intercept_share
    height = max(1, BLOCK_ENTRIES // max(1, coordinates.rank))
    for start in range(0, n, height):
        stop = min(start + height, n)
        diagonal[start:stop] += np.square(coordinates.row_block(start, stop)) @ filter_
    return diagonal


class _Rows:
    """A block of rows of U and what leave-one-out needs of them; coordinates are of the centred, unscaled targets."""

    def __init__(self, coordinates: Coordinates, rotated: Rotated, index: slice) -> None:
        frame, self.index, self.z = coordinates.frame, index, rotated.z
        self.weight = np.ones(index.stop - index.start) if frame.weight is None else frame.weight[index]
        self.root = np.empty(0) if frame.root is None else frame.root[index]  # (0,) where all are 1
        u = coordinates.row_block(index.start, index.stop)
        self.u2 = np.square(u)
        self.fixed = self.weight / frame.total_weight * frame.fit_intercept
        # the part of a point's unit vector that no fit reaches; exactly 0 where rounding could have made all of it
        self.null = 1.0 - self.fixed - self.u2.sum(axis=1)
        if coordinates.is_complete:
            self.null[self.weight > 0] = 0.0
        self.null[self.null < 16 * EPS * max(1, coordinates.rank) ** 0.5] = 0.0
        self.expand = coordinates.unscaled_block(index, u)
        self.unreached = frame.unscaled(rotated.unreached[index], index).copy()
        self.unreached[self.null == 0.0] = 0.0

    @cached_property
    def y(self) -> np.ndarray:
        """The centred targets (rows, m); meaningless at zero weight."""
        return self.expand @ self.z + self.unreached


class _Families:
    """Multipliers of families of students, each of one penalty and one schedule: (P, k+1, r)."""

    def __init__(self, coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray) -> None:
        self.d, self.lam, self.xi = coordinates.d, lam, np.ascontiguousarray(xi)
        d, steps = self.d, xi.shape[1] + 1
        self.filters = np.empty((len(lam), steps, len(d)))
        kernels = compiled_kernels()
        kernels.student_grid(d, np.repeat(lam[:, None], steps, axis=1), self.xi, kernels.FILTER, self.filters)
        # kept_j = Σ_r U² a^(j+1) + the intercept's share
        self.kept = np.empty_like(self.filters)
        for powers, penalty in zip(self.kept, lam, strict=True):
            kernels.filter_powers(d, penalty, powers)
        self.kept_of = _Product(self.kept, coordinates.frame.n_samples)
        self.fit_of = [_Product(self.filters * z, coordinates.frame.n_samples) for z in rotated.z.T]

    @cached_property
    def complement(self) -> np.ndarray:
        """1 − a (P, r); at λ = 0 its part linear in λ."""
        penalty = self.lam[:, None]
        with np.errstate(invalid="ignore"):
            complement = np.where(np.isinf(penalty), 1.0, penalty / (self.d + penalty))
        complement[self.lam == 0.0] = 1.0 / self.d
        return complement

    @cached_property
    def lost(self) -> np.ndarray:
        """lost_j = Σ_r U² (1 − a) a^j."""
        lost = np.empty_like(self.kept)
        lost[:, 0] = self.complement
        np.multiply(self.kept[:, :-1], self.complement[:, None], out=lost[:, 1:])
        return lost

    @cached_property
    def truth(self) -> np.ndarray:
        """The share of y in each step's targets (P, k+1)."""
        return np.concatenate([np.ones((len(self.lam), 1)), 1.0 - self.xi], axis=1)

    @cached_property
    def residuals(self) -> np.ndarray:
        """Targets of each step less its fit."""
        carried = np.empty_like(self.filters)
        carried[:, 0] = 1.0
        carried[:, 1:] = self.truth[:, 1:, None] + self.xi[:, :, None] * self.filters[:, :-1]
        return carried * self.complement[:, None]

    def predictions(self, rows: _Rows) -> np.ndarray:
        """Centred leave-one-out predictions (P, k+1, rows, m)."""
        kernels = compiled_kernels()
        kept, crowded = self._leverages(rows)
        out = np.empty((*kept.shape, rows.z.shape[1]))
        for j, fit, careful in self._fits(rows, kept, crowded):
            y, column = np.ascontiguousarray(rows.y[:, j]), np.empty_like(fit[0])
            for i in np.flatnonzero(~crowded):
                kernels.leave_one_out_direct(self.xi[i], y, kept[i], fit[i], column)
                out[i, :, :, j] = column
            for family, column in careful:
                out[family, :, :, j] = column
        return out

    def append_to(self, factors: np.ndarray, rows: _Rows) -> None:
        """Append the rows √w [loo_0 .. loo_k y] to the R factors (P, k+2, k+2)."""
        kernels = compiled_kernels()
        kept, crowded = self._leverages(rows)
        for j, fit, careful in self._fits(rows, kept, crowded):
            y = np.ascontiguousarray(rows.y[:, j])
            kernels.leave_one_out_factors(self.xi, y, rows.root, kept, fit, crowded, factors)
            for i, column in careful:
                columns = np.vstack([column, y])
                kernels.append_rows(columns * rows.root if len(rows.root) else columns, factors[i])

    def _leverages(self, rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
        """kept (P, k+1, rows), and the families (P,) with a leverage near one."""
        kept = self.kept_of(rows.u2)
        kept += rows.fixed
        return kept, 1.0 - kept[:, 0].max(axis=1) < CROWDED

    def _fits(
        self, rows: _Rows, kept: np.ndarray, crowded: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, Iterator[tuple[int, np.ndarray]]]]:
        """Each target, its fits (P, k+1, rows) and, without subtraction, the predictions (k+1, rows) of the crowded."""
        which = np.flatnonzero(crowded)
        lost = _Product(self.lost[which])(rows.u2) if len(which) else np.empty((0, *kept.shape[1:]))
        lost[self.lam[which] == 0.0] *= rows.null == 0.0
        for j, fit_of in enumerate(self.fit_of):
            fit = fit_of(rows.expand)
            yield j, fit, self._careful(rows, j, which, kept, lost, fit)

    def _careful(
        self, rows: _Rows, j: int, which: np.ndarray, kept: np.ndarray, lost: np.ndarray, fit: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Centred predictions (k+1, rows) of target j by the families `which`."""
        if not len(which):
            return
        residual = _Product(self.residuals[which] * -rows.z[:, j])(rows.expand)
        residual[self.lam[which] == 0.0] *= rows.null == 0.0
        residual -= self.truth[which, :, None] * rows.unreached[:, j]
        for i, lost_i, residual_i in zip(which, lost, residual, strict=True):
            column = np.empty_like(fit[i])
            left = lost_i[0] + rows.null
            compiled_kernels().leave_one_out(self.xi[i], left, kept[i], lost_i, fit[i], residual_i, column)
            yield i, column


class _Product:
    """Σ_r multipliers (P, k+1, r) rows (n, r) -> (P, k+1, n), through fewer than r directions where that is cheaper.

    Multipliers of neighbouring penalties are nearly dependent: to the last digit, 50 penalties and 3 steps on 50
    eigenvalues of one size span 9 directions, on eigenvalues over one decade 12 to 21, over three about 30. What is cut
    of a student's multipliers is a rounding error of their own norm.
    """

    def __init__(self, multipliers: np.ndarray, n_rows: int = 0) -> None:
        self.shape = multipliers.shape[:2]
        flat = multipliers.reshape(self.shape[0] * self.shape[1], multipliers.shape[2])
        self.factors = [flat]
        if not flat.size or n_rows < WORTH_COMPRESSING * min(flat.shape):
            return
        size = np.linalg.norm(flat, axis=1, keepdims=True)
        _, s, vt = np.linalg.svd(flat / np.where(size > 0, size, 1.0), full_matrices=False)
        directions = vt[s > 2 * EPS * s[0]]
        if len(directions) * sum(flat.shape) < 0.7 * flat.size:
            self.factors = [directions, flat @ directions.T]

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        product = rows.T
        for factor in self.factors:
            product = factor @ product
        return product.reshape(*self.shape, len(rows))
