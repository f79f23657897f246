"""Logistic and softmax regression by distillation SGD, with scikit-learn's interface.

::

    x ← C( x − γ (∇f_B(x) − κ ∇f_B(θ) + κ g) ),     ℓ(z, b) = log(1 + eᶻ) − b z   or   log Σ_c e^{z_c} − ⟨b, z⟩

Two classes have one score z = ⟨a, x⟩ and the label b in {0, 1}, more have one each and a one-hot b. Symbols and cost
are those of `fastdistill.estimators.sgd`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from fastdistill.base import validation
from fastdistill.base.linear_losses import predictions
from fastdistill.estimators._common import affine, class_balance, counted_labels
from fastdistill.estimators._sgd import DATA, KDSGD
from fastdistill.estimators._teachers import Data, find_teacher, sorted_rows
from fastdistill.sgd.compressors import Compressor


class KDSGDClassifier(ClassifierMixin, KDSGD):
    """Logistic or softmax regression by SGD with a teacher.

    Minimises the weighted mean cross-entropy plus (l2 / 2) ‖coef‖², of two classes with one score, of more with one
    each, by the steps x ← C(x − γ (∇f_B(x) − λ ∇f_B(θ) + λ g)) of `fastdistill.run_sgd`.

    Parameters
    ----------
    teacher : estimator, array-like of shape (n_features,) or (n_features, n_classes), or tuple, default=None
        θ: coefficients or (coefficients, intercept), a row per feature and a
        column per class (of two classes the second's alone); or a fitted classifier of the same classes,
        which counts by its coefficients where they alone reproduce its outputs on the training data, and by its outputs
        otherwise. Where the student is cloned, as in a grid search, wrap the teacher in
        :class:`sklearn.frozen.FrozenEstimator`, or it forgets its fit. A teacher known by outputs alone is an argument
        of `fit`.
    kd_weight : float or schedule, default=0.5
        λ, at least 0: the share of the teacher in the loss. Not used without a teacher, but for "svrg" and "repeated",
        which teach themselves. `fastdistill.Geometric` lets it fade or grow.
    variant : {"kd", "kd_unbiased", "svrg", "soft_labels", "repeated"}, default="kd"
        How the teacher enters, as in `fastdistill.run_sgd`. SVRG proper has ``kd_weight=1``.
    step_size : "auto", float or schedule, default="auto"
        γ. "auto" starts at (1 − momentum) / ℒ, with ℒ the expected smoothness of the batches [1]_, and divides the step
        by 4 where progress ends, until that gains nothing. A number is kept. `fastdistill.InverseTime` and
        `fastdistill.Geometric` are schedules.
    max_iter : int, default=1000
        Largest number of epochs.
    tol : float or None, default=1e-4
        An epoch makes progress if it lowers the objective by this much, or with `early_stopping`
        raises the validation score by this much. None runs all `max_iter` epochs.
    n_iter_no_change : int, default=5
        Epochs in a row without progress before the step is cut, or the fit ends.
    early_stopping : bool, default=False
        Whether to watch the accuracy of held-out samples instead of the objective, and to keep the best epoch.
    validation_fraction : float, default=0.1
        Share held out by `early_stopping`, but at least one for each class: the samples that
        :func:`sklearn.model_selection.train_test_split` picks with the same `random_state` and ``stratify=y``.
    batch_size : "auto" or int, default="auto"
        Samples averaged in a step; all where there are fewer. "auto" is at most 64: all samples up to 64, otherwise the
        size above 32 that leaves the last batch of an epoch fullest.
    order : {"shuffle", "replace", "sequential"}, default="shuffle"
        A new permutation every epoch, independent draws, or the samples as they are.
    momentum : float, default=0.0
        m in [0, 1): v ← m v + gradient, x ← x − γ v. Every call starts with v = 0.
    l2 : float, default=1e-4
        Penalty (l2 / 2) ‖coef‖² against the mean loss: `alpha` of :class:`sklearn.linear_model.SGDClassifier`, and
        1 / (n_samples C) of :class:`~sklearn.linear_model.LogisticRegression`.
    average : bool, default=False
        Whether the model is the mean of all iterates.
    temperature : float, default=1.0
        T of "soft_labels", which softens student and teacher in the loss between them.
    teacher_every : int or None, default=None
        Epochs between updates of the teacher of "svrg" and "repeated"; None stands for 1.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`; "balanced": inversely to their numbers of samples, or to
        the sums of their sample weights, so that a weight of zero equals leaving the sample out and a weight of two
        having it twice. (:class:`sklearn.linear_model.SGDClassifier` counts samples whatever their weights, which
        differs where both are given.)
    compressor : compressor or None, default=None
        `fastdistill.RandK`, `TopK`, `Bernoulli`, `Mask` or `RandomRounding`, applied after each step.
    random_state : int, RandomState instance or None, default=None
        Seeds orders, compressors and the choice of held-out samples.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit; steps and schedules begin anew.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the samples with weight, sorted.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients; one row for two classes; float32 if X is.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; zero with ``fit_intercept=False``.
    n_iter_ : int
        Epochs run.
    loss_curve_ : list of float
        The objective after each epoch. With "kd" and "soft_labels" at a constant weight it is the distilled one,
        (1 − λ) times the loss of the labels plus λ times that of the teacher's outputs.
    validation_scores_ : list of float or None
        Accuracy of the held-out samples after each epoch of `fit`; None without `early_stopping`.
    step_size_ : float
        The step size at the start.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    KDSGDRegressor : The same for numbers.
    sklearn.linear_model.SGDClassifier : SGD without a teacher; several classes one against the rest.
    fastdistill.run_sgd : The loop itself: many configurations in one pass, traces, callbacks.

    Notes
    -----
    Near the optimum x* the gradient noise of a good teacher is that of the student: subtracting a share λ of it removes
    noise, and moves the mean iterate by λ (θ − x*) [1]_, which "kd_unbiased" undoes. Without a teacher this is plain
    SGD.

    Cost: O(n p) an epoch and output, the same with a teacher as without, and one product with X for `loss_curve_`.
    float32 data are trained in float32. Weighted samples equal repeated ones exactly where a step sees all samples, as
    with the defaults for up to 64 of them, and on average otherwise.

    References
    ----------
    .. [1] M. Safaryan, A. Peste and D. Alistarh, "Knowledge distillation performs partial variance reduction", NeurIPS
       2023, arXiv:2305.17581.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastdistill import KDSGDClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> X = StandardScaler().fit_transform(X)
    >>> forest = RandomForestClassifier(n_estimators=20, random_state=0).fit(X, y)
    >>> model = KDSGDClassifier(teacher=forest, random_state=0).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.97
    """

    def __init__(
        self,
        teacher: Any = None,
        *,
        kd_weight: Any = 0.5,
        variant: str = "kd",
        step_size: Any = "auto",
        max_iter: int = 1000,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        batch_size: Any = "auto",
        order: str = "shuffle",
        momentum: float = 0.0,
        l2: float = 1e-4,
        average: bool = False,
        temperature: float = 1.0,
        teacher_every: int | None = None,
        fit_intercept: bool = True,
        class_weight: Any = None,
        compressor: Compressor | None = None,
        random_state: Any = None,
        warm_start: bool = False,
    ) -> None:
        self.teacher = teacher
        self.kd_weight = kd_weight
        self.variant = variant
        self.step_size = step_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.batch_size = batch_size
        self.order = order
        self.momentum = momentum
        self.l2 = l2
        self.average = average
        self.temperature = temperature
        self.teacher_every = teacher_every
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.compressor = compressor
        self.random_state = random_state
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None, teacher_outputs: Any = None) -> KDSGDClassifier:
        """Train until progress ends.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Training data, best standardised.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the losses, at least 0 and not all 0; scaled to the mean 1. A sample of zero weight is left out.
        teacher_outputs : array-like of shape (n_samples, n_classes) or (n_samples,), default=None
            A teacher known by its probabilities of these samples, columns in the order of `classes_`; of two classes
            the second's alone will do.

        Returns
        -------
        self : KDSGDClassifier

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero, two teachers, only
            one class, a teacher of other classes.
        TypeError
            Arguments of the wrong kind.

        KeyboardInterrupt
            Ctrl-C. The model of the complete epochs is kept, for `predict`, `partial_fit` or a
            `warm_start`; before the first of them the estimator is not fitted.

        Warns
        -----
        fastdistill.ConvergenceWarning
            `max_iter` epochs were not enough; the fit diverged, as when its objective ends above that of the start by
            more than the noise of such steps (see `fastdistill.run_sgd`); or features on different scales, the
            largest more than three times the smallest, stalled the step "auto" far from the optimum: some steps of
            conjugate gradients with standardised features lower the objective by more than 5 %.
        """
        self._fit(*self._checked(X, y, None, sample_weight, teacher_outputs, reset=True))
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, teacher_outputs: Any = None
    ) -> KDSGDClassifier:
        """Train for one more epoch, on the samples given.

        Schedules go on from call to call, and the step "auto" stays that of the first call. Without momentum, k calls
        on the same data are the k epochs of a fit with a given step and ``tol=None``.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            All labels of all calls; needed in the first.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the losses. They count as they are, so that samples of different calls can be weighed; a sample
            of zero weight is left out.
        teacher_outputs : array-like of shape (n_samples, n_classes) or (n_samples,), default=None
            A teacher known by its probabilities of these samples, columns in the order of `classes_`; of two classes
            the second's alone will do.

        Returns
        -------
        self : KDSGDClassifier

        Raises
        ------
        ValueError
            As in `fit`; other features or classes than in the first call.
        TypeError
            Arguments of the wrong kind.
        KeyboardInterrupt
            Ctrl-C; the model is that before the call.
        """
        is_first = not hasattr(self, "coef_")
        if isinstance(self.class_weight, str):
            raise ValueError(
                f'class_weight="{self.class_weight}" needs all samples at once; give partial_fit the dict of weights '
                f"that sklearn.utils.class_weight.compute_class_weight finds."
            )
        if classes is None and is_first:
            raise ValueError("The first call of partial_fit needs classes=, all labels of all calls.")
        classes = self.classes_ if classes is None else np.unique(classes)
        if not is_first and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"classes={classes.tolist()} differ from those of the first call, {self.classes_.tolist()}."
            )
        self._partial_fit(self._checked(X, y, classes, sample_weight, teacher_outputs, reset=is_first)[0])
        return self

    def _checked(
        self, X: Any, y: Any, classes: Any, sample_weight: Any, outputs: Any, *, reset: bool
    ) -> tuple[Data, np.ndarray]:
        """The data, and the number of each sample's class."""
        raw = X
        X, y = validate_data(self, X, y, reset=reset, **DATA)
        X, y = sorted_rows(X), column_or_1d(y, warn=True)
        check_classification_targets(y)
        weight = validation.sample_weight(sample_weight, len(y))
        y = counted_labels(y, weight)
        classes = np.unique(y) if classes is None else classes
        unknown = ~np.isin(y, classes)
        if unknown.any():
            label = y[unknown][:1].tolist()[0]
            raise ValueError(f"y holds the label {label!r}, which is not among the classes {classes.tolist()}.")
        if len(classes) < 2:
            among = "y" if weight is None or weight.all() else "what of y has a weight above zero"
            raise ValueError(
                f"A classifier needs at least 2 classes, but {among} has 1 class: {classes.tolist()[0]!r}."
            )
        if self.class_weight is not None:
            balance = class_balance(self.class_weight, y, weight)
            weight = validation.sample_weight(balance if weight is None else weight * balance, len(y))
        is_binary = len(classes) == 2
        codes = np.searchsorted(classes, y)
        targets = codes.astype(np.float64) if is_binary else np.eye(len(classes))[codes]
        shape = (X.shape[1], *targets.shape[1:])
        teacher = find_teacher(self.teacher, outputs, raw, X, shape, self.fit_intercept, classes)
        self.classes_, self._loss = classes, "logistic" if is_binary else "softmax"
        return Data(X, targets, weight, teacher).counted(), codes if weight is None else codes[weight > 0]

    def _keep(self, coef: np.ndarray, intercept: Any) -> None:
        self.coef_, self.intercept_ = np.ascontiguousarray(np.atleast_2d(coef.T)), np.atleast_1d(intercept)

    def _model(self) -> tuple[np.ndarray, Any]:
        return (self.coef_[0], self.intercept_[0]) if len(self.classes_) == 2 else (self.coef_.T, self.intercept_)

    def _score(self, targets: np.ndarray, z: np.ndarray, weight: np.ndarray | None) -> float:
        truth, said = (targets, z > 0) if z.ndim == 1 else (targets.argmax(axis=1), z.argmax(axis=1))
        return float(accuracy_score(truth, said, sample_weight=weight))

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores of the classes: X coef_ᵀ + intercept_.

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
        check_is_fitted(self, "coef_")
        X = validate_data(self, X, reset=False, **DATA)
        scores = affine(X, self.coef_.T, self.intercept_, np.result_type(X.dtype, self.coef_.dtype))
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Predict classes: the largest score, of two classes its sign.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels; errors as in `decision_function`.
        """
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(np.intp)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes: the softmax of the scores, of two classes the logistic function.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`; errors as in `decision_function`.
        """
        scores = self.decision_function(X)
        if scores.ndim == 2:
            return predictions("softmax", scores)
        return np.column_stack([predictions("logistic", -scores), predictions("logistic", scores)])
