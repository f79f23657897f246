"""A sample of zero weight is a sample left out, in every classifier: class weights, classes, batches, folds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from fastdistill import (
    DistilledRidgeClassifier,
    DistilledRidgeClassifierCV,
    KDSGDClassifier,
    KDSGDRegressor,
    SelfDistiller,
)
from fastdistill.estimators._common import class_balance

SHORT = {"max_iter": 5, "tol": None, "random_state": 0}
CLASSIFIERS = {
    "ridge": DistilledRidgeClassifier(0.5, 0.7, 2, class_weight="balanced"),
    "ridge of no steps": DistilledRidgeClassifier(0.5, n_steps=0, class_weight="balanced", fit_intercept=False),
    "tuned ridge": DistilledRidgeClassifierCV(class_weight="balanced"),
    "jointly tuned ridge": DistilledRidgeClassifierCV([0.1, 1.0, 10.0], 1, "joint", class_weight="balanced"),
    "SGD": KDSGDClassifier(class_weight="balanced", **SHORT),
    "SGD that stops early": KDSGDClassifier(class_weight="balanced", early_stopping=True, **SHORT),
    "SGD, one at a time": KDSGDClassifier(class_weight="balanced", batch_size=1, step_size=0.01, **SHORT),
    "retrained": SelfDistiller(DistilledRidgeClassifier(0.5, class_weight="balanced"), xi=0.5),
    "retrained logistic": SelfDistiller(LogisticRegression(), xi=0.5),
}


def problem(rng, n_classes, n=100):
    """Overlapping classes of unequal sizes, and weights a third of which are zero, mostly of the first class."""
    codes = np.minimum(rng.integers(0, n_classes + 2, n), n_classes - 1)
    X = rng.standard_normal((n, 3)) + rng.standard_normal((n_classes, 3))[codes]
    weight = rng.uniform(0.5, 2.0, n) * (rng.random(n) > np.where(codes == 0, 0.7, 0.2))
    return X, np.array(list("abcd"))[codes], weight


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_zero_weight_is_left_out(name, n_classes, is_sparse, rng):
    X, y, w = problem(rng, n_classes)
    X = sp.csr_array(X) if is_sparse else X
    kept = np.flatnonzero(w)
    whole = CLASSIFIERS[name].fit(X, y, sample_weight=w)
    scores, classes = whole.decision_function(X), whole.classes_
    left = CLASSIFIERS[name].fit(X[kept], y[kept], sample_weight=w[kept])
    assert list(classes) == list(left.classes_)
    expected = left.decision_function(X)
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("n_classes", [3, 4])
def test_a_class_without_weight_is_unknown(name, n_classes, rng):
    X, y, w = problem(rng, n_classes)
    w[y == "b"] = 0.0
    scores = CLASSIFIERS[name].fit(X, y, sample_weight=w).decision_function(X)
    kept = np.flatnonzero(w)
    left = CLASSIFIERS[name].fit(X[kept], y[kept], sample_weight=w[kept])
    assert list(left.classes_) == list("acd"[: n_classes - 1])
    np.testing.assert_allclose(scores, left.decision_function(X), rtol=1e-6, atol=1e-6 * np.abs(scores).max())


@pytest.mark.parametrize("name", ["ridge", "ridge of no steps", "retrained"])
def test_integer_weights_are_repetitions(name, rng):
    X, y, _ = problem(rng, 3)
    w = rng.integers(0, 4, len(y))
    scores = CLASSIFIERS[name].fit(X, y, sample_weight=w).decision_function(X)
    repeated = CLASSIFIERS[name].fit(X.repeat(w, axis=0), y.repeat(w))
    np.testing.assert_allclose(scores, repeated.decision_function(X), rtol=1e-7, atol=1e-8)


def test_balanced_by_hand():
    """Sums 6 and 2 of 8: factors 8 / (2 · 6) and 8 / (2 · 2); counts alone would say 4 / (2 · 2) for both."""
    y, w = np.array(["a", "a", "b", "b"]), np.array([5.0, 1.0, 2.0, 0.0])
    np.testing.assert_allclose(class_balance("balanced", y, w), [8 / 12, 8 / 12, 2.0, 2.0], rtol=1e-15)
    np.testing.assert_allclose(class_balance("balanced", y[:3], None), [3 / 4, 3 / 4, 3 / 2], rtol=1e-15)
    np.testing.assert_allclose(class_balance({"a": 3.0}, y, w), [3.0, 3.0, 1.0, 1.0])


def test_equal_weights_balance_as_scikit_learn_does(rng):
    X, y, _ = problem(rng, 3)
    w = np.full(len(y), 2.0)
    ours = DistilledRidgeClassifier(0.5, n_steps=0, class_weight="balanced").fit(X, y, w)
    theirs = RidgeClassifier(0.5, class_weight="balanced", solver="svd").fit(X, y, w)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)


def test_a_class_of_class_weight_zero_is_known_and_never_learned(rng):
    X, y, _ = problem(rng, 3)
    model = KDSGDClassifier(class_weight={"b": 0.0}, random_state=0).fit(X, y)
    assert list(model.classes_) == ["a", "b", "c"]
    assert "b" not in model.predict(X)


def test_one_class_with_weight(rng):
    X, y, _ = problem(rng, 2)
    with pytest.raises(ValueError, match="what of y has a weight above zero has 1 class: 'a'"):
        KDSGDClassifier().fit(X, y, y == "a")
    assert list(DistilledRidgeClassifier().fit(X, y, y == "a").predict(X[:2])) == ["a", "a"]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_batches_and_epochs_of_the_regressor_pass_by_samples_of_zero_weight(early_stopping, rng):
    X, _, w = problem(rng, 3)
    y, s = X @ [1.0, 2.0, 3.0] + rng.standard_normal(len(X)), rng.standard_normal(len(X))
    kept = np.flatnonzero(w)
    options = {"early_stopping": early_stopping, "batch_size": 4, "step_size": 0.01, **SHORT}
    whole = KDSGDRegressor(**options).fit(X, y, w, s)
    left = KDSGDRegressor(**options).fit(X[kept], y[kept], w[kept], s[kept])
    np.testing.assert_allclose(whole.coef_, left.coef_, rtol=1e-12)
    np.testing.assert_allclose(whole.loss_curve_, left.loss_curve_, rtol=1e-12)


def test_zero_weights_in_one_call_of_partial_fit(rng):
    X, y, w = problem(rng, 3)
    w[:20] = 0.0
    y[0] = "unheard of"
    kept = np.flatnonzero(w)
    whole = KDSGDClassifier(step_size=0.01, random_state=0).partial_fit(X, y, list("abc"), w)
    left = KDSGDClassifier(step_size=0.01, random_state=0).partial_fit(X[kept], y[kept], list("abc"), w[kept])
    np.testing.assert_allclose(whole.coef_, left.coef_, rtol=1e-12)
