"""[P]: risks against simulation and refits, best students against brute force, the separation as a bound."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from fastdistill import theory

GAMMA = 0.7


def smoothers(X, lam, schedule):
    """Matrices M with θ̂ = M y of ridge and of each step, every one refitted from scratch."""
    n, p = X.shape
    hat = np.linalg.solve(X.T @ X + lam * np.eye(p), X.T)
    out = [hat]
    for xi in schedule:
        out.append(hat @ ((1 - xi) * np.eye(n) + xi * X @ out[-1]))
    return out


def recursion(d, lam, schedule):
    a = d / (d + lam)
    out = [a]
    for xi in schedule:
        out.append(a * ((1 - xi) + xi * out[-1]))
    return np.array(out)


def random_design(seed, n=12, p=5):
    rng = np.random.default_rng(seed)
    X, theta = rng.standard_normal((n, p)), rng.standard_normal(p)
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    return X, theta, s**2, Vt @ theta


def random_problem(seed, r=6):
    """(d, theta, gamma, n) with singular values and signal over two decades."""
    rng = np.random.default_rng(seed)
    d = np.sort(10.0 ** rng.uniform(-1, 1, r))[::-1]
    theta = rng.standard_normal(r) * 10.0 ** rng.uniform(-1, 1, r)
    return d, theta, float(10.0 ** rng.uniform(-1, 0.5)), int(rng.integers(r, 50))


# --- excess risk ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 5), (6, 9)])
def test_excess_risk_is_bias_plus_variance_of_the_refitted_students(shape):
    for seed in range(50):
        X, theta, d, coordinates = random_design(seed, *shape)
        schedule = np.random.default_rng(seed).normal(0.5, 1.0, 3)
        n = len(X)
        refitted = [
            (np.sum((X @ (M @ X @ theta - theta)) ** 2) + GAMMA**2 * np.sum((X @ M) ** 2)) / n
            for M in smoothers(X, 0.9, schedule)
        ]
        filters = recursion(d, 0.9, schedule)
        risks = theory.excess_risk(d, coordinates, GAMMA, n, filters)
        np.testing.assert_allclose(risks, refitted, rtol=1e-10)
        assert theory.excess_risk(d, coordinates, GAMMA, n, filters[1]) == pytest.approx(risks[1], rel=1e-14)


@pytest.mark.parametrize("shape", [(12, 5), (6, 9)])
def test_excess_risk_is_the_mean_over_noise_draws(shape):
    X, theta, d, coordinates = random_design(11, *shape)
    n, draws, schedule = len(X), 20_000, [1.0, -0.7, 1.4]
    y = (X @ theta)[:, None] + GAMMA * np.random.default_rng(12).standard_normal((n, draws))
    filters = recursion(d, 1.3, schedule)
    risks = theory.excess_risk(d, coordinates, GAMMA, n, filters)
    for M, risk in zip(smoothers(X, 1.3, schedule), risks, strict=True):
        losses = np.mean((X @ (M @ y) - (X @ theta)[:, None]) ** 2, axis=0)
        assert abs(losses.mean() - risk) < 5 * losses.std(ddof=1) / np.sqrt(draws)  # 6e-7 by chance
        assert 5 * losses.std() / np.sqrt(draws) < 0.05 * risk  # sharp enough to notice a wrong term


def test_excess_risk_keeps_leading_axes():
    d, theta, gamma, n = random_problem(0)
    filters = np.random.default_rng(0).uniform(0, 1, (2, 3, 4, 6))
    risks = theory.excess_risk(d, theta, gamma, n, filters)
    assert risks.shape == (2, 3, 4)
    assert risks[1, 2, 3] == pytest.approx(theory.excess_risk(d, theta, gamma, n, filters[1, 2, 3]), rel=1e-14)


def test_the_quadratic_gives_the_risk_of_every_mixture_and_schedule():
    for seed in range(100):
        d, theta, gamma, n = random_problem(seed)
        rng = np.random.default_rng(seed)
        lam, k = float(10.0 ** rng.uniform(-1, 1)), int(rng.integers(0, 5))
        A, b, c = theory.excess_risk_quadratic(d, theta, gamma, n, lam, k)
        assert (A.shape, b.shape) == ((k + 1, k + 1), (k + 1,))
        w = rng.normal(0, 1, k + 1)  # any weights, of any sum
        a = d / (d + lam)
        filters = sum(w[i] * a ** (i + 1) for i in range(k + 1))
        expected = theory.excess_risk(d, theta, gamma, n, filters)
        assert w @ A @ w - 2 * b @ w + c == pytest.approx(expected, rel=1e-9)
        xi = rng.normal(0, 1, k)
        mixture = np.array([1.0])
        for weight in xi:  # a step keeps 1 − ξ of the ground truth and multiplies the rest by a
            mixture = np.concatenate([[1 - weight], weight * mixture])
        expected = theory.excess_risk(d, theta, gamma, n, recursion(d, lam, xi)[-1])
        assert mixture @ A @ mixture - 2 * b @ mixture + c == pytest.approx(expected, rel=1e-9)


# --- the oracle ----------------------------------------------------------------------------------


def test_no_filter_beats_the_oracle():
    for seed in range(200):
        d, theta, gamma, n = random_problem(seed)
        oracle, value = theory.oracle_filter(d, theta, gamma), theory.oracle_risk(d, theta, gamma, n)
        assert theory.excess_risk(d, theta, gamma, n, oracle) == pytest.approx(value, rel=1e-12)
        others = oracle + 10.0 ** np.random.default_rng(seed).uniform(-3, 1) * np.eye(6)
        assert np.all(theory.excess_risk(d, theta, gamma, n, others) > value)
        assert np.all(theory.excess_risk(d, theta, gamma, n, 2 * oracle - others) > value)


def test_the_oracle_drops_directions_without_signal_and_keeps_all_without_noise():
    np.testing.assert_array_equal(theory.oracle_filter([4.0, 1.0, 0.0], [0.0, 2.0, 5.0], 0.0), [0, 1, 0])
    assert theory.oracle_risk([4.0, 1.0], [3.0, 2.0], 0.0, 5) == 0.0
    assert theory.oracle_risk([4.0, 1.0], [0.0, 0.0], 1.0, 5) == 0.0


# --- the best mixture ----------------------------------------------------------------------------


@pytest.mark.parametrize("r", [1, 2, 5, 12, 40])
def test_as_many_steps_as_the_rank_reach_the_oracle_for_every_penalty(r):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        d = np.cumsum(rng.uniform(0.2, 1.0, r))[::-1]
        theta, gamma, n = rng.standard_normal(r), float(rng.uniform(0.1, 2)), r + 3
        best = theory.best_mixture(d, theta, gamma, n, np.geomspace(1e-8, 1e8, 9), r)
        np.testing.assert_allclose(best.excess_risk, theory.oracle_risk(d, theta, gamma, n), rtol=1e-9)
        np.testing.assert_allclose(best.filters, np.tile(theory.oracle_filter(d, theta, gamma), (9, 1)), atol=1e-6)


def test_one_step_less_than_the_rank_does_not_reach_the_oracle():
    for seed in range(20):
        problem = random_problem(seed)
        best = theory.best_mixture(*problem, lam=1.0, n_steps=5)
        assert best.excess_risk > theory.oracle_risk(*problem) * (1 + 1e-7)


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_the_best_mixture_solves_the_quadratic(k):
    for seed in range(100):
        problem = random_problem(seed)
        lam = float(10.0 ** np.random.default_rng(seed).uniform(-0.5, 1))
        best = theory.best_mixture(*problem, lam=lam, n_steps=k)
        A, b, c = theory.excess_risk_quadratic(*problem, lam=lam, n_steps=k)
        ones = np.ones((k + 1, 1))
        kkt = np.block([[A, ones], [ones.T, np.zeros((1, 1))]])
        scale = np.abs(A).max()
        kkt[:-1, :-1] /= scale
        w = np.linalg.solve(kkt, np.append(b / scale, 1.0))[:-1]
        assert best.excess_risk == pytest.approx(w @ A @ w - 2 * b @ w + c, rel=1e-6)
        assert best.excess_risk == pytest.approx(theory.excess_risk(*problem, best.filters), rel=1e-12)
        assert best.weights.sum() == pytest.approx(1.0, abs=1e-12 * np.abs(best.weights).max())
        a = problem[0] / (problem[0] + lam)
        mixed = best.weights @ a ** np.arange(1, k + 2)[:, None]
        np.testing.assert_allclose(mixed, best.filters, atol=1e-14 * np.abs(best.weights).max())


def test_no_schedule_beats_the_best_mixture_and_the_best_schedule_attains_it():
    for seed in range(4):
        problem, rng = random_problem(seed), np.random.default_rng(seed)

        def risk(xi, problem=problem):
            return float(theory.excess_risk(*problem, recursion(problem[0], 1.0, xi)[-1]))

        best = theory.best_mixture(*problem, lam=1.0, n_steps=2).excess_risk
        found = min(minimize(risk, start, method="BFGS").fun for start in rng.normal(0, 2, (6, 2)))
        assert found >= best * (1 - 1e-9)
        assert found <= best * (1 + 1e-4)


def test_more_steps_never_raise_the_risk_and_no_step_is_ridge():
    for seed in range(30):
        problem = random_problem(seed)
        lam = np.geomspace(0.01, 100, 7)
        risks = np.array([theory.best_mixture(*problem, lam=lam, n_steps=k).excess_risk for k in range(9)])
        assert np.all(np.diff(risks, axis=0) <= 1e-12 * risks[0])
        ridge = theory.best_mixture(*problem, lam=lam, n_steps=0)
        expected = problem[0] / (problem[0] + lam[:, None])
        np.testing.assert_allclose(ridge.filters, expected, rtol=1e-14)
        np.testing.assert_array_equal(ridge.weights, np.ones((7, 1)))


@pytest.mark.parametrize("lam", [1e-13, 1e13])
def test_at_extreme_penalties_students_become_polynomials_in_the_eigenvalues_or_their_inverses(lam):
    for seed in range(20):
        d, theta, gamma, n = random_problem(seed)
        best = theory.best_mixture(d, theta, gamma, n, lam, 3)
        u = d if lam > 1 else 1 / d
        columns = u[:, None] ** np.arange(1, 4)  # λ → ∞: F = Σ_i c_i d^i;  λ → 0: F = 1 + Σ_i c_i d^−i
        start = 0.0 if lam > 1 else 1.0
        root = np.sqrt(d * theta**2 + gamma**2)
        wanted = root * (theory.oracle_filter(d, theta, gamma) - start)
        coefficients = np.linalg.lstsq(root[:, None] * columns, wanted, rcond=None)[0]
        np.testing.assert_allclose(best.filters, start + columns @ coefficients, atol=1e-7)


def test_best_mixture_shapes_and_order_of_eigenvalues():
    d, theta, gamma, n = random_problem(3)
    best = theory.best_mixture(d, theta, gamma, n, [0.5, 2.0], 3)
    assert [np.shape(part) for part in best] == [(2,), (2, 4), (2, 6), (2,)]
    order = np.random.default_rng(0).permutation(6)
    shuffled = theory.best_mixture(d[order], theta[order], gamma, n, 2.0, 3)
    assert [np.shape(part) for part in shuffled] == [(), (4,), (6,), ()]
    np.testing.assert_allclose(shuffled.filters, best.filters[1, order], rtol=1e-9)
    np.testing.assert_allclose(shuffled.weights, best.weights[1], rtol=1e-6)


def test_weights_past_double_precision_are_nan_while_the_filter_stays_right():
    problem = theory.separation_family(60)
    best = theory.best_mixture(*problem, lam=1e9, n_steps=60)
    assert np.isnan(best.weights).all()
    assert best.excess_risk == pytest.approx(theory.oracle_risk(*problem), rel=1e-9)


# --- best penalty --------------------------------------------------------------------------------


def test_the_best_ridge_beats_a_dense_grid():
    for seed in range(40):
        d, theta, gamma, n = random_problem(seed)
        best = theory.best_student(d, theta, gamma, n, 0)
        grid = np.geomspace(1e-12, 1e12, 4001)
        risks = theory.excess_risk(d, theta, gamma, n, d / (d + grid[:, None]))
        assert best.excess_risk <= risks.min() * (1 + 1e-12)
        np.testing.assert_allclose(best.filters, d / (d + best.lam), rtol=1e-14)


@pytest.mark.parametrize(("gamma", "lam"), [(1e-8, 1e-16), (1.0, 1.0), (3162.0, 3162.0**2)])
def test_the_best_ridge_of_an_evenly_spread_signal_is_the_noise_to_signal_ratio(gamma, lam):
    best = theory.best_student([3.0, 1.0, 0.5], [1.0, -1.0, 1.0], gamma, 9, 0)
    assert best.lam == pytest.approx(lam, rel=1e-3, abs=0)


def test_the_best_one_step_student_beats_a_grid_of_penalties_and_weights():
    xi = np.linspace(-20, 20, 401)
    for seed in range(20):
        d, theta, gamma, n = random_problem(seed)
        best = theory.best_student(d, theta, gamma, n, 1)
        a = (d / (d + np.geomspace(1e-4, 1e4, 161)[:, None]))[:, None, :]
        risks = theory.excess_risk(d, theta, gamma, n, a * (1 - xi[:, None] * (1 - a)))
        assert best.excess_risk <= risks.min() * (1 + 1e-12)
        assert best.excess_risk == pytest.approx(risks.min(), rel=0.2)
        at_lam = theory.best_mixture(d, theta, gamma, n, best.lam, 1)
        assert at_lam.excess_risk == pytest.approx(best.excess_risk, rel=1e-12)


def test_the_best_student_of_no_signal_shrinks_to_nothing():
    best = theory.best_student([3.0, 1.0], [0.0, 0.0], 1.0, 2, 0)
    assert best.excess_risk < 1e-11


# --- the separation, and where it disappears -----------------------------------------------------

RANKS = (4, 8, 16, 32, 64)


def test_ridge_and_one_step_pay_a_multiple_that_grows_linearly_with_the_rank():
    paid = {0: [], 1: []}
    for r in RANKS:
        problem = theory.separation_family(r, n_samples=100, gamma=0.3)
        unit = 0.3**2 / 100
        many = theory.best_mixture(*problem, lam=50.0, n_steps=r).excess_risk
        assert many <= unit
        assert many == pytest.approx(theory.oracle_risk(*problem), rel=1e-9)
        for k, multiples in paid.items():
            multiples.append(theory.best_student(*problem, n_steps=k).excess_risk / unit)
    for k, least in (
        (0, 0.8),
        (1, 0.35),
    ):  # measured: 0.84 r … 0.85 r for ridge, 0.38 r … 0.43 r for one step
        per_direction = np.array(paid[k]) / RANKS
        assert np.all(per_direction > least)
        assert np.ptp(per_direction) < 0.1


@pytest.mark.parametrize("condition", [1.5, 4.0, 9.0])
def test_the_stated_lower_bound_holds_for_every_penalty_and_weight(condition):
    rng = np.random.default_rng(int(condition))
    for snr in (None, 0.5, 20.0, 1e4):
        for r in (2, 10, 50):
            problem = theory.separation_family(r, gamma=1.3, condition=condition, snr=snr)
            d, rho = problem.d, problem.d[0] * problem.theta[0] ** 2 / problem.gamma**2
            multiple = min(r / (4 * condition**2), rho / (4 * (condition**2 + 1) ** 2))
            if snr is None:
                assert multiple == pytest.approx(r / (4 * condition**2))
            else:
                assert rho == pytest.approx(snr)
            bound = multiple * problem.gamma**2 / problem.n_samples
            a = (d / (d + np.append(0.0, 10.0 ** rng.uniform(-6, 8, 200))[:, None]))[:, None, :]
            xi = rng.standard_normal((201, 60)) * 10.0 ** rng.uniform(-2, 8, (201, 60))
            risks = theory.excess_risk(*problem, a * (1 - xi[..., None] * (1 - a)))
            assert risks.min() >= bound
            assert theory.best_student(*problem, n_steps=0).excess_risk >= bound
            assert theory.best_student(*problem, n_steps=1).excess_risk >= bound


def test_the_separation_family_is_what_it_says():
    d, theta, gamma, n = theory.separation_family(5, n_samples=20, gamma=0.5, condition=9.0, snr=7.0)
    np.testing.assert_allclose(np.sqrt(d / 20), [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6])
    assert d[0] * theta[0] ** 2 / gamma**2 == pytest.approx(7.0)
    assert not theta[1:].any()
    assert n == 20
    assert theory.separation_family(5).n_samples == 5


def test_no_gain_where_the_signal_spreads_evenly():
    d, theta = np.array([4.0, 2.0, 1.0, 0.3]), np.array([1.5, -1.5, 1.5, 1.5])
    ridge = theory.best_student(d, theta, 0.8, 10, 0).excess_risk
    assert ridge == pytest.approx(theory.oracle_risk(d, theta, 0.8, 10), rel=1e-9)
    for k in (1, 2, 4):
        assert theory.best_student(d, theta, 0.8, 10, k).excess_risk == pytest.approx(ridge, rel=1e-9)


def test_no_gain_where_all_singular_values_coincide():
    problem = theory.FixedDesign(np.full(6, 3.0), np.array([4.0, 0, 0, 0, 0, 0]), 1.0, 10)
    ridge = theory.best_student(*problem, n_steps=0).excess_risk
    assert ridge == pytest.approx((48 * 6 / (48 + 6)) / 10, rel=1e-9)  # the best common factor is 48 / (48 + 6)
    for k in (1, 6, 9):
        assert theory.best_mixture(*problem, lam=1.0, n_steps=k).excess_risk == pytest.approx(ridge, rel=1e-9)
    assert ridge > 5 * theory.oracle_risk(*problem)


def test_directions_of_equal_eigenvalue_share_one_filter_value():
    problem = theory.FixedDesign(np.array([4.0, 4.0, 1.0]), np.array([2.0, 0.0, 1.0]), 1.0, 5)
    best = theory.best_mixture(*problem, lam=1.0, n_steps=3)
    np.testing.assert_allclose(best.filters, [16 / 18, 16 / 18, 0.5], rtol=1e-9)
    assert best.excess_risk > theory.oracle_risk(*problem) * 1.1


def test_weights_blow_up_as_singular_values_approach_each_other():
    sizes, gaps = [], np.array([1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
    for gap in gaps:
        problem = theory.FixedDesign(np.array([2.0 + gap, 2.0]), np.array([1.0, 0.0]), 1.0, 5)
        best = theory.best_mixture(*problem, lam=1.0, n_steps=2)
        sizes.append(np.abs(best.weights).max())
        assert best.excess_risk == pytest.approx(theory.oracle_risk(*problem), rel=1e-9)
    np.testing.assert_allclose(np.diff(np.log10(sizes)), 1.0, atol=0.05)


# --- errors --------------------------------------------------------------------------------------

P = ([4.0, 1.0], [1.0, 0.0], 1.0, 2)


@pytest.mark.parametrize(
    ("name", "args", "error", "match"),
    [
        ("excess_risk", (*P, [0.5]), ValueError, r"filters has shape \(1,\), but .* the 2 eigenvalues"),
        ("excess_risk", (*P, 0.5), ValueError, r"filters has shape \(\)"),
        ("excess_risk", (*P, [0.5, np.nan]), ValueError, "filters contains NaN at index 1"),
        ("excess_risk", ([4.0], [1.0, 0.0], 1.0, 2, [1.0]), ValueError, r"theta has 2 .* pass V\.T @ theta"),
        ("excess_risk", ([-4.0], [1.0], 1.0, 2, [1.0]), ValueError, "d must be at least 0"),
        ("excess_risk", ([4.0], [[1.0]], 1.0, 2, [1.0]), ValueError, "theta must be 1-D"),
        ("excess_risk", ([4.0], [1.0], -1.0, 2, [1.0]), ValueError, "gamma must be at least 0, got -1"),
        ("excess_risk", ([4.0], [1.0], 1.0, 0, [1.0]), ValueError, "n_samples must be at least 1"),
        ("excess_risk", ([4.0], [1.0], "1", 2, [1.0]), TypeError, "gamma must be a real number"),
        ("excess_risk_quadratic", (*P, 0.0, 1), ValueError, "lam must be above 0"),
        ("excess_risk_quadratic", (*P, [1.0], 1), TypeError, "lam must be a real number"),
        ("excess_risk_quadratic", (*P, 1.0, -1), ValueError, "n_steps must be at least 0"),
        ("oracle_filter", ([4.0], [1.0, 0.0], 1.0), ValueError, "theta has 2 coordinates, but d holds 1"),
        ("oracle_risk", ([4.0], [1.0], 1.0, 2.0), TypeError, "n_samples must be an integer"),
        ("best_mixture", (*P, 0.0, 1), ValueError, "lam must be positive"),
        ("best_mixture", (*P, [1.0, -1.0], 1), ValueError, r"lam\[1\] == -1, must be > 0"),
        ("best_mixture", (*P, 1.0, 1.5), TypeError, "n_steps must be an integer"),
        ("best_mixture", ([4.0, 0.0], [1.0, 0.0], 1.0, 2, 1.0, 1), ValueError, "d must be positive"),
        ("best_mixture", ([4.0, 1.0], [1.0, 0.0], 0.0, 2, 1.0, 1), ValueError, "gamma must be above 0"),
        ("best_student", (*P, -1), ValueError, "n_steps must be at least 0"),
        ("best_student", ([4.0, 0.0], [1.0, 0.0], 1.0, 2, 1), ValueError, "d must be positive"),
        ("separation_family", (1,), ValueError, "r must be at least 2, got 1"),
        ("separation_family", (5, 4), ValueError, "n_samples must be at least 5, got 4"),
        ("separation_family", (5, 5, 0.0), ValueError, "gamma must be above 0"),
        ("separation_family", (5, 5, 1.0, 1.0), ValueError, "condition must be above 1"),
        ("separation_family", (5, 5, 1.0, 4.0, 0.0), ValueError, "snr must be above 0"),
    ],
)
def test_errors_name_the_number_and_the_way_out(name, args, error, match):
    with pytest.raises(error, match=match):
        getattr(theory, name)(*args)
