"""What users of scikit-learn's ridge models expect besides numbers: scorers, shapes, penalties per target, kernels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeClassifierCV, RidgeCV
from sklearn.metrics import accuracy_score, make_scorer, mean_squared_error, r2_score
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import KFold, LeaveOneOut, cross_val_predict

import fastdistill as fd
from fastdistill import (
    DistilledKernelRidge,
    DistilledKernelRidgeCV,
    DistilledRidge,
    DistilledRidgeClassifier,
    DistilledRidgeClassifierCV,
    DistilledRidgeCV,
)

GRID = np.logspace(-2, 3, 7)
INDEFINITE = "ignore:kernel=.* is indefinite:RuntimeWarning"


def problem(rng, n=30, p=5, m=None):
    X = rng.standard_normal((n, p))
    y = X @ rng.standard_normal((p, m or 1)) + 2.0 + rng.standard_normal((n, m or 1))
    return X, y if m else y[:, 0]


def classes(rng, n_classes, n=60):
    labels = rng.integers(0, n_classes, n)
    return rng.standard_normal((n, 4)) + rng.standard_normal((n_classes, 4))[labels], np.array(list("abc"))[labels]


def mean_error(estimator, X, y, sample_weight=None):
    """A scorer that is a plain function."""
    return -mean_squared_error(y, estimator.predict(X), sample_weight=sample_weight)


SCORERS = (None, "r2", "neg_mean_absolute_error", mean_error, make_scorer(mean_squared_error, greater_is_better=False))


# -- Scorers ---------------------------------------------------------------------------------------


def assert_same_choice(ours, twin, X):
    assert ours.alpha_ == pytest.approx(twin.alpha_, rel=1e-12)
    np.testing.assert_allclose(ours.best_score_, twin.best_score_, rtol=1e-8)
    np.testing.assert_allclose(ours.coef_, twin.coef_, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(ours.predict(X), twin.predict(X), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("scoring", SCORERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("m", [None, 3])
def test_leave_one_out_is_judged_as_by_ridge_cv(m, weighted, scoring, rng):
    for (n, p), fit_intercept, per_target in product([(30, 5), (12, 20)], [True, False], [False, True]):
        if per_target and m is None:
            continue
        X, y = problem(rng, n, p, m)
        w = rng.uniform(0.5, 2.0, n) if weighted else None
        options = {
            "scoring": scoring,
            "fit_intercept": fit_intercept,
            "alpha_per_target": per_target,
            "store_cv_results": True,
        }
        ours = DistilledRidgeCV(GRID, strategy="ridge", **options).fit(X, y, w)
        twin = RidgeCV(GRID, **options).fit(X, y, sample_weight=w)
        assert_same_choice(ours, twin, X)
        assert ours.n_steps_ == 0 if not per_target else not ours.n_steps_.any()
        np.testing.assert_allclose(ours.cv_results_, twin.cv_results_, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("scoring", SCORERS[1:])
@pytest.mark.parametrize("m", [None, 2])
def test_folds_are_judged_one_by_one(m, scoring, rng):
    X, y = problem(rng, m=m)
    ours = DistilledRidgeCV(GRID, 0, scoring=scoring, cv=KFold(3)).fit(X, y)
    assert_same_choice(ours, RidgeCV(GRID, scoring=scoring, cv=KFold(3)).fit(X, y), X)
    kernel = DistilledKernelRidgeCV(GRID, 0, scoring=scoring, cv=KFold(3), kernel="linear").fit(X, y)
    assert kernel.alpha_ == ours.alpha_
    assert kernel.best_score_ == pytest.approx(ours.best_score_, rel=1e-8)


def test_weighted_folds_leave_samples_of_no_weight_out(rng):
    X, y = problem(rng)
    w = np.repeat([0.5, 2.0, 0.0], 10)
    folds = [(np.setdiff1d(np.arange(30), test), test) for test in np.arange(30).reshape(10, 3).T]
    part = [(train[train < 20], test[test < 20]) for train, test in folds]
    ours = DistilledRidgeCV(GRID, 0, scoring="r2", cv=folds).fit(X, y, w)
    for i, alpha in enumerate(GRID):
        scores = []
        for train, test in part:
            model = Ridge(alpha).fit(X[train], y[train], w[train])
            scores.append(r2_score(y[test], model.predict(X[test]), sample_weight=w[test]))
        assert ours.cv_results_["scores"][i, 0] == pytest.approx(np.mean(scores), rel=1e-9)


@pytest.mark.parametrize("strategy", ["joint", "greedy", "safe"])
def test_a_scorer_chooses_among_the_students_of_least_squared_error(strategy, rng):
    X, y = problem(rng)
    ours = DistilledRidgeCV(GRID, 2, strategy, scoring="neg_mean_absolute_error", store_cv_results=True).fit(X, y)
    scores = []
    for i, alpha in enumerate(GRID):
        alone = DistilledRidgeCV(alpha, 2, strategy).fit(X, y)
        if strategy == "safe":
            assert alone.n_steps_ == 0
        left_out = np.empty(len(y))
        for train, test in LeaveOneOut().split(X):  # students and their teachers refitted
            student = DistilledRidge(alpha, alone.xi_, None).fit(X[train], y[train])
            left_out[test] = student.predict(X[test])
        np.testing.assert_allclose(ours.cv_results_[:, i], left_out, rtol=1e-6, atol=1e-8)
        scores.append(-np.abs(y - left_out).mean())
    assert ours.alpha_ == GRID[np.argmax(scores)]
    assert ours.best_score_ == pytest.approx(max(scores), rel=1e-6)


@pytest.mark.parametrize("scoring", [None, "accuracy", "f1_macro", make_scorer(accuracy_score)])
@pytest.mark.parametrize("weighted", [False, True])
def test_classifiers_are_judged_as_by_ridge_classifier_cv(weighted, scoring, rng):
    X, y = classes(rng, 3)
    w = rng.uniform(0.5, 2.0, len(y)) if weighted else None
    ours = DistilledRidgeClassifierCV(GRID, 0, scoring=scoring, store_cv_results=True).fit(X, y, w)
    twin = RidgeClassifierCV(GRID, scoring=scoring, store_cv_results=True).fit(X, y, sample_weight=w)
    assert ours.alpha_ == twin.alpha_
    assert ours.best_score_ == pytest.approx(twin.best_score_, rel=1e-9)
    np.testing.assert_allclose(ours.cv_results_, twin.cv_results_, rtol=1e-7, atol=1e-10)
    if scoring is not None:
        folds = DistilledRidgeClassifierCV(GRID, 0, scoring=scoring, cv=3).fit(X, y)
        twin = RidgeClassifierCV(GRID, scoring=scoring, cv=3).fit(X, y)
        assert (folds.alpha_, folds.best_score_) == (twin.alpha_, pytest.approx(twin.best_score_, rel=1e-9))


def test_two_classes_and_several_labels_are_scored_by_their_labels(rng):
    X, y = classes(rng, 2)
    ours = DistilledRidgeClassifierCV(GRID, 0, scoring="accuracy").fit(X, y)
    signs = np.where(y == "b", 1.0, -1.0)
    right = [np.mean((cross_val_predict(Ridge(a), X, signs, cv=LeaveOneOut()) > 0) == (y == "b")) for a in GRID]
    np.testing.assert_allclose(ours.cv_results_["scores"][:, 0], right, rtol=1e-12)
    assert ours.alpha_ == GRID[np.argmax(right)]
    labels = (X[:, :3] + rng.standard_normal((60, 3)) > 0).astype(int)
    several = DistilledRidgeClassifierCV(GRID, 0, scoring="accuracy").fit(X, labels)
    right = [
        np.mean(((cross_val_predict(Ridge(a), X, 2.0 * labels - 1, cv=LeaveOneOut()) > 0) == labels).all(axis=1))
        for a in GRID
    ]
    np.testing.assert_allclose(several.cv_results_["scores"][:, 0], right, rtol=1e-12)


def test_a_score_of_nan_everywhere_is_an_error(rng):
    X, y = problem(rng)
    with pytest.raises(ValueError, match="or the scorer gave NaN"):
        DistilledRidgeCV(GRID, 0, scoring=lambda estimator, X, y: np.nan).fit(X, y)


def test_ridge_as_a_strategy_needs_no_number_of_steps(rng):
    X = np.linalg.qr(rng.standard_normal((120, 20)))[0] * np.sqrt(np.linspace(4, 1, 20) * 7.5)
    y = X[:, 0] + 0.3 * rng.standard_normal(120)
    twin = RidgeCV(GRID).fit(X, y)
    for options in ({}, {"n_steps": 3}, {"bounds": (0, 1)}):
        ours = DistilledRidgeCV(GRID, strategy="ridge", **options).fit(X, y)
        assert_same_choice(ours, twin, X)
        assert (ours.n_steps_, len(ours.xi_), ours.evidence_) == (0, 0, None)


# -- Shapes and penalties per target ---------------------------------------------------------------


def test_a_column_of_targets_has_the_shapes_of_ridge(rng):
    X, y = problem(rng)
    for fit_intercept in (True, False):
        options = {"fit_intercept": fit_intercept}
        for ours in (
            DistilledRidge(**options),
            DistilledRidgeCV(**options),
            DistilledRidgeCV(alpha_per_target=True, **options),
        ):
            ours.fit(X, y[:, None])
            assert ours.coef_.shape == (5,)
            assert np.shape(ours.intercept_) == ((1,) if fit_intercept else ())
            assert ours.predict(X).shape == (30,)
            np.testing.assert_allclose(ours.predict(X), ours.fit(X, y).predict(X), rtol=1e-12)
        for kernel in (DistilledKernelRidge(**options), DistilledKernelRidgeCV(**options)):
            kernel.fit(X, y[:, None])
            assert kernel.dual_coef_.shape == (30, 1)
            assert [part.shape for part in kernel.predict(X, return_std=True)] == [(30, 1), (30, 1)]
        for classifier in (DistilledRidgeClassifier(**options), DistilledRidgeClassifierCV(**options)):
            classifier.fit(X, y > 2)
            assert classifier.coef_.shape == (5,)
            assert np.shape(classifier.intercept_) == ((1,) if fit_intercept else ())
            assert classifier.decision_function(X).shape == (30,)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_penalties_and_schedules_per_target(fit_intercept, rng):
    X, y = problem(rng, m=3)
    w = rng.uniform(0.5, 2.0, 30)
    alphas, xi = [0.0, 1.0, 30.0], np.array([[0.5, -0.2, 1.0], [1.0, 0.3, 0.7]])
    np.testing.assert_allclose(
        DistilledRidge(alphas, n_steps=0).fit(X, y).coef_, Ridge(alphas, solver="svd").fit(X, y).coef_, rtol=1e-9
    )
    # scikit-learn's fit of a kernel with several penalties, of which 0 would be its own fallback
    np.testing.assert_allclose(
        DistilledKernelRidge((0.5, 1, 30), n_steps=0, gamma=0.2, fit_intercept=False).fit(X, y).dual_coef_,
        KernelRidge(alpha=[0.5, 1, 30], kernel="rbf", gamma=0.2).fit(X, y).dual_coef_,
        rtol=1e-9,
    )
    for model in (
        DistilledRidge(alphas, xi, None, fit_intercept),
        DistilledKernelRidge([0.1, 1.0, 30.0], xi, 2, gamma=0.2, fit_intercept=fit_intercept),
    ):
        together = model.fit(X, y, w).predict(X)
        std = model.predict(X, return_std=True)[1] if isinstance(model, DistilledKernelRidge) else None
        for j, alpha in enumerate(model.alpha):
            alone = type(model)(**model.get_params() | {"alpha": alpha, "xi": xi[:, j]}).fit(X, y[:, j], w)
            np.testing.assert_allclose(together[:, j], alone.predict(X), rtol=1e-9)
            if std is not None:
                np.testing.assert_allclose(std[:, j], alone.predict(X, return_std=True)[1], rtol=1e-9)
        shared = type(model)(**model.get_params() | {"alpha": 1.0, "xi": xi[:, 1]}).fit(X, y, w)
        own = type(model)(**model.get_params() | {"alpha": [1.0] * 3, "xi": xi[:, [1]]}).fit(X, y, w)
        np.testing.assert_allclose(own.predict(X), shared.predict(X), rtol=1e-10)
        for wrong in ({"alpha": [1.0, 2.0]}, {"xi": xi[:, :2]}):
            with pytest.raises(ValueError, match=r"Number of targets and number of .* do not correspond: 2 != 3"):
                type(model)(**model.get_params() | wrong).fit(X, y)


def test_penalties_per_class(rng):
    X, y = classes(rng, 3)
    model = DistilledRidgeClassifier([0.1, 1.0, 30.0], n_steps=0).fit(X, y)
    hard = np.where(y[:, None] == model.classes_, 1.0, -1.0)
    np.testing.assert_allclose(model.coef_, Ridge([0.1, 1.0, 30.0], solver="svd").fit(X, hard).coef_, rtol=1e-9)


NUMBERS = {
    "DistilledRidge": ("alpha", "xi", "n_steps"),
    "DistilledKernelRidge": ("alpha", "xi", "n_steps", "gamma", "degree", "coef0"),
    "DistilledRidgeCV": ("alphas", "n_steps", "bounds"),
    "DistilledKernelRidgeCV": ("alphas", "n_steps", "bounds", "degree", "coef0"),
    "DistilledRidgeClassifier": ("alpha", "xi", "n_steps"),
    "DistilledRidgeClassifierCV": ("alphas", "n_steps", "bounds"),
}


@pytest.mark.parametrize(("name", "parameter"), [(name, p) for name, several in NUMBERS.items() for p in several])
def test_text_and_truth_values_are_no_numbers(name, parameter, rng):
    X, y = problem(rng)
    values = ("1", b"1", ["1", "2"], [1.0, "2"], True, [True, False], np.array(["1"]), np.array([True]), 1j)
    for value in (*values, np.array([1.0, "2"], dtype=object), np.array([1.0, True], dtype=object), [[1.0, "2"]]):
        options = {"n_steps": 1} if parameter == "bounds" else {}
        with pytest.raises((TypeError, ValueError)):
            getattr(fd, name)(**options | {parameter: value}).fit(X, y > 2 if "Classifier" in name else y)


def test_penalties_in_any_container(rng):
    X, y = problem(rng)
    expected = RidgeCV((1, 10, 100)).fit(X, y).coef_
    for alphas in ((1, 10, 100), [1, 10.0, 100], np.array([1, 10, 100]), np.array([1, 10, 100], dtype=np.float32)):
        np.testing.assert_allclose(DistilledRidgeCV(alphas, 0).fit(X, y).coef_, expected, rtol=1e-8)
    for alpha in (7, np.float32(7), np.array(7.0), [7], (7.0,)):
        np.testing.assert_allclose(
            DistilledRidge(alpha, n_steps=0).fit(X, y).coef_, DistilledRidgeCV(alpha, 0).fit(X, y).coef_, rtol=1e-12
        )


# -- Kernels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_the_linear_kernel_has_primal_coefficients(container, rng):
    X, y = problem(rng, m=2)
    for targets in (y, y[:, 0]):
        twin = DistilledRidge(2.0, 0.5, 2).fit(X, targets)
        for model in (
            DistilledKernelRidge(2.0, 0.5, 2, kernel="linear"),
            DistilledKernelRidgeCV(2.0, 0, kernel="linear"),
        ):
            assert not hasattr(model, "coef_")
            model.fit(container(X), targets)
            assert model.coef_.shape == twin.coef_.shape
            queries = rng.standard_normal((4, 5))
            np.testing.assert_allclose(
                queries @ model.coef_.T + model.intercept_, model.predict(container(queries)), rtol=1e-9
            )
        exact = DistilledKernelRidge(2.0, 0.5, 2, kernel="linear").fit(X, targets).coef_
        np.testing.assert_allclose(exact, twin.coef_, rtol=1e-9)
    with pytest.raises(AttributeError, match="only available with kernel='linear', not with kernel='rbf'"):
        _ = DistilledKernelRidge().fit(X, y).coef_


def bordered(K, y, alpha, w, fit_intercept):
    """Dual coefficients (n, m) and intercepts (m,) of (K + alpha W⁻¹) a + b = y, Σ a = 0, samples of no weight out."""
    used, n = w > 0, np.count_nonzero(w)
    system = np.zeros((n + fit_intercept, n + fit_intercept))
    system[:n, :n] = K[np.ix_(used, used)] + np.diag(alpha / w[used])
    system[n:, :n], system[:n, n:] = 1.0, 1.0
    right = np.vstack([y[used], np.zeros((int(fit_intercept), y.shape[1]))])
    solved = np.linalg.solve(system, right)
    dual = np.zeros((len(y), y.shape[1]))
    dual[used] = solved[:n]
    return dual, solved[n:].sum(axis=0)


def indefinite_function(a, b):
    return float(np.tanh(0.5 * a @ b - 1.0))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weights", ["none", "random", "some_zero"])
def test_an_indefinite_kernel_is_fitted_where_the_penalty_makes_it_definite(weights, fit_intercept, rng):
    X, y = problem(rng, m=2)
    w = {"none": None, "random": rng.uniform(0.2, 2.0, 30), "some_zero": rng.integers(0, 3, 30) * 1.0}[weights]
    W = np.ones(30) if w is None else w
    queries, xi = rng.standard_normal((6, 5)), [0.6, -0.4]
    for kernel, options in (("sigmoid", {"gamma": 0.5, "coef0": -1.0}), (indefinite_function, {}), ("precomputed", {})):
        K = pairwise_kernels(X, metric="sigmoid", gamma=0.5, coef0=-1.0)
        Kq = pairwise_kernels(queries, X, metric="sigmoid", gamma=0.5, coef0=-1.0)
        centre = np.eye(30) - fit_intercept * np.outer(np.ones(30), W) / W.sum()
        root = np.sqrt(W)[:, None]
        least = np.linalg.eigvalsh(root * (centre @ K @ centre.T) * root.T)[0]
        assert least < -1.0
        data, new = (K, Kq) if kernel == "precomputed" else (X, queries)
        for alpha in (-1.05 * least, -4.0 * least):
            model = DistilledKernelRidge(alpha, xi, None, kernel, **options, fit_intercept=fit_intercept)
            with pytest.warns(RuntimeWarning, match="is indefinite on these data.*has no standard deviations"):
                model.fit(data, y, w)
            targets = y
            for step in (*xi, None):
                dual, intercept = bordered(K, targets, alpha, W, fit_intercept)
                if step is not None:
                    targets = (1 - step) * y + step * (K @ dual + intercept)
            np.testing.assert_allclose(model.dual_coef_, dual, rtol=1e-8, atol=1e-9 * np.abs(dual).max())
            np.testing.assert_allclose(model.predict(new), Kq @ dual + intercept, rtol=1e-7, atol=1e-8)
            with pytest.raises(ValueError, match="indefinite, so that no Gaussian process"):
                model.predict(new, return_std=True)
        with pytest.raises(ValueError, match=r"which is -.*use an alpha above") as caught:
            model.set_params(alpha=-0.95 * least).fit(data, y, w)
        smallest = float(str(caught.value).split("use an alpha above ")[1].split(",")[0])
        assert smallest == pytest.approx(-least, rel=1e-5)


@pytest.mark.filterwarnings(INDEFINITE)
def test_an_indefinite_kernel_as_in_kernel_ridge(rng):
    X, y = problem(rng, m=2)
    for w, gamma in product((None, rng.uniform(0.2, 2.0, 30)), (None, 0.1, 1.0)):
        for alpha in (10.0, [20.0, 12.0]):
            ours = DistilledKernelRidge(alpha, n_steps=0, kernel="sigmoid", gamma=gamma, fit_intercept=False)
            twin = KernelRidge(alpha=alpha, kernel="sigmoid", gamma=gamma).fit(X, y, sample_weight=w)
            np.testing.assert_allclose(ours.fit(X, y, w).dual_coef_, twin.dual_coef_, rtol=1e-9, atol=1e-14)


@pytest.mark.filterwarnings(INDEFINITE)
@pytest.mark.parametrize("cv", [None, 5])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_best_penalty_of_an_indefinite_kernel(fit_intercept, cv, rng):
    X, y = problem(rng)
    w = rng.uniform(0.5, 2.0, 30)
    options = {"kernel": "sigmoid", "gamma": 0.5, "coef0": -1.0, "fit_intercept": fit_intercept}
    model = DistilledKernelRidgeCV(np.logspace(3, -2, 11), cv=cv, **options).fit(X, y, w)
    scores = model.cv_results_["scores"][:, 0]
    assert np.isneginf(scores).any()
    K = pairwise_kernels(X, metric="sigmoid", gamma=0.5, coef0=-1.0)
    folds = list((LeaveOneOut() if cv is None else KFold(cv)).split(X))
    for alpha, score in zip(model.cv_results_["alpha"], scores, strict=True):
        if np.isneginf(score):
            with pytest.raises(ValueError, match="positive semi-definite, or alpha above"):
                DistilledKernelRidge(alpha, **options).fit(X, y, w)
            continue
        error = 0.0
        for train, test in folds:
            dual, intercept = bordered(K[np.ix_(train, train)], y[train, None], alpha, w[train], fit_intercept)
            error += w[test] @ np.square(y[test] - (K[np.ix_(test, train)] @ dual + intercept)[:, 0])
        assert -score == pytest.approx(error / 30, rel=1e-7)
    assert (model.n_steps_, model.evidence_) == (0, None)
    assert model.best_score_ == scores.max()
    stored = DistilledKernelRidgeCV(np.logspace(3, -2, 11), store_cv_results=True, **options).fit(X, y, w)
    assert stored.cv_results_.shape == (30, 11)
    assert np.array_equal(np.isnan(stored.cv_results_[0]), np.isneginf(scores))


def test_a_kernel_grid_may_hold_kernels_that_no_penalty_admits(rng):
    X, y = problem(rng)
    with pytest.warns(RuntimeWarning, match="is indefinite"):
        model = DistilledKernelRidgeCV([1.0, 2.0], kernel="sigmoid", gamma=[1e-3, 5.0], coef0=0.0).fit(X, y)
    assert model.kernel_params_["gamma"] == 1e-3
    assert np.isneginf(model.cv_results_["scores"][1]).all()
