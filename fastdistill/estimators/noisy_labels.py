"""Any classifier, refitted to labels of which some are flipped, where out-of-fold predictions show that they are.

Out-of-fold scores s_i and the given labels y_i give the flip rate ρ and the probability of each class to be the true
one, by the model of `fastdistill.estimators._flips`::

    q_i(c) ∝ P(c | s_i) T_{c y_i},   T = (1 − ρ) I + ρ / (K − 1) (1 1ᵀ − I)

===========  =========================================================================================================
targets      what the estimator is refitted to, and tuned again on, where it is a search object
===========  =========================================================================================================
"weighted"   the given labels, each with the weight q_i(y_i): the probability that it is right
"consensus"  the samples whose given label is the likeliest class by q_i
"soft"       all classes, with the weights q_i(c)
===========  =========================================================================================================

D (Das et al. 2024, arXiv 2406.11206) retrain on the samples whose prediction is the given label, "consensus" where
labels tell nothing, ρ = (K − 1) / K. J (Javanmard et al. 2025, arXiv 2505.15195; of which only the abstract was read)
derive the best function of prediction and given label to retrain on, for two classes in Gaussian mixtures and
generalized linear models; q is Bayes' rule for any classifier under the model above.

What was tried, without any acceptance: points of accuracy on clean labels gained over the same model tuned on the
labels as given, its penalty tuned again on the new targets; mean over digits, wine, breast cancer, iris and four tables
of R packages (those of ``benchmarks/labels.py``), 300 training samples or 60 %, labels flipped to any other class
alike, 3 splits for logistic regression and 6 for ridge.

==================================================================  ====================  ====================
targets                                                             logistic, 0/20/40 %   ridge, 20/40 %
==================================================================  ====================  ====================
weights q(y)                                                        −0.3 / +3.7 / +4.2    +2.0 / +3.4
weights q(y), the penalty as it was tuned at first                  −0.2 / +1.3 / +0.6
consensus with the out-of-fold prediction                           −1.7 / +2.3 / +4.1
consensus with the likeliest class by q                                                   +2.2 / +3.6
soft q                                                              −0.3 / +3.3 / +2.4
likeliest class by q                                                −0.3 / +2.6 / +3.0
likeliest class by q, weight max q                                  −0.3 / +3.2 / +2.5
out-of-fold predicted class (D: full retraining)                    −2.5 / 0.0 / +1.7
out-of-fold probabilities                                           −2.5 / −0.5 / +1.1
half given label, half probabilities (arXiv 2301.13304 with ξ = ½)  −1.0 / +0.3 / +1.9
the two likeliest classes by q, ½ each (after arXiv 2402.10482)     −26 / −13 / −17
weights q(y)²                                                                             +1.7 / +3.2
weights q(y), 0 where another class is likelier                                           +1.9 / +3.5
a second round of weights q(y), and a third                                               +2.0, +2.1 / +3.4, +4.2
==================================================================  ====================  ====================

So the targets matter less than tuning again does.

Cost: k + 1 fits of the estimator with k folds where no flips are found, else k (k − 1) / 2 + k + 1 more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils import indexable

from fastdistill.base import validation
from fastdistill.estimators._flips import FlipModel, fit_flips, symmetric_flips
from fastdistill.estimators._learners import ClassifierLearner, at_rows, is_instance
from fastdistill.estimators._retrained import Retrained
from fastdistill.selection.paired import mean_and_error, relative_gain, squares
from fastdistill.selection.verdict import Verdict

TARGETS = ("auto", "weighted", "consensus", "soft")
LEAST_RATE = 0.08  # on clean tables whose classes hardly overlap the estimate was at most 0.06, see Notes
LEAST_EVIDENCE = 1.0  # Akaike: one parameter more has to raise the log-likelihood by more than 1
CLEAR_HARM = 2.0  # standard errors, see Notes


class NoisyLabelClassifier(Retrained):
    """Any classifier for labels of which some are wrong: the suspicious ones count less, where there is evidence.

    The estimator is fitted to the labels as given, and to the training part of each fold. How its out-of-fold
    predictions and the given labels disagree tells the flip rate ρ and, of each sample, the probability q_i(c) of each
    class to be the true one. The estimator is then fitted again, each label with the probability that it is right as
    its weight; hyper-parameters that it tunes itself (a search object) are tuned again. Without evidence for flips
    the estimator fitted to the labels as given stays.

    Parameters
    ----------
    estimator : classifier
        What to fit, best a tuned model such as :class:`~sklearn.model_selection.GridSearchCV`; it is cloned and never
        fitted itself.
    targets : {"auto", "weighted", "consensus", "soft"}, default="auto"
        What the estimator is fitted to the second time. "weighted": the given labels with weights q_i(y_i).
        "consensus": only the samples whose given label is the likeliest class. "soft": each sample once per class, with
        weights q_i(c). "auto": "weighted" where `fit` of the estimator takes `sample_weight`, else "consensus".
    flips : "estimate", float or array-like of shape (n_classes, n_classes), default="estimate"
        How labels are flipped, where it is known: the share that is flipped, to any other class alike, at least 0 and
        less than (K − 1) / K; or the probability of each given label (columns) for each true class (rows, in the order
        of `classes_`), with the right label the likeliest in each row. "estimate" estimates the share and asks for
        evidence that it is not 0.
    cv : int, splitter or iterable of (train, test), default=5
        Folds, at least three, that hold out each sample once, as in :func:`sklearn.model_selection.check_cv`: a number
        stands for consecutive folds, stratified.

    Attributes
    ----------
    estimator_ : estimator
        The fit that predicts: the second where it was accepted, else `tuned_`.
    tuned_ : estimator
        The estimator fitted to the labels as given, to compare with.
    accepted_ : bool
        Whether `estimator_` is the second fit.
    targets_ : {"weighted", "consensus", "soft", "given"}
        What `estimator_` is fitted to.
    flip_rate_ : float
        Estimated or given share of flipped labels; of a given matrix, the mean over the classes.
    transition_ : ndarray of shape (n_classes, n_classes)
        T: probability of each given label (columns) for each true class (rows).
    evidence_ : float
        Log-likelihood of the given labels with the flips, less that without.
    posterior_ : ndarray of shape (n_samples, n_classes)
        q: probability of each class to be the true one, from out-of-fold scores and the given label.
    label_quality_ : ndarray of shape (n_samples,)
        Probability that the given label is right, q_i(y_i). Sort by it to find the labels to look at.
    verdict_ : Verdict
        Share of the held-out squared error of the labels as given that the second fit removes, beside the estimator
        as given, its standard error, 1 step or 0, and a sentence. Gain 0 ± 0 where no flips were found.
    classes_ : ndarray of shape (n_classes,)
        Labels of the samples with weight, sorted.
    n_features_in_ : int
        Number of features seen in `fit`, where the estimator counts them.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names and the estimator keeps them.

    See Also
    --------
    SelfDistiller : Retraining on mixtures of the labels and the estimator's outputs; gains nothing on tuned models.

    Notes
    -----
    **The flip rate.** With one score s_ic per class (log probabilities, decision values, or the predicted class) of a
    model that has not seen the sample, P(c | s_i) = softmax(a s_i + b)_c, and T as above, slope a, offsets b and rate ρ
    maximise the likelihood of the given labels. However sure the scores are, a share ρ of the labels disagrees: that
    tells ρ from classes that overlap. Classes that overlap everywhere and labels that are flipped look alike.

    **Targets.** "consensus" follows [1]_; "soft" and "weighted" combine prediction and given label by Bayes' rule. [2]_
    derives the best combination for two classes.

    **Acceptance.** Flips are taken for real where the rate is above 8 % and the log-likelihood gains more than 1. The
    second fit is then judged in folds: in each the flip model is fitted anew to scores within the training part, from
    models that saw neither of two folds. Its held-out squared error, of the given labels by P(y | s) of its own scores,
    is compared sample by sample with that of the estimator as given, and a second fit that is worse by more than 2
    standard errors is turned down. (Wrong labels judge poorly: with 20 and 40 % flipped on eight tables, ridge and
    logistic regression, the second fit was less accurate on clean labels in 9 of 67 splits, but its held-out
    log-likelihood was ahead by a standard error in 29 only. Asking for that would give up half of the gain.)

    **Clean labels.** On the eight tables the estimated rate of labels that were all right was at most 6 %. On nine
    tables whose classes overlap so much that the tuned model is right in 57 to 82 % of cases, overlap and flips cannot
    be told apart: flips were taken for real in 21 of 54 splits and models. The second fit then gained 0.6 points of
    accuracy on average, from −2.6 to +5.1 in single splits.

    **Measured** over tuned models (logistic regression, SVM, random forest; 14 tables, 3 splits), in points of accuracy
    on clean labels: 0.0 with no labels flipped, no table and model below; +0.9 with 20 % and +1.9 with 40 %, single
    tables and models from −3 to +20. With the rate given instead of estimated an SVM gained 3.8 points instead of 0.4
    at 40 % (8 tables, 2 splits). See the guide on noisy labels.

    **Weights** of samples given to `fit` count in the fits, in the flip model, and in the errors.

    **Search objects** are tuned again on the targets. They score candidates by the labels as given, "consensus" by
    those that stay, with weights where they pass `sample_weight` to their scorer. With "soft" the copies of a sample
    are in one fold, and the one with the given label is scored.

    **Metadata.** Further arguments of `fit` go to the estimator's `fit`, entries per sample split with the folds, and
    ``groups`` to the splitter; with metadata routing enabled, what they request.

    References
    ----------
    .. [1] R. Das, I. S. Dhillon, A. Epasto, A. Javanmard, J. Mao, V. Mirrokni, S. Sanghavi and P. Zhong, "Retraining
       with predicted hard labels provably increases model accuracy", arXiv:2406.11206 (2024).
    .. [2] A. Javanmard, R. Das, A. Epasto and V. Mirrokni, "Self-boost via optimal retraining: an analysis via
       approximate message passing", NeurIPS 2025, arXiv:2505.15195.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import RidgeClassifierCV
    >>> from fastdistill import NoisyLabelClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> rng = np.random.default_rng(0)
    >>> wrong = rng.random(300) < 0.4
    >>> noisy = np.where(wrong, (y[:300] + rng.integers(1, 10, 300)) % 10, y[:300])
    >>> model = NoisyLabelClassifier(RidgeClassifierCV(np.logspace(-2, 4, 13))).fit(X[:300], noisy)
    >>> round(model.flip_rate_, 2)
    0.35
    >>> [round(each.score(X[300:], y[300:]), 3) for each in (model.tuned_, model)]
    [0.746, 0.766]
    >>> suspicious = np.argsort(model.label_quality_)[:50]
    >>> float(wrong[suspicious].mean())
    1.0
    """

    def __init__(self, estimator: Any, targets: str = "auto", flips: Any = "estimate", cv: Any = 5) -> None:
        self.estimator = estimator
        self.targets = targets
        self.flips = flips
        self.cv = cv

    def fit(self, X: Any, y: Any, **fit_params: Any) -> NoisyLabelClassifier:
        """Fit the estimator to the labels as given, estimate the flips, and fit it again where they are evident.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data, of any kind that the estimator takes.
        y : array-like of shape (n_samples,)
            Given labels.
        **fit_params : dict
            `sample_weight`, at least 0 and not all 0; `groups` for the splitter; arguments of the estimator's `fit`.

        Returns
        -------
        self : NoisyLabelClassifier

        Raises
        ------
        ValueError
            Values out of range, folds that are fewer than three or do not hold out each sample once, targets that the
            estimator cannot be fitted to, weights negative or all zero; whatever the estimator refuses.
        TypeError
            An estimator that is no classifier, parameters of the wrong kind, arguments that the estimator's `fit` does
            not take.
        """
        given = self._check_parameters()
        X, y = indexable(X, y)
        learner, split_params = self._learner(X, y, fit_params)
        assert isinstance(learner, ClassifierLearner)  # an estimator that is no classifier was refused
        targets = self._checked_targets(learner)
        self.tuned_ = self.estimator_ = learner.start()
        self.classes_ = learner.classes
        students = None
        if len(self.classes_) > 1:
            transition = _transition(given, len(self.classes_))
            splitter = check_cv(self.cv, learner.y, classifier=True)
            students = _Students(learner, targets, transition, list(splitter.split(X, learner.y, **split_params)))
            flips, self.posterior_ = students.flips, students.posterior
            self.evidence_ = max(0.0, flips.log_likelihood - students.unflipped.log_likelihood)
            self.transition_ = flips.transition
        else:
            self.evidence_, self.transition_, self.posterior_ = 0.0, np.ones((1, 1)), np.ones((len(learner.y), 1))
        self.flip_rate_ = float(1 - np.diag(self.transition_).mean())
        self.label_quality_ = (self.posterior_ * learner.truth).sum(axis=1)
        self.accepted_, self.verdict_ = self._judge(students, known=given is not None)
        self.targets_ = targets if self.accepted_ else "given"
        if students is not None and self.accepted_:
            self.estimator_ = students.fit(None, self.posterior_)
        return self._with_features()

    def _check_parameters(self) -> np.ndarray | None:
        """The given flips, a rate () or a matrix, or None where they are to be estimated."""
        if not (is_instance(self.estimator) and is_classifier(self.estimator)):
            raise TypeError(f"estimator must be an instance of a classifier, got {validation.shown(self.estimator)}.")
        validation.choice(self.targets, "targets", TARGETS)
        if isinstance(self.flips, str):
            validation.choice(self.flips, "flips", ("estimate",))
            return None
        return validation.parameter(self.flips, "flips", ndim=(0, 2))

    def _checked_targets(self, learner: ClassifierLearner) -> str:
        """What the second fit is to, of what the estimator can be fitted to."""
        name, takes_weights = type(self.estimator).__name__, learner.keyword is not None
        targets = self.targets
        if targets == "auto":
            targets = "weighted" if takes_weights else "consensus"
        if targets != "consensus" and not takes_weights:
            raise ValueError(
                f"targets={targets!r} needs sample_weight, which the fit of {name} is not known to take; "
                f"set targets='consensus'."
            )
        if targets != "weighted" and learner.pairwise:
            raise ValueError(
                f"targets={targets!r} would drop or repeat samples, but {name} takes a kernel or distances of all of "
                f"them; use an estimator that takes features, or one whose fit takes sample_weight and "
                f"targets='weighted'."
            )
        return targets

    def _judge(self, students: _Students | None, known: bool) -> tuple[bool, Verdict]:
        """Whether to take the second fit, on what evidence."""
        name = type(self.estimator).__name__
        if students is None or (known and self.flip_rate_ == 0):
            return False, Verdict(0.0, 0.0, 0, f"No labels can be flipped: {name} as given is kept.")
        found = f"an estimated {self.flip_rate_:.1%} of the labels are flipped, log-likelihood +{self.evidence_:.3g}"
        if not (known or (self.flip_rate_ > LEAST_RATE and self.evidence_ > LEAST_EVIDENCE)):
            needed = f"more than {LEAST_RATE:.0%} and +{LEAST_EVIDENCE:g} are needed"
            return False, Verdict(0.0, 0.0, 0, f"{name} as given is kept: {found}, but {needed}.")
        before, after = students.errors()
        gain, standard_error = relative_gain(before, after, students.weight)
        accepted = gain >= -CLEAR_HARM * standard_error
        old, new = (mean_and_error(error, students.weight)[0] for error in (before, after))
        sentence = (
            f"{f'a given {self.flip_rate_:.1%} of the labels are flipped' if known else found}: {name} is "
            f"{'' if accepted else 'not '}refitted to {students.targets} labels, which takes the mean squared held-out "
            f"error of the labels as given from {old:.4g} to {new:.4g}, a gain of {gain:.1%} ± {standard_error:.1%}."
        )
        return accepted, Verdict(gain, standard_error, int(accepted), sentence[0].upper() + sentence[1:])


class _Students:
    """The second fit: of all samples, and of the training part of each fold, with the estimator as given beside it."""

    def __init__(self, learner: ClassifierLearner, targets: str, transition: np.ndarray | None, splits: list) -> None:
        self.learner, self.targets, self.transition = learner, targets, transition
        n, n_classes = learner.truth.shape
        everything = np.arange(n)
        self.trains = [everything[train] for train, _ in splits]
        self.tests = [everything[test] for _, test in splits]
        if len(splits) < 3 or not np.array_equal(np.sort(np.concatenate(self.tests)), everything):
            raise ValueError(
                f"cv must give at least 3 folds that hold out each of the {n} samples once, but gives {len(splits)} "
                f"that hold out {sum(map(len, self.tests))}; pass the number of folds, or a splitter such as KFold."
            )
        self.codes = learner.truth.argmax(axis=1)
        weight = np.ones(n) if learner.weight is None else learner.weight
        self.weight = weight * (np.count_nonzero(weight) / weight.sum())
        self.plain = np.empty((n, n_classes))
        for train, test in zip(self.trains, self.tests, strict=True):
            self.plain[test] = learner.scores(learner.plain(train), test, train)
        self.flips = self.model(self.plain)
        self.unflipped = fit_flips(self.plain, self.codes, self.weight, np.eye(n_classes))
        self.posterior = self.flips.posterior(self.plain, self.codes)

    def model(self, scores: np.ndarray, rows: Any = slice(None)) -> FlipModel:
        """The flip model of the given labels at `rows`, from their scores."""
        return fit_flips(scores, self.codes[rows], self.weight[rows], self.transition)

    def fit(self, rows: Any, posterior: np.ndarray) -> Any:
        """The second fit at `rows` (None: all), from the probabilities of their classes to be the true ones."""
        learner = self.learner
        if self.targets == "soft":
            return learner.student(posterior, rows)
        labels, codes, weight = (at_rows(array, rows) for array in (learner.y, self.codes, learner.weight))
        right = posterior[np.arange(len(codes)), codes]
        if self.targets == "weighted":
            return learner.refit(rows, labels, right if weight is None else right * weight)
        kept = right == posterior.max(axis=1)
        for code in np.unique(codes):  # each class keeps its surest sample, so that the second fit knows it
            of_class = np.flatnonzero(codes == code)
            kept[of_class[right[of_class].argmax()]] = True
        rows = np.arange(len(codes)) if rows is None else rows
        return learner.refit(rows[kept], labels[kept], at_rows(weight, kept))

    def errors(self) -> tuple[np.ndarray, np.ndarray]:
        """Squared held-out error (n,) of each given label, by the estimator as given and by the second fit."""
        within, student = self.scores_within(), np.empty_like(self.plain)
        for fold, (train, test) in enumerate(zip(self.trains, self.tests, strict=True)):
            scores = within[fold][train]
            posterior = self.model(scores, train).posterior(scores, self.codes[train])
            student[test] = self.learner.scores(self.fit(train, posterior), test, train)
        pairs = ((self.flips, self.plain), (self.model(student), student))
        before, after = (squares(self.learner.truth - flips.given_labels(scores)) for flips, scores in pairs)
        return before, after

    def scores_within(self) -> np.ndarray:
        """For each fold the scores (n, K) of its training samples, from models that saw neither it nor their own fold.

        The model that leaves out two folds serves both.
        """
        within = np.zeros((len(self.tests), *self.plain.shape))
        for one in range(len(self.tests)):
            for other in range(one):
                train = np.intersect1d(self.trains[one], self.trains[other])
                model = self.learner.plain(train)
                for outer, inner in ((one, other), (other, one)):
                    rows = np.intersect1d(self.tests[inner], self.trains[outer])
                    within[outer, rows] = self.learner.scores(model, rows, train)
        return within


def _transition(flips: np.ndarray | None, n_classes: int) -> np.ndarray | None:
    """The matrix T of given `flips`, a rate () or the matrix itself; None stays None."""
    if flips is None:
        return None
    if flips.ndim == 0:
        rate, largest = float(flips), (n_classes - 1) / n_classes
        if not 0 <= rate < largest:
            raise ValueError(
                f"flips must be at least 0 and less than {largest:.4g}, at which labels of {n_classes} classes tell "
                f"nothing; got {rate:.6g}."
            )
        return symmetric_flips(rate, n_classes)
    if flips.shape != (n_classes, n_classes) or flips.min() < 0 or np.abs(flips.sum(axis=1) - 1).max() > 1e-6:
        raise ValueError(
            f"flips must hold probabilities of the {n_classes} given labels for each of the {n_classes} true classes, "
            f"one true class in each row, whose sum is 1; got shape {flips.shape}, rows that sum to "
            f"{np.array2string(flips.sum(axis=1), precision=4)}."
        )
    if (flips.argmax(axis=1) != np.arange(n_classes)).any():
        raise ValueError("flips must give the right label the largest probability of its row, the diagonal of flips.")
    return flips
