"""Self-distilled ridge classifiers: ridge regression of targets −1 and +1, one for each class against the rest.

With class c as the target Y_c = +1 for its samples and −1 for all others, and the class weights as sample weights::

    decision_function(x)_c = x @ coef_[c] + intercept_[c],     predict(x) = argmax_c (binary: its sign)

the students being those of `DistilledRidge`: student t is trained on (1 − ξ_t) Y + ξ_t Ŷ_{t−1}, on the decision values
of its teacher as soft targets.

======================================  ==================
paper                                   here
======================================  ==================
P: ridge penalty λ                      ``alpha``
P: imitation parameters ξ_1, …, ξ_k     ``xi``
======================================  ==================

Cost: that of the regression, O(n p min(n, p)) for one decomposition that all classes share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import check_cv
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import column_or_1d, validate_data

from fastdistill.base import validation
from fastdistill.estimators._common import DATA, class_balance, counted_labels
from fastdistill.estimators._selection import Scorer, checked_scoring
from fastdistill.estimators.ridge import DistilledRidge, LinearModel
from fastdistill.estimators.ridge_cv import DistilledRidgeCV


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels and the targets −1 and +1 that stand for them."""

    binarizer: LabelBinarizer

    @property
    def classes(self) -> np.ndarray:
        """The labels, sorted."""
        return self.binarizer.classes_

    @property
    def are_several(self) -> bool:
        """Whether a sample may have several labels."""
        return bool(self.binarizer.y_type_.startswith("multilabel"))

    def of(self, scores: np.ndarray) -> np.ndarray:
        """The labels that decision values (n,) or (n, n_classes) stand for."""
        if self.are_several:
            return self.binarizer.inverse_transform(np.where(scores > 0, 1, -1).reshape(len(scores), -1))
        return self.classes[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(np.intp)]


class RidgeTargets(ClassifierMixin, LinearModel, BaseEstimator):
    """Base of the classifiers by regression of −1 and +1."""

    class_weight: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """The fitted regression."""
        X, y = validate_data(self, X, y, multi_output=True, **DATA)
        weight = validation.sample_weight(sample_weight, X.shape[0])
        labels = self._labels = Labels(LabelBinarizer(neg_label=-1).fit(y))
        if not labels.are_several:
            y = counted_labels(column_or_1d(y, warn=True), weight)
            labels.binarizer.fit(y)
            if self.class_weight is not None:
                balance = class_balance(self.class_weight, y, weight)
                weight = balance if weight is None else weight * balance
        Y = labels.binarizer.transform(y)
        self.classes_ = labels.classes
        model = self._regression(X, y).fit(X, Y.astype(np.float64), weight)
        self._use_model_of(model)
        return model

    def _regression(self, X: Any, y: np.ndarray) -> Any:
        """The unfitted regression for checked data."""
        raise TypeError("RidgeTargets is a base class; use DistilledRidgeClassifier.")

    def decision_function(self, X: Any) -> np.ndarray:
        """Fitted targets between the classes: X coef_ᵀ + intercept_.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes above 0 where ``classes_[1]`` is predicted; float32 if the training data and X are.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            Another number of features or other names than in `fit`; NaN or inf.
        """
        return self._linear_values(X)

    def predict(self, X: Any) -> np.ndarray:
        """Predict classes: the largest decision value, or with two classes (or several labels) its sign.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            Another number of features or other names than in `fit`; NaN or inf.
        """
        scores = self.decision_function(X)
        return self._labels.of(scores)


class DistilledRidgeClassifier(RidgeTargets):
    """Ridge classifier distilled into itself, ``n_steps`` times, at the price of one fit.

    Student 0 is ridge regression of the targets −1 and +1, one for each class against the rest. Student t is trained on
    (1 − ξ_t) Y + ξ_t Ŷ_{t−1}: on the labels mixed with its teacher's decision values.

    Parameters
    ----------
    alpha : float or array-like of shape (n_classes,), default=1.0
        Ridge penalty, at least 0, on the scale of :class:`sklearn.linear_model.RidgeClassifier`; an array gives each
        class (of more than two) its own.
    xi : float or array-like of shape (n_steps,) or (n_steps, n_classes), default=1.0
        Imitation weights, any real numbers: 0 ignores the teacher, 1 ignores the labels.
    n_steps : int or None, default=1
        Number k of distillation steps; 0 is the plain classifier. With an array `xi` its length, or None.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`; "balanced": inversely to their numbers of samples, or to
        the sums of their sample weights, so that a weight of zero equals leaving the sample out and a weight of two
        having it twice. (:class:`sklearn.linear_model.RidgeClassifier` counts samples whatever their weights, which
        differs where both are given.) Ignored with several labels per sample.
    tol : float, default=1e-8
        Relative error of the decision values of the training data with ``solver="krylov"``.
    solver : {"auto", "svd", "gram", "cholesky", "krylov"}, default="auto"
        As in :class:`DistilledRidge`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the samples with weight.
    coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
        Coefficients of the last student; (n_features,) for two classes, as in
        :class:`sklearn.linear_model.RidgeClassifier`; float32 if X is.
    intercept_ : ndarray of shape (1,) or (n_classes,), or float
        Intercepts of the last student; 0.0 with ``fit_intercept=False``.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    DistilledRidgeClassifierCV : Chooses penalty and weights.
    DistilledRidge : The regression.
    sklearn.linear_model.RidgeClassifier : The model of ``n_steps=0``.

    Examples
    --------
    >>> from fastdistill import DistilledRidgeClassifier
    >>> X, y = [[0.0], [1.0], [4.0], [5.0]], ["low", "low", "high", "high"]
    >>> model = DistilledRidgeClassifier(n_steps=2, xi=0.5).fit(X, y)
    >>> model.predict([[0.5], [4.5]])
    array(['low', 'high'], dtype='<U4')
    """

    def __init__(
        self,
        alpha: float = 1.0,
        xi: Any = 1.0,
        n_steps: int | None = 1,
        fit_intercept: bool = True,
        class_weight: Any = None,
        tol: float = 1e-8,
        solver: str = "auto",
    ) -> None:
        self.alpha = alpha
        self.xi = xi
        self.n_steps = n_steps
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.solver = solver

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DistilledRidgeClassifier:
        """Fit the last student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, or a matrix of 0 and 1 for several labels per sample.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the squared residuals, at least 0 and not all 0.

        Returns
        -------
        self : DistilledRidgeClassifier

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero, targets that are no
            labels.
        TypeError
            Parameters or weights of the wrong kind.
        """
        self._fit(X, y, sample_weight)
        return self

    def _regression(self, X: Any, y: np.ndarray) -> DistilledRidge:
        return DistilledRidge(self.alpha, self.xi, self.n_steps, self.fit_intercept, self.tol, self.solver)


class DistilledRidgeClassifierCV(RidgeTargets):
    """Ridge classifier with a tuned penalty, distilled only where there is evidence that this helps.

    `DistilledRidgeCV` on the targets −1 and +1, one for each class against the rest; all classes share the penalty and
    the weights, which are those of the smallest squared error of the decision values, not of the error rate.

    Parameters
    ----------
    alphas : float, array-like of shape (n_alphas,) or "dof", default=None
        Penalties to choose from, at least 0. None stands for ``numpy.logspace(-4, 5, 40)``, "dof" for 40 penalties
        spaced in effective degrees of freedom, as in :class:`DistilledRidgeCV`.
    n_steps : int or None, default=None
        Number k of distillation steps; 0 is the plain classifier. None (strategy "safe" without `bounds`) allows as
        many as the rank of the design.
    strategy : {"safe", "ridge", "joint", "greedy"}, default="safe"
        As in :class:`DistilledRidgeCV`.
    scoring : None, "loo", "gcv", str or callable, default=None
        None and "loo": exact leave-one-out squared error of the decision values. "gcv": generalised cross-validation,
        not with `cv`. A scorer, or the name of one, such as "accuracy", judges the labels that leave-one-out predicts,
        as in :class:`DistilledRidgeCV`. (For two classes :class:`sklearn.linear_model.RidgeClassifierCV` compares
        labels that are all the same.)
    cv : int, splitter or iterable, default=None
        None for leave-one-out, otherwise folds as scikit-learn knows them, stratified for a number.
    bounds : (float, float) or None, default=None
        Every ξ within [low, high]; needs a number of steps.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`; "balanced": inversely to their numbers of samples, or to
        the sums of their sample weights, so that a weight of zero equals leaving the sample out and a weight of two
        having it twice. (:class:`sklearn.linear_model.RidgeClassifierCV` counts samples whatever their weights, which
        differs where both are given.) Ignored with several labels per sample.
    store_cv_results : bool, default=False
        Whether `cv_results_` holds leave-one-out errors or predictions of every sample; not with `cv` or "gcv".
    solver : {"auto", "svd", "gram"}, default="auto"
        As in :class:`DistilledRidgeCV`.

    Attributes
    ----------
    alpha_ : float
        Penalty with the best score.
    alphas_ : ndarray of shape (n_alphas,)
        The penalties that were tried.
    n_steps_ : int
        Steps of the chosen student; 0 is the plain classifier, and with ``n_steps=None`` the rank is the alternative.
    xi_ : ndarray of shape (n_steps,) or None
        Imitation weights; None where the student is given by its filter: distilled, or averaged, with ``n_steps=None``.
    mixture_ : ndarray of shape (n_steps + 1,) or None
        Weights of the pure steps; None where `xi_` is.
    filter_ : ndarray of shape (rank,)
    dof_ : float
        What was used, as in :class:`DistilledRidgeCV`.
    best_score_ : float
        Score of the choice: -Σ w e² / (n n_targets) of the decision values, minus GCV, or that of the scorer.
    cv_results_ : dict or ndarray of shape (n_samples, n_targets, n_alphas)
        As in :class:`DistilledRidgeCV`, with the decision values as predictions: one target for two classes, one for
        each class of more.
    verdict_ : Verdict
        Paired leave-one-out comparison of squared errors with the best plain ridge, as in :class:`DistilledRidgeCV`.
    evidence_ : fastdistill.selection.evidence.Evidence or None
        What the data say about a concentrated signal; None unless the strategy is "safe", and with
        ``n_steps=0``.
    classes_ : ndarray of shape (n_classes,)
        Labels of the samples with weight.
    coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
        Coefficients of the chosen student; (n_features,) for two classes; float32 if X is.
    intercept_ : ndarray of shape (1,) or (n_classes,), or float
        Intercepts of the chosen student; 0.0 with ``fit_intercept=False``.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    DistilledRidgeClassifier : Penalty and weights as given.
    DistilledRidgeCV : The regression.
    sklearn.linear_model.RidgeClassifierCV : The model of ``n_steps=0``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastdistill import DistilledRidgeClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DistilledRidgeClassifierCV().fit(X, y)
    >>> round(model.score(X, y), 3)
    0.853
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
        class_weight: Any = None,
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
        self.class_weight = class_weight
        self.store_cv_results = store_cv_results
        self.solver = solver

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DistilledRidgeClassifierCV:
        """Choose the penalty and the weights, and fit the chosen student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, or a matrix of 0 and 1 for several labels per sample.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the squared residuals, in the fit and in the scores; at least 0 and not all 0.

        Returns
        -------
        self : DistilledRidgeClassifierCV

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero, targets that are no
            labels.
        TypeError
            Parameters or weights of the wrong kind.
        """
        model = self._fit(X, y, sample_weight)
        for name in CHOSEN:
            setattr(self, name, getattr(model, name))
        return self

    def _regression(self, X: Any, y: np.ndarray) -> DistilledRidgeCV:
        cv = None if self.cv is None else list(check_cv(self.cv, y, classifier=True).split(X, y))
        scoring = checked_scoring(self.scoring)
        return DistilledRidgeCV(
            self.alphas,
            self.n_steps,
            self.strategy,
            scoring if isinstance(scoring, str) else LabelScorer(scoring, self._labels),
            cv,
            self.bounds,
            self.fit_intercept,
            store_cv_results=self.store_cv_results,
            solver=self.solver,
        )


class HeldOutLabels(ClassifierMixin, BaseEstimator):
    """What a scorer of labels is called with: a classifier whose decision values are the samples it is given."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels

    @property
    def classes_(self) -> np.ndarray:
        """The labels of the model."""
        return self.labels.classes

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """The decision values X themselves."""
        return X

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The labels that the decision values X stand for."""
        return self.labels.of(X)


@dataclass(frozen=True, eq=False)
class LabelScorer:
    """A scorer of decision values beside targets −1 and +1, by a scorer of labels."""

    scorer: Scorer
    labels: Labels

    def __call__(self, estimator: Any, X: np.ndarray, y: np.ndarray, **options: Any) -> float:
        """The score of decision values X (n, n_targets) for targets y (n, n_targets)."""
        values, truth = (array[:, 0] if array.shape[1] == 1 else array for array in (X, y))
        return self.scorer(HeldOutLabels(self.labels), values, self.labels.of(truth), **options)


CHOSEN = (
    "alpha_",
    "alphas_",
    "n_steps_",
    "xi_",
    "mixture_",
    "filter_",
    "dof_",
    "best_score_",
    "cv_results_",
    "verdict_",
    "evidence_",
)
