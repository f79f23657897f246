"""[D]: the best weight of one step against brute force, its sign against slopes of refitted risk curves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import fastdistill as fd
from fastdistill import theory


def random_problem(seed, r=6):
    """(d, theta, gamma, n) with singular values and signal over two decades, and a penalty."""
    rng = np.random.default_rng(seed)
    d = np.sort(10.0 ** rng.uniform(-1, 1, r))[::-1]
    theta = rng.standard_normal(r) * 10.0 ** rng.uniform(-1, 1, r)
    problem = d, theta, float(10.0 ** rng.uniform(-1, 0.5)), int(rng.integers(r, 50))
    return problem, float(10.0 ** rng.uniform(-1.5, 1.5))


def risk_of_ridge(problem, lam):
    """Bias and variance written out, over n."""
    d, theta, gamma, n = problem
    return (
        sum((s * (lam / (s + lam) * t) ** 2 + (gamma * s / (s + lam)) ** 2) for s, t in zip(d, theta, strict=True)) / n
    )


def slope_of(curve, lam, relative=1e-3):
    """dR/dλ by the eighth-order central difference."""
    h = relative * lam
    weights = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
    return sum(w * (curve(lam + i * h) - curve(lam - i * h)) for i, w in enumerate(weights, 1)) / h


def curvature_of(curve, lam, relative=1e-2):
    """d²R/dλ² by the sixth-order central difference."""
    h = relative * lam
    weights = (3 / 2, -3 / 20, 1 / 90)
    sides = (w * (curve(lam + i * h) + curve(lam - i * h)) for i, w in enumerate(weights, 1))
    return (sum(sides) - 49 / 18 * curve(lam)) / h**2


def students(X, y, lam, queries, fit_intercept=False):
    """Predictions of ridge and two pure steps, every one refitted from scratch."""
    center, mean = (X.mean(axis=0), y.mean(axis=0)) if fit_intercept else (0.0 * X[0], 0.0 * y[0])
    hat = np.linalg.solve((X - center).T @ (X - center) + lam * np.eye(X.shape[1]), (X - center).T)
    fits, targets = [], y
    for _ in range(3):
        coef = hat @ (targets - mean)
        targets = (X - center) @ coef + mean
        fits.append((queries - center) @ coef + mean)
    return np.array(fits)


def left_out(X, y, lam, fit_intercept=False):
    """Leave-one-out predictions of ridge and two pure steps, every one refitted."""
    n = len(X)
    rows = [np.arange(n) != i for i in range(n)]
    each = [students(X[keep], y[keep], lam, X[i : i + 1], fit_intercept)[:, 0] for i, keep in enumerate(rows)]
    return np.array(each).swapaxes(0, 1)


# --- fixed design ---


def test_derivative_is_the_slope_of_the_risk():
    for seed in range(300):
        problem, lam = random_problem(seed)
        expected = slope_of(lambda x, problem=problem: risk_of_ridge(problem, x), lam)
        scale = risk_of_ridge(problem, lam) / lam
        assert theory.risk_derivative(*problem, lam) == pytest.approx(expected, rel=1e-8, abs=1e-10 * scale)


def test_weight_and_gain_are_those_of_brute_force_and_obey_the_sign_rule():
    signs = []
    for seed in range(300):
        problem, lam = random_problem(seed)
        found = theory.optimal_mixing(*problem, lam)
        a = problem[0] / (problem[0] + lam)

        def risk(xi, problem=problem, a=a):
            return float(theory.excess_risk(*problem, a * (1 - xi + xi * a)))

        best = minimize_scalar(risk, bracket=(-1.0, 1.0), options={"xtol": 1e-10})
        assert found.risk == pytest.approx(risk_of_ridge(problem, lam), rel=1e-12)
        assert found.xi == pytest.approx(best.x, rel=1e-5, abs=1e-6)
        assert found.gain == pytest.approx(found.risk - best.fun, rel=1e-6, abs=1e-12 * found.risk)
        slope = slope_of(lambda x, problem=problem: risk_of_ridge(problem, x), lam)
        assert theory.sign_rule(found) == np.sign(best.x) == -np.sign(slope)
        assert theory.strict_improvement(found)
        signs.append(theory.sign_rule(found))
    assert min(signs.count(-1), signs.count(1)) > 50


def test_the_student_of_the_weight_is_the_best_one_step_mixture():
    for seed in range(50):
        problem, _ = random_problem(seed)
        lam = np.logspace(-2, 2, 7)
        found, best = theory.optimal_mixing(*problem, lam), theory.best_mixture(*problem, lam, 1)
        np.testing.assert_allclose(found.risk - found.gain, best.excess_risk, rtol=1e-9)
        np.testing.assert_allclose(found.xi, best.weights[:, 1], rtol=1e-7, atol=1e-9)
        assert [np.shape(value) for value in found] == [(7,)] * 6


def test_at_a_stationary_penalty_nothing_is_gained():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        d, gamma, theta = 10.0 ** rng.uniform(-2, 2, 5), 10.0 ** rng.uniform(-1, 1), rng.choice([0.1, 1.0, 7.0])
        lam = gamma**2 / theta**2  # every |θ_j| the same: R' = 0 at γ²/θ²
        problem = (d, theta * rng.choice([-1.0, 1.0], 5), gamma, 9)
        found = theory.optimal_mixing(*problem, lam * np.array([0.9, 1.0, 1.1]))
        assert theory.sign_rule(found).tolist() == [1, 0, -1]
        assert theory.strict_improvement(found).tolist() == [True, False, True]
        assert found.gain[1] <= 1e-26 * found.risk[1]
        assert abs(found.xi[1]) < 1e-9


def test_curvature_margin_decides_whether_neighbours_of_the_best_ridge_fall_below_it():
    below = []
    for seed in range(100):
        problem, _ = random_problem(seed, r=3)
        lam = theory.best_student(*problem, n_steps=0).lam
        found = theory.optimal_mixing(*problem, lam)
        second = curvature_of(lambda x, problem=problem: risk_of_ridge(problem, x), lam)
        distance = theory.excess_risk(*problem, (a := problem[0] / (problem[0] + lam)) * a) - found.risk  # R_1 − R
        distance -= lam * found.derivative  # = D
        expected = lam**2 * second / 2 - distance
        assert found.curvature_margin == pytest.approx(expected, rel=1e-5, abs=1e-8 * found.risk)
        if abs(found.curvature_margin) < 1e-3 * distance:
            continue  # too close to call
        near = theory.optimal_mixing(*problem, lam * np.exp([-0.01, 0.01]))
        lowest = (near.risk - near.gain).min()
        assert (lowest < found.risk) == (found.curvature_margin > 0)
        below.append(bool(found.curvature_margin > 0))
    assert min(below.count(True), below.count(False)) > 10


def test_directions_without_anything_in_them_change_nothing():
    found = theory.optimal_mixing([0.0, 0.0], [1.0, 2.0], 1.0, 3, 2.0)
    assert tuple(found) == (2.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert theory.sign_rule(found) == 0
    assert not theory.strict_improvement(found)
    assert tuple(theory.optimal_mixing([1.0], [0.0], 0.0, 3, 2.0))[1:] == (0.0,) * 5


def test_tiny_and_huge_penalties_keep_their_sign():
    problem = ([4.0, 1.0], [1.0, 0.5], 0.3, 5)
    assert theory.sign_rule(theory.optimal_mixing(*problem, [1e-9, 1e9])).tolist() == [1, -1]


# --- any predictions ---


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("shape", [(15, 4), (6, 9)])
def test_sign_rule_on_a_holdout_with_shifted_inputs(shape, fit_intercept):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X, queries = rng.standard_normal(shape) + 1.0, 2.0 * rng.standard_normal((8, shape[1])) - 1.0
        y, wanted, lam = rng.standard_normal(len(X)), rng.standard_normal(8), float(10.0 ** rng.uniform(-1, 1))

        def curve(x, X=X, y=y, queries=queries, wanted=wanted):
            return float(np.mean((students(X, y, x, queries, fit_intercept)[0] - wanted) ** 2))

        path = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, lam, 1.0, 2)
        found = theory.empirical_mixing(lam, path.predict(queries), wanted)
        check_against_refits(found, students(X, y, lam, queries, fit_intercept), wanted, curve, lam)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("shape", [(9, 3), (7, 9)])
def test_sign_rule_of_the_leave_one_out_curve(shape, fit_intercept):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, lam = rng.standard_normal(shape), float(10.0 ** rng.uniform(-1, 1))
        y = rng.standard_normal(len(X))

        def curve(x, X=X, y=y):
            return float(np.mean((left_out(X, y, x, fit_intercept)[0] - y) ** 2))

        path = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, lam, 1.0, 2)
        found = theory.empirical_mixing(lam, path.loo, y)
        check_against_refits(found, left_out(X, y, lam, fit_intercept), y, curve, lam)


def check_against_refits(found, pure, wanted, curve, lam):
    """ξ and gain from refitted predictions by brute force, slope and curvature from the refitted curve."""

    def risk(xi):
        return float(np.mean(((1 - xi) * pure[0] + xi * pure[1] - wanted) ** 2))

    best = minimize_scalar(risk, bracket=(-1.0, 1.0), options={"xtol": 1e-10})
    scale = risk(0.0)
    assert found.risk == pytest.approx(curve(lam), rel=1e-10)
    assert found.xi == pytest.approx(best.x, rel=1e-5, abs=1e-5)
    assert found.gain == pytest.approx(scale - best.fun, rel=1e-6, abs=1e-11 * scale)
    slope = slope_of(curve, lam)
    assert found.derivative == pytest.approx(slope, rel=1e-6, abs=1e-9 * scale / lam)
    assert theory.sign_rule(found) == np.sign(best.x) == -np.sign(slope)
    margin = lam**2 * curvature_of(curve, lam) / 2 - np.mean((pure[1] - pure[0]) ** 2)
    assert found.curvature_margin == pytest.approx(margin, rel=1e-5, abs=1e-6 * scale)


def test_several_penalties_and_targets_share_a_weight_per_penalty(rng):
    X, Y, queries, wanted = (rng.standard_normal(shape) for shape in [(20, 4), (20, 3), (7, 4), (7, 3)])
    path = fd.Spectrum.from_design(X).path(Y, [0.5, 3.0], 1.0, 4)
    found = theory.empirical_mixing(path.lam, path.predict(queries), wanted)
    for i, lam in enumerate(path.lam):
        pure = students(X, Y, lam, queries)
        alone = theory.empirical_mixing(float(lam), pure.reshape(3, -1), wanted.ravel())
        np.testing.assert_allclose([value[i] for value in found], alone, rtol=1e-9)


def test_gcv_values_obey_the_rule_only_nearly(rng):
    X = rng.standard_normal((30, 6))
    y = X @ rng.standard_normal(6) + rng.standard_normal(30)
    S = fd.Spectrum.from_design(X)
    lam = 3.0
    one_shot = fd.tune(S, y, [lam], n_steps=1, criterion="gcv", strategy="joint").xi[0]
    path = S.path(y, lam, 1.0, 2)
    corrected = (y - path.fitted) / (1 - path.dof / 30)[:, None]
    weight = theory.empirical_mixing(lam, -corrected, np.zeros(30))
    assert weight.xi == pytest.approx(one_shot, rel=1e-9)  # D's one-shot weight
    slope = slope_of(lambda x: float(S.path(y, x, 1.0, 2).gcv[0]), lam)
    assert abs(weight.derivative / slope - 1) > 1e-4  # and not quite the slope of the GCV curve


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: theory.optimal_mixing([1.0], [1.0], 1.0, 1, 0.0), "lam"),
        (lambda: theory.risk_derivative([1.0], [1.0, 2.0], 1.0, 1, 1.0), "theta has 2 coordinates"),
        (lambda: theory.empirical_mixing(1.0, np.zeros((2, 4)), np.zeros(4)), r"\(2, 4\).*k >= 2"),
        (lambda: theory.empirical_mixing(1.0, np.zeros((3, 4)), np.zeros(5)), r"wanted of shape \(5,\)"),
        (lambda: theory.empirical_mixing([1.0, 2.0], np.zeros((3, 3, 4)), np.zeros(4)), "2 penalties"),
        (lambda: theory.empirical_mixing(1.0, np.zeros((1, 3, 4)), np.zeros(4)), "pure must be 2-D"),
    ],
)
def test_what_cannot_be_used_is_explained(call, words):
    with pytest.raises(ValueError, match=words):
        call()
