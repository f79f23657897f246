"""Numbers that are easy to lose: offsets, extreme penalties, weights and spectra, cancellation, float32."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

import fastdistill as fd
from tests import oracle


def exact_filters(d, lam, xi):
    """The recursion in rational arithmetic: filters as lists of Fractions, one list per student."""
    a = [Fraction(float(v)) / (Fraction(float(v)) + Fraction(lam)) for v in d]
    filters = [a]
    for step in map(Fraction, xi):
        filters.append([s * ((1 - step) + step * f) for s, f in zip(a, filters[-1], strict=True)])
    return filters


@pytest.mark.parametrize("lam", [1e-14, 1e-6, 1.0, 1e14])
def test_filters_against_rational_arithmetic(lam):
    d, xi = np.logspace(-9, 3, 7), [0.5, 1.0, -1.25, 2.5]
    exact = np.array([[float(v) for v in row] for row in exact_filters(d, lam, xi)])
    np.testing.assert_allclose(fd.multistep_filter(d, lam, xi), exact, rtol=1e-13)


@pytest.mark.parametrize("lam", [1e-12, 1e-8, 1e-4, 1.0, 1e8])
@pytest.mark.parametrize("kind", ["design", "kernel"])
def test_residuals_of_nearly_interpolating_students(lam, kind):
    """1 - f and n - dof cancel for small penalties; training error and GCV must not."""
    d, xi, y = np.array([8.0, 2.0, 0.5, 0.25]), [0.5, 1.0], np.array([1.0, -2.0, 0.5, 3.0])
    if kind == "design":
        path = fd.Spectrum.from_design(np.diag(np.sqrt(d))).path(y, lam, xi)
    else:
        path = fd.Spectrum.from_kernel(np.diag(d)).path(y, lam, xi)
    lost = [[1 - f for f in row] for row in exact_filters(d, lam, xi)]
    mse = [sum((g * Fraction(v)) ** 2 for g, v in zip(row, y, strict=True)) / 4 for row in lost]
    gcv = [error / (sum(row) / 4) ** 2 for error, row in zip(mse, lost, strict=True)]
    np.testing.assert_allclose(path.train_mse, [float(v) for v in mse], rtol=1e-9)
    np.testing.assert_allclose(path.gcv, [float(v) for v in gcv], rtol=1e-9)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("shape", [(30, 4), (6, 12)])
def test_features_far_from_zero(form, shape, rng):
    """Centring must come before the products: a raw Gram matrix of these columns keeps four digits."""
    X = rng.standard_normal(shape) + 1e6 * rng.uniform(0.5, 1, shape[1])
    y = rng.standard_normal((shape[0], 1))
    exact = oracle.students(X, y, 0.5, [0.5, 2.0], kernel=False, fit_intercept=True)
    path = fd.Spectrum.from_design(form(X), fit_intercept=True).path(y, 0.5, [0.5, 2.0])
    np.testing.assert_allclose(path.coef, exact.parameters, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(path.fitted, exact.fitted, atol=1e-8)


def test_targets_far_from_zero(rng):
    X, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 1))
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    near, far = S.path(y, [0.1, 10.0], 0.5, n_steps=2), S.path(y + 1e8, [0.1, 10.0], 0.5, n_steps=2)
    np.testing.assert_allclose(far.coef, near.coef, rtol=1e-6)
    np.testing.assert_allclose(far.train_mse, near.train_mse, rtol=1e-6)
    np.testing.assert_allclose(far.gcv, near.gcv, rtol=1e-6)


@pytest.mark.parametrize("shape", [(12, 4), (4, 12)])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_no_penalty_is_the_least_norm_solution(shape, fit_intercept, rng):
    X, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
    path = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, 0.0, [0.5, -1.0])
    Xc = X - fit_intercept * X.mean(axis=0)
    expected = np.linalg.pinv(Xc) @ (y - fit_intercept * y.mean())
    np.testing.assert_allclose(path.coef, np.tile(expected, (3, 1)), rtol=1e-9, atol=1e-11)
    K = fd.Spectrum.from_kernel(X @ X.T, fit_intercept=fit_intercept).path(y, 0.0, [0.5, -1.0])
    np.testing.assert_allclose(K.fitted, path.fitted, rtol=1e-9, atol=1e-10)


def test_gcv_of_an_interpolating_student_is_infinite(rng):
    """Where dof = n there is no residual left to judge by."""
    path = fd.Spectrum.from_design(rng.standard_normal((4, 9))).path(np.arange(4.0), 0.0, 0.5, n_steps=1)
    assert np.all(np.isinf(path.gcv))
    np.testing.assert_allclose(path.train_mse, 0, atol=1e-25)


@pytest.mark.parametrize("power", [-14, 14])
def test_penalties_of_extreme_size(power, rng):
    X, y = rng.standard_normal((10, 4)), rng.standard_normal((10, 1))
    lam = 10.0**power
    for fit_intercept in (False, True):
        path = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, lam, [1.0, 0.5])
        exact = oracle.students(X, y, lam, [1.0, 0.5], kernel=False, fit_intercept=fit_intercept)
        for t in range(3):
            assert oracle.relative_error(path.coef[t], exact.parameters[t], 1.0, (0, 1)) <= 1e-9


@pytest.mark.parametrize("decay", [1e-8, 1e-12, 1e-16, 1e-20])
@pytest.mark.parametrize("lam", [1e-4, 1e-2])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_queries_of_a_fast_decaying_kernel(decay, lam, fit_intercept, rng):
    """Directions whose eigenvalue is a rounding error on the training samples still move predictions."""
    U = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    features = U * np.sqrt(np.logspace(0, np.log10(decay), 12))
    K, Kq = features @ features.T, rng.standard_normal((5, 12)) @ features.T
    y = rng.standard_normal((12, 1))
    exact = oracle.students(K, y, lam, [0.5, 2.0], kernel=True, fit_intercept=fit_intercept)
    path = fd.Spectrum.from_kernel(K, fit_intercept=fit_intercept).path(y, lam, [0.5, 2.0])
    assert oracle.relative_error(path.predict(Kq), exact.predict(Kq), np.linalg.norm(y), (1, 2)) <= 1e-9
    assert oracle.relative_error(path.fitted, exact.fitted, np.linalg.norm(y), (1, 2)) <= 1e-10


@pytest.mark.parametrize("shape", [(40, 8), (8, 40)])
@pytest.mark.parametrize("condition", [1e4, 1e6, 1e8, 1e12])
def test_coefficients_of_ill_conditioned_designs(shape, condition, rng):
    U, _, Vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    X = U * np.logspace(0, -np.log10(condition), 8) @ Vt
    y = rng.standard_normal((shape[0], 1))
    for lam in (1e-8, 1e-5, 1e-2):
        for given in (X, sp.csr_array(X)):
            exact = oracle.students(X, y, lam, [1.0, -0.5], kernel=False)
            path = fd.Spectrum.from_design(given).path(y, lam, [1.0, -0.5])
            assert oracle.relative_error(path.coef, exact.parameters, 1.0, (1, 2)) <= 1e-9


@pytest.mark.parametrize("smallest", [1e-6, 1e-10, 1e-14, 1e-30])
@pytest.mark.parametrize("kind", ["design", "kernel"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_weights_of_very_different_size(smallest, kind, fit_intercept, rng):
    """A sample of tiny weight is fitted like a query; dividing by its root weight would amplify rounding."""
    X, y = rng.standard_normal((10, 4)), rng.standard_normal((10, 1))
    w = np.ones(10)
    w[[2, 7]] = smallest
    rows = X if kind == "design" else oracle.rbf(X, X, 0.3)
    build = fd.Spectrum.from_design if kind == "design" else fd.Spectrum.from_kernel
    path = build(rows, fit_intercept=fit_intercept, sample_weight=w).path(y, 0.1, [0.5, 2.0])
    # a weight of 1e-30 makes the twin's bordered system singular to working precision; zero is as good
    w = np.where(w < 1e-20, 0.0, w)
    exact = oracle.students(
        rows, y, 0.1, [0.5, 2.0], kernel=kind == "kernel", fit_intercept=fit_intercept, sample_weight=w
    )
    np.testing.assert_allclose(path.fitted, exact.fitted, atol=1e-9)


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_weights_scale_with_the_penalty(factor, rng):
    X, y, w = rng.standard_normal((10, 4)), rng.standard_normal(10), rng.uniform(0.5, 2, 10)
    for fit_intercept in (False, True):
        plain = fd.Spectrum.from_design(X, fit_intercept=fit_intercept, sample_weight=w).path(y, 0.3, [0.5, 2.0])
        scaled = fd.Spectrum.from_design(X, fit_intercept=fit_intercept, sample_weight=factor * w)
        path = scaled.path(y, factor * 0.3, [0.5, 2.0])
        for name in ("fitted", "coef", "dof", "train_mse", "gcv"):
            np.testing.assert_allclose(getattr(path, name), getattr(plain, name), rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-60, 1e60])
def test_scale_of_the_data_does_not_matter(factor, rng):
    X, y = rng.standard_normal((10, 4)), rng.standard_normal(10)
    plain = fd.Spectrum.from_design(X, fit_intercept=True).path(y, 0.3, [0.5, 2.0])
    path = fd.Spectrum.from_design(factor * X, fit_intercept=True).path(factor * y, factor**2 * 0.3, [0.5, 2.0])
    np.testing.assert_allclose(path.coef, plain.coef, rtol=1e-11)
    np.testing.assert_allclose(path.fitted / factor, plain.fitted, rtol=1e-11)
    np.testing.assert_allclose(path.gcv / factor**2, plain.gcv, rtol=1e-11)


def test_float32_sums_are_carried_in_float64(rng):
    """A float32 running sum of these hundred thousand rows is off by percents."""
    X = (rng.standard_normal((100_000, 2)) + 1000).astype(np.float32)
    y = (X[:, 0] - 0.5 * X[:, 1] + rng.standard_normal(100_000)).astype(np.float32)
    path = fd.Spectrum.from_design(X, fit_intercept=True).path(y, 10.0, [0.5])
    exact = oracle.fit_design(X.astype(float), True, None)(y[:, None].astype(float), 10.0)
    np.testing.assert_allclose(path.coef[0], exact[0][:, 0], rtol=1e-4)
    residual = y.astype(float) - X.astype(float) @ exact[0][:, 0] - exact[1][0]
    np.testing.assert_allclose(path.train_mse[0], (residual**2).mean(), rtol=1e-4)


def test_integer_designs_do_not_overflow(rng):
    X = rng.integers(-120, 121, (12, 3)).astype(np.int8)
    y = rng.integers(-120, 121, 12).astype(np.int8)
    exact = fd.Spectrum.from_design(X.astype(float), fit_intercept=True).path(y.astype(float), 0.1, [0.5]).coef
    found = fd.Spectrum.from_design(X, fit_intercept=True).path(y, 0.1, [0.5]).coef
    np.testing.assert_allclose(found, exact, rtol=1e-12)  # the copies in float64 may lie in another order in memory


def test_mixture_of_ten_million_keeps_its_students(rng):
    """Weights of 1e7 cancel to a sum of one; the schedule found for them must reproduce the weights."""
    w = np.array([1.0 - 3e7 + 2e7, 3e7, -2e7])
    np.testing.assert_allclose(fd.mixture_from_xi(fd.xi_from_mixture(w)), w, rtol=1e-8)


@pytest.mark.parametrize("heavy", [1e4, 1e8, 1e12, 1e16])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_heavy_row_does_not_drown_the_others(heavy, fit_intercept, rng):
    """W^½ K W^½ of a heavy row keeps nothing of the rest."""
    X, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 1))
    K = (X @ X.T + 1) ** 2
    weights = np.concatenate([[heavy], np.ones(11)])
    path = fd.Spectrum.from_kernel(K, fit_intercept=fit_intercept, sample_weight=weights).path(y, 1.0, [0.5])
    exact = oracle.students(K, y, 1.0, [0.5], kernel=True, fit_intercept=fit_intercept, sample_weight=weights)
    assert oracle.relative_error(path.fitted, exact.fitted, np.linalg.norm(y), (1, 2)) <= 1e-11


@pytest.mark.parametrize("lam", [1e-8, 1e-12, 1e-14, 1e-16, 1e-20, 0.0])
def test_a_penalty_below_the_noise_of_the_kernel(lam):
    """What K does not reach of y is noise there, and 1 / lam must not multiply it."""
    x = np.linspace(0, 1, 60)
    K = np.exp(-20 * (x[:, None] - x) ** 2)
    path = fd.Spectrum.from_kernel(K).path(np.sin(6 * x) + 0.1 * np.cos(90 * x), lam, 1.0, n_steps=0)
    np.testing.assert_allclose(path.predict(K), path.fitted, atol=3e-2)
    assert np.abs(path.predict(K)).max() < 1.3


def test_eps_one_digit_below_collapse(rng):
    y = rng.standard_normal(9)
    rounds = fd.Spectrum.from_kernel(np.eye(9)).tolerance_path(y, np.nextafter(np.mean(y**2), 0))
    assert rounds.collapsed
    assert np.all(np.isfinite(rounds.multipliers))


def test_the_smallest_feasible_eps_is_feasible(rng):
    A = rng.standard_normal((8, 3))
    S, y = fd.Spectrum.from_kernel(A @ A.T), rng.standard_normal((8, 2))
    with pytest.raises(ValueError, match=r"target 1|target 0") as error:
        S.tolerance_path(y, 1e-6)
    named = float(str(error.value).rsplit("eps=", 1)[1].rstrip("."))
    assert S.tolerance_path(y, named).collapsed.all()


@pytest.mark.parametrize("seed", [9, 29, 47])
def test_leave_one_out_of_uneven_weights_and_one_direction(seed):
    """A graded SVD of rank one keeps directions of rounding, in which targets do not add up: predictions 7 % off."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((23, 1)) @ rng.standard_normal((1, 29)) * 10.0 ** rng.uniform(-2, 1)
    X += 10.0 ** rng.uniform(-1, 4) * rng.standard_normal(29)
    y, w = 10.0 + rng.standard_normal((23, 2)), 10.0 ** rng.uniform(-4, 4, 23)
    exact = oracle.leave_one_out(X, y, 400.0, np.array([0.4, -1.0]), kernel=False, fit_intercept=True, sample_weight=w)
    S = fd.Spectrum.from_design(X, True, w, solver="svd")
    assert oracle.relative_error(S.path(y, 400.0, [0.4, -1.0]).loo, exact, 1.0) < 1e-10
