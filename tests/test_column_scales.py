"""Columns of very different sizes in one design: the penalty, not the largest column, decides what is kept.

The right values are ridge in decimal arithmetic of 150 digits, its students refitted one after the other.
"""

from __future__ import annotations

import warnings
from decimal import Decimal, localcontext

import numpy as np
import pytest
import scipy.sparse as sp

import fastdistill as fd
from fastdistill import DistilledKernelRidge, DistilledKernelRidgeCV

FORMS = {"dense": np.asarray, "csr": sp.csr_array, "csc": sp.csc_array}


def exact(numbers):
    return np.array([Decimal(float(v)) for v in np.ravel(numbers)], dtype=object).reshape(np.shape(numbers))


def solve(matrix, right):
    """Gaussian elimination of a positive definite system; both are overwritten."""
    p = len(matrix)
    for k in range(p):
        for i in range(k + 1, p):
            factor = matrix[i, k] / matrix[k, k]
            matrix[i, k:] -= factor * matrix[k, k:]
            right[i] -= factor * right[k]
    for k in reversed(range(p)):
        right[k] = (
            (right[k] - matrix[k, k + 1 :] @ right[k + 1 :]) / matrix[k, k] if k < p - 1 else right[k] / matrix[k, k]
        )
    return right


def students(X, y, queries, lam, xi, fit_intercept, weight=None):
    """Centred predictions (k+1, q) of students 0..k, and the mean of the targets."""
    with localcontext() as context:
        context.prec = 150
        X, y, queries, lam = exact(X), exact(y), exact(queries), Decimal(float(lam))
        weight = exact(np.ones(len(y)) if weight is None else weight)
        mean, level = np.full(X.shape[1], Decimal(0)), Decimal(0)
        if fit_intercept:
            mean, level = weight @ X / weight.sum(), weight @ y / weight.sum()
        X, y, queries = X - mean, y - level, queries - mean
        gram, target = (X.T * weight) @ X, (X.T * weight) @ y
        coef, found = None, []
        for step in [Decimal(0), *map(Decimal, map(float, xi))]:
            right = target if coef is None else (1 - step) * target + step * (gram @ coef)
            coef = solve(gram + lam * exact(np.eye(len(gram))), right.copy())
            found.append(queries @ coef)
        return np.array(found).astype(float), float(level)


def worst(predictions, level, expected):
    """Largest relative error of a student's centred predictions; what adding the mean of y rounds off is no error."""
    rounding = 4e-16 * abs(level) * np.sqrt(expected.shape[1])
    error = np.linalg.norm(np.atleast_2d(predictions) - level - expected, axis=1) - rounding
    return (error / (np.linalg.norm(expected, axis=1) + 1e-8 * abs(level))).max()


def test_centring_leaves_one_direction_fewer_than_samples():
    """What rounding leaves of the mean, in columns of 1e18, is larger than whole columns."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, p = int(rng.integers(3, 7)), int(rng.integers(7, 15))
        X, weight = rng.standard_normal((n, p)) * 10 ** rng.uniform(-12, 18, p), rng.uniform(0.1, 3, n)
        for given in (None, weight):
            assert fd.Spectrum.from_design(X, True, given).rank == n - 1


@pytest.mark.parametrize("seed", range(60))
def test_random_scales(seed):
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(5, 31)), int(rng.integers(1, 13))
    scales = 10 ** rng.uniform(-12, 18, p)
    X = rng.standard_normal((n, p)) * scales
    if seed % 3 == 0:
        X[rng.random((n, p)) < 0.5] = 0.0
    weight = [None, rng.uniform(0.1, 3, n), np.where(np.arange(n) == 2, 10 ** rng.uniform(2, 12), 1.0)][seed % 5 % 3]
    queries = np.vstack([X, rng.standard_normal((3, p)) * scales])
    y, lam, xi = rng.standard_normal(n), 10 ** rng.uniform(-6, 6), rng.uniform(-1, 2, seed % 3)
    fit_intercept = bool(seed % 2)
    expected, level = students(X, y, queries, lam, xi, fit_intercept, weight)
    form = list(FORMS.values())[seed // 2 % 3]
    path = fd.Spectrum.from_design(form(X), fit_intercept, weight).path(y, lam, xi)
    assert worst(path.predict(form(queries)), level, expected) <= 1e-6
    assert worst(path.fitted, level, expected[:, :n]) <= 1e-6
    assert worst(path.coef @ queries.T + path.intercept[:, None], level, expected) <= 1e-6


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("offset", [(0.0, 1e16), (1.7e18, 1e15), (1.7e18, 1e9), (1e18, 1e3)])
@pytest.mark.parametrize("shape", [(40, 4), (8, 12)])
def test_estimators_beside_time_stamps(form, fit_intercept, offset, shape, rng):
    X = rng.standard_normal(shape)
    X[:, 0] = offset[0] + offset[1] * X[:, 0]
    X[:, 1] *= 1e-9
    y = X[:, 2] - X[:, 3] + 0.1 * rng.standard_normal(len(X))
    expected, level = students(X, y, X, 1.0, [1.0], fit_intercept)
    ridge = fd.DistilledRidge(1.0, fit_intercept=fit_intercept).fit(form(X), y)
    assert worst(ridge.predict(form(X)), level, expected[1:]) <= 1e-9
    tuned = fd.DistilledRidgeCV([1.0], n_steps=0, fit_intercept=fit_intercept).fit(form(X), y)
    assert worst(tuned.predict(form(X)), level, expected[:1]) <= 1e-9
    signs = np.where(y > 0, 1.0, -1.0)
    expected, level = students(X, signs, X, 1.0, [], fit_intercept)
    classes = fd.DistilledRidgeClassifier(1.0, n_steps=0, fit_intercept=fit_intercept).fit(form(X), signs)
    assert worst(classes.decision_function(form(X)), level, expected) <= 1e-9


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_leave_one_out_and_degrees_of_freedom(fit_intercept, rng):
    n = 7
    X, y = rng.standard_normal((n, 4)) * [1e-8, 1.0, 1e9, 1e17], rng.standard_normal(n)
    path = fd.Spectrum.from_design(X, fit_intercept).path(y, 0.5, [0.5, 2.0])
    dof, left_out = np.zeros(3), np.empty((3, n))
    for i in range(n):
        others = np.arange(n) != i
        centred, level = students(X[others], y[others], X[i : i + 1], 0.5, [0.5, 2.0], fit_intercept)
        left_out[:, i] = centred[:, 0] + level
        centred, level = students(X, np.eye(n)[i], X[i : i + 1], 0.5, [0.5, 2.0], fit_intercept)
        dof += centred[:, 0] + level
    np.testing.assert_allclose(path.loo, left_out, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(path.dof, dof, rtol=1e-12)


@pytest.mark.parametrize("shape", [(30, 5), (6, 9)])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_what_a_column_repeats_is_no_direction(shape, fit_intercept, rng):
    """A column twice, and a constant one at any offset, beside columns of other sizes."""
    X = rng.standard_normal(shape) * np.logspace(15, -3, shape[1])
    doubled = np.column_stack([X, X[:, 0], 2 * X[:, 2], *([np.full(len(X), 1.7e18)] if fit_intercept else [])])
    whole, once = (fd.Spectrum.from_design(given, fit_intercept) for given in (doubled, X))
    assert whole.rank == once.rank == min(shape[1], len(X) - fit_intercept)
    y = rng.standard_normal(len(X))
    least_norm = np.ones(shape[1])
    least_norm[0], least_norm[2] = np.sqrt(2), np.sqrt(5)  # ridge cannot tell copies from one column of their norm
    expected, level = students(X * least_norm, y, X * least_norm, 0.3, [0.5], fit_intercept)
    # the square roots are rounded
    assert worst(whole.path(y, 0.3, [0.5]).predict(doubled), level, expected) <= 1e-9


def test_float32_designs(rng):
    X = (rng.standard_normal((20, 3)) * [1e-9, 1.0, 1e12]).astype(np.float32)
    y = rng.standard_normal(20)
    expected, level = students(X, y, X, 1.0, [1.0], True)
    predictions = fd.DistilledRidge(1.0).fit(X, y).predict(X)
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions, expected[1] + level, atol=1e-6)


@pytest.mark.parametrize("size", [1e7, 1e16])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_a_linear_kernel_that_loses_columns_says_so(size, make, rng):
    X = rng.standard_normal((30, 3))
    y = X @ [1.0, 2.0, 3.0]
    X[:, 1] *= size
    for model in (DistilledKernelRidge(1.0, kernel="linear"), DistilledKernelRidgeCV([1.0, 2.0], kernel="linear")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(make(X), y)
        told = [str(w.message) for w in caught if "loses 'column 0' and 1 more" in str(w.message)]
        assert len(told) == 1
        assert "Scale the columns" in told[0]
    DistilledKernelRidge(1.0, kernel="linear").fit(make(X / [1.0, size / 100, 1.0]), y)  # no warning


def test_a_kernel_matrix_that_loses_directions_says_so(rng):
    X = rng.standard_normal((30, 3))
    y = X @ [1.0, 2.0, 3.0]
    X[:, 1] *= 1e16
    spectrum = fd.Spectrum.from_kernel(X @ X.T)
    with pytest.warns(RuntimeWarning, match="scale the columns"):
        spectrum.path(y, 1.0, 0.5, n_steps=1)
    spectrum.path(y, [0.0, 1e20], 0.5, n_steps=1)
