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

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import check_cv
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from fastdistill import _validation as validation
from fastdistill.estimators._common import DATA, affine, class_balance, counted_labels
from fastdistill.estimators.ridge import DistilledRidge
from fastdistill.estimators.ridge_cv import DistilledRidgeCV


class RidgeTargets(ClassifierMixin, BaseEstimator):
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
        self._binarizer = LabelBinarizer(neg_label=-1).fit(y)
        if not self._is_multilabel:
            y = counted_labels(column_or_1d(y, warn=True), weight)
            self._binarizer.fit(y)
            if self.class_weight is not None:
                balance = class_balance(self.class_weight, y, weight)
                weight = balance if weight is None else weight * balance
        Y = self._binarizer.transform(y)
        self.classes_ = self._binarizer.classes_
        model = self._regression(X, y).fit(X, Y.astype(np.float64), weight)
        self.coef_, self.intercept_, self._means = model.coef_, model.intercept_, model._means
        return model

    def _regression(self, X: Any, y: np.ndarray) -> Any:
        """The unfitted regression for checked data."""
        raise TypeError("RidgeTargets is a base class; use DistilledRidgeClassifier.")

    @property
    def _is_multilabel(self) -> bool:
        return bool(self._binarizer.y_type_.startswith("multilabel"))

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
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **DATA)
        scores = affine(X, self.coef_.T, self.intercept_, np.result_type(X.dtype, self.coef_.dtype), self._means)
        return scores.ravel() if scores.shape[1] == 1 else scores

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
        if self._is_multilabel:
            return self._binarizer.inverse_transform(np.where(scores > 0, 1, -1).reshape(len(scores), -1))
        return self.classes_[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(np.intp)]


class DistilledRidgeClassifier(RidgeTargets):
    """Ridge classifier distilled into itself, ``n_steps`` times, at the price of one fit.

    Student 0 is ridge regression of the targets −1 and +1, one for each class against the rest. Student t is trained on
    (1 − ξ_t) Y + ξ_t Ŷ_{t−1}: on the labels mixed with its teacher's decision values.

    Parameters
    ----------
    alpha : float, default=1.0
        Ridge penalty, at least 0, on the scale of :class:`sklearn.linear_model.RidgeClassifier`.
    xi : float or array-like of shape (n_steps,), default=1.0
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

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the samples with weight.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients of the last student; one row for two classes; float32 if X is.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts of the last student.
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
    ) -> None:
        self.alpha = alpha
        self.xi = xi
        self.n_steps = n_steps
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight

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
        return DistilledRidge(self.alpha, self.xi, self.n_steps, self.fit_intercept)


class DistilledRidgeClassifierCV(RidgeTargets):
    """Ridge classifier with a tuned penalty, distilled only where there is evidence that this helps.

    `DistilledRidgeCV` on the targets −1 and +1, one for each class against the rest; all classes share the penalty and
    the weights, which are those of the smallest squared error of the decision values, not of the error rate.

    Parameters
    ----------
    alphas : float or array-like of shape (n_alphas,), default=None
        Penalties to choose from, at least 0. None stands for ``numpy.logspace(-4, 5, 40)``.
    n_steps : int or None, default=None
        Number k of distillation steps; 0 is the plain classifier. None (strategy "safe" without `bounds`) allows as
        many as the rank of the design.
    strategy : {"safe", "joint", "greedy"}, default="safe"
        As in :class:`DistilledRidgeCV`.
    scoring : {"loo", "gcv"}, default="loo"
        Exact leave-one-out or generalised cross-validation. Only "loo" with `cv`.
    cv : int, splitter or iterable, default=None
        None for `scoring`, otherwise folds as scikit-learn knows them, stratified for a number.
    bounds : (float, float) or None, default=None
        Every ξ within [low, high]; needs a number of steps.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`; "balanced": inversely to their numbers of samples, or to
        the sums of their sample weights, so that a weight of zero equals leaving the sample out and a weight of two
        having it twice. (:class:`sklearn.linear_model.RidgeClassifierCV` counts samples whatever their weights, which
        differs where both are given.) Ignored with several labels per sample.

    Attributes
    ----------
    alpha_ : float
        Chosen penalty.
    n_steps_ : int
        Steps of the chosen student; 0 is the plain classifier, and with ``n_steps=None`` the rank is the alternative.
    xi_ : ndarray of shape (n_steps,) or None
        Imitation weights; None where the student is given by its filter: distilled with ``n_steps=None``.
    mixture_ : ndarray of shape (n_steps + 1,) or None
        Weights of the pure steps; None where `xi_` is.
    best_score_ : float
        Negative mean squared error (or GCV) of the decision values.
    cv_results_ : dict
        "alpha", the penalties, and "scores" of shape (n_alphas, n_steps + 1), the best negative error with 0..k steps.
    verdict_ : Verdict
        Paired leave-one-out comparison of squared errors with the best plain ridge, as in :class:`DistilledRidgeCV`.
    evidence_ : fastdistill.evidence.Evidence or None
        What the data say about a concentrated signal; None unless the strategy is "safe".
    classes_ : ndarray of shape (n_classes,)
        Labels of the samples with weight.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients of the chosen student; one row for two classes; float32 if X is.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts of the chosen student.
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
        scoring: str = "loo",
        cv: Any = None,
        bounds: tuple[float, float] | None = None,
        fit_intercept: bool = True,
        class_weight: Any = None,
    ) -> None:
        self.alphas = alphas
        self.n_steps = n_steps
        self.strategy = strategy
        self.scoring = scoring
        self.cv = cv
        self.bounds = bounds
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight

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
        options = (self.alphas, self.n_steps, self.strategy, self.scoring, cv, self.bounds, self.fit_intercept)
        return DistilledRidgeCV(*options)


CHOSEN = ("alpha_", "n_steps_", "xi_", "mixture_", "best_score_", "cv_results_", "verdict_", "evidence_")
