"""Exact K-fold predictions of every student against refitting without each fold."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, ShuffleSplit, TimeSeriesSplit

import fastdistill as fd
from fastdistill.spectral import folds as room
from tests import oracle
from tests.test_leave_one_out import problem_of
from tests.test_path import make_spectrum

SCHEDULES = (np.empty(0), np.ones(3), np.array([-1.5, 2.5]), np.array([0.3, 0.7, 4.0]))
TABLE = list(product(("design", "kernel"), oracle.REGIMES, (False, True), oracle.WEIGHTS))


def relative(ours, exact):
    return np.abs(ours - exact).max() / max(np.abs(exact).max(), 1e-300)


def refits(rows, y, lam, xi, splits, *, kernel, fit_intercept=False, sample_weight=None):
    """Predictions (k + 1, n, m) for the test part of each split by students refitted on its training part."""
    predictions = np.full((len(xi) + 1, *y.shape), np.nan)
    for train, test in splits:
        students = oracle.students(
            rows[np.ix_(train, train)] if kernel else rows[train],
            y[train],
            lam,
            xi,
            kernel=kernel,
            fit_intercept=fit_intercept,
            sample_weight=None if sample_weight is None else sample_weight[train],
        )
        predictions[:, test] = students.predict(rows[np.ix_(test, train)] if kernel else rows[test])
    return predictions


@pytest.fixture(params=["samples", "directions", "refit"])
def way(request, monkeypatch):
    """Each of the three ways, whatever it costs."""
    chosen = {"samples": room._BySamples, "directions": room._ByDirections, "refit": None}[request.param]
    monkeypatch.setattr(room.LeftOut, "_cheapest", lambda *_: chosen)
    return request.param


@pytest.mark.parametrize(("cell", "case"), list(enumerate(TABLE)), ids=["-".join(map(str, c)) for c in TABLE])
def test_equals_refitting_without_each_fold(cell, case, rng):
    """A design in both its forms, every other one with zeros, and a kernel; folds of samples that are no neighbours."""
    rows, y, w, spectra, top = problem_of(cell, case, rng)
    data, _, fit_intercept, _ = case
    xi = SCHEDULES[cell % 4]
    splits = list(KFold(2 + cell % 4, shuffle=True, random_state=cell).split(rows))
    paths = [spectrum.path(y, top * np.array([1e-3, 0.1, 10.0]), xi) for spectrum in spectra]
    options = {"kernel": data == "kernel", "fit_intercept": fit_intercept, "sample_weight": w}
    for path in paths:
        found, mse = path.cv(splits), path.cv_mse(splits)
        for i, lam in enumerate(path.lam):
            exact = refits(rows, y, lam, xi, splits, **options)
            assert relative(found[i], exact) <= 1e-9
            errors = np.average((y - exact) ** 2, axis=1, weights=np.ones(len(y)) if w is None else w)
            np.testing.assert_allclose(mse[i], errors, rtol=1e-8)


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", ["none", "some_zero"])
@pytest.mark.parametrize("regime", ["wide", "tall", "rank_deficient"])
def test_every_way_equals_refitting(way, kernel, fit_intercept, kind, regime, rng):
    X = oracle.design(regime, rng)
    rows = oracle.rbf(X, X, 0.3) if kernel else X
    y, w, xi = rng.standard_normal((len(rows), 2)), oracle.weights(kind, len(rows), rng), np.array([0.3, -1.5, 2.0])
    spectrum = make_spectrum("kernel" if kernel else "design", rows, fit_intercept=fit_intercept, sample_weight=w)
    splits = list(KFold(3).split(rows))
    path = spectrum.path(y, [1e-2, 1.0, 30.0], xi)
    found = path.cv(3)
    for i, lam in enumerate(path.lam):
        exact = refits(rows, y, lam, xi, splits, kernel=kernel, fit_intercept=fit_intercept, sample_weight=w)
        assert relative(found[i], exact) <= 1e-9


def test_axes_and_blocks_of_penalties(rng, monkeypatch):
    X, y = rng.standard_normal((11, 14)), rng.standard_normal(11)
    spectrum = fd.Spectrum.from_design(sp.csr_array(X), fit_intercept=True)
    lam, xi = [2.0, 0.5], [[0.5, 1.0], [1.0, -1.0], [0.0, 2.0]]
    whole = spectrum.path(y, lam, xi)
    cv, mse = whole.cv(4), whole.cv_mse(4)
    assert cv.shape == (2, 3, 3, 11)
    np.testing.assert_allclose(mse, np.square(y - cv).mean(axis=-1), rtol=1e-13)
    monkeypatch.setattr(room, "BLOCK_ENTRIES", 1)
    assert relative(spectrum.path(y, lam, xi).cv(4), cv) <= 1e-13
    assert relative(spectrum.path(y, 0.5, xi[1]).cv(4), cv[1, 1]) <= 1e-13
    assert relative(spectrum.path(np.stack([y, 2 * y], axis=1), lam, xi).cv(4)[..., 1], 2 * cv) <= 1e-13


def test_folds_of_one_sample_are_leave_one_out(rng):
    X, y = rng.standard_normal((9, 12)), rng.standard_normal((9, 2))
    path = fd.Spectrum.from_design(X, fit_intercept=True).path(y, [1e-6, 1.0], [0.5, 2.0])
    assert relative(path.cv(9), path.loo) <= 1e-10
    np.testing.assert_allclose(path.cv_mse(9), path.loo_mse, rtol=1e-9)


@pytest.mark.parametrize("xi", [-0.5, 0.0, 1.0])
def test_of_the_limit_is_the_limit_of_the_students(xi, rng):
    X, y = rng.standard_normal((12, 4)), rng.standard_normal(12)
    spectrum = fd.Spectrum.from_design(X, fit_intercept=True)
    limit = spectrum.limit(y, [8.0, 30.0], xi)
    students = spectrum.path(y, [8.0, 30.0], xi, n_steps=150)
    np.testing.assert_allclose(limit.cv(3), students.cv(3)[:, -1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("skeleton", [1e-2, 1e-8])
def test_combined_systems_keep_every_digit(skeleton, rng, monkeypatch):
    """Many penalties on eigenvalues over six decades: few systems, and iterations for the rest of the digits."""
    monkeypatch.setattr(room, "SKELETON", skeleton)
    monkeypatch.setattr(room.LeftOut, "_cheapest", lambda *_: room._BySamples)
    X, y = rng.standard_normal((60, 40)) * np.logspace(0, -3, 40), rng.standard_normal((60, 2))
    lam, xi = np.logspace(-5, 3, 30), np.array([0.3, -1.5])
    spectrum = fd.Spectrum.from_design(X, fit_intercept=True)
    path = spectrum.path(y, lam, xi)
    assert len(room.LeftOut(spectrum.coordinates, path.rotated, lam, path.family_weights).chosen) < 30
    found, splits = path.cv(5), list(KFold(5).split(X))
    for i in range(30):
        assert relative(found[i], refits(X, y, lam[i], xi, splits, kernel=False, fit_intercept=True)) <= 1e-9


@pytest.mark.parametrize("iterations", [1, 12])
def test_iterations_that_stall_are_replaced_by_refits(iterations, rng, monkeypatch):
    monkeypatch.setattr(room, "SKELETON", 0.5)
    monkeypatch.setattr(room, "MOST_ITERATIONS", iterations)
    monkeypatch.setattr(room.LeftOut, "_cheapest", lambda *_: room._BySamples)
    X, y, lam = rng.standard_normal((20, 30)), rng.standard_normal((20, 1)), np.logspace(-2, 3, 8)
    path = fd.Spectrum.from_design(X).path(y, lam, [0.5])
    found = path.cv(4)
    for i in range(8):
        assert relative(found[i], refits(X, y, lam[i], [0.5], list(KFold(4).split(X)), kernel=False)) <= 1e-9


@pytest.mark.parametrize("lam", [0.0, 1e-14, 1e-10, 1e-6, 1.0])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("shape", [(8, 15), (16, 4)])
def test_tiny_penalties_do_not_cancel(lam, fit_intercept, shape, rng):
    X, y, xi = rng.standard_normal(shape), rng.standard_normal((shape[0], 1)), np.array([1.0, 0.5])
    path = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, lam, xi)
    exact = refits(X, y, lam, xi, list(KFold(4).split(X)), kernel=False, fit_intercept=fit_intercept)
    assert relative(path.cv(4), exact) <= 1e-9


@pytest.mark.parametrize("lam", [0.0, 1e-14, 1e-9, 1e-3])
def test_groups_with_columns_of_their_own(way, lam, rng):
    """Without its group a column is not seen at all: I − H_BB is singular but for the penalty."""
    groups = np.repeat(np.arange(5), 4)
    X = np.hstack([rng.standard_normal((20, 2)), 3.0 * np.eye(5)[groups]])
    y, xi = rng.standard_normal((20, 2)), np.array([0.5, 2.0])
    splits = list(GroupKFold(5).split(X, y, groups))
    path = fd.Spectrum.from_design(X).path(y, [lam, 1.0], xi)
    for train, test in splits:
        # the coefficient of a column of zeros is zero; least squares of the twin would give it rounding errors / lam
        seen = X[:, X[train].any(axis=0)]
        for i, penalty in enumerate(path.lam):
            exact = refits(seen, y, penalty, xi, [(train, test)], kernel=False)[:, test]
            assert relative(path.cv(splits)[i][:, test], exact) <= 1e-9


def test_training_parts_of_any_kind(rng):
    """Ordered in time, smaller than the complement, with repetitions as of a bootstrap, overlapping the test part."""
    X, y, xi = rng.standard_normal((15, 4)), rng.standard_normal((15, 1)), np.array([0.5])
    path = fd.Spectrum.from_design(X, fit_intercept=True).path(y, 0.7, xi)
    bootstrap = rng.integers(0, 15, 12)
    for splits in (
        list(TimeSeriesSplit(3).split(X)),
        list(ShuffleSplit(1, test_size=4, train_size=6, random_state=0).split(X)),
        [(bootstrap, np.setdiff1d(np.arange(15), bootstrap))],
        [(np.arange(10), np.arange(8, 15))],
    ):
        found, exact = path.cv(splits), refits(X, y, 0.7, xi, splits, kernel=False, fit_intercept=True)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-12)
        tested = np.concatenate([test for _, test in splits])
        np.testing.assert_allclose(path.cv_mse(splits), np.square(y - exact)[:, tested].mean(axis=1), rtol=1e-9)


def test_repeated_folds_have_an_error_but_no_predictions(rng):
    X, y = rng.standard_normal((12, 3)), rng.standard_normal(12)
    path = fd.Spectrum.from_design(X).path(y, [0.3, 3.0], [0.5])
    repeated = RepeatedKFold(n_splits=3, n_repeats=4, random_state=0)
    with pytest.raises(ValueError, match="several test parts"):
        path.cv(repeated)
    each = [path.cv_mse(KFold(3, shuffle=True, random_state=i)) for i in range(3)]
    pairs = [pair for i in range(3) for pair in KFold(3, shuffle=True, random_state=i).split(X)]
    np.testing.assert_allclose(path.cv_mse(pairs), np.mean(each, axis=0), rtol=1e-12)
    assert np.isfinite(path.cv_mse(repeated)).all()


def test_splits_of_every_kind_are_the_same(rng):
    X, y = rng.standard_normal((12, 3)), rng.standard_normal(12)
    path = fd.Spectrum.from_design(X).path(y, 0.3, [0.5])
    pairs = list(KFold(3).split(X))
    masks = [(np.isin(np.arange(12), train), np.isin(np.arange(12), test)) for train, test in pairs]
    for splits in (KFold(3), np.int64(3), pairs, iter(pairs), masks, [(list(a), list(b)) for a, b in pairs]):
        np.testing.assert_array_equal(path.cv(splits), path.cv(3))


@pytest.mark.parametrize(
    ("splits", "error", "message"),
    [
        (1, ValueError, "splits must be at least 2"),
        (13, ValueError, "use at most 12"),
        ([], ValueError, "empty"),
        ([(np.arange(6), np.arange(6, 13))], ValueError, "index 12 of 12"),
        ([(np.arange(6), np.array([-1]))], ValueError, "index -1 of 12"),
        ([(np.arange(6.0), np.arange(6, 12))], TypeError, "pairs of index arrays"),
        ("kfold", TypeError, "pairs of index arrays|number of folds"),
        (None, TypeError, "number of folds"),
        ([(np.arange(6), np.array([7, 7]))], ValueError, "several test parts"),
    ],
)
def test_bad_splits_are_refused(splits, error, message, rng):
    path = fd.Spectrum.from_design(rng.standard_normal((12, 3))).path(rng.standard_normal(12), 0.3, [0.5])
    with pytest.raises(error, match=message):
        path.cv(splits)


def test_nothing_left_to_fit_is_nan(rng):
    X, y, w = rng.standard_normal((6, 2)), rng.standard_normal(6), np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    path = fd.Spectrum.from_design(X, sample_weight=w).path(y, 0.3, [0.5])
    found = path.cv(2)
    assert np.isnan(found[:, :3]).all()
    np.testing.assert_allclose(found[:, 3:], path.fitted[:, 3:], rtol=1e-12)
    with pytest.raises(ValueError, match="positive weight"):
        path.cv_mse([(np.arange(3), np.arange(3, 6))])


def test_indefinite_kernels_and_single_precision(way, rng):
    X, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 1))
    K = np.tanh(0.5 * X @ X.T - 0.5)
    if way != "directions":
        path = fd.Spectrum.from_symmetric(K, True, None, indefinite=True).path(y, 9.0, [0.5])
        assert path.spectrum.smallest < 0
        exact = refits(K, y, 9.0, [0.5], list(KFold(3).split(X)), kernel=True, fit_intercept=True)
        assert relative(path.cv(3), exact) <= 1e-9
    single = fd.Spectrum.from_design(X.astype(np.float32)).path(y, 0.7, [0.5]).cv(3)
    assert single.dtype == np.float32
    double = fd.Spectrum.from_design(X.astype(np.float32).astype(float)).path(y, 0.7, [0.5]).cv(3)
    assert relative(single, double) <= 1e-6


def test_targets_of_extreme_size_and_solvers(rng):
    X, y = rng.standard_normal((12, 3)), rng.standard_normal(12)
    spectrum = fd.Spectrum.from_design(X)
    np.testing.assert_allclose(
        spectrum.path(1e200 * y, 0.3, [0.5]).cv(3), 1e200 * spectrum.path(y, 0.3, [0.5]).cv(3), rtol=1e-12
    )
    for solver in ("cholesky", "krylov"):
        with pytest.raises(ValueError, match="solver='auto'"):
            fd.Spectrum.from_design(X, solver=solver).path(y, 0.3, [0.5]).cv(3)


def test_sums_without_rows_refuse(rng):
    acc = fd.GramAccumulator().partial_fit(rng.standard_normal((12, 3)), rng.standard_normal(12))
    path = acc.path(0.3, [0.5])
    for needs_rows in (path.cv, path.cv_mse):
        with pytest.raises(AttributeError, match="Sums hold no rows"):
            needs_rows(3)


def test_the_cheapest_way(rng):
    """Few samples left out of many directions, many samples of few directions, and most samples of a kernel."""
    X, y = rng.standard_normal((60, 50)), rng.standard_normal(60)
    K = oracle.rbf(X, X, 0.02)
    for spectrum, left_out, wanted in (
        (fd.Spectrum.from_kernel(K), 6, room._BySamples),
        (fd.Spectrum.from_design(X[:, :4]), 30, room._ByDirections),
        (fd.Spectrum.from_kernel(K), 50, None),
    ):
        path = spectrum.path(y, np.logspace(-1, 2, 9), [])
        left = room.LeftOut(spectrum.coordinates, path.rotated, path.lam, path.family_weights)
        assert left._cheapest(left_out, 60 - left_out) is wanted


def test_a_fold_of_samples_without_weight(rng):
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    path = fd.Spectrum.from_design(X, True, np.repeat([1.0, 0.0], [20, 10])).path(y, [0.5, 2.0], [0.4])
    found = path.cv([(np.arange(20), np.arange(20, 30))])
    np.testing.assert_allclose(found[..., 20:], path.predict(X[20:]), rtol=1e-9)
