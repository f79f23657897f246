"""Tuned regressors: RidgeCV where there is no evidence, refitted twins of scores and verdicts, kinds of input."""

from __future__ import annotations

import pickle
from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import KFold, LeaveOneOut, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import fastdistill as fd
from fastdistill import DistilledKernelRidge, DistilledKernelRidgeCV, DistilledRidge, DistilledRidgeCV
from fastdistill.selection.tuning import PENALTIES
from tests import oracle

ESTIMATORS = (DistilledRidgeCV, DistilledKernelRidgeCV)
GRID = np.logspace(-2, 3, 11)


def problem(rng, n=30, p=5, m=None):
    """Targets of many directions: ridge is the right filter."""
    X = rng.uniform(0.0, 2.0, (n, p))
    y = X @ rng.standard_normal((p, m or 1)) + 3.0 + 0.5 * rng.standard_normal((n, m or 1))
    return X, y if m else y[:, 0]


def spiked(rng, n=200, r=30, noise=0.3):
    """r distinct eigenvalues, the signal along the first direction: design, noisy targets, signal."""
    d = np.linspace(4, 1, r) * n / 16
    X = np.linalg.qr(rng.standard_normal((n, r)))[0] * np.sqrt(d)
    return X, X[:, 0] + noise * rng.standard_normal(n), X[:, 0]


# -- The contract ----------------------------------------------------------------------------------


@parametrize_with_checks(
    [
        DistilledRidgeCV(),
        DistilledKernelRidgeCV(),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.nightly
@parametrize_with_checks(
    [
        DistilledRidgeCV(n_steps=2, strategy="joint", fit_intercept=False),
        DistilledRidgeCV(n_steps=2, strategy="greedy", alpha_per_target=True),
        DistilledRidgeCV(alphas=GRID, n_steps=1, cv=3),
        DistilledKernelRidgeCV(alphas=[0.1, 1.0], n_steps=1, gamma=[0.1, 1.0], cv=3, alpha_per_target=True),
    ]
)
def test_scikit_learn_contract_of_variants(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:kernel='precomputed' is indefinite:RuntimeWarning")
def test_scikit_learn_contract_of_precomputed_kernels():
    """Two checks pass matrices that are no kernels; some penalties of the grid are large enough for them."""
    assert len(check_estimator(DistilledKernelRidgeCV(kernel="precomputed"), on_skip=None)) > 50


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_clone_pickle_and_refit(estimator, rng):
    X, y, _ = spiked(rng)
    model = estimator(alphas=GRID, fit_intercept=False)
    if estimator is DistilledKernelRidgeCV:
        model.set_params(kernel="linear")
    copy = clone(model)
    first = model.fit(X, y).predict(X)
    assert model.n_steps_ > 0
    assert not hasattr(copy, "alpha_")
    assert np.array_equal(copy.fit(X, y).predict(X), first)
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.predict(X), first)
    assert str(loaded.verdict_) == model.verdict_.sentence
    assert len(pickle.dumps(model)) < 3 * X.nbytes + 120 * 120 * 8 + 20_000  # the decomposition is not kept


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_pandas_read_only_and_routed_weights(estimator, rng):
    X, y = problem(rng, m=2)
    w = rng.uniform(0.5, 2.0, len(y))
    for array in (X, y, w):
        array.flags.writeable = False
    direct = estimator().fit(X, y, w).predict(X)
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = estimator().fit(frame, pd.DataFrame(y), pd.Series(w))
    assert list(model.feature_names_in_) == list("abcde")
    np.testing.assert_allclose(model.predict(frame), direct, rtol=1e-12)
    scaled = StandardScaler().fit_transform(X)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), estimator().set_fit_request(sample_weight=True)
        )
        # a pipeline may hand on its copies in another order in memory
        np.testing.assert_allclose(
            routed.fit(X, y, sample_weight=w).predict(X), estimator().fit(scaled, y, w).predict(scaled), rtol=1e-11
        )


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("container", [sp.csr_array, sp.csc_matrix])
def test_sparse_and_single_precision(cv, container, rng):
    X, y = problem(rng)
    X[X < 1.0] = 0.0
    for model in (DistilledRidgeCV(GRID, 2, "joint", cv=cv), DistilledKernelRidgeCV(GRID, cv=cv)):
        dense = clone(model).fit(X, y)
        model.fit(container(X), y)
        assert model.alpha_ == dense.alpha_
        np.testing.assert_allclose(model.predict(container(X)), dense.predict(X), rtol=1e-6)
        single = model.fit(container(X.astype(np.float32)), y).predict(container(X.astype(np.float32)))
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, dense.predict(X), rtol=1e-3)


# -- No harm, and the gain -------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "p"), [(40, 6), (15, 30)])
def test_without_evidence_it_is_ridge_cv(n, p, weighted, fit_intercept, rng):
    for m, per_target in product((None, 1, 3), (False, True)):
        X, y = problem(rng, n, p, m)
        w = rng.uniform(0.5, 2.0, n) if weighted else None
        options = {"fit_intercept": fit_intercept, "alpha_per_target": per_target}
        ours = DistilledRidgeCV(GRID, n_steps=2, **options).fit(X, y, w)
        default = DistilledRidgeCV(GRID, **options).fit(X, y, w)  # averaged over penalties, see test_averaging.py
        assert np.array_equal(default.alpha_, ours.alpha_)
        np.testing.assert_allclose(default.best_score_, ours.best_score_, rtol=1e-9)
        per_target = per_target and m is not None
        twin = RidgeCV(GRID, fit_intercept=fit_intercept, alpha_per_target=per_target).fit(X, y, sample_weight=w)
        assert np.array_equal(np.ravel(ours.alpha_), np.ravel(twin.alpha_))
        assert not np.any(ours.n_steps_)
        np.testing.assert_allclose(ours.coef_, twin.coef_.reshape(ours.coef_.shape), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.ravel(ours.intercept_) - np.ravel(twin.intercept_), 0.0, atol=1e-9)
        if not weighted:
            np.testing.assert_allclose(np.ravel(ours.best_score_), np.ravel(twin.best_score_), rtol=1e-9)


def test_a_concentrated_signal_is_gained(rng):
    ratios = []
    for r in (20, 50):
        for _ in range(10):
            X, y, signal = spiked(rng, n=300, r=r)
            ours, ridge = DistilledRidgeCV().fit(X, y), RidgeCV(PENALTIES).fit(X, y)
            ratios.append(np.sum((ours.predict(X) - signal) ** 2) / np.sum((ridge.predict(X) - signal) ** 2))
    assert np.exp(np.mean(np.log(ratios))) <= 0.5
    assert np.mean(ratios) <= 0.5


@pytest.mark.parametrize("n_steps", [1, 3, None])
def test_the_verdict_on_a_concentrated_signal_is_that_of_new_samples(n_steps, rng):
    """Mean over draws of the gain in folds, against the test error on samples never seen; it does not flatter."""
    claimed, true = [], []
    for _ in range(6):
        X = rng.standard_normal((2200, 40))
        X[:, 0] *= 4.0  # a direction of its own in every part of the samples
        y = X[:, 0] + 2.0 * rng.standard_normal(2200)
        ours = DistilledRidgeCV(n_steps=n_steps).fit(X[:200], y[:200])
        ridge = RidgeCV(PENALTIES).fit(X[:200], y[:200])
        lost = [np.mean((model.predict(X[200:]) - y[200:]) ** 2) for model in (ridge, ours)]
        claimed.append(ours.verdict_.gain)
        true.append(1 - lost[1] / lost[0])
    # the standard error of one draw's gain is 0.03
    assert np.mean(claimed) == pytest.approx(np.mean(true), abs=0.03)
    assert np.mean(true) > 0.01
    assert min(true) > -0.005


# -- What is chosen, against twins -----------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["safe", "joint", "greedy"])
@pytest.mark.parametrize("scoring", ["loo", "gcv"])
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_the_choice_is_that_of_tune(strategy, scoring, bounds, rng):
    X, y, _ = spiked(rng)
    w = rng.uniform(0.5, 2.0, len(y))
    model = DistilledRidgeCV(GRID, 2, strategy, scoring, bounds=bounds).fit(X, y, w)
    S = fd.Spectrum.from_design(X, True, w)
    t = fd.tune(S, y, GRID, 2, criterion=scoring, strategy=strategy, bounds=bounds)
    assert (model.alpha_, model.n_steps_) == (t.lam, t.n_steps)
    assert model.best_score_ == pytest.approx(-t.score * w.mean(), rel=1e-12)  # -Σ w e² / n, as in RidgeCV
    np.testing.assert_allclose(model.xi_, t.xi, rtol=1e-9)
    np.testing.assert_allclose(model.mixture_, t.mixture, rtol=1e-9)
    np.testing.assert_allclose(model.cv_results_["scores"], -t.scores * w.mean(), rtol=1e-12)
    assert np.array_equal(model.cv_results_["alpha"], GRID)
    assert (model.evidence_ is None) == (strategy != "safe")
    twin = DistilledRidge(model.alpha_, model.xi_, None).fit(X, y, w)
    np.testing.assert_allclose(model.coef_, twin.coef_, rtol=1e-9)


def test_a_student_given_by_its_filter(rng):
    X, y, _ = spiked(rng)
    model = DistilledRidgeCV().fit(X, y)
    assert model.xi_ is None
    assert model.mixture_ is None
    assert model.n_steps_ == 30
    assert model.cv_results_["scores"].shape == (len(PENALTIES), 1)
    assert model.best_score_ == model.cv_results_["scores"].max()
    kernel = DistilledKernelRidgeCV(kernel="linear").fit(X, y)
    assert kernel.alpha_ == model.alpha_
    np.testing.assert_allclose(kernel.predict(X), model.predict(X), rtol=1e-8)
    np.testing.assert_allclose(kernel.verdict_.gain, model.verdict_.gain, rtol=1e-8)


def test_one_penalty_and_weights_of_one_number(rng):
    X, y = problem(rng)
    model = DistilledRidgeCV(2.0).fit(X, y, 2.0)
    assert model.alpha_ == 2.0
    assert model.cv_results_["scores"].shape == (1, 1)
    np.testing.assert_allclose(model.coef_, DistilledRidge(1.0, n_steps=0).fit(X, y).coef_, rtol=1e-9)


def held_out_columns(X, y, w, folds, alpha, fit_intercept):
    """Held-out predictions of the pure steps 0..2, refitted, and targets; both times sqrt(w)."""
    columns, wanted = [], []
    for train, test in folds:
        model, targets = Ridge(alpha, fit_intercept=fit_intercept, solver="svd"), y[train]
        steps = []
        for _ in range(3):
            model.fit(X[train], targets, w[train])
            steps.append(model.predict(X[test]).reshape(y[test].shape))
            targets = model.predict(X[train]).reshape(targets.shape)
        root = np.sqrt(w[test]).reshape(-1, *(1,) * (y.ndim - 1))
        columns.append(np.stack([(step * root).ravel() for step in steps], axis=1))
        wanted.append((y[test] * root).ravel())
    return np.concatenate(columns), np.concatenate(wanted)


@pytest.mark.parametrize(
    ("splitter", "m", "fit_intercept"),
    [
        (4, None, True),
        (4, 2, False),
        (KFold(3, shuffle=True, random_state=0), None, False),
        (KFold(3, shuffle=True, random_state=0), 2, True),
        (ShuffleSplit(4, random_state=1), None, True),
    ],
)
def test_folds_are_pooled(splitter, m, fit_intercept, rng):
    X, y = problem(rng, m=m)
    w = rng.uniform(0.5, 2.0, len(y))
    folds = list((KFold(splitter) if isinstance(splitter, int) else splitter).split(X))
    options = {"alphas": GRID, "n_steps": 2, "cv": splitter, "fit_intercept": fit_intercept}
    model = DistilledRidgeCV(strategy="joint", **options).fit(X, y, w)
    kernel = DistilledKernelRidgeCV(strategy="joint", kernel="linear", **options).fit(X, y, w)
    exact = np.empty((len(GRID), 3))
    for i, alpha in enumerate(GRID):
        columns, wanted = held_out_columns(X, y, w, folds, alpha, fit_intercept)
        total = sum(w[test].sum() for _, test in folds) * (m or 1) / w.mean()
        exact[i] = [oracle.best_mixture(columns[:, :k], wanted)[1] * len(wanted) / total for k in (1, 2, 3)]
    np.testing.assert_allclose(-model.cv_results_["scores"], exact, rtol=1e-5)
    np.testing.assert_allclose(-kernel.cv_results_["scores"], exact, rtol=1e-5)
    assert model.alpha_ == GRID[exact[:, 2].argmin()]
    for strategy in ("safe", "greedy"):
        other = DistilledRidgeCV(strategy=strategy, **options).fit(X, y, w)
        np.testing.assert_allclose(-other.cv_results_["scores"][:, 0], exact[:, 0], rtol=1e-9)
        assert other.n_steps_ == (0 if strategy == "safe" else 2)
    assert other.alpha_ in GRID


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("strategy", ["safe", "joint", "greedy"])
def test_one_sample_folds_are_leave_one_out(estimator, strategy, rng):
    X, y = problem(rng, n=20, m=2)
    w = rng.uniform(0.5, 2.0, len(y))
    direct = estimator(GRID, 2, strategy).fit(X, y, w)
    folds = estimator(GRID, 2, strategy, cv=LeaveOneOut()).fit(X, y, w)
    np.testing.assert_allclose(folds.cv_results_["scores"], direct.cv_results_["scores"], rtol=1e-7)
    assert folds.alpha_ == direct.alpha_


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("strategy", ["safe", "joint"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_targets_on_their_own(estimator, strategy, cv, rng):
    X, concentrated, _ = spiked(rng)
    y = np.column_stack([concentrated, X @ rng.standard_normal(30) + rng.standard_normal(len(X))])
    options = {"alphas": GRID, "n_steps": 2, "strategy": strategy, "cv": cv}
    if estimator is DistilledKernelRidgeCV:
        options["kernel"] = "linear"
    both = estimator(alpha_per_target=True, **options).fit(X, y)
    for j in range(2):
        alone = estimator(**options).fit(X, y[:, j])
        assert (both.alpha_[j], both.n_steps_[j]) == (alone.alpha_, alone.n_steps_)
        assert both.best_score_[j] == pytest.approx(alone.best_score_, rel=1e-12)
        np.testing.assert_allclose(both.cv_results_["scores"][:, :, j], alone.cv_results_["scores"], rtol=1e-12)
        np.testing.assert_allclose(both.predict(X)[:, j], alone.predict(X), rtol=1e-5, atol=1e-6)
        assert both.verdict_[j].sentence == alone.verdict_.sentence
        assert len(both.xi_[j]) == 2
    if strategy == "safe":
        assert list(both.n_steps_) == [2, 0]


def test_zero_weights_drop_samples(rng):
    X, y = problem(rng)
    w = rng.integers(0, 3, len(y)).astype(float)
    X[w == 0] += 100.0
    for model in (DistilledRidgeCV(GRID), DistilledRidgeCV(GRID, 2, "joint"), DistilledKernelRidgeCV(GRID, 1, "joint")):
        ours = clone(model).fit(X, y, w)
        kept = clone(model).fit(X[w > 0], y[w > 0], w[w > 0])
        assert ours.alpha_ == kept.alpha_
        np.testing.assert_allclose(ours.predict(X[w > 0]), kept.predict(X[w > 0]), rtol=1e-8)
        np.testing.assert_allclose(ours.verdict_.gain, kept.verdict_.gain, rtol=1e-7)
        np.testing.assert_allclose(ours.verdict_.standard_error, kept.verdict_.standard_error, rtol=1e-7)


# -- The verdict -----------------------------------------------------------------------------------


def relative_gain(plain, student, w):
    """The gain and its standard error from squared residuals (n,)."""
    gap = plain - student
    mean = np.average(gap, weights=w)
    n = len(w)
    error = np.sqrt(n / (n - 1) * np.sum(np.square(w * (gap - mean)))) / (w @ plain)
    return w @ gap / (w @ plain), error


@pytest.mark.parametrize("strategy", ["joint", "greedy"])
@pytest.mark.parametrize("m", [None, 2])
def test_the_verdict_refits_without_each_sample(strategy, m, rng):
    X, y = problem(rng, n=20, m=m)
    w = rng.uniform(0.5, 2.0, len(y))
    model = DistilledRidgeCV(GRID, 2, strategy).fit(X, y, w)
    ridge = DistilledRidge(GRID[model.cv_results_["scores"][:, 0].argmax()], n_steps=0)
    student = DistilledRidge(model.alpha_, model.xi_, None)
    squares = np.empty((2, len(y)))
    for train, test in LeaveOneOut().split(X):
        for row, twin in zip(squares, (ridge, student), strict=True):
            row[test] = np.sum(np.square(twin.fit(X[train], y[train], w[train]).predict(X[test]) - y[test]))
    gain, error = relative_gain(*squares, w)
    verdict = model.verdict_
    np.testing.assert_allclose([verdict.gain, verdict.standard_error], [gain, error], rtol=1e-6)
    assert verdict.evidence is None
    assert verdict.n_steps == 2
    assert str(verdict).startswith("Distilled 2 times; with the weights held fixed that removes")


@pytest.mark.parametrize("n_steps", [2, None])
@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out_of_a_filter_is_that_of_its_smoother(n_steps, weighted, rng):
    X, y, _ = spiked(rng)
    n = len(y)
    w = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
    X, y = X / np.sqrt(w)[:, None], y / np.sqrt(w)  # so that the weighted design is spiked
    model = DistilledRidgeCV(GRID, n_steps).fit(X, y, w if weighted else None)
    S = fd.Spectrum.from_design(X, True, w)
    filters = fd.tune(S, y, GRID, n_steps).path.filters[-1]
    centred = np.sqrt(w)[:, None] * (X - np.average(X, axis=0, weights=w))
    U = np.linalg.svd(centred, full_matrices=False)[0]
    smoother = U @ np.diag(filters) @ U.T
    smoother = (smoother / np.sqrt(w)[:, None]) * np.sqrt(w)
    # centring is a smoother too: 1 w̄ᵀ + H (I − 1 w̄ᵀ), and H annihilates constants
    smoother += w / w.sum()
    student = (y - smoother @ y) / (1 - np.diag(smoother))
    ridge = y - S.path(y, GRID, []).loo[model.cv_results_["scores"][:, 0].argmax(), 0]
    gain, error = relative_gain(ridge**2, student**2, w)
    np.testing.assert_allclose(model.evidence_.loo_gain, [gain, error], rtol=1e-7)
    verdict = model.verdict_
    assert (verdict.gain, verdict.standard_error) == model.evidence_.held_out_gain
    assert verdict.evidence == model.evidence_.ratio > 20
    assert "above the 20 required; in five folds, with penalty and student chosen anew in each, that " in str(verdict)


def test_the_verdict_on_ridge(rng):
    X, y = problem(rng)
    verdict = DistilledRidgeCV().fit(X, y).verdict_
    assert (verdict.gain, verdict.standard_error, verdict.n_steps) == (0.0, 0.0, 0)
    assert verdict.evidence < 20
    assert str(verdict).startswith("No distillation: the evidence for a concentrated signal is ")
    one = DistilledRidgeCV(strategy="safe", n_steps=1).fit(X, y).verdict_
    assert str(one).startswith("Plain ridge: the evidence for a concentrated signal is ")
    assert str(DistilledRidgeCV(n_steps=0, strategy="joint").fit(X, y).verdict_) == "Plain ridge, as asked."
    perfect = DistilledRidgeCV([1e-3], 1, "joint").fit(X, np.ones(len(X))).verdict_
    assert (perfect.gain, perfect.standard_error) == (0.0, 0.0)
    X, y, _ = spiked(rng)
    fixed = DistilledRidgeCV(n_steps=1, bounds=(0.0, 0.0)).fit(X, y)
    assert "no student of so few steps" in str(fixed.verdict_)
    assert fixed.evidence_.supports_filter
    ridge = DistilledRidgeCV(n_steps=0).fit(X, y)  # nothing that evidence could change
    assert ridge.evidence_ is None
    assert str(ridge.verdict_) == "Plain ridge, as asked."


# -- Kernels ---------------------------------------------------------------------------------------


def test_the_best_kernel_of_a_grid(rng):
    X, y = problem(rng, m=2)
    queries = rng.uniform(0.0, 2.0, (4, 5))
    grid = {"kernel": "poly", "gamma": [0.1, 1.0], "degree": (1, 2, 3), "coef0": np.array([0.5])}
    for strategy, per_target in product(("safe", "joint"), (False, True)):
        options = {"alphas": GRID, "n_steps": 1, "strategy": strategy, "alpha_per_target": per_target}
        model = DistilledKernelRidgeCV(**options, **grid).fit(X, y)
        members = [
            DistilledKernelRidgeCV(**options, kernel="poly", gamma=gamma, degree=degree, coef0=0.5).fit(X, y)
            for gamma, degree in product([0.1, 1.0], (1, 2, 3))
        ]
        best = max(members, key=lambda member: np.sum(member.best_score_))
        assert model.kernel_params_ == {**best.kernel_params_, "coef0": 0.5}
        assert model.cv_results_["params"] == [{**member.kernel_params_, "coef0": 0.5} for member in members]
        scores = np.stack([member.cv_results_["scores"] for member in members])
        np.testing.assert_allclose(model.cv_results_["scores"], scores, rtol=1e-12)
        np.testing.assert_allclose(model.predict(queries), best.predict(queries), rtol=1e-11)
        assert "params" not in best.cv_results_


def test_kernel_ridge_by_brute_force(rng):
    X, y = problem(rng, n=20)
    grid = {"gamma": [0.05, 0.5, 5.0], "alphas": [0.1, 1.0]}
    model = DistilledKernelRidgeCV(**grid, fit_intercept=False).fit(X, y)
    exact = np.empty((3, 2, 1))
    for i, j in np.ndindex(3, 2):
        twin = KernelRidge(alpha=grid["alphas"][j], kernel="rbf", gamma=grid["gamma"][i])
        left = [twin.fit(X[a], y[a]).predict(X[b]) - y[b] for a, b in LeaveOneOut().split(X)]
        exact[i, j] = -np.mean(np.square(left))
    np.testing.assert_allclose(model.cv_results_["scores"], exact, rtol=1e-8)
    i, j, _ = np.unravel_index(exact.argmax(), exact.shape)
    assert (model.kernel_params_["gamma"], model.alpha_) == (grid["gamma"][i], grid["alphas"][j])


def scaled_product(a, b, scale=1.0):
    return scale * float(a @ b)


@pytest.mark.parametrize("cv", [None, 3])
def test_precomputed_and_callable_kernels(cv, rng):
    X, y = problem(rng)
    queries = rng.uniform(0.0, 2.0, (4, 5))
    named = DistilledKernelRidgeCV(GRID, 1, cv=cv).fit(X, y)
    ours = DistilledKernelRidgeCV(GRID, 1, cv=cv, kernel="precomputed").fit(pairwise_kernels(X, metric="rbf"), y)
    assert ours.alpha_ == named.alpha_
    np.testing.assert_allclose(ours.predict(pairwise_kernels(queries, X, metric="rbf")), named.predict(queries))
    assert ours.__sklearn_tags__().input_tags.pairwise
    params = [{"scale": 1e6}, {"scale": 1.0}]
    ours = DistilledKernelRidgeCV([1.0], kernel=scaled_product, kernel_params=params).fit(X, y)
    assert ours.kernel_params_["kernel_params"] == params[ours.cv_results_["scores"].argmax()]


@pytest.mark.parametrize("m", [None, 1, 3])
@pytest.mark.parametrize("per_target", [False, True])
def test_standard_deviations_are_those_of_the_penalty(m, per_target, rng):
    X, y = problem(rng, m=m)
    queries = rng.uniform(0.0, 2.0, (4, 5))
    model = DistilledKernelRidgeCV(GRID, gamma=[0.1, 1.0], alpha_per_target=per_target).fit(X, y)
    mean, std = model.predict(queries, return_std=True)
    np.testing.assert_allclose(mean, model.predict(queries), rtol=1e-12)
    assert std.shape == mean.shape
    columns = std.reshape(4, -1).T
    for alpha, column in zip(np.broadcast_to(model.alpha_, len(columns)), columns, strict=True):
        twin = DistilledKernelRidge(alpha, n_steps=0, gamma=model.kernel_params_["gamma"]).fit(X, y)
        exact = twin.predict(queries, return_std=True)[1].reshape(4, -1)[:, 0]
        np.testing.assert_allclose(column, exact, rtol=1e-9)


# -- Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"alphas": [1.0, -1.0]}, ValueError, r"alphas\[1\] == -1, must be > 0.0 \(or 0: no penalty\)"),
        ({"alphas": (1, 1.0, "1")}, TypeError, r"alphas\[2\] must be an instance of float, not str; got '1'"),
        ({"alphas": [1.0, True]}, TypeError, r"alphas\[1\] must be an instance of float, not bool; got True"),
        ({"alphas": []}, ValueError, "alphas is empty"),
        ({"alphas": "fine"}, TypeError, "alphas must hold real numbers"),
        ({"n_steps": -1}, ValueError, "n_steps must be at least 0, got -1"),
        ({"n_steps": 1.5}, TypeError, "n_steps must be an integer"),
        ({"strategy": "bold"}, ValueError, "strategy must be one of 'safe', 'ridge', 'joint', 'greedy', got 'bold'"),
        ({"scoring": "r3"}, ValueError, "scoring must be None, 'loo', 'gcv', a scorer or the name of one"),
        ({"scoring": ["r2"]}, TypeError, "scoring must be None, 'loo', 'gcv', a scorer or the name of one"),
        ({"store_cv_results": True, "cv": 3}, ValueError, "cv!=None and store_cv_results=True are incompatible"),
        ({"store_cv_results": True, "scoring": "gcv"}, ValueError, "store_cv_results=True stores leave-one-out"),
        ({"store_cv_results": 1}, TypeError, "store_cv_results must be True or False"),
        ({"strategy": "joint"}, ValueError, 'n_steps=None needs strategy="safe"'),
        ({"bounds": (0, 1)}, ValueError, 'n_steps=None needs strategy="safe" and no bounds'),
        ({"n_steps": 1, "bounds": (1, 0)}, ValueError, "bounds must be None or"),
        ({"cv": 3, "scoring": "gcv"}, ValueError, "cv and scoring='gcv' exclude each other"),
        ({"cv": "many"}, ValueError, "cv"),
        ({"fit_intercept": "no"}, TypeError, "fit_intercept must be True or False, got 'no'"),
        ({"alpha_per_target": 1}, TypeError, "alpha_per_target must be True or False, got 1"),
    ],
)
def test_bad_parameters(estimator, params, error, message, rng):
    X, y = problem(rng)
    with pytest.raises(error, match=message):
        estimator(**params).fit(X, y)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"kernel": "gaussian"}, ValueError, "kernel must be one of"),
        ({"gamma": [0.1, -1.0]}, ValueError, "gamma must be at least 0, got -1"),
        ({"gamma": "scale"}, TypeError, "gamma must be a real number"),
        ({"gamma": []}, ValueError, "A kernel parameter is an empty array"),
        ({"kernel_params": 3}, TypeError, "kernel_params must be a dict or None"),
        ({"kernel": "sigmoid", "alphas": 1e-4}, ValueError, "alpha=0.0001.*positive semi-definite, or alpha above"),
    ],
)
def test_bad_kernels(params, error, message, rng):
    X, y = problem(rng)
    with pytest.raises(error, match=message):
        DistilledKernelRidgeCV(**params).fit(X, y)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_bad_data(estimator, rng):
    X, y = problem(rng)
    model = estimator()
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(ValueError, match="at least 2 samples of positive weight"):
        model.fit(X, y, np.eye(len(y))[0])
    with pytest.raises(ValueError, match="sample_weight must not be negative"):
        model.fit(X, y, -np.ones(len(y)))
    late = [(np.arange(20), np.arange(20, 30))]
    with pytest.raises(ValueError, match="no held-out sample of positive sample_weight"):
        estimator(cv=late).fit(X, y, np.repeat([1.0, 0.0], [20, 10]))
