"""Penalties that change from step to step: every result against refits from scratch."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel

import fastdistill as fd

LAM, XI = [3.0, 0.2, 40.0], [0.6, -1.3]


def problem(n=20, p=4, m=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) + 1.0
    y = X @ rng.standard_normal((p, m or 1)) + rng.standard_normal((n, m or 1)) + 2.0
    return X, y if m else y[:, 0]


def refits(X, y, lam, xi, intercept, weight=None):
    """The students, each by scikit-learn."""
    models, targets = [], y
    for t, penalty in enumerate(lam):
        if t:
            targets = (1 - xi[t - 1]) * y + xi[t - 1] * models[-1].predict(X)
        models.append(Ridge(penalty, fit_intercept=intercept, solver="svd").fit(X, targets, weight))
    return models


def without(X, y, train, queries, intercept, weight=None):
    weight = None if weight is None else weight[train]
    return [model.predict(queries) for model in refits(X[train], y[train], LAM, XI, intercept, weight)]


@pytest.mark.parametrize("m", [None, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_against_refits(intercept, weighted, m):
    X, y = problem(12, m=m)
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.2, 2.0, len(y)) if weighted else None
    if weighted:
        weight[3] = 0.0
    path = fd.Spectrum.from_design(X, intercept, weight).path(y, LAM, XI, per_step=True)
    models, queries = refits(X, y, LAM, XI, intercept, weight), rng.standard_normal((5, 4))
    np.testing.assert_allclose(path.predict(queries), [each.predict(queries) for each in models], rtol=1e-9)
    np.testing.assert_allclose(path.fitted, [each.predict(X) for each in models], rtol=1e-9)
    np.testing.assert_allclose(path.coef, [each.coef_.T for each in models], rtol=1e-9)
    keep = [np.arange(len(y)) != i for i in range(len(y))]
    loo = np.array([without(X, y, rows, X[i : i + 1], intercept, weight) for i, rows in enumerate(keep)])
    loo = np.moveaxis(loo[:, :, 0], 0, 1)
    np.testing.assert_allclose(path.loo, loo, rtol=1e-9)
    errors = np.average(np.square(y - loo), axis=1, weights=weight)
    np.testing.assert_allclose(path.loo_mse, errors, rtol=1e-9)
    folds = [np.arange(len(y)) % 3 == k for k in range(3)]
    held_out = np.empty_like(loo)
    for fold in folds:
        held_out[:, fold] = without(X, y, ~fold, X[fold], intercept, weight)
    splits = [(np.flatnonzero(~fold), np.flatnonzero(fold)) for fold in folds]
    np.testing.assert_allclose(path.cv(splits), held_out, rtol=1e-9)
    smoothers = [
        np.column_stack(columns)
        for columns in zip(
            *([each.predict(X) for each in refits(X, e, LAM, XI, intercept, weight)] for e in np.eye(len(y))),
            strict=True,
        )
    ]
    dof = np.array([np.trace(H) for H in smoothers])
    np.testing.assert_allclose(path.dof, dof, rtol=1e-9)
    residuals = np.average(np.square(y - path.fitted), axis=1, weights=weight)
    n = len(y) if weight is None else np.count_nonzero(weight)
    left = (1 - dof / n) ** 2
    np.testing.assert_allclose(path.gcv, residuals / (left[:, None] if m else left), rtol=1e-9)


def test_one_penalty_for_all_steps_is_the_usual_path():
    X, y = problem(n=12, p=30, seed=2)
    for spectrum in (fd.Spectrum.from_design(X, True), fd.Spectrum.from_kernel(rbf_kernel(X, gamma=0.1))):
        path, usual = spectrum.path(y, [0.7] * 3, XI, per_step=True), spectrum.path(y, 0.7, XI)
        for name in ("filters", "dof", "fitted", "train_mse", "gcv", "loo", "loo_mse", "intercept"):
            np.testing.assert_allclose(getattr(path, name), getattr(usual, name), rtol=1e-9, err_msg=name)
        queries = rbf_kernel(X[:3] + 0.1, X, gamma=0.1) if spectrum.is_kernel else X[:3] + 0.1
        diag = np.ones(3) if spectrum.is_kernel else None
        np.testing.assert_allclose(path.predict_std(queries, diag), usual.predict_std(queries, diag), rtol=1e-9)
        np.testing.assert_allclose(path.standard_error(queries, 0.3), usual.standard_error(queries, 0.3), rtol=1e-9)


def test_schedules_share_the_penalties():
    X, y = problem(seed=3)
    spectrum, schedules = fd.Spectrum.from_design(X), np.array([XI, [1.0, 0.0]])
    path = spectrum.path(y, LAM, schedules, per_step=True)
    assert (path.filters.shape, path.loo.shape) == ((2, 3, 4), (2, 3, 20))
    for i, xi in enumerate(schedules):
        single = spectrum.path(y, LAM, xi, per_step=True)
        np.testing.assert_allclose(path.coef[i], single.coef, rtol=1e-12)
        np.testing.assert_allclose(path.loo[i], single.loo, rtol=1e-12)
        filters = fd.multistep_filter(spectrum.d, LAM, xi, per_step=True)
        np.testing.assert_allclose(filters, single.filters, rtol=1e-12)
    np.testing.assert_allclose(fd.multistep_filter(spectrum.d, LAM, schedules, per_step=True), path.filters, rtol=1e-12)


def test_standard_deviations_belong_to_the_penalty_of_the_step():
    X, y = problem(n=15, seed=4)
    path = fd.Spectrum.from_kernel(rbf_kernel(X, gamma=0.5)).path(y, LAM, XI, per_step=True)
    queries = X[:4] + 0.3
    std = path.predict_std(rbf_kernel(queries, X, gamma=0.5), np.ones(4))
    for row, lam in zip(std, LAM, strict=True):
        process = GaussianProcessRegressor(RBF(1.0), alpha=lam, optimizer=None).fit(X, y)
        np.testing.assert_allclose(row, process.predict(queries, return_std=True)[1], rtol=1e-6)


def least_norm(X, y, lam, xi):
    """Coefficients of the students by SVD, of the least norm without a penalty."""
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    keep = s > 1e-10 * s[0]
    U, s, Vt, coef, targets = U[:, keep], s[keep], Vt[keep], [], y
    for t, penalty in enumerate(lam):
        if t:
            targets = (1 - xi[t - 1]) * y + xi[t - 1] * (X @ coef[-1])
        coef.append(Vt.T @ (s / (s**2 + penalty) * (U.T @ targets)))
    return np.array(coef)


@pytest.mark.parametrize("lam", [[0.0, 1.0, 0.0], [1e-12, 5.0, 1e-10], [0.0, 1e-3, 1e8]], ids=str)
@pytest.mark.parametrize(("n", "p"), [(9, 20), (9, 9), (9, 8), (12, 3)])
def test_leave_one_out_next_to_interpolation_and_of_large_penalties(n, p, lam):
    """Residuals and 1 − h vanish together: by subtraction no digit of their ratio would be left."""
    X, y = problem(n, p, seed=5)
    path = fd.Spectrum.from_design(X).path(y, lam, XI, per_step=True)
    loo = []
    for i in range(n):
        keep = np.arange(n) != i
        loo.append(least_norm(X[keep], y[keep], lam, XI) @ X[i])
    expected = np.transpose(loo)
    for found, wanted in zip(path.loo, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())
    np.testing.assert_allclose(path.loo_mse, np.square(y - expected).mean(axis=1), rtol=1e-8)


def test_nothing_is_left_of_a_single_sample():
    path = fd.Spectrum.from_design([[1.0, 2.0]], fit_intercept=True).path([3.0], [1.0, 0.0], [0.5], per_step=True)
    assert np.isnan(path.loo).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s, y: s.path(y, [1.0, 2.0], XI, per_step=True), ValueError, "must hold 3 penalties, one for each"),
        (lambda s, y: s.path(y, 1.0, XI, per_step=True), ValueError, "must hold 3 penalties"),
        (lambda s, y: s.path(y, LAM, XI, per_step=1), TypeError, "per_step must be True or False"),
        (lambda s, y: fd.multistep_filter(s.d, [1.0], XI, per_step=True), ValueError, "must hold 3 penalties"),
        (lambda s, y: s.path(y, LAM, XI, per_step=True).loo_std(), ValueError, "have no loo_std"),
        (lambda s, y: s.path(y, LAM, XI, per_step=True).influence(), ValueError, "have no influence"),
    ],
)
def test_bad_calls(call, error, message):
    X, y = problem()
    with pytest.raises(error, match=message):
        call(fd.Spectrum.from_design(X), y)
