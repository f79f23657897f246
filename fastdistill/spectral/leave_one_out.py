"""Exact leave-one-out predictions of every student, as if it and its teachers were refitted without the sample.

Let H = U a Uᵀ be the smoother of student 0 (an intercept adds the direction sqrt(w), with the filter 1), h_i = H_ii
the leverages, u_t the targets of step t, and G_{t,s} = Π_{s<r≤t} ξ_r a^(t−s+1). Dropping sample i amounts to moving its
target at step t by some δ_t, so that the fit passes through it::

    δ_t = ( [H u_t]_i − u_{t,i} + ξ_t Σ_{s<t} δ_s ([H G_{t−1,s}]_ii − [G_{t−1,s}]_ii) ) / (1 − h_i)
    loo_t = [H u_t]_i + Σ_{s≤t} δ_s [G_{t,s}]_ii

==================================  ==================================================
symbol                              here
==================================  ==================================================
diag H^(j+1), j = 0..k              ``power_diagonals`` (P, k+1, rows)
diag (I − H) H^j                    ``complement_diagonals`` (P, k+1, rows)
1 − h at λ = 0                      ``unreached_share`` (rows,)
ground-truth weights 1 − ξ_t        ``ground_truth_weights`` (P, k+1); 1 at step 0
==================================  ==================================================

The subtraction in 1 − h costs a relative error of eps / (1 − h). That is good enough where no leverage in a block of
rows is near one. Elsewhere (`near_interpolation`) every difference is formed without a subtraction, from
1 − a = λ / (d + λ). This takes twice the products, and the result is as exact at λ = 1e-14 as at 1. A sample of
leverage one alone fixes a direction: numerator and 1 − h then vanish together with λ, and the ratio of their parts
linear in λ is the least-norm refit.

None of the four papers has this formula; for one step of ridge it is Allen's PRESS.

Cost: two or four products with the (n, r) rows of U per penalty and step, and O(n k²); working arrays hold a block of
rows. For one target of a tall design of at most 320 columns `tall_students` does ridge, and sums over two pure steps,
in a third of the time (50 columns) to three quarters (320).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from fastdistill.spectral import tall_students
from fastdistill.spectral.compiled import compiled_kernels, fill_multipliers
from fastdistill.spectral.coordinates import Coordinates, Rotated

BLOCK_ENTRIES = 2**20  # entries of a working array (8 MiB)
# Four times as many can take three times as long: beyond 1 MiB the allocator maps fresh pages every time.
CACHED_ENTRIES = 2**16  # entries of what a product writes and a kernel reads again at once
EFFICIENT_ROWS = 512  # fewer would slow products with thousands of columns down
MULTIPLIERS = 2**22  # most entries of multipliers at once (32 MiB)
TARGET_ROWS = 160  # penalties times targets of one product: with as many rows of samples, its result stays in cache
LEFT_OUT_ENTRIES = 2**19  # of residuals of all penalties, at once: 4 MiB; 1 MiB takes 15 % longer, by more calls
WORTH_COMPILING = 2**20  # residuals: NumPy needs 4 ms for them, the compiler half a second in a new installation
NEAR_INTERPOLATION = 1 / 64  # below this, 1 − h is formed without a subtraction, which would cost two digits
# The SVD of N multipliers of r directions saves more than it costs from so many n N / min(N, r) on, n rows, and never
# for so few directions: 0.7 of the time for n = 20 000, N = 150, r = 50; 2 for n = 2000, N = 20, r = 100.
WORTH_COMPRESSING, FEW_DIRECTIONS = 20_000, 20
EPS = float(np.finfo(np.float64).eps)


def leave_one_out_blocks(
    coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray
) -> Iterator[tuple[int, _Rows, np.ndarray]]:
    """Leave-one-out predictions of families of students, block by block.

    A family has one of the penalties lam (P,) and one of the schedules xi (P, k). Yields the number of the family, a
    block of rows, and their centred predictions (k+1, rows, m).
    """
    for first, families, rows in _blocks(coordinates, rotated, lam, xi):
        for family, predictions in enumerate(families.predictions(rows)):
            yield first + family, rows, predictions


def leave_one_out_squares(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """Σ w (y − loo)² (P, k+1, m) of families of students."""
    squares = np.zeros((len(lam), xi.shape[1] + 1, rotated.z.shape[1]))
    for family, rows, block in leave_one_out_blocks(coordinates, rotated, lam, xi):
        squares[family] += np.einsum("ksm,ksm,s->km", block - rows.y, block - rows.y, rows.weight)
    return squares


def leave_one_out_factors(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """R (P, k+2, k+2) of the QR factorisations of √w [loo_0 .. loo_k y], one per family, targets stacked as rows."""
    if tall_students.is_served(coordinates, rotated, xi):
        factors, valid = tall_students.two_step_factors(coordinates, rotated, lam)
        if not valid.all():
            factors[~valid] = _factors(coordinates, rotated, lam[~valid], xi[~valid])
        return factors
    return _factors(coordinates, rotated, lam, xi)


def _factors(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
    factors = np.zeros((len(lam), xi.shape[1] + 2, xi.shape[1] + 2))
    for first, families, rows in _blocks(coordinates, rotated, lam, xi):
        families.append_to(factors[first : first + len(families.lam)], rows)
    return factors


def _blocks(
    coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray
) -> Iterator[tuple[int, _Families, _Rows]]:
    """Some families, the number of the first one, and some rows: few enough for the size of the working arrays."""
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


def ridge_left_out_squares(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray) -> np.ndarray:
    """Σ w (y − loo)² (L, m) of plain ridge at each penalty, not finite where a sample leaves nothing to predict it.

    Residuals and 1 − h are formed without a subtraction, for some targets and all penalties in one product.
    """
    found = tall_students.ridge_left_out(coordinates, rotated, lam, stored=False)
    if found is not None:
        return found[1][:, None]
    squares = np.zeros((rotated.z.shape[1], len(lam)))
    at_once = max(1, MULTIPLIERS // max(1, len(lam) * coordinates.rank))
    for start in range(0, len(squares), at_once):
        targets = slice(start, min(start + at_once, len(squares)))
        _add_ridge_left_out(coordinates, rotated, lam, targets, squares)
    return squares.T


def _add_ridge_left_out(
    coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, targets: slice, squares: np.ndarray
) -> None:
    """Add those of some targets to `squares` (m, L), block of samples by block of samples."""
    width = max(1, TARGET_ROWS // len(lam))
    parts = [slice(j, min(j + width, targets.stop)) for j in range(targets.start, targets.stop, width)]
    complement = complements(coordinates.d, lam)
    of_parts = [_RidgeResiduals(coordinates, rotated, complement, lam, part) for part in parts]
    at_once = len(lam) * min(width, targets.stop - targets.start)
    for rows, inverse in _ridge_rows(coordinates, rotated, complement, lam, at_once):
        for part, residuals_of in zip(parts, of_parts, strict=True):
            with np.errstate(invalid="ignore"):  # without the compiler, 0 · inf where nothing is left would warn
                compiled_kernels().left_out_squares(*residuals_of(rows), inverse, squares[part])


def ridge_left_out(
    coordinates: Coordinates, rotated: Rotated, lam: np.ndarray
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Some targets, and for these √w (y − loo) (t, L, n) of plain ridge and its sums of squares (t, L).

    Not finite as in `ridge_left_out_squares`.
    """
    found = tall_students.ridge_left_out(coordinates, rotated, lam, stored=True)
    if found is not None:
        yield slice(0, 1), found[0][None], found[1][None]
        return
    n, m = coordinates.frame.n_samples, rotated.z.shape[1]
    width = max(1, LEFT_OUT_ENTRIES // (n * len(lam)))
    complement = complements(coordinates.d, lam)
    once = _ridge_rows(coordinates, rotated, complement, lam, len(lam) * min(width, m))
    blocks = list(once) if m > width else once
    fill = _left_out if m * n * len(lam) < WORTH_COMPILING else compiled_kernels().left_out_residuals
    for start in range(0, m, width):
        targets = slice(start, min(start + width, m))
        residuals_of = _RidgeResiduals(coordinates, rotated, complement, lam, targets)
        left_out = np.empty((targets.stop - start, len(lam), n))
        squares = np.zeros(left_out.shape[:2])
        for rows, inverse in blocks:
            with np.errstate(invalid="ignore"):  # 0 · inf where nothing is left
                fill(*residuals_of(rows), inverse, rows.index.start, left_out, squares)
        yield targets, left_out, squares


def _left_out(
    residuals: np.ndarray, outside: np.ndarray, inverse: np.ndarray, start: int, out: np.ndarray, squares: np.ndarray
) -> None:
    """`kernels.left_out_residuals` in NumPy."""
    part = out[:, :, start : start + inverse.shape[1]]
    np.add(residuals.swapaxes(0, 1), outside[:, None], out=part)
    part *= inverse
    squares += np.einsum("tln,tln->tl", part, part)


def _ridge_rows(
    coordinates: Coordinates, rotated: Rotated, complement: np.ndarray, lam: np.ndarray, at_once: int
) -> Iterator[tuple[_Rows, np.ndarray]]:
    """Some rows, as many as suit `at_once` multipliers, and sqrt(w) / (1 − h) (L, rows) of plain ridge."""
    n = coordinates.frame.n_samples
    diagonal_of = _Product(complement[:, None], n)
    height = max(1, min(BLOCK_ENTRIES // max(1, coordinates.rank), max(EFFICIENT_ROWS, CACHED_ENTRIES // at_once)))
    for start in range(0, n, height):
        rows = _Rows(coordinates, rotated, slice(start, min(start + height, n)))
        one_minus_leverage = diagonal_of(rows.squared[:, : coordinates.rank])[:, 0]
        one_minus_leverage[lam == 0.0] *= rows.unreached_share == 0.0
        one_minus_leverage += rows.unreached_share
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.sqrt(rows.weight) / one_minus_leverage
        yield rows, inverse


class _RidgeResiduals:
    """Residuals of plain ridge for some targets: within the range of U at all penalties, and beyond it."""

    def __init__(
        self, coordinates: Coordinates, rotated: Rotated, complement: np.ndarray, lam: np.ndarray, targets: slice
    ) -> None:
        self.targets, self.at_zero = targets, lam == 0.0
        multipliers = complement[:, None] * rotated.z[:, targets].T
        self.within = _Product(multipliers, coordinates.frame.n_samples)

    def __call__(self, rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
        """(L, t, rows) and (t, rows)."""
        residuals = self.within(rows.unscaled)
        residuals[self.at_zero] *= rows.unreached_share == 0.0
        return residuals, np.ascontiguousarray(rows.outside_part[:, self.targets].T)


def complements(d: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """1 − a (L, r) without a subtraction; at λ = 0 its part linear in λ, 1 / d."""
    penalty = lam[:, None]
    with np.errstate(invalid="ignore"):
        complement = np.where(np.isinf(penalty), 1.0, penalty / (d + penalty))
    complement[lam == 0.0] = 1.0 / d
    return complement


def leverages(coordinates: Coordinates, filter_: np.ndarray) -> np.ndarray:
    """Diagonal (n,) of the smoother U F Uᵀ of a filter F (r,), plus that of the intercept's smoother."""
    n, diagonal = coordinates.frame.n_samples, coordinates.frame.intercept_share
    height = max(1, BLOCK_ENTRIES // max(1, coordinates.rank))
    for start in range(0, n, height):
        stop = min(start + height, n)
        diagonal[start:stop] += np.square(coordinates.row_block(start, stop)) @ filter_
    return diagonal


def leverage_complements(coordinates: Coordinates, rotated: Rotated, remainders: np.ndarray) -> np.ndarray:
    """1 − h (S, n) of smoothers U F Uᵀ with the given 1 − F (S, r), the intercept's added; without a subtraction."""
    n = coordinates.frame.n_samples
    out = np.empty((len(remainders), n))
    height = max(1, BLOCK_ENTRIES // max(1, coordinates.rank))
    for start in range(0, n, height):
        rows = _Rows(coordinates, rotated, slice(start, min(start + height, n)))
        out[:, rows.index] = remainders @ rows.squared[:, : coordinates.rank].T + rows.unreached_share
    return out


class _Rows:
    """A block of rows of U, and what leave-one-out needs of them.

    Attributes
    ----------
    index : slice
        Which rows.
    z : ndarray (r, m)
        Rotated targets.
    weight, root : ndarray (rows,)
        w and sqrt(w); `root` is empty where all weights are 1.
    squared : ndarray (rows, r) or (rows, r + 1)
        U²; with an intercept also `intercept_share`.
    unscaled : ndarray (rows, r)
        W^-½ U.
    unreached_share : ndarray (rows,)
        1 − h at λ = 0: the share of a sample's unit vector that no fit reaches, 0 for a sample that can be
        interpolated. Exactly 0 where rounding could have made all of it.
    outside_part : ndarray (rows, m)
        The part of the centred, unscaled targets outside the span of U.
    y : ndarray (rows, m)
        The centred, unscaled targets; meaningless at zero weight.
    """

    def __init__(self, coordinates: Coordinates, rotated: Rotated, index: slice) -> None:
        frame, self.index, self.z = coordinates.frame, index, rotated.z
        self.weight = np.ones(index.stop - index.start) if frame.weight is None else frame.weight[index]
        self.root = np.empty(0) if frame.root is None else frame.root[index]
        u = coordinates.row_block(index.start, index.stop)
        self.squared = np.empty((len(u), coordinates.rank + frame.fit_intercept))
        np.square(u, out=self.squared[:, : coordinates.rank])
        if frame.fit_intercept:
            self.squared[:, -1] = self.weight / frame.total_weight
        self.unscaled = coordinates.unscaled_block(index, u)
        self.y = frame.unscaled(rotated.scaled[index], index)
        self._coordinates, self._rotated = coordinates, rotated

    @cached_property
    def unreached_share(self) -> np.ndarray:
        """See the class; asked for near interpolation only."""
        unreached = 1.0 - self.squared @ np.ones(self.squared.shape[1])
        if self._coordinates.is_complete:
            unreached[self.weight > 0] = 0.0
        unreached[unreached < 16 * EPS * max(1, self._coordinates.rank) ** 0.5] = 0.0
        return unreached

    @cached_property
    def outside_part(self) -> np.ndarray:
        """See the class; asked for near interpolation only."""
        outside = self._coordinates.frame.unscaled(self._rotated.outside_part[self.index], self.index).copy()
        outside[self.unreached_share == 0.0] = 0.0
        return outside


class _Families:
    """Students of P families, each of one penalty and one schedule: multipliers (P, k+1, r) of the eigendirections."""

    def __init__(self, coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray) -> None:
        self.d, self.lam, self.xi = coordinates.d, lam, np.ascontiguousarray(xi)
        d, steps = self.d, xi.shape[1] + 1
        kernels = compiled_kernels()
        self.powers = np.empty((len(lam), steps, len(d)))  # a^(j+1)
        self.filters = self.powers  # of student 0
        if steps > 1:
            self.filters = np.empty_like(self.powers)
            fill_multipliers(d, np.repeat(lam[:, None], steps, axis=1), self.xi, kernels.FILTER, self.filters)
        for powers, penalty in zip(self.powers, lam, strict=True):
            kernels.filter_powers(d, penalty, powers)
        powers = self.powers
        if coordinates.frame.fit_intercept:  # whose smoother equals its powers
            powers = np.concatenate([powers, np.ones((*powers.shape[:2], 1))], axis=2)
        self.power_diagonals_of = _Product(powers, coordinates.frame.n_samples)
        self.fit_of = [_Product(self.filters * z, coordinates.frame.n_samples) for z in rotated.z.T]

    @cached_property
    def complement(self) -> np.ndarray:
        """1 − a (P, r); at λ = 0 its part linear in λ, 1 / d."""
        return complements(self.d, self.lam)

    @cached_property
    def complement_powers(self) -> np.ndarray:
        """(1 − a) a^j, j = 0..k: (P, k+1, r)."""
        products = np.empty_like(self.powers)
        products[:, 0] = self.complement
        np.multiply(self.powers[:, :-1], self.complement[:, None], out=products[:, 1:])
        return products

    @cached_property
    def ground_truth_weights(self) -> np.ndarray:
        """1 − ξ_t (P, k+1), the weight of y in the targets of each step; 1 at step 0."""
        return np.concatenate([np.ones((len(self.lam), 1)), 1.0 - self.xi], axis=1)

    @cached_property
    def residual_multipliers(self) -> np.ndarray:
        """Multipliers (P, k+1, r) of z in the targets of each step less its fit."""
        of_targets = np.empty_like(self.filters)
        of_targets[:, 0] = 1.0
        of_targets[:, 1:] = self.ground_truth_weights[:, 1:, None] + self.xi[:, :, None] * self.filters[:, :-1]
        return of_targets * self.complement[:, None]

    def predictions(self, rows: _Rows) -> np.ndarray:
        """Centred leave-one-out predictions (P, k+1, rows, m)."""
        kernels = compiled_kernels()
        power_diagonals, near_interpolation = self._power_diagonals(rows)
        out = np.empty((*power_diagonals.shape, rows.z.shape[1]))
        for j, fit, without_subtraction in self._fits(rows, power_diagonals, near_interpolation):
            y, direct = np.ascontiguousarray(rows.y[:, j]), np.empty_like(fit[0])
            for i in np.flatnonzero(~near_interpolation):
                kernels.leave_one_out_direct(self.xi[i], y, power_diagonals[i], fit[i], direct)
                out[i, :, :, j] = direct
            for family, predictions in without_subtraction:
                out[family, :, :, j] = predictions
        return out

    def append_to(self, factors: np.ndarray, rows: _Rows) -> None:
        """Append the rows √w [loo_0 .. loo_k y] to the R factors (P, k+2, k+2)."""
        kernels = compiled_kernels()
        power_diagonals, near_interpolation = self._power_diagonals(rows)
        for j, fit, without_subtraction in self._fits(rows, power_diagonals, near_interpolation):
            y = np.ascontiguousarray(rows.y[:, j])
            kernels.leave_one_out_factors(self.xi, y, rows.root, power_diagonals, fit, near_interpolation, factors)
            for i, predictions in without_subtraction:
                columns = np.vstack([predictions, y])
                kernels.append_rows(columns * rows.root if len(rows.root) else columns, factors[i])

    def _power_diagonals(self, rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
        """diag H^(j+1) (P, k+1, rows), and the families (P,) with a leverage near one."""
        power_diagonals = self.power_diagonals_of(rows.squared)
        return power_diagonals, 1.0 - power_diagonals[:, 0].max(axis=1) < NEAR_INTERPOLATION

    def _fits(
        self, rows: _Rows, power_diagonals: np.ndarray, near_interpolation: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, Iterator[tuple[int, np.ndarray]]]]:
        """For each target its number, its fits (P, k+1, rows), and the predictions of families near interpolation."""
        which = np.flatnonzero(near_interpolation)
        complement_diagonals = np.empty((0, *power_diagonals.shape[1:]))
        if len(which):
            complement_diagonals = _Product(self.complement_powers[which])(rows.squared[:, : len(self.d)])
            complement_diagonals[self.lam[which] == 0.0] *= rows.unreached_share == 0.0
        for j, fit_of in enumerate(self.fit_of):
            fit = fit_of(rows.unscaled)
            yield j, fit, self._without_subtraction(rows, j, which, power_diagonals, complement_diagonals, fit)

    def _without_subtraction(
        self,
        rows: _Rows,
        j: int,
        which: np.ndarray,
        power_diagonals: np.ndarray,
        complement_diagonals: np.ndarray,
        fit: np.ndarray,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The families `which`, and their centred predictions (k+1, rows) of target j."""
        if not len(which):
            return
        residual = _Product(self.residual_multipliers[which] * -rows.z[:, j])(rows.unscaled)
        residual[self.lam[which] == 0.0] *= rows.unreached_share == 0.0
        residual -= self.ground_truth_weights[which, :, None] * rows.outside_part[:, j]
        for i, complement, residual_i in zip(which, complement_diagonals, residual, strict=True):
            predictions = np.empty_like(fit[i])
            one_minus_leverage = complement[0] + rows.unreached_share
            compiled_kernels().leave_one_out(
                self.xi[i], one_minus_leverage, power_diagonals[i], complement, fit[i], residual_i, predictions
            )
            yield i, predictions


class _Product:
    """Σ_r multipliers (P, k+1, r) rows (n, r) -> (P, k+1, n), through fewer than r directions where that is cheaper.

    Multipliers of neighbouring penalties are nearly dependent: to the last digit, 50 penalties and 3 steps on 50
    eigenvalues of one size span 9 directions, on eigenvalues over one decade 12 to 21, over three about 30. What is cut
    of a student's multipliers is a rounding error of their own norm.
    """

    def __init__(self, multipliers: np.ndarray, n_rows: int = 0) -> None:
        self.shape = multipliers.shape[:2]
        flat = multipliers.reshape(self.shape[0] * self.shape[1], multipliers.shape[2])
        self.factors, self._kept = [flat], list[np.ndarray]()
        if not flat.size or flat.shape[1] <= FEW_DIRECTIONS or n_rows * len(flat) < WORTH_COMPRESSING * min(flat.shape):
            return
        directions = tall_students.spanned_directions(flat)
        if len(directions) * sum(flat.shape) < 0.7 * flat.size:
            self.factors = [directions, flat @ directions.T]

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The product, in memory that the next call overwrites: fresh pages would cost as much as the arithmetic."""
        product = rows.T
        if not self._kept or self._kept[0].shape[1] != len(rows):
            self._kept = [np.empty((len(factor), len(rows))) for factor in self.factors]
        for factor, kept in zip(self.factors, self._kept, strict=True):
            product = np.matmul(factor, product, out=kept)
        return product.reshape(*self.shape, len(rows))
