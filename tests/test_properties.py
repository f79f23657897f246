"""Properties that hold on every problem, searched for counterexamples by Hypothesis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import fastdistill as fd

seeds = st.integers(0, 2**32 - 1)
penalties = st.floats(1e-6, 1e6)
shares = st.floats(0, 1)  # imitation weights between the teacher's and the true targets
weights = st.floats(-2, 3)


@st.composite
def problems(draw):
    """A random design and targets of random shape, with and without an intercept."""
    n, p, m = draw(st.integers(2, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(seeds))
    scale = 10.0 ** draw(st.integers(-3, 3))
    return scale * rng.standard_normal((n, p)), rng.standard_normal((n, m)), draw(st.booleans())


def close(a, b, tol=1e-9):
    assert np.shape(a) == np.shape(b)
    assert np.linalg.norm(np.subtract(a, b)) <= tol * (np.linalg.norm(b) + 1e-300)


@given(problems(), penalties, st.lists(shares, max_size=5))
def test_filters_lie_between_zero_and_one(problem, lam, xi):
    X, y, fit_intercept = problem
    path = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, lam, np.array(xi))
    assert np.all((path.filters >= 0) & (path.filters <= 1 + 1e-15))
    assert np.all(np.diff(path.filters, axis=-1) <= 1e-15)  # d descends
    assert np.all(path.dof <= fit_intercept + len(path.filters.T) + 1e-12)


@given(problems(), penalties, st.integers(0, 4))
def test_no_imitation_is_ridge_at_every_step(problem, lam, k):
    X, y, fit_intercept = problem
    path = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, lam, 0.0, n_steps=k)
    for found in (path.fitted, path.coef):
        # equal filters, but BLAS may add up the last rows of a product in another order than the first
        assert np.abs(found - found[0]).max() <= 1e-12 * np.abs(found).max()


@given(problems(), penalties, st.lists(weights, min_size=1, max_size=3), seeds)
def test_rotating_the_features_changes_no_prediction(problem, lam, xi, seed):
    X, y, fit_intercept = problem
    R = np.linalg.qr(np.random.default_rng(seed).standard_normal((X.shape[1],) * 2))[0]
    plain = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, lam, np.array(xi))
    turned = fd.Spectrum.from_design(X @ R, fit_intercept=fit_intercept).path(y, lam, np.array(xi))
    size = np.linalg.norm(plain.fitted, axis=(1, 2)) + np.linalg.norm(y)
    assert np.all(np.linalg.norm(turned.fitted - plain.fitted, axis=(1, 2)) <= 1e-8 * size)


@given(problems(), penalties, st.lists(weights, min_size=1, max_size=3), seeds)
def test_rotating_the_samples_rotates_the_fit(problem, lam, xi, seed):
    X, y, _ = problem
    R = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(X),) * 2))[0]
    plain = fd.Spectrum.from_design(X).path(y, lam, np.array(xi))
    turned = fd.Spectrum.from_design(R @ X).path(R @ y, lam, np.array(xi))
    size = np.linalg.norm(plain.fitted, axis=(1, 2)) + np.linalg.norm(y)
    assert np.all(np.linalg.norm(turned.fitted - R @ plain.fitted, axis=(1, 2)) <= 1e-8 * size)


@given(problems(), penalties, st.lists(weights, min_size=1, max_size=3))
def test_one_target_equals_a_column_of_many(problem, lam, xi):
    X, y, fit_intercept = problem
    S = fd.Spectrum.from_design(X, fit_intercept=fit_intercept)
    many = S.path(y, lam, np.array(xi))
    for j in range(y.shape[1]):
        one = S.path(y[:, j], lam, np.array(xi))
        close(one.fitted, many.fitted[..., j], 1e-11)
        close(one.coef, many.coef[..., j], 1e-11)
        close(one.train_mse, many.train_mse[..., j], 1e-9)


@given(st.lists(weights, max_size=5))
def test_schedule_and_mixture_are_inverse(xi):
    assume(all(abs(v) > 1e-2 for v in xi))
    w = fd.mixture_from_xi(np.array(xi))
    assert abs(w.sum() - 1) <= 1e-13 * np.abs(w).sum()
    back = fd.xi_from_mixture(w)
    np.testing.assert_allclose(fd.mixture_from_xi(back), w, rtol=1e-9, atol=1e-9 * np.abs(w).max())


@given(problems(), penalties, st.lists(weights, min_size=1, max_size=3), st.floats(1e-4, 1e4))
def test_scaling_kernel_and_penalty_together(problem, lam, xi, scale):
    X, y, fit_intercept = problem
    K = X @ X.T
    plain = fd.Spectrum.from_kernel(K, fit_intercept=fit_intercept).path(y, lam, np.array(xi))
    scaled = fd.Spectrum.from_kernel(scale * K, fit_intercept=fit_intercept).path(y, scale * lam, np.array(xi))
    size = np.linalg.norm(plain.fitted, axis=(1, 2)) + np.linalg.norm(y)
    assert np.all(np.linalg.norm(scaled.fitted - plain.fitted, axis=(1, 2)) <= 1e-8 * size)


@given(problems(), penalties, st.lists(weights, min_size=1, max_size=3), seeds)
def test_weights_equal_repetition(problem, lam, xi, seed):
    X, y, fit_intercept = problem
    counts = np.random.default_rng(seed).integers(0, 4, len(X))
    assume(counts.sum() > 0)
    options = {"fit_intercept": fit_intercept}
    weighted = fd.Spectrum.from_design(X, sample_weight=counts, **options).path(y, lam, np.array(xi))
    repeated = fd.Spectrum.from_design(X.repeat(counts, axis=0), **options)
    plain = repeated.path(y.repeat(counts, axis=0), lam, np.array(xi))
    predicted, expected = weighted.predict(X), plain.predict(X)
    assert np.linalg.norm(predicted - expected) <= 1e-8 * (np.linalg.norm(expected) + np.linalg.norm(y))
    assert np.all(np.abs(weighted.dof - plain.dof) <= 1e-8 * (1 + np.abs(plain.dof)))


@given(problems(), penalties, st.floats(-1, 0.95))
def test_the_limit_is_a_fixed_point(problem, lam, xi):
    X, y, fit_intercept = problem
    S = fd.Spectrum.from_design(X, fit_intercept=fit_intercept)
    a = S.d / (S.d + lam)
    assume(np.all(np.abs(xi) * a < 1 - 1e-9))
    f = S.limit(y, lam, xi).filters
    np.testing.assert_allclose(a * ((1 - xi) + xi * f), f, rtol=1e-9)


@given(problems(), st.floats(0.02, 0.98))
def test_rounds_end_within_the_tolerance(problem, share):
    X, y, fit_intercept = problem
    u = y[:, 0] - fit_intercept * y[:, 0].mean()
    centred = X - fit_intercept * X.mean(axis=0)
    outside = np.mean((u - centred @ np.linalg.lstsq(centred, u, rcond=None)[0]) ** 2)
    total = np.mean(u**2)
    assume(total > 1e-6)
    assume(total - outside > 1e-6 * total)
    rounds = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).tolerance_path(
        y[:, 0], outside + share * (total - outside), max_rounds=20
    )
    assert rounds.n_rounds >= 1
    assert np.all(rounds.multipliers > 0)
    residual = np.mean((y[:, 0] - rounds.fitted[0]) ** 2)
    assert residual == pytest.approx(outside + share * (total - outside), rel=1e-8)
