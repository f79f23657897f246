"""Tolerance-constrained rounds: against refits, the published example, the bounds, infeasible tolerances."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import brentq

import fastdistill as fd
from fastdistill import kernels
from tests import oracle
from tests.test_limit import SINUSOID, X_GRID


def curvature_kernel(x, z):
    """Green's function of R(f) = integral of f''^2 with f(0) = f(1) = 0; it vanishes at both ends."""
    return np.maximum((x - z) ** 3, 0) / 6 - x * (1 - z) * (x**2 - 2 * z + z**2) / 6


@pytest.fixture
def sinusoid():
    return fd.Spectrum.from_kernel(curvature_kernel(X_GRID[:, None], X_GRID[None, :]))


def test_the_published_example(sinusoid):
    """Mobahi, Farajtabar and Bartlett 2020 (arXiv 2002.05715): four rounds at eps = 0.045, then collapse."""
    assert sinusoid.rank == 9
    rounds = sinusoid.tolerance_path(SINUSOID, 0.045)
    assert rounds.n_rounds == 4
    assert rounds.collapsed
    published = [2.70525292e-06, 8.76276117e-05, 2.73755413e-04, 7.90017653e-04]
    np.testing.assert_allclose(rounds.multipliers, published, rtol=1e-6)
    loss = ((rounds.fitted - np.sin(2 * np.pi * X_GRID)) ** 2).mean(axis=1)
    np.testing.assert_allclose(loss, [0.14183, 0.0627, 0.1104, 0.27945], atol=5e-6)


def test_the_published_example_as_a_path(sinusoid):
    """Its filters are the product of ridge filters of penalties n c_t."""
    rounds = sinusoid.tolerance_path(SINUSOID, 0.045)
    shrinkage = sinusoid.d / (sinusoid.d + 11 * rounds.multipliers[:, None])
    np.testing.assert_allclose(rounds.filters, np.cumprod(shrinkage, axis=0), rtol=1e-12)


CASES = list(product(("design", "kernel"), (False, True), ("none", "random", "some_zero", "counts")))


@pytest.mark.parametrize(("kind", "fit_intercept", "weighting"), CASES, ids=["-".join(map(str, c)) for c in CASES])
@pytest.mark.parametrize("share", [0.35, 0.05])
def test_rounds_equal_refitting(kind, fit_intercept, weighting, share, rng):
    X = rng.standard_normal((8, 9))
    rows = X if kind == "design" else oracle.rbf(X, X, 0.1)
    w, y = oracle.weights(weighting, 8, rng), rng.standard_normal(8) + 0.5
    eps = share * y.var()
    build = fd.Spectrum.from_design if kind == "design" else fd.Spectrum.from_kernel
    rounds = build(rows, fit_intercept=fit_intercept, sample_weight=w).tolerance_path(y, eps)
    exact = oracle.tolerance_rounds(
        rows, y, eps, kernel=kind == "kernel", fit_intercept=fit_intercept, sample_weight=w, max_rounds=200
    )
    assert rounds.n_rounds == len(exact.multipliers)
    assert rounds.collapsed == exact.collapsed
    np.testing.assert_allclose(rounds.multipliers, exact.multipliers, rtol=1e-8)
    np.testing.assert_allclose(rounds.fitted, exact.fitted, atol=1e-8)


def test_every_round_uses_up_its_tolerance(rng):
    X, y = rng.standard_normal((10, 12)), rng.standard_normal(10)
    rounds = fd.Spectrum.from_design(X).tolerance_path(y, 0.02)
    before = np.vstack([y, rounds.fitted[:-1]])
    np.testing.assert_allclose(((before - rounds.fitted) ** 2).mean(axis=1), 0.02, rtol=1e-10)
    assert (rounds.fitted[-1] ** 2).mean() <= 0.02


def test_multipliers_stay_within_their_bounds(rng):
    """Mobahi et al. 2020: bounds on c from the extreme eigenvalues, and on the number of rounds."""
    for _ in range(30):
        X, y = rng.standard_normal((6, 8)), rng.standard_normal(6)
        eps = rng.uniform(0.001, 0.3) * (y**2).mean()
        S = fd.Spectrum.from_design(X)
        rounds = S.tolerance_path(y, eps)
        size = np.linalg.norm(np.vstack([y, rounds.fitted[:-1]]), axis=1)
        ratio = np.sqrt(6 * eps) / (size - np.sqrt(6 * eps)) / 6
        assert np.all(rounds.multipliers >= S.d[-1] * ratio * (1 - 1e-10))
        assert np.all(rounds.multipliers <= S.d[0] * ratio * (1 + 1e-10))
        assert rounds.n_rounds >= (np.linalg.norm(y) / np.sqrt(6 * eps) - 1) * S.d[-1] / S.d[0]


def test_collapsed_from_the_start(rng):
    S = fd.Spectrum.from_design(rng.standard_normal((6, 4)))
    y = rng.standard_normal(6)
    rounds = S.tolerance_path(y, 1.01 * (y**2).mean())
    assert rounds.n_rounds == 0
    assert rounds.collapsed
    assert rounds.multipliers.shape == (0,)
    assert rounds.filters.shape == (0, S.rank)
    assert rounds.fitted.shape == (0, 6)
    shifted = fd.Spectrum.from_design(rng.standard_normal((6, 4)), fit_intercept=True)
    assert shifted.tolerance_path(y + 100, 1.01 * y.var()).n_rounds == 0


def test_several_targets_are_independent_problems(rng):
    X, y = rng.standard_normal((8, 10)), rng.standard_normal((8, 3)) * [3.0, 1.0, 0.1]
    S = fd.Spectrum.from_design(X)
    together = S.tolerance_path(y, 0.3)
    assert together.n_rounds[0] > together.n_rounds[1] > together.n_rounds[2] == 0
    for j in range(3):
        alone = S.tolerance_path(y[:, j], 0.3)
        done = alone.n_rounds
        assert together.n_rounds[j] == done
        np.testing.assert_allclose(together.multipliers[:done, j], alone.multipliers, rtol=1e-12)
        np.testing.assert_allclose(together.fitted[:done, :, j], alone.fitted, rtol=1e-11, atol=1e-14)
        np.testing.assert_array_equal(together.fitted[done:, :, j], 0)


@pytest.mark.parametrize("spread", [0.5, 5.0, 12.0])
def test_the_root_against_brentq(spread, rng):
    for zeros in (0, 3):
        d = np.concatenate([10.0 ** rng.uniform(-spread, spread, 8), np.zeros(zeros)])
        z2 = rng.standard_normal(8 + zeros) ** 2
        floor, total = z2[d == 0].sum(), z2.sum()
        for share in (1e-9, 1e-3, 0.5, 1 - 1e-6):
            target = floor + share * (total - floor)

            def excess(log_c, d=d, z2=z2, target=target):
                return ((1 / (1 + d * np.exp(-log_c))) ** 2 * z2).sum() - target

            exact = np.exp(brentq(excess, -80, 80, xtol=1e-15, rtol=1e-14))
            accuracy = 1e-11 + 1e-13 / min(share, 1 - share)  # near its limits the target itself is rounded
            assert kernels.tolerance_root(d, z2, target) == pytest.approx(exact, rel=accuracy)
        assert kernels.tolerance_root(d, z2, total) == np.inf
        assert kernels.tolerance_root(d, z2, 2 * total) == np.inf
        assert kernels.tolerance_root(d, z2, floor) == 0.0


def test_max_rounds_stops_early(rng):
    X, y = rng.standard_normal((6, 8)), rng.standard_normal(6)
    S = fd.Spectrum.from_design(X)
    everything = S.tolerance_path(y, 0.01)
    assert everything.n_rounds > 3
    first = S.tolerance_path(y, 0.01, max_rounds=3)
    assert first.n_rounds == 3
    assert not first.collapsed
    assert first.fitted.shape == (3, 6)
    np.testing.assert_allclose(first.multipliers, everything.multipliers[:3], rtol=1e-14)


def test_infeasible_tolerance_names_the_smallest_feasible_one(sinusoid):
    """The kernel vanishes at both ends of the interval, so the targets there are out of reach."""
    smallest = (SINUSOID[0] ** 2 + SINUSOID[-1] ** 2) / 11
    with pytest.raises(ValueError, match=r"0\.0418") as caught:
        sinusoid.tolerance_path(SINUSOID, 0.04)
    numbers = [float(word.strip("(),.;")) for word in str(caught.value).split() if word[:1].isdigit()]
    assert min(abs(v - smallest) for v in numbers) < 1e-5 * smallest
    assert sinusoid.tolerance_path(SINUSOID, smallest * (1 + 1e-6)).n_rounds >= 1
    with pytest.raises(ValueError, match="feasible"):
        sinusoid.tolerance_path(SINUSOID, smallest * (1 - 1e-6))


def test_tolerances_near_both_limits(rng):
    X, y = rng.standard_normal((9, 4)), rng.standard_normal(9)
    S = fd.Spectrum.from_design(X)
    outside = ((y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) ** 2).mean()
    for eps in (outside * (1 + 1e-9), outside * (1 + 1e-3), (y**2).mean() * (1 - 1e-9)):
        first = S.tolerance_path(y, eps, max_rounds=1)
        assert ((y - first.fitted[0]) ** 2).mean() == pytest.approx(eps, rel=1e-11)
        assert np.isfinite(first.multipliers[0])
        assert first.multipliers[0] > 0


@pytest.mark.parametrize("eps", [0.0, -0.1, np.nan, np.inf])
def test_eps_must_be_positive_and_finite(eps, sinusoid):
    with pytest.raises(ValueError, match="eps"):
        sinusoid.tolerance_path(SINUSOID, eps)


def test_wrong_kinds(sinusoid):
    with pytest.raises(TypeError, match="eps"):
        sinusoid.tolerance_path(SINUSOID, "small")
    with pytest.raises(TypeError, match="max_rounds"):
        sinusoid.tolerance_path(SINUSOID, 0.045, max_rounds=2.5)
    with pytest.raises(ValueError, match="max_rounds"):
        sinusoid.tolerance_path(SINUSOID, 0.045, max_rounds=-1)
    with pytest.raises(ValueError, match="10 rows"):
        sinusoid.tolerance_path(SINUSOID[:10], 0.045)
