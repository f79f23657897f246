"""Students: fits, coefficients, predictions, degrees of freedom and GCV from spectral filters.

A student is a ridge model of one penalty, schedule and step. With the eigenvalues d (r,), the rotated targets
z = Uᵀ W^½ (y − ȳ) and the filter f of a student (`fastdistill.kernels.student_grid`)::

    ŷ = ȳ + W^-½ U (f ∘ z)      dof = Σ f (+ 1 for an intercept)      Σ w residual² = Σ (1 − f)² z² + outside
    GCV = mean residual² / (1 − dof / n)²

where outside = ‖W^½ (y − ȳ)‖² − ‖z‖² is the squared norm of the targets outside the span of U. The spectrum decomposes
when d, U or z are first needed. Paths by another solver (``solved_path.py``) replace what that solver gives more
cheaply.

Cost: O(r) per student for filters, degrees of freedom, training error and GCV; O(n r) more per student for fits.
Nothing larger than a block of students is formed unless the array itself is asked for.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Self

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.compiled import DUAL, FILTER, PRIMAL, RESIDUAL
from fastdistill.spectral.coordinates import Rotated
from fastdistill.spectral.frame import Targets
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.queries import Queries

BLOCK_ENTRIES = 2**20  # entries of a working array (8 MiB)
FEW_COEFFICIENTS = 8  # students and targets whose coefficients cost no more than a query of zeros


class Students:
    """Students of one spectrum and one set of targets; the base of paths, limits and rounds.

    Methods take ranges of students, start..stop, in flat order: the last of the axes runs fastest.

    Attributes
    ----------
    spectrum : Spectrum
    targets : Targets
        Centred and scaled.
    """

    _shared = True  # whether a student has the same filter for all targets

    def __init__(self, spectrum: Decomposed, targets: Targets, shape: tuple[int, ...]) -> None:
        self.spectrum = spectrum
        self.targets = targets
        self._shape = shape  # leading axes of every result

    def __repr__(self) -> str:
        return f"{type(self).__name__}(axes={self._shape}, n_targets={self.targets.count}, {self.spectrum!r})"

    def times(self, scale: float) -> Self:
        """The same students of targets `scale` times as large."""
        cached = {name for cls in type(self).__mro__ for name, value in vars(cls).items() if _is_cached(value)}
        cached -= {"queries", "rotated"}
        other = copy.copy(self)
        other.__dict__ = {name: value for name, value in vars(self).items() if name not in cached}
        other.targets = dataclasses.replace(self.targets, unit=self.targets.unit * scale)
        return other

    @cached_property
    def queries(self) -> Queries:
        """How new points enter."""
        return self.spectrum.queries

    @cached_property
    def rotated(self) -> Rotated:
        """The targets in the coordinates of the spectrum."""
        return self.spectrum.coordinates.rotate(self.targets)

    def _multipliers_at(self, values: np.ndarray, form: int, start: int, stop: int) -> np.ndarray:
        """Multipliers (stop − start, 1 or m, r) at given eigenvalues; `values`, `form` as in `kernels.student_grid`."""
        raise TypeError("Students is a base class; use Spectrum.path, .limit or .tolerance_path.")

    def spectral_multipliers(self, form: int, start: int, stop: int) -> np.ndarray:
        """Multipliers (stop − start, 1 or m, r) of each eigendirection; `form` as in `kernels.student_grid`."""
        d = self.spectrum.coordinates.d
        return self._multipliers_at(np.sqrt(d) if form == PRIMAL else d, form, start, stop)

    @property
    def n_students(self) -> int:
        """Number of students, all axes together."""
        return math.prod(self._shape)

    def _blocks(self, width: int) -> Iterator[tuple[int, int]]:
        """Ranges of students whose working arrays, `width` entries a student, fill a block."""
        size = max(1, BLOCK_ENTRIES // max(1, width))
        for start in range(0, max(1, self.n_students), size):
            yield start, min(self.n_students, start + size)

    def _result(self, array: np.ndarray, what: str, *, per_target: bool = True, power: int = 0) -> np.ndarray:
        """A flat result (students, ..., m) in its public shape, dtype and units, with the m axis only if y had it.

        `what` names it in errors; `power` is that of y in the result: 1 of predictions, 2 of squared errors.
        """
        if self.targets.is_single or not per_target:
            array = array[..., 0]
        scale = self.targets.unit
        # residuals of an exact fit are rounding errors of y
        negligible = validation.ROUNDING * self.targets.largest**2 if power == 2 else 0.0
        array = array.reshape(self._shape + array.shape[1:])
        return validation.held(array, what, self.spectrum.dtype, scale, power, negligible)

    def _filtered(self, form: int, start: int, stop: int) -> np.ndarray:
        """m ∘ z for each student and target: ((stop − start) m, r)."""
        z = self.rotated.z
        return (self.spectral_multipliers(form, start, stop) * z.T).reshape((stop - start) * z.shape[1], z.shape[0])

    def _by_target(self, flat: np.ndarray) -> np.ndarray:
        """(students · m, w) -> (students, w, m)."""
        m = self.targets.count
        return flat.reshape(flat.shape[0] // m, m, flat.shape[1]).swapaxes(1, 2)

    @cached_property
    def _coefficients(self) -> np.ndarray:
        """Primal or dual coefficients (students, p or n, m)."""
        filtered = self._filtered(self._coefficient_form, 0, self.n_students)
        coefficients = self._by_target(self.spectrum.coordinates.coefficients(filtered))
        if self.rotated.outside_dual is not None:
            coefficients = coefficients + self.outside_multipliers(0, self.n_students) * self.rotated.outside_dual
        return coefficients

    @property
    def _reads_coefficients(self) -> bool:
        """Whether other results are formed of `_coefficients`."""
        return self.n_students * self.targets.count <= FEW_COEFFICIENTS

    def _given_coefficients(self) -> np.ndarray:
        """Coefficients as the caller gets them, who may write to them: other results must not change with that."""
        coefficients = self._coefficients.copy() if self._reads_coefficients else self._coefficients
        return self._result(coefficients, "coefficients", power=1)

    def outside_multipliers(self, start: int, stop: int) -> np.ndarray:
        """Multipliers (students, 1, 1 or m) of `Rotated.outside_dual`, f / d at d = 0; 0 where λ is below the noise."""
        multipliers = self._multipliers_at(np.zeros(1), DUAL, start, stop)[..., 0]
        return np.where(self._penalty_of(start, stop) > self.spectrum.coordinates.noise, multipliers, 0.0)[:, None, :]

    def _penalty_of(self, start: int, stop: int) -> np.ndarray:
        """The penalty (students, 1 or m) of each student in flat order."""
        raise TypeError("Students is a base class; use Spectrum.path, .limit or .tolerance_path.")

    @cached_property
    def filters(self) -> np.ndarray:
        """Spectral filters f (..., r), the factors of z in the fits: 1 keeps an eigendirection, 0 removes it."""
        filters = self.spectral_multipliers(FILTER, 0, self.n_students)
        return self._result(filters.swapaxes(1, 2), "filters", per_target=not self._shared)

    @cached_property
    def fitted(self) -> np.ndarray:
        """Fits on the training samples (..., n[, m])."""
        flat = self.spectrum.coordinates.fits(self._filtered(FILTER, 0, self.n_students))
        fitted = self._by_target(flat)
        if self.spectrum.frame.fit_intercept:
            fitted += self.targets.mean
        self._add_outside_to_light_rows(fitted)
        return self._result(fitted, "fitted values", power=1)

    def _add_outside_to_light_rows(self, predictions: np.ndarray) -> None:
        """Complete predictions (students, n, m) of samples of next to no weight, which are queries, in place."""
        light = self.spectrum.frame.light
        outside = self._outside_predictions(self.spectrum.coordinates.light_queries) if len(light) else None
        if outside is not None:
            predictions[:, light] += self.outside_multipliers(0, self.n_students) * outside

    @cached_property
    def coef(self) -> np.ndarray:
        """Coefficients (..., p[, m]) of a design's students: ŷ = X coef + intercept."""
        if self.spectrum.is_kernel:
            raise AttributeError("A kernel spectrum has no coef; use dual_coef, where predictions are Kq @ dual_coef.")
        return self._given_coefficients()

    @cached_property
    def dual_coef(self) -> np.ndarray:
        """Dual coefficients (..., n[, m]) of a kernel's students: ŷ = kernel(query, train) dual_coef + intercept."""
        if not self.spectrum.is_kernel:
            raise AttributeError("The spectrum of a design has no dual_coef; use coef, or decompose K = X @ X.T.")
        return self._given_coefficients()

    @cached_property
    def intercept(self) -> np.ndarray:
        """Intercepts (...[, m]); zero where the spectrum was built without one."""
        if not self.spectrum.frame.fit_intercept:
            return self._result(np.zeros((self.n_students, self.targets.count)), "intercepts")
        if self._reads_coefficients:
            flat = self._coefficients.swapaxes(1, 2).reshape(-1, self.queries.width)
            level = self.queries.at_origin(flat).reshape(self.n_students, -1) + self.targets.mean
        else:
            level = self._predicted(np.zeros((1, self.queries.width)))[:, 0]
        return self._result(level, "intercepts", power=1)

    @cached_property
    def dof(self) -> np.ndarray:
        """Effective degrees of freedom (...): the trace of the smoother, Σ f, plus one for an intercept."""
        blocks = self._blocks(self.spectrum.coordinates.rank)
        sums = [self.spectral_multipliers(FILTER, *block).sum(axis=-1) for block in blocks]
        dof = np.concatenate(sums) + self.spectrum.frame.fit_intercept
        return self._result(dof, "degrees of freedom", per_target=not self._shared)

    @cached_property
    def dof_error(self) -> np.ndarray:
        """Standard error (...) of `dof` where it is estimated, as by iterative solvers; 0 elsewhere."""
        return np.zeros_like(self.dof)

    @cached_property
    def error_estimate(self) -> np.ndarray:
        """Estimated relative error of the fits (...[, m]) of an iterative solver; 0, but for rounding, elsewhere."""
        return self._result(np.zeros((self.n_students, self.targets.count)), "error estimates")

    @cached_property
    def train_mse(self) -> np.ndarray:
        """Training error Σ w residual² / Σ w, (...[, m])."""
        return self._result(np.square(self._residuals[0]), "mean squared errors", power=2)

    @cached_property
    def gcv(self) -> np.ndarray:
        """Generalised cross-validation, training error / (1 − dof / n)², (...[, m]).

        n counts the samples of positive weight. Infinite where dof = n: every residual is zero and GCV says nothing.
        """
        root, degrees_left = self._residuals
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.square(root / (degrees_left / self.spectrum.frame.n_effective))
        return self._result(np.where(degrees_left == 0.0, np.inf, score), "mean squared errors", power=2)

    @cached_property
    def _residuals(self) -> tuple[np.ndarray, np.ndarray]:
        """Root mean squared residuals (students, m) and n − dof (students, 1 or m), both from 1 − f."""
        z2 = np.square(self.rotated.z)
        norms, degrees_left = [], []
        for start, stop in self._blocks(len(z2)):
            complement, degrees = self.complements(start, stop)
            degrees_left.append(degrees)
            # in units of each student's largest: 1 − f at a tiny λ has squares that would underflow
            unit = np.abs(complement).max(axis=-1, initial=0.0)
            np.divide(complement, unit[..., None], out=complement, where=unit[..., None] > 0)
            squares = np.square(complement, out=complement)
            norms.append(unit * np.sqrt(squares[:, 0] @ z2 if self._shared else np.einsum("smr,rm->sm", squares, z2)))
        root = np.hypot(np.concatenate(norms), np.sqrt(self.rotated.outside)) / np.sqrt(
            self.spectrum.frame.total_weight
        )
        return root, np.concatenate(degrees_left)

    def complements(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """1 − f (students, 1 or m, r) and n − dof (students, 1 or m)."""
        complement = self.spectral_multipliers(RESIDUAL, start, stop)
        outside_degrees = self.spectrum.frame.degrees - self.spectrum.coordinates.rank  # where 1 − f = 1
        return complement, complement.sum(axis=-1) + outside_degrees

    def predict(self, queries: Any) -> np.ndarray:
        """Predictions of every student, (..., q[, m]).

        Parameters
        ----------
        queries : array-like
            For a design Xq (q, p), dense or sparse; for a kernel Kq (q, n) = kernel(query, train).

        Raises
        ------
        ValueError
            A wrong number of columns, NaN or inf.
        """
        return self._result(self._predicted(self.queries.check(queries)), "predictions", power=1)

    def _predicted(self, queries: Any) -> np.ndarray:
        """Predictions (students, q, m) of checked queries."""
        predict, m = self.query_map(queries), self.targets.count
        predictions = np.empty((self.n_students, queries.shape[0], m))
        for start, stop in self._blocks(m * max(queries.shape)):
            predictions[start:stop] = predict(start, stop)
        predictions += self.targets.mean
        return predictions

    def mse(self, queries: Any, yq: Any) -> np.ndarray:
        """Mean squared error of every student on queries, (...[, m]); predictions are formed in blocks.

        Parameters
        ----------
        queries : array-like
            As in `predict`.
        yq : array-like (q,) or (q, m)
            Targets of the queries, of the same shape as the training targets but for their number.
        """
        checked, wanted = self.check_labelled_queries(queries, yq)
        m = wanted.shape[1]
        predict = self.query_map(checked)
        errors = []
        side = min(self.spectrum.frame.n_samples, self.queries.width)
        for start, stop in self._blocks(m * max(side, checked.shape[0])):
            difference = predict(start, stop)
            difference -= wanted
            errors.append(np.einsum("sqm,sqm->sm", difference, difference) / checked.shape[0])
        return self._result(np.concatenate(errors), "mean squared errors", power=2)

    def check_labelled_queries(self, queries: Any, yq: Any) -> tuple[Any, np.ndarray]:
        """Checked queries and their targets (q, m) less ȳ, in the units of the training targets."""
        checked = self.queries.check(queries)
        wanted, _ = validation.targets(yq, checked.shape[0], "yq")
        m = self.targets.count
        if wanted.shape[1] != m:
            raise ValueError(f"yq has {wanted.shape[1]} targets, but the students were fitted to {m}.")
        wanted = wanted / self.targets.unit if self.targets.unit != 1.0 else wanted
        return checked, validation.sized(wanted, "yq", smallest=0.0) - self.targets.mean

    def query_map(self, queries: Any) -> Callable[[int, int], np.ndarray]:
        """A function (start, stop) -> centred predictions (stop − start, q, m) of these students on checked queries.

        Q (m ∘ z) or X_q (V (m ∘ z)), whichever product costs less.
        """
        coordinates, form = self.spectrum.coordinates, self._coefficient_form
        (q, width), r = queries.shape, coordinates.rank
        n_rows = self.n_students * self.targets.count
        outside = self._outside_predictions(queries)
        projected = None
        if q * width * r + n_rows * r * q < n_rows * width * (r + q):
            projected = coordinates.project(queries)

        def predict(start: int, stop: int) -> np.ndarray:
            filtered = self._filtered(form, start, stop)
            if projected is not None:
                flat = filtered @ projected.T
            else:
                flat = self.queries.evaluate(queries, coordinates.coefficients(filtered))
            predictions = self._by_target(flat)
            return predictions if outside is None else predictions + self.outside_multipliers(start, stop) * outside

        return predict

    def _outside_predictions(self, queries: Any) -> np.ndarray | None:
        """Predictions (q, m) of `Rotated.outside_dual` on checked queries, before its multiplier; None without one."""
        dual = self.rotated.outside_dual
        return None if dual is None else self.queries.evaluate(queries, dual.T).T

    @property
    def _coefficient_form(self) -> int:
        return DUAL if self.spectrum.is_kernel else PRIMAL


def _is_cached(value: Any) -> bool:
    return isinstance(value, cached_property)
