"""Ridge regression that chooses its penalty, and distils itself where the data say that this helps.

How it chooses is in `fastdistill.selection.search`.

======================================  ==================
paper                                   here
======================================  ==================
P: ridge penalty λ                      ``alpha_``
P: imitation parameters ξ_1, …, ξ_k     ``xi_``
P: ξ̄_i, i >= 1                          ``mixture_[i]``
======================================  ==================

Cost: one decomposition (one more per fold with a splitter), then O(n r k) per penalty; no refit.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv

from fastdistill.base import validation
from fastdistill.estimators._common import (
    as_linear_model,
    checked_samples,
    checked_targets,
    far_from_zero,
    means_far_from_zero,
    multiply,
)
from fastdistill.estimators._intervals import TrainingData, design_spectrum
from fastdistill.estimators._selection import record, search_of, tuned_students
from fastdistill.estimators.ridge import LinearRegressor
from fastdistill.selection.search import Fold, Folds
from fastdistill.spectral.accumulator import GramAccumulator
from fastdistill.spectral.spectrum import Spectrum

SOLVERS = ("auto", "svd", "gram")


class DistilledRidgeCV(LinearRegressor):
    """Ridge regression with a tuned penalty, distilled into itself only where there is evidence that this helps.

    min over λ, w of ‖Σ_i w_i p_i(λ) − y‖² with leave-one-out predictions p_i of i pure distillation steps: i = 0 is
    ridge. With the default strategy the weights are those of ridge, and the model is that of
    :class:`sklearn.linear_model.RidgeCV`, unless the data show that ridge of any penalty is the wrong filter.

    Parameters
    ----------
    alphas : float, array-like of shape (n_alphas,) or "dof", default=None
        Penalties to choose from, at least 0, on the scale of :class:`sklearn.linear_model.Ridge`. None stands for
        ``numpy.logspace(-4, 5, 40)``. "dof" stands for 40 penalties spaced in effective degrees of freedom, from next
        to none to nearly the rank of X: they go with the units of X, and `alphas_` holds them.
    n_steps : int or None, default=None
        Number k of distillation steps; 0 is plain ridge. None (strategy "safe" without `bounds`) allows as many as the
        rank of the design, with which any filter of its spectrum can be reached [1]_.
    strategy : {"safe", "ridge", "joint", "greedy"}, default="safe"
        "safe" distils only on evidence for a signal concentrated in few directions. Otherwise it is ridge: with
        ``n_steps=None`` and leave-one-out not of one penalty but averaged over those among which the samples do not
        decide (`fastdistill.selection.averaging`), which on ordinary data is 1 % more accurate. "ridge" is
        ridge of the best penalty, whatever `n_steps` and `bounds`. "joint" tunes k weights at once [1]_, "greedy" one
        after the other [2]_; unguarded, both make ordinary data worse. See `fastdistill.tune`.
    scoring : None, "loo", "gcv", "marginal_likelihood", str or callable, default=None
        None and "loo": exact leave-one-out squared error. "gcv": generalised cross-validation, not with `cv`.
        "marginal_likelihood": as in :class:`DistilledKernelRidgeCV`. A scorer, or the name of one, such as "r2", judges
        the leave-one-out predictions as in
        :class:`sklearn.linear_model.RidgeCV`: with `sample_weight`, called with an estimator whose ``predict`` returns
        what it is given. It chooses among the penalties; the weights at each have the smallest squared error.
    cv : int, splitter or iterable, default=None
        None for leave-one-out. Otherwise folds as scikit-learn knows them: penalty and weights have the smallest
        mean squared error on held-out samples, pooled over the folds (weighted by `sample_weight`). A scorer is
        averaged over the folds, as in :class:`sklearn.linear_model.RidgeCV`. For splits by group pass the list of
        splits.
    bounds : (float, float) or None, default=None
        Every ξ within [low, high]; needs a number of steps.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    alpha_per_target : bool, default=False
        Whether every target has its own penalty, weights and verdict. Otherwise all targets share them.
    store_cv_results : bool, default=False
        Whether `cv_results_` holds leave-one-out errors or predictions of every sample; not with `cv` or "gcv".
    solver : {"auto", "svd", "gram"}, default="auto"
        How X is decomposed; "auto" takes the smaller Gram matrix where its condition allows.

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        Penalty with the best score. Where ridge is averaged over several, the one that it would have alone. This and
        the other choices are per target with `alpha_per_target` and a 2-D y.
    alphas_ : ndarray of shape (n_alphas,)
        The penalties that were tried.
    n_steps_ : int or ndarray of shape (n_targets,)
        Distillation steps of the chosen student; 0 is ridge, and with ``n_steps=None`` the rank is the alternative.
    xi_ : ndarray of shape (n_steps,), None, or a list of these
        Imitation weights; None where the student is given by its filter: distilled, or averaged, with ``n_steps=None``.
    mixture_ : ndarray of shape (n_steps + 1,), None, or a list of these
        Weights of the pure steps; None where `xi_` is.
    filter_ : ndarray of shape (rank,) or (n_targets, rank)
        What was used: the factor by which the model shrinks each direction of the (centred, weighted) kernel matrix, in
        the order of decreasing eigenvalues d; d / (d + alpha) for ridge.
    dof_ : float or ndarray of shape (n_targets,)
        Effective degrees of freedom, the sum of `filter_`, plus one for an intercept.
    best_score_ : float or ndarray of shape (n_targets,)
        Score of the choice: -Σ w e² / n as in :class:`sklearn.linear_model.RidgeCV`, minus GCV, or that of the scorer.
        That of ridge of the penalty `alpha_` where `xi_` is None.
    cv_results_ : dict or ndarray of shape (n_samples, n_alphas) or (n_samples, n_targets, n_alphas)
        A dict with "alpha", the penalties, and "scores" of shape (n_alphas, n_steps + 1[, n_targets]), the best score
        with 0..k steps at each. With `store_cv_results` an array as in
        :class:`sklearn.linear_model.RidgeCV`: squared leave-one-out errors times `sample_weight` or, with a scorer,
        leave-one-out predictions; of the student of k steps at each penalty, with "safe" of ridge.
    noise_variance_ : float or ndarray of shape (n_targets,)
        The noise variance of each target at `alpha_`, as in :class:`DistilledKernelRidgeCV`.
    verdict_ : Verdict or list of Verdict
        Paired leave-one-out comparison with the best plain ridge: `gain` (share of its error), `standard_error`,
        `n_steps`, `evidence`, and `sentence`. What is held fixed: see Notes. `penalty_gain` is what averaging over
        penalties does to ridge, which is no distillation. None where `fit_accumulated` has distilled.
    evidence_ : fastdistill.selection.evidence.Evidence, None, or a list of these
        What the data say about a concentrated signal; None unless the strategy is "safe", and with
        ``n_steps=0``.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients of the chosen student; float32 if X is. (n_features,) also for a single column of targets.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept of the chosen student; 0.0 with ``fit_intercept=False``.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    DistilledKernelRidgeCV : The same for kernels.
    DistilledRidge : Penalty and weights as given.
    fastdistill.tune : What chooses them.
    sklearn.linear_model.RidgeCV : The model of ``n_steps=0``.

    Notes
    -----
    `fastdistill.selection.evidence` explains and measures the strategy "safe". Where it distils, the leave-one-out
    residuals of the verdict are (y_i − ŷ_i) / (1 − h_i), with the filter held fixed in the eigenbasis of all samples.
    For the other strategies they are exact, teachers refitted too, with the weights held fixed. The choice was made
    on the same samples, so both flatter.

    Cost: O(n p min(n, p)) once, then O(n min(n, p) k) per penalty; no refit, also with `cv`, whose
    folds are left out as by `path.cv`. A scorer decomposes once more per fold, and keeps the n (k + 1) predictions
    (times targets) of every penalty. With `alpha_per_target` targets are taken together in blocks, in time
    O(n min(n, p)) per penalty and target and in little memory beside the results. One by one are taken those whose
    evidence supports a student, and all with a scorer, "joint", "greedy", or steps and `cv`.

    References
    ----------
    .. [1] D. Pareek, S. S. Du and S. Oh, "Understanding the gains from repeated self-distillation", NeurIPS 2024,
       arXiv:2407.04600.
    .. [2] K. Borup and L. N. Andersen, "Even your teacher needs guidance: Ground-truth targets dampen
       regularization imposed by self-distillation", NeurIPS 2021, arXiv:2102.13088.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill import DistilledRidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 30))
    >>> y = X @ rng.standard_normal(30) + rng.standard_normal(100)
    >>> print(DistilledRidgeCV().fit(X, y).verdict_)  # doctest: +NORMALIZE_WHITESPACE
    No distillation: the evidence for a concentrated signal is 0.0102, not above the 20 required. Ridge, averaged over
    penalties from 0.838 to 4.12, among which the samples do not decide: adds 0.1% ± 0.6% of the leave-one-out error of
    the best single one.
    """

    def __init__(
        self,
        alphas: Any = None,
        n_steps: int | None = None,
        strategy: str = "safe",
        scoring: Any = None,
        cv: Any = None,
        bounds: tuple[float, float] | None = None,
        fit_intercept: bool = True,
        alpha_per_target: bool = False,
        store_cv_results: bool = False,
        solver: str = "auto",
    ) -> None:
        self.alphas = alphas
        self.n_steps = n_steps
        self.strategy = strategy
        self.scoring = scoring
        self.cv = cv
        self.bounds = bounds
        self.fit_intercept = fit_intercept
        self.alpha_per_target = alpha_per_target
        self.store_cv_results = store_cv_results
        self.solver = solver

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DistilledRidgeCV:
        """Choose the penalty and the weights, and fit the chosen student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the squared residuals, in the fit and in the scores; at least 0 and not all 0.

        Returns
        -------
        self : DistilledRidgeCV

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero.
        TypeError
            Parameters or weights of the wrong kind.
        """
        search = search_of(self)
        validation.choice(self.solver, "solver", SOLVERS)
        X, y = checked_samples(self, X, y)
        given, (y, scale) = y, search.in_units(checked_targets(y))
        weight = validation.sample_weight(sample_weight, X.shape[0])
        spectrum = Spectrum.from_kept(X, self.fit_intercept, weight, self.solver)
        folds = None if self.cv is None else self._folds(X, y, weight)
        choices = search.on(spectrum).run(spectrum, y, weight, folds)
        record(self, choices)
        self.coef_, self.intercept_ = as_linear_model(choices.coefficients, choices.intercept, self.fit_intercept)
        self._means = far_from_zero(spectrum, given, weight)
        multiply(self, scale, "coef_", "intercept_")
        spectrum_of = partial(design_spectrum, fit_intercept=self.fit_intercept, solver=self.solver)
        self._training = TrainingData(spectrum_of, X, given, weight, tuned_students(choices))
        return self

    def fit_accumulated(self, acc: GramAccumulator) -> DistilledRidgeCV:
        """Choose the penalty and the weights by GCV, and fit the chosen student, from sums of the samples.

        Parameters
        ----------
        acc : GramAccumulator
            All samples; with the same `fit_intercept` as this model.

        Returns
        -------
        self : DistilledRidgeCV
            `verdict_` is None where a student was distilled: it compares leave-one-out predictions, which need rows.

        Raises
        ------
        ValueError
            `scoring` is not "gcv"; `alpha_per_target` with several targets; the evidence of the strategy "safe"
            supports distillation, which is then checked on rows.
        TypeError
            `acc` is no GramAccumulator; parameters of the wrong kind.

        Notes
        -----
        O(p³ + p² m), whatever the number of samples.

        Examples
        --------
        >>> import numpy as np, fastdistill as fd
        >>> rng = np.random.default_rng(0)
        >>> acc, beta = fd.GramAccumulator(), rng.standard_normal(5)
        >>> for _ in range(10):
        ...     X = rng.standard_normal((1000, 5))
        ...     acc = acc.partial_fit(X, X @ beta + rng.standard_normal(1000))
        >>> model = fd.DistilledRidgeCV(scoring="gcv").fit_accumulated(acc)
        >>> bool(np.abs(model.coef_ - beta).max() < 0.05)
        True
        """
        search = search_of(self)
        if not isinstance(acc, GramAccumulator):
            raise TypeError(f"acc must be a GramAccumulator, got {type(acc).__name__}.")
        if search.criterion != "gcv":
            raise ValueError(
                f'fit_accumulated needs scoring="gcv", got {validation.shown(self.scoring)}: leave-one-out and scorers '
                f"need rows, which sums do not hold; acc.loo_mse(blocks, lam, xi) forms leave-one-out errors."
            )
        if acc.fit_intercept != self.fit_intercept:
            raise ValueError(f"fit_intercept is {self.fit_intercept} here, but {acc.fit_intercept} in acc.")
        if search.spaced_in_dof:
            search = search.on(acc.path(1.0, []).spectrum)
        ridge = acc.path(search.penalties, [])
        if self.alpha_per_target and ridge.targets.count > 1:
            raise ValueError("alpha_per_target=True needs rows; sum each target in a GramAccumulator of its own.")
        choices = search.run_summed(ridge)
        record(self, choices)
        self.coef_, self.intercept_ = as_linear_model(choices.coefficients, choices.intercept, self.fit_intercept)
        self._means = means_far_from_zero(ridge.queries, lambda: ridge.y_mean)
        self.n_features_in_ = acc.n_features
        self._training = None
        return self

    def _folds(self, X: Any, y: np.ndarray, weight: np.ndarray | None) -> Folds:
        splits = list(check_cv(self.cv, y).split(X, y))

        def refitted() -> Iterator[Fold]:
            for train, test in splits:
                part = None if weight is None else weight[train]
                spectrum = Spectrum.from_kept(X[train], self.fit_intercept, part, self.solver)
                yield Fold(spectrum, train, test, X[test])

        return Folds(splits, refitted)
