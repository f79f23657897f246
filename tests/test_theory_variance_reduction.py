"""[S]: constants against Hessians, neighbourhoods from their definition, bounds against simulations and plateaus."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.sparse import csr_array

from fastdistill import theory
from fastdistill.base import linear_losses as losses
from tests.oracle_sgd import simulate

KINDS = ("squared", "logistic", "softmax")


def problem(kind, seed, *, n=12, p=3, spread=1.0, fit_intercept=False, l2=0.1):
    """A checked problem with features of different scales."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(1.0, spread, p)
    if kind == "squared":
        y = X @ rng.standard_normal(p) + rng.standard_normal(n)
    else:
        y = rng.permutation(np.arange(n) % (2 if kind == "logistic" else 3))
    start = np.zeros((p + fit_intercept, 3) if kind == "softmax" else p + fit_intercept)
    checked, _ = losses.checked_problem(X, y, {"x": start}, loss=kind, l2=l2, fit_intercept=fit_intercept)
    return checked, y, start


def minimiser(checked, start):
    def value_and_gradient(v):
        x = v.reshape(start.shape)
        return value(checked, x), gradient(checked, x).ravel()

    found = minimize(value_and_gradient, start.ravel(), jac=True, method="BFGS", options={"gtol": 1e-11})
    return found.x.reshape(start.shape)


def value(checked, x):
    return losses.objective(checked.loss, checked.X, checked.targets, *checked.split(x), checked.l2)


def gradient(checked, x):
    return checked.pulled_back(checked.residuals(x)) + checked.penalised(x)


def only(checked, n):
    """The problem of one sample."""
    return checked._replace(X=checked.X[n : n + 1], targets=checked.targets[n : n + 1])


# --- constants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(9, 3), (4, 7)])
def test_constants_of_least_squares_are_eigenvalues_of_the_hessian(shape, l2, fit_intercept):
    n, p = shape
    checked, _, start = problem("squared", 1, n=n, p=p, spread=0.1, l2=l2, fit_intercept=fit_intercept)
    eigenvalues = np.linalg.eigvalsh(checked.hessian(start))
    for X in (checked.X, csr_array(checked.X)):
        c = theory.smoothness(X, l2=l2, fit_intercept=fit_intercept)
        assert c.lipschitz == pytest.approx(eigenvalues[-1], rel=1e-12)
        assert c.strong_convexity == pytest.approx(max(eigenvalues[0], 0.0), rel=1e-9, abs=1e-15)
        assert c.pl == pytest.approx(eigenvalues[eigenvalues > 1e-12][0], rel=1e-9)
        each = [np.linalg.eigvalsh(only(checked, i).hessian(start))[-1] for i in range(n)]
        np.testing.assert_allclose(c.sample_lipschitz, each, rtol=1e-12)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_constants_hold_everywhere_and_are_reached(kind, fit_intercept):
    checked, _, start = problem(kind, 2, fit_intercept=fit_intercept)
    c = theory.smoothness(checked.X, loss=kind, l2=0.1, fit_intercept=fit_intercept)
    assert c.strong_convexity == c.pl == (0.0 if fit_intercept else 0.1)
    rng = np.random.default_rng(2)
    for _ in range(200):
        x = start + 10.0 ** rng.uniform(-1, 1) * rng.standard_normal(start.shape)
        eigenvalues = np.linalg.eigvalsh(checked.hessian(x))
        assert c.strong_convexity - 1e-12 <= eigenvalues[0]
        assert eigenvalues[-1] <= c.lipschitz
        n = rng.integers(len(checked.targets))
        assert np.linalg.eigvalsh(only(checked, n).hessian(x))[-1] <= c.sample_lipschitz[n] * (1 + 1e-12)
    if kind == "logistic":
        at_zero = [np.linalg.eigvalsh(part.hessian(start))[-1] for part in (checked, only(checked, 0))]
        np.testing.assert_allclose(at_zero, [c.lipschitz, c.sample_lipschitz[0]], rtol=1e-12)
    elif fit_intercept:  # the intercepts make all samples hesitate between the first two classes
        torn = start.copy()
        torn[-1, 2] = -50.0
        assert np.linalg.eigvalsh(checked.hessian(torn))[-1] == pytest.approx(c.lipschitz, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_expected_smoothness_interpolates_and_bounds_the_gradients(kind):
    checked, _, start = problem(kind, 3, n=6)
    best, L = minimiser(checked, start), theory.smoothness(checked.X, loss=kind, l2=0.1)
    rng = np.random.default_rng(3)
    for replace in (False, True):
        constants = [
            theory.smoothness(checked.X, loss=kind, l2=0.1, batch_size=size, replace=replace) for size in range(1, 7)
        ]
        expected = np.array([c.expected for c in constants])
        assert expected[0] == pytest.approx(L.sample_lipschitz.max(), rel=1e-14)
        for size in range(1, 7):
            own = 1 / size if replace else (6 - size) / (size * 5)
            rest = 1 - 1 / size if replace else 6 * (size - 1) / (size * 5)
            assert expected[size - 1] == pytest.approx(rest * L.lipschitz + own * L.sample_lipschitz.max(), rel=1e-12)
            for _ in range(20):
                x = best + 10.0 ** rng.uniform(-2, 1) * rng.standard_normal(start.shape)
                each = [gradient(only(checked, n), x) - gradient(only(checked, n), best) for n in range(6)]
                square = own * np.mean([np.sum(g**2) for g in each]) + rest * np.sum(np.mean(each, axis=0) ** 2)
                assert square <= 2 * expected[size - 1] * (value(checked, x) - value(checked, best)) * (1 + 1e-6)
    assert theory.smoothness(checked.X, loss=kind, l2=0.1, batch_size=6).expected == pytest.approx(L.lipschitz)


# --- the neighbourhood ---------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_neighbourhood_is_its_definition(kind, variant):
    checked, y, start = problem(kind, 4)
    best = minimiser(checked, start)
    rng = np.random.default_rng(4)
    for _ in range(10):
        theta = best + 10.0 ** rng.uniform(-2, 0.5) * rng.standard_normal(start.shape)
        gamma, kappa = 10.0 ** rng.uniform(-3, 0, 2)
        around = theory.kd_neighbourhood(
            checked.X, y, theta, best, loss=kind, l2=0.1, step_size=gamma, curvature=kappa, variant=variant
        )
        at_best, at_teacher = (
            np.array([gradient(only(checked, n), x).ravel() for n in range(12)]) for x in (best, theta)
        )
        full = at_teacher.mean(axis=0)
        bias = full @ full / (2 * gamma * kappa)
        if variant == "kd_unbiased":
            at_teacher, bias = at_teacher - full, 0.0
        weights = rng.standard_normal((2, 3))
        wanted = np.sum((at_best - weights[..., None, None] * at_teacher) ** 2, axis=-1).mean(axis=-1)
        np.testing.assert_allclose(around.at(weights), wanted + weights**2 * bias, rtol=1e-9)
        squares = np.mean(np.sum(at_best**2, axis=1)), np.mean(np.sum(at_teacher**2, axis=1))
        rho = np.mean(np.sum(at_best * at_teacher, axis=1)) / np.sqrt(np.prod(squares))
        assert (around.correlation, around.beta) == pytest.approx((rho, bias / squares[1]), rel=1e-9)
        assert around.at(0.0) == around.moments.noise == pytest.approx(squares[0], rel=1e-12)
        assert around.at(around.best_weight) / around.at(0.0) == pytest.approx(around.reduction, rel=1e-9)
        assert around.at(around.best_weight) < min(around.at(around.best_weight * f) for f in (0.9, 1.1))


def test_a_teacher_at_the_minimum_removes_all_noise_and_one_without_gradients_none():
    for seed in range(20):
        checked, y, start = problem("logistic", seed)
        best = minimiser(checked, start)
        theta = best * (1.0 + 1e-12)  # near enough for differences of the moments to be rounding, of either sign
        around = theory.kd_neighbourhood(checked.X, y, theta, best, loss="logistic", l2=0.1, step_size=0.1)
        assert 0.0 <= around.at(1.0) <= 1e-12
        assert around.reduction == pytest.approx(0.0, abs=1e-9)
    X, y = np.eye(3), np.arange(3.0)
    around = theory.kd_neighbourhood(X, y, y, np.zeros(3), step_size=0.1)
    assert (around.correlation, around.beta, around.reduction, around.best_weight) == (0.0, 0.0, 1.0, 0.0)


# --- bounds --------------------------------------------------------------------------------------

CASES = [
    (kind, variant, weight, fraction)
    for kind in KINDS
    for variant, weight in (("kd", 0.0), ("kd", 0.5), ("kd", 1.2), ("kd_unbiased", 0.0), ("kd_unbiased", 0.9))
    for fraction in (0.1, 0.5)
]


def run(kind, variant, weight, fraction, *, seed, n_steps=200, **options):
    """A simulation and all that the bounds need: constants, neighbourhoods by both curvatures, distances, losses."""
    checked, y, start = problem(kind, seed, n=10, p=2, l2=0.2)
    best = minimiser(checked, start)
    size = options.get("batch_size", 1)
    c = theory.smoothness(checked.X, loss=kind, l2=0.2, batch_size=size, replace=True)
    theta = best + 0.3 * np.random.default_rng(seed).standard_normal(start.shape)
    gamma = fraction / c.expected * options.pop("of_largest", 1.0)
    near = {"step_size": gamma, "loss": kind, "l2": 0.2, "batch_size": size, "variant": variant}
    noise = {
        name: theory.kd_neighbourhood(checked.X, y, theta, best, curvature=kappa, **near).at(weight)
        for name, kappa in (("distance", c.strong_convexity), ("loss", c.lipschitz))
    }
    x0 = best + 0.5
    iterates = simulate(
        checked, theta, x0, gamma, weight, variant=variant, n_steps=n_steps, n_runs=200, seed=seed, **options
    )
    return checked, best, x0, c, gamma, noise, iterates


@pytest.mark.parametrize(("kind", "variant", "weight", "fraction"), CASES)
def test_the_distance_stays_below_its_bound(kind, variant, weight, fraction):
    for seed, size in ((6, 1), (7, 3)):
        _, best, x0, c, gamma, noise, iterates = run(kind, variant, weight, fraction, seed=seed, batch_size=size)
        initial = np.sum((x0 - best) ** 2)
        squares = ((iterates - best) ** 2).reshape(*iterates.shape[:2], -1).sum(axis=2)
        steps = np.arange(len(iterates))
        bound = theory.kd_distance_bound(
            noise["distance"], c, step_size=gamma, n_steps=steps, initial=initial, variant=variant
        )
        assert bound[0] == pytest.approx(initial)
        error = squares.std(axis=1) / np.sqrt(squares.shape[1])
        assert np.all(squares.mean(axis=1) - 4 * error <= bound * (1 + 1e-12))


@pytest.mark.parametrize(("kind", "variant", "weight", "fraction"), CASES)
def test_the_loss_stays_below_its_bound(kind, variant, weight, fraction):
    checked, best, x0, c, _, _, _ = run(kind, variant, weight, fraction, seed=8, n_steps=0)
    _, _, _, _, gamma, noise, iterates = run(
        kind, variant, weight, fraction, seed=8, of_largest=c.pl / c.lipschitz, n_steps=150
    )
    lowest = value(checked, best)
    steps = np.array([0, 1, 5, 20, 60, 150])
    gaps = np.array([[value(checked, x) - lowest for x in iterates[t, :100]] for t in steps])
    bound = theory.kd_loss_bound(
        noise["loss"], c, step_size=gamma, n_steps=steps, initial=value(checked, x0) - lowest, variant=variant
    )
    assert np.all(gaps.mean(axis=1) - 4 * gaps.std(axis=1) / 10 <= bound * (1 + 1e-12))


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
def test_bounds_hold_for_the_exact_plateau_of_least_squares(variant):
    ratios = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, p, l2 = int(rng.integers(3, 20)), int(rng.integers(1, 4)), float(rng.choice([0.0, 0.1]))
        checked, y, start = problem("squared", seed, n=max(n, p + 1), p=p, spread=10 ** rng.uniform(-1, 0), l2=l2)
        size = int(rng.integers(1, 4))
        c = theory.smoothness(checked.X, l2=l2, batch_size=size, replace=True)
        best = np.linalg.solve(checked.hessian(start), -gradient(checked, start))
        theta = best + 10 ** rng.uniform(-2, 0.5) * rng.standard_normal(p)
        for fraction in (0.01, 0.3, 0.9):
            for bounded, largest in (("distance", 1 / c.expected), ("loss", c.pl / (c.lipschitz * c.expected))):
                gamma = fraction * largest
                kappa = c.strong_convexity if bounded == "distance" else c.lipschitz
                near = {"step_size": gamma, "l2": l2, "batch_size": size, "variant": variant, "curvature": kappa}
                around = theory.kd_neighbourhood(checked.X, y, theta, best, **near)
                far = {"step_size": gamma, "n_steps": 1e9, "initial": 0.0, "variant": variant}
                for weight in (0.0, around.best_weight, 1.0, -0.5):
                    exact = theory.kd_stationary(
                        checked.X, y, theta, gamma, weight, l2=l2, batch_size=size, variant=variant
                    )
                    if bounded == "distance":
                        value_at = exact.distance
                        bound = theory.kd_distance_bound(around.at(weight), c, **far)
                    else:
                        value_at = 0.5 * np.trace(checked.hessian(start) @ exact.second_moment)
                        bound = theory.kd_loss_bound(around.at(weight), c, **far)
                    assert value_at <= bound * (1 + 1e-9)
                    ratios.append(value_at / bound if bound > 0 else 1.0)
    assert max(ratios) > 0.4  # and not by a mile: without noise to share, a factor of 2 is lost at small steps


def test_without_noise_only_the_start_is_left_and_the_rate_is_reached():
    c = theory.smoothness([[2.0], [2.0]])
    bound = theory.kd_distance_bound([0.0, 1.0], c, step_size=0.125, n_steps=[[0], [3], [10**6]], initial=3.0)
    plateau = (3 + np.sqrt(5)) / 1 * 0.125 / 4  # K(1/2) γ/μ
    rate = 0.5**3
    np.testing.assert_allclose(bound, [[3, 3], [3 * rate, 3 * rate + (1 - rate) * plateau], [0, plateau]])
    free = theory.kd_distance_bound(1.0, c, step_size=0.125, n_steps=10**6, initial=3.0, variant="kd_unbiased")
    assert free == pytest.approx(2 * 0.125 / 4)
    # a single quadratic without noise contracts by (1 − γμ)² ≤ 1 − γμ
    at = theory.kd_loss_bound(0.0, c, step_size=0.125, n_steps=2, initial=1.0)
    assert at == pytest.approx(0.25)
    plateau = theory.kd_loss_bound(1.0, c, step_size=0.125, n_steps=10**6, initial=1.0)
    assert plateau == pytest.approx((3 + np.sqrt(5)) * 0.125 / 2)


def test_the_loss_bound_needs_no_unique_minimiser():
    rng = np.random.default_rng(9)
    X, y = rng.standard_normal((4, 6)), rng.standard_normal(4)
    best, theta = np.linalg.pinv(X) @ y, rng.standard_normal(6)
    best = best + (np.eye(6) - np.linalg.pinv(X) @ X) @ rng.standard_normal(6)  # any of them
    c = theory.smoothness(X, replace=True)
    assert c.strong_convexity == 0.0 < c.pl
    gamma = 0.5 * c.pl / (c.lipschitz * c.expected)
    checked, _ = losses.checked_problem(X, y, {"x": best}, loss="squared", l2=0.0, fit_intercept=False)
    noise = theory.kd_neighbourhood(X, y, theta, best, step_size=gamma, curvature=c.lipschitz).at(0.4)
    iterates = simulate(checked, theta, np.zeros(6), gamma, 0.4, n_steps=3000, n_runs=200, seed=9)
    gaps = 0.5 * np.mean((iterates[::100] @ X.T - y) ** 2, axis=2).mean(axis=1)
    bound = theory.kd_loss_bound(noise, c, step_size=gamma, n_steps=np.arange(0, 3001, 100), initial=gaps[0])
    assert np.all(gaps <= bound)
    with pytest.raises(ValueError, match="strong convexity is 0, but this bound needs a positive one"):
        theory.kd_distance_bound(noise, c, step_size=gamma, n_steps=1, initial=1.0)


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
@pytest.mark.parametrize("keep", [0.97, 0.99])
def test_compressed_iterates_stay_below_their_bound(variant, keep):
    omega = 1 / keep - 1
    for seed, weight in ((10, 0.0), (11, 0.7)):
        _, best, x0, c, gamma, noise, iterates = run("squared", variant, weight, 0.5, seed=seed, keep=keep, n_steps=300)
        squares = np.sum((iterates - best) ** 2, axis=2)
        given = {"step_size": gamma, "n_steps": np.arange(301), "initial": np.sum((x0 - best) ** 2), "variant": variant}
        bound = theory.compressed_distance_bound(noise["distance"], c, omega=omega, reference_norm=best @ best, **given)
        error = squares.std(axis=1) / np.sqrt(squares.shape[1])
        assert np.all(squares.mean(axis=1) - 4 * error <= bound)
        plain = theory.kd_distance_bound(noise["distance"], c, **given)
        assert np.all(plain[1:] < bound[1:])
        limit = theory.compressed_distance_bound(noise["distance"], c, omega=0.0, reference_norm=best @ best, **given)
        np.testing.assert_allclose(limit, plain, rtol=1e-12)


def test_the_split_of_the_compressed_bound_is_the_best_one():
    c = theory.Smoothness(1.0, 0.5, 0.5, 1.5, np.array([1.5]))
    rng = np.random.default_rng(12)
    for _ in range(200):
        gamma = rng.uniform(0.05, 0.6)
        noise, norm = 10.0 ** rng.uniform(-3, 2, 2) * rng.integers(0, 2, 2)
        w = 1 - gamma * 0.5
        omega = rng.uniform(0, 1) * (1 - w) / w
        q = gamma * 1.5
        fresh = gamma**2 * (3 + np.sqrt(1 + 8 * q)) / (2 * (1 - q)) * noise
        largest = ((1 - w) / w - omega) / omega

        def plateau(log_a, fresh=fresh, norm=norm, w=w, omega=omega):
            growth = 1 + omega + np.exp(log_a) * omega
            return (growth * fresh + omega * (1 + np.exp(-log_a)) * norm) / (1 - growth * w)

        bounds = np.log(largest) + np.array([-40.0, -1e-9])
        wanted = minimize_scalar(plateau, bounds=bounds, method="bounded", options={"xatol": 1e-9}).fun
        found = theory.compressed_distance_bound(
            noise, c, step_size=gamma, n_steps=1e12, initial=0.0, omega=omega, reference_norm=norm
        )
        assert found == pytest.approx(wanted, rel=1e-7, abs=1e-12)


CONSTANTS = theory.Smoothness(1.0, 0.5, 0.25, 2.0, np.array([1.0, 2.0]))
ARGUMENTS = {"neighbourhood": 1.0, "constants": CONSTANTS, "step_size": 0.1, "n_steps": 3, "initial": 1.0}
BAD = [
    (theory.kd_distance_bound, {"step_size": 0.5}, r"step_size=0.5 is too large: .* below 1/ℒ = 0.5\."),
    (theory.kd_loss_bound, {"step_size": 0.125}, r"step_size=0.125 is too large: .* below μ/\(Lℒ\) = 0.125\."),
    (theory.kd_distance_bound, {"step_size": -0.1}, "step_size must be above 0"),
    (theory.kd_distance_bound, {"neighbourhood": -1.0}, "neighbourhood must be at least 0, got -1"),
    (theory.kd_distance_bound, {"n_steps": [1, -2]}, "n_steps must be at least 0, got -2"),
    (theory.kd_distance_bound, {"initial": np.nan}, "initial must be finite"),
    (theory.kd_distance_bound, {"variant": "svrg"}, "variant must be one of"),
    (theory.kd_loss_bound, {"constants": CONSTANTS._replace(pl=0.0)}, "Łojasiewicz constant is 0.*add a penalty l2"),
    (
        theory.compressed_distance_bound,
        {"omega": 0.1, "reference_norm": 1.0},
        r"omega=0.1 is too large: .* = 0.0526316\. .* above ω/\(\(1 \+ ω\)μ\) = 0.181818 \(and below 1/ℒ = 0.5\)",
    ),
    (theory.compressed_distance_bound, {"omega": -0.1, "reference_norm": 1.0}, "omega must be at least 0"),
    (theory.compressed_distance_bound, {"omega": 0.01, "reference_norm": -1.0}, "reference_norm must be at least 0"),
]


@pytest.mark.parametrize(("function", "change", "message"), BAD)
def test_bad_arguments_are_named(function, change, message):
    with pytest.raises(ValueError, match=message):
        function(**{**ARGUMENTS, **change})


def test_too_large_a_design_is_named():
    with pytest.raises(ValueError, match="up to 4000 features"):
        theory.smoothness(csr_array((4001, 4001)))
    assert theory.smoothness(csr_array((3, 4001)), l2=0.5).lipschitz == 0.5
