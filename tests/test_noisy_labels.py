"""Classifiers of noisy labels: the flip model against simulation and brute force, the refits against plain loops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifierCV
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneGroupOut, ShuffleSplit, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import fastdistill as fd
from fastdistill import NoisyLabelClassifier
from fastdistill.estimators._flips import fit_flips, symmetric_flips

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12}  # exact fits, so that ours and a naive one agree to many digits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def flip(codes: np.ndarray, rate: float, n_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Codes, each with probability `rate` another one."""
    return (codes + (rng.random(len(codes)) < rate) * rng.integers(1, n_classes, len(codes))) % n_classes


def problem(rng: np.random.Generator, n: int = 150, n_classes: int = 3, rate: float = 0.3) -> tuple[np.ndarray, Any]:
    """Blobs, apart enough that flips show, and their noisy codes."""
    codes = rng.integers(0, n_classes, n)
    X = 4.0 * rng.standard_normal((n_classes, 5))[codes] + 2.0 * rng.standard_normal((n, 5))
    return X, flip(codes, rate, n_classes, rng)


def simulated(rng: np.random.Generator, n: int, n_classes: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the model that the flip model describes, with slope 1.5, and given labels."""
    scores = 2.0 * rng.standard_normal((n, n_classes))
    noise = rng.gumbel(size=scores.shape)  # whose largest with 1.5 s added is distributed as softmax(1.5 s)
    return scores, flip((1.5 * scores + noise).argmax(axis=1), rate, n_classes, rng)


# -- The flip model --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3, 6])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.4])
def test_flip_rate_and_slope_are_found_in_simulated_labels(n_classes, rate, rng):
    scores, codes = simulated(rng, 8000, n_classes, rate)
    model = fit_flips(scores, codes, np.ones(8000))
    hard = n_classes == 2 and rate == 0.4  # four labels of ten tell nothing
    assert 1 - model.transition[0, 0] == pytest.approx(rate, abs=0.05 if hard else 0.02)
    assert model.slope == pytest.approx(1.5, rel=0.7 if hard else 0.15)
    none = fit_flips(scores, codes, np.ones(8000), np.eye(n_classes))
    gain = model.log_likelihood - none.log_likelihood
    assert gain < 2.0 if rate == 0.0 else gain > (3.0 if hard else 10.0)


def naive_objective(scores, codes, weight, slope, offsets, T):
    total = 0.0
    for s, y, w in zip(scores, codes, weight, strict=True):
        terms = np.exp(slope * s + offsets)
        total += w * np.log(sum(terms[c] / terms.sum() * T[c, y] for c in range(len(s))))
    return total - offsets @ offsets / 4


@pytest.mark.parametrize("known", [False, True])
def test_flip_model_maximises_the_likelihood(known, rng):
    scores, codes = simulated(rng, 120, 3, 0.3)
    weight = rng.uniform(0.5, 2.0, 120)
    T = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.3, 0.4]]) if known else None
    model = fit_flips(scores, codes, weight, T)
    rate = 1 - model.transition[0, 0]
    assert known or 0.1 < rate < 0.5
    np.testing.assert_allclose(model.transition, T if known else symmetric_flips(rate, 3))

    def loss(theta):
        matrix = T if known else symmetric_flips(theta[3], 3)
        return -naive_objective(scores, codes, weight, theta[0], np.append(0.0, theta[1:3]), matrix)

    found = np.array([model.slope, *model.offsets[1:], *([] if known else [rate])])
    assert loss(found) == pytest.approx(-model.log_likelihood, rel=1e-12)
    better = minimize(loss, found * 1.05 + 0.01, method="Nelder-Mead", options={"maxiter": 4000, "fatol": 1e-10})
    assert better.fun == pytest.approx(-model.log_likelihood, abs=1e-4)


def test_posterior_is_that_of_bayes(rng):
    scores, codes = simulated(rng, 30, 4, 0.3)
    T = 0.6 * np.eye(4) + 0.4 * rng.dirichlet(np.ones(4), size=4)
    model = fit_flips(scores, codes, np.ones(30), T)
    for s, y, q, given in zip(scores, codes, model.posterior(scores, codes), model.given_labels(scores), strict=True):
        prior = np.exp(model.slope * s + model.offsets) / np.exp(model.slope * s + model.offsets).sum()
        joint = [prior[c] * model.transition[c, y] for c in range(4)]
        np.testing.assert_allclose(q, np.array(joint) / sum(joint), rtol=1e-10)
        assert given[y] == pytest.approx(sum(joint))
        assert given.sum() == pytest.approx(1.0)


def test_scores_that_are_equal_or_separate_the_classes_are_taken():
    codes = np.repeat([0, 1], 20)
    constant = fit_flips(np.ones((40, 2)), codes, np.ones(40))
    np.testing.assert_allclose(constant.true_classes(np.ones((40, 2))), 0.5, atol=1e-3)
    separating = fit_flips(100.0 * np.eye(2)[codes], codes, np.ones(40))
    assert separating.log_likelihood == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(separating.posterior(100.0 * np.eye(2)[codes], codes), np.eye(2)[codes], atol=1e-6)


# -- The refits ------------------------------------------------------------------------------------


def naive_scores(model, X):
    return np.log(np.maximum(model.predict_proba(X), 1e-3))


def naive_errors(estimator, X, y, splits, weights_of):
    """Squared held-out errors by the estimator as given and refitted, each fold by itself, nothing shared."""
    n, n_classes = len(y), y.max() + 1
    truth, everything = np.eye(n_classes)[y], np.arange(n)
    plain, student = np.empty((n, n_classes)), np.empty((n, n_classes))
    for train, test in splits:
        plain[test] = naive_scores(clone(estimator).fit(X[train], y[train]), X[test])
        within = np.empty((n, n_classes))
        for other_train, other_test in splits:
            if other_test is not test:
                rows = np.intersect1d(train, other_train)
                held_out = np.intersect1d(other_test, train)
                within[held_out] = naive_scores(clone(estimator).fit(X[rows], y[rows]), X[held_out])
        assert len(np.setdiff1d(everything, test)) == len(train)
        flips = fit_flips(within[train], y[train], np.ones(len(train)))
        right = flips.posterior(within[train], y[train])[np.arange(len(train)), y[train]]
        student[test] = naive_scores(clone(estimator).fit(X[train], y[train], weights_of(right)), X[test])
    errors = []
    for scores in (plain, student):
        given = fit_flips(scores, y, np.ones(n)).given_labels(scores)
        errors.append(((truth - given) ** 2).sum(axis=1))
    return plain, errors


def test_weighted_against_plain_loops(rng):
    X, y = problem(rng)
    inner = LogisticRegression(C=0.5, **NEWTON)
    model = NoisyLabelClassifier(inner, cv=4).fit(X, y)
    splits = list(StratifiedKFold(4).split(X, y))
    plain, (before, after) = naive_errors(inner, X, y, splits, lambda right: right)
    flips = fit_flips(plain, y, np.ones(len(y)))
    right = flips.posterior(plain, y)[np.arange(len(y)), y]
    np.testing.assert_allclose(model.label_quality_, right, rtol=1e-6)
    np.testing.assert_allclose(model.posterior_.sum(axis=1), 1.0)
    np.testing.assert_allclose(model.transition_, flips.transition, atol=1e-7)
    assert model.flip_rate_ == pytest.approx(1 - flips.transition[0, 0], abs=1e-7)
    evidence = flips.log_likelihood - fit_flips(plain, y, np.ones(len(y)), np.eye(3)).log_likelihood
    assert model.evidence_ == pytest.approx(evidence, rel=1e-6)
    assert model.accepted_
    assert model.targets_ == "weighted"
    np.testing.assert_allclose(model.estimator_.coef_, clone(inner).fit(X, y, right).coef_, rtol=1e-5)
    np.testing.assert_allclose(model.tuned_.coef_, clone(inner).fit(X, y).coef_)
    gain = before - after
    assert model.verdict_.gain == pytest.approx(gain.sum() / before.sum(), rel=1e-5)
    error = gain.std(ddof=1) * np.sqrt(len(y)) / before.sum()
    assert model.verdict_.standard_error == pytest.approx(error, rel=1e-5)
    assert model.verdict_.n_steps == 1
    assert f"{model.flip_rate_:.1%} of the labels are flipped" in str(model.verdict_)


def test_consensus_keeps_the_likeliest_labels(rng):
    X, y = problem(rng)
    inner = KNeighborsClassifier(9)
    model = NoisyLabelClassifier(inner).fit(X, y)  # which takes no weights
    assert model.targets_ == "consensus"
    kept = model.posterior_.argmax(axis=1) == y
    assert 0 < kept.sum() < len(y)
    np.testing.assert_array_equal(model.predict(X), clone(inner).fit(X[kept], y[kept]).predict(X))


def test_soft_is_fitted_to_each_class_with_its_probability(rng):
    X, y = problem(rng)
    inner = LogisticRegression(**NEWTON)
    model = NoisyLabelClassifier(inner, targets="soft").fit(X, y)
    assert model.targets_ == "soft"
    copies = np.concatenate([X, X, X]), np.repeat([0, 1, 2], len(y)), model.posterior_.T.ravel()
    np.testing.assert_allclose(model.estimator_.coef_, clone(inner).fit(*copies).coef_, rtol=1e-6)


def test_a_search_is_tuned_again_on_the_weights(rng):
    X, y = problem(rng, n=200)
    search = GridSearchCV(LogisticRegression(**NEWTON), {"C": [1e-3, 1e-2, 1e-1]}, cv=3)
    model = NoisyLabelClassifier(search, cv=3).fit(X, y)
    assert model.accepted_
    naive = clone(search).fit(X, y, sample_weight=model.label_quality_)
    assert isinstance(model.estimator_, GridSearchCV)
    np.testing.assert_allclose(model.estimator_.cv_results_["mean_test_score"], naive.cv_results_["mean_test_score"])
    np.testing.assert_allclose(model.estimator_.best_estimator_.coef_, naive.best_estimator_.coef_, rtol=1e-6)
    pipeline = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1]})
    assert NoisyLabelClassifier(pipeline, cv=3).fit(X, y).targets_ == "weighted"


@pytest.mark.parametrize("estimator", [fd.NoisyLabelClassifier, fd.SelfDistiller])
def test_a_search_splits_soft_targets_by_sample(estimator, rng):
    """Copies of a sample stay on one side: a neighbour at distance 0 must not tell the label of a held-out sample."""
    X, y = problem(rng, rate=0.4)
    search = GridSearchCV(RandomForestClassifier(15, random_state=0), {"min_samples_leaf": [1, 20]}, cv=3)
    options = {"targets": "soft", "flips": 0.4, "cv": 3} if estimator is fd.NoisyLabelClassifier else {"xi": 0.5}
    model = estimator(search, **options).fit(X, y)
    tuned = model.estimator_
    assert tuned.n_splits_ == 3
    assert tuned.cv_results_["mean_test_score"].max() < 0.75  # of labels of which 60 % are right; 1.0 with leaks
    splits = list(StratifiedKFold(3).split(X, y))
    assert len(tuned.cv) == 3
    for (train, test), (naive_train, naive_test) in zip(tuned.cv, splits, strict=True):
        np.testing.assert_array_equal(np.sort(train), np.sort(np.add.outer(np.arange(3) * len(y), naive_train).ravel()))
        np.testing.assert_array_equal(test, naive_test + y[naive_test] * len(y))


def test_models_that_only_predict_classes_are_read_by_them(rng):
    X, y = problem(rng, n_classes=4)
    inner = SVC(decision_function_shape="ovo")  # six columns for four classes, none of them probabilities
    model = NoisyLabelClassifier(inner, cv=3).fit(X, y)
    plain = np.empty((len(y), 4))
    for train, test in StratifiedKFold(3).split(X, y):
        plain[test] = np.eye(4)[clone(inner).fit(X[train], y[train]).predict(X[test])]
    right = fit_flips(plain, y, np.ones(len(y))).posterior(plain, y)[np.arange(len(y)), y]
    np.testing.assert_allclose(model.label_quality_, right, rtol=1e-6)
    agree = plain.argmax(axis=1) == y
    assert model.label_quality_[agree].mean() > 0.9
    assert model.label_quality_[~agree].mean() < 0.4


# -- Acceptance ------------------------------------------------------------------------------------


def test_clean_labels_are_left_alone():
    X, y = load_digits(return_X_y=True)
    for inner in (RidgeClassifierCV(np.logspace(-2, 4, 7)), LinearSVC(C=1e-3)):
        model = NoisyLabelClassifier(inner, cv=3).fit(X[:400], y[:400])
        assert not model.accepted_
        assert model.estimator_ is model.tuned_
        assert model.targets_ == "given"
        assert model.flip_rate_ < 0.05
        assert (model.verdict_.gain, model.verdict_.n_steps) == (0.0, 0)
        assert "as given is kept" in str(model.verdict_)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.3, 0.4])
def test_digits_are_no_worse_than_tuned_ridge(rate):
    X, y = load_digits(return_X_y=True)
    gains = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        train, test = np.split(rng.permutation(len(y)), [400])
        inner = RidgeClassifierCV(np.logspace(-2, 4, 13))
        model = NoisyLabelClassifier(inner, cv=4).fit(X[train] / 16, flip(y[train], rate, 10, rng))
        gains.append(model.score(X[test] / 16, y[test]) - model.tuned_.score(X[test] / 16, y[test]))
    assert np.mean(gains) >= {0.0: 0.0, 0.1: 0.0, 0.2: 0.005, 0.3: 0.01, 0.4: 0.015}[rate]


class Spoiled(LogisticRegression):
    """Weights spoil it: it then learns the labels of other samples."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y if sample_weight is None else np.roll(y, 1))


def test_a_second_fit_that_clearly_harms_is_turned_down(rng):
    X, y = problem(rng, n=300)
    model = NoisyLabelClassifier(Spoiled(), cv=3).fit(X, y)
    assert model.flip_rate_ > 0.05
    assert model.evidence_ > 1
    assert not model.accepted_
    assert model.estimator_ is model.tuned_
    assert model.verdict_.gain < -2 * model.verdict_.standard_error
    assert "Spoiled is not refitted to weighted labels" in str(model.verdict_)


def test_known_flips_are_used(rng):
    X, y = problem(rng, rate=0.4)
    matrix = NoisyLabelClassifier(LogisticRegression(), flips=symmetric_flips(0.4, 3)).fit(X, y)
    number = NoisyLabelClassifier(LogisticRegression(), flips=0.4).fit(X, y)
    assert number.flip_rate_ == matrix.flip_rate_ == pytest.approx(0.4)
    np.testing.assert_array_equal(number.posterior_, matrix.posterior_)
    none = NoisyLabelClassifier(LogisticRegression(), flips=0.0).fit(X, y)
    assert not none.accepted_
    np.testing.assert_array_equal(none.label_quality_, 1.0)


# -- Kinds of data ---------------------------------------------------------------------------------


def test_labels_of_any_kind_and_forms_of_data(rng):
    X, y = problem(rng)
    X[X < 0.3] = 0.0
    inner = LogisticRegression(**NEWTON)
    numbers = NoisyLabelClassifier(inner, cv=3).fit(X, y)
    text = np.array(["blue", "green", "red"])[y]
    frame = pd.DataFrame(X, columns=list("abcde"))
    named = NoisyLabelClassifier(inner, cv=3).fit(frame, pd.Series(text, index=np.arange(len(y))[::-1]))
    np.testing.assert_array_equal(named.classes_, ["blue", "green", "red"])
    assert list(named.feature_names_in_) == list("abcde")
    np.testing.assert_allclose(named.predict_proba(frame), numbers.predict_proba(X), rtol=1e-6)
    sparse = NoisyLabelClassifier(LogisticRegression(tol=1e-10, max_iter=2000), cv=3).fit(sp.csr_array(X), y)
    np.testing.assert_allclose(sparse.label_quality_, numbers.label_quality_, atol=1e-3)


def test_sample_weights_count_everywhere(rng):
    X, y = problem(rng)
    weight = rng.uniform(0.5, 2.0, len(y))
    inner = LogisticRegression(**NEWTON)
    model = NoisyLabelClassifier(inner, cv=3).fit(X, y, sample_weight=weight)
    plain = np.empty((len(y), 3))
    for train, test in StratifiedKFold(3).split(X, y):
        plain[test] = naive_scores(clone(inner).fit(X[train], y[train], weight[train]), X[test])
    flips = fit_flips(plain, y, weight / weight.mean())
    right = flips.posterior(plain, y)[np.arange(len(y)), y]
    np.testing.assert_allclose(model.label_quality_, right, rtol=1e-6)
    np.testing.assert_allclose(model.estimator_.coef_, clone(inner).fit(X, y, weight * right).coef_, rtol=1e-5)
    scaled = NoisyLabelClassifier(inner, cv=3).fit(X, y, sample_weight=2 * weight)
    assert scaled.evidence_ > 0
    assert scaled.flip_rate_ == pytest.approx(model.flip_rate_, abs=0.05)  # the penalty weighs half as much


def test_precomputed_kernels_are_weighted(rng):
    X, y = problem(rng)
    K = rbf_kernel(X, gamma=0.02)
    inner = {"C": 1.0, "kernel": "precomputed"}
    model = NoisyLabelClassifier(SVC(**inner), cv=3).fit(K, y)
    direct = NoisyLabelClassifier(SVC(C=1.0, gamma=0.02), cv=3).fit(X, y)
    np.testing.assert_allclose(model.label_quality_, direct.label_quality_, atol=1e-4)
    np.testing.assert_array_equal(model.predict(K), direct.predict(X))


def test_groups_reach_the_splitter(rng):
    X, y = problem(rng)
    splits = list(KFold(3).split(X))
    groups = np.empty(len(y))
    for fold, (_, test) in enumerate(splits):
        groups[test] = fold
    inner = LogisticRegression(**NEWTON)
    grouped = NoisyLabelClassifier(inner, cv=LeaveOneGroupOut()).fit(X, y, groups=groups)
    listed = NoisyLabelClassifier(inner, cv=splits).fit(X, y)
    np.testing.assert_array_equal(grouped.label_quality_, listed.label_quality_)


def test_metadata_routing_passes_what_is_requested(rng):
    X, y = problem(rng)
    weight = rng.uniform(0.5, 2.0, len(y))
    plain = NoisyLabelClassifier(LogisticRegression(), cv=3).fit(X, y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = LogisticRegression().set_fit_request(sample_weight=True)
        routed = NoisyLabelClassifier(inner, cv=3).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(routed.label_quality_, plain.label_quality_)


@parametrize_with_checks([NoisyLabelClassifier(LogisticRegression(), cv=3)])
@pytest.mark.filterwarnings("ignore:The least populated class in y has only:UserWarning")
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:The least populated class in y has only:UserWarning")
@parametrize_with_checks(
    [
        NoisyLabelClassifier(KNeighborsClassifier(1), cv=3, flips=0.3),
        NoisyLabelClassifier(LinearSVC(), cv=3, targets="soft"),
    ]
)
def test_scikit_learn_contract_of_variants(estimator, check):
    check(estimator)


# -- Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"estimator": "logistic"}, TypeError, "must be an instance of a classifier, got 'logistic'"),
        ({"estimator": Ridge()}, TypeError, r"must be an instance of a classifier, got Ridge\(\)"),
        ({"estimator": KMeans()}, TypeError, "must be an instance of a classifier"),
        ({"targets": "hard"}, ValueError, "targets must be one of 'auto', 'weighted', 'consensus', 'soft'"),
        ({"flips": "many"}, ValueError, "flips must be one of 'estimate'"),
        ({"flips": 0.7}, ValueError, "less than 0.6667, at which labels of 3 classes tell nothing; got 0.7"),
        ({"flips": -0.1}, ValueError, "flips must be at least 0"),
        ({"flips": np.eye(2)}, ValueError, r"the 3 given labels for each of the 3 true classes.*shape \(2, 2\)"),
        ({"flips": np.eye(3)[::-1]}, ValueError, "the right label the largest probability"),
        ({"cv": 2}, ValueError, "at least 3 folds .* but gives 2"),
        ({"cv": ShuffleSplit(5, random_state=0)}, ValueError, "hold out each of the 150 samples once"),
        (
            {"estimator": KNeighborsClassifier(), "targets": "weighted"},
            ValueError,
            "targets='weighted' needs sample_weight, which the fit of KNeighborsClassifier is not known to take",
        ),
    ],
)
def test_bad_parameters(params, error, message, rng):
    X, y = problem(rng)
    with pytest.raises(error, match=message):
        NoisyLabelClassifier(**{"estimator": LogisticRegression(), **params}).fit(X, y)


def test_consensus_of_a_precomputed_kernel_is_refused(rng):
    X, y = problem(rng)
    with pytest.raises(ValueError, match="takes a kernel or distances of all of them"):
        NoisyLabelClassifier(SVC(kernel="precomputed"), targets="consensus").fit(rbf_kernel(X), y)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        NoisyLabelClassifier(LogisticRegression()).predict(np.ones((2, 2)))


def test_one_class_is_left_as_it_is(rng):
    model = NoisyLabelClassifier(RandomForestClassifier(3)).fit(rng.standard_normal((20, 2)), ["only"] * 20)
    assert list(model.predict(np.zeros((2, 2)))) == ["only", "only"]
    assert (model.flip_rate_, model.accepted_) == (0.0, False)
