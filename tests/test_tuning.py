"""Tuning on a holdout: exact best mixtures, greedy steps, bounds by grid search, and two published tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

import fastdistill as fd
from tests import oracle

GRID = np.logspace(-2, 2, 5)


def problem(rng, kind="design", m=None, n=14, q=12, p=6):
    """Training rows and targets, holdout rows and targets of a noisy linear model."""
    X, Q = rng.standard_normal((n, p)), rng.standard_normal((q, p))
    theta = rng.standard_normal(p if m is None else (p, m))
    y, yq = X @ theta, Q @ theta
    y, yq = y + rng.standard_normal(y.shape), yq + rng.standard_normal(yq.shape)
    if kind == "kernel":
        return oracle.rbf(X, X, 0.1), y, oracle.rbf(Q, X, 0.1), yq
    return X, y, Q, yq


def spectrum(kind, rows, **options):
    return (fd.Spectrum.from_kernel if kind == "kernel" else fd.Spectrum.from_design)(rows, **options)


def pure_columns(rows, y, queries, lam, k, **options):
    """Holdout predictions of the pure steps 0..k, refitted: (q m, k + 1)."""
    exact = oracle.students(rows, y.reshape(len(y), -1), lam, np.ones(k), **options)
    return exact.predict(queries).reshape(k + 1, -1).T


@pytest.mark.parametrize("kind", ["design", "kernel"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("m", [None, 2])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_joint_weights_are_the_least_squares_mixture(kind, fit_intercept, m, k, rng):
    rows, y, queries, yq = problem(rng, kind, m)
    S = spectrum(kind, rows, fit_intercept=fit_intercept)
    t = fd.tune(S, y, GRID, n_steps=k, criterion=fd.Holdout(queries, yq), strategy="joint")
    assert t.scores.shape == (len(GRID), k + 1)
    exact = np.empty_like(t.scores)
    for i, lam in enumerate(GRID):
        columns = pure_columns(rows, y, queries, lam, k, kernel=kind == "kernel", fit_intercept=fit_intercept)
        for j in range(k + 1):
            exact[i, j] = oracle.best_mixture(columns[:, : j + 1], yq.ravel())[1]
    np.testing.assert_allclose(t.scores, exact, rtol=1e-6)
    assert t.score == pytest.approx(t.scores.min(), rel=1e-12)
    assert t.lam == GRID[np.argmin(t.scores[:, -1])]


@pytest.mark.parametrize("kind", ["design", "kernel"])
@pytest.mark.parametrize("strategy", ["joint", "greedy"])
@pytest.mark.parametrize("bounds", [None, (0, 1)])
def test_the_choice_is_consistent(kind, strategy, bounds, rng):
    rows, y, queries, yq = problem(rng, kind)
    S = spectrum(kind, rows, fit_intercept=True)
    t = fd.tune(S, y, GRID, n_steps=2, criterion=fd.Holdout(queries, yq), strategy=strategy, bounds=bounds)
    assert t.lam in GRID
    assert t.xi.ndim == 1
    np.testing.assert_allclose(fd.mixture_from_xi(t.xi), t.mixture, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(t.path.mse(queries, yq)[-1], t.score, rtol=1e-6)
    np.testing.assert_allclose(S.path(y, t.lam, t.xi).fitted, t.path.fitted, rtol=1e-9)
    assert t.path.fitted.shape == (len(t.xi) + 1, len(y))
    plain = S.path(y, GRID, 1.0, n_steps=0).mse(queries, yq)[:, 0]
    np.testing.assert_allclose(t.scores[:, 0], plain, rtol=1e-9)
    assert t.score <= plain.min() * (1 + 1e-12)
    if bounds is not None:
        assert np.all((t.xi >= 0) & (t.xi <= 1))


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("m", [None, 2])
def test_greedy_weights_are_the_best_of_each_step(fit_intercept, m, rng):
    rows, y, queries, yq = problem(rng, m=m)
    S = fd.Spectrum.from_design(rows, fit_intercept=fit_intercept)
    fit = oracle.fit_design(rows, fit_intercept, None)
    goal, targets = yq.reshape(len(yq), -1), y.reshape(len(y), -1)
    for lam in GRID:
        t = fd.tune(S, y, [lam], n_steps=3, criterion=fd.Holdout(queries, yq), strategy="greedy")
        xi, scores = oracle.greedy_schedule(fit, rows, targets, lam, queries, goal, 3)
        np.testing.assert_allclose(t.scores[0], scores, rtol=1e-8)
        np.testing.assert_allclose(t.score, scores[-1], rtol=1e-8)
        np.testing.assert_allclose(t.xi, xi, rtol=1e-5)


@pytest.mark.parametrize("bounds", [(0, 1), (-0.5, 0.5), (0.2, 2.0)])
@pytest.mark.parametrize("k", [1, 2])
def test_bounded_weights_beat_every_weight_on_a_grid(bounds, k, rng):
    for _ in range(4):
        rows, y, queries, yq = problem(rng)
        S = fd.Spectrum.from_design(rows)
        t = fd.tune(S, y, [0.3, 10.0], n_steps=k, criterion=fd.Holdout(queries, yq), strategy="joint", bounds=bounds)
        assert np.all((t.xi >= bounds[0]) & (t.xi <= bounds[1]))
        for lam, score in zip([0.3, 10.0], t.scores[:, k], strict=True):
            columns = pure_columns(rows, y, queries, lam, k, kernel=False)
            searched = oracle.grid_search(columns, yq, np.linspace(*bounds, 61), k)
            assert score <= searched * (1 + 1e-9)
            assert score >= searched * (1 - 5e-3)


def test_wide_bounds_change_nothing(rng):
    rows, y, queries, yq = problem(rng)
    S, holdout = fd.Spectrum.from_design(rows), fd.Holdout(queries, yq)
    free = fd.tune(S, y, GRID, n_steps=1, criterion=holdout, strategy="joint")
    wide = fd.tune(S, y, GRID, n_steps=1, criterion=holdout, strategy="joint", bounds=(-1e3, 1e3))
    np.testing.assert_allclose(wide.score, free.score, rtol=1e-9)
    np.testing.assert_allclose(wide.xi, free.xi, rtol=1e-6)


@pytest.mark.parametrize("strategy", ["joint", "greedy"])
def test_no_steps_is_ridge(strategy, rng):
    rows, y, queries, yq = problem(rng)
    t = fd.tune(
        fd.Spectrum.from_design(rows),
        y,
        GRID,
        n_steps=0,
        criterion=fd.Holdout(queries, yq),
        strategy=strategy,
    )
    assert t.xi.shape == (0,)
    assert t.mixture.tolist() == [1.0]
    assert t.scores.shape == (len(GRID), 1)


def test_nearly_collinear_steps_stay_finite(rng):
    """Eight pure steps span little more than three directions: weights explode, predictions must not."""
    rows, y, queries, yq = problem(rng, n=30, q=40)
    S = fd.Spectrum.from_design(rows)
    t = fd.tune(S, y, np.logspace(-5, 5, 11), n_steps=8, criterion=fd.Holdout(queries, yq), strategy="joint")
    assert np.all(np.isfinite(t.scores))
    assert np.all(np.diff(t.scores, axis=1) <= 1e-6 * t.scores[:, :-1])
    np.testing.assert_allclose(t.path.mse(queries, yq)[-1], t.score, rtol=1e-3)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("lam", [1e-5, 1e-3, 1e-1])
def test_scores_are_those_of_students_that_can_be_trained(k, lam, rng):
    """For small penalties the powers of a = d / (d + lam) crowd at one: a score must not need weights of 1e13."""
    rows, y, queries, yq = problem(rng, n=30, q=40)
    S = fd.Spectrum.from_design(rows)
    t = fd.tune(S, y, [lam], n_steps=k, criterion=fd.Holdout(queries, yq), strategy="joint")
    np.testing.assert_allclose(t.path.mse(queries, yq)[-1], t.score, rtol=1e-6)
    assert t.score <= t.scores[0, 0]


def test_a_zero_design_cannot_be_improved():
    t = fd.tune(
        fd.Spectrum.from_design(np.zeros((5, 2))),
        np.arange(5.0),
        [1.0],
        n_steps=2,
        criterion=fd.Holdout(np.zeros((3, 2)), np.ones(3)),
        strategy="joint",
    )
    assert np.all(np.isfinite(t.xi))
    np.testing.assert_allclose(t.scores, 1.0)


def standardised(X, y):
    """First 30 % of the rows train, next 30 % validate, the rest test; moments of the training rows."""
    a, b = int(0.3 * len(X)), int(0.6 * len(X))
    X, y = (X - X[:a].mean(axis=0)) / X[:a].std(axis=0), (y - y[:a].mean()) / y[:a].std()
    return (X[:a], y[:a]), (X[a:b], y[a:b]), (X[b:], y[b:])


def air_quality(folder):
    table = pd.read_csv(folder / "air_quality.csv")
    measured = table.drop(columns=["Date", "Time", "NMHC(GT)"])
    table = table[(measured != -200).all(axis=1)]
    assert len(table) == 6941
    sensors = ["PT08.S1(CO)", "PT08.S2(NMHC)", "PT08.S3(NOx)", "PT08.S4(NO2)", "PT08.S5(O3)", "T", "RH", "AH"]
    return table[sensors].to_numpy(float), table["NO2(GT)"].to_numpy(float)


def airfoil(folder):
    table = pd.read_csv(folder / "airfoil_self_noise.csv")
    return table.drop(columns="sound_pressure_db").to_numpy(float), table["sound_pressure_db"].to_numpy(float)


@pytest.mark.parametrize(
    ("load", "published"),
    [(air_quality, [2.0126, 1.9971, 1.0635]), (airfoil, [1.3359, 1.2203, 1.1886])],
    ids=["air_quality", "airfoil"],
)
def test_published_regression_tables(load, published, data_dir):
    """Pareek, Du and Oh 2024 (arXiv 2407.04600): penalty and weights chosen on validation rows."""
    (X, y), (Xv, yv), (Xt, yt) = standardised(*load(data_dir))
    S = fd.Spectrum.from_design(X)
    for k, error in enumerate(published):
        t = fd.tune(S, y, 10.0 ** np.arange(-5, 6), n_steps=k, criterion=fd.Holdout(Xv, yv), strategy="joint")
        assert t.path.mse(Xt, yt)[-1] == pytest.approx(error, abs=5e-4)


# -- Errors ----------------------------------------------------------------------------------------


@pytest.fixture
def small(rng):
    rows, y, queries, yq = problem(rng)
    return fd.Spectrum.from_design(rows), y, queries, yq


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"strategy": "best"}, ValueError, "strategy.*'best'"),
        ({"n_steps": -1}, ValueError, "n_steps.*-1"),
        ({"n_steps": 1.5}, TypeError, "n_steps"),
        ({"bounds": (1, 0)}, ValueError, "bounds"),
        ({"bounds": (np.nan, 1)}, ValueError, "bounds"),
        ({"bounds": 3}, (TypeError, ValueError), "bounds"),
        ({"lam_grid": [-1.0]}, ValueError, "-1"),
        ({"lam_grid": []}, ValueError, "empty"),
        ({"criterion": "nonsense"}, (TypeError, ValueError), "criterion"),
        ({"criterion": 3}, (TypeError, ValueError), "criterion"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)
def test_bad_arguments(change, error, match, small):
    S, y, queries, yq = small
    arguments = {
        "lam_grid": [1.0],
        "n_steps": 2,
        "criterion": fd.Holdout(queries, yq),
        "strategy": "joint",
    } | change
    with pytest.raises(error, match=match):
        fd.tune(S, y, arguments.pop("lam_grid"), **arguments)


@pytest.mark.parametrize(
    ("bend", "match"),
    [
        (lambda Q, v: (Q[:, :-1], v), "features"),
        (lambda Q, v: (Q[:-1], v), "rows"),
        (lambda Q, v: (Q, np.stack([v, v], axis=1)), "target"),
        (lambda Q, v: (Q * np.nan, v), "NaN"),
        (lambda Q, v: (Q, v * np.inf), "inf"),
        (lambda Q, v: (Q[:0], v[:0]), "empty"),
    ],
    ids=["features", "rows", "targets", "nan", "inf", "empty"],
)
def test_bad_holdouts(bend, match, small):
    S, y, queries, yq = small
    with pytest.raises(ValueError, match=match):
        fd.tune(S, y, [1.0], n_steps=1, criterion=fd.Holdout(*bend(queries, yq)), strategy="joint")


def naive_loo_columns(rows, y, lam, k, **options):
    """Pure steps' leave-one-out predictions as columns, sqrt(w)-weighted, and the wanted values."""
    predictions = oracle.leave_one_out(rows, y, lam, np.ones(k), **options)
    w = options.get("sample_weight")
    root = np.ones(len(y)) if w is None else np.sqrt(w)
    columns = (predictions * root[:, None]).reshape(k + 1, -1).T
    return columns, (y * root[:, None]).ravel(), y.shape[1] * (root**2).sum()


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 2])
def test_joint_weights_under_exact_leave_one_out(kernel, fit_intercept, weighted, k, rng):
    X = rng.standard_normal((14, 4))
    rows = oracle.rbf(X, X, 0.3) if kernel else X
    y = X[:, :2] + rng.standard_normal((14, 2))
    options = {"fit_intercept": fit_intercept, "sample_weight": rng.uniform(0.2, 2, 14) if weighted else None}
    S = (fd.Spectrum.from_kernel if kernel else fd.Spectrum.from_design)(rows, **options)
    grid = [0.1, 1.0, 10.0]
    t = fd.tune(S, y, grid, n_steps=k, criterion="loo", strategy="joint")
    best = []
    for lam in grid:
        columns, wanted, total = naive_loo_columns(rows, y, lam, k, kernel=kernel, **options)
        w = np.linalg.lstsq(columns[:, 1:] - columns[:, :1], wanted - columns[:, 0], rcond=None)[0]
        best.append(np.sum((columns @ np.append(1 - w.sum(), w) - wanted) ** 2) / total)
    np.testing.assert_allclose(t.scores[:, k], best, rtol=1e-8)
    assert t.lam == grid[int(np.argmin(best))]
    np.testing.assert_allclose(t.path.loo_mse[-1].mean(), t.score, rtol=1e-8)
    np.testing.assert_allclose(t.scores[:, 0], S.path(y, grid, 1.0, n_steps=0).loo_mse[:, 0].mean(axis=-1), rtol=1e-10)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_one_step_under_gcv_is_the_one_shot_formula(fit_intercept, rng):
    """Dang, Patil and Rinaldo 2026: GCV-correct the residuals of ridge and of the pure step, then weigh them."""
    rows, y, *_ = problem(rng, n=30)
    S = fd.Spectrum.from_design(rows, fit_intercept=fit_intercept)
    grid = [0.5, 5.0, 50.0]
    t = fd.tune(S, y, grid, n_steps=1, criterion="gcv", strategy="joint")
    for i, lam in enumerate(grid):
        exact = oracle.students(rows, y.reshape(30, -1), lam, np.ones(1), kernel=False, fit_intercept=fit_intercept)
        ridge, step = (y.ravel() - exact.fitted[j].ravel() for j in (0, 1))
        ridge, step = (e / (1 - dof / 30) for e, dof in zip((ridge, step), exact.dof, strict=True))
        xi = ridge @ (ridge - step) / np.sum((ridge - step) ** 2)
        score = np.mean(((1 - xi) * ridge + xi * step) ** 2)
        np.testing.assert_allclose(t.scores[i], [np.mean(ridge**2), score], rtol=1e-9)
        if lam == t.lam:
            np.testing.assert_allclose(t.xi, [xi], rtol=1e-7)


@pytest.mark.parametrize("criterion", ["loo", "gcv"])
@pytest.mark.parametrize("strategy", ["joint", "greedy"])
def test_bounds_hold_under_every_criterion(criterion, strategy, rng):
    rows, y, *_ = problem(rng, n=25)
    S = fd.Spectrum.from_design(rows, fit_intercept=True)
    free = fd.tune(S, y, GRID, n_steps=2, criterion=criterion, strategy="joint")
    t = fd.tune(S, y, GRID, n_steps=2, criterion=criterion, strategy=strategy, bounds=(0, 1))
    assert np.all((t.xi >= 0) & (t.xi <= 1))
    assert t.score >= free.score * (1 - 1e-9)


def test_leave_one_out_in_blocks_of_rows(rng, monkeypatch):
    from fastdistill.spectral import leave_one_out as room

    rows, y, *_ = problem(rng, n=25)
    S = fd.Spectrum.from_design(rows)
    whole = fd.tune(S, y, GRID, n_steps=2, criterion="loo", strategy="joint")
    monkeypatch.setattr(room, "BLOCK_ENTRIES", 60)
    blocks = fd.tune(S, y, GRID, n_steps=2, criterion="loo", strategy="joint")
    # rounding of the predictions is multiplied by the weights, which are large where steps hardly differ
    weights = [np.abs(fd.tune(S, y, [lam], n_steps=2, strategy="joint").mixture).sum() for lam in GRID]
    for found, expected, size in zip(blocks.scores, whole.scores, weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=16 * np.finfo(float).eps * max(1.0, size))


@pytest.mark.parametrize("q", [1, 2, 3, 5])
def test_a_holdout_too_small_to_judge_is_not_believed(q, rng):
    """Three weights interpolate three samples: no gain on them means anything."""
    distilled = 0
    for _ in range(20):
        X, Q = rng.standard_normal((30, 6)), rng.standard_normal((q, 6))
        theta = rng.standard_normal(6)
        y, yq = X @ theta + rng.standard_normal(30), Q @ theta + rng.standard_normal(q)
        distilled += fd.tune(fd.Spectrum.from_design(X), y, GRID, criterion=fd.Holdout(Q, yq)).n_steps > 0
    assert distilled <= (0 if q <= 4 else 8)


@pytest.mark.parametrize("strategy", ["safe", "joint", "greedy"])
def test_a_penalty_at_which_the_criterion_says_nothing_is_passed_over(strategy, rng):
    rows, y, *_ = problem(rng, "kernel")
    S = fd.Spectrum.from_kernel(rows + np.eye(len(rows)))
    t = fd.tune(S, y, [0.0, 1.0], criterion="gcv", strategy=strategy)
    assert t.lam == 1.0
    assert np.isinf(t.scores[0]).all()
    with pytest.raises(ValueError, match="defined at no penalty"):
        fd.tune(S, y, [0.0], criterion="gcv", strategy=strategy)
    single = fd.Spectrum.from_design([[1.0]], fit_intercept=True)
    with pytest.raises(ValueError, match="defined at no penalty"):
        fd.tune(single, [1.0], [1.0], strategy=strategy)


@pytest.mark.parametrize(("lam", "k"), [(1e5, 6), (1e8, 3), (0.0, 2)])
def test_greedy_keeps_the_weights_it_found(lam, k, rng):
    """The way from ξ to mixture and back is not always open."""
    rows, y, *_ = problem(rng, "kernel", n=30)
    t = fd.tune(fd.Spectrum.from_kernel(rows), y, [lam], n_steps=k, strategy="greedy")
    assert t.xi.shape == (k,)
    assert np.isfinite(t.xi).all()


@pytest.mark.parametrize("strategy", ["joint", "greedy"])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_a_criterion_that_no_step_changes_leaves_ridge(strategy, k):
    """Of two samples one is left: its fit is its own target, whatever the weights, which rounding must not choose."""
    X, y = np.array([[1.0], [2.0]]), np.array([1.0, 3.0])
    t = fd.tune(fd.Spectrum.from_design(X, fit_intercept=True), y, [0.1, 10.0], k, strategy=strategy)
    np.testing.assert_array_equal(t.xi, np.zeros(k))
    np.testing.assert_allclose(t.scores, 4.0, rtol=1e-12)  # each is predicted by the other: 2² on average


@pytest.mark.parametrize("criterion", ["loo", "gcv", "holdout"])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_steps_beyond_the_rank_change_nothing(rank, criterion, rng):
    X, Q = rng.standard_normal((20, rank)) @ rng.standard_normal((rank, 4)), rng.standard_normal((6, 4))
    y = rng.standard_normal(20)
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    held = fd.Holdout(Q, rng.standard_normal(6)) if criterion == "holdout" else criterion
    few, many = (fd.tune(S, y, GRID, k, criterion=held, strategy="joint") for k in (rank, 40))
    assert many.xi.shape == (40,)
    assert many.scores.shape == (len(GRID), 41)
    assert many.lam == few.lam
    np.testing.assert_allclose(many.path.fitted[-1], few.path.fitted[-1], rtol=1e-9)
    np.testing.assert_allclose(many.scores[:, rank:], np.repeat(few.scores[:, -1:], 41 - rank, axis=1), rtol=1e-12)


@pytest.mark.parametrize("lam", [30.0, 1e3])
def test_as_many_steps_as_the_rank_reach_the_best_of_all_filters(lam, rng):
    """On held-out samples the exact minimum, in rational numbers, where the weights are moderate."""
    rows, y, queries, yq = problem(rng, n=16, q=12, p=4)
    columns = pure_columns(rows, y, queries, lam, 4, kernel=False)
    exact = [oracle.best_mixture(columns[:, : k + 1], yq)[1] for k in range(5)]
    S, holdout = fd.Spectrum.from_design(rows), fd.Holdout(queries, yq)
    for steps in (4, 10, 100):
        t = fd.tune(S, y, [lam], steps, criterion=holdout, strategy="joint")
        np.testing.assert_allclose(t.scores[0, :5], exact, rtol=1e-8)
        np.testing.assert_allclose(t.path.mse(queries, yq)[-1], exact[-1], rtol=1e-6)


@pytest.mark.parametrize("strategy", ["joint", "greedy"])
@pytest.mark.parametrize("bounds", [None, (0, 1), (-1, 2)])
@pytest.mark.parametrize("lam", [1e-8, 1e-2, 1.0, 1e3, 1e9])
def test_many_steps_are_scored_as_they_are_computed(lam, bounds, strategy, rng):
    """A mixture whose weights the recursion cannot follow would have another error than the one promised."""
    X = rng.standard_normal((40, 30))
    y = X[:, 0] + rng.standard_normal(40)
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    t = fd.tune(S, y, [lam], 25, strategy=strategy, bounds=bounds)
    assert np.isfinite(t.xi).all()
    np.testing.assert_allclose(t.path.loo_mse[-1], t.score, rtol=1e-4)
    if strategy == "joint":
        assert np.all(np.diff(t.scores[0]) <= 1e-12 * t.scores[0, :-1])


def test_what_is_not_a_spectrum():
    with pytest.raises(TypeError, match="must be a Spectrum"):
        fd.tune(np.ones((3, 2)), np.ones(3), [1.0])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("form", ["tall", "wide", "kernel"])
@pytest.mark.parametrize("m", [None, 2])
def test_folds_are_scored_as_refits_without_them(form, fit_intercept, weighted, m):
    rng = np.random.default_rng(3)
    n, p = (24, 40) if form == "wide" else (24, 5)
    X = rng.standard_normal((n, p)) + 1.0
    y = rng.standard_normal(n if m is None else (n, m)) + 3.0
    w = rng.random(n) + 0.1 if weighted else np.ones(n)
    w[4] = 0.0 if weighted else 1.0
    folds = [(np.setdiff1d(np.arange(n), test), test) for test in np.array_split(rng.permutation(n), 4)]
    weight = w if weighted else None
    S = fd.Spectrum.from_kernel(X @ X.T, fit_intercept, weight)
    if form != "kernel":
        S = fd.Spectrum.from_design(X, fit_intercept, weight)
    penalties = [0.3, 5.0]
    tuned = fd.tune(S, y, penalties, n_steps=1, strategy="joint", cv=folds)
    Y = y.reshape(n, -1)
    for lam, scores in zip(penalties, tuned.scores, strict=True):
        pure = np.zeros((2, *Y.shape))
        for train, test in folds:
            model = Ridge(alpha=lam, fit_intercept=fit_intercept, solver="svd")
            goals = Y[train]
            for step in range(2):
                model.fit(X[train], goals, sample_weight=w[train])
                pure[step, test] = model.predict(X[test]).reshape(-1, Y.shape[1])
                goals = model.predict(X[train]).reshape(-1, Y.shape[1])
        root = np.sqrt(w)[:, None]
        total = w.sum() * Y.shape[1]
        left, change = (root * (Y - pure[0])).ravel(), (root * (pure[1] - pure[0])).ravel()
        best = left - change * (change @ left) / (change @ change)
        np.testing.assert_allclose(scores, [left @ left / total, best @ best / total], rtol=1e-9)


def test_forms_of_cv_and_what_is_none():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    found = [fd.tune(S, y, [0.1, 1.0], cv=cv).scores for cv in (KFold(4), 4, list(KFold(4).split(X)))]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    for options, message in (
        ({"cv": 4, "criterion": "gcv"}, "exclude each other"),
        ({"cv": 21}, "leave some empty"),
        ({"cv": 1}, "cv must be at least 2"),
        ({"cv": []}, "no held-out sample"),
    ):
        with pytest.raises(ValueError, match=message):
            fd.tune(S, y, [0.1, 1.0], **options)
