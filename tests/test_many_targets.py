"""Many targets at once: against one fit for each, against refits written out, and in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import fastdistill as fd
from fastdistill import DistilledKernelRidgeCV, DistilledRidgeClassifierCV, DistilledRidgeCV
from fastdistill.selection import search
from fastdistill.selection.concentrated import Concentrated
from fastdistill.spectral import leave_one_out as room

GRID = np.append(0.0, np.logspace(-3, 4, 9))


def many(rng, n=120, p=20, m=9):
    """Targets of one direction, which are distilled, of all columns, constant, zero, and of extreme sizes."""
    X = rng.standard_normal((n, p))
    X[:, 0] *= 4.0
    y = X @ rng.standard_normal((p, m)) + rng.standard_normal((n, m))
    y[:, :3] = X[:, [0]] * [1.0, -3.0, 0.5] + rng.standard_normal((n, 3))
    y[:, 3], y[:, 4], y[:, 5], y[:, 6] = 0.0, 7.0, y[:, 5] * 1e80, y[:, 6] * 1e-60
    return X, y


OPTIONS = [
    {},
    {"n_steps": 0},
    {"n_steps": 2},
    {"strategy": "ridge"},
    {"scoring": "gcv"},
    {"cv": 3},
    {"cv": 3, "n_steps": 0},
    {"fit_intercept": False, "n_steps": 1, "bounds": (0.0, 1.0)},
    {"store_cv_results": True},
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("Model", [DistilledRidgeCV, DistilledKernelRidgeCV])
def test_as_one_fit_for_each_target(Model, options, weighted, rng, monkeypatch):
    monkeypatch.setattr(search, "BLOCK_ENTRIES", 4 * 120)  # three blocks of the ordinary targets
    X, y = many(rng)
    weight = rng.integers(0, 3, len(X)) * 1.0 if weighted else None
    y = y / np.abs(y).max() if options.get("store_cv_results") else y  # of which the stored squares are not too large
    kernel = {"kernel": "linear"} if Model is DistilledKernelRidgeCV else {}
    together = Model(GRID[1:], alpha_per_target=True, **options, **kernel).fit(X, y, weight)
    digits = 1e-7 if options.get("n_steps") else 1e-9  # weights of several steps are large
    for j, column in enumerate(y.T):
        alone = Model(GRID[1:], **options, **kernel).fit(X, column, weight)
        same(together, alone, j, digits)
        scale = np.abs(column).max() or 1.0
        coef, intercept = (np.asarray(part) / scale for part in (together.coef_[j], together.intercept_))
        np.testing.assert_allclose(coef, alone.coef_ / scale, rtol=1e-7, atol=1e-9)
        if alone.fit_intercept:
            np.testing.assert_allclose(intercept[j], alone.intercept_ / scale, rtol=1e-7, atol=1e-9)


def same(together, alone, j, digits):
    """The choice for target j."""
    assert together.alpha_[j] == alone.alpha_
    assert together.n_steps_[j] == alone.n_steps_
    np.testing.assert_allclose(together.best_score_[j], alone.best_score_, rtol=digits)
    if isinstance(alone.cv_results_, dict):
        np.testing.assert_allclose(together.cv_results_["scores"][..., j], alone.cv_results_["scores"], rtol=digits)
    else:
        np.testing.assert_allclose(together.cv_results_[:, j], alone.cv_results_, rtol=1e-9, atol=1e-25)
    for name in ("xi_", "mixture_"):
        found, expected = getattr(together, name)[j], getattr(alone, name)
        assert (found is None) == (expected is None)
        if found is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    found, expected = together.evidence_[j], alone.evidence_
    assert (found is None) == (expected is None)
    for name in ("ratio", "gain", "gain_error", "filter", "bound", "lam", "noise_is_known") if found else ():
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6, atol=1e-9)
    found, expected = together.verdict_[j], alone.verdict_
    np.testing.assert_allclose(found.gain, expected.gain, rtol=1e-6)
    assert str(found) == str(expected)


def test_some_targets_are_distilled_and_some_are_not(rng):
    X, y = many(rng)
    found = DistilledRidgeCV(GRID[1:], alpha_per_target=True).fit(X, y)
    assert found.n_steps_[:3].max() == 20
    assert set(found.n_steps_[3:]) == {0}


@pytest.mark.parametrize("per_target", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_against_refits_written_out(per_target, fit_intercept, rng):
    """Leave-one-out by a least-squares solution for each sample, penalty and target."""
    n, p, m = 14, 4, 6
    X, w = rng.standard_normal((n, p)), rng.uniform(0.5, 2.0, n)
    y = X @ rng.standard_normal((p, m)) + rng.standard_normal((n, m))
    penalties = [0.3, 20.0, 400.0]
    errors = np.zeros((3, m))
    for i, lam in enumerate(penalties):
        for left in range(n):
            rest = np.delete(np.arange(n), left)
            rows = np.column_stack([np.full(n, float(fit_intercept)), X])
            penalty = np.diag([1e-300, *[lam] * p])
            gram = rows[rest].T @ (w[rest, None] * rows[rest]) + penalty
            beta = np.linalg.pinv(gram) @ rows[rest].T @ (w[rest, None] * y[rest])
            errors[i] += w[left] * (y[left] - rows[left] @ beta) ** 2
    model = DistilledRidgeCV(penalties, alpha_per_target=per_target, fit_intercept=fit_intercept).fit(X, y, w)
    scores = model.cv_results_["scores"][:, 0]
    np.testing.assert_allclose(-scores * n, errors if per_target else errors.mean(axis=1), rtol=1e-10)
    best = errors.argmin(axis=0) if per_target else errors.sum(axis=1).argmin()
    assert np.array_equal(model.alpha_, np.array(penalties)[best])


@pytest.mark.parametrize("n_steps", [0, 1, 3])
@pytest.mark.parametrize("shape", [(40, 8), (20, 30)])
def test_merged_targets_have_the_same_sums(shape, n_steps, rng):
    """Σ over 60 targets of products of leave-one-out predictions, from r + 1 targets."""
    n, p = shape
    y = rng.standard_normal((n, 60)) + 3.0
    spectrum = fd.Spectrum.from_design(rng.standard_normal((n, p)), True, rng.uniform(0.0, 1.0, n))
    path = spectrum.path(y, GRID, np.ones(n_steps))
    merged = path.rotated.merged()
    assert merged.z.shape == (spectrum.rank, spectrum.rank + 1)
    products = []
    for targets in (path.rotated, merged):
        factors = room.leave_one_out_factors(spectrum.coordinates, targets, GRID, path.family_weights)
        products.append(np.einsum("lij,lik->ljk", factors, factors))
    np.testing.assert_allclose(*products, rtol=1e-9)
    squares = room.ridge_left_out_squares(spectrum.coordinates, merged, GRID).sum(axis=1)
    expected = room.leave_one_out_squares(spectrum.coordinates, path.rotated, GRID, np.ones((len(GRID), 0)))
    np.testing.assert_allclose(squares, expected.sum(axis=(1, 2)), rtol=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_one_target_together_is_one_target_alone(ties, rng):
    """The kernel over targets and the products over members are two ways to the same posterior."""
    d = np.array([4.0, 3.0, 3.0, 3.0, 1.0]) if ties else np.linspace(4.0, 1.0, 5)
    squares, outside = 4.0 * rng.standard_normal((5, 1)) ** 2, np.array([30.0])
    model = Concentrated(d, 40, GRID)
    alone, twice = model.each(squares, outside), model.together(np.tile(squares, (1, 2)), np.tile(outside, 2))
    exact = members_of_two_equal_targets(model, squares[:, 0], 30.0)
    np.testing.assert_allclose(twice.mean[0], exact, rtol=1e-9)
    for name in ("ratio", "mean", "slope", "noise", "lam"):
        found = getattr(model.together(squares, outside), name)
        np.testing.assert_allclose(found, getattr(alone, name), rtol=1e-12)


def members_of_two_equal_targets(model, squares, outside):
    """The mean filter, member by member: the two share W, so that each direction counts twice in its odds."""
    logs, filters = [], []
    groups = np.split(np.arange(len(squares)), model.first[1:])
    for narrow in (0.0, 0.03):
        for share in (0.9, 0.7, 0.5, 0.3, 0.15, 0.07, 0.03, 0.01):
            for signal in model.signal:
                g, wide, thin = outside / (40 - 5), 1 + signal, 1 + narrow * signal
                for update in range(5):
                    density = [np.exp(-squares / (2 * g * v)) / np.sqrt(2 * np.pi * g * v) for v in (wide, thin)]
                    joint = [np.array([np.prod(part[group] ** 2) for group in groups]) for part in density]
                    of_groups = share * joint[0] / (share * joint[0] + (1 - share) * joint[1])
                    belongs = np.concatenate([np.full(len(g_), b) for g_, b in zip(groups, of_groups, strict=True)])
                    if update < 4:
                        g = (np.sum(squares * (belongs / wide + (1 - belongs) / thin)) + outside) / 40
                logs.append(np.log(share * joint[0] + (1 - share) * joint[1]).sum() - outside / g - 35 * np.log(g))
                filters.append(belongs * signal / wide + (1 - belongs) * narrow * signal / thin)
    weight = np.exp(np.array(logs) - max(logs))
    return weight @ np.array(filters) / weight.sum()


@pytest.mark.parametrize("options", [{}, {"cv": 3}, {"scoring": "gcv"}], ids=str)
def test_many_targets_take_the_memory_of_a_block(options, rng, monkeypatch):
    """A penalty for each: beside what is returned, working arrays of a block of targets and not of all."""
    n, p, m = 2000, 4, 1000
    monkeypatch.setattr(search, "BLOCK_ENTRIES", n * m // 20)  # small blocks, as these are few targets
    monkeypatch.setattr("fastdistill.spectral.leave_one_out.LEFT_OUT_ENTRIES", n * m // 16)
    X, y = rng.standard_normal((n, p)), rng.standard_normal((n, m))
    model = DistilledRidgeCV(GRID, alpha_per_target=True, **options).fit(X, y[:, :2])
    tracemalloc.start()
    try:
        model.fit(X, y)
        assert tracemalloc.get_traced_memory()[1] < 0.6 * y.nbytes
    finally:
        tracemalloc.stop()
    assert model.coef_.shape == (m, p)


def test_classes_are_targets_that_share_a_penalty(rng):
    X = rng.standard_normal((150, 6))
    labels = (X[:, 0] > 0) * 6 + np.digitize(X[:, 1], [-1.0, -0.4, 0.0, 0.4, 1.0])
    model = DistilledRidgeClassifierCV(GRID).fit(X, labels)
    signs = np.where(labels[:, None] == model.classes_, 1.0, -1.0)
    twin = DistilledRidgeCV(GRID).fit(X, signs)
    assert model.alpha_ == twin.alpha_
    errors = [np.square(signs - fd.Spectrum.from_design(X, True).path(signs, lam, []).loo[0]).mean() for lam in GRID]
    np.testing.assert_allclose(-model.cv_results_["scores"][:, 0], errors, rtol=1e-9)
