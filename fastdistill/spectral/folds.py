"""Exact K-fold predictions of every student, as if it and its teachers were refitted without the fold.

Let H = U a Uᵀ be the smoother of student 0 (an intercept adds the direction sqrt(w) / sqrt(Σ w), with the filter 1), B
the samples left out, f_{t−1} the whole vector of step t − 1 with B left out, and u_t = (1 − ξ_t) y + ξ_t f_{t−1}
(u_0 = y). Samples have no influence where their targets equal the predictions there, so that f_t = H (u_t + E_B δ_t)::

    δ_t = (I − H_BB)⁻¹ ([H u_t]_B − u_{t,B}),     [f_t]_B = u_{t,B} + δ_t,     Uᵀ f_t = a (Uᵀ u_t + U_Bᵀ δ_t)

Only the coordinates Uᵀ f_t are carried from step to step. With many samples in B the same follows from a system of the
eigendirections instead (Woodbury)::

    Uᵀ f_t = a^½ (I − a^½ U_Bᵀ U_B a^½)⁻¹ a^½ (Uᵀ u_t − U_Bᵀ u_{t,B})

==================================  ======================================================
symbol                              here
==================================  ======================================================
I − H_BB                            ``_Samples.systems``: U_B (1 − a) U_Bᵀ, no subtraction
I − a^½ U_Bᵀ U_B a^½                ``_Directions``
1 − ξ_t, the weight of y            `truth`; 1 at step 0
==================================  ======================================================

**Fewer products.** The systems of L penalties are nearly dependent. Those of some penalties, chosen by a pivoted QR
factorisation of the rows 1 − a, give all others as combinations, to `SKELETON`. Conjugate gradients with these as
preconditioners give the rest of the digits, in one or two iterations, all penalties in one product. Kernel of 2000, 10
folds, 50 penalties from 1e-2 to 1e3: 22 systems instead of 50.

**Near singularity.** B may hold all samples of a direction, so that the system is singular but for the penalty. The
pivots of the Cholesky factor tell; such penalties are not `trusted`, and the caller refits the fold. So it does where
this is the cheapest, as for two folds of a kernel.

None of the four papers has this formula; for one step of ridge it is the block form of Allen's PRESS.

Cost: for |B| samples of r directions and L penalties about 20 |B|² r + L |B|³ / 3, or |B| r² + L r³ / 3 by directions,
and O(|B| r) for each student. Measured, one thread, 10 folds and 50 penalties × 3 steps, decomposition included: kernel
of 2000 1.7 times one ``numpy.linalg.eigh`` (refits: 10 times); design 100 000 × 50 1.1 s (refits: 2.2 s).
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg

from fastdistill.base import validation
from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.coordinates import Coordinates, Rotated
from fastdistill.spectral.leave_one_out import complements

BLOCK_ENTRIES = 2**23  # entries of the working arrays of one block of penalties (64 MiB)
MOST_STORED = 2**26  # entries of the systems of the chosen penalties (512 MiB); beyond, each system is formed directly
# Relative accuracy of systems that are combinations of others.
SKELETON = 1e-8
# Relative error, in the norm of the system, at which conjugate gradients stop; after so many iterations they have
# stalled.
CONVERGED, MOST_ITERATIONS = 1e-14, 12
# Squared pivots below this share of the largest entry cost a solution more digits than 1e-9 leaves.
WELL_CONDITIONED = 1e-5
EIGH = 6.0  # eigenvalues and vectors of n by n cost as much as so many n³ in a product of matrices

Split = tuple[np.ndarray, np.ndarray]


def checked_splits(splits: Any, y: np.ndarray, name: str = "splits") -> list[Split]:
    """Index arrays (train, test) of a number of folds, a splitter or pairs; y (n[, m]) is for splitters."""
    n = len(y)
    pairs: Any = splits
    if hasattr(splits, "split") and not isinstance(splits, str):
        pairs = splits.split(np.zeros((n, 1)), y)
    elif isinstance(splits, numbers.Integral):
        folds = validation.integer(splits, name, minimum=2)
        if folds > n:
            raise ValueError(f"{name}={folds} folds of {n} samples leave some empty; use at most {n}.")
        samples = np.arange(n)
        pairs = [(np.delete(samples, test), test) for test in np.array_split(samples, folds)]
    try:
        if isinstance(pairs, str):
            raise TypeError
        found = [(_checked_indices(train, n, name), _checked_indices(test, n, name)) for train, test in pairs]
    except TypeError:
        raise TypeError(
            f"{name} must be a number of folds, a splitter with split(X, y), or an iterable of pairs of index arrays "
            f"(train, test); got {validation.shown(splits)}."
        ) from None
    if not found:
        raise ValueError(f"{name} is empty, with no held-out sample; give at least one pair (train, test).")
    return found


def _checked_indices(indices: Any, n: int, name: str) -> np.ndarray:
    """Integers within 0..n−1; a mask (n,) is turned into them."""
    values = np.asarray(indices)
    if values.dtype == bool and values.shape == (n,):
        return np.flatnonzero(values)
    if values.ndim != 1 or (values.dtype.kind not in "iu" and values.size):
        raise TypeError
    if values.size and not (values.min() >= 0 and values.max() < n):
        wrong = values.min() if values.min() < 0 else values.max()
        raise ValueError(f"{name} holds the index {wrong} of {n} samples; they are counted from 0.")
    return values.astype(np.intp)


class LeftOut:
    """Students of P families, each of one penalty lam (P,) and one schedule xi (P, k), without some samples."""

    def __init__(self, coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray) -> None:
        self.coordinates, self.rotated, self.xi = coordinates, rotated, xi
        self.penalties, self.penalty_of = np.unique(lam, return_inverse=True)
        d, kernels = coordinates.d, compiled_kernels()
        filters = np.empty((len(self.penalties), 1, len(d)))
        kernels.student_grid(d, self.penalties[:, None], np.empty((len(filters), 0)), kernels.FILTER, filters)
        remainders = complements(d, self.penalties)
        if not coordinates.is_complete:
            remainders[self.penalties == 0.0] = 0.0
        # the intercept's direction comes last: no penalty shrinks it
        constant = np.ones((len(filters), int(coordinates.frame.fit_intercept)))
        self.filters = np.concatenate([filters[:, 0], constant], axis=1)
        self.complements = np.concatenate([remainders, 0.0 * constant], axis=1)
        self.z = np.concatenate([rotated.z, np.zeros((constant.shape[1], rotated.z.shape[1]))])
        self.chosen, self.combinations = _skeleton(self.complements)

    def predictions(self, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centred predictions (P, k+1, q, m) for the samples `test`, and for which families they are exact (P,).

        Where a refit on `train` costs less, or is the only exact way, they are for none.
        """
        frame = self.coordinates.frame
        out = np.empty((len(self.xi), self.xi.shape[1] + 1, len(test), self.z.shape[1]))
        left = np.ones(frame.n_samples, dtype=bool)
        left[train] = False
        is_repeated = len(train) + np.count_nonzero(left) > frame.n_samples  # as of a bootstrap
        trusted = np.zeros(len(out), dtype=bool)
        if is_repeated or not left[test].all():
            return out, trusted
        fold = np.flatnonzero(left & (frame.each_weight > 0))
        way = self._cheapest(len(fold), frame.n_effective - len(fold)) if len(fold) else None
        if way is None:
            return out, trusted
        samples, at_test = _Samples(self, fold), _Test(self.coordinates, fold, test)
        samples_of_block = max(1, BLOCK_ENTRIES // self._entries(way, len(fold)))
        for start in range(0, len(self.penalties), samples_of_block):
            stop = min(start + samples_of_block, len(self.penalties))
            families = np.flatnonzero((self.penalty_of >= start) & (self.penalty_of < stop))
            solver = way(samples, start, stop, self.penalty_of[families] - start)
            for step, (fit, coordinates) in enumerate(self._students(samples, solver, families)):
                out[families, step] = at_test(fit, coordinates)
            trusted[families] = solver.trusted[self.penalty_of[families] - start]
        return out, trusted

    def _cheapest(self, left_out: int, remaining: int) -> Any:
        """`_BySamples`, `_ByDirections`, or None for a refit."""
        b, r, n_penalties = float(left_out), float(max(1, self.filters.shape[1])), len(self.penalties)
        side = min(float(remaining), r)
        cost: dict[Any, float] = {
            _BySamples: len(self.chosen) * b * b * r + n_penalties * b**3 / 3,
            _ByDirections: b * r * r + n_penalties * r**3 / 3,
            None: remaining * r * side + EIGH * side**3,
        }
        if self.coordinates.smallest < 0.0:  # a^½ is not real
            del cost[_ByDirections]
        return min(cost, key=lambda way: cost[way])

    def _entries(self, way: Any, left_out: int) -> int:
        """Entries of the working arrays of one penalty."""
        side = left_out if way is _BySamples else len(self.z)
        families = -(-len(self.xi) // len(self.penalties))
        return side * side + 4 * families * self.z.shape[1] * (len(self.z) + left_out) + 1

    def _students(
        self, samples: _Samples, solver: _BySamples | _ByDirections, families: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Scaled fits (b, F, m) and coordinates (r, F, m) of students 0..k of some families."""
        z, y, outside = self.z[:, None], samples.y[:, None], samples.outside[:, None]
        filters = self.filters[self.penalty_of[families]].T[:, :, None]
        remainders = self.complements[self.penalty_of[families]].T[:, :, None]
        coordinates, fit = np.zeros((len(self.z), len(families), z.shape[2])), np.zeros((1, 1, 1))
        for step in range(self.xi.shape[1] + 1):
            xi = self.xi[families, step - 1][:, None] if step else np.zeros((len(families), 1))
            coordinates *= xi
            coordinates += (1.0 - xi) * z
            targets = (1.0 - xi) * y + xi * fit
            fit, coordinates = solver.student(coordinates, targets, (1.0 - xi) * outside, filters, remainders)
            yield fit, coordinates


class _Samples:
    """The samples B left out, of positive weight.

    Attributes
    ----------
    rows : ndarray (b, r)
        U_B, with the direction of the intercept.
    y, outside : ndarray (b, m)
        Scaled targets, and their part that no student reaches.
    unreached : ndarray (b, b) or None
        (I − U Uᵀ)_BB; None where the basis is complete, and it is zero.
    """

    def __init__(self, left_out: LeftOut, index: np.ndarray) -> None:
        coordinates, rotated = left_out.coordinates, left_out.rotated
        self.left_out = left_out
        self.rows = np.ascontiguousarray(_extended(coordinates, coordinates.rows_at(index), index))
        self.y, self.outside = rotated.scaled[index], rotated.outside_part[index]
        self._stored: np.ndarray | None = None

    @cached_property
    def unreached(self) -> np.ndarray | None:
        """See the class; not needed by directions, of which there may be far fewer."""
        if self.left_out.coordinates.is_complete:
            return None
        return np.eye(len(self.y)) - self.rows @ self.rows.T

    @property
    def is_combined(self) -> bool:
        """Whether systems are combinations of a few, and so accurate to `SKELETON` only."""
        chosen = len(self.left_out.chosen)
        return chosen < len(self.left_out.penalties) and chosen * len(self.y) ** 2 <= MOST_STORED

    def systems(self, start: int, stop: int) -> np.ndarray:
        """I − H_BB of some penalties (stop − start, b, b)."""
        b, remainders = len(self.y), self.left_out.complements
        if self.is_combined:
            if self._stored is None:
                self._stored = np.stack([self._weighted(remainders[i]) for i in self.left_out.chosen])
            flat = self._stored.reshape(len(self._stored), -1)
            systems = (self.left_out.combinations[start:stop] @ flat).reshape(-1, b, b)
        else:
            systems = np.stack([self._weighted(row) for row in remainders[start:stop]])
        if self.unreached is not None:
            systems += self.unreached
        return systems

    def _weighted(self, remainder: np.ndarray) -> np.ndarray:
        """U_B diag(1 − a) U_Bᵀ; a product of a matrix with its own transpose computes one triangle."""
        half = self.rows * np.sqrt(remainder)
        return half @ half.T


class _BySamples:
    """Students from systems of the left-out samples, for some penalties.

    `trusted` (penalties,) says where the systems are well-conditioned.
    """

    def __init__(self, samples: _Samples, start: int, stop: int, penalty_of: np.ndarray) -> None:
        self._samples, self._is_exact = samples, not samples.is_combined
        self._columns = [np.flatnonzero(penalty_of == i) for i in range(stop - start)]
        systems = samples.systems(start, stop)
        scale = np.ones(len(systems))
        if samples.unreached is None and len(samples.y):  # nothing has been subtracted from 1
            scale = np.einsum("lii->li", systems).max(axis=1)
        self._factors, self.trusted = _factored(systems, scale)

    def student(
        self,
        coordinates: np.ndarray,
        targets: np.ndarray,
        outside: np.ndarray,
        filters: np.ndarray,
        remainders: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scaled fits (b, F, m) and coordinates (r, F, m) of the students of targets with these coordinates."""
        rows = self._samples.rows
        misfit = -_product(rows, remainders * coordinates) - outside
        change = self._solved(misfit, remainders)
        return targets + change, filters * (coordinates + _product(rows.T, change))

    def _solved(self, right: np.ndarray, remainders: np.ndarray) -> np.ndarray:
        """(I − H_BB)⁻¹ right (b, F, m); penalties where the iterations stall are not trusted any more."""
        step = self._preconditioned(right)
        if self._is_exact:
            return step
        solution, rest, preconditioned = np.zeros_like(right), right.copy(), step
        size = first = np.einsum("bfm,bfm->fm", rest, preconditioned)
        for _ in range(MOST_ITERATIONS):
            image = self._applied(step, remainders)
            length = _ratio(size, np.einsum("bfm,bfm->fm", step, image))
            solution += length * step
            rest -= length * image
            preconditioned = self._preconditioned(rest)
            before, size = size, np.einsum("bfm,bfm->fm", rest, preconditioned)
            # a last correction leaves as small a share of the rest as the iteration before
            left = np.abs(size * _ratio(size, before)) > CONVERGED**2 * first
            if not left.any():
                return solution + preconditioned
            step = preconditioned + _ratio(size, before) * step
        for i, columns in enumerate(self._columns):
            self.trusted[i] &= not left[columns].any()
        return solution

    def _applied(self, right: np.ndarray, remainders: np.ndarray) -> np.ndarray:
        rows, unreached = self._samples.rows, self._samples.unreached
        image = _product(rows, remainders * _product(rows.T, right))
        return image if unreached is None else image + _product(unreached, right)

    def _preconditioned(self, right: np.ndarray) -> np.ndarray:
        return _solved_each(self._factors, self._columns, right)


class _ByDirections:
    """Students from systems of the eigendirections, for some penalties; otherwise as `_BySamples`."""

    def __init__(self, samples: _Samples, start: int, stop: int, penalty_of: np.ndarray) -> None:
        self._rows = samples.rows
        self._columns = [np.flatnonzero(penalty_of == i) for i in range(stop - start)]
        roots = np.sqrt(samples.left_out.filters[start:stop])
        systems = -(roots[:, :, None] * (self._rows.T @ self._rows)) * roots[:, None]
        np.einsum("lii->li", systems)[:] += 1.0
        self._factors, self.trusted = _factored(systems, np.ones(len(systems)))

    def student(
        self,
        coordinates: np.ndarray,
        targets: np.ndarray,
        outside: np.ndarray,
        filters: np.ndarray,
        remainders: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scaled fits (b, F, m) and coordinates (r, F, m) of the students of targets with these coordinates."""
        root = np.sqrt(filters)
        right = root * (coordinates - _product(self._rows.T, targets))
        found = root * _solved_each(self._factors, self._columns, right)
        return _product(self._rows, found), found


class _Test:
    """Unscaled predictions for the samples `test`: fits of the left-out ones; of next to no weight, as of queries."""

    def __init__(self, coordinates: Coordinates, fold: np.ndarray, test: np.ndarray) -> None:
        frame = coordinates.frame
        self._is_light = np.isin(test, frame.light)
        self._places = np.searchsorted(fold, test[~self._is_light])
        self._inverse_root = None if frame.inverse_root is None else frame.inverse_root[test[~self._is_light]]
        light = test[self._is_light]
        self._light_rows = coordinates.light_rows_at(light)
        if frame.fit_intercept:
            constant = np.full((len(light), 1), 1.0 / np.sqrt(frame.total_weight))
            self._light_rows = np.concatenate([self._light_rows, constant], axis=1)

    def __call__(self, fit: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        """(F, q, m) from scaled fits (b, F, m) and coordinates (r, F, m)."""
        out = np.empty((len(self._is_light), *fit.shape[1:]))
        out[~self._is_light] = fit[self._places]
        if self._inverse_root is not None:
            out[~self._is_light] *= self._inverse_root[:, None, None]
        out[self._is_light] = _product(self._light_rows, coordinates)
        return out.swapaxes(0, 1)


def _extended(coordinates: Coordinates, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Rows of U, with the direction of the intercept in a last column."""
    frame = coordinates.frame
    if not frame.fit_intercept:
        return rows
    return np.concatenate([rows, np.sqrt(frame.intercept_share[index])[:, None]], axis=1)


def _skeleton(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some of the rows (L, r), and the combinations (L, J) of them that equal all rows to `SKELETON` of their norms."""
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    if not size.any():
        return np.arange(len(rows)), np.eye(len(rows))
    size[size == 0.0] = 1.0
    upper, order = scipy.linalg.qr((rows / size).T, mode="r", pivoting=True)
    pivots = np.abs(np.diagonal(upper))
    count = int(np.count_nonzero(pivots > SKELETON * pivots[0]))
    combinations = np.zeros((len(rows), count))
    combinations[order[:count], np.arange(count)] = 1.0
    if count < len(rows):
        combinations[order[count:]] = scipy.linalg.solve_triangular(upper[:count, :count], upper[:count, count:]).T
    return order[:count], combinations * size / size[order[:count], 0]


def _factored(systems: np.ndarray, scale: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Cholesky factors of systems (L, b, b), overwritten, and which are well-conditioned beside `scale` (L,)."""
    factors, trusted = [], np.ones(len(systems), dtype=bool)
    for i, system in enumerate(systems):
        if not len(system):
            factors.append(system)
            continue
        factor, failed = scipy.linalg.lapack.dpotrf(system.T, lower=1, clean=0, overwrite_a=1)
        trusted[i] = not failed and np.square(factor.diagonal().min()) > WELL_CONDITIONED * scale[i]
        factors.append(factor)
    return factors, trusted


def _solved_each(factors: list[np.ndarray], columns: list[np.ndarray], right: np.ndarray) -> np.ndarray:
    """The solutions of right sides (b, F, m), the `columns` of each system by its own factor."""
    out = np.empty_like(right)
    if not len(right):
        return out
    for factor, of_system in zip(factors, columns, strict=True):
        part = np.asfortranarray(right[:, of_system].reshape(len(right), -1))
        solution = scipy.linalg.lapack.dpotrs(factor, part, lower=1, overwrite_b=1)[0]
        out[:, of_system] = solution.reshape(len(right), len(of_system), -1)
    return out


def _product(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """matrix (a, b) @ values (b, F, m) -> (a, F, m)."""
    columns = values.reshape(len(values), values.shape[1] * values.shape[2])
    return (matrix @ columns).reshape(len(matrix), *values.shape[1:])


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """0 where the denominator is."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0.0)
