"""[M]: the bounds hold on rounds simulated one by one, and are attained where the theory says they are."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import brentq

from fastdistill import theory

N_PROBLEMS = 300


class Rounds(NamedTuple):
    multipliers: np.ndarray
    target_norms: np.ndarray  # of the target of each round
    fitted: np.ndarray


def naive_rounds(G, y, eps, max_rounds=200):
    """Fit within the tolerance, take the fit as the next target, until zero is within the tolerance."""
    d, U = np.linalg.eigh(G)
    n, u = len(y), y
    multipliers, norms, fitted = [], [], []
    while np.mean(u**2) > eps and len(multipliers) < max_rounds:
        z2 = (U.T @ u) ** 2

        def excess(c, z2=z2):
            return np.sum((c / (c + d)) ** 2 * z2) / n - eps

        high = 1.0
        while excess(high) < 0:
            high *= 10.0
        c = brentq(excess, 1e-300, high, xtol=1e-300, rtol=1e-13)
        norms.append(np.linalg.norm(u))
        u = G @ np.linalg.solve(G + c * np.eye(n), u)
        multipliers.append(c)
        fitted.append(u)
    return Rounds(np.array(multipliers), np.array(norms), np.array(fitted))


def rotation(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def random_problem(seed):
    """A non-singular G of random condition, a random target, a tolerance from loose to tight."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    d = np.sort(10.0 ** rng.uniform(0, rng.uniform(0.05, 2.5), n))[::-1] * 10.0 ** rng.uniform(-2, 2)
    U, y = rotation(rng, n), rng.standard_normal(n)
    return d, (U * d) @ U.T, y, float(np.mean(y**2) * 10.0 ** -rng.uniform(0.1, 3.5))


def product_filters(d, multipliers):
    return np.cumprod(d / (d + multipliers[:, None]), axis=0)


@pytest.fixture(scope="module")
def simulated():
    problems = [random_problem(seed) for seed in range(N_PROBLEMS)]
    return [(d, y, eps, naive_rounds(G, y, eps)) for d, G, y, eps in problems]


# --- bounds, as bounds ---------------------------------------------------------------------------


def test_multiplier_bounds_hold_in_every_simulated_round(simulated):
    checked = 0
    for d, y, eps, rounds in simulated:
        lower, upper = theory.multiplier_bounds(d, rounds.target_norms, eps, len(y))
        assert lower.shape == upper.shape == rounds.multipliers.shape
        assert np.all(lower <= rounds.multipliers * (1 + 1e-9))
        assert np.all(rounds.multipliers <= upper * (1 + 1e-9))
        checked += len(rounds.multipliers)
    assert checked > 3 * N_PROBLEMS


def test_multiplier_bounds_are_attained_in_the_extreme_directions():
    rng = np.random.default_rng(1)
    d, U = np.array([3.0, 1.0, 0.2]), rotation(rng, 3)
    G = (U * d) @ U.T
    for direction, side in ((2, 0), (0, 1)):
        y = 2.5 * U[:, direction]
        c = naive_rounds(G, y, 0.3).multipliers[0]
        assert theory.multiplier_bounds(d, 2.5, 0.3, 3)[side] == pytest.approx(c, rel=1e-10)


def test_multiplier_bounds_of_a_singular_kernel_with_a_target_outside_its_range():
    rng = np.random.default_rng(2)
    for _ in range(50):
        d, U = np.array([2.0, 0.5, 0.0, 0.0]), rotation(rng, 4)
        y = U @ np.array([4.0, 1.0, 0.3, -0.3])
        eps = float(rng.uniform(0.06, 2.0))  # 0.045 of mean(y**2) lies outside the range
        c = naive_rounds((U * d) @ U.T, y, eps).multipliers[0]
        lower, upper = theory.multiplier_bounds(d, np.linalg.norm(y), eps, 4)
        assert lower == 0.0
        assert c <= upper * (1 + 1e-9)


def test_collapse_bound_never_promises_more_rounds_than_there_are(simulated):
    informative = 0
    for d, y, eps, rounds in simulated:
        bound = theory.collapse_bound(d, np.linalg.norm(y), eps, len(y))
        assert np.ceil(bound) <= len(rounds.multipliers) < 200
        informative += bound > 1
    assert informative > N_PROBLEMS / 10


@pytest.mark.parametrize("norm", [1.5, 4.0, 7.3, 20.9])
def test_collapse_bound_is_exact_for_equal_eigenvalues(norm):
    y = np.array([0.6, 0.8, 0.0]) * norm
    rounds = naive_rounds(1.7 * np.eye(3), y, 1 / 3)  # the radius sqrt(n eps) is 1, and one round takes 1 off
    assert len(rounds.multipliers) == np.ceil(theory.collapse_bound([1.7] * 3, norm, 1 / 3, 3) - 1e-9)


def test_collapse_bound_promises_nothing_where_it_cannot():
    assert theory.collapse_bound([2.0, 0.0], 10.0, 0.1, 2) == 0.0
    assert theory.collapse_bound([2.0, 1.0], 1.0, 0.5, 2) == 0.0
    assert theory.collapse_bound([2.0, 1.0], 0.0, 0.5, 2) == 0.0


def test_sparsity_bound_holds_for_every_pair_and_every_feasible_round(simulated):
    checked = 0
    for d, y, eps, rounds in simulated:
        norm, n = np.linalg.norm(y), len(y)
        B = product_filters(d, rounds.multipliers)
        for t in range(1, int(theory.collapse_bound(d, norm, eps, n)) + 1):
            bound = theory.sparsity_bound(d, norm, eps, n, t)
            assert np.all(theory.filter_ratios(B[t - 1]) >= bound * (1 - 1e-9))
            assert theory.sparsity_index(B[t - 1]) >= bound.min() * (1 - 1e-9)
            assert B[t - 1, 0] / B[t - 1, -1] >= bound.prod() * (1 - 1e-9)
            checked += 1
    assert checked > N_PROBLEMS


def test_sparsity_bound_extends_to_rounds_observed_not_to_have_collapsed(simulated):
    extended = 0
    for d, y, eps, rounds in simulated:
        t = len(rounds.multipliers)
        bound = theory.sparsity_bound(d, np.linalg.norm(y), eps, len(y), t, observed_rounds=t)
        ratios = theory.filter_ratios(product_filters(d, rounds.multipliers)[-1])
        assert np.all(ratios >= bound * (1 - 1e-9))
        extended += t > theory.collapse_bound(d, np.linalg.norm(y), eps, len(y))
    assert extended > N_PROBLEMS / 2


def test_sparsity_bound_is_attained_after_one_round_of_the_weakest_direction():
    d = np.array([1.2, 1.1, 1.0])
    y = np.array([0.0, 0.0, 4.0])
    rounds = naive_rounds(np.diag(d), y, 1 / 3)
    bound = theory.sparsity_bound(d, 4.0, 1 / 3, 3, 1)
    np.testing.assert_allclose(theory.filter_ratios(product_filters(d, rounds.multipliers)[0]), bound, rtol=1e-10)
    np.testing.assert_allclose(bound, [(3 + 1 / 1.1) / (3 + 1 / 1.2), 4 / (3 + 1 / 1.1)], rtol=1e-12)


def test_sparsity_bound_starts_at_one_and_compounds():
    args = ([1.5, 1.2, 1.0], 9.0, 1 / 3, 3)
    np.testing.assert_array_equal(theory.sparsity_bound(*args, 0), [1.0, 1.0])
    np.testing.assert_allclose(theory.sparsity_bound(*args, 5), theory.sparsity_bound(*args, 1) ** 5, rtol=1e-12)
    assert theory.sparsity_bound([1.0, 1.0], 9.0, 0.5, 2, 4) == [1.0]
    assert theory.sparsity_bound([1.0], 9.0, 1.0, 1, 4).shape == (0,)


# --- sparsity and contrast with early stopping ---------------------------------------------------


def test_sparsity_index_grows_with_every_round(simulated):
    for d, _, _, rounds in simulated:
        index = theory.sparsity_index(product_filters(d, rounds.multipliers))
        assert index.shape == rounds.multipliers.shape
        assert np.all(np.diff(index) >= 0)


def test_sparsity_index_is_the_smallest_ratio_and_skips_pairs_that_are_gone():
    filters = np.array([[0.8, 0.4, 0.1, 0.05], [0.9, 0.3, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(theory.sparsity_index(filters), [2.0, 3.0, np.nan])
    np.testing.assert_allclose(theory.filter_ratios(filters[:2]), [[2, 4, 2], [3, np.inf, np.nan]], rtol=1e-15)


def test_early_stopping_filter_is_gradient_descent():
    rng = np.random.default_rng(3)
    for omega_d in (0.3, 0.9, 1.0, 1.9):
        d, U = np.array([1.0, 0.4, 1e-3, 0.0]), rotation(rng, 4)
        K, y, steps = (U * d) @ U.T, rng.standard_normal(4), [0, 1, 2, 17]
        f, iterates = np.zeros(4), []
        for _ in range(18):
            iterates.append(f)
            f = f + omega_d * K @ (y - f)
        expected = np.array(iterates)[steps]
        filters = theory.early_stopping_filter(d, omega_d, steps)
        np.testing.assert_allclose((filters * (U.T @ y)) @ U.T, expected, atol=1e-13)
        np.testing.assert_allclose(theory.early_stopping_filter(d, omega_d, 17), filters[3], rtol=1e-14)


def test_early_stopping_filter_keeps_its_digits_for_tiny_eigenvalues():
    d, t = 1e-13, 1000
    exact = 1 - (1 - Fraction(d)) ** t
    assert theory.early_stopping_filter([1.0, d], 1.0, t)[1] == pytest.approx(float(exact), rel=1e-14, abs=0)


def test_early_stopping_raises_small_directions_while_distillation_lowers_them(simulated):
    for d, _, _, rounds in simulated:
        distilled = product_filters(d, rounds.multipliers[:20])
        stopped = theory.early_stopping_filter(d, 0.5 / d[0], np.arange(1, len(distilled) + 1))
        assert np.all(np.diff(distilled, axis=0) < 0)
        assert np.all(np.diff(stopped, axis=0) > 0)
        assert np.all(np.diff(theory.filter_ratios(distilled), axis=0) >= 0)
        assert np.all(np.diff(theory.filter_ratios(stopped), axis=0) <= 1e-13)


# --- equivalent kernel ---------------------------------------------------------------------------


def test_one_ridge_with_the_equivalent_kernel_gives_the_fit_of_all_rounds(simulated):
    for seed, (d, y, _, rounds) in enumerate(simulated):
        d_dagger, c_0 = theory.equivalent_spectrum(d, rounds.multipliers)
        U = np.linalg.eigh(random_problem(seed)[1])[1][:, ::-1]
        G_dagger = (U * d_dagger) @ U.T
        once = G_dagger @ np.linalg.solve(G_dagger + c_0 * np.eye(len(y)), y)
        np.testing.assert_allclose(once, rounds.fitted[-1], atol=1e-7 * np.linalg.norm(y))
        assert c_0 == rounds.multipliers[0]


def test_equivalent_spectrum_of_one_round_is_the_spectrum_itself():
    d = np.array([1e6, 1.0, 1e-9, 0.0])
    d_dagger, c_0 = theory.equivalent_spectrum(d, 0.25)
    np.testing.assert_allclose(d_dagger, d, rtol=1e-14)
    assert c_0 == 0.25


@pytest.mark.parametrize("scale", [1e-16, 1e-9, 1e-3, 1e3])
def test_equivalent_spectrum_loses_no_digits(scale):
    d, c = [3.0, 0.7], [scale, 2 * scale, 0.5 * scale]
    for got, dk in zip(theory.equivalent_spectrum(d, c)[0], d, strict=True):
        growth = Fraction(1)
        for ci in c:
            growth *= 1 + Fraction(ci) / Fraction(dk)
        assert got == pytest.approx(float(Fraction(c[0]) / (growth - 1)), rel=1e-14, abs=0)


def test_equivalent_spectrum_underflows_to_zero_quietly():
    d_dagger, _ = theory.equivalent_spectrum([1.0, 1e-200], np.ones(5))
    assert d_dagger[0] == pytest.approx(1 / 31)
    assert d_dagger[1] == 0.0


# --- errors and imports --------------------------------------------------------------------------

D = [2.0, 1.0]


@pytest.mark.parametrize(
    ("name", "args", "error", "match"),
    [
        ("multiplier_bounds", (D, 1.0, 0.5, 2,), ValueError, r"above sqrt\(n_samples \* eps\) = 1, got 1"),
        ("multiplier_bounds", (D, [3.0, 0.5], 0.5, 2,), ValueError, r"got 0.5: .* \(collapsed\)"),
        ("multiplier_bounds", ([0.0, 0.0], 3.0, 0.5, 2,), ValueError, "zero for every direction"),
        ("multiplier_bounds", ([2.0, -1.0], 3.0, 0.5, 2,), ValueError, "at least 0 .* got -1"),
        ("multiplier_bounds", (D, 3.0, 0.0, 2,), ValueError, "eps must be above 0"),
        ("multiplier_bounds", (D, 3.0, 0.5, 0,), ValueError, "n_samples must be at least 1"),
        ("multiplier_bounds", (D, 3.0, "x", 2,), TypeError, "eps must be a real number"),
        ("multiplier_bounds", (D, np.nan, 0.5, 2,), ValueError, "y_norm contains NaN"),
        ("collapse_bound", (D, -1.0, 0.5, 2,), ValueError, "y_norm must be at least 0"),
        ("collapse_bound", ([], 1.0, 0.5, 2,), ValueError, "d is empty"),
        ("collapse_bound", ([0.0], 1.0, 0.5, 2,), ValueError, "zero for every direction"),
        ("collapse_bound", (D, 1.0, -1.0, 2,), ValueError, "eps must be above 0"),
        ("sparsity_bound", (D, 11.0, 0.5, 2, 6,), ValueError, "n_rounds <= 5 .*collapse_bound is 5"),
        ("sparsity_bound", (D, 11.0, 0.5, 2, 9, 8,), ValueError, "n_rounds <= 8"),
        ("sparsity_bound", (D, 0.9, 0.5, 2, 1, 3,), ValueError, "collapsed"),
        ("sparsity_bound", (D[::-1], 11.0, 0.5, 2, 1,), ValueError, r"descending order, but d\[0\] = 1"),
        ("sparsity_bound", ([1.0, 0.0], 11.0, 0.5, 2, 1,), ValueError, "d must be positive"),
        ("sparsity_bound", (D, 11.0, 0.5, 2, -1,), ValueError, "n_rounds must be at least 0"),
        ("sparsity_bound", (D, 11.0, 0.5, 2, 1.0,), TypeError, "n_rounds must be an integer"),
        ("sparsity_bound", (D, 11.0, 0.5, 2, 1, "3",), TypeError, "observed_rounds must be an integer"),
        ("filter_ratios", ([1.0],), ValueError, "at least two eigenvalues"),
        ("filter_ratios", (1.0,), ValueError, "at least two eigenvalues"),
        ("sparsity_index", ([np.inf, 1.0],), ValueError, "filters contains inf at index 0"),
        ("equivalent_spectrum", (D, [],), ValueError, "multipliers is empty"),
        ("equivalent_spectrum", (D, [1.0, 0.0],), ValueError, r"multipliers\[1\] == 0, must be > 0"),
        ("equivalent_spectrum", ([-1.0], [1.0],), ValueError, "got -1"),
        ("early_stopping_filter", (D, 1.0, 3,), ValueError, r"below 2 / max\(d\) = 1; lower it"),
        ("early_stopping_filter", (D, 0.0, 3,), ValueError, "step_size must be above 0"),
        ("early_stopping_filter", (D, 0.1, -1,), ValueError, "n_iter must be at least 0"),
        ("early_stopping_filter", (D, 0.1, [1, -1],), ValueError, "n_iter must be at least 0"),
        ("early_stopping_filter", (D, 0.1, 1.5,), TypeError, "n_iter must be an integer"),
        ("early_stopping_filter", (D, 0.1, [1.5],), TypeError, "n_iter must be an integer"),
        ("early_stopping_filter", ([0.0], 0.1, 1,), ValueError, "zero for every direction"),
    ],
)  # fmt: skip
def test_errors_name_the_number_and_the_way_out(name, args, error, match):
    with pytest.raises(error, match=match):
        getattr(theory, name)(*args)


def test_inputs_are_never_written_to():
    d, c = np.array([2.0, 1.0]), np.array([0.5, 0.7])
    d.flags.writeable = c.flags.writeable = False
    theory.equivalent_spectrum(d, c)
    theory.early_stopping_filter(d, 0.1, 3)
    theory.multiplier_bounds(d, c + 3, 0.1, 2)


def test_importing_the_theory_loads_numpy_only():
    code = (
        "import sys, fastdistill.theory as t; assert all(hasattr(t, name) for name in t.__all__); "
        "print([m for m in ('numba', 'sklearn', 'matplotlib', 'scipy', 'dask') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
