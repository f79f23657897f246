"""`GramAccumulator`: sums over blocks of rows give the students of all rows."""

from __future__ import annotations

import pickle
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
import scipy.sparse as sp

import fastdistill as fd
from tests import oracle

LAM, XI = [0.1, 2.0], [[0.5, 1.0, -0.3], [1.0, 1.0, 1.0]]
RESULTS = ("coef", "intercept", "dof", "train_mse", "gcv", "error_estimate", "filters")


def problem(rng, weighting="none", regime="tall", m=None, n=60, p=6):
    X = {
        "tall": lambda: rng.standard_normal((n, p)) + np.arange(p),
        "deficient": lambda: rng.standard_normal((n, 3)) @ rng.standard_normal((3, p)) + 1.0,
        "wide": lambda: rng.standard_normal((12, 2 * p + 8)),
        "constant": lambda: np.column_stack([np.full(n, 0.1), rng.standard_normal((n, p))]),
        "sparse": lambda: np.where(rng.random((n, 40)) < 0.04, rng.standard_normal((n, 40)), 0.0),
        "far and sparse": lambda: np.column_stack(
            [1e8 + rng.random(n), np.where(rng.random((n, 60)) < 0.04, 1.0, 0.0), np.full(n, 0.3)]
        ),
    }[regime]()
    y = rng.standard_normal(len(X) if m is None else (len(X), m)) + 3.0
    w = {
        "none": None,
        "weights": rng.random(len(X)) + 0.1,
        "zeros": rng.random(len(X)) * (np.arange(len(X)) % 9 > 2),
    }[weighting]
    return X, y, w


def split(X, y, w, n_blocks=7, kind=np.asarray):
    """Blocks (X, y) or (X, y, w)."""
    parts = np.array_split(np.arange(len(X)), n_blocks)
    return [(kind(X[i]), y[i]) if w is None else (kind(X[i]), y[i], w[i]) for i in parts]


def summed(blocks, fit_intercept=True):
    acc = fd.GramAccumulator(fit_intercept)
    for block in blocks:
        acc.partial_fit(*block)
    return acc


def assert_same(path, other, rtol=1e-10):
    for name in RESULTS:
        ours, theirs = getattr(path, name), getattr(other, name)
        assert ours.shape == theirs.shape, name
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max(), err_msg=name)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighting", ["none", "weights", "zeros"])
@pytest.mark.parametrize("m", [None, 3])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("regime", ["tall", "deficient", "wide", "constant", "sparse"])
def test_sums_of_blocks_give_the_students_of_all_rows(fit_intercept, weighting, m, kind, regime, rng):
    X, y, w = problem(rng, weighting, regime, m)
    whole = fd.Spectrum.from_design(X, fit_intercept, w, solver="svd").path(y, LAM, XI)
    blocks = split(X, y, w, kind=kind)
    acc = summed(blocks, fit_intercept)
    path = acc.path(LAM, XI)
    assert (acc.n_samples, acc.n_features) == X.shape
    assert_same(path, whole)
    np.testing.assert_allclose(path.predict(X[:5]), whole.predict(X[:5]), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(path.mse(X[:5], y[:5]), whole.mse(X[:5], y[:5]), rtol=1e-9)
    np.testing.assert_allclose(path.predict_std(X[:5]), whole.predict_std(X[:5]), rtol=1e-8)
    np.testing.assert_allclose(path.standard_error(X[:5], 0.5), whole.standard_error(X[:5], 0.5), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(acc.loo_mse(blocks, LAM, XI), whole.loo_mse, rtol=1e-9)


@pytest.mark.parametrize("weighting", ["none", "zeros"])
def test_against_refits(weighting, rng):
    """The naive twins, which share nothing with the package."""
    X, y, w = problem(rng, weighting, m=2)
    acc = summed(split(X, y, w))
    naive = oracle.students(X, y, 0.7, XI[0], kernel=False, fit_intercept=True, sample_weight=w)
    path = acc.path(0.7, XI[0])
    for name, theirs in {"coef": naive.parameters, "intercept": naive.intercept, "dof": naive.dof}.items():
        np.testing.assert_allclose(getattr(path, name), theirs, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(path.train_mse, naive.train_mse, rtol=1e-9)
    np.testing.assert_allclose(path.gcv, naive.gcv, rtol=1e-9)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_axes_are_those_of_a_path(kind, rng):
    X, y, _ = problem(rng, regime="sparse", m=2)
    blocks = split(X, y, None, kind=kind)
    acc, S = summed(blocks), fd.Spectrum.from_design(X, True)
    several = [[0.5], [1.0], [0.2]]
    for lam, xi, n_steps in ((1.0, 0.5, 2), ([1.0, 2.0], [0.5], None), (1.0, several, None), (1.0, [], None)):
        assert_same(acc.path(lam, xi, n_steps), S.path(y, lam, xi, n_steps), rtol=1e-9)
        assert acc.loo_mse(blocks, lam, xi, n_steps).shape == S.path(y, lam, xi, n_steps).loo_mse.shape


def test_float32_is_summed_in_float64(rng):
    X, y, w = problem(rng, "weights")
    X = X.astype(np.float32)
    acc = summed(split(X, y, w))
    path, whole = acc.path(LAM, XI), fd.Spectrum.from_design(X.astype(float), True, w).path(y, LAM, XI)
    assert path.coef.dtype == np.float32
    np.testing.assert_allclose(path.coef, whole.coef, rtol=2e-7, atol=1e-8)
    assert acc.partial_fit(X[:3].astype(float), y[:3]).path(1.0, []).coef.dtype == np.float64


@pytest.mark.parametrize("weighting", ["none", "zeros"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_any_order_and_any_tree_of_merges(weighting, fit_intercept, rng):
    X, y, w = problem(rng, weighting, m=2)
    whole = summed(split(X, y, w, 1), fit_intercept).path(LAM, XI)
    blocks = split(X, y, w, 20)
    for _ in range(4):
        rng.shuffle(blocks)
        leaves = [summed([block], fit_intercept) for block in blocks]
        while len(leaves) > 1:
            first, second = rng.choice(len(leaves), 2, replace=False)
            merged = fd.GramAccumulator(fit_intercept).merge(leaves[first]).merge(leaves[second])
            leaves = [leaf for i, leaf in enumerate(leaves) if i not in (first, second)] + [merged]
        assert leaves[0].n_samples == len(X)
        assert_same(leaves[0].path(LAM, XI), whole, rtol=1e-12)
        halves = summed(blocks[:10], fit_intercept), summed(blocks[10:], fit_intercept)
        assert_same(reduce(fd.GramAccumulator.merge, halves).path(LAM, XI), whole, rtol=1e-12)


def test_single_rows(rng):
    X, y, w = problem(rng, "weights", "deficient")
    acc = summed(split(X, y, w, len(X)))
    assert_same(acc.path(LAM, XI), fd.Spectrum.from_design(X, True, w).path(y, LAM, XI))


def test_an_empty_accumulator_merges_as_nothing(rng):
    X, y, w = problem(rng, "weights")
    acc = summed(split(X, y, w))
    before = acc.path(LAM, XI).coef
    assert acc.merge(fd.GramAccumulator()) is acc
    np.testing.assert_array_equal(acc.path(LAM, XI).coef, before)
    np.testing.assert_array_equal(fd.GramAccumulator().merge(acc).path(LAM, XI).coef, before)


def test_pickled_in_the_middle(rng):
    X, y, w = problem(rng, "weights", m=2)
    blocks, acc = split(X, y, w), fd.GramAccumulator()
    for block in blocks:
        acc.partial_fit(*block)
        acc.path(1.0, [])
        acc = pickle.loads(pickle.dumps(acc))
    np.testing.assert_array_equal(acc.path(LAM, XI).coef, summed(blocks).path(LAM, XI).coef)
    path = pickle.loads(pickle.dumps(acc.path(LAM, XI)))
    np.testing.assert_array_equal(path.gcv, acc.path(LAM, XI).gcv)


def test_a_path_is_that_of_the_samples_before_it(rng):
    X, y, _ = problem(rng)
    blocks = split(X, y, None, 2)
    acc = summed(blocks[:1])
    early = acc.path(1.0, [0.5])
    acc.partial_fit(*blocks[1])
    np.testing.assert_array_equal(early.coef, summed(blocks[:1]).path(1.0, [0.5]).coef)
    assert np.abs(acc.path(1.0, [0.5]).coef - early.coef).max() > 1e-3


def exact_ridge(X, y, w, lam):
    """Coefficients of ridge and the mean of y in rational arithmetic."""
    rows, targets, weights = [list(map(Fraction, row)) for row in X], list(map(Fraction, y)), list(map(Fraction, w))
    total, p = sum(weights), len(X[0])
    mean = [sum(w * row[j] for w, row in zip(weights, rows, strict=True)) / total for j in range(p)]
    y_mean = sum(w * v for w, v in zip(weights, targets, strict=True)) / total
    system = [[Fraction(lam) * (i == j) for j in range(p)] + [Fraction(0)] for i in range(p)]
    for row, v, w in zip(rows, targets, weights, strict=True):
        centred = [a - b for a, b in zip(row, mean, strict=True)] + [v - y_mean]
        for i in range(p):
            for j in range(p + 1):
                system[i][j] += w * centred[i] * centred[j]
    for i in range(p):  # positive definite: no pivoting
        for k in range(p):
            if k != i:
                factor = system[k][i] / system[i][i]
                system[k] = [a - factor * b for a, b in zip(system[k], system[i], strict=True)]
    return np.array([float(system[i][p] / system[i][i]) for i in range(p)]), float(y_mean)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_blocks", [1, 5, 40])
def test_means_far_larger_than_the_spread_lose_nothing(kind, weighted, n_blocks, rng):
    """Means of 1e8 and 1e12 spreads, also of y, in exact arithmetic on the same floating-point numbers."""
    X = rng.standard_normal((40, 3)) + np.array([1e8, -1e12, 0.0])
    y = X[:, 0] - 1e8 + rng.standard_normal(40) + 1e9
    w = rng.random(40) + 0.01 if weighted else np.ones(40)
    coef, y_mean = exact_ridge(X.tolist(), y.tolist(), w.tolist(), 0.5)
    X = np.column_stack([X, np.zeros((40, 30))]) if kind is sp.csr_array else X  # sparse sums, not those of dense rows
    acc = summed(split(X, y, w if weighted else None, n_blocks, kind))
    path = acc.path(0.5, [])
    np.testing.assert_allclose(path.coef[0, :3], coef, rtol=1e-13)
    centred = X[:, :3] - X[:, :3].mean(axis=0)  # other numbers, rounded to 1e-16 of 1e12
    error = fd.Spectrum.from_design(centred, True, w).path(y, 0.5, []).mse(centred, y)
    np.testing.assert_allclose(path.mse(X, y), error, rtol=1e-6)
    assert abs(path.targets.mean[0] - y_mean) <= 2 * np.spacing(y_mean)


def test_blocks_that_drift(rng):
    """Means that move by 1e8 spreads from block to block: the first block's mean is no reference for the others."""
    X = rng.standard_normal((60, 3)) + np.repeat(np.array([0.0, 1e8, -3e8]), 20)[:, None] * [1.0, 0.0, 0.0]
    y = rng.standard_normal(60)
    whole = fd.Spectrum.from_design(X, True, solver="svd").path(y, LAM, XI)
    assert_same(summed(split(X, y, None, 3)).path(LAM, XI), whole, rtol=1e-10)


@pytest.mark.parametrize("regime", ["far and sparse", "constant"])
def test_columns_far_from_zero_and_constant_columns(regime, rng):
    X, y, _ = problem(rng, regime=regime)
    for w in (None, rng.random(len(X))):
        whole = fd.Spectrum.from_design(X, True, w, solver="svd").path(y, LAM, XI)
        for kind in (np.asarray, sp.csr_array):
            for n_blocks in (1, 3, 60):
                assert_same(summed(split(X, y, w, n_blocks, kind)).path(LAM, XI), whole, rtol=1e-9)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e9 / 7])
def test_a_constant_column_has_no_sum_of_squares(value, rng):
    """Its rounded mean differs from it, and the correction for that must not leave a negative square."""
    X, y = np.column_stack([np.full(997, value), rng.standard_normal(997)]), rng.standard_normal(997)
    for w in (None, rng.random(997)):
        for n_blocks in (1, 3, 50):
            path = summed(split(X, y, w, n_blocks)).path(1e-12, [])
            assert path.coef[0, 0] == 0.0
            assert_same(path, fd.Spectrum.from_design(X, True, w, solver="svd").path(y, 1e-12, []), rtol=1e-9)


def test_columns_of_very_different_sizes(rng):
    X = rng.standard_normal((80, 4)) * [1e-7, 1.0, 1e6, 1e9]
    X = np.column_stack([X, X[:, 2] / 1e3 - X[:, 3]])  # and one that depends on others
    y = X @ [1e7, 1.0, 1e-6, 1e-9, 0.0] + rng.standard_normal(80)
    for lam in (1e-15, 1.0):
        path = summed(split(X, y, None, 4)).path(lam, XI)
        whole = fd.Spectrum.from_design(X, True).path(y, lam, XI)
        np.testing.assert_allclose(path.predict(X), whole.predict(X), rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(path.dof, whole.dof, rtol=1e-9)


def test_zero_weight_is_a_sample_left_out(rng):
    X, y, w = problem(rng, "zeros")
    garbage = X.copy()
    garbage[w == 0] = 1e6
    blocks = split(garbage, y, w, 20)
    assert any(not block[2].any() for block in blocks), "a block without any weight"
    acc = summed(blocks)
    kept = w > 0
    whole = fd.Spectrum.from_design(X[kept], True, w[kept]).path(y[kept], LAM, XI)
    path = acc.path(LAM, XI)
    assert acc.n_samples == len(X)
    for name in ("coef", "intercept", "dof", "train_mse", "gcv"):
        np.testing.assert_allclose(getattr(path, name), getattr(whole, name), rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(acc.loo_mse(blocks, LAM, XI), whole.loo_mse, rtol=1e-10)
    with pytest.raises(ValueError, match="zero for every sample"):
        summed([(X, y, np.zeros(len(X)))]).path(1.0, [])


@pytest.mark.parametrize("scale", [1e-160, 1e-80, 1e80, 1e200])
def test_targets_of_any_size(scale, rng):
    X, y, _ = problem(rng, m=2)
    y[:30] *= 1e-3  # blocks whose own unit differs
    blocks = split(X, y * scale, None, 6)
    acc = summed([(X[:20], np.zeros((20, 2))), *blocks, (X[:20], np.zeros((20, 2)))])
    whole = fd.Spectrum.from_design(np.vstack([X, X[:20], X[:20]]), True)
    path = whole.path(np.vstack([y, np.zeros((40, 2))]), LAM, XI)
    np.testing.assert_allclose(acc.path(LAM, XI).coef / scale, path.coef, rtol=1e-10, atol=1e-13)


def test_an_interpolating_design_has_no_error(rng):
    X, y = rng.standard_normal((8, 20)), rng.standard_normal(8)
    blocks = split(X, y, None, 3)
    acc = summed(blocks)
    whole = fd.Spectrum.from_design(X, True).path(y, [1e-9, 1.0], [0.5])
    np.testing.assert_allclose(acc.path([1e-9, 1.0], [0.5]).train_mse, whole.train_mse, rtol=1e-6)
    np.testing.assert_allclose(acc.loo_mse(blocks, [1e-9, 1.0], [0.5]), whole.loo_mse, rtol=1e-7)


def test_memory_maps_and_rows_in_several_pieces(tmp_path, rng, monkeypatch):
    X, y, w = problem(rng, "weights", n=500)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr("fastdistill.spectral.summed_path.BLOCK_ENTRIES", 64)
    monkeypatch.setattr("fastdistill.spectral.summed_path.MOST_ENTRIES", 256)
    whole = fd.Spectrum.from_design(X, True, w).path(y, LAM, XI)
    for rows in (mapped, X, np.asfortranarray(X), X.tolist(), sp.csr_array(X), sp.csc_array(X), sp.coo_array(X)):
        acc = fd.GramAccumulator().partial_fit(rows, y, w)
        assert_same(acc.path(LAM, XI), whole)
        np.testing.assert_allclose(acc.loo_mse([(rows, y, w)], LAM, XI), whole.loo_mse, rtol=1e-10)


def test_what_needs_rows_says_so(rng):
    X, y, _ = problem(rng)
    path = summed(split(X, y, None)).path(1.0, [0.5])
    for name in ("fitted", "loo", "loo_mse"):
        assert not hasattr(path, name)
        with pytest.raises(AttributeError, match=r"no rows.*acc\.loo_mse\(blocks, lam, xi\)"):
            getattr(path, name)
    with pytest.raises(AttributeError, match="no dual_coef"):
        path.dual_coef  # noqa: B018  # reading it raises


BAD = {
    "NaN": lambda X, y, w: (np.where(np.arange(X.size).reshape(X.shape) == 7, np.nan, X), y, w),
    "features": lambda X, y, w: (X[:, 1:], y, w),
    "rows": lambda X, y, w: (X, y[1:], w),
    "2-D": lambda X, y, w: (X, y[:, None], w),
    "targets": lambda X, y, w: (X, np.where(np.arange(len(y)) == 3, np.inf, y), w),
    "negative": lambda X, y, w: (X, y, -w),
    "entries": lambda X, y, w: (X, y, w[1:]),
    "too large": lambda X, y, w: (X * 1e120, y, w),
    "empty": lambda X, y, w: (X[:0], y[:0], w[:0]),
    "text": lambda X, y, w: (X.astype(str), y, w),
    "must be 2-D": lambda X, y, w: (X[0], y, w),
}


@pytest.mark.parametrize("what", BAD)
def test_a_block_that_is_refused_changes_nothing(what, rng, monkeypatch):
    monkeypatch.setattr("fastdistill.spectral.summed_path.BLOCK_ENTRIES", 1)  # the error is in a later piece
    monkeypatch.setattr("fastdistill.spectral.summed_path.MOST_ENTRIES", 1)
    X, y, w = problem(rng, "weights")
    acc = summed(split(X, y, w))
    before = pickle.dumps(acc)
    match = {"targets": "y_block contains inf", "rows": "59 rows", "negative": "negative"}.get(what, what)
    with pytest.raises((ValueError, TypeError), match=match):
        acc.partial_fit(*BAD[what](X, y, w))
    assert pickle.dumps(acc) == before


def test_errors_name_what_is_wrong(rng):
    X, y, _ = problem(rng)
    acc = summed(split(X, y, None))
    with pytest.raises(ValueError, match="No samples yet"):
        fd.GramAccumulator().path(1.0, [])
    with pytest.raises(ValueError, match="sums about zero"):
        acc.merge(summed(split(X, y, None), False))
    with pytest.raises(ValueError, match="other has 4 features"):
        acc.merge(summed([(X[:, :4], y)]))
    with pytest.raises(ValueError, match=r"other has 2 targets \(2-D\), but the samples before have one 1-D target"):
        acc.merge(summed([(X, np.stack([y, y], axis=1))]))
    with pytest.raises(TypeError, match="must be a GramAccumulator"):
        acc.merge(X)
    with pytest.raises(TypeError, match="fit_intercept"):
        fd.GramAccumulator(fit_intercept="yes")
    with pytest.raises(ValueError, match="lam"):
        acc.path(-1.0, [])
    with pytest.raises(ValueError, match="n_steps"):
        acc.path(1.0, 0.5)


def test_leave_one_out_needs_the_samples_that_were_summed(rng):
    X, y, _ = problem(rng)
    blocks = split(X, y, None)
    acc = summed(blocks)
    with pytest.raises(ValueError, match="The blocks hold 51 samples"):
        acc.loo_mse(blocks[1:], 1.0, [0.5])
    with pytest.raises(ValueError, match="hold 0 samples"):
        acc.loo_mse(iter([]), 1.0, [0.5])
    with pytest.raises(ValueError, match="of total weight 120"):
        acc.loo_mse([(X, y, 2.0)], 1.0, [0.5])
    with pytest.raises(TypeError, match="must yield"):
        acc.loo_mse([X], 1.0, [0.5])
    with pytest.raises(ValueError, match="must have 6 features"):
        acc.loo_mse([(X[:, :4], y)], 1.0, [0.5])
    with pytest.raises(ValueError, match="2 targets"):
        acc.loo_mse([(X, np.stack([y, y], axis=1))], 1.0, [0.5])


def test_it_says_what_it_holds(rng):
    X, y, _ = problem(rng)
    assert repr(fd.GramAccumulator(False)) == "GramAccumulator(n_samples=0, n_features=None, fit_intercept=False)"
    acc = summed(split(X, y, None))
    assert repr(acc) == "GramAccumulator(n_samples=60, n_features=6, fit_intercept=True)"
    assert "rank=6" in repr(acc.path(1.0, []))


@pytest.mark.parametrize("options", [{}, {"n_steps": 2, "strategy": "joint"}, {"strategy": "ridge"}, {"n_steps": 3}])
@pytest.mark.parametrize("m", [None, 2])
def test_tuned_from_sums_as_from_rows(options, m, rng):
    X, y, w = problem(rng, "zeros", m=m)
    y = y + X @ rng.standard_normal((6,) if m is None else (6, m))
    # of smaller penalties the steps are nearly dependent, and their weights not determined
    options = {"scoring": "gcv", "alphas": np.logspace(0, 3, 7), **options}
    ours = fd.DistilledRidgeCV(**options).fit_accumulated(summed(split(X, y, w)))
    theirs = fd.DistilledRidgeCV(**options).fit(X, y, sample_weight=w)
    assert ours.alpha_ == theirs.alpha_
    assert ours.n_steps_ == theirs.n_steps_
    assert ours.n_features_in_ == 6
    for name in ("coef_", "intercept_", "xi_", "best_score_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(ours.cv_results_["scores"], theirs.cv_results_["scores"], rtol=1e-8)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6)
    assert (ours.verdict_ is None) == bool(ours.n_steps_)


@pytest.mark.parametrize("scale", [1e-90, 1e90])
def test_tuned_for_targets_of_any_size(scale, rng):
    X, y, _ = problem(rng)
    ours = fd.DistilledRidgeCV(scoring="gcv").fit_accumulated(summed(split(X, y * scale, None)))
    theirs = fd.DistilledRidgeCV(scoring="gcv").fit(X, y)
    assert ours.alpha_ == theirs.alpha_
    np.testing.assert_allclose(ours.coef_ / scale, theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.best_score_ / scale / scale, theirs.best_score_, rtol=1e-9)


def test_predictions_of_a_tuned_model_far_from_zero(rng):
    X = rng.standard_normal((60, 3)) + 1e9
    y = X[:, 0] - 1e9 + 0.1 * rng.standard_normal(60)
    ours = fd.DistilledRidgeCV(scoring="gcv").fit_accumulated(summed(split(X, y, None)))
    np.testing.assert_allclose(ours.predict(X), fd.DistilledRidgeCV(scoring="gcv").fit(X, y).predict(X), rtol=1e-9)


def test_what_tuning_from_sums_cannot_do_is_said(rng):
    X, y, _ = problem(rng)
    acc = summed(split(X, y, None))
    with pytest.raises(ValueError, match='needs scoring="gcv", got None'):
        fd.DistilledRidgeCV().fit_accumulated(acc)
    with pytest.raises(ValueError, match="fit_intercept is False here, but True in acc"):
        fd.DistilledRidgeCV(scoring="gcv", fit_intercept=False).fit_accumulated(acc)
    with pytest.raises(TypeError, match="GramAccumulator"):
        fd.DistilledRidgeCV(scoring="gcv").fit_accumulated(X)
    both = summed(split(X, np.stack([y, y], axis=1), None))
    with pytest.raises(ValueError, match="alpha_per_target"):
        fd.DistilledRidgeCV(scoring="gcv", alpha_per_target=True).fit_accumulated(both)
    X = rng.standard_normal((200, 30))
    X[:, 0] *= 4.0  # the signal in one direction of large variance: distillation would be tried
    acc = summed(split(X, X[:, 0] + 2.0 * rng.standard_normal(200), None))
    with pytest.raises(ValueError, match=r"evidence supports distillation.*need the rows"):
        fd.DistilledRidgeCV(scoring="gcv").fit_accumulated(acc)
