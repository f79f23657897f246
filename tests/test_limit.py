"""The limit of infinitely many steps: many refits, the closed form, and where it does not exist."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import fastdistill as fd
from tests import oracle

X_GRID = np.linspace(0, 1, 11)
SINUSOID = np.array(
    [
        0.38476636465198066,
        1.2333967683416893,
        1.33232242218057,
        0.6920159488889518,
        -0.29756145531871736,
        -0.24189291901377769,
        -0.7964485769175675,
        -0.9616480167034174,
        -0.49672509509916934,
        -0.3469066003991437,
        0.5589512650600734,
    ]
)  # the illustrative example of arXiv 2002.05715 and 2102.13088

CASES = list(product(("design", "kernel"), (False, True), ("none", "random", "some_zero"), (-0.7, 0.0, 0.6, 1.0)))


@pytest.mark.parametrize(
    ("kind", "fit_intercept", "weighting", "xi"), CASES, ids=["-".join(map(str, c)) for c in CASES]
)
def test_limit_equals_many_refits(kind, fit_intercept, weighting, xi, rng):
    X, Q = rng.standard_normal((9, 4)), rng.standard_normal((3, 4))
    rows, queries = (X, Q) if kind == "design" else (oracle.rbf(X, X, 0.3), oracle.rbf(Q, X, 0.3))
    w = oracle.weights(weighting, 9, rng)
    y = rng.standard_normal((9, 2)) + 1
    build = fd.Spectrum.from_design if kind == "design" else fd.Spectrum.from_kernel
    S = build(rows, fit_intercept=fit_intercept, sample_weight=w)
    options = {"kernel": kind == "kernel", "fit_intercept": fit_intercept, "sample_weight": w}
    lam = np.array([0.5, 3.0])
    found = S.limit(y, lam, xi)
    parameters = found.coef if kind == "design" else found.dual_coef
    assert found.filters.shape == (2, S.rank)
    for i, penalty in enumerate(lam):
        exact = oracle.limit(rows, y, penalty, xi, **options)
        np.testing.assert_allclose(found.fitted[i], exact.fitted[0], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(parameters[i], exact.parameters[0], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found.intercept[i], exact.intercept[0], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found.predict(queries)[i], exact.predict(queries)[0], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found.dof[i], exact.dof[0], rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(found.train_mse[i], exact.train_mse[0], rtol=1e-9)
        np.testing.assert_allclose(found.gcv[i], exact.gcv[0], rtol=1e-8)


@pytest.mark.parametrize("xi", [-1.3, 1.2])
def test_limit_beyond_the_unit_interval(xi, rng):
    X, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 1))
    S = fd.Spectrum.from_design(X)
    lam = 2 * S.d[0]  # |xi| max a = |xi| / 3
    exact = oracle.limit(X, y, lam, xi, kernel=False)
    np.testing.assert_allclose(S.limit(y, lam, xi).coef, exact.parameters[0], rtol=1e-10)


def test_closed_form_and_rate(rng):
    X, y = rng.standard_normal((8, 8)), rng.standard_normal(8)
    K, lam, alpha = X @ X.T, 0.8, 0.35
    S = fd.Spectrum.from_kernel(K)
    limit = S.limit(y, lam, 1 - alpha)
    np.testing.assert_allclose(limit.fitted, K @ np.linalg.solve(K + lam / alpha * np.eye(8), y), rtol=1e-11)
    path = S.path(y, lam, 1 - alpha, n_steps=60)
    distance = np.linalg.norm(path.fitted - limit.fitted, axis=1)
    rate = (1 - alpha) * S.d[0] / (S.d[0] + lam)
    assert np.all(distance[1:] <= rate * distance[:-1] + 1e-13)


def test_no_ground_truth_shrinks_to_the_mean(rng):
    X, y = rng.standard_normal((8, 3)), rng.standard_normal(8)
    np.testing.assert_allclose(fd.Spectrum.from_design(X).limit(y, 0.5, 1.0).fitted, 0, atol=1e-15)
    limit = fd.Spectrum.from_design(X, fit_intercept=True).limit(y, 0.5, 1.0)
    np.testing.assert_allclose(limit.fitted, y.mean(), rtol=1e-12)
    np.testing.assert_allclose(limit.coef, 0, atol=1e-15)
    assert limit.dof == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("m", [None, 2])
@pytest.mark.parametrize("lam", [0.5, np.array([0.5, 1.0, 2.0])], ids=["scalar", "grid"])
@pytest.mark.parametrize("kind", ["design", "kernel"])
def test_no_step_axis(m, lam, kind, rng):
    X, Q = rng.standard_normal((7, 3)), rng.standard_normal((4, 3))
    rows, queries = (X, Q) if kind == "design" else (X @ X.T, Q @ X.T)
    y, yq = rng.standard_normal(7 if m is None else (7, m)), rng.standard_normal(4 if m is None else (4, m))
    S = (fd.Spectrum.from_design if kind == "design" else fd.Spectrum.from_kernel)(rows)
    limit = S.limit(y, lam, 0.5)
    lead, tail = np.shape(lam), () if m is None else (m,)
    assert limit.filters.shape == (*lead, S.rank)
    assert np.shape(limit.dof) == lead
    assert limit.fitted.shape == (*lead, 7, *tail)
    assert np.shape(limit.train_mse) == np.shape(limit.gcv) == np.shape(limit.intercept) == (*lead, *tail)
    assert (limit.coef if kind == "design" else limit.dual_coef).shape == (
        *lead,
        3 if kind == "design" else 7,
        *tail,
    )
    assert limit.predict(queries).shape == (*lead, 4, *tail)
    np.testing.assert_allclose(
        limit.mse(queries, yq), ((limit.predict(queries) - yq) ** 2).mean(axis=len(lead)), rtol=1e-11
    )


@pytest.mark.parametrize("xi", [1.7, -1.7])
def test_a_limit_that_does_not_exist(xi, rng):
    S = fd.Spectrum.from_design(rng.standard_normal((8, 3)))
    with pytest.raises(ValueError, match=r"limit.*1\.7|1\.7.*limit"):
        S.limit(np.ones(8), 0.01, xi)


def test_no_limit_at_penalty_zero_and_no_ground_truth(rng):
    S = fd.Spectrum.from_design(rng.standard_normal((8, 3)))
    with pytest.raises(ValueError, match="limit"):
        S.limit(np.ones(8), 0.0, 1.0)


@pytest.mark.parametrize(
    ("alpha", "rows", "end"),
    [
        (0.0, [0.16477, 0.15076, 0.14915, 0.15561, 0.16735, 0.18251], 0.49505),
        (0.25, [0.16477, 0.15309, 0.14958, 0.14903, 0.14946, 0.15011], 0.15250),
    ],
)
def test_losses_published_with_the_ground_truth_analysis(alpha, rows, end):
    """Borup and Andersen 2021 (arXiv 2102.13088): exp(-80 (x - z)^2), lam = 0.2, loss to sin(2 pi x)."""
    queries = np.arange(101) / 100
    truth = np.sin(2 * np.pi * queries)
    S = fd.Spectrum.from_kernel(oracle.rbf(X_GRID[:, None], X_GRID[:, None], 80))
    Kq = oracle.rbf(queries[:, None], X_GRID[:, None], 80)
    path = S.path(SINUSOID, 0.2, 1 - alpha, n_steps=5)
    assert path.mse(Kq, truth).round(5).tolist() == rows
    assert round(float(S.limit(SINUSOID, 0.2, 1 - alpha).mse(Kq, truth)), 5) == end
