"""The paths of a spectrum: students of the distillation recursion, their limit, tolerance rounds, and given filters.

With the eigenvalues d (r,) and the filter f_t of student t (`fastdistill.kernels.student_grid`)::

    path     f_0 = a, f_t = a ((1 − ξ_t) + ξ_t f_{t−1}),  a = d / (d + λ)
    limit    f = d / (d + λ / (1 − ξ))
    rounds   f_t = Π_{s≤t} d / (d + n c_s), the c_s at which the mean squared residual of each round is ε

===========================================  ==========================================
paper                                        here
===========================================  ==========================================
B: infinite-step solution                    ``DistillationLimit``
M: c_t, rounds, collapse                     ``ToleranceRounds.multipliers, n_rounds, collapsed``
M: B_t = Π A_i                               ``ToleranceRounds.filters``
P: (1 − Σ w) f_0 + Σ w_i f_i                 students mixed by ``fastdistill.selection.mixtures``
===========================================  ==========================================

Cost: O(r) per penalty and step; what follows from the filters is in `fastdistill.spectral.students`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral import gaussian_process
from fastdistill.spectral.compiled import DUAL, FILTER, PRIMAL, RESIDUAL, compiled_kernels, fill_multipliers
from fastdistill.spectral.frame import Targets
from fastdistill.spectral.leave_one_out import leave_one_out_blocks, leave_one_out_squares
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.resampling import Resampled
from fastdistill.spectral.students import BLOCK_ENTRIES, Students

# Penalties over the largest eigenvalue: below, 1 / lam overflows beside d; above, fits of usual targets underflow.
SMALLEST_RATIO, LARGEST_RATIO = 1e-304, 1e200


def multistep_filter(d: Any, lam: Any, xi: Any, n_steps: int | None = None, per_step: bool = False) -> np.ndarray:
    """The recursion alone: f_0 = a, f_t = a ((1 − ξ_t) + ξ_t f_{t−1}), a = d / (d + λ).

    Parameters
    ----------
    d : array-like (r,)
        Eigenvalues, at least 0; a component with d = 0 gets the filter 0.
    lam : float or array-like (L,)
    xi : float, array-like (k,) or (Q, k)
        Imitation weights; a scalar needs `n_steps`.
    n_steps : int, optional
    per_step : bool
        Whether `lam` (k+1,) has a penalty for each step, a_t = d / (d + λ_t); the axis (L,) is then absent.

    Returns
    -------
    ndarray (..., k+1, r)
        Leading axes (L,)(Q,), each present only if the input had it; float32 only for float32 `d`.

    Raises
    ------
    ValueError
        Negative or non-finite `d` or `lam`, non-finite `xi`, shapes that do not match.

    Notes
    -----
    O(L Q k r). From compiled code call `fastdistill.kernels.multistep_filter`.

    Examples
    --------
    >>> import fastdistill as fd
    >>> fd.multistep_filter([3.0, 1.0], lam=1.0, xi=[1.0, 0.5])
    array([[0.75     , 0.5      ],
           [0.5625   , 0.25     ],
           [0.5859375, 0.3125   ]])
    """
    values = np.array(
        validation.spectrum_values(d, largest=validation.LARGEST_LINEAR)
    )  # writeable and contiguous: other arrays compile anew
    given, weights = validation.penalties(lam), validation.schedule(xi, n_steps)
    if validation.boolean(per_step, "per_step"):
        penalties, schedules, shape = step_families(given, weights)
    else:
        penalties, schedules, shape = families(given, weights)
    out = np.empty((*penalties.shape, len(values)))
    fill_multipliers(values, penalties, schedules, FILTER, out)
    return out.reshape(*shape, len(values)).astype(validation.result_dtype(d), copy=False)


def families(lam: np.ndarray, xi: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Every pair of a penalty and a schedule: (P, k+1) penalties, (P, k) weights, and the axes (L,)(Q,)(k+1,)."""
    if lam.ndim == 0 and xi.ndim == 1:
        penalty = np.empty((1, len(xi) + 1))
        penalty[...] = lam
        return penalty, xi[None].copy(), (len(xi) + 1,)
    schedules = np.atleast_2d(xi)
    (count, k), size = schedules.shape, lam.size
    penalties, weights = np.empty((size, count, k + 1)), np.empty((size, count, k))
    penalties[...], weights[...] = lam.reshape(-1, 1, 1), schedules
    axes = (*lam.shape, *xi.shape[:-1], k + 1)
    return penalties.reshape(size * count, k + 1), weights.reshape(size * count, k), axes


def step_families(lam: np.ndarray, xi: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """`families` of penalties (k+1,), one for each step: (Q, k+1) penalties, (Q, k) weights, the axes (Q,)(k+1,)."""
    steps = xi.shape[-1] + 1
    if lam.shape != (steps,):
        raise ValueError(
            f"lam has shape {lam.shape}, but with per_step=True it must hold {steps} penalties, one for each of the "
            f"steps 0..{steps - 1}."
        )
    schedules = np.atleast_2d(xi).copy()
    return np.tile(lam, (len(schedules), 1)), schedules, (*xi.shape[:-1], steps)


def checked_penalties(penalties: np.ndarray, largest: float) -> np.ndarray:
    """Penalties, refused if so far from the `largest` eigenvalue (0: unknown) that students would leave float64."""
    positive = penalties[penalties > 0] / largest if largest else np.empty(0)
    for ratio in (positive.min(initial=1.0), positive.max(initial=1.0)):
        if not SMALLEST_RATIO <= ratio <= LARGEST_RATIO:
            raise ValueError(
                f"lam={ratio * largest:.3g} is too {'small' if ratio < 1 else 'large'} beside the largest "
                f"eigenvalue {largest:.3g} of the kernel matrix (or of X Xᵀ): students would lose their digits in "
                f"float64. Rescale X (or K) or lam; lam=0 is no penalty."
            )
    return penalties


class _Recursion(Resampled):
    """Students of the recursion in P families of k + 1, as `Resampled` has them."""

    lam: np.ndarray

    def __init__(
        self, spectrum: Decomposed, targets: Targets, lam: np.ndarray, xi: np.ndarray, shape: tuple[int, ...]
    ) -> None:
        super().__init__(spectrum, targets, shape)
        self.family_penalties, self.family_weights = np.ascontiguousarray(lam), np.ascontiguousarray(xi)

    def _of_part(self, part: Decomposed, targets: Targets, families_used: np.ndarray) -> _Recursion:
        penalties, weights = self.family_penalties[families_used], self.family_weights[families_used]
        return _Recursion(part, targets, penalties, weights, penalties.shape)

    def _multipliers_at(self, values: np.ndarray, form: int, start: int, stop: int) -> np.ndarray:
        size = self.family_penalties.shape[1]
        first, last = start // size, -(-stop // size)
        out = np.empty((last - first, size, len(values)))
        penalties, weights = self.family_penalties[first:last], self.family_weights[first:last]
        fill_multipliers(values, penalties, weights, form, out)
        flat = out.reshape((last - first) * size, 1, len(values))
        return flat[start - first * size : stop - first * size]

    def _penalty_of(self, start: int, stop: int) -> np.ndarray:
        return self.family_penalties.reshape(-1, 1)[start:stop]

    def _blocks(self, width: int) -> Iterator[tuple[int, int]]:
        """Whole families, so that no student's recursion is run twice."""
        size = self.family_penalties.shape[1]
        families = max(1, BLOCK_ENTRIES // max(1, width * size))
        for start in range(0, self.n_students, families * size):
            yield start, min(self.n_students, start + families * size)

    @cached_property
    def loo(self) -> np.ndarray:
        """Exact leave-one-out predictions (..., n[, m]): each student and all its teachers refitted without the sample.

        O(n r) per penalty and step; see `fastdistill.spectral.leave_one_out`. NaN where nothing is left to fit.
        """
        n, m = self.spectrum.frame.n_samples, self.targets.count
        predictions = np.empty((*self.family_penalties.shape, n, m))
        for family, rows, block in self._leave_one_out():
            predictions[family, :, rows.index] = block + self.targets.mean
        predictions = predictions.reshape(self.n_students, n, m)
        self._add_outside_to_light_rows(predictions)
        return self._result(predictions, "leave-one-out predictions", power=1)

    @cached_property
    def loo_mse(self) -> np.ndarray:
        """Leave-one-out error Σ w (y − loo)² / Σ w, (...[, m]); the predictions are formed in blocks."""
        coordinates, penalties = self.spectrum.coordinates, self.family_penalties[:, 0]
        return self._mean_left_out(leave_one_out_squares(coordinates, self.rotated, penalties, self.family_weights))

    def _mean_left_out(self, squares: np.ndarray) -> np.ndarray:
        """Leave-one-out errors from Σ w (y − loo)² (P, k+1, m)."""
        errors = squares.reshape(self.n_students, -1) / self.spectrum.frame.total_weight
        return self._result(errors, "mean squared errors", power=2)

    def _leave_one_out(self) -> Iterator[Any]:
        coordinates, penalties = self.spectrum.coordinates, self.family_penalties[:, 0]
        return leave_one_out_blocks(coordinates, self.rotated, penalties, self.family_weights)

    def predict_std(self, queries: Any, kernel_diag: Any = None) -> np.ndarray:
        """Predictive standard deviations sqrt(k(x, x) − k_xᵀ (K + λ W⁻¹)⁻¹ k_x), in the shape of `predict`.

        Every student is the posterior mean of a Gaussian process of noise variance λ / w given its targets, and a
        posterior variance does not depend on targets: it is the same at every step, for every ξ and y. It says how far
        x is from the data, not what distillation has done to the student.

        Parameters
        ----------
        queries : array-like
            As in `predict`.
        kernel_diag : array-like (q,), optional
            kernel(x, x) of each query; needed for kernels, known for designs (‖x‖²).

        Raises
        ------
        ValueError
            As in `predict`; `kernel_diag` missing, of a wrong length, or negative without an intercept.

        Notes
        -----
        The data-centric distillation of Borup and Andersen (2023, arXiv:2304.02641); an intercept has a flat prior.
        These are deviations of the function: add λ to their squares for a new noisy target. For a noise variance σ²
        other than λ (the covariance is then k σ² / λ) multiply by σ / sqrt(λ). The distribution-centric form, which
        hands on the teacher's posterior as the prior under which y is seen again, is after t + 1 rounds an ordinary
        process of noise λ / (t + 1): ``S.path(y, lam / (t + 1), [])``. Cost: O(q n r), then O(q r) per penalty.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_kernel([[1.0, 0.5], [0.5, 1.0]])
        >>> path = S.path([1.0, 2.0], lam=0.1, xi=0.5, n_steps=1)
        >>> path.predict_std([[1.0, 0.5], [0.0, 0.0]], kernel_diag=[1.0, 1.0])
        array([[0.29755952, 1.        ],
               [0.29755952, 1.        ]])
        """
        checked, penalties = self.queries.check(queries), self.lam.ravel()
        std = gaussian_process.predict_std(self.spectrum.coordinates, penalties, checked, kernel_diag)
        # the same for every schedule and step
        std = np.repeat(std, self.n_students // len(penalties), axis=0)
        return self._result(np.repeat(std[:, :, None], self.targets.count, axis=2), "standard deviations")

    def standard_error(self, queries: Any, noise: Any) -> np.ndarray:
        """Standard errors sqrt(noise Σ_i l_i(x)² / w_i) of the predictions Σ_i l_i(x) y_i, in the shape of `predict`.

        The spread of a student over new noise in y, with samples and weights fixed. Unlike `predict_std` it changes
        with every step and ξ. It does not include the student's bias.

        Parameters
        ----------
        queries : array-like
            As in `predict`.
        noise : float or array-like (m,)
            Variance of the noise of y (for each target), that of sample i divided by its weight.

        Raises
        ------
        ValueError
            As in `predict`; `noise` negative, not finite, or of a wrong length.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> S.path([1.0, 1.0, 1.0], lam=1.0, xi=1.0, n_steps=1).standard_error([[1.0, 0.0], [0.0, 1.0]], noise=0.25)
        array([[0.2  , 0.25 ],
               [0.16 , 0.125]])
        """
        checked, variance = self.queries.check(queries), self._noise_variance(noise)
        multipliers = self.spectral_multipliers(self._coefficient_form, 0, self.n_students)[:, 0]
        outside = self.outside_multipliers(0, self.n_students)[:, 0] if self.spectrum.is_kernel else None
        error = gaussian_process.standard_error(self.spectrum.coordinates, multipliers, outside, checked)
        return self._result(error[:, :, None] * np.sqrt(variance), "standard errors")


class DistillationPath(_Recursion):
    """Every student of a penalty grid, schedules and steps 0..k; see `Spectrum.path`.

    Axes of every result, each present only if the input had it: (L,) penalties, (Q,) schedules, (k+1,) steps, then
    the result's own, then (m,) targets.

    Attributes
    ----------
    lam : ndarray () or (L,)
    xi : ndarray (k,) or (Q, k)
    n_steps : int
    """

    _families = staticmethod(families)

    def __init__(self, spectrum: Decomposed, targets: Targets, lam: np.ndarray, xi: np.ndarray) -> None:
        self.lam, self.xi, self.n_steps = lam, xi, xi.shape[-1]
        penalties, schedules, shape = self._families(lam, xi)
        super().__init__(spectrum, targets, penalties, schedules, shape)


def of_same_targets(students: Students, lam: Any, xi: Any) -> DistillationPath:
    """A path of other penalties and weights, checked already, for the targets of `students`; z is computed once."""
    penalties, weights = np.asarray(lam, dtype=np.float64), np.asarray(xi, dtype=np.float64)
    other = DistillationPath(students.spectrum, students.targets, penalties, weights)
    other.rotated = students.rotated
    return other


class DistillationLimit(_Recursion):
    """Students after infinitely many steps of constant ξ, ridge of the penalty λ / (1 − ξ); see `Spectrum.limit`.

    Axes of every result: (L,) penalties and (Q,) weights, each present only if the input had it; no step axis.

    Attributes
    ----------
    lam : ndarray () or (L,)
    xi : ndarray () or (Q,)
    """

    def __init__(self, spectrum: Decomposed, targets: Targets, lam: np.ndarray, xi: np.ndarray) -> None:
        if xi.size == 0:
            raise ValueError("xi is empty; at least one imitation weight is needed.")
        self.lam, self.xi = lam, xi
        penalty, weight = lam.reshape(-1, 1), xi.reshape(1, -1)
        largest = spectrum.coordinates.d[0] if spectrum.coordinates.rank else 0.0
        rate = np.abs(weight) * (largest / (largest + penalty) if largest else np.zeros_like(penalty))
        if rate.max(initial=0.0) >= 1.0:
            i, j = np.unravel_index(rate.argmax(), rate.shape)
            raise ValueError(
                f"The limit does not exist for lam={penalty[i, 0]:.6g}, xi={weight[0, j]:.6g}: |xi| max d / (d + lam) "
                f"= {rate[i, j]:.6g}, but only below 1 do the steps converge; |xi| must stay below "
                f"{1 + penalty[i, 0] / largest:.6g} for this penalty."
            )
        with np.errstate(divide="ignore"):
            equivalent = np.where(penalty == 0.0, 0.0, penalty / (1.0 - weight))
        none = np.empty((equivalent.size, 0))
        super().__init__(spectrum, targets, equivalent.reshape(-1, 1), none, lam.shape + xi.shape)


class ToleranceRounds(Students):
    """Rounds of tolerance-constrained self-distillation; see `Spectrum.tolerance_path`.

    Axes of every result: (T,) rounds, then the result's own, then (m,) targets. A target that has collapsed before
    the last round has the multiplier inf and the zero filter from there on.

    Attributes
    ----------
    eps : float
    multipliers : ndarray (T,) or (T, m)
        c_t, the multipliers of the Green's function divided by n: λ_t = n c_t (with weights Σw c_t).
    n_rounds : int or ndarray of int (m,)
        Rounds with a fit that is not zero.
    collapsed : bool or ndarray of bool (m,)
        Whether the next round is the zero function; False only where `max_rounds` stopped the rounds first.
    """

    _shared = False

    def __init__(self, spectrum: Decomposed, targets: Targets, eps: float, max_rounds: int) -> None:
        super().__init__(spectrum, targets, ())
        self.eps = eps
        kernels, coordinates, total = compiled_kernels(), spectrum.coordinates, spectrum.frame.total_weight
        z2, outside = np.square(self.rotated.z), self.rotated.outside
        m = z2.shape[1]
        # the tolerance in the units of the targets
        allowed = eps / targets.unit / targets.unit * total
        penalties = np.full((m, max_rounds), np.inf)
        filters = np.empty((max_rounds, coordinates.rank))
        done = np.empty((m, 2), dtype=np.intp)
        for j in range(m):
            column = np.ascontiguousarray(z2[:, j])
            done[j] = kernels.tolerance_rounds(coordinates.d, column, outside[j], allowed, penalties[j], filters)
        if np.any(done[:, 1] == kernels.INFEASIBLE):
            worst = int(outside.argmax())
            smallest = outside[worst] / total * targets.unit * targets.unit
            which = "y" if targets.is_single else f"target {worst}"
            raise ValueError(
                f"eps={eps:.9g} is infeasible: what the kernel cannot reach of {which} already has the mean square "
                f"{smallest:.9g}; the smallest feasible tolerance is just above, eps={smallest * (1 + 1e-8):.17g}."
            )
        n_rounds, collapsed = done[:, 0], done[:, 1] == kernels.COLLAPSED
        rounds = int(n_rounds.max())
        self._penalties = np.ascontiguousarray(penalties[:, :rounds])
        self._shape = (rounds,)
        self.multipliers = self._result(self._penalties.T / total, "multipliers")
        self.n_rounds = int(n_rounds[0]) if targets.is_single else n_rounds
        self.collapsed = bool(collapsed[0]) if targets.is_single else collapsed

    def _multipliers_at(self, values: np.ndarray, form: int, start: int, stop: int) -> np.ndarray:
        m, rounds = self._penalties.shape
        out = np.empty((m, rounds, len(values)))
        fill_multipliers(values, self._penalties, np.ones((m, max(0, rounds - 1))), form, out)
        return np.moveaxis(out, 0, 1)[start:stop]

    def _penalty_of(self, start: int, stop: int) -> np.ndarray:
        return self._penalties.T[start:stop]


class MeanRidges(Students):
    """Weighted means of plain ridges, f = Σ_l p_l d / (d + λ_l), Σ p = 1.

    Parameters
    ----------
    spectrum, targets
        As of other students.
    lam : ndarray (L,)
    shares : ndarray (S, 1 or m, L)
        p of each student, for all targets or for each.
    shape : tuple of int
        Leading axes of every result, S students in all.
    """

    def __init__(
        self, spectrum: Decomposed, targets: Targets, lam: np.ndarray, shares: np.ndarray, shape: tuple[int, ...]
    ) -> None:
        super().__init__(spectrum, targets, shape)
        self._shared = shares.shape[1] == 1
        used = shares.any(axis=(0, 1))
        self._grid, self._shares = lam[used], shares[..., used]

    @cached_property
    def loo(self) -> np.ndarray:
        """Exact leave-one-out predictions (..., n[, m]): the same means of ridges refitted without the sample."""
        frame, m = self.spectrum.frame, self.targets.count
        predictions = np.zeros((self.n_students, frame.n_samples, m))
        none = np.empty((len(self._grid), 0))
        blocks = leave_one_out_blocks(self.spectrum.coordinates, self.rotated, self._grid, none)
        for ridge, rows, block in blocks:
            predictions[:, rows.index] += self._shares[:, None, :, ridge] * block
        predictions += self.targets.mean
        self._add_outside_to_light_rows(predictions)
        return self._result(predictions, "leave-one-out predictions", power=1)

    def _multipliers_at(self, values: np.ndarray, form: int, start: int, stop: int) -> np.ndarray:
        out = np.empty((len(self._grid), 1, len(values)))
        fill_multipliers(values, self._grid[:, None], np.empty((len(self._grid), 0)), form, out)
        return self._shares[start:stop] @ out[:, 0]

    def outside_multipliers(self, start: int, stop: int) -> np.ndarray:
        """Multipliers (students, 1, 1 or m) of `Rotated.outside_dual`: Σ p / λ, without penalties below the noise."""
        heavy = self._grid > self.spectrum.coordinates.noise
        return (self._shares[start:stop][..., heavy] @ (1.0 / self._grid[heavy]))[:, None, :]


class FilteredStudents(Students):
    """Two students: plain ridge of a penalty, and one of a given filter (r,).

    Axes of every result: (2,), then the result's own, then (m,) targets.

    Attributes
    ----------
    lam : float
    """

    def __init__(self, spectrum: Decomposed, targets: Targets, lam: float, filter_: np.ndarray) -> None:
        super().__init__(spectrum, targets, (2,))
        self.lam = lam
        d = spectrum.coordinates.d
        self._filters = np.stack([d / (d + lam), filter_])

    def spectral_multipliers(self, form: int, start: int, stop: int) -> np.ndarray:
        """From the filters, divided by d or sqrt(d) as `form` says."""
        d, filters = self.spectrum.coordinates.d, self._filters[start:stop, None]
        if form == RESIDUAL:
            return 1.0 - filters
        return filters / {FILTER: 1.0, DUAL: d, PRIMAL: np.sqrt(d)}[form]

    def _multipliers_at(self, values: np.ndarray, form: int, start: int, stop: int) -> np.ndarray:
        """For `outside_multipliers` only, at d = 0: 1 / λ of ridge, and 0 of the student, as its filter is 0 there."""
        return np.array([1.0 / self.lam if self.lam > 0 else 0.0, 0.0])[start:stop, None, None]

    def _penalty_of(self, start: int, stop: int) -> np.ndarray:
        return np.full((stop - start, 1), self.lam)
