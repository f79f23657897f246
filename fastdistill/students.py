"""Students: fits, coefficients, predictions, degrees of freedom and GCV that follow from spectral multipliers.

With the eigenvalues d, the rotated targets z = Uᵀ W^½ (y − ȳ) and the filter f of a student (`fastdistill.kernels`)::

    ŷ = ȳ + W^-½ U (f ∘ z)      dof = Σ f (+ 1 for an intercept)      Σ w residual² = Σ (1 − f)² z² + outside
    GCV = mean residual² / (1 − dof / n)²

Cost: O(r) per student for filters, degrees of freedom, training error and GCV; O(n r) more per student for fits.
Nothing larger than a block of students is formed unless the array itself is asked for."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastdistill.base import validation

if TYPE_CHECKING:
    from fastdistill.spectrum import Spectrum

BLOCK_ENTRIES = 2**20  # entries of a working array (8 MiB)


class Targets:
    """Targets in the currency of a spectrum: z = Uᵀ W^½ (y − ȳ), ȳ, and the squared norm outside the range.

    Targets whose squares float64 cannot hold are kept in units of `scale`, a power of two (1 for all others): students
    are linear in y, and every result is multiplied by it at the end.
    """

    def __init__(self, spectrum: Spectrum, y: Any) -> None:
        values, self.is_single = validation.targets(y, spectrum.n_samples)
        self.scale = validation.unit_size(values)
        values = values / self.scale if self.scale != 1.0 else values
        self.largest = validation.largest_entry(values)
        for j, column in enumerate(values.T if values.shape[1] > 1 else ()):
            which = f"Target {j} of y" + (f", in units of {self.scale:.3g}," if self.scale != 1.0 else "")
            validation.sized(column, which)
        weight = spectrum._weight
        self.mean = np.zeros(values.shape[1])
        if spectrum.fit_intercept:
            self.mean = np.average(values, axis=0, weights=weight)
        scaled = values - self.mean
        if weight is not None:
            if spectrum.fit_intercept:  # as the rows of a design, see `_decompose`
                scaled -= weight / spectrum.total_weight @ scaled
            scaled *= spectrum._sqrt_weight[:, None]
        self.z = np.ascontiguousarray(spectrum._rows.T @ scaled)
        if spectrum.rank < spectrum.n_effective - spectrum.fit_intercept:
            scaled -= spectrum._rows @ self.z
            if weight is not None:  # once more: what a heavy row leaves is the rounding of its own size
                scaled -= spectrum._rows @ (spectrum._rows.T @ scaled)
        else:
            scaled[...] = 0.0
        self.unreached = scaled  # (n, m), orthogonal to U
        # from the residual itself: ‖y‖² − ‖z‖² would cancel where y is nearly reached
        self.outside = np.einsum("ij,ij->j", scaled, scaled)
        # What y has outside the range of K moves no fit by more than rounding, but (K + λ I)⁻¹ y carries it along,
        # divided by λ, and a query sees a direction of eigenvalue d with the weight sqrt(d): rounding errors of K
        # count there.
        self.null_dual = None
        if spectrum.is_kernel and self.outside.any():
            self.null_dual = scaled if weight is None else scaled * spectrum._sqrt_weight[:, None]

    def null_at(self, queries: Any, spectrum: Spectrum) -> np.ndarray | None:
        """What `null_dual` adds to the predictions of checked queries, (q, m), before its multiplier."""
        return None if self.null_dual is None else spectrum._evaluate(queries, self.null_dual.T).T


class Students:
    """A family of students of one spectrum and one set of targets; the base of paths, limits and rounds.

    Attributes
    ----------
    spectrum : Spectrum
    """

    _shared = True  # one filter for all targets

    def __init__(self, spectrum: Spectrum, targets: Targets, shape: tuple[int, ...]) -> None:
        self.spectrum = spectrum
        self._targets = targets
        self._shape = shape  # leading axes of every result

    def __repr__(self) -> str:
        return f"{type(self).__name__}(axes={self._shape}, n_targets={len(self._targets.mean)}, {self.spectrum!r})"

    def times(self, scale: float) -> Self:
        """The same students of targets `scale` times as large."""
        cached = {name for cls in type(self).__mro__ for name, value in vars(cls).items() if _is_cached(value)}
        other = copy.copy(self)
        other.__dict__ = {name: value for name, value in vars(self).items() if name not in cached}
        other._targets = copy.copy(self._targets)
        other._targets.scale *= scale
        return other

    def _grid(self, values: np.ndarray, form: int, start: int, stop: int) -> np.ndarray:
        """Multipliers (stop − start, 1 or m, r) of students in flat order; arguments as in `kernels.student_grid`."""
        raise TypeError("Students is a base class; use Spectrum.path, .limit or .tolerance_path.")

    def _multipliers(self, form: int, start: int, stop: int) -> np.ndarray:
        d = self.spectrum._d
        return self._grid(np.sqrt(d) if form == compiled_kernels().PRIMAL else d, form, start, stop)

    @property
    def _n_students(self) -> int:
        return math.prod(self._shape)

    def _blocks(self, width: int) -> Iterator[tuple[int, int]]:
        """Ranges of students whose working arrays, `width` entries a student, fill a block."""
        size = max(1, BLOCK_ENTRIES // max(1, width))
        for start in range(0, max(1, self._n_students), size):
            yield start, min(self._n_students, start + size)

    def _result(self, array: np.ndarray, what: str, *, per_target: bool = True, power: int = 0) -> np.ndarray:
        """A flat result (students, ..., m) in its public shape, dtype and units, with the m axis only if y had it.

        `power` is that of y in the result: 1 of predictions, 2 of squared errors.
        """
        if self._targets.is_single or not per_target:
            array = array[..., 0]
        scale = self._targets.scale
        # residuals of an exact fit are rounding errors of y
        negligible = validation.ROUNDING * self._targets.largest**2 if power == 2 else 0.0
        array = array.reshape(self._shape + array.shape[1:])
        return validation.held(array, what, self.spectrum._dtype, scale, power, negligible)

    def _rotated(self, form: int, start: int, stop: int) -> np.ndarray:
        """m ∘ z for each student and target: ((stop − start) m, r)."""
        z = self._targets.z
        return (self._multipliers(form, start, stop) * z.T).reshape((stop - start) * z.shape[1], z.shape[0])

    def _by_target(self, flat: np.ndarray) -> np.ndarray:
        """(students · m, w) -> (students, w, m)."""
        m = len(self._targets.mean)
        return np.moveaxis(flat.reshape(flat.shape[0] // m, m, flat.shape[1]), 1, 2)

    def _all_coefficients(self) -> np.ndarray:
        """Primal or dual coefficients (students, p or n, m)."""
        form = compiled_kernels().DUAL if self.spectrum.is_kernel else compiled_kernels().PRIMAL
        rotated = self._rotated(form, 0, self._n_students)
        coefficients = self._by_target(self.spectrum._coefficients(rotated))
        if self._targets.null_dual is not None:
            coefficients = coefficients + self._null(0, self._n_students) * self._targets.null_dual
        return coefficients

    def _null(self, start: int, stop: int) -> np.ndarray:
        """Dual multipliers (students, 1, 1 or m) of a direction with d = 0; none where λ is below the noise of d."""
        multipliers = self._grid(np.zeros(1), compiled_kernels().DUAL, start, stop)[..., 0]
        return np.where(self._penalty_of(start, stop) > self.spectrum._noise, multipliers, 0.0)[:, None, :]

    def _penalty_of(self, start: int, stop: int) -> np.ndarray:
        """The penalty (students, 1 or m) of each student in flat order."""
        raise TypeError("Students is a base class; use Spectrum.path, .limit or .tolerance_path.")

    @cached_property
    def filters(self) -> np.ndarray:
        """Spectral filters f (..., r): 1 keeps an eigendirection of the targets, 0 removes it."""
        filters = self._multipliers(compiled_kernels().FILTER, 0, self._n_students)
        return self._result(np.moveaxis(filters, 1, 2), "filters", per_target=not self._shared)

    @cached_property
    def fitted(self) -> np.ndarray:
        """Fits on the training samples (..., n[, m])."""
        flat = self.spectrum._expand(self._rotated(compiled_kernels().FILTER, 0, self._n_students))
        fitted = self._by_target(flat)
        if self.spectrum.fit_intercept:
            fitted += self._targets.mean
        self._complete_light_rows(fitted)
        return self._result(fitted, "fitted values", power=1)

    def _complete_light_rows(self, predictions: np.ndarray) -> None:
        """Add to the rows that have no weight what `predict` would: they are queries (students, n, m)."""
        if self.spectrum._weight is not None and len(self.spectrum._light):
            null = self._targets.null_at(self.spectrum._light_queries, self.spectrum)
            if null is not None:
                predictions[:, self.spectrum._light] += self._null(0, self._n_students) * null

    @cached_property
    def coef(self) -> np.ndarray:
        """Coefficients (..., p[, m]) of a design's students: ŷ = X coef + intercept."""
        if self.spectrum.is_kernel:
            raise AttributeError("A kernel spectrum has no coef; use dual_coef, where predictions are Kq @ dual_coef.")
        return self._result(self._all_coefficients(), "coefficients", power=1)

    @cached_property
    def dual_coef(self) -> np.ndarray:
        """Dual coefficients (..., n[, m]) of a kernel's students: ŷ = kernel(query, train) dual_coef + intercept."""
        if not self.spectrum.is_kernel:
            raise AttributeError("The spectrum of a design has no dual_coef; use coef, or decompose K = X @ X.T.")
        return self._result(self._all_coefficients(), "coefficients", power=1)

    @cached_property
    def intercept(self) -> np.ndarray:
        """Intercepts (...[, m]); zero where the spectrum was built without one."""
        if not self.spectrum.fit_intercept:
            return self._result(np.zeros((self._n_students, len(self._targets.mean))), "intercepts")
        return self._result(self._predicted(np.zeros((1, len(self.spectrum._basis))))[:, 0], "intercepts", power=1)

    @cached_property
    def dof(self) -> np.ndarray:
        """Effective degrees of freedom (...): the trace of the smoother, Σ f, plus one for an intercept."""
        blocks = self._blocks(self.spectrum.rank)
        sums = [self._multipliers(compiled_kernels().FILTER, *block).sum(axis=-1) for block in blocks]
        dof = np.concatenate(sums) + self.spectrum.fit_intercept
        return self._result(dof, "degrees of freedom", per_target=not self._shared)

    @cached_property
    def train_mse(self) -> np.ndarray:
        """Training error Σ w residual² / Σ w, (...[, m])."""
        return self._result(np.square(self._residuals[0]), "mean squared errors", power=2)

    @cached_property
    def gcv(self) -> np.ndarray:
        """Generalised cross-validation, training error / (1 − dof / n)², (...[, m]).

        n counts the samples of positive weight. Infinite where dof = n: every residual is zero and GCV says nothing.
        """
        root, left = self._residuals
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.square(root / (left / self.spectrum.n_effective))
        return self._result(np.where(left == 0.0, np.inf, score), "mean squared errors", power=2)

    @cached_property
    def _residuals(self) -> tuple[np.ndarray, np.ndarray]:
        """Root mean squared residuals (students, m) and n − dof (students, 1 or m), both from 1 − f."""
        spectrum, targets = self.spectrum, self._targets
        z2 = np.square(targets.z)
        norms, left = [], []
        for start, stop in self._blocks(spectrum.rank):
            lost, remaining = self._lost(start, stop)
            left.append(remaining)
            # in units of each student's largest: the squares of what a tiny λ loses would underflow
            unit = np.abs(lost).max(axis=-1, initial=0.0)
            np.divide(lost, unit[..., None], out=lost, where=unit[..., None] > 0)
            np.square(lost, out=lost)
            norms.append(unit * np.sqrt(lost[:, 0] @ z2 if self._shared else np.einsum("smr,rm->sm", lost, z2)))
        root = np.hypot(np.concatenate(norms), np.sqrt(targets.outside)) / np.sqrt(spectrum.total_weight)
        return root, np.concatenate(left)

    def _lost(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """1 − f (students, 1 or m, r) and n − dof (students, 1 or m)."""
        spectrum = self.spectrum
        lost = self._multipliers(compiled_kernels().RESIDUAL, start, stop)
        unreached = spectrum.n_effective - spectrum.fit_intercept - spectrum.rank
        return lost, lost.sum(axis=-1) + unreached

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
        return self._result(self._predicted(self.spectrum._check_queries(queries)), "predictions", power=1)

    def _predicted(self, queries: Any) -> np.ndarray:
        """Predictions (students, q, m) of checked queries."""
        predict, m = self._query_map(queries), len(self._targets.mean)
        predictions = np.empty((self._n_students, queries.shape[0], m))
        for start, stop in self._blocks(m * max(queries.shape)):
            predictions[start:stop] = predict(start, stop)
        predictions += self._targets.mean
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
        checked, wanted = self._check_scored(queries, yq)
        m = wanted.shape[1]
        predict = self._query_map(checked)
        errors = []
        for start, stop in self._blocks(m * max(self.spectrum.rank, checked.shape[0])):
            difference = predict(start, stop)
            difference -= wanted
            errors.append(np.einsum("sqm,sqm->sm", difference, difference) / checked.shape[0])
        return self._result(np.concatenate(errors), "mean squared errors", power=2)

    def _check_scored(self, queries: Any, yq: Any) -> tuple[Any, np.ndarray]:
        """Queries and their centred targets (q, m) through the gate."""
        checked = self.spectrum._check_queries(queries)
        wanted, _ = validation.targets(yq, checked.shape[0], "yq")
        m = len(self._targets.mean)
        if wanted.shape[1] != m:
            raise ValueError(f"yq has {wanted.shape[1]} targets, but the students were fitted to {m}.")
        wanted = wanted / self._targets.scale if self._targets.scale != 1.0 else wanted
        return checked, validation.sized(wanted, "yq", smallest=0.0) - self._targets.mean

    def _query_map(self, queries: Any) -> Callable[[int, int], np.ndarray]:
        """Centred predictions (students, q, m) of a range of students on checked queries, in the cheaper order."""
        spectrum = self.spectrum
        form = compiled_kernels().DUAL if spectrum.is_kernel else compiled_kernels().PRIMAL
        (q, width), r = queries.shape, spectrum.rank
        n_rows = self._n_students * len(self._targets.mean)
        null = self._targets.null_at(queries, spectrum)
        coordinates = None
        if q * width * r + n_rows * r * q < n_rows * width * (r + q):
            coordinates = spectrum._query_coordinates(queries)

        def predict(start: int, stop: int) -> np.ndarray:
            rotated = self._rotated(form, start, stop)
            if coordinates is not None:
                flat = rotated @ coordinates.T
            else:
                flat = spectrum._evaluate(queries, spectrum._coefficients(rotated))
            predictions = self._by_target(flat)
            return predictions if null is None else predictions + self._null(start, stop) * null

        return predict


def _is_cached(value: Any) -> bool:
    return isinstance(value, cached_property)


def compiled_kernels() -> Any:
    """The compiled kernels, imported when the first number is needed: numba takes longer to import than NumPy."""
    from fastdistill import kernels

    return kernels
