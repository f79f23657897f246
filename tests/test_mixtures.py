"""Mixtures of pure steps: the two maps between schedules and weights, and the recursion they unroll."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

import fastdistill as fd
from fastdistill import kernels
from tests import oracle


@pytest.mark.parametrize("k", range(6))
def test_mixture_unrolls_the_recursion(k, rng):
    for _ in range(20):
        xi = rng.uniform(-2, 3, k)
        w = fd.mixture_from_xi(xi)
        assert w.shape == (k + 1,)
        assert w.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(w, oracle.mixture(xi), rtol=1e-12, atol=1e-14)


def test_the_formula_of_two_steps():
    """Pareek, Du and Oh 2024: w_0 = 1 - xi_2, w_1 = (1 - xi_1) xi_2, w_2 = xi_1 xi_2."""
    assert fd.mixture_from_xi([0.25, 3.0]).tolist() == [-2.0, 2.25, 0.75]
    assert fd.xi_from_mixture([-2.0, 2.25, 0.75]).tolist() == [0.25, 3.0]


@pytest.mark.parametrize("k", range(1, 6))
def test_the_maps_are_inverse(k, rng):
    for _ in range(20):
        xi = rng.choice([-1, 1], k) * rng.uniform(0.2, 3, k)
        np.testing.assert_allclose(fd.xi_from_mixture(fd.mixture_from_xi(xi)), xi, rtol=1e-8)


@pytest.mark.parametrize(
    "w",
    [[1.0], [1.0, 0.0, 0.0], [0.0, 1.0], [0.0, 0.0, 1.0], [0.4, 0.6, 0.0], [0.0, 1.0, 0.0], [1e7, -1e7, 1.0]],
)
def test_mixtures_with_zeros_are_reached(w):
    xi = fd.xi_from_mixture(w)
    assert xi.shape == (len(w) - 1,)
    np.testing.assert_allclose(fd.mixture_from_xi(xi), w, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("w", [[1.0, 0.5, -0.5], [1.0, -1.0, 0.5, 0.5], [0.5, 0.5, 1.0, -1.0]])
def test_mixtures_without_finite_xi(w):
    """A step of weight zero cuts off whatever is still owed to the earlier ones."""
    with pytest.raises(ValueError, match="finite"):
        fd.xi_from_mixture(w)


@pytest.mark.parametrize("xi", [0.5, 0.9, -0.7])
@pytest.mark.parametrize("k", [100, 1000])
def test_long_schedules_come_back(k, xi):
    """Tails of the weights fall to 1e-300, far below the rounding of their sum, and are told from zero all the same."""
    w = fd.mixture_from_xi(np.full(k, xi))
    assert w[1] == pytest.approx(xi * (1 - xi), rel=1e-12)
    np.testing.assert_allclose(fd.xi_from_mixture(w), xi, rtol=1e-12)


def test_weights_that_overflow_are_refused():
    with pytest.raises(ValueError, match="1000 steps overflow"):
        fd.mixture_from_xi(np.full(1000, 3.0))


def test_weights_must_sum_to_one():
    with pytest.raises(ValueError, match=r"sum.*0\.9|0\.9.*sum"):
        fd.xi_from_mixture([0.5, 0.4])


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf, 1.0], [], [[0.5, 0.5], [1.0]]])
def test_bad_weights(bad):
    with pytest.raises(ValueError, match=r"w|mixture"):
        fd.xi_from_mixture(bad)


def test_bad_schedules():
    with pytest.raises(ValueError, match=r"xi.*NaN"):
        fd.mixture_from_xi([np.nan])
    with pytest.raises(TypeError, match="xi"):
        fd.mixture_from_xi(["a"])


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_student_is_its_mixture_of_pure_steps(fit_intercept, rng):
    X, y, xi = rng.standard_normal((9, 4)), rng.standard_normal((9, 2)), np.array([0.7, -1.3, 2.0])
    S = fd.Spectrum.from_design(X, fit_intercept=fit_intercept)
    pure = S.path(y, 0.6, 1.0, n_steps=3)
    student = S.path(y, 0.6, xi)
    w = fd.mixture_from_xi(xi)
    np.testing.assert_allclose(np.tensordot(w, pure.coef, 1), student.coef[-1], rtol=1e-10)
    np.testing.assert_allclose(np.tensordot(w, pure.fitted, 1), student.fitted[-1], rtol=1e-10)


# -- The recursion alone ---------------------------------------------------------------------------


def recursion(d, lam, xi):
    a = d / (d + lam)
    filters = [a]
    for step in xi:
        filters.append(a * ((1 - step) + step * filters[-1]))
    return np.array(filters)


@pytest.mark.parametrize("lam", [0.3, [0.3, 2.0, 50.0]], ids=["scalar", "grid"])
@pytest.mark.parametrize("xi", [[0.5, 1.0, -1.5], [[0.2], [3.0]], []], ids=["one", "many", "empty"])
def test_multistep_filter(lam, xi, rng):
    d = rng.uniform(0.01, 5, 6)
    found = fd.multistep_filter(d, lam, xi)
    schedules, grid = np.atleast_2d(xi), np.atleast_1d(lam)
    expected = np.array([[recursion(d, penalty, row) for row in schedules] for penalty in grid])
    lead = np.shape(lam) + np.shape(xi)[:-1]
    assert found.shape == (*lead, np.shape(xi)[-1] + 1, 6)
    np.testing.assert_allclose(found.ravel(), expected.ravel(), rtol=1e-13)


def test_multistep_filter_takes_a_scalar_weight():
    np.testing.assert_allclose(
        fd.multistep_filter([1.0, 3.0], 1.0, 1.0, 2), [[0.5, 0.75], [0.25, 0.5625], [0.125, 0.421875]]
    )
    with pytest.raises(ValueError, match="n_steps"):
        fd.multistep_filter([1.0, 3.0], 1.0, 1.0)


@njit
def best_weight_by_search(d, z2, lam, candidates):
    """A user's own compiled loop: the one-step weight with the least unexplained sum of squares plus 0.1 dof."""
    best, lowest = 0.0, np.inf
    penalties, xi, f = np.full(2, lam), np.empty(1), np.empty((2, d.shape[0]))
    for candidate in candidates:
        xi[0] = candidate
        kernels.multistep_filter(d, penalties, xi, f)
        score = np.sum((1 - f[1]) ** 2 * z2) + 0.1 * np.sum(f[1])
        if score < lowest:
            best, lowest = candidate, score
    return best


def test_kernels_are_callable_from_compiled_code(rng):
    d, z2, candidates = rng.uniform(0.1, 3, 5), rng.uniform(0, 1, 5), np.linspace(-1, 2, 31)
    f = np.array([recursion(d, 0.7, [c])[1] for c in candidates])
    expected = candidates[((1 - f) ** 2 @ z2 + 0.1 * f.sum(axis=1)).argmin()]
    assert best_weight_by_search(d, z2, 0.7, candidates) == expected


@pytest.mark.parametrize("lam", [1e-3, 1.0, 1e3])
def test_kernels_agree_on_one_recursion(lam, rng):
    d, xi = rng.uniform(0.01, 5, 6), np.array([0.5, 1.0, -1.5])
    exact, penalties = recursion(d, lam, xi), np.full(4, lam)
    out = np.empty((4, 6))
    kernels.multistep_filter(d, penalties, xi, out)
    np.testing.assert_allclose(out, exact, rtol=1e-13)
    kernels.residual_filter(d, penalties, xi, out)
    np.testing.assert_allclose(out, 1 - exact, rtol=1e-9, atol=1e-15)
    kernels.dual_multipliers(d, penalties, xi, out)
    np.testing.assert_allclose(out, exact / d, rtol=1e-13)
    kernels.primal_multipliers(np.sqrt(d), penalties, xi, out)
    np.testing.assert_allclose(out, exact / np.sqrt(d), rtol=1e-13)
    kernels.filter_powers(d, lam, out)
    np.testing.assert_allclose(out, recursion(d, lam, np.ones(3)), rtol=1e-13)


def test_multistep_filter_outside_the_range():
    """Where d = 0 nothing is fitted, not even without a penalty."""
    assert fd.multistep_filter([2.0, 0.0], 0.0, 0.5, 1).tolist() == [[1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("d", "lam", "match"),
    [
        ([1.0, -0.5], 1.0, r"d.*-0\.5"),
        ([1.0], -2.0, "lam.*-2"),
        ([np.nan], 1.0, "d.*NaN"),
        ([[1.0]], 1.0, "d.*1-D"),
    ],
)
def test_multistep_filter_refuses(d, lam, match):
    with pytest.raises(ValueError, match=match):
        fd.multistep_filter(d, lam, 0.5, 1)
