"""Prediction intervals of the ridge regressors, by the jackknife+ of `fastdistill.spectral.jackknife`.

A fitted model keeps references to its training data, not copies; what leave-one-out needs of them, a decomposition with
n r numbers, is computed by the first call of `predict_interval`. Pickles of linear models leave out the training data
unless `predict_interval` was called before, as they would be many times as large as the coefficients.

Jackknife+ and not CV+: its cost, O(n r) for each query and step, is that of a kernel's predictions, no fold has to be
drawn, and its intervals come from fits of n − 1 samples.

Cost: one decomposition in the first call; then O(n q r k) for q queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import validation
from fastdistill.estimators._common import Regressor, checked_queries
from fastdistill.spectral.jackknife import Jackknife
from fastdistill.spectral.path import FilteredStudents
from fastdistill.spectral.spectrum import Spectrum

SAME = 1e-3  # relative difference of predictions beyond which the training data are not those of fit


class Chosen(NamedTuple):
    """The student of some targets: of a penalty and weights (k,), or of a filter (r,)."""

    lam: float
    xi: np.ndarray | None
    filter: np.ndarray | None = None


class IntervalRegressor(Regressor):
    """Base of the ridge regressors: prediction intervals."""

    _training: TrainingData | None

    def _query_blocks(self, X: Any) -> Iterator[Any]:
        """Checked samples X, as queries of the spectrum, block by block."""
        raise TypeError("IntervalRegressor is a base class; use DistilledRidge or another regressor.")

    def predict_interval(self, X: Any, level: float = 0.9) -> np.ndarray:
        """Prediction intervals for new targets, by the jackknife+ [1]_.

        With the fits f_{−i} of the model without training sample i, R_i = |y_i − f_{−i}(x_i)| and α = 1 − level, from
        the ⌊α (n + 1)⌋-th smallest f_{−i}(x) − R_i to the ⌈(1 − α) (n + 1)⌉-th smallest f_{−i}(x) + R_i.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples; with ``kernel="precomputed"`` kernel(query, train).
        level : float, default=0.9
            Share of new targets that the intervals are to hold, above 0 and below 1.

        Returns
        -------
        intervals : ndarray of shape (n_samples, 2) or (n_samples, n_targets, 2)
            Lower and upper ends; each target has its own intervals. Infinite where fewer than level / (1 − level)
            samples were fitted.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            As in `predict`; `level` out of range; without one of the samples nothing is left to fit; the training data
            were overwritten since `fit`, or are not at hand (a pickle of a linear model, `fit_accumulated`,
            ``solver="krylov"`` with a kernel).

        Notes
        -----
        If training and new samples are exchangeable, the intervals hold a new target with a probability of at least
        2 level − 1, and in practice near `level`, for any model and any noise. It is an average over X: with noise that
        grows with X, intervals are too wide where it is small. Student and teachers are refitted without each sample,
        exactly and without a refit. A penalty and weights that were chosen on the same data are held fixed, which
        costs a little coverage: after a choice on 79 samples 90 % intervals held 88.5 to 89.5 % of new targets in
        simulations. Samples of weight zero do not count, all others count the same.

        Cost: one decomposition in the first call (n min(n, p) numbers are kept), then O(n min(n, p)) for each query and
        step. The training data must not be changed after `fit`; they are not copied.

        References
        ----------
        .. [1] R. F. Barber, E. J. Candès, A. Ramdas and R. J. Tibshirani, "Predictive inference with the jackknife+",
           Annals of Statistics 49 (2021), arXiv:1905.02928.

        Examples
        --------
        >>> import numpy as np
        >>> from fastdistill import DistilledRidge
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((200, 3))
        >>> y = X[:, 0] + rng.standard_normal(200)
        >>> DistilledRidge().fit(X, y).predict_interval([[1.0, 0.0, 0.0]]).round(1)
        array([[-0.9,  2.6]])
        """
        queries = checked_queries(self, X)
        level = validation.scalar(level, "level", minimum=0.0, strict=True)
        if level >= 1:
            raise ValueError(f"level must be above 0 and below 1, got {level:.6g}.")
        if self._training is None:
            raise ValueError(
                "There are no prediction intervals without the training data: fit_accumulated keeps only sums, and a "
                "kernel model with solver='krylov' is never decomposed. Use fit, with solver='auto'."
            )
        found = [self._training.intervals(block, level) for block in self._query_blocks(queries)]
        predictions = self.predict(X)  # X as given: the names of its columns are checked again
        intervals, middle = (np.concatenate([part[i] for part in found]) for i in range(2))
        self._training.check_same(middle, predictions)
        return intervals.reshape(*predictions.shape, 2).astype(predictions.dtype)


class TrainingData:
    """The training data of a fitted model, and its leave-one-out fits once they are needed.

    `chosen` holds the student of each target, or one of all; `spectrum_of` gives the spectrum of (X, weight). X is in
    every pickle with `always_stored`, as of kernel models, whose pickles hold it anyway.
    """

    def __init__(
        self,
        spectrum_of: Callable[[Any, Any], Spectrum],
        X: Any,
        y: np.ndarray,
        weight: Any,
        chosen: list[Chosen],
        *,
        always_stored: bool = False,
    ) -> None:
        self._spectrum_of, self._chosen, self._always_stored = spectrum_of, chosen, always_stored
        self._data: tuple[Any, np.ndarray, Any] | None = (X, y, weight)
        self._jackknives: list[Jackknife] | None = None

    def __getstate__(self) -> dict[str, Any]:
        data = self._data if self._always_stored or self._jackknives is not None else None
        return {**vars(self), "_jackknives": None, "_data": data}

    def intervals(self, queries: Any, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Intervals (q, m, 2) and predictions (q, m) of checked queries."""
        if self._jackknives is None:
            self._jackknives = self._prepared()
        found = []
        for jackknife in self._jackknives:
            checked = jackknife.students.queries.check(queries)
            found.append((jackknife.intervals(checked, level), jackknife.predictions(checked)))
        return np.concatenate([part[0] for part in found], axis=1), np.concatenate([part[1] for part in found], axis=1)

    def _prepared(self) -> list[Jackknife]:
        if self._data is None:
            raise ValueError(
                "The training data are not in pickles and copies of a linear model unless predict_interval was called "
                "before: fit again, or call predict_interval once before pickling."
            )
        X, y, weight = self._data
        spectrum = self._spectrum_of(X, weight)
        columns = [y] if len(self._chosen) == 1 else list(y.T)
        return [Jackknife(_students(spectrum, *own)) for own in zip(columns, self._chosen, strict=True)]

    def check_same(self, found: np.ndarray, predictions: np.ndarray) -> None:
        """Raise where predictions (q, m) from the training data as they are now differ from those of the model."""
        assert self._data is not None
        size = max(validation.largest_entry(self._data[1]), validation.largest_entry(predictions))
        if np.abs(found - predictions.reshape(found.shape)).max(initial=0.0) > SAME * size:
            raise ValueError(
                "The training data have changed since fit, which keeps no copy of them: fit again, or fit copies."
            )


def _students(spectrum: Spectrum, y: np.ndarray, chosen: Chosen) -> Any:
    """The chosen student of targets y, the last of the result."""
    if chosen.filter is None:
        return spectrum.path(y, chosen.lam, chosen.xi)
    return FilteredStudents(spectrum, spectrum.frame.targets(y), chosen.lam, chosen.filter)


def given_students(penalty: np.ndarray, schedule: np.ndarray, y: np.ndarray) -> list[Chosen]:
    """Of a penalty () or (m,) and a schedule (k,) or (m, k)."""
    if penalty.ndim == 0 and schedule.ndim == 1:
        return [Chosen(float(penalty), schedule)]
    m = 1 if y.ndim == 1 else y.shape[1]
    weights = np.broadcast_to(schedule, (m, schedule.shape[-1]))
    return [Chosen(float(alone), own) for alone, own in zip(np.broadcast_to(penalty, m), weights, strict=True)]


def design_spectrum(X: Any, weight: Any, fit_intercept: bool, solver: str = "auto") -> Spectrum:
    """The spectrum of a checked design."""
    return Spectrum.from_kept(X, fit_intercept, weight, solver)
