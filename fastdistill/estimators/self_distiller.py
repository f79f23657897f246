"""Self-distillation of any regressor or classifier by retraining, with weights estimated by cross-validation.

Student 0 is the estimator fitted to y; student t is the estimator fitted to the targets (1 − ξ_t) y + ξ_t g_{t−1},
where g_{t−1} are the outputs of student t − 1 on the training data. With f(ξ) the held-out outputs of a step, v the
held-out truth and ⟨·, ·⟩ weighted by `sample_weight`::

    f(ξ) = (1 − ξ) f(0) + ξ f(1),   ξ⋆ = ⟨v − f(0), f(1) − f(0)⟩ / ‖f(1) − f(0)‖²

=============================================  ==================
paper                                          here
=============================================  ==================
B: ground-truth weight α_t = 1 − ξ_t           ``1 - xi_[t - 1]``
P: imitation parameter ξ_t                     ``xi_[t - 1]``
B: f(α = 1), f(α = 0), the two fits of a step  f(0), f(1)
=============================================  ==================

Cost: one fit for each step whose weight is not 0, and one. Estimating the weights adds 1 + 2 k fits for each fold of
the cross-validation: the plain model, then for each of the k steps tried f(1) and the student that is judged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.model_selection import check_cv
from sklearn.utils import indexable

from fastdistill.base import validation
from fastdistill.estimators._learners import ClassifierLearner, Learner, at_rows, bounds_of, is_instance
from fastdistill.estimators._retrained import Retrained
from fastdistill.estimators.torch_module import as_estimator, is_module
from fastdistill.selection.paired import mean_and_error, relative_gain, squares
from fastdistill.selection.verdict import Verdict
from fastdistill.theory import best_step_weight


class SelfDistiller(Retrained):
    """Any regressor or classifier, retrained on mixtures of the truth and its own outputs.

    Student 0 is the estimator fitted to y. Student t is the estimator fitted to the targets
    (1 − ξ_t) y + ξ_t g_{t−1}, where g_{t−1} are the outputs of student t − 1 on the training data. The model is the
    last student.

    Parameters
    ----------
    estimator : estimator
        The regressor or classifier to retrain; it is cloned and never fitted itself. A bare ``torch.nn.Module`` becomes
        a :class:`TorchEstimator` with ``random_state=0``: a classifier where y holds integers, strings or booleans.
    n_steps : int or None, default=1
        Number k of distillation steps, with estimated weights the most that are taken; 0 is the plain estimator.
        With an array `xi` its length, or None.
    xi : "estimate", float or array-like of shape (n_steps,), default="estimate"
        Imitation weights: 0 ignores the teacher, 1 ignores y. A number serves all steps; an array is the schedule
        ξ_1, …, ξ_k. Any real number for regressors; within [0, 1] for classifiers and for regressors of positive
        targets, whose mixtures would cease to be probabilities or positive. "estimate" chooses each weight by
        cross-validation, and 0 where the evidence for another is thin (see Notes).
    cv : int, splitter or iterable of (train, test), default=5
        Folds of the estimate, at least two, as in :func:`sklearn.model_selection.check_cv`: a number stands for
        consecutive folds, stratified for classifiers. Not used with given weights.

    Attributes
    ----------
    estimator_ : estimator
        The last student, which predicts.
    estimators_ : list of n_steps + 1 estimators
        The plain model and the students; one and the same object where a weight is 0.
    xi_ : ndarray of shape (n_steps,)
        The weights of the steps. Where fewer steps are accepted than allowed the zeros come first, so that the last
        student is the accepted one.
    verdict_ : Verdict
        Only with ``xi="estimate"``: share of the plain model's held-out error that is gained, its standard error, the
        number of accepted steps, and a sentence.
    cv_results_ : dict of ndarrays
        Only with ``xi="estimate"``, one entry for each step tried (none is tried after a rejected one): estimate
        "xi", mean held-out squared "error" of the student and "teacher_error" of the student before it, their
        difference "gain", its "standard_error", and "accepted".
    classes_ : ndarray of shape (n_classes,)
        Labels of the samples with weight, sorted; only of classifiers.
    n_features_in_ : int
        Number of features seen in `fit`, where the estimator counts them.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names and the estimator keeps them.

    See Also
    --------
    DistilledRidge : The same model around ridge regression with given weights, without refitting.
    DistilledKernelRidge : The same around kernel ridge regression.
    fastdistill.theory.best_step_weight : The closed form of one weight.

    Notes
    -----
    **The estimate.** In a model that is linear in its targets the outputs of a step are affine in its weight, so that
    two fits give its best weight against held-out truth v in closed form [1]_,

        f(ξ) = (1 − ξ) f(0) + ξ f(1),   ξ⋆ = ⟨v − f(0), f(1) − f(0)⟩ / ‖f(1) − f(0)‖²,

    where f(0) is the plain model and f(1) the estimator fitted to the teacher's outputs alone. Both come from the
    training part of each fold, teachers included; the held-out parts of all folds are pooled. Steps are estimated one
    after another. Several targets share one weight. Where f(0) and f(1) agree up to rounding the weight is 0.

    **The judgement.** Weights tuned on the data they are judged by flatter themselves. So each fold is judged by
    a student that is actually fitted, with the weight estimated from the held-out samples of the other folds, which
    serves models that are not linear in their targets as well. A step is accepted if it lowers the squared held-out
    error, compared sample by sample with the student before, by more than the standard error of that difference.
    Otherwise the chain ends with the student before: a first step that is rejected leaves the plain model. The sample
    weights count in the fits, in the closed form and in the errors. (Folds still share training samples, as in any
    cross-validation.) Measured around :class:`~sklearn.linear_model.Ridge`, 20 random splits for each of five data sets
    and n = 50, 100, 300, geometric mean of test errors over those of ridge tuned by leave-one-out: at the tuned penalty
    0.999, the worst split 1.000; at 100 times that penalty 1.12, of 1.56 without distillation.

    **Classifiers** learn from distributions over the classes: the teacher's `predict_proba`; else its decision values
    s as (1 + s) / 2 clipped to [0, 1] and normalised, which is what s estimates under squared and squared hinge loss
    [2]_ (where there is one for each class and the largest names the predicted class); else its predicted classes.
    Errors are squared errors of these distributions (Brier scores), and weights are clipped to [0, 1]. If the
    estimator takes `sample_weight`, a student is fitted to the data repeated once per class with the mixed
    probabilities as weights: exact for every loss that sums over samples, such as cross-entropy. Estimators that count
    or split rows see the repetitions; a search object, as ``GridSearchCV``, keeps those of a sample in one fold and
    scores the given label. A last step of a :class:`~sklearn.pipeline.Pipeline` gets the weights as
    ``step__sample_weight``; with metadata routing enabled a pipeline gets them where a step requests them. A
    :class:`TorchEstimator` learns the mixtures themselves. An estimator that takes no weights, or precomputed kernels,
    learns the likeliest class of each mixture, y where it ties: a relabelling.

    **Metadata.** Further arguments of `fit` go to the estimator's `fit`, entries per sample split with the folds, and
    ``groups`` to the splitter; with metadata routing enabled, what they request.

    References
    ----------
    .. [1] K. Borup and L. N. Andersen, "Even your teacher needs guidance: Ground-truth targets dampen
       regularization imposed by self-distillation", NeurIPS 2021, arXiv:2102.13088.
    .. [2] T. Zhang, "Statistical behavior and consistency of classification methods based on convex risk
       minimization", Annals of Statistics 32 (2004), 56-85.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from fastdistill import SelfDistiller
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SelfDistiller(Ridge(alpha=10.0)).fit(X, y)
    >>> model.xi_.round(2)
    array([-4.86])
    >>> print(model.verdict_)
    1 step accepted: distilling takes the mean squared held-out error from 5016 to 3404, a gain of 32.1% ± 4.1%.
    """

    def __init__(self, estimator: Any, n_steps: int | None = 1, xi: Any = "estimate", cv: Any = 5) -> None:
        self.estimator = estimator
        self.n_steps = n_steps
        self.xi = xi
        self.cv = cv

    def fit(self, X: Any, y: Any, **fit_params: Any) -> SelfDistiller:
        """Fit the plain model and the students.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data, of any kind that the estimator takes.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; for classifiers labels, one per sample.
        **fit_params : dict
            `sample_weight`, at least 0 and not all 0; `groups` for the splitter; arguments of the estimator's `fit`.

        Returns
        -------
        self : SelfDistiller

        Raises
        ------
        ValueError
            Values out of range, fewer than two folds, weights negative or all zero; whatever the estimator refuses.
        TypeError
            An estimator that is neither a regressor nor a classifier, parameters of the wrong kind, arguments that
            the estimator's `fit` does not take.
        """
        if is_module(self.estimator):
            inner = SelfDistiller(as_estimator(self.estimator, y), self.n_steps, self.xi, self.cv)
            inner.fit(X, y, **fit_params)
            self._forget()
            self.__dict__.update(vars(inner) | {"estimator": self.estimator})
            return self
        schedule = self._check_parameters()
        X, y = indexable(X, y)
        learner, split_params = self._learner(X, y, fit_params)
        plain = learner.start()
        self._forget()
        if schedule is None:
            splitter = check_cv(self.cv, learner.y, classifier=is_classifier(self.estimator))
            folds = _Folds(learner, splitter.split(X, learner.y, **split_params))
            schedule, self.cv_results_, self.verdict_ = _estimate(folds, int(self.n_steps or 0))
        self.estimators_ = learner.chain(plain, schedule)
        self.estimator_ = self.estimators_[-1]
        self.xi_ = schedule
        if isinstance(learner, ClassifierLearner):
            self.classes_ = learner.classes
        return self._with_features()

    def _forget(self) -> None:
        """Drop what only an earlier fit may have set."""
        for name in ("cv_results_", "verdict_"):
            self.__dict__.pop(name, None)

    def _check_parameters(self) -> np.ndarray | None:
        """The given schedule, (k,), or None where it is to be estimated."""
        if not (is_instance(self.estimator) and (is_classifier(self.estimator) or is_regressor(self.estimator))):
            raise TypeError(
                f"estimator must be an instance of a regressor or a classifier, got {validation.shown(self.estimator)}."
            )
        if isinstance(self.xi, str):
            validation.choice(self.xi, "xi", ("estimate",))
            return None if validation.integer(self.n_steps, "n_steps", minimum=0) else np.empty(0)
        schedule = validation.schedule(validation.parameter(self.xi, "xi", ndim=(0, 1)), self.n_steps)
        low, high = bounds_of(self.estimator)
        for step, xi in enumerate(schedule, 1):
            if not low <= xi <= high:
                raise ValueError(
                    f"xi must lie within [{low:g}, {high:g}] for {type(self.estimator).__name__}, whose mixed targets "
                    f"would leave their range; got {xi:.6g} at step {step}."
                )
        return schedule


class _Folds:
    """Cross-validation of a chain that grows: in each fold the last accepted student, fitted to the training part.

    `plain` and `reached` hold what the plain model and that student say of the held-out samples `rows`.
    """

    def __init__(self, learner: Learner, splits: Any) -> None:
        everything = np.arange(len(learner.y))
        self.splits = [(everything[train], everything[test]) for train, test in splits]
        if len(self.splits) < 2:
            raise ValueError(
                f"Estimating xi needs at least 2 folds, but cv gives {len(self.splits)}: a weight is judged on other "
                f"folds than it is estimated on. Pass a splitter of more folds, or numbers as xi."
            )
        self.learner = learner
        self.unit = validation.unit_size(learner.truth)  # 1, but for targets whose squares float64 cannot hold
        self.rows = np.concatenate([test for _, test in self.splits])
        self.models = [learner.plain(train) for train, _ in self.splits]
        self.plain = self.reached = self.say(self.models)
        self.teach(self.models)

    def say(self, models: list[Any]) -> np.ndarray:
        """Outputs of each fold's model at its held-out samples."""
        pairs = zip(models, self.splits, strict=True)
        return np.concatenate([self.learner.outputs(model, test, train) for model, (train, test) in pairs])

    def teach(self, models: list[Any]) -> None:
        """Make each fold's model the teacher of its next step."""
        pairs = zip(models, self.splits, strict=True)
        self.teachers = [self.learner.outputs(model, train, train) for model, (train, _) in pairs]

    def students(self, weights: list[float]) -> list[Any]:
        """Each fold's student of its teacher, one weight per fold; the plain model where that is 0."""
        learner, models = self.learner, list(self.models)
        for fold, (xi, (train, _)) in enumerate(zip(weights, self.splits, strict=True)):
            if xi:
                models[fold] = learner.student(learner.mixture(xi, self.teachers[fold], train), train)
        return models

    def best_weight(self, pure: np.ndarray, unseen: Any = ()) -> float:
        """The closed form from all held-out samples but the `unseen`; 0 where f(0) and f(1) = `pure` agree."""
        learner = self.learner
        used = ~np.isin(self.rows, unseen)
        if learner.weight is not None:
            used &= learner.weight[self.rows] > 0
        rows, plain, pure = self.rows[used], self.plain[used], pure[used]
        rounding = np.sqrt(np.finfo(pure.dtype).eps)  # below it, half the digits of the difference are lost
        if np.linalg.norm((pure - plain) / self.unit) <= rounding * np.linalg.norm(plain / self.unit):
            return 0.0
        xi = best_step_weight(plain, pure, learner.truth[rows], at_rows(learner.weight, rows))
        return float(np.clip(xi, *learner.bounds))

    def error(self, said: np.ndarray) -> np.ndarray:
        """Squared error of each sample, in units², averaged over the folds that hold it out; NaN where none does."""
        n = len(self.learner.y)
        total = np.bincount(self.rows, squares((self.learner.truth[self.rows] - said) / self.unit), n)
        times = np.bincount(self.rows, minlength=n)
        return np.divide(total, times, out=np.full(n, np.nan), where=times > 0)

    def squared(self, *values: float) -> list[float]:
        """Squared errors in `unit` ** 2 in those of the targets."""
        double, rounding = np.dtype(np.float64), validation.ROUNDING
        return validation.held(np.array(values), "squared errors", double, self.unit, 2, rounding).tolist()

    @property
    def weight(self) -> np.ndarray:
        """Of each sample in the errors, 1 where none were given."""
        return np.ones(len(self.learner.y)) if self.learner.weight is None else self.learner.weight


def _estimate(folds: _Folds, n_steps: int) -> tuple[np.ndarray, dict[str, np.ndarray], Verdict]:
    """The schedule, the record of the steps tried, and the verdict."""
    weights: list[float] = []
    records: list[tuple[float, ...]] = []
    said = folds.plain
    while len(weights) == len(records) < n_steps:
        pure = folds.say(folds.students([1.0] * len(folds.splits)))
        xi = folds.best_weight(pure)
        students = folds.students([folds.best_weight(pure, unseen=test) for _, test in folds.splits])
        said = folds.say(students)
        before, after = folds.error(folds.reached), folds.error(said)
        gain, standard_error = mean_and_error(before - after, folds.weight)
        accepted = xi != 0 and gain > standard_error
        errors = [mean_and_error(error, folds.weight)[0] for error in (after, before)]
        records.append((xi, *folds.squared(*errors, gain, standard_error), accepted))
        if accepted:
            weights.append(xi)
            folds.reached = said
            folds.teach(students)
    columns = ("xi", "error", "teacher_error", "gain", "standard_error", "accepted")
    results = {name: np.array(column) for name, column in zip(columns, zip(*records, strict=True), strict=True)}
    schedule = np.append(np.zeros(n_steps - len(weights)), weights)
    return schedule, results, _verdict(folds, folds.reached if weights else said, len(weights))


def _verdict(folds: _Folds, said: np.ndarray, n_steps: int) -> Verdict:
    before, after = folds.error(folds.plain), folds.error(said)
    plain, student = folds.squared(*(mean_and_error(error, folds.weight)[0] for error in (before, after)))
    gain, standard_error = relative_gain(before, after, folds.weight)
    kept = f"No step accepted, the plain {type(folds.learner.estimator).__name__} is kept: a step would take"
    accepted = f"{n_steps} step{'s' if n_steps > 1 else ''} accepted: distilling takes"
    sentence = (
        f"{accepted if n_steps else kept} the mean squared held-out error from {plain:.4g} to {student:.4g}, "
        f"a gain of {gain:.1%} ± {standard_error:.1%}."
    )
    return Verdict(gain, standard_error, n_steps, sentence)
