"""The exact stationary state of distillation SGD: against the d² × d² system, simulation, and a search for the best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array

import fastdistill as fd
from fastdistill import theory
from fastdistill.base import linear_losses as losses
from tests.oracle_sgd import simulate


def random_problem(seed, *, n=8, p=3, fit_intercept=False, distance=0.5):
    """X, y, a teacher at some distance of the least-squares solution."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(1.0, 0.4, p) + 0.5 * fit_intercept
    y = X @ rng.standard_normal(p) + rng.standard_normal(n)
    rows = np.column_stack([X, np.ones(n)]) if fit_intercept else X
    best = np.linalg.lstsq(rows, y, rcond=None)[0]
    return X, y, best + distance * rng.standard_normal(len(best))


def naive_second_moment(X, y, theta, gamma, lam, *, variant, l2, batch_size, fit_intercept, replace):
    """M = E[P M P] − γ E[P m nᵀ] − γ E[n mᵀ P] + γ² E[n nᵀ] about x*, over every batch, by a d² × d² system."""
    rows = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    n, d = rows.shape
    D = np.diag([l2] * X.shape[1] + [0.0] * fit_intercept)
    H = rows.T @ rows / n + D
    best = np.linalg.solve(H, rows.T @ y / n)
    each = range(n)
    draws = itertools.product(each, repeat=batch_size) if replace else itertools.combinations(each, batch_size)
    m = (theta - best) * lam if variant == "kd" else np.zeros(d)
    left, right, count = np.zeros((d * d, d * d)), np.zeros((d, d)), 0
    for batch in map(list, draws):
        A, b = rows[batch], y[batch]
        P = np.eye(d) - gamma * (A.T @ A / batch_size + D)
        noise = A.T @ ((A @ best - b) - lam * (A @ theta - b)) / batch_size + D @ (best - lam * theta)
        if variant == "kd_unbiased":
            noise = noise + lam * (H @ theta - rows.T @ y / n)
        left += np.kron(P, P)
        cross = P @ np.outer(m, noise)
        right += -gamma * (cross + cross.T) + gamma**2 * np.outer(noise, noise)
        count += 1
    return np.linalg.solve(np.eye(d * d) - left / count, right.ravel() / count).reshape(d, d)


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize(("batch_size", "replace"), [(1, True), (1, False), (2, True), (3, False), (8, False)])
def test_the_second_moment_solves_the_full_system(batch_size, replace, l2, fit_intercept, variant):
    X, y, theta = random_problem(1, fit_intercept=fit_intercept)
    sampling = {"l2": l2, "batch_size": batch_size, "fit_intercept": fit_intercept, "replace": replace}
    for lam in (0.0, 0.6, 1.0, -0.8):
        wanted = naive_second_moment(X, y, theta, 0.1, lam, variant=variant, **sampling)
        for matrix in (X, csr_array(X)):
            at = theory.kd_stationary(matrix, y, theta, 0.1, lam, variant=variant, **sampling)
            np.testing.assert_allclose(at.second_moment, wanted, rtol=1e-9, atol=1e-12)
            assert at.distance == pytest.approx(np.trace(wanted), rel=1e-9)
            np.testing.assert_array_equal(at.covariance, at.covariance.T)
        shift = at.mean - at.optimum
        np.testing.assert_allclose(shift, lam * (theta - at.optimum) * (variant == "kd"), atol=1e-12)
        np.testing.assert_allclose(at.second_moment - at.covariance, np.outer(shift, shift), atol=1e-14)


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
@pytest.mark.parametrize("options", [{}, {"batch_size": 3, "replace": False, "fit_intercept": True, "l2": 0.2}])
def test_long_runs_have_this_mean_and_covariance(variant, options):
    X, y, theta = random_problem(2, n=6, p=2, fit_intercept=options.get("fit_intercept", False))
    checked, _ = losses.checked_problem(
        X,
        y,
        {"x": theta},
        loss="squared",
        l2=options.get("l2", 0.0),
        fit_intercept=options.get("fit_intercept", False),
    )
    gamma, lam, n_runs, burn = 0.25, 0.5, 5000, 220
    sampling = {key: options[key] for key in options if key in ("batch_size", "replace")}
    at = theory.kd_stationary(X, y, theta, gamma, lam, variant=variant, **options)
    slowest = (1 - gamma * np.linalg.eigvalsh(checked.hessian(theta))[0]) ** burn
    assert slowest < 1e-4  # what is left of the start
    final = simulate(
        checked, theta, at.optimum, gamma, lam, variant=variant, n_steps=burn, n_runs=n_runs, seed=2, **sampling
    )[-1]
    assert np.all(np.abs(final.mean(axis=0) - at.mean) < 4.5 * np.sqrt(np.diag(at.covariance) / n_runs))
    centred = final - at.mean
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(axis=0) / np.sqrt(n_runs)
    assert np.all(np.abs(products.mean(axis=0) - at.covariance) < 4.5 * error)
    assert np.all(4.5 * np.diag(error) < 0.2 * np.diag(at.covariance))  # sharp enough to notice a wrong factor


def test_one_sample_per_direction_by_hand():
    # a single feature: E P² = 1 − 2γH + γ² E a⁴, so Σ = γ² Var(g) / (2γH − γ² E a⁴)
    at = theory.kd_stationary([[1.0], [1.0], [2.0]], [0.0, 2.0, 2.0], [1.5], 0.1, 0.5)
    assert at.covariance[0, 0] == pytest.approx(0.01 * 0.25 * (2 / 3) / (0.2 * 2 - 0.01 * 6), rel=1e-12)
    assert at.mean == pytest.approx([1.25])
    assert theory.largest_stable_step([[1.0], [1.0], [2.0]]) == pytest.approx(2 * 2 / 6, rel=1e-12)


def test_kd_shrinks_the_covariance_whatever_the_teacher():
    for seed in range(20):
        X, y, theta = random_problem(seed)
        plain = theory.kd_stationary(X, y, theta, 0.1, 0.0).covariance
        for lam in (0.3, 1.0, 1.7):
            taught = theory.kd_stationary(X, y, theta, 0.1, lam, l2=0.0).covariance
            np.testing.assert_allclose(taught, (1 - lam) ** 2 * plain, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
@pytest.mark.parametrize("options", [{}, {"l2": 0.2, "batch_size": 2, "fit_intercept": True}])
def test_the_exact_weight_minimises_the_plateau(variant, options):
    for seed in range(10):
        X, y, theta = random_problem(seed, fit_intercept=options.get("fit_intercept", False), distance=0.2)
        given = {"variant": variant, **options}
        found = theory.kd_stationary_weight(X, y, theta, 0.1, **given)

        def plateau(lam, X=X, y=y, theta=theta, given=given):
            return theory.kd_stationary(X, y, theta, 0.1, lam, **given).distance

        assert found == pytest.approx(minimize_scalar(plateau, tol=1e-12).x, rel=1e-6)
        if variant == "kd":
            plain = theory.kd_stationary(X, y, theta, 0.1, 0.0, **given)
            square = np.sum((theta - plain.optimum) ** 2)
            assert found == pytest.approx(plain.distance / (plain.distance + square), rel=1e-9)
            assert plateau(found) == pytest.approx((1 - found) * plain.distance, rel=1e-9)


def test_a_near_teacher_at_a_small_step():
    # a teacher 0.1σ away, γ = 0.01: the weight of the bound comes near the exact one
    rng = np.random.default_rng(2)
    X = rng.standard_normal((50, 5))
    y = X @ rng.standard_normal(5) + rng.standard_normal(50)
    best, direction = np.linalg.lstsq(X, y, rcond=None)[0], rng.standard_normal(5)
    theta = best + 0.1 * direction / np.linalg.norm(direction)
    exact = theory.kd_stationary_weight(X, y, theta, 0.01)
    formula = fd.optimal_kd_weight(X, y, theta, best, step_size=0.01)
    assert (exact, formula) == pytest.approx((0.717, 0.709), abs=5e-4)
    plateau = [theory.kd_stationary(X, y, theta, 0.01, lam).distance for lam in (0.0, exact, formula)]
    assert plateau[1] < plateau[2] < 1.001 * plateau[1] < 0.3 * plateau[0]


def test_a_teacher_at_the_minimum_leaves_nothing():
    X, y, _ = random_problem(3)
    best = np.linalg.lstsq(X, y, rcond=None)[0]
    for variant in ("kd", "kd_unbiased"):
        assert theory.kd_stationary(X, y, best, 0.1, 1.0, variant=variant).distance < 1e-28
        assert theory.kd_stationary_weight(X, y, best, 0.1, variant=variant) == pytest.approx(1.0, rel=1e-12)
    # without noise there is nothing to gain; without noise and bias no weight makes a difference
    assert theory.kd_stationary_weight(X, X @ best, best + 1.0, 0.1) == pytest.approx(0.0, abs=1e-12)
    assert theory.kd_stationary_weight(np.ones((2, 1)), np.zeros(2), [0.0], 0.1) == 0.0


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"l2": 0.5, "fit_intercept": True}])
def test_the_variance_is_finite_below_the_largest_stable_step_only(options):
    X, y, theta = random_problem(4, fit_intercept=options.get("fit_intercept", False))
    largest = theory.largest_stable_step(X, **options)
    near = theory.kd_stationary(X, y, theta, largest * (1 - 1e-6), 0.5, **options)
    assert near.distance > 1e3
    assert np.linalg.eigvalsh(near.covariance)[0] > 0
    with pytest.raises(ValueError, match=rf"step_size=.* is too large: .* from a step of {largest:.6g} on"):
        theory.kd_stationary(X, y, theta, largest * (1 + 1e-6), 0.5, **options)
    with pytest.raises(ValueError, match="is too large"):
        theory.kd_stationary_weight(X, y, theta, 3 * largest, **options)


def test_many_samples_come_in_blocks(monkeypatch):
    X, y, theta = random_problem(5, n=40)
    whole = theory.kd_stationary(X, y, theta, 0.1, 0.3).covariance
    monkeypatch.setattr("fastdistill.theory.stationary._BLOCK", 50)  # 8 rows of 6 products
    np.testing.assert_allclose(theory.kd_stationary(X, y, theta, 0.1, 0.3).covariance, whole, rtol=1e-12)


GOOD = {"X": np.eye(3), "y": np.ones(3), "teacher": np.zeros(3), "step_size": 0.1, "kd_weight": 0.5}
BAD = [
    ({"step_size": 0.0}, "step_size must be above 0"),
    ({"kd_weight": np.nan}, "kd_weight must be finite"),
    ({"variant": "svrg"}, "variant must be one of"),
    ({"y": np.ones((3, 1))}, "y must be 1-D"),
    ({"teacher": np.zeros(2)}, r"teacher has shape \(2,\), but \(3,\)"),
    ({"X": np.ones((3, 3))}, "no full column rank .* not unique. Use l2 > 0"),
    ({"X": np.zeros((3, 3))}, "no full column rank"),
    ({"X": np.ones((3, 89)), "teacher": np.zeros(89)}, "89 parameters.* 88 at most"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        theory.kd_stationary(**{**GOOD, **change})
