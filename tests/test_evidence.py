"""The strategy "safe": evidence against a naive twin, its calibration, what it gains and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import fastdistill as fd
from fastdistill.selection import concentrated as room
from fastdistill.selection import tuning
from fastdistill.selection.concentrated import Concentrated
from fastdistill.selection.evidence import REQUIRED_EVIDENCE, weigh_evidence
from fastdistill.selection.paired import grouped_folds
from fastdistill.selection.verdict import verdict
from tests import oracle

GRID = np.logspace(-4, 5, 40)


def naive_members(d, z, outside, n):
    """(log likelihood, filter, noise) of every member for one target and distinct d, from normal densities."""
    members = []
    for narrow in room.NARROW:
        for share in room.SIGNAL_SHARES:
            for snr in room.SIGNAL_TO_NOISE:
                x = snr * d / d[0]
                wide, thin = 1 + x, 1 + narrow * x
                g = outside / (n - len(d)) if n - len(d) >= max(10, n / 10) else (np.sum(z**2 / wide) + outside) / n
                for update in range(room.NOISE_UPDATES):
                    of_wide = share * norm.pdf(z, scale=np.sqrt(g * wide))
                    of_thin = (1 - share) * norm.pdf(z, scale=np.sqrt(g * thin))
                    belongs = of_wide / (of_wide + of_thin)
                    if update < room.NOISE_UPDATES - 1:
                        g = (np.sum(belongs * z**2 / wide + (1 - belongs) * z**2 / thin) + outside) / n
                log_likelihood = np.log(of_wide + of_thin).sum() - outside / (2 * g)
                log_likelihood -= (n - len(d)) * np.log(2 * np.pi * g) / 2
                members.append((log_likelihood, belongs * x / wide + (1 - belongs) * narrow * x / thin, g))
    return members


def naive_ridge(d, z, outside, n, penalties):
    best = -np.inf
    for lam in penalties:
        wide = 1 + d / lam
        g = (np.sum(z**2 / wide) + outside) / n
        value = norm.logpdf(z, scale=np.sqrt(g * wide)).sum() - outside / (2 * g)
        best = max(best, value - (n - len(d)) * np.log(2 * np.pi * g) / 2)
    return best


@pytest.mark.parametrize("n", [9, 60])
@pytest.mark.parametrize("spike", [0.0, 6.0])
def test_against_a_naive_twin(n, spike, rng):
    d = np.sort(rng.uniform(1, 4, 9))[::-1]
    z = rng.standard_normal(9)
    z[0] += spike
    outside = float(n - 9)
    ours = weigh_evidence(d, z[:, None], np.array([outside]), n, 1.0, GRID)
    likelihoods, filters, _ = map(np.array, zip(*naive_members(d, z, outside, n), strict=True))
    weight = np.exp(likelihoods - likelihoods.max())
    best = naive_ridge(d, z, outside, n, np.concatenate([GRID, d[0] / room.SIGNAL_TO_NOISE]))
    np.testing.assert_allclose(np.log(ours.ratio), likelihoods.max() + np.log(weight.mean()) - best, atol=1e-9)
    # no larger multiplier than ridge has, in directions of at least a tenth of the largest d: here in all of them
    bound = np.minimum(1.0, d / (d[-1] + 1.0))
    np.testing.assert_allclose(ours.bound, bound, rtol=1e-12)
    np.testing.assert_allclose(ours.filter, np.minimum(weight @ filters / weight.sum(), bound), rtol=1e-9)


def test_directions_of_small_d_keep_no_more_than_ridge(rng):
    d = np.array([100.0, 50.0, 10.0, 9.0, 1.0, 0.01])
    z = np.array([30.0, 0.1, 0.1, 20.0, 25.0, 20.0])
    found = weigh_evidence(d, z[:, None], np.array([40.0]), 50, 2.0, GRID)
    np.testing.assert_allclose(found.bound, [1.0, 1.0, 1.0, 9 / 11, 1 / 3, 0.01 / 2.01], rtol=1e-12)
    assert np.all(found.filter <= found.bound)
    assert found.filter[1] < 0.5  # nothing is seen there
    assert np.all(found.filter[3:] >= found.bound[3:] - 1e-12)  # all of what is allowed


def test_slope_is_the_derivative_of_the_posterior_mean(monkeypatch):
    """Tweedie: with the noise held fixed, d(F z)/dz = F + slope z² / g."""
    for name, value in {"SIGNAL_SHARES": [0.3, 0.1], "NARROW": [0.03], "SIGNAL_TO_NOISE": [40.0]}.items():
        monkeypatch.setattr(room, name, np.array(value))
    monkeypatch.setattr(room, "NOISE_UPDATES", 1)  # the noise stays where it starts: 50 / (53 - 3)
    model = Concentrated(np.array([4.0, 2.0, 1.0]), 53, GRID)
    z, step = np.array([3.0, 0.5, -1.0]), 1e-5
    # two equal targets are weighed together: the other way to compute the same
    for posterior_mean in (
        lambda values: model.each(values[:, None] ** 2, np.array([50.0])),
        lambda values: model.together(np.tile(values[:, None] ** 2, (1, 2)), np.full(2, 50.0)),
    ):
        found = posterior_mean(z)
        copies = len(found.noise)
        np.testing.assert_allclose(found.noise, 1.0)
        for j in range(3):
            shift = np.eye(3)[j] * step
            up, down = ((posterior_mean(z + sign * shift).mean[0] * (z + sign * shift))[j] for sign in (1, -1))
            expected = found.mean[0, j] + copies * found.slope[0, j] * z[j] ** 2
            np.testing.assert_allclose((up - down) / (2 * step), expected, rtol=1e-6)


def test_false_alarms_are_rarer_than_promised(rng):
    """Under ridge's own prior the mean of E is at most 1, and E > 20 happens in at most 5 % of the draws."""
    d = np.linspace(4, 1, 30)
    ratios = []
    for lam in (0.1, 1.0, 10.0):
        for _ in range(60):
            z = rng.standard_normal(30) * np.sqrt(1 + d / lam)
            outside = rng.chisquare(70, 1)
            ratios.append(weigh_evidence(d, z[:, None], outside, 100, lam, GRID).ratio)
    assert np.mean(ratios) <= 1
    assert np.mean(np.array(ratios) > REQUIRED_EVIDENCE) <= 0.05


@pytest.mark.parametrize(("r", "gamma"), [(20, 0.3), (50, 0.3), (50, 1.0), (100, 0.3)])
def test_spiked_signals_are_found(r, gamma, rng):
    """r distinct d from n/16 to n/4, the signal along the first direction; excess risk against tuned ridge."""
    n = 300
    d = np.linspace(4, 1, r) * n / 16
    theta = np.eye(1, r)[0]
    U = np.linalg.qr(rng.standard_normal((n, r)))[0]
    S = fd.Spectrum.from_design(U * np.sqrt(d))
    lost = np.zeros(2)
    for _ in range(10):
        y = U @ (np.sqrt(d) * theta) + gamma * rng.standard_normal(n)
        t = fd.tune(S, y, GRID, n_steps=None)
        best = fd.tune(S, y, GRID, n_steps=0)
        truth = U @ (np.sqrt(d) * theta)
        lost += [np.sum((t.path.fitted[-1] - truth) ** 2), np.sum((best.path.fitted[-1] - truth) ** 2)]
    assert lost[0] <= 0.4 * lost[1]


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("n_steps", [None, 0, 2])
def test_without_evidence_ridge_is_left_alone(kernel, n_steps, rng):
    X = rng.standard_normal((40, 6))
    rows = oracle.rbf(X, X, 0.1) if kernel else X
    y = X @ rng.standard_normal(6) + rng.standard_normal(40)
    S = (fd.Spectrum.from_kernel if kernel else fd.Spectrum.from_design)(rows, fit_intercept=True)
    for criterion in ("loo", "gcv"):
        t = fd.tune(S, y, GRID, n_steps=n_steps, criterion=criterion)
        best = fd.tune(S, y, GRID, n_steps=0, criterion=criterion, strategy="joint")
        assert t.n_steps == 0
        assert t.evidence is None if n_steps == 0 else not t.evidence.accepted  # without steps it is of no use
        assert t.lam == best.lam
        assert t.score == pytest.approx(best.score, rel=1e-12)
        np.testing.assert_allclose(t.path.fitted[0], best.path.fitted[0], rtol=1e-12)
        if n_steps is not None or criterion == "gcv":  # else averaged, see test_averaging.py
            assert t.xi.tolist() == [0.0] * (n_steps or 0)
            np.testing.assert_allclose(t.path.fitted[-1], best.path.fitted[0], rtol=1e-12)


def concentrated(rng, n=200, r=30, kernel=False):
    d = np.linspace(4, 1, r) * n / 16
    U = np.linalg.qr(rng.standard_normal((n, r)))[0]
    y = np.sqrt(d[0]) * U[:, 0] + 0.3 * rng.standard_normal(n)
    X = U * np.sqrt(d)
    S = fd.Spectrum.from_kernel(X @ X.T) if kernel else fd.Spectrum.from_design(X)
    return S, X, y


@pytest.mark.parametrize("kernel", [False, True])
def test_the_student_of_a_filter_is_a_student(kernel, rng):
    S, X, y = concentrated(rng, kernel=kernel)
    t = fd.tune(S, y, GRID, n_steps=None)
    assert t.evidence.accepted
    assert t.n_steps == S.rank
    assert t.xi is None
    assert t.mixture is None
    np.testing.assert_array_equal(t.path.filters[-1], t.evidence.filter)
    np.testing.assert_allclose(t.path.fitted[0], S.path(y, t.lam, 1.0, n_steps=0).fitted[0], rtol=1e-12)
    Q = rng.standard_normal((5, X.shape[1]))
    queries = Q @ X.T if kernel else Q
    parameters = t.path.dual_coef if kernel else t.path.coef
    np.testing.assert_allclose(t.path.predict(queries), parameters @ queries.T, atol=1e-9)
    np.testing.assert_allclose(t.path.predict(X @ X.T if kernel else X), t.path.fitted, atol=1e-9)
    np.testing.assert_allclose(t.path.dof, t.path.filters.sum(axis=1))
    np.testing.assert_allclose(t.path.train_mse, np.mean((t.path.fitted - y) ** 2, axis=1), rtol=1e-9)


@pytest.mark.parametrize("bounds", [None, (0, 1), (-1, 2)])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_few_steps_come_as_close_to_the_filter_as_they_can(k, bounds, rng):
    S, _, y = concentrated(rng)
    t = fd.tune(S, y, GRID, n_steps=k, bounds=bounds)
    free = fd.tune(S, y, GRID, n_steps=None)
    target, bound = free.path.fitted[-1], free.evidence.bound
    ridge = S.path(y, GRID, 1.0, n_steps=0)
    allowed = np.all(ridge.filters[:, 0] <= bound + 1e-12, axis=1)
    z = np.linalg.norm(target - ridge.fitted[allowed, 0], axis=1)
    ours = np.linalg.norm(t.path.fitted[-1] - target)
    assert ours <= z.min() * (1 + 1e-9)
    filters = t.path.filters[-1]
    assert np.all((filters >= -1e-8) & (filters <= bound + 1e-8))
    if bounds is None:
        assert ours < 0.9 * z.min()
        assert t.n_steps == k
    else:
        assert np.all((t.xi >= bounds[0]) & (t.xi <= bounds[1]))


def test_tied_eigenvalues_share_one_filter(rng):
    """Within a tied eigenspace the basis is arbitrary: the filter must not depend on it."""
    X = np.linalg.qr(rng.standard_normal((30, 6)))[0] * np.array([3.0, 3.0, 3.0, 2.0, 1.0, 1.0])
    y = 5 * X[:, 0] + 0.1 * rng.standard_normal(30)
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    fits = [fd.tune(fd.Spectrum.from_design(X @ R), y, GRID, n_steps=None).path for R in (np.eye(6), rotation)]
    np.testing.assert_allclose(fits[0].fitted[-1], fits[1].fitted[-1], rtol=1e-6)
    filters = fits[0].filters[-1]
    np.testing.assert_allclose(filters[:3], filters[0], rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales_do_not_matter(scale, rng):
    S, X, y = concentrated(rng)
    t = fd.tune(S, y, GRID, n_steps=None)
    scaled_y = fd.tune(S, scale * y, GRID, n_steps=None)
    np.testing.assert_allclose(scaled_y.evidence.filter, t.evidence.filter, rtol=1e-7)
    scaled_x = fd.tune(fd.Spectrum.from_design(scale * X), y, scale**2 * GRID, n_steps=None)
    np.testing.assert_allclose(scaled_x.evidence.filter, t.evidence.filter, rtol=1e-7)


def test_several_targets_share_what_is_signal(rng):
    S, _, y = concentrated(rng)
    Y = np.column_stack([y, -0.5 * y + 0.1 * rng.standard_normal(len(y)), 3 * y])
    t = fd.tune(S, Y, GRID, n_steps=None)
    assert t.evidence.accepted
    assert t.path.fitted.shape == (2, len(y), 3)
    assert t.evidence.filter.shape == (S.rank,)


@pytest.mark.parametrize("y", [np.zeros(10), np.full(10, 3.0)])
def test_targets_without_information(y, rng):
    t = fd.tune(fd.Spectrum.from_design(rng.standard_normal((10, 3)), fit_intercept=True), y, GRID, n_steps=None)
    assert t.n_steps == 0
    np.testing.assert_allclose(t.path.fitted[-1], y, atol=1e-12)


def test_a_holdout_under_shift_is_believed_and_noise_is_not(rng):
    X, Q = rng.standard_normal((60, 5)) * [3, 2, 1, 1, 1], rng.standard_normal((80, 5)) * [0.2, 2, 1, 1, 1]
    theta = np.array([0.0, 3.0, -1.0, 0.5, 0.0])
    y, yq = X @ theta + 8 * X[:, 0], Q @ theta - 8 * Q[:, 0]
    S = fd.Spectrum.from_design(X)
    free = fd.tune(S, y, GRID, criterion=fd.Holdout(Q, yq), strategy="joint")
    safe = fd.tune(S, y, GRID, criterion=fd.Holdout(Q, yq))
    assert 0 < safe.n_steps <= 2
    assert free.score <= safe.score < free.scores[:, 0].min()
    noise, noise_q = rng.standard_normal(60), rng.standard_normal(80)
    t = fd.tune(S, noise, GRID, criterion=fd.Holdout(Q, noise_q))
    assert t.n_steps == 0
    assert t.xi.tolist() == [0.0, 0.0]


def test_where_a_number_of_steps_is_needed(rng):
    S, X, y = concentrated(rng)
    for options in ({"strategy": "joint"}, {"strategy": "greedy"}, {"bounds": (0, 1)}, {"criterion": fd.Holdout(X, y)}):
        with pytest.raises(ValueError, match="n_steps=None needs"):
            fd.tune(S, y, GRID, n_steps=None, **options)


@pytest.mark.parametrize("n_steps", [None, 2])
def test_what_does_not_hold_in_folds_stays_ridge(n_steps, rng, monkeypatch):
    S, _, y = concentrated(rng)
    assert fd.tune(S, y, GRID, n_steps=n_steps).n_steps
    monkeypatch.setattr(tuning, "_gain_in_folds", lambda *arguments: (-0.2, 0.1))
    t = fd.tune(S, y, GRID, n_steps=n_steps)
    ridge = fd.tune(S, y, GRID, n_steps=0)
    assert t.n_steps == 0
    np.testing.assert_allclose(t.path.fitted[0], ridge.path.fitted[0], rtol=1e-12)
    assert "in five folds" in str(verdict(t, GRID, y))
    monkeypatch.setattr(tuning, "_gain_in_folds", lambda *arguments: None)
    assert "too much alike" in str(verdict(fd.tune(S, y, GRID, n_steps=n_steps), GRID, y))


def test_folds_keep_repeated_rows_together_and_see_neither_order_nor_sign(rng):
    rows = np.repeat(rng.standard_normal((40, 3)), 3, axis=0) + 1e-4 * rng.standard_normal((120, 3))
    fits = rows @ [[1.0], [2.0], [-1.0]]
    folds = grouped_folds(rows, fits, 5)
    assert np.all(folds.reshape(40, 3) == folds[::3, None])
    assert np.bincount(folds, minlength=5).min() >= 15
    order = rng.permutation(120)
    np.testing.assert_array_equal(grouped_folds(rows[order], fits[order], 5), folds[order])
    np.testing.assert_array_equal(grouped_folds(rows, -fits, 5), folds)


def test_too_few_distinct_samples_for_folds(rng):
    X = np.repeat(np.eye(4), 10, axis=0) * np.sqrt([4.0, 3.0, 2.0, 1.0])
    y = 10 * X[:, 0] + 0.1 * rng.standard_normal(40)
    t = fd.tune(fd.Spectrum.from_design(X), y, GRID, n_steps=None)
    assert t.n_steps == 0
    assert t.evidence.held_out_gain is None
