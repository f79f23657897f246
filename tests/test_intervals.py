"""Prediction intervals against the jackknife+ by refits without each sample, and how many new targets they hold."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

import fastdistill as fd
from tests import oracle

LAM, XI = 0.7, np.array([0.4, -1.5, 2.0])
MODELS = {
    "design": lambda **options: fd.DistilledRidge(LAM, XI, None, **options),
    "kernel": lambda **options: fd.DistilledKernelRidge(LAM, XI, None, gamma=0.3, **options),
}


def jackknife_plus(X, y, Q, level, weight, lam, xi, *, kernel, fit_intercept):
    """Intervals (q, m, 2) from refits without each sample of positive weight."""
    ends = []
    for i in np.flatnonzero(weight):
        rest = np.delete(np.arange(len(y)), i)
        rows = oracle.rbf(X[rest], X[rest], 0.3) if kernel else X[rest]
        students = oracle.students(
            rows, y[rest], lam, xi, kernel=kernel, fit_intercept=fit_intercept, sample_weight=weight[rest]
        )
        queries = np.vstack([X[i], Q])
        found = students.predict(oracle.rbf(queries, X[rest], 0.3) if kernel else queries)[-1]
        residual = np.abs(y[i] - found[0])
        ends.append((found[1:] - residual, found[1:] + residual))
    lower, upper = np.sort(np.array(ends), axis=0).swapaxes(0, 1)
    n = len(lower)
    out = int(round((1 - level) * (n + 1), 9))
    return np.stack([lower[out - 1], upper[n - out]], axis=-1)


@pytest.mark.parametrize("form", ["design", "kernel"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", ["none", "random", "some_zero"])
@pytest.mark.parametrize("shape", [(19, 4), (12, 20)])
def test_equals_refitting_without_each_sample(form, fit_intercept, kind, shape, rng):
    X, Q = rng.standard_normal(shape), rng.standard_normal((5, shape[1]))
    y, w = rng.standard_normal((len(X), 2)) + 1.5, oracle.weights(kind, len(X), rng)
    model = MODELS[form](fit_intercept=fit_intercept).fit(X, y, sample_weight=w)
    weight = np.ones(len(X)) if w is None else w
    options = {"kernel": form == "kernel", "fit_intercept": fit_intercept}
    for level in (0.5, 0.8):
        found = model.predict_interval(Q, level)
        assert found.shape == (5, 2, 2)
        exact = jackknife_plus(X, y, Q, level, weight, LAM, XI, **options)
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9)
    single = MODELS[form](fit_intercept=fit_intercept).fit(X, y[:, 1], sample_weight=w)
    np.testing.assert_allclose(single.predict_interval(Q, 0.8), found[:, 1], rtol=1e-9, atol=1e-10)


def test_duplicate_samples_of_a_kernel_and_sparse_designs(rng):
    """Eigenvalues that rounding hides, and rows that are not stored dense."""
    X, Q = rng.standard_normal((14, 3)), rng.standard_normal((4, 3))
    X[7:] = X[:7]
    y = rng.standard_normal((14, 1))
    exact = jackknife_plus(X, y, Q, 0.8, np.ones(14), LAM, XI, kernel=True, fit_intercept=True)
    model = fd.DistilledKernelRidge(LAM, XI, None, gamma=0.3).fit(X, y)
    np.testing.assert_allclose(model.predict_interval(Q, 0.8), exact, rtol=1e-9, atol=1e-10)
    dense = fd.DistilledRidge(LAM, XI, None).fit(X, y).predict_interval(Q, 0.8)
    sparse = fd.DistilledRidge(LAM, XI, None).fit(sp.csr_array(X), y).predict_interval(sp.csr_array(Q), 0.8)
    np.testing.assert_allclose(sparse, dense, rtol=1e-10)


@pytest.mark.parametrize("form", ["design", "kernel"])
def test_targets_with_penalties_and_weights_of_their_own(form, rng):
    X, Y, Q = rng.standard_normal((20, 4)), rng.standard_normal((20, 2)), rng.standard_normal((3, 4))
    make = fd.DistilledRidge if form == "design" else fd.DistilledKernelRidge
    both = make(alpha=[0.1, 5.0], xi=[[0.3, 0.9], [1.0, -0.5]], n_steps=None).fit(X, Y).predict_interval(Q, 0.8)
    for j, (alpha, xi) in enumerate([(0.1, [0.3, 1.0]), (5.0, [0.9, -0.5])]):
        own = make(alpha=alpha, xi=xi, n_steps=None).fit(X, Y[:, j]).predict_interval(Q, 0.8)
        np.testing.assert_allclose(both[:, j], own, rtol=1e-10)


@pytest.mark.parametrize("form", ["design", "kernel"])
@pytest.mark.parametrize("per_target", [False, True])
def test_what_was_chosen_is_held_fixed(form, per_target, rng):
    X, Y, Q = rng.standard_normal((30, 4)), rng.standard_normal((30, 2)), rng.standard_normal((3, 4))
    options = {"alphas": [0.1, 1.0, 10.0], "n_steps": 1, "strategy": "joint", "alpha_per_target": per_target}
    chosen = (fd.DistilledRidgeCV if form == "design" else fd.DistilledKernelRidgeCV)(**options).fit(X, Y)
    make = fd.DistilledRidge if form == "design" else fd.DistilledKernelRidge
    alpha, xi = chosen.alpha_, np.stack(chosen.xi_, axis=-1) if per_target else chosen.xi_
    given = make(alpha=alpha, xi=xi, n_steps=None).fit(X, Y)
    np.testing.assert_allclose(chosen.predict_interval(Q), given.predict_interval(Q), rtol=1e-9)


def test_a_student_given_by_its_filter_keeps_it(rng):
    """Leave-one-out residuals e / (1 − h), and fits whose target of the sample is moved by as much."""
    X = rng.standard_normal((200, 30))
    X[:, 0] *= 4.0
    y, Q = X[:, 0] + 2.0 * rng.standard_normal(200), rng.standard_normal((4, 30))
    model = fd.DistilledRidgeCV(alphas=np.logspace(-2, 4, 13), fit_intercept=False).fit(X, y)
    assert model.xi_ is None
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    smoother = (U * model.evidence_.filter) @ U.T
    error = (y - smoother @ y) / (1 - np.diag(smoother))
    at_queries = (Q @ Vt.T * (model.evidence_.filter / s)) @ U.T
    fits = (at_queries @ y)[:, None] - at_queries * error
    exact = np.stack(
        [np.sort(fits - np.abs(error), axis=1)[:, 19], np.sort(fits + np.abs(error), axis=1)[:, 180]], axis=-1
    )
    np.testing.assert_allclose(model.predict_interval(Q), exact, rtol=1e-9)


@pytest.mark.parametrize("form", ["design", "kernel"])
def test_pickles_and_changed_data(form, rng):
    X, y, Q = rng.standard_normal((20, 4)), rng.standard_normal(20), rng.standard_normal((3, 4))
    model = MODELS[form]().fit(X, y)
    early = pickle.loads(pickle.dumps(model))
    intervals = model.predict_interval(Q, 0.8)
    late = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(late.predict_interval(Q, 0.8), intervals)
    if form == "kernel":
        np.testing.assert_array_equal(early.predict_interval(Q, 0.8), intervals)
    else:
        with pytest.raises(ValueError, match="before pickling"):
            early.predict_interval(Q)
        assert len(pickle.dumps(early)) < len(pickle.dumps(late)) - X.nbytes / 2
    again = MODELS[form]().fit(X, y)
    y *= -1.0
    with pytest.raises(ValueError, match="changed since fit"):
        again.predict_interval(Q)


def test_blocks_of_queries_precision_and_units(rng, monkeypatch):
    X, y, Q = rng.standard_normal((30, 4)), rng.standard_normal(30), rng.standard_normal((9, 4))
    whole = MODELS["design"]().fit(X, y).predict_interval(Q)
    single = MODELS["design"]().fit(X.astype(np.float32), y).predict_interval(Q.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, whole, rtol=1e-5)
    huge = MODELS["design"]().fit(X, 1e200 * y).predict_interval(Q)
    np.testing.assert_allclose(huge, 1e200 * whole, rtol=1e-12)
    monkeypatch.setattr("fastdistill.spectral.jackknife.BLOCK_ENTRIES", 1)
    np.testing.assert_allclose(MODELS["design"]().fit(X, y).predict_interval(Q), whole, rtol=1e-12)


@pytest.mark.parametrize("form", ["design", "kernel"])
def test_columns_with_names(form, rng):
    """Of a data frame as of an array, and without a warning that names are missing."""
    pd = pytest.importorskip("pandas")
    X, y = rng.standard_normal((30, 2)), rng.standard_normal(30)
    table = pd.DataFrame(X, columns=["a", "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        intervals = MODELS[form]().fit(table, y).predict_interval(table[:5])
    np.testing.assert_allclose(intervals, MODELS[form]().fit(X, y).predict_interval(X[:5]), rtol=1e-12)


def test_levels(rng):
    X, y = rng.standard_normal((9, 2)), rng.standard_normal(9)
    model = fd.DistilledRidge().fit(X, y)
    assert np.isfinite(model.predict_interval(X, 0.9)).all()
    assert np.isinf(model.predict_interval(X, 0.91)).all()
    widths = [np.diff(model.predict_interval(X, level)) for level in (0.3, 0.6, 0.9)]
    assert np.all(widths[0] <= widths[1])
    assert np.all(widths[1] <= widths[2])
    for level in (0.0, 1.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="level"):
            model.predict_interval(X, level)


def test_what_cannot_be(rng):
    X, y = rng.standard_normal((9, 2)), rng.standard_normal(9)
    with pytest.raises(NotFittedError):
        fd.DistilledRidge().predict_interval(X)
    acc = fd.GramAccumulator(fit_intercept=True).partial_fit(X, y)
    for model in (
        fd.DistilledRidgeCV(scoring="gcv").fit_accumulated(acc),
        fd.DistilledKernelRidge(solver="krylov").fit(X, y),
    ):
        with pytest.raises(ValueError, match="without the training data"):
            model.predict_interval(X)
    alone = fd.DistilledRidge().fit(X[:1], y[:1])
    with pytest.raises(ValueError, match="nothing is left to fit"):
        alone.predict_interval(X)


def coverage(kind, n_problems, seed):
    """Share of new targets that 90 % intervals hold, over problems of 79 samples, where 0.1 (n + 1) is whole."""
    rng, held = np.random.default_rng(seed), []
    for _ in range(n_problems):
        X = rng.standard_normal((99, 120 if kind == "wide" else 8))
        signal = np.sin(2 * X[:, 0]) if kind == "kernel" else X @ rng.standard_normal(X.shape[1]) / 3
        y = signal + rng.standard_normal(99) * (1 + 2 * np.abs(X[:, 1]) if kind == "heteroscedastic" else 1)
        make = fd.DistilledKernelRidge if kind == "kernel" else fd.DistilledRidge
        model = make(alpha=2.0, xi=[1.0, -0.5], n_steps=None).fit(X[:79], y[:79])
        lower, upper = model.predict_interval(X[79:], 0.9).T
        held.append(np.mean((lower <= y[79:]) & (y[79:] <= upper)))
    return np.mean(held), np.std(held) / np.sqrt(n_problems)


@pytest.mark.parametrize("kind", ["tall", "wide", "heteroscedastic", "kernel"])
def test_intervals_hold_their_share(kind):
    found, error = coverage(kind, 60, seed=0)
    assert abs(found - 0.9) <= 3 * error


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tall", "wide", "heteroscedastic", "kernel"])
def test_intervals_hold_ninety_percent(kind):
    found, error = coverage(kind, 2000, seed=1)
    assert error < 0.003
    assert abs(found - 0.9) <= 0.01
