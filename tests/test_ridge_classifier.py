"""Distilled ridge classifiers: scikit-learn's without steps, refits on soft targets, labels, kinds of input."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastdistill import DistilledRidgeClassifier, DistilledRidgeClassifierCV, DistilledRidgeCV

ESTIMATORS = (DistilledRidgeClassifier, DistilledRidgeClassifierCV)
GRID = np.logspace(-2, 3, 11)
CLASS_WEIGHTS = {2: [None, "balanced", {"a": 3.0}], 3: [None, "balanced", {"a": 0.5, "c": 4.0}]}


def problem(rng, n_classes, n=60):
    """Overlapping classes of unequal sizes, named by letters."""
    labels = np.minimum(rng.integers(0, n_classes + 1, n), n_classes - 1)
    X = rng.standard_normal((n, 4)) + rng.standard_normal((n_classes, 4))[labels]
    return X, np.array(list("abc"))[labels]


def balanced(y, w):
    """Weights by which all classes come to the same sum of sample weights, and all together to that without."""
    return {label: w.sum() / (len(np.unique(y)) * w[y == label].sum()) for label in np.unique(y)}


@parametrize_with_checks(
    [
        DistilledRidgeClassifier(),
        DistilledRidgeClassifierCV(),
        DistilledRidgeClassifierCV(GRID, 2, "joint"),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_steps_are_scikit_learns_classifiers(n_classes, weighted, fit_intercept, rng):
    X, y = problem(rng, n_classes)
    w = rng.uniform(0.5, 2.0, len(y)) if weighted else None
    for class_weight in CLASS_WEIGHTS[n_classes]:
        options = {"fit_intercept": fit_intercept, "class_weight": class_weight}
        tuned = DistilledRidgeClassifierCV(GRID, n_steps=0, **options)
        # scikit-learn's ridge classifiers balance numbers of samples, these sums of weights
        given = {**options, "class_weight": balanced(y, w)} if weighted and class_weight == "balanced" else options
        twin = RidgeClassifierCV(GRID, **given)
        for ours, theirs in (
            (DistilledRidgeClassifier(0.7, n_steps=0, **options), RidgeClassifier(0.7, solver="svd", **given)),
            (tuned, twin),
        ):
            ours.fit(X, y, w)
            theirs.fit(X, y, sample_weight=w)
            assert list(ours.classes_) == list(theirs.classes_)
            shape = (4,) if n_classes == 2 else (3, 4)
            np.testing.assert_allclose(ours.coef_, theirs.coef_.reshape(shape), rtol=1e-8, atol=1e-12, strict=True)
            np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-8, strict=True)
            np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-8, atol=1e-10)
            assert np.array_equal(ours.predict(X), theirs.predict(X))
        assert tuned.alpha_ == twin.alpha_


@pytest.mark.parametrize("n_classes", [2, 3])
def test_students_are_refitted_on_soft_targets(n_classes, rng):
    X, y = problem(rng, n_classes)
    w = rng.uniform(0.5, 2.0, len(y))
    model = DistilledRidgeClassifier(0.7, [0.6, -0.4], None, class_weight="balanced").fit(X, y, w)
    hard = np.where(y[:, None] == model.classes_, 1.0, -1.0)[:, -1 if n_classes == 2 else None :]
    weight = w * [balanced(y, w)[label] for label in y]
    twin = Ridge(0.7, solver="svd").fit(X, hard, weight)
    for xi in (0.6, -0.4):
        twin.fit(X, (1 - xi) * hard + xi * twin.predict(X).reshape(hard.shape), weight)
    np.testing.assert_allclose(model.decision_function(X), twin.predict(X), rtol=1e-9, atol=1e-12)


def test_several_labels_per_sample(rng):
    X = rng.standard_normal((50, 4))
    y = (X @ rng.standard_normal((4, 3)) + rng.standard_normal((50, 3)) > 0).astype(int)
    twin = RidgeClassifierCV(GRID).fit(X, y)
    for ours in (DistilledRidgeClassifier(twin.alpha_, n_steps=0), DistilledRidgeClassifierCV(GRID, n_steps=0)):
        ours.fit(X, y)
        np.testing.assert_allclose(ours.decision_function(X), twin.decision_function(X), rtol=1e-9, atol=1e-12)
        assert np.array_equal(ours.predict(X), twin.predict(X))


@pytest.mark.parametrize("strategy", ["safe", "joint", "greedy"])
def test_the_choice_is_that_of_the_regression(strategy, rng):
    X, y = problem(rng, 3)
    ours = DistilledRidgeClassifierCV(GRID, 2, strategy, "gcv").fit(X, y)
    twin = DistilledRidgeCV(GRID, 2, strategy, "gcv").fit(X, np.where(y[:, None] == ours.classes_, 1.0, -1.0))
    for name in ("alpha_", "n_steps_"):
        assert getattr(ours, name) == getattr(twin, name)
    for name in ("coef_", "xi_", "mixture_", "best_score_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(twin, name), rtol=1e-12)
    np.testing.assert_allclose(ours.cv_results_["scores"], twin.cv_results_["scores"], rtol=1e-12)
    assert ours.verdict_.sentence == twin.verdict_.sentence
    assert ours.verdict_.gain == pytest.approx(twin.verdict_.gain, rel=1e-9)
    assert (ours.evidence_ is None) == (strategy != "safe")


def test_folds_are_stratified(rng):
    X, y = problem(rng, 3)
    order = np.argsort(y)
    X, y = X[order], y[order]
    ours = DistilledRidgeClassifierCV(GRID, 1, "joint", cv=3).fit(X, y)
    same = DistilledRidgeClassifierCV(GRID, 1, "joint", cv=StratifiedKFold(3)).fit(X, y)
    assert np.array_equal(ours.cv_results_["scores"], same.cv_results_["scores"])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_kind_of_input(estimator, rng):
    X, y = problem(rng, 3)
    w = rng.uniform(0.5, 2.0, len(y))
    model = estimator(class_weight="balanced").fit(X, y, w)
    scores = model.decision_function(X)
    assert scores.shape == (60, 3)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    frame = pd.DataFrame(X, columns=list("pqrs"))
    named = estimator(class_weight="balanced").fit(frame, pd.Series(y), pd.Series(w))
    np.testing.assert_allclose(named.decision_function(frame), scores, rtol=1e-12)
    assert list(named.feature_names_in_) == list("pqrs")
    sparse = estimator(class_weight="balanced").fit(sp.csr_array(X), y, w)
    np.testing.assert_allclose(sparse.decision_function(sp.csc_array(X)), scores, rtol=1e-8, atol=1e-10)
    single = estimator(class_weight="balanced").fit(X.astype(np.float32), y, w).decision_function(X.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, scores, rtol=1e-3, atol=1e-4)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = estimator().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        assert len(cross_val_score(routed, X, y, params={"sample_weight": w}, cv=3)) == 3


def test_one_class(rng):
    X = rng.standard_normal((6, 2))
    for estimator in ESTIMATORS:
        assert list(estimator().fit(X, ["only"] * 6).predict(X)) == ["only"] * 6


def test_iris():
    X, y = load_iris(return_X_y=True)
    ours = cross_val_score(DistilledRidgeClassifierCV(n_steps=0), X, y, cv=5)
    twin = cross_val_score(RidgeClassifierCV(np.logspace(-4, 5, 40)), X, y, cv=5)
    assert np.array_equal(ours, twin)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_errors(estimator, rng):
    X, y = problem(rng, 2)
    model = estimator()
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, X[:, 0])
    with pytest.raises(ValueError, match="class_weight"):
        estimator(class_weight="heavy").fit(X, y)
    with pytest.raises(ValueError, match="sample_weight is zero for every sample"):
        model.fit(X, y, np.zeros(len(y)))
    with pytest.raises(ValueError, match="n_steps must be at least 0, got -1"):
        estimator(n_steps=-1).fit(X, y)
    with pytest.raises(TypeError, match="fit_intercept must be True or False"):
        estimator(fit_intercept="no").fit(X, y)
