"""SGD estimators: kinds of input, one epoch at a time, and what wrong input is told."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import fastdistill as fd
from fastdistill import KDSGDClassifier
from tests.test_estimators_sgd import KINDS, assert_same, problem, student

# -- One epoch at a time ---------------------------------------------------------------------------

PARTS = {
    "shuffle": {},
    "replace": {"order": "replace", "batch_size": 1},
    "average": {"average": True},
    "schedules": {"step_size": fd.InverseTime(0.05, 1.0), "kd_weight": fd.Geometric(0.9, 0.5), "teach": True},
    "unbiased": {"variant": "kd_unbiased", "teach": True, "l2": 0.1},
    "svrg": {"variant": "svrg", "kd_weight": 1.0},
    "repeated": {"variant": "repeated", "kd_weight": 0.3},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PARTS)
def test_partial_fits_are_the_epochs_of_a_fit(name, kind, rng):
    X, y = problem(rng, kind)
    options = dict(PARTS[name])
    outputs = None
    if options.pop("teach", False):
        outputs = y + 1.0 if isinstance(kind, str) else rng.dirichlet(np.ones(kind), len(y))
    whole = student(kind, **options).fit(X, y, None, outputs)
    parts = student(kind, **options)
    for _ in range(4):
        known = {} if isinstance(kind, str) else {"classes": np.unique(y)}
        parts.partial_fit(X, y, teacher_outputs=outputs, **known)
    assert_same(parts, whole, rtol=1e-10)
    np.testing.assert_allclose(parts.loss_curve_, whole.loss_curve_, rtol=1e-10)
    assert parts.n_iter_ == whole.n_iter_ == 4


def test_partial_fit_weighs_calls(rng):
    X, y = problem(rng)
    options = {"batch_size": 1, "l2": 0.3, "order": "sequential", "teacher": rng.standard_normal(4)}
    model, coef, intercept = student("numbers", **options), np.zeros(4), 0.0
    for i, w in enumerate(rng.uniform(0.1, 3.0, 10)):
        model.partial_fit(X[[i]], y[[i]], [w])
        r = X[i] @ coef + intercept - 0.5 * y[i] - 0.5 * X[i] @ options["teacher"]
        coef = coef - 0.02 * (w * r * X[i] + 0.3 * (coef - 0.5 * options["teacher"]))
        intercept -= 0.02 * w * r
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-10)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=1e-10)
    assert model.step_size_ == pytest.approx(0.02)


def test_partial_fit_of_batches_that_lack_classes(rng):
    X, y = problem(rng, 3, n=300)
    model = KDSGDClassifier(random_state=0)
    for _ in range(30):
        for missing in "abc":
            model.partial_fit(X[y != missing], y[y != missing], classes=["a", "b", "c"])
    assert model.score(X, y) > KDSGDClassifier(random_state=0).fit(X, y).score(X, y) - 0.05
    assert model.predict_proba(X[:5]).shape == (5, 3)


def test_warm_start_goes_on(rng):
    X, y = problem(rng)
    options = {"order": "sequential", "batch_size": 3}
    model = student("numbers", warm_start=True, **options).fit(X, y)
    assert_same(model.fit(X, y), student("numbers", **{**options, "max_iter": 8}).fit(X, y))
    with pytest.raises(ValueError, match=r"coefficients of shape \(4,\), but these data need \(3,\)"):
        model.fit(X[:, :3], y)


# -- Data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csc_array])
def test_sparse_is_dense_and_unsorted_rows_are_sorted_in_a_copy(kind, container, rng):
    X, y = problem(rng, kind)
    X[np.abs(X) < 0.5] = 0.0
    dense = student(kind).fit(X, y)
    assert_same(student(kind).fit(container(X), y), dense, rtol=1e-9)
    rows = sp.csr_array(X)
    indices, values = rows.indices.copy(), rows.data.copy()
    for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        indices[start:stop], values[start:stop] = indices[start:stop][::-1], values[start:stop][::-1]
    mixed = sp.csr_array((values, indices, rows.indptr), shape=X.shape)
    before = mixed.indices.copy()
    model = student(kind).fit(mixed, y)
    assert_same(model, dense, rtol=1e-9)
    assert np.array_equal(mixed.indices, before)
    method = model.predict if isinstance(kind, str) else model.predict_proba
    np.testing.assert_allclose(method(mixed), method(container(X)), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_is_kept(kind, rng):
    X, y = problem(rng, kind)
    single = student(kind).fit(X.astype(np.float32), y)
    assert single.coef_.dtype == np.float32
    method = single.predict if isinstance(kind, str) else single.predict_proba
    assert method(X.astype(np.float32)).dtype == np.float32
    double = student(kind).fit(X, y)
    np.testing.assert_allclose(single.coef_, double.coef_, rtol=1e-3, atol=1e-4)


def test_several_targets_are_one_at_a_time(rng):
    X, y = problem(rng, "pairs")
    both = student("pairs").fit(X, y)
    for j in range(2):
        one = student("numbers").fit(X, y[:, j])
        np.testing.assert_allclose(both.coef_[j], one.coef_, rtol=1e-12)
        np.testing.assert_allclose(both.predict(X)[:, j], one.predict(X), rtol=1e-12)


# -- Errors ----------------------------------------------------------------------------------------


WRONG = [
    ("numbers", {"max_iter": 0}, {}, ValueError, "max_iter must be at least 1"),
    ("numbers", {"tol": -1.0}, {}, ValueError, "tol must be at least 0"),
    ("numbers", {"n_iter_no_change": 0}, {}, ValueError, "n_iter_no_change must be at least 1"),
    ("numbers", {"early_stopping": 1}, {}, TypeError, "early_stopping must be True or False"),
    ("numbers", {"batch_size": "all"}, {}, ValueError, "batch_size must be one of 'auto'"),
    ("numbers", {"batch_size": 0}, {}, ValueError, "batch_size must be at least 1"),
    ("numbers", {"step_size": "best"}, {}, ValueError, "step_size must be one of 'auto'"),
    ("numbers", {"step_size": 0.0}, {}, ValueError, "step_size must be above 0"),
    ("numbers", {"step_size": [0.1, 0.2]}, {}, TypeError, "step_size must be a real number"),
    ("numbers", {"momentum": 1.0, "step_size": "auto"}, {}, ValueError, "momentum must be below 1"),
    ("numbers", {"l2": -1.0}, {}, ValueError, "l2 must be at least 0"),
    ("numbers", {"variant": "kdd"}, {}, ValueError, "variant must be one of"),
    ("numbers", {"order": "random"}, {}, ValueError, "order must be one of"),
    ("numbers", {"compressor": fd.TopK(5)}, {}, ValueError, "keeps more coefficients"),
    ("numbers", {"kd_weight": -0.1, "teacher": np.ones(4)}, {}, ValueError, "kd_weight must be at least 0"),
    ("numbers", {"kd_weight": "optimal", "teacher": np.ones(4)}, {}, TypeError, "kd_weight must be a real number"),
    ("numbers", {"teacher": np.ones(60)}, {}, ValueError, r"\(4,\) is needed.*teacher_outputs"),
    ("numbers", {"teacher": np.full(4, np.nan)}, {}, ValueError, "teacher contains NaN"),
    ("numbers", {"teacher": fd.TeacherOutputs(np.ones(60))}, {}, TypeError, "teacher_outputs=values"),
    ("numbers", {"teacher": np.ones(4)}, {"teacher_outputs": np.ones(60)}, ValueError, "Both teacher and"),
    ("numbers", {}, {"teacher_outputs": np.ones(59)}, ValueError, r"shape \(59,\), but \(60,\) is needed"),
    ("numbers", {}, {"sample_weight": -np.ones(60)}, ValueError, "must not be negative"),
    ("pairs", {}, {"teacher_outputs": np.ones((60, 3))}, ValueError, r"shape \(60, 3\), but \(60, 2\)"),
    (2, {"teacher": Ridge().fit(np.eye(4), np.ones(4))}, {}, ValueError, "teacher knows the classes None"),
    (2, {}, {"teacher_outputs": np.full(60, 1.5)}, ValueError, "probabilities"),
    (2, {}, {"teacher_outputs": np.ones((60, 3))}, ValueError, r"\(60,\) or \(60, 2\) is needed"),
    (3, {}, {"teacher_outputs": np.ones((60, 3))}, ValueError, "summing to 1"),
    (3, {"temperature": 2.0}, {}, ValueError, "temperature applies only to variant"),
    (3, {"class_weight": "balance"}, {}, ValueError, "class_weight must be one of 'balanced'"),
]


@pytest.mark.parametrize(("kind", "options", "arguments", "error", "message"), WRONG)
def test_wrong_input(kind, options, arguments, error, message, rng):
    X, y = problem(rng, kind)
    model = student(kind, **options)
    with pytest.raises(error, match=message):
        model.fit(X, y, **arguments)
    assert not hasattr(model, "coef_")


def test_teachers_of_other_classes_and_without_probabilities(rng):
    X, y = problem(rng, 3)
    for teacher, error, message in (
        (LogisticRegression().fit(X[y != "c"], y[y != "c"]), ValueError, r"knows the classes .*'a'.*student has"),
        (make_pipeline(LinearSVC()).fit(X, y), TypeError, "neither predict_proba nor linear"),
    ):
        with pytest.raises(error, match=message):
            student(3, teacher=teacher).fit(X, y)


def test_wrong_partial_fits(rng):
    X, y = problem(rng, 3)
    for options, labels, message in (
        ({}, None, "needs classes="),
        ({"class_weight": "balanced"}, ["a", "b", "c"], "needs all samples at once"),
        ({}, ["a", "b"], "y holds the label .*'c'.*not among"),
        ({}, ["a"], "not among"),
    ):
        with pytest.raises(ValueError, match=message):
            student(3, **options).partial_fit(X, y, classes=labels)
    model = student(3).partial_fit(X, y, classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="differ from those of the first call"):
        model.partial_fit(X, y, classes=["a", "b", "d"])
    with pytest.raises(ValueError, match="at least 2 classes, but y has 1 class"):
        student(3).fit(X, np.full(60, "a"))


@pytest.mark.parametrize("several", [False, True])
def test_coefficients_without_an_intercept_teach_the_intercept_0(several, rng):
    X = rng.standard_normal((300, 2))
    coef = np.array([[1.0, -1.0], [2.0, 0.5]]) if several else np.array([1.0, 2.0])
    y = X @ coef + 0.5 * rng.standard_normal((300, 2) if several else 300)
    y[..., -1 if several else slice(None)] += 10.0
    options = {"kd_weight": 0.5, "random_state": 0}
    with pytest.warns(
        RuntimeWarning, match=r"y is on average \+(10|9\.9\d|10\.\d) from its outputs, and scatters by 0\.\d"
    ):
        fd.KDSGDRegressor(coef, **options).fit(X, y, sample_weight=rng.uniform(0.5, 2.0, 300))
    intercept = np.array([0.0, 10.0]) if several else 10.0
    told = fd.KDSGDRegressor((coef, intercept), **options).fit(X, y)  # warnings are errors here
    assert told.score(X, y) > 0.8
    fd.KDSGDRegressor(coef, **options).fit(X, y - y.mean(axis=0))
    fd.KDSGDRegressor(coef, variant="kd_unbiased", **options).fit(X, y)
    fd.KDSGDRegressor(coef, fit_intercept=False, **options).fit(X, y - y.mean(axis=0))
