"""Self-training on unlabelled inputs: ridge refitted to its own predictions on new inputs, stopped by iterated GCV.

Student 0 is ridge on the labelled data (X, y). Student t is ridge on inputs U_t with the predictions of student t − 1
for labels. All penalties are the same against the *mean* of squares, λ n_t / n for n_t rows. Given the inputs, every
student is linear in y: with the smoothers H_t of their fits on X and the residuals r_t = y − H_t y::

    left out exactly   y_i − f_t^{(−i)}(x_i) = r_{t,i} + H_{t,ii} r_{0,i} / (1 − H_{0,ii})
    iterated GCV       (1/n) Σ_i ( r_{t,i} + (tr H_t / n) r_{0,i} / (1 − tr H_0 / n) )²

Why: dropping sample i amounts to moving y_i by −r_{0,i} / (1 − H_{0,ii}), so that student 0 passes through it; nothing
later sees y_i. GCV puts the means of the diagonals for their entries. At t = 0 both are the usual formulas.

==========================================  =====================================
Wu, Yang and Sun 2026                       here
==========================================  =====================================
fresh covariates of iterate t               U_t, `X_unlabelled` split by `fresh`
iterated GCV                                ``criterion="gcv"``, `scores_`
stopping time, regularisation               `n_steps_`, `alpha_`
==========================================  =====================================

Cost: for each penalty and step a ridge fit of n columns, O(n n_t min(n_t, p)), after one decomposition of each U_t.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.estimators._common import Regressor, checked_samples, checked_unlabelled
from fastdistill.estimators.ridge import DistilledRidge, LinearPredictor
from fastdistill.selection.search import TOO_FEW
from fastdistill.spectral.spectrum import Spectrum

CRITERIA = ("gcv", "loo")
ALPHAS = tuple(10.0 ** (i / 2) for i in range(-6, 7))


class SelfTrainedRidge(LinearPredictor, Regressor):
    """Ridge regression that goes on to train on unlabelled inputs, for as many steps as iterated GCV finds worthwhile.

    Each step is ridge on unlabelled inputs whose labels are the predictions of the step before. A step averages noise
    out and forgets some of the signal; the risk falls first and then rises [1]_. Penalty and number of steps are those
    of the smallest estimate of the risk, which needs no held-out labels.

    Parameters
    ----------
    alphas : float, array-like of shape (n_alphas,) or None, default=None
        Penalties to choose from, at least 0, against the sum of (weighted) squared residuals of the labelled data; None
        stands for 13 from 0.001 to 1000. A step on n_t inputs has the penalty alpha n_t / n.
    max_steps : int, default=10
        Largest number of steps.
    fresh : bool, default=True
        Whether every step gets inputs of its own: step t = 1, 2, … every max_steps-th row of `X_unlabelled` from row
        t − 1 on, as the theory assumes. With False every step gets all of them: less noise, but the same directions are
        forgotten every time.
    criterion : {"gcv", "loo"}, default="gcv"
        Iterated GCV, or exact leave-one-out at the same price.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients of the last student.
    intercept_ : float or ndarray of shape (n_targets,)
        Its intercept; 0.0 with ``fit_intercept=False``.
    alpha_ : float
        The chosen penalty.
    n_steps_ : int
        The chosen number of steps, 0 for plain ridge.
    alphas_ : ndarray of shape (n_alphas,)
        The penalties tried.
    scores_ : ndarray of shape (n_alphas, k + 1)
        Estimated mean squared prediction errors of 0, 1, …, k steps, averaged over targets; inf where nothing can be
        said. k is `max_steps`, or less if there are fewer unlabelled inputs.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    DistilledRidgeCV : Steps on the labelled inputs.
    ResidualTeacherRidge : A teacher of another kind on unlabelled inputs.
    fastdistill.theory.generation_risk : The risk of every step in the limit, with ``synthetic_gamma=0``.

    Notes
    -----
    Assumes that unlabelled inputs are drawn like the labelled ones and independently of them; then the leave-one-out
    error is exactly that of refitting the whole chain at the same penalties, and GCV its usual approximation, good
    where leverages are alike (many features, none dominant). The smallest of so many estimates is a little optimistic.

    At a penalty that is too small, steps can lower the risk far. Beside the best penalty little is left to gain, and
    choosing steps and penalty together may cost more than that: in 40 simulations with 5 strong among 145 weak
    directions the mean excess risk was 2.7 with the best penalty and steps and 3.1 with the best penalty alone, but 4.3
    and 4.1 with these chosen on the data. Without `X_unlabelled` there is nothing to step on and this is ridge tuned by
    the criterion.

    The paper's text could not be had, only its abstract: the setting is from there, the formula is derived in the head
    of this module and tested against refits and against simulated risk.

    Cost: O(n p min(n, p)), and for each penalty and step O(n n_t min(n_t, p)): quadratic in labelled samples.

    References
    ----------
    .. [1] M. Wu, A. Y. Yang and Q. Sun, "Why self-training helps and hurts: Denoising vs. signal forgetting", 2026,
       arXiv:2602.14029.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill import SelfTrainedRidge
    >>> rng = np.random.default_rng(0)
    >>> scale = np.r_[np.full(5, 3.0), np.full(195, 0.3)]
    >>> X, U = rng.standard_normal((60, 200)) * scale, rng.standard_normal((600, 200)) * scale
    >>> y = X[:, :5] @ np.ones(5) + 5 * rng.standard_normal(60)
    >>> model = SelfTrainedRidge(alphas=1.0).fit(X, y, X_unlabelled=U)
    >>> model.n_steps_
    3
    >>> model.scores_.round(1)
    array([[31.3, 29.4, 27.4, 26.9, 27.5, 27.6, 27.9, 28.3, 28.9, 29.2, 29.2]])
    """

    def __init__(
        self,
        alphas: Any = None,
        max_steps: int = 10,
        fresh: bool = True,
        criterion: str = "gcv",
        fit_intercept: bool = True,
    ) -> None:
        self.alphas = alphas
        self.max_steps = max_steps
        self.fresh = fresh
        self.criterion = criterion
        self.fit_intercept = fit_intercept

    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_unlabelled: Any = None) -> SelfTrainedRidge:
        """Choose the penalty and the number of steps, and fit the last student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Inputs of the labelled data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the labelled data, at least 0 and not all 0. GCV takes them for counts, a weight of two for a
            sample twice: scale weights of another meaning to a mean of 1.
        X_unlabelled : {array-like, sparse matrix, sparse array} of shape (n_unlabelled, n_features), default=None
            Inputs to step on; with `fresh` at most as many steps are made as there are rows. A pipeline hands it on
            untransformed: transform it like X first. Searches of scikit-learn split it like X if it has as many rows.

        Returns
        -------
        self : SelfTrainedRidge

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero, fewer than 2
            samples of positive weight, or no estimate of any error.
        TypeError
            Parameters or weights of the wrong kind.
        """
        validation.choice(self.criterion, "criterion", CRITERIA)
        validation.boolean(self.fit_intercept, "fit_intercept")
        most = validation.integer(self.max_steps, "max_steps", minimum=0)
        fresh = validation.boolean(self.fresh, "fresh")
        self.alphas_ = np.atleast_1d(validation.penalties(ALPHAS if self.alphas is None else self.alphas, "alphas"))
        X, y = checked_samples(self, X, y)
        weight = validation.sample_weight(sample_weight, X.shape[0])
        blocks: list[Any] = []
        if X_unlabelled is not None:
            rows = checked_unlabelled(self, X_unlabelled)
            rows = rows.tocsr() if hasattr(rows, "tocsr") else rows
            blocks = [rows[t::most] for t in range(min(most, rows.shape[0]))] if fresh else [rows] * most
        chain = _Chain(X, weight, blocks, self.fit_intercept)
        total, (left, unit) = chain.total, validation.in_units(validation.targets(y, X.shape[0])[0])
        scores = np.array([chain.scores(alpha, left, self.criterion) for alpha in self.alphas_])
        if scores.size > 1 and not np.isfinite(scores).any():
            raise ValueError(
                f"criterion={self.criterion!r} says nothing of any penalty and step: use larger alphas. (GCV takes "
                f"weights for counts of samples; they sum to {total:.6g}.)"
            )
        best, self.n_steps_ = (int(i) for i in np.unravel_index(scores.argmin(), scores.shape))
        self.scores_ = validation.held(scores, "scores", scores.dtype, unit, 2)
        self.alpha_ = float(self.alphas_[best])
        model = DistilledRidge(self.alpha_, n_steps=0, fit_intercept=self.fit_intercept).fit(X, y, weight)
        for rows in blocks[: self.n_steps_]:
            step = DistilledRidge(self.alpha_ * rows.shape[0] / total, n_steps=0, fit_intercept=self.fit_intercept)
            model = step.fit(rows, model.predict(rows))
        self._use_model_of(model)
        return self


class _Chain:
    """The students of one set of labelled and unlabelled inputs, as functions of y."""

    def __init__(self, X: Any, weight: np.ndarray | None, blocks: list[Any], fit_intercept: bool) -> None:
        X = X.astype(np.float64, copy=False)
        self._X, self._weight = X, weight
        self._labelled = Spectrum.from_kept(X, fit_intercept, weight, "auto")
        if self._labelled.frame.n_effective < 2:
            raise ValueError(TOO_FEW)
        self.total = self._labelled.frame.total_weight
        spectra: dict[int, tuple[Any, Spectrum]] = {}
        for rows in blocks:  # the same rows are decomposed once
            if id(rows) not in spectra:
                inputs = rows.astype(np.float64, copy=False)
                spectra[id(rows)] = inputs, Spectrum.from_kept(inputs, fit_intercept, None, "auto")
        self._steps = [spectra[id(rows)] for rows in blocks]

    def smoothers(self, alpha: float) -> Iterator[np.ndarray]:
        """H_t (n, n), t = 0, 1, …: the fits of student t on X as functions of y."""
        path = self._labelled.path(np.eye(self._X.shape[0]), alpha, [])
        coef, intercept = path.coef[0], path.intercept[0]
        yield self._X @ coef + intercept
        for inputs, spectrum in self._steps:
            path = spectrum.path(inputs @ coef + intercept, alpha * inputs.shape[0] / self.total, [])
            coef, intercept = path.coef[0], path.intercept[0]
            yield self._X @ coef + intercept

    def scores(self, alpha: float, y: np.ndarray, criterion: str) -> list[float]:
        """Estimated mean squared errors of students 0, 1, …"""
        weight = np.ones(len(y)) if self._weight is None else self._weight
        found, moved = [], self._moved(alpha, y, criterion)
        for t, smoother in enumerate(self.smoothers(alpha)):
            own = np.diagonal(smoother)[:, None]
            if criterion == "gcv":
                own = np.full_like(own, own.sum() / self.total)
            errors = (y - smoother @ y + own * moved if t else moved)[weight > 0]
            score = float(np.average(np.square(errors).mean(axis=1), weights=weight[weight > 0]))
            found.append(score if np.isfinite(score) else np.inf)
        return found

    def _moved(self, alpha: float, y: np.ndarray, criterion: str) -> np.ndarray:
        """r_0 / (1 − H_0,ii), or with the mean of the diagonal, without subtractions; NaN where nothing is left."""
        student = self._labelled.path(y, [alpha], [], per_step=True)
        if criterion == "loo":
            return np.asarray(y - student.loo[0])
        frame, rotated = self._labelled.frame, student.rotated
        complement, left = student.complements(0, 1)
        within = self._labelled.coordinates.fits(complement[0] * rotated.z.T).T
        residuals = within + frame.unscaled(rotated.outside_part)
        free = (self.total - frame.n_effective + left) / self.total
        return np.divide(residuals, free, out=np.full_like(residuals, np.nan), where=free > 0.0)
