"""Linear regression by distillation SGD, with scikit-learn's interface.

::

    x ← C( x − γ (∇f_B(x) − κ ∇f_B(θ) + κ g) ),     f(x) = (1/N) Σ_n w_n ℓ(⟨a_n, x⟩, b_n) + (l2 / 2) ‖x‖²

===========================  ==================================================
S (Safaryan et al. 2023)     here
===========================  ==================================================
λ, γ, τ                      ``kd_weight``, ``step_size``, ``batch_size``
θ                            ``teacher``, or known by its ``teacher_outputs``
C                            ``compressor``
===========================  ==================================================

Cost: O(N p C) an epoch, as `fastdistill.run_sgd`, and one product with X for the loss curve.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted, validate_data

from fastdistill.base import validation
from fastdistill.estimators._common import affine, checked_targets
from fastdistill.estimators._sgd import DATA, KDSGD
from fastdistill.estimators._teachers import Data, find_teacher, sorted_rows
from fastdistill.sgd.compressors import Compressor

ENOUGH = 10  # samples to tell whether an intercept is missing


class KDSGDRegressor(MultiOutputMixin, RegressorMixin, KDSGD):
    """Linear least squares by SGD with a teacher.

    Minimises (1/n) Σ_i w_i ½ ‖y_i − coef x_i − intercept‖² + (l2 / 2) ‖coef‖² by the steps
    x ← C(x − γ (∇f_B(x) − λ ∇f_B(θ) + λ g)) of `fastdistill.run_sgd`.

    Parameters
    ----------
    teacher : estimator, array-like of shape (n_features,) or (n_features, n_targets), or tuple, default=None
        θ: coefficients or (coefficients, intercept), a row per feature; or a fitted regressor,
        which counts by its coefficients where they alone reproduce its outputs on the training data, and by its outputs
        otherwise. Coefficients alone have the intercept 0, and teach it: where y is not centred, give the intercept.
        Where the student is cloned, as in a grid search, wrap the teacher in
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
        An epoch makes progress if it lowers the objective by this share of it, or with `early_stopping`
        raises the validation score by this much. None runs all `max_iter` epochs.
    n_iter_no_change : int, default=5
        Epochs in a row without progress before the step is cut, or the fit ends.
    early_stopping : bool, default=False
        Whether to watch the R² of held-out samples instead of the objective, and to keep the best epoch.
    validation_fraction : float, default=0.1
        Share held out by `early_stopping`, but at least 2 samples: the samples that
        :func:`sklearn.model_selection.train_test_split` picks with the same `random_state`.
    batch_size : "auto" or int, default="auto"
        Samples averaged in a step; all where there are fewer. "auto" is at most 64: all samples up to 64, otherwise the
        size above 32 that leaves the last batch of an epoch fullest.
    order : {"shuffle", "replace", "sequential"}, default="shuffle"
        A new permutation every epoch, independent draws, or the samples as they are.
    momentum : float, default=0.0
        m in [0, 1): v ← m v + gradient, x ← x − γ v. Every call starts with v = 0.
    l2 : float, default=1e-4
        Penalty (l2 / 2) ‖coef‖² against the mean loss: `alpha` of :class:`sklearn.linear_model.SGDRegressor`, and
        1 / n_samples times that of :class:`~sklearn.linear_model.Ridge`.
    average : bool, default=False
        Whether the model is the mean of all iterates.
    teacher_every : int or None, default=None
        Epochs between updates of the teacher of "svrg" and "repeated"; None stands for 1.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    compressor : compressor or None, default=None
        `fastdistill.RandK`, `TopK`, `Bernoulli`, `Mask` or `RandomRounding`, applied after each step.
    random_state : int, RandomState instance or None, default=None
        Seeds orders, compressors and the choice of held-out samples.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit; steps and schedules begin anew.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients; float32 if X is.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercepts; zero with ``fit_intercept=False``.
    n_iter_ : int
        Epochs run.
    loss_curve_ : list of float
        The objective after each epoch. With "kd" and "soft_labels" at a constant weight it is the distilled one,
        (1 − λ) times the loss of the labels plus λ times that of the teacher's outputs.
    validation_scores_ : list of float or None
        R² of the held-out samples after each epoch of `fit`; None without `early_stopping`.
    step_size_ : float
        The step size at the start.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    KDSGDClassifier : The same for classes.
    sklearn.linear_model.SGDRegressor : SGD without a teacher.
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
    >>> import numpy as np
    >>> from fastdistill import KDSGDRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((500, 3))
    >>> y = X @ [1.0, 2.0, -1.0] + rng.standard_normal(500)
    >>> model = KDSGDRegressor(teacher=[1.0, 2.0, -1.0], kd_weight=0.9, random_state=0).fit(X, y)
    >>> model.coef_.round(1)
    array([ 1.,  2., -1.])
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
        teacher_every: int | None = None,
        fit_intercept: bool = True,
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
        self.teacher_every = teacher_every
        self.fit_intercept = fit_intercept
        self.compressor = compressor
        self.random_state = random_state
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None, teacher_outputs: Any = None) -> KDSGDRegressor:
        """Train until progress ends.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Training data, best standardised.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the losses, at least 0 and not all 0; scaled to the mean 1. A sample of zero weight is left out.
        teacher_outputs : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            A teacher known by its predictions of these samples.

        Returns
        -------
        self : KDSGDRegressor

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero, two teachers.
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
        RuntimeWarning
            The teacher has coefficients without an intercept, and y is further from its outputs on average than it
            scatters about that.
        """
        data = self._checked(X, y, sample_weight, teacher_outputs, reset=True)
        self._fit(data, None)
        if self.fit_intercept and self.variant == "kd" and isinstance(self.teacher, list | np.ndarray):
            _warn_of_missing_intercept(data)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, teacher_outputs: Any = None) -> KDSGDRegressor:
        """Train for one more epoch, on the samples given.

        Schedules go on from call to call, and the step "auto" stays that of the first call. Without momentum, k calls
        on the same data are the k epochs of a fit with a given step and ``tol=None``.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the losses. They count as they are, so that samples of different calls can be weighed; a sample
            of zero weight is left out.
        teacher_outputs : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            A teacher known by its predictions of these samples.

        Returns
        -------
        self : KDSGDRegressor

        Raises
        ------
        ValueError
            As in `fit`; other features or targets than in the first call.
        TypeError
            Arguments of the wrong kind.
        KeyboardInterrupt
            Ctrl-C; the model is that before the call.
        """
        self._partial_fit(self._checked(X, y, sample_weight, teacher_outputs, reset=not hasattr(self, "coef_")))
        return self

    def _checked(self, X: Any, y: Any, sample_weight: Any, outputs: Any, *, reset: bool) -> Data:
        raw = X
        X, y = validate_data(self, X, y, reset=reset, multi_output=True, y_numeric=True, **DATA)
        X, y = sorted_rows(X), checked_targets(y).astype(np.float64, copy=False)
        weight = validation.sample_weight(sample_weight, len(y))
        shape = (X.shape[1], *y.shape[1:])
        teacher = find_teacher(self.teacher, outputs, raw, X, shape, self.fit_intercept)
        return Data(X, y, weight, teacher).counted()

    def _keep(self, coef: np.ndarray, intercept: Any) -> None:
        self.coef_, self.intercept_ = np.ascontiguousarray(coef.T), intercept

    def _model(self) -> tuple[np.ndarray, Any]:
        return self.coef_.T, self.intercept_

    def _score(self, targets: np.ndarray, z: np.ndarray, weight: np.ndarray | None) -> float:
        return float(r2_score(targets, z, sample_weight=weight))

    def predict(self, X: Any) -> np.ndarray:
        """Predict: X coef_ᵀ + intercept_.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions; float32 if the training data and X are.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            Another number of features or other names than in `fit`; NaN or inf.
        """
        check_is_fitted(self, "coef_")
        X = validate_data(self, X, reset=False, **DATA)
        return affine(X, self.coef_.T, self.intercept_, np.result_type(X.dtype, self.coef_.dtype))


def _warn_of_missing_intercept(data: Data) -> None:
    """Where the teacher's intercept is 0, and y further from its outputs on average than it scatters about that."""
    coef, intercept = data.teacher
    if np.any(intercept) or len(data.targets) < ENOUGH:
        return
    apart = data.targets - data.X @ coef
    mean = np.average(apart, axis=0, weights=data.weight)
    scatter = np.sqrt(np.average(np.square(apart - mean), axis=0, weights=data.weight))
    if np.any(np.abs(mean) > scatter):
        worst = int(np.argmax(np.abs(mean) - scatter))
        warnings.warn(
            f"The teacher has coefficients and no intercept, but y is on average {np.ravel(mean)[worst]:+.3g} from its "
            f"outputs, and scatters by {np.ravel(scatter)[worst]:.3g} about that: the student is drawn to an "
            f"intercept of 0. Pass teacher=(coef, intercept), or centre y.",
            RuntimeWarning,
            stacklevel=3,
        )
