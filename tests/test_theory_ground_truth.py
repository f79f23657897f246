"""[B]: the limit against students refitted until they stand still, its rate, the best weight of a step."""

from __future__ import annotations

import numpy as np
import pytest

from fastdistill import theory


def random_kernel(seed, n=6):
    rng = np.random.default_rng(seed)
    d = np.sort(rng.uniform(0.05, 3.0, n))[::-1]
    U = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return d, U, (U * d) @ U.T, rng.standard_normal(n)


def ridge_fit(K, targets, lam):
    return K @ np.linalg.solve(K + lam * np.eye(len(K)), targets)


def students(K, y, lam, xi, n_steps):
    """Fits of ridge and of each step, every one refitted from scratch."""
    fits = [ridge_fit(K, y, lam)]
    for _ in range(n_steps):
        fits.append(ridge_fit(K, (1 - xi) * y + xi * fits[-1], lam))
    return np.array(fits)


@pytest.mark.parametrize("xi", [-1.0, -0.6, 0.0, 0.3, 0.75, 0.95])
def test_the_limit_is_the_student_of_many_steps_and_one_ridge(xi):
    for seed in range(20):
        d, U, K, y = random_kernel(seed)
        lam = float(np.random.default_rng(seed).uniform(0.2, 2.0))
        last = students(K, y, lam, xi, 500)[-1]
        once = ridge_fit(K, y, theory.limit_penalty(lam, xi))
        np.testing.assert_allclose(once, last, atol=1e-10)
        np.testing.assert_allclose(U @ (theory.limit_filter(d, lam, xi) * (U.T @ y)), last, atol=1e-10)


def test_weights_above_one_converge_to_a_ridge_with_negative_penalty_as_far_as_the_rate_allows():
    d, _, K, y = random_kernel(1)
    lam = 2.0
    xi = 0.9 * (1 + lam / d[0])  # the rate is 0.9
    assert xi > 1
    penalty = theory.limit_penalty(lam, xi, d)
    assert penalty < -d[0]
    np.testing.assert_allclose(ridge_fit(K, y, penalty), students(K, y, lam, xi, 400)[-1], atol=1e-10)
    with pytest.raises(ValueError, match="pass d"):
        theory.limit_penalty(lam, xi)


def test_without_ground_truth_the_limit_is_zero():
    d, _, K, y = random_kernel(2)
    np.testing.assert_array_equal(theory.limit_filter(d, 0.5, 1.0), np.zeros(6))
    assert np.abs(students(K, y, 0.5, 1.0, 300)[-1]).max() < 1e-10


def test_ground_truth_bounds_the_penalty_by_the_share_it_keeps():
    np.testing.assert_allclose(theory.limit_penalty(0.2, [0.0, 0.5, 0.75, 0.99]), [0.2, 0.4, 0.8, 20.0])


@pytest.mark.parametrize("xi", [-0.9, 0.25, 0.8, 1.0])
def test_convergence_is_geometric_at_the_stated_rate(xi):
    for seed in range(20):
        d, U, K, y = random_kernel(seed)
        rate = theory.convergence_rate(d, 1.0, xi)
        filters = U.T @ students(K, y, 1.0, xi, 40).T / (U.T @ y)[:, None]  # (r, steps)
        error = np.abs(filters - theory.limit_filter(d, 1.0, xi)[:, None])
        assert np.all(error <= rate ** np.arange(41) * error[:, :1] + 1e-11)
        np.testing.assert_allclose(error[0, 1:9] / error[0, :8], rate, rtol=1e-6)  # attained at the top


def test_students_diverge_where_the_rate_says_so():
    d, _, K, y = random_kernel(3)
    lam = 0.5
    for xi in (1.05 * (1 + lam / d[0]), -1.05 * (1 + lam / d[0])):
        assert theory.convergence_rate(d, lam, xi) == pytest.approx(1.05)
        fits = students(K, y, lam, xi, 400)
        assert np.linalg.norm(fits[-1]) > 1e6 * np.linalg.norm(fits[0])
        for limit in (theory.limit_filter, lambda d, lam, xi: theory.limit_penalty(lam, xi, d)):
            with pytest.raises(ValueError, match=r"limit does not exist: .* = 1.05 must be below 1"):
                limit(d, lam, xi)


def test_ratios_grow_without_ground_truth_and_converge_with_it():
    d, lam = np.array([3.0, 1.5, 0.4]), 0.7
    a = d / (d + lam)
    powers = theory.filter_ratios(a ** np.arange(1, 61)[:, None])
    assert np.all(np.diff(powers, axis=0) > 0)
    assert powers[-1].min() > 1e4
    f, ratios = a, []
    for _ in range(60):
        f = a * (0.25 + 0.75 * f)
        ratios.append(theory.filter_ratios(f))
    limit = theory.filter_ratios(theory.limit_filter(d, lam, 0.75))
    np.testing.assert_allclose(ratios[-1], limit, rtol=1e-6)
    np.testing.assert_allclose(limit, d[:-1] * (d[1:] + 2.8) / (d[1:] * (d[:-1] + 2.8)), rtol=1e-12)


def test_axes_are_penalties_weights_eigenvalues():
    d, lam, xi = np.array([3.0, 1.0, 0.0]), np.array([0.1, 1.0]), np.array([0.0, 0.5, 0.9, -0.3])
    filters, penalties = theory.limit_filter(d, lam, xi), theory.limit_penalty(lam, xi, d)
    rates = theory.convergence_rate(d, lam, xi)
    assert filters.shape == (2, 4, 3)
    assert penalties.shape == rates.shape == (2, 4)
    for i, one_lam in enumerate(lam):
        assert theory.limit_filter(d, one_lam, xi).shape == (4, 3)
        assert theory.limit_penalty(one_lam, xi).shape == (4,)
        for j, one_xi in enumerate(xi):
            np.testing.assert_allclose(theory.limit_filter(d, one_lam, one_xi), filters[i, j], rtol=1e-14)
            assert theory.limit_penalty(one_lam, one_xi) == pytest.approx(penalties[i, j], rel=1e-14)
            assert theory.convergence_rate(d, one_lam, one_xi) == pytest.approx(rates[i, j], rel=1e-14)
    assert theory.limit_filter(d, lam, 0.5).shape == (2, 3)


def test_a_zero_penalty_interpolates_for_ever():
    np.testing.assert_array_equal(theory.limit_filter([2.0, 0.0], 0.0, 0.5), [1.0, 0.0])
    assert theory.limit_penalty(0.0, 0.5) == 0.0
    assert theory.convergence_rate([2.0, 1.0], 0.0, 0.5) == 0.5
    assert theory.convergence_rate([0.0], 0.0, 0.5) == 0.0


# --- the best weight of one step -----------------------------------------------------------------


def one_step(seed, n_targets=None):
    """f(0), f(1), and f(ξ) refitted, with a reference."""
    rng = np.random.default_rng(seed)
    _, _, K, _ = random_kernel(seed)
    shape = (6,) if n_targets is None else (6, n_targets)
    y, reference = rng.standard_normal(shape), rng.standard_normal(shape)
    teacher = ridge_fit(K, y, 0.8)
    return lambda xi: ridge_fit(K, (1 - xi) * y + xi * teacher, 0.8), reference


@pytest.mark.parametrize("n_targets", [None, 3])
def test_the_best_weight_from_two_fits_beats_every_refitted_weight(n_targets):
    for seed in range(20):
        student, reference = one_step(seed, n_targets)
        best = theory.best_step_weight(student(0.0), student(1.0), reference)

        def loss(xi, student=student, reference=reference):
            return np.sum((student(xi) - reference) ** 2)

        assert all(loss(best) < loss(best + shift) for shift in (-1.0, -1e-3, 1e-3, 1.0))
        assert all(loss(best) <= loss(xi) for xi in np.linspace(-3, 3, 25))


def test_sample_weights_equal_repetition():
    student, reference = one_step(5, 2)
    f0, f1, w = student(0.0), student(1.0), np.array([2, 1, 3, 0, 1, 2])
    weighted = theory.best_step_weight(f0, f1, reference, sample_weight=w)
    repeated = theory.best_step_weight(*(np.repeat(v, w, axis=0) for v in (f0, f1, reference)))
    assert weighted == pytest.approx(repeated, rel=1e-12)
    assert weighted != pytest.approx(theory.best_step_weight(f0, f1, reference), rel=1e-3)


def test_the_best_weight_may_lie_outside_zero_and_one():
    assert theory.best_step_weight([0.0], [1.0], [-2.0]) == -2.0
    assert theory.best_step_weight([0.0], [1.0], [3.0]) == 3.0


@pytest.mark.parametrize(
    ("name", "args", "error", "match"),
    [
        ("limit_penalty", (0.2, 1.0), ValueError, "xi=1 has no limit penalty"),
        ("limit_penalty", (0.2, 1.5), ValueError, "limit for xi=1.5 depends on the spectrum: pass d"),
        ("limit_penalty", (0.2, [0.5, -1.5]), ValueError, "limit for xi=-1.5 depends on the spectrum"),
        ("limit_penalty", (0.0, -1.0), ValueError, "limit for xi=-1 depends on the spectrum"),
        ("limit_penalty", (-0.1, 0.5), ValueError, "lam must be at least 0, got -0.1"),
        ("limit_penalty", (0.1, [[0.5]]), ValueError, r"xi must be 0-D or 1-D, got shape \(1, 1\)"),
        ("limit_penalty", (0.1, []), ValueError, "xi is empty"),
        ("limit_penalty", (0.1, "x"), TypeError, "xi must hold real numbers"),
        (
            "limit_penalty",
            (1.0, -2.0, [1.5]),
            ValueError,
            r"max\(d\)=1.5\); raise lam or take \|xi\| < 1.66667",
        ),
        (
            "limit_filter",
            ([1.0], 0.0, 1.0),
            ValueError,
            r"limit does not exist: .* = 1 must be below 1 \(xi=1,",
        ),
        ("limit_filter", ([1.0], [], 0.5), ValueError, "lam is empty"),
        ("limit_filter", ([-1.0], 1.0, 0.5), ValueError, "d must be at least 0"),
        ("limit_filter", ([1.0], 1.0, np.inf), ValueError, "xi contains inf"),
        ("convergence_rate", ([1.0], -1.0, 0.5), ValueError, "lam must be at least 0"),
        ("convergence_rate", ([], 1.0, 0.5), ValueError, "d is empty"),
        (
            "best_step_weight",
            ([1.0], [1.0, 2.0], [1.0]),
            ValueError,
            r"f1 has shape \(2,\), but f0 .* \(1,\)",
        ),
        ("best_step_weight", ([1.0], [2.0], [1.0, 2.0]), ValueError, "reference has shape"),
        ("best_step_weight", ([1.0], [2.0], [[1.0]]), ValueError, "reference must be 1-D"),
        ("best_step_weight", ([1.0, 2.0], [1.0, 2.0], [0.0, 0.0]), ValueError, "every xi gives the same"),
        ("best_step_weight", ([1.0], [2.0], [1.0], [-1.0]), ValueError, "sample_weight must not be negative"),
        ("best_step_weight", ([np.nan], [2.0], [1.0]), ValueError, "f0 contains NaN"),
    ],
)
def test_errors_name_the_number_and_the_way_out(name, args, error, match):
    with pytest.raises(error, match=match):
        getattr(theory, name)(*args)
