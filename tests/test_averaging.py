"""Ridge averaged over penalties: against refits and sums written out, its invariances, and what it is worth."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import Ridge, RidgeCV

import fastdistill as fd
from fastdistill import DistilledKernelRidgeCV, DistilledRidgeClassifierCV, DistilledRidgeCV
from fastdistill.selection import averaging
from fastdistill.selection.averaging import penalty_shares
from fastdistill.selection.tuning import PENALTIES
from fastdistill.spectral import leave_one_out
from tests import oracle

GRID = np.logspace(-2, 4, 13)


def problem(rng, n=40, p=8, m=None, noise=3.0):
    X = rng.standard_normal((n, p)) + 1.0
    shape = () if m is None else (m,)
    return X, X @ rng.standard_normal((p, *shape)) + noise * rng.standard_normal((n, *shape)) + 2.0


def refitted(X, y, w, lam, fit_intercept):
    """Weighted squared leave-one-out errors (n,), summed over targets, refit by refit."""
    errors = np.zeros(len(y))
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        fit = Ridge(lam, fit_intercept=fit_intercept).fit(X[rest], y[rest], w[rest])
        errors[i] = w[i] * np.square(y[i] - fit.predict(X[i : i + 1])[0]).sum()
    return errors


def deviance(X, y, w, lam, fit_intercept):
    """−2 log of the density of the targets under N(0, g (X Xᵀ / λ + I)), restricted to contrasts, at the best g."""
    root = np.sqrt(w)
    y = y.reshape(len(y), -1)
    basis = np.linalg.qr(root[:, None], mode="complete")[0][:, 1:] if fit_intercept else np.eye(len(y))
    rows, goals = basis.T @ (root[:, None] * X), basis.T @ (root[:, None] * y)
    covariance = rows @ rows.T / lam + np.eye(len(goals))
    quadratic = np.einsum("im,im->m", goals, np.linalg.solve(covariance, goals)) / len(goals)
    return np.mean(len(goals) * np.log(quadratic)) + np.linalg.slogdet(covariance)[1]


def shares_written_out(errors, dev):
    """¼ of the best penalty and ¾ of how often each is the best under 200 draws of weights of 128 groups."""
    n, best = errors.shape[1], int(errors.sum(axis=1).argmin())
    draws = np.random.default_rng(0).gamma(0.5, size=(128, 200)) / 0.5
    group = [
        (int(error / errors[best].mean() * 2**16) * 0x9E3779B97F4A7C15 % 2**64) >> 57 for error in errors[best].tolist()
    ]
    shares = np.zeros(len(errors))
    shares[best] = 0.25
    for b in range(200):
        criterion = [n * np.log(draws[group, b] @ e) + 2 / np.sqrt(n) * v for e, v in zip(errors, dev, strict=True)]
        shares[int(np.argmin(criterion))] += 0.75 / 200
    return shares


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "p", "m"), [(40, 8, None), (15, 30, None), (40, 8, 3)])
def test_against_refits_written_out(n, p, m, weighted, fit_intercept, rng):
    X, y = problem(rng, n, p, m)
    w = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
    errors = np.array([refitted(X, y, w, lam, fit_intercept) for lam in GRID])
    shares = shares_written_out(errors, [deviance(X, y, w, lam, fit_intercept) for lam in GRID])
    assert np.count_nonzero(shares) >= 2
    ridges = [Ridge(lam, fit_intercept=fit_intercept).fit(X, y, w) for lam in GRID]
    model = DistilledRidgeCV(GRID, fit_intercept=fit_intercept).fit(X, y, w if weighted else None)
    coef, intercept = (
        sum(p * getattr(r, name) for p, r in zip(shares, ridges, strict=True)) for name in ("coef_", "intercept_")
    )
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=1e-8, atol=1e-10)
    assert model.alpha_ == GRID[errors.sum(axis=1).argmin()]
    assert (model.n_steps_, model.xi_, model.mixture_) == (0, None, None)
    spectrum = fd.Spectrum.from_design(X, fit_intercept, w)
    np.testing.assert_allclose(model.filter_, shares @ (spectrum.d / (spectrum.d + GRID[:, None])), rtol=1e-9)
    assert model.dof_ == pytest.approx(model.filter_.sum() + fit_intercept)
    tuned = fd.tune(spectrum, y, GRID, n_steps=None)
    np.testing.assert_allclose(tuned.shares, shares, atol=1e-12)
    left_out = np.stack([spectrum.path(y, lam, []).loo[0] for lam in GRID])
    expected = np.tensordot(shares, left_out, 1)
    np.testing.assert_allclose(tuned.path.loo[-1], expected, rtol=1e-9)
    best, mean = (
        np.square(y - part).reshape(n, -1).sum(axis=1) @ w for part in (left_out[tuned.lam == GRID][0], expected)
    )
    assert model.verdict_.penalty_gain == pytest.approx(1 - mean / best, rel=1e-6, abs=1e-9)
    assert (model.verdict_.gain, model.verdict_.n_steps) == (0.0, 0)
    assert "Ridge, averaged over penalties from" in str(model.verdict_)


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("n", [30, 300])
def test_order_scale_and_sign_do_not_matter(kernel, n, rng):
    X, y = problem(rng, n, m=2)
    model = DistilledKernelRidgeCV(GRID, gamma=0.05) if kernel else DistilledRidgeCV(GRID)
    model.set_params(alpha_per_target=True)
    order = rng.permutation(n)
    first = model.fit(X, y).predict(X)
    np.testing.assert_allclose(model.fit(X[order], y[order]).predict(X), first, rtol=1e-8)
    np.testing.assert_allclose(model.fit(X, -1e3 * y).predict(X), -1e3 * first, rtol=1e-8)
    np.testing.assert_allclose(model.fit(X, y[:, ::-1]).predict(X)[:, ::-1], first, rtol=1e-8)


def test_samples_of_no_weight_do_not_matter(rng):
    X, y = problem(rng, 40)
    w = np.ones(40)
    w[::4] = 0.0
    used = w > 0
    masked, alone = DistilledRidgeCV(GRID).fit(X, y, w), DistilledRidgeCV(GRID).fit(X[used], y[used])
    np.testing.assert_allclose(masked.coef_, alone.coef_, rtol=1e-9)
    assert masked.verdict_.penalty_gain == pytest.approx(alone.verdict_.penalty_gain, rel=1e-6)


def test_a_kernel_is_the_design_of_its_factor(rng):
    X, y = problem(rng, 30, 6)
    ours = DistilledKernelRidgeCV(GRID, kernel="linear").fit(X, y)
    np.testing.assert_allclose(ours.predict(X), DistilledRidgeCV(GRID).fit(X, y).predict(X), rtol=1e-8)
    K = oracle.rbf(X, X, 0.05)
    S = fd.Spectrum.from_kernel(K, fit_intercept=True)
    tuned = fd.tune(S, y, GRID, n_steps=None)
    ridges = S.path(y, GRID, [])
    np.testing.assert_allclose(tuned.path.dual_coef[-1], tuned.shares @ ridges.dual_coef[:, 0], rtol=1e-9)
    np.testing.assert_allclose(tuned.path.predict(K[:5])[-1], tuned.shares @ ridges.predict(K[:5])[:, 0], rtol=1e-9)


@pytest.mark.parametrize(
    "options", [{"strategy": "ridge"}, {"n_steps": 0}, {"n_steps": 2}, {"scoring": "gcv"}, {"scoring": "r2"}, {"cv": 4}]
)
def test_elsewhere_ridge_has_one_penalty(options, rng):
    X, y = problem(rng)
    model = DistilledRidgeCV(GRID, **options).fit(X, y)
    np.testing.assert_allclose(model.coef_, Ridge(model.alpha_).fit(X, y).coef_, rtol=1e-9)
    assert model.verdict_.penalty_gain == 0.0
    assert model.xi_.tolist() == [0.0] * (options.get("n_steps") or 0)


def test_the_strategy_ridge_is_ridge_cv(rng):
    X, y = problem(rng)
    ours, twin = DistilledRidgeCV(GRID, strategy="ridge").fit(X, y), RidgeCV(GRID).fit(X, y)
    np.testing.assert_allclose(ours.coef_, twin.coef_, rtol=1e-9)
    assert ours.alpha_ == twin.alpha_


@pytest.mark.parametrize("y", [np.zeros(20), np.full(20, 3.0), 1e90 * np.arange(20.0), 1e-90 * np.arange(20.0)])
@pytest.mark.parametrize("penalties", [[1.0], [2.0, 2.0], [0.0, 1e-300, 1.0, 1e12]])
def test_extremes(y, penalties, rng):
    X = rng.standard_normal((20, 3))
    model = DistilledRidgeCV(penalties).fit(X, y)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.verdict_.penalty_gain)
    assert 1.0 <= model.dof_ <= 4.0


@pytest.mark.parametrize("per_target", [False, True])
def test_an_undefined_penalty_is_left_out(per_target, rng):
    """Without a penalty, and without another sample in its column, the last one is not predicted."""
    X, y = problem(rng, 30, 4, 2)
    X[:, 3] = 0.0
    X[-1, 3] = 5.0
    grid = [0.0, *GRID]
    model = DistilledRidgeCV(grid, alpha_per_target=per_target, fit_intercept=False).fit(X, y)
    plain = DistilledRidgeCV(GRID, alpha_per_target=per_target, fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-9)
    for verdict, expected in zip(np.ravel(model.verdict_), np.ravel(plain.verdict_), strict=True):
        assert verdict.penalty_gain == pytest.approx(expected.penalty_gain, rel=1e-9)


def test_a_perfect_or_undefined_penalty_is_left_alone():
    errors = np.array([[[1.0, 2.0, 3.0], [2.0, 1.0, 2.0], [np.nan] * 3], [[0.0] * 3, [1.0] * 3, [1.0] * 3]])
    best = np.array([1, 0])
    sums_of_groups = partial(averaging._sums_of_groups, np.sqrt(errors))
    of_best = errors[[0, 1], best]
    shares = penalty_shares(errors.sum(axis=2), of_best, sums_of_groups, 3, np.zeros((2, 3)), best)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert shares[0, 2] == 0.0
    assert shares[0, 1] >= 0.25
    assert shares[1].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("per_target", [False, True])
@pytest.mark.parametrize("m", [None, 5])
def test_the_compiled_passes_of_large_problems_give_what_numpy_gives(m, per_target, rng, monkeypatch):
    X, y = problem(rng, 60, 6, m)
    w = rng.uniform(0.2, 3.0, 60)
    w[3] = 0.0
    chosen = {}
    for entries in (2**20, 1):  # from how many residuals on the passes are compiled
        for module in (averaging, leave_one_out):
            monkeypatch.setattr(module, "WORTH_COMPILING", entries)
        chosen[entries] = DistilledRidgeCV(GRID, alpha_per_target=per_target).fit(X, y, w)
    numpy, compiled = chosen.values()
    np.testing.assert_allclose(compiled.coef_, numpy.coef_, rtol=1e-10)
    np.testing.assert_allclose(compiled.best_score_, numpy.best_score_, rtol=1e-10)
    np.testing.assert_allclose(compiled.filter_, numpy.filter_, rtol=1e-10)


def test_sums_of_residuals_and_of_groups_are_those_of_plain_loops(rng):
    residuals, outside, inverse = rng.standard_normal((3, 2, 4)), rng.standard_normal((2, 4)), rng.uniform(1, 2, (3, 4))
    out, squares = np.zeros((2, 3, 6)), np.ones((2, 3))
    fd.kernels.left_out_residuals(residuals, outside, inverse, 2, out, squares)
    expected = inverse[None] * (residuals.transpose(1, 0, 2) + outside[:, None])
    np.testing.assert_allclose(out, np.concatenate([np.zeros((2, 3, 2)), expected], axis=2), rtol=1e-14)
    np.testing.assert_allclose(squares, 1.0 + np.square(expected).sum(axis=2), rtol=1e-14)
    group, sums = rng.integers(0, 4, (2, 6)), np.full((2, 3, 4), np.nan)
    fd.kernels.sums_of_groups(out, group, sums)
    for j in range(2):
        for g in range(4):
            np.testing.assert_allclose(sums[j, :, g], np.square(out[j][:, group[j] == g]).sum(axis=1), rtol=1e-14)


def test_many_targets_that_share_a_penalty_are_formed_in_parts(rng, monkeypatch):
    X, y = problem(rng, 50, 6, 30)
    stored = DistilledRidgeCV(GRID).fit(X, y)
    monkeypatch.setattr(averaging, "STORED", 10)
    np.testing.assert_allclose(DistilledRidgeCV(GRID).fit(X, y).coef_, stored.coef_, rtol=1e-12)


def test_classes_are_averaged_as_their_signs(rng):
    X, y = problem(rng, 60)
    labels = np.digitize(y, [0.0, 5.0])
    model = DistilledRidgeClassifierCV(GRID).fit(X, labels)
    twin = DistilledRidgeCV(GRID).fit(X, np.where(labels[:, None] == model.classes_, 1.0, -1.0))
    np.testing.assert_allclose(model.coef_, twin.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.filter_, twin.filter_, rtol=1e-12)


def test_ordinary_data_gain():
    """Four tables of scikit-learn, 60 rows: less test error in each mean, and clearly in all together."""
    means, errors = [], []
    for load in (load_diabetes, load_breast_cancer, load_wine, load_digits):
        data = load().data
        if load is load_diabetes:
            data = np.column_stack([data, load().target])
        data = (data - data.mean(axis=0)) / np.where(data.std(axis=0) > 0, data.std(axis=0), 1.0)
        target = 0 if load is load_wine else 36 if load is load_digits else -1
        X, y = np.delete(data, target, axis=1), data[:, target]
        logs = []
        for seed in range(30):
            order = np.random.default_rng(seed).permutation(len(y))
            train, test = order[:60], order[60:]
            ours, ridge = (
                np.mean((m.fit(X[train], y[train]).predict(X[test]) - y[test]) ** 2)
                for m in (DistilledRidgeCV(PENALTIES), RidgeCV(PENALTIES))
            )
            logs.append(np.log(ours / ridge))
        means.append(np.mean(logs))
        errors.append(np.std(logs) / np.sqrt(len(logs)))
    assert max(means) < 0.005
    assert np.mean(means) < -2 * np.linalg.norm(errors) / len(errors)
