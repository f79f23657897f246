"""Ridge on random inputs with many features: every formula against simulation, and against independent solutions.

Simulated means are compared within five of their standard errors; the limits themselves are off by relative O(1 / n).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from fastdistill import theory

GAMMA = 0.6


def population(seed, p):
    """Variances over a decade and a signal of norm one, along all of them."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.standard_normal(p)), rng.standard_normal(p) / np.sqrt(p)


def inputs(rng, n, s):
    return rng.standard_normal((n, len(s))) * np.sqrt(s)


def ridge(X, y, lam, weights=1.0):
    """Coefficients; the least-norm interpolator or least squares at lam = 0."""
    if lam == 0:
        n, p = X.shape
        return X.T @ np.linalg.solve(X @ X.T, y) if n < p else np.linalg.solve(X.T @ X, X.T @ y)
    return np.linalg.solve(X.T @ X + lam * np.diag(np.broadcast_to(weights, X.shape[1])), X.T @ y)


def assert_means(samples, expected, bias=0.0):
    """The mean of samples (runs, ...) is what is expected, within five standard errors and a relative bias."""
    samples = np.asarray(samples)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    off = np.abs(samples.mean(axis=0) - expected)
    assert np.all(off <= 5 * error + bias * np.abs(expected)), (samples.mean(axis=0), expected, error)
    assert np.all(error < 0.05 * np.abs(samples.mean(axis=0)).max())  # the comparison means something


# --- one step ---


@pytest.mark.parametrize(("n", "p"), [(150, 70), (90, 150)])
def test_one_step_against_simulation(n, p):
    (s, theta), lam = population(0, p), np.array([5.0, 60.0, 400.0])
    found = theory.asymptotic_one_step(s, theta, GAMMA, n, lam)
    rng, samples = np.random.default_rng(1), []
    for _ in range(80):
        X = inputs(rng, n, s)
        y = X @ theta + GAMMA * rng.standard_normal(n)
        each = []
        for x in lam:
            first = ridge(X, y, x)
            second = ridge(X, X @ first, x)
            values = [s @ (part - theta) ** 2 for part in (first, (first + second) / 2, second)]
            each.append([values[0], values[2] - values[0], 2 * (values[0] + values[2] - 2 * values[1])])
        samples.append(each)
    distance = -lam * found.derivative / (2 * found.xi)  # D
    expected = np.stack([found.risk, lam * found.derivative + distance, distance], axis=-1)
    assert_means(samples, expected, bias=2 / n)
    np.testing.assert_allclose(found.gain, (lam * found.derivative) ** 2 / (4 * distance), rtol=1e-12)


def test_one_step_derivatives_are_those_of_its_risk():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        s, theta = population(seed, 40)
        n, lam, h = int(rng.integers(10, 100)), float(10.0 ** rng.uniform(-1, 2)), 1e-3

        def risk(x, s=s, theta=theta, n=n):
            return theory.asymptotic_one_step(s, theta, GAMMA, n, x).risk

        found = theory.asymptotic_one_step(s, theta, GAMMA, n, lam)
        below, above = risk(lam * (1 - h)), risk(lam * (1 + h))
        assert found.derivative == pytest.approx((above - below) / (2 * h * lam), rel=1e-4, abs=1e-6 / lam)
        distance = -lam * found.derivative / (2 * found.xi)
        curvature = (above + below - 2 * found.risk) / h**2  # λ² R''
        assert found.curvature_margin == pytest.approx(curvature / 2 - distance, rel=1e-3, abs=1e-5)


def test_many_samples_give_the_fixed_design():
    s, theta = population(3, 6)
    n = 10**7
    lam = n * np.array([0.1, 1.0])
    limit, exact = (
        f(v, theta, GAMMA * np.sqrt(n), n, lam)
        for f, v in ((theory.asymptotic_one_step, s), (theory.optimal_mixing, n * s))
    )
    for name in ("risk", "xi", "derivative", "gain", "curvature_margin"):
        np.testing.assert_allclose(getattr(limit, name), getattr(exact, name), rtol=3e-6, err_msg=name)


def test_effective_penalty_against_iteration():
    from fastdistill.theory.random_design import effective_penalty

    for n, lam in ((30, 3.0), (200, 0.5), (30, 1e-9), (100, 1e6)):
        s, _ = population(n, 100)
        kappa = (lam + s.sum()) / n
        for _ in range(200_000):
            kappa, before = (lam + kappa * (s / (s + kappa)).sum()) / n, kappa
            if abs(kappa - before) <= 1e-15 * kappa:
                break
        assert effective_penalty(s, n, lam) == pytest.approx(kappa, rel=1e-9)
    assert effective_penalty(s, 30, 0.0) == pytest.approx(effective_penalty(s, 30, 1e-12), rel=1e-9)
    assert effective_penalty(s, 200, 0.0) == 0.0


def test_small_risks_keep_their_digits():
    """Risks far below the signal are no rounding errors of it: they go with γ² where bias is none."""
    s, theta = population(20, 40)
    share = theory.best_real_fraction(s, theta, 1.0, 100, 0.0)
    for gamma in (1e-8, 1e-50):
        scale = gamma**2
        assert theory.best_real_fraction(s, theta, gamma, 100, 0.0).fraction == pytest.approx(share.fraction, abs=1e-6)
        found = theory.generation_risk(s, theta, gamma, 100, 0.0, 3)
        np.testing.assert_allclose(found / scale, np.arange(1, 5) * 0.4 / 0.6, rtol=1e-12)
        chained = theory.weak_to_strong_risk(s, theta, gamma, 100, 0.0, 80, 0.0)
        assert chained.student / scale == pytest.approx(0.4 / 0.6, rel=1e-12)
        same = theory.generation_risk(s, theta, gamma, 100, 0.0, 3, 0.5, "same") / scale
        np.testing.assert_allclose(same, theory.generation_risk(s, theta, 1.0, 100, 0.0, 3, 0.5, "same"), rtol=1e-12)
    many = theory.asymptotic_one_step(np.ones(50), np.zeros(50), 1.0, 10**12, 1.0)
    assert many.risk * 10**12 == pytest.approx(50.0, rel=1e-10)


def test_penalties_next_to_nothing_where_samples_just_determine_the_features():
    """n = p and variance 1: κ² = (λ / n) (1 + κ), so that the risk has a closed form."""
    for lam in (1e-8, 1e-30):
        x = lam / 50
        kappa = (x + np.sqrt(x * x + 4 * x)) / 2
        free = kappa * (2 + kappa) / (1 + kappa) ** 2
        expected = (kappa**2 + 1.0) / (1 + kappa) ** 2 / free  # θ and γ of size one
        theta = np.full(50, 50**-0.5)
        assert theory.generation_risk(np.ones(50), theta, 1.0, 50, lam, 0)[0] == pytest.approx(expected, rel=1e-12)
        found = theory.asymptotic_one_step(np.ones(50), theta, 1.0, 50, lam)
        assert found.risk == pytest.approx(expected, rel=1e-12)


def test_large_penalties():
    """As λ grows the coefficients tend to Xᵀ y / λ, from which every limit here follows by hand."""
    s, n, lam = np.ones(50), 20, 1e12
    best = theory.optimal_surrogate(s, s, 1.0, n, lam)
    assert best.risk == pytest.approx(50 - 50 / (1 + 50 / n), rel=1e-9)  # each b scaled at will, noise negligible
    assert best.risk < best.masked_risk <= best.true_risk
    for labels in ("hard", "soft"):
        errors = [theory.mixture_error(2.0, 20, 50, 0.2, x, 2, labels) for x in (1e12, 1e90)]
        np.testing.assert_allclose(*errors, rtol=1e-6)
    first = norm.cdf(-4 * 0.6 / np.sqrt(0.36 * 4 + 49 / 20))  # b = 0.6 μ + noise of variance 1 / n
    assert errors[0][0] == pytest.approx(first, rel=1e-9)


# --- weak teachers, best labels ---


@pytest.mark.parametrize("weighted", [False, True])
def test_weak_to_strong_against_simulation(weighted):
    s, theta = population(4, 120)
    own = np.exp(np.random.default_rng(5).standard_normal((2, 120))) if weighted else (None, None)
    lam, lam_student = (0.0, 40.0), (10.0, 150.0)
    found = theory.weak_to_strong_risk(s, theta, GAMMA, 90, lam, 200, lam_student, *own)
    teachers, students, rng = [], [], np.random.default_rng(6)
    weights = [1.0 if each is None else each for each in own]
    for _ in range(80):
        X, U = inputs(rng, 90, s), inputs(rng, 200, s)
        y = X @ theta + GAMMA * rng.standard_normal(90)
        root = np.sqrt(weights[0])
        weak = [ridge(X / root, y, x) / root for x in lam]  # at λ = 0 the least weighted norm
        teachers.append([s @ (b - theta) ** 2 for b in weak])
        students.append([[s @ (ridge(U, U @ b, x, weights[1]) - theta) ** 2 for x in lam_student] for b in weak])
    assert_means(teachers, found.teacher, bias=0.02)
    assert_means(students, found.student, bias=0.02)


def test_weak_to_strong_axes_and_limits():
    s, theta = population(7, 30)
    found = theory.weak_to_strong_risk(s, theta, GAMMA, 60, 3.0, 10**9, [0.0, 1.0])
    assert (np.shape(found.teacher), np.shape(found.student)) == ((), (2,))
    np.testing.assert_allclose(found.student, found.teacher, rtol=1e-6)  # endless inputs hand the teacher on
    same = theory.generation_risk(s, theta, 0.0, [60, 45], [3.0, 5.0], 1)
    chained = theory.weak_to_strong_risk(s, theta, 0.0, 60, 3.0, 45, 5.0)
    np.testing.assert_allclose(same, [chained.teacher, chained.student], rtol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_optimal_surrogate_against_simulation_and_a_minimiser(lam):
    p, n = 90, 40
    s, theta = np.arange(1, p + 1.0) ** -1.2, np.arange(1, p + 1.0) ** -0.3
    found = theory.optimal_surrogate(s, theta, 0.1, n, lam)
    rng, samples = np.random.default_rng(8), []
    for _ in range(150):
        X, noise = inputs(rng, n, s), 0.1 * rng.standard_normal(n)
        labels = found.surrogate, theta, np.where(found.mask, theta, 0.0)
        samples.append([s @ (ridge(X, X @ b + noise, lam) - theta) ** 2 for b in labels])
    assert_means(samples, [found.risk, found.true_risk, found.masked_risk], bias=0.03)
    samples = np.array(samples)
    assert np.all(samples[:, 0].mean() < samples[:, 1:].mean(axis=0))

    def risk_of(labels):
        # learning from labels without noise is what a student does with a teacher of endless data
        ridge_stage = theory.random_design.stage(s, n, lam)
        moments = theory.two_stage.learned(ridge_stage, theory.two_stage.known(theta, labels), s, theta, 0.01)
        return theory.two_stage.excess_of(s, moments)

    best = minimize(risk_of, theta, method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 10**6, "ftol": 1e-15})
    assert found.risk == pytest.approx(best.fun, rel=1e-5)
    assert found.risk <= best.fun * (1 + 1e-12)


def test_surrogate_amplifies_strong_directions_and_drops_weak_ones():
    s, theta = np.arange(1, 101.0) ** -1.5, np.ones(100)
    found = theory.optimal_surrogate(s, theta, 0.5, 40)
    factor = found.surrogate / theta
    assert np.all(np.diff((factor > 1).astype(int)) <= 0)
    assert 0 < (factor > 1).sum() < (factor > 0.5).sum() <= found.mask.sum() < 100
    assert found.risk < found.masked_risk < found.true_risk
    flat = theory.optimal_surrogate(np.ones(20), np.ones(20), 0.5, 60)
    np.testing.assert_allclose(flat.surrogate, 1.0)  # fewer features than samples, no penalty


# --- generations ---


@pytest.mark.parametrize("covariates", ["fresh", "same"])
@pytest.mark.parametrize(("n", "lam"), [(160, 0.0), (35, 0.0), (60, 20.0)])
def test_generations_against_simulation(n, lam, covariates):
    s, theta = population(9, 80)
    rng, samples = np.random.default_rng(10), []
    fixed = inputs(rng, n, s)
    if covariates == "same":
        d, V = np.linalg.eigh(fixed.T @ fixed / n)
        d[d < 1e-10] = 0.0
        problem = d, V.T @ theta
    else:
        problem = s, theta
    expected = theory.generation_risk(*problem, GAMMA, n, lam, 3, 0.3, covariates, synthetic_gamma=0.3)
    for _ in range(80):
        coef, each = theta, []
        for t in range(4):
            X = fixed if covariates == "same" else inputs(rng, n, s)
            real, own = X @ theta + GAMMA * rng.standard_normal(n), X @ coef + 0.3 * rng.standard_normal(n)
            coef = ridge(X, real if t == 0 else 0.3 * real + 0.7 * own, lam)
            each.append(np.mean((fixed @ (coef - theta)) ** 2) if covariates == "same" else s @ (coef - theta) ** 2)
        samples.append(each)
    assert_means(samples, expected, bias=0.02)


def test_the_best_share_is_that_of_many_generations():
    for seed, (n, lam, covariates) in enumerate(
        (n, lam, c) for n in (15, 80) for lam in (0.0, 3.0, 40.0) for c in ("fresh", "same")
    ):
        s, theta = population(seed, 30)
        if covariates == "same" and n < 30:
            s[n:] = 0.0  # the rank of n inputs
        best = theory.best_real_fraction(s, 3 * theta, GAMMA, n, lam, covariates)
        shares = np.linspace(0.2, 1.0, 21)
        after = theory.generation_risk(s, 3 * theta, GAMMA, n, lam, 100, shares, covariates)[:, -1]
        assert best.risk == pytest.approx(after.min(), rel=5e-3)
        assert best.risk <= after.min() * (1 + 1e-9)
        assert abs(best.fraction - shares[after.argmin()]) < 0.041


def test_noise_of_synthetic_labels():
    s, theta = population(14, 40)
    same = theory.generation_risk(s, theta, GAMMA, 60, 4.0, 3, 0.5)
    np.testing.assert_array_equal(same, theory.generation_risk(s, theta, GAMMA, 60, 4.0, 3, 0.5, synthetic_gamma=GAMMA))
    curve = theory.generation_risk(s, theta, GAMMA, 60, 4.0, 1, synthetic_gamma=0.0)
    chained = theory.weak_to_strong_risk(s, theta, GAMMA, 60, 4.0, 60, 4.0)
    np.testing.assert_allclose(curve, [chained.teacher, chained.student], rtol=1e-12)
    scale = np.r_[np.full(5, 9.0), np.full(145, 0.09)]
    training = theory.generation_risk(scale, np.r_[np.ones(5), np.zeros(145)], 5.0, 75, 10.0, 8, synthetic_gamma=0.0)
    assert 0 < training.argmin() < 8  # falls, then rises


def test_golden_ratio_and_linear_growth():
    golden = (np.sqrt(5) - 1) / 2
    for seed in range(5):
        s, theta = population(seed, 40)
        assert theory.best_real_fraction(s, theta, GAMMA, 100, 0.0).fraction == pytest.approx(golden, abs=1e-7)
        few = np.r_[s[:20], np.zeros(20)]
        best = theory.best_real_fraction(few, theta, GAMMA, 20, 0.0, "same")
        assert best.fraction == pytest.approx(golden, abs=1e-7)
        growth = np.diff(theory.generation_risk(s, theta, GAMMA, 100, 0.0, 10))
        np.testing.assert_allclose(growth, GAMMA**2 * 0.4 / 0.6, rtol=1e-9)


@pytest.mark.parametrize("covariates", ["fresh", "same"])
def test_the_best_share_is_at_least_one_half_for_random_signals(covariates):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        s = np.ones(30) if seed % 2 else np.exp(rng.standard_normal(30))
        n, lam, gamma = int(rng.integers(10, 60)), float(10.0 ** rng.uniform(-1, 3)), float(10.0 ** rng.uniform(-1, 1))
        theta = np.full(30, 30**-0.5)  # of the size that random effects have in the mean
        if covariates == "same":
            s[n:] = 0.0  # the rank of n inputs
        assert theory.best_real_fraction(s, theta, gamma, n, lam, covariates).fraction >= 0.5
    if covariates == "fresh":  # not for every signal: this one is hidden in directions too weak to learn
        hidden = np.r_[np.full(5, 100.0), np.full(55, 0.01)], np.r_[np.zeros(5), np.full(55, 1.0)]
        assert theory.best_real_fraction(*hidden, 0.01, 20, 10.0).fraction < 0.1


# --- label noise ---


def test_estimation_mixing_against_brute_force_and_simulation():
    rng = np.random.default_rng(11)
    for _ in range(50):
        d, theta = 10.0 ** rng.uniform(-1, 1, 5), rng.standard_normal(5)
        gamma, lam = float(10.0 ** rng.uniform(-1, 1)), float(10.0 ** rng.uniform(-1, 1))
        found = theory.estimation_mixing(d, theta, gamma, lam)
        a = d / (d + lam)

        def error(xi, d=d, theta=theta, gamma=gamma, a=a):
            F = a * (1 - xi + xi * a)
            return np.sum(theta**2 * (1 - F) ** 2 + gamma**2 * F**2 / d)

        h = 1.0
        left, middle, right = (error(found.xi + x) for x in (-h, 0.0, h))
        assert left == pytest.approx(right, rel=1e-9)
        assert middle == pytest.approx(found.risk - found.gain, rel=1e-9, abs=1e-12)
        assert error(0.0) == pytest.approx(found.risk, rel=1e-12)
    X = rng.standard_normal((20, 5))
    _, singular, Vt = np.linalg.svd(X, full_matrices=False)
    signal = rng.standard_normal(5)
    found = theory.estimation_mixing(singular**2, Vt @ signal, 2.0, 3.0)
    errors = []
    for _ in range(4000):
        first = ridge(X, X @ signal + 2.0 * rng.standard_normal(20), 3.0)
        second = ridge(X, X @ first, 3.0)
        student = first + found.xi * (second - first)
        errors.append([np.sum((first - signal) ** 2), np.sum((student - signal) ** 2)])
    assert_means(errors, [found.risk, found.risk - found.gain])


def test_best_weight_for_estimation_exceeds_one_where_noise_is_large():
    rng = np.random.default_rng(12)
    for _ in range(100):
        d, theta = 10.0 ** rng.uniform(-2, 2, 8), rng.standard_normal(8)
        lam = float(10.0 ** rng.uniform(-2, 2))
        a, b = d / (d + lam), lam / (d + lam)
        limit = np.sum(a**2 * b / d) / np.sum(a**2 * b**2 / d)
        assert theory.estimation_mixing(d, theta, 1e6, lam).xi == pytest.approx(limit, rel=1e-6)
        assert limit > 1.0


@pytest.mark.parametrize(
    ("separation", "n", "p", "flip", "lam", "labels"),
    [(2.0, 400, 200, 0.3, 80.0, "hard"), (2.0, 400, 200, 0.3, 16.0, "soft"), (3.0, 220, 300, 0.2, 150.0, "hard")],
)
def test_mixture_error_against_simulation(separation, n, p, flip, lam, labels):
    expected = theory.mixture_error(separation, n, p, flip, lam, 2, labels)
    mean, samples, rng = np.r_[separation, np.zeros(p - 1)], [], np.random.default_rng(13)
    for _ in range(30):
        coef, each = mean, []
        for t in range(3):
            truth = rng.choice([-1.0, 1.0], n)
            X = truth[:, None] * mean + rng.standard_normal((n, p))
            given = truth * np.where(rng.random(n) < flip, -1.0, 1.0)
            own = np.sign(X @ coef) if labels == "hard" else X @ coef
            coef = ridge(X, given if t == 0 else own, lam)
            each.append(norm.cdf(-separation * coef[0] / np.linalg.norm(coef)))
        samples.append(each)
    assert_means(samples, expected, bias=0.02)


# --- what it takes ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.asymptotic_one_step([1.0, 2.0], [1.0], 1.0, 5, 1.0), "theta has 1 entries, but there are 2"),
        (lambda: theory.asymptotic_one_step([1.0], [1.0], 1.0, 5, 0.0), "lam must be positive, got 0"),
        (lambda: theory.asymptotic_one_step([1.0], [1.0], -1.0, 5, 1.0), "gamma must be at least 0"),
        (lambda: theory.weak_to_strong_risk([1.0] * 3, [1.0] * 3, 1.0, 3, 0.0, 9, 1.0), "The risk is infinite"),
        (
            lambda: theory.weak_to_strong_risk([1.0], [1.0], 1.0, 3, 1.0, 9, 1.0, weights=[0.0]),
            "weights must hold 1 positive numbers",
        ),
        (lambda: theory.optimal_surrogate([1.0] * 3, [1.0] * 3, 1.0, 3), "The risk is infinite"),
        (lambda: theory.generation_risk([1.0], [1.0], 1.0, 5, [1.0, 2.0], 3), "lam must be one number, or 4"),
        (lambda: theory.generation_risk([1.0], [1.0], 1.0, 0, 1.0, 3, 0.5, "same"), "n_samples must be at least 1"),
        (lambda: theory.generation_risk([1.0], [1.0], 1.0, 5, 1.0, 3, 1.5), "real_fraction must be between 0 and 1"),
        (lambda: theory.generation_risk([1.0], [1.0], 1.0, 5, 1.0, 3, 0.5, "old"), "covariates must be one of"),
        (
            lambda: theory.generation_risk([1.0], [1.0], 1.0, [5, 6], 1.0, 1, 0.5, "same"),
            "n_samples must be one number with covariates='same'",
        ),
        (
            lambda: theory.generation_risk([1.0], [1.0], 1.0, 5, 1.0, 1, synthetic_gamma=-1.0),
            "synthetic_gamma must be at least 0",
        ),
        (lambda: theory.best_real_fraction([1.0], [1.0], 0.0, 5, 0.0), "every share of real labels"),
        (
            lambda: theory.best_real_fraction([1.0] * 3, [1.0] * 3, 1.0, 2, 0.0, "same"),
            "3 variances are positive, but n_samples=2",
        ),
        (lambda: theory.generation_risk([1.0], [1.0], 1.0, 5, 1e200, 1), "lam=1e.200 is too large beside 5 samples"),
        (lambda: theory.asymptotic_one_step([1.0], [1.0], 1.0, 5, 1e-200), "lam=1e-200 is too small beside 5 samples"),
        (lambda: theory.mixture_error(1e200, 5, 4, 0.1, 1.0, 2), "separation must be at most"),
        (lambda: theory.estimation_mixing([1.0, 0.0], [1.0, 1.0], 1.0, 1.0), "d must be positive"),
        (lambda: theory.mixture_error(1.0, 5, 4, 0.6, 1.0, 2), "flip must be at most 0.5"),
        (lambda: theory.mixture_error(1.0, 5, 4, 0.1, 1.0, 2, "medium"), "labels must be one of"),
    ],
)
def test_bad_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()
