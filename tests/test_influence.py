"""Influence of single samples against refits without them, and against the formulas of least squares."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import fastdistill as fd
from tests import oracle
from tests.test_path import make_rows, make_spectrum

SCHEDULES = (np.empty(0), np.ones(2), np.array([1.5, 0.8]), np.array([0.3, 0.7, 0.9]))
REGIMES = ("wide", "tall", "rank_deficient", "duplicate_rows", "condition_1e8")
TABLE = list(product(("design", "kernel"), REGIMES, (False, True), ("none", "some_zero")))


def relative(ours, exact):
    return np.abs(ours - exact).max() / max(np.abs(exact).max(), 1e-300)


@pytest.mark.parametrize(("cell", "case"), list(enumerate(TABLE)), ids=["-".join(map(str, c)) for c in TABLE])
def test_equals_what_refits_say(cell, case, rng):
    data, regime, fit_intercept, kind = case
    rows, _ = make_rows(data, regime, rng)
    n = len(rows)
    y, w, xi = rng.standard_normal((n, 2)) + 1.5, oracle.weights(kind, n, rng), SCHEDULES[cell % 4]
    spectrum = make_spectrum(data, rows, fit_intercept=fit_intercept, sample_weight=w)
    path = spectrum.path(y, spectrum.d[0] * np.array([1e-2, 1.0]), xi)
    found, weight = path.influence(), np.ones(n) if w is None else w
    used = np.flatnonzero(weight)
    for i, lam in enumerate(path.lam):
        options = {"kernel": data == "kernel", "fit_intercept": fit_intercept}
        whole = oracle.students(rows, y, lam, xi, sample_weight=w, **options)
        smoothers = oracle.students(rows, np.eye(n), lam, xi, sample_weight=w, **options).fitted
        leverages = np.einsum("tii->ti", smoothers)
        assert relative(found.leverages[i][:, used], leverages[:, used]) <= 1e-9
        noise = np.einsum("i,tij->tj", weight, (y - whole.fitted) ** 2) / (len(used) - whole.dof)[:, None]
        assert relative(found.noise[i], noise) <= 1e-8
        moved = np.zeros_like(whole.fitted)
        for j in used:
            rest = np.delete(np.arange(n), j)
            part = rows[np.ix_(rest, rest)] if data == "kernel" else rows[rest]
            without = oracle.students(
                part, y[rest], lam, xi, sample_weight=None if w is None else w[rest], **options
            ).predict(rows[:, rest] if data == "kernel" else rows)
            moved[:, j] = np.einsum("i,tim->tm", weight, (whole.fitted - without) ** 2)
        assert relative(found.cooks_distances[i], moved / (whole.dof[:, None] * noise)[:, None]) <= 1e-8
        assert np.all(found.cooks_distances[i][:, weight == 0] == 0)
        sizes = np.sqrt(weight[:, None] / (1 - leverages[:, :, None]) / noise[:, None])
        internal = ((y - whole.fitted) * sizes)[:, used]
        np.testing.assert_allclose(found.internally_studentised[i][:, used], internal, rtol=1e-7, atol=1e-9)
        left = (len(used) - whole.dof)[:, None, None]
        with np.errstate(invalid="ignore"):
            external = internal * np.sqrt((left - 1) / (left - internal**2))
        np.testing.assert_allclose(found.externally_studentised[i][:, used], external, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_is_that_of_least_squares_without_a_penalty(fit_intercept, rng):
    """The formulas of statsmodels' OLSInfluence, and the deviation of residuals from fits without the sample."""
    X, y = rng.standard_normal((20, 4)), rng.standard_normal(20)
    A = np.hstack([X, np.ones((20, 1))]) if fit_intercept else X
    p, hat = A.shape[1], A @ np.linalg.pinv(A)
    residuals, h = y - hat @ y, np.diag(hat)
    variance = residuals @ residuals / (20 - p)
    internal = residuals / np.sqrt(variance * (1 - h))
    deleted = np.array(
        [np.linalg.lstsq(np.delete(A, i, 0), np.delete(y, i), rcond=None)[1][0] / (19 - p) for i in range(20)]
    )
    found = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, 1e-13, []).influence()
    np.testing.assert_allclose(found.leverages[0], h, rtol=1e-10)
    np.testing.assert_allclose(found.noise[0], variance, rtol=1e-10)
    np.testing.assert_allclose(found.internally_studentised[0], internal, rtol=1e-9)
    np.testing.assert_allclose(found.externally_studentised[0], residuals / np.sqrt(deleted * (1 - h)), rtol=1e-9)
    np.testing.assert_allclose(found.cooks_distances[0], internal**2 * h / ((1 - h) * p), rtol=1e-9)


@pytest.mark.parametrize("data", ["design", "kernel"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", ["none", "random"])
def test_deviations_are_those_of_models_without_the_sample(data, fit_intercept, kind, rng):
    X = rng.standard_normal((9, 5))
    rows = oracle.rbf(X, X, 0.3) if data == "kernel" else X
    y, w, lam = rng.standard_normal(9), oracle.weights(kind, 9, rng), np.array([0.1, 3.0])
    weight = np.ones(9) if w is None else w
    path = make_spectrum(data, rows, fit_intercept=fit_intercept, sample_weight=w).path(y, lam, [0.5])
    for i, penalty in enumerate(lam):
        found = path.loo_std(noise=penalty)[i]
        for j in range(9):
            rest = np.delete(np.arange(9), j)
            part = rows[np.ix_(rest, rest)] if data == "kernel" else rows[rest]
            options = {"fit_intercept": fit_intercept, "sample_weight": weight[rest]}
            other = make_spectrum(data, part, **options).path(y[rest], penalty, [0.5])
            query = (rows[j : j + 1, rest], rows[j, j : j + 1]) if data == "kernel" else (rows[j : j + 1],)
            np.testing.assert_allclose(
                found[:, j] ** 2, other.predict_std(*query)[:, 0] ** 2 + penalty / weight[j], rtol=1e-9
            )


def test_standardised_leave_one_out_residuals_are_studentised(rng):
    X, y = rng.standard_normal((12, 4)), rng.standard_normal((12, 2))
    w = rng.uniform(0.5, 2.0, 12)
    path = fd.Spectrum.from_design(X, fit_intercept=True, sample_weight=w).path(y, [0.1, 3.0], [[0.5], [1.0]])
    deviations, influence = path.loo_std(), path.influence()
    assert deviations.shape == path.loo.shape == influence.cooks_distances.shape == (2, 2, 2, 12, 2)
    assert influence.leverages.shape == (2, 2, 2, 12)
    assert influence.noise.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(influence.leverages.sum(axis=-1), path.dof, rtol=1e-12)
    standardised = (y - path.loo) / deviations
    np.testing.assert_allclose(standardised[:, :, 0], influence.internally_studentised[:, :, 0], rtol=1e-10)
    np.testing.assert_array_equal(deviations[:, :, 0], deviations[:, :, 1])
    np.testing.assert_allclose(path.loo_std([4.0, 9.0])[..., 1], 1.5 * path.loo_std(4.0)[..., 0], rtol=1e-12)


def test_units_and_weights(rng):
    X, y, w = rng.standard_normal((8, 3)), rng.standard_normal(8), np.array([1.0] * 7 + [0.0])
    spectrum = fd.Spectrum.from_design(X, sample_weight=w)
    plain, huge = spectrum.path(y, 0.3, [0.5]), spectrum.path(1e100 * y, 0.3, [0.5])
    np.testing.assert_allclose(huge.loo_std(), 1e100 * plain.loo_std(), rtol=1e-12)
    np.testing.assert_allclose(huge.influence().noise, 1e200 * plain.influence().noise, rtol=1e-12)
    np.testing.assert_allclose(huge.influence().cooks_distances, plain.influence().cooks_distances, rtol=1e-12)
    assert np.isinf(plain.loo_std()[:, 7]).all()
    limit = spectrum.limit(y, 0.3, 0.5)
    np.testing.assert_allclose(limit.influence().leverages.sum(), limit.dof, rtol=1e-12)
    np.testing.assert_allclose(limit.loo_std(), spectrum.path(y, 0.6, []).loo_std()[0], rtol=1e-12)


def test_what_cannot_be(rng):
    X, y = rng.standard_normal((8, 3)), rng.standard_normal(8)
    amplified = fd.Spectrum.from_design(X).path(y, 1.0, [-30.0]).influence()
    assert amplified.leverages[1].max() > 1
    assert np.isnan(amplified.noise[1])
    assert np.isnan(amplified.cooks_distances[1]).all()
    path = fd.Spectrum.from_design(X).path(y, 0.3, [0.5])
    with pytest.raises(ValueError, match="noise must be at least 0"):
        path.loo_std(-1.0)
    for call in ("loo_std", "influence"):
        with pytest.raises(ValueError, match="solver='auto'"):
            getattr(fd.Spectrum.from_design(X, solver="krylov").path(y, 0.3, [0.5]), call)()
        summed = fd.GramAccumulator().partial_fit(X, y).path(0.3, [0.5])
        with pytest.raises(AttributeError, match="Sums hold no rows"):
            getattr(summed, call)()
