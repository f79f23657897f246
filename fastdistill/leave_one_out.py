"""Exact leave-one-out predictions of every student, its teachers refitted without the point too, and no refit done.

With h = diag(H), H = U a Uᵀ (an intercept adds the direction sqrt(w) with filter 1), u_t the targets of step t, and
G_{t,s} = Π_{s<r≤t} ξ_r a^(t−s+1), for each point i::

    δ_t = ( [H u_t]_i − u_{t,i} + ξ_t Σ_{s<t} δ_s ([H G_{t−1,s}]_ii − [G_{t−1,s}]_ii) ) / (1 − h_i)
    loo_t = [H u_t]_i + Σ_{s≤t} δ_s [G_{t,s}]_ii

Every difference is formed without subtraction, from 1 − a = λ / (d + λ): the result is as exact at λ = 1e-14 as at 1.
Where a point has the leverage one it alone fixes a direction; numerator and 1 − h then vanish together with λ, and the
ratio of their parts linear in λ is the least-norm refit.

None of the four papers has this formula; for one step of ridge it is Allen's PRESS.

Cost: four products with the (n, r) rows of U per penalty and step, and O(n k²); working arrays hold a block of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fastdistill.students import compiled_kernels

if TYPE_CHECKING:
    from fastdistill.spectrum import Spectrum
    from fastdistill.students import Targets

BLOCK_ENTRIES = 2**20  # entries of a working array (8 MiB)
EPS = float(np.finfo(np.float64).eps)


def leave_one_out_blocks(
    spectrum: Spectrum, targets: Targets, lam: np.ndarray, xi: np.ndarray
) -> Iterator[tuple[int, _Rows, np.ndarray]]:
    """(family, rows, centred predictions (k+1, rows, m)) for families of penalties lam (P,) and weights xi (P, k)."""
    steps = xi.shape[1] + 1
    at_once = max(1, BLOCK_ENTRIES // (steps * max(1, spectrum.rank)))
    for first in range(0, len(lam), at_once):
        families = _Families(spectrum._d, lam[first : first + at_once], xi[first : first + at_once])
        height = max(1, BLOCK_ENTRIES // max(spectrum.rank, steps * len(families.lam) * targets.z.shape[1]))
        for start in range(0, spectrum.n_samples, height):
            rows = _Rows(spectrum, targets, slice(start, min(start + height, spectrum.n_samples)))
            for family, predictions in enumerate(families.predictions(rows)):
                yield first + family, rows, predictions


def leverages(spectrum: Spectrum, filter_: np.ndarray) -> np.ndarray:
    """Diagonal (n,) of the smoother U F Uᵀ of a filter F (r,), the intercept's share included."""
    weight = np.ones(spectrum.n_samples) if spectrum._weight is None else spectrum._weight
    diagonal = weight / spectrum.total_weight * spectrum.fit_intercept
    height = max(1, BLOCK_ENTRIES // max(1, spectrum.rank))
    for start in range(0, spectrum.n_samples, height):
        stop = min(start + height, spectrum.n_samples)
        diagonal[start:stop] += np.square(spectrum._row_block(start, stop)) @ filter_
    return diagonal


class _Rows:
    """A block of rows of U and what leave-one-out needs of them; coordinates are of the centred, unscaled targets."""

    def __init__(self, spectrum: Spectrum, targets: Targets, index: slice) -> None:
        self.index, self.z = index, targets.z
        self.weight = np.ones(index.stop - index.start) if spectrum._weight is None else spectrum._weight[index]
        u = spectrum._row_block(index.start, index.stop)
        self.u2 = np.square(u)
        self.fixed = self.weight / spectrum.total_weight * spectrum.fit_intercept
        # the part of a point's unit vector that no fit reaches; exactly 0 where rounding could have made all of it
        self.null = 1.0 - self.fixed - self.u2.sum(axis=1)
        if spectrum.rank == spectrum.n_effective - spectrum.fit_intercept:
            self.null[self.weight > 0] = 0.0
        self.null[self.null < 16 * EPS * max(1, spectrum.rank) ** 0.5] = 0.0
        self.expand, self.unreached = spectrum._unscaled(index, u, targets.unreached[index])
        self.unreached[self.null == 0.0] = 0.0

    @cached_property
    def y(self) -> np.ndarray:
        """The centred targets (rows, m); meaningless at zero weight."""
        return self.expand @ self.z + self.unreached


class _Families:
    """Multipliers of families of students, each of one penalty and one schedule: (P, k+1, r)."""

    def __init__(self, d: np.ndarray, lam: np.ndarray, xi: np.ndarray) -> None:
        self.lam, self.xi = lam, np.ascontiguousarray(xi)
        steps = xi.shape[1] + 1
        penalty = lam[:, None]
        with np.errstate(invalid="ignore"):
            complement = np.where(np.isinf(penalty), 1.0, penalty / (d + penalty))
        complement[lam == 0.0] = 1.0 / d  # the part of 1 − a that is linear in λ
        self.filters = np.empty((len(lam), steps, len(d)))
        kernels = compiled_kernels()
        kernels.student_grid(d, np.repeat(penalty, steps, axis=1), self.xi, kernels.FILTER, self.filters)
        self.truth = np.concatenate([np.ones((len(lam), 1)), 1.0 - xi], axis=1)  # the share of y in each step's targets
        carried = np.empty_like(self.filters)
        carried[:, 0] = 1.0
        carried[:, 1:] = self.truth[:, 1:, None] + xi[:, :, None] * self.filters[:, :-1]
        self.residuals = carried * complement[:, None]
        # kept_j = Σ_r U² a^(j+1) + the intercept's share, lost_j = Σ_r U² (1 − a) a^j
        self.kept = np.empty_like(self.filters)
        for powers, penalty_ in zip(self.kept, lam, strict=True):
            kernels.filter_powers(d, penalty_, powers)
        self.lost = np.empty_like(self.kept)
        self.lost[:, 0] = complement
        np.multiply(self.kept[:, :-1], complement[:, None], out=self.lost[:, 1:])

    def predictions(self, rows: _Rows) -> Iterator[np.ndarray]:
        """Centred leave-one-out predictions (k+1, rows, m) of each family."""
        kernels = compiled_kernels()
        kept = _product(self.kept, rows.u2)
        kept += rows.fixed
        lost = _product(self.lost, rows.u2)
        lost[self.lam == 0.0] *= rows.null == 0.0
        out = np.empty((*lost.shape, rows.z.shape[1]))
        left = lost[:, 0] + rows.null
        for j in range(rows.z.shape[1]):
            fit = _product(self.filters * rows.z[:, j], rows.expand)
            residual = _product(self.residuals * -rows.z[:, j], rows.expand)
            residual[self.lam == 0.0] *= rows.null == 0.0
            residual -= self.truth[:, :, None] * rows.unreached[:, j]
            for i, xi in enumerate(self.xi):
                column = np.empty_like(fit[i])
                kernels.leave_one_out(xi, left[i], kept[i], lost[i], fit[i], residual[i], column)
                out[i, :, :, j] = column
        yield from out


def _product(multipliers: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Σ_r multipliers (P, k+1, r) rows (n, r) -> (P, k+1, n)."""
    families, steps, r = multipliers.shape
    return (multipliers.reshape(families * steps, r) @ rows.T).reshape(families, steps, len(rows))
