"""Retraining any estimator: against DistilledRidge, the spectral path, naive loops and explicit weighted refits."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import sklearn
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier, RidgeCV
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, RepeatedKFold, StratifiedKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import fastdistill as fd
from fastdistill import DistilledRidge, SelfDistiller

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Hundreds of tiny fits: threads that wait for each other made them ten times slower."""
    with threadpool_limits(1):
        yield


def close(ours: Any, exact: Any, tolerance: float = 1e-9) -> bool:
    """Whether two arrays of one shape agree in norm."""
    assert np.shape(ours) == np.shape(exact)
    return bool(np.linalg.norm(np.subtract(ours, exact)) <= tolerance * np.linalg.norm(exact))


def problem(rng: np.random.Generator, n: int = 40, p: int = 6, m: int | None = None) -> Data:
    X = rng.standard_normal((n, p))
    y = np.sin(X @ rng.standard_normal((p, m or 1))) + 3.0 + 0.3 * rng.standard_normal((n, m or 1))
    return X, y if m else y[:, 0]


def labels(rng: np.random.Generator, n: int = 90, classes: Any = ("a", "b", "c"), flipped: float = 0.2) -> Data:
    X = rng.standard_normal((n, 4))
    codes = (X[:, :2] @ rng.standard_normal((2, len(classes)))).argmax(axis=1)
    wrong = rng.random(n) < flipped
    codes[wrong] = rng.integers(0, len(classes), wrong.sum())
    return X, np.asarray(classes)[codes]


# -- The contract ----------------------------------------------------------------------------------


# scikit-learn 1.6 checks classifiers on classes smaller than the number of folds, and its splitter warns of that
@pytest.mark.filterwarnings("ignore:The least populated class in y has only:UserWarning")
@parametrize_with_checks(
    [
        SelfDistiller(Ridge(), n_steps=3, xi=[0.5, -0.2, 1.1]),
        SelfDistiller(LogisticRegression(), cv=2),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:The least populated class in y has only:UserWarning")
@parametrize_with_checks(
    [
        SelfDistiller(Ridge()),
        SelfDistiller(Ridge(), n_steps=0),
        SelfDistiller(KNeighborsRegressor(), cv=2),
        SelfDistiller(DecisionTreeRegressor(random_state=0), n_steps=2, cv=2),
        # labels alone, probabilities, decision values; the last without weights in fit
        SelfDistiller(DecisionTreeClassifier(random_state=0), n_steps=2, xi=0.5),
        SelfDistiller(KNeighborsClassifier(), xi=0.9),
        SelfDistiller(LinearSVC(), xi=1.0),
        SelfDistiller(make_pipeline(StandardScaler(), LogisticRegression()), cv=2),
    ]
)
def test_scikit_learn_contract_of_variants(estimator, check):
    check(estimator)


@pytest.mark.parametrize("inner", [Ridge(), LogisticRegression(solver="newton-cholesky", tol=1e-12), RidgeClassifier()])
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_sample_weights_pandas_series,
        estimator_checks.check_sample_weights_not_an_array,
        estimator_checks.check_sample_weights_list,
        estimator_checks.check_sample_weights_shape,
        estimator_checks.check_sample_weights_not_overwritten,
        estimator_checks.check_sample_weight_equivalence_on_dense_data,
        estimator_checks.check_sample_weight_equivalence_on_sparse_data,
    ],
)
def test_scikit_learn_contract_of_weights(inner, check):
    """`fit` names no `sample_weight`, as not every estimator takes it, so that these do not run by themselves."""
    for model in (SelfDistiller(inner), SelfDistiller(inner, n_steps=2, xi=0.6)):
        check("SelfDistiller", model)


def test_it_is_what_its_estimator_is():
    assert is_regressor(SelfDistiller(Ridge()))
    assert is_classifier(SelfDistiller(LogisticRegression()))
    assert SelfDistiller(KernelRidge(kernel="precomputed")).__sklearn_tags__().input_tags.pairwise
    assert SelfDistiller(KernelRidge()).__sklearn_tags__().target_tags.multi_output
    assert not SelfDistiller(DecisionTreeClassifier()).__sklearn_tags__().target_tags.multi_output
    assert hasattr(SelfDistiller(LogisticRegression()), "predict_proba")
    assert not hasattr(SelfDistiller(LinearSVC()), "predict_proba")
    assert not hasattr(SelfDistiller(Ridge()), "decision_function")
    with pytest.raises(NotFittedError):
        SelfDistiller(Ridge()).predict([[1.0]])


def test_clone_and_pickle(rng):
    X, y = problem(rng)
    model = SelfDistiller(Ridge(50.0), n_steps=2, cv=KFold(3)).fit(X, y)
    copy = clone(model)
    assert not hasattr(copy, "xi_")
    assert np.array_equal(copy.fit(X, y).predict(X), model.predict(X))
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert str(loaded.verdict_) == str(model.verdict_)
    assert not hasattr(model.set_params(xi=0.5).fit(X, y), "verdict_")


# -- Given weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [[], [0.5], [1.0, -0.3, 0.7], [1.5, 0.0, 2.5]])
@pytest.mark.parametrize("m", [None, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_around_ridge_it_is_distilled_ridge(schedule, m, weighted, rng):
    X, y = problem(rng, m=m)
    fit = {"sample_weight": rng.uniform(0.0, 2.0, len(y))} if weighted else {}
    ours = SelfDistiller(Ridge(3.0), n_steps=None, xi=schedule).fit(X, y, **fit)
    exact = DistilledRidge(3.0, schedule, None).fit(X, y, **fit)
    queries = rng.standard_normal((5, 6))
    assert close(ours.predict(queries), exact.predict(queries))
    assert close(ours.score(X, y), exact.score(X, y))
    assert np.array_equal(ours.xi_, schedule)
    assert len(ours.estimators_) == len(schedule) + 1
    assert ours.estimators_[-1] is ours.estimator_


@pytest.mark.parametrize("precomputed", [False, True])
def test_around_kernel_ridge_it_is_the_path(precomputed, rng):
    X, y = problem(rng, m=2)
    queries = rng.standard_normal((5, 6))
    K, Kq = rbf_kernel(X, gamma=0.3), rbf_kernel(queries, X, gamma=0.3)
    path = fd.Spectrum.from_kernel(K).path(y, 0.5, [0.8, -0.4])
    inner = KernelRidge(alpha=0.5, kernel="precomputed" if precomputed else "rbf", gamma=0.3)
    ours = SelfDistiller(inner, n_steps=2, xi=[0.8, -0.4]).fit(K if precomputed else X, y)
    predictions = [model.predict(Kq if precomputed else queries) for model in ours.estimators_]
    assert close(predictions, path.predict(Kq))


def test_a_weight_of_zero_is_the_plain_model(rng):
    X, y = problem(rng)
    model = SelfDistiller(DecisionTreeRegressor(max_depth=2), n_steps=3, xi=[0.5, 0.0, 0.4]).fit(X, y)
    assert model.estimators_[2] is model.estimators_[0]
    again = clone(model.estimator).fit(X, 0.6 * y + 0.4 * model.estimators_[0].predict(X))
    assert close(model.predict(X), again.predict(X))


# -- Estimated weights -----------------------------------------------------------------------------


def naive_chain(X: np.ndarray, y: np.ndarray, alpha: float, xis: list[float], w: np.ndarray) -> Any:
    model = Ridge(alpha).fit(X, y, w)
    for xi in xis:
        model = Ridge(alpha).fit(X, (1 - xi) * y + xi * model.predict(X), w)
    return model


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("m", [None, 2])
@pytest.mark.parametrize("cv", [KFold(4), RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)])
def test_one_step_is_estimated_and_judged_as_by_hand(weighted, m, cv, rng):
    X, y = problem(rng, m=m)
    w = rng.integers(0, 3, len(y)).astype(float) if weighted else np.ones(len(y))
    splits = list(cv.split(X))
    held_out = []  # fold, row, f(0), f(1)
    for train, test in splits:
        plain = naive_chain(X[train], y[train], 60.0, [], w[train])
        pure = naive_chain(X[train], y[train], 60.0, [1.0], w[train])
        held_out += zip(test, plain.predict(X[test]), pure.predict(X[test]), strict=True)

    def best(unseen: Any) -> float:
        above = sum(w[i] * np.sum((y[i] - f0) * (f1 - f0)) for i, f0, f1 in held_out if i not in unseen)
        return above / sum(w[i] * np.sum((f1 - f0) ** 2) for i, f0, f1 in held_out if i not in unseen)

    falls: list[list[float]] = [[] for _ in y]
    for train, test in splits:
        plain = naive_chain(X[train], y[train], 60.0, [], w[train])
        student = naive_chain(X[train], y[train], 60.0, [best(set(test))], w[train])
        before, after = ((model.predict(X[test]) - y[test]) ** 2 for model in (plain, student))
        for i, a, b in zip(test, before, after, strict=True):
            falls[i].append(np.sum(a) - np.sum(b))
    fall = np.array([np.mean(repeats) for repeats in falls])
    gain = np.average(fall, weights=w)
    error = np.sqrt(np.sum((w * (fall - gain)) ** 2)) / w.sum() * np.sqrt(np.sum(w > 0) / (np.sum(w > 0) - 1))

    model = SelfDistiller(Ridge(60.0), cv=cv).fit(X, y, **({"sample_weight": w} if weighted else {}))
    assert close(model.cv_results_["xi"], [best(())])
    results = [model.cv_results_[name][0] for name in ("gain", "standard_error")]
    assert close(results, [gain, error])
    assert close([model.verdict_.gain, model.verdict_.standard_error], results / model.cv_results_["teacher_error"])
    assert model.verdict_.n_steps == int(gain > error)
    assert close(model.predict(X), naive_chain(X, y, 60.0, [best(())] if gain > error else [], w).predict(X))


def test_more_steps_teach_the_accepted_students():
    """A penalty too small is made up for step by step, each fold's accepted student the teacher of the next."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 50))
    y = 0.3 * X @ rng.standard_normal(50) + 3.0 * rng.standard_normal(80)
    inner = Ridge(3.0)
    model = SelfDistiller(inner, n_steps=4).fit(X, y)
    results = model.cv_results_
    accepted = model.verdict_.n_steps
    assert accepted == 3
    assert results["accepted"].tolist() == [True] * accepted + [False]
    assert np.array_equal(model.xi_, [0.0] * (4 - accepted) + results["xi"][:accepted].tolist())
    assert np.array_equal(results["gain"] > results["standard_error"], results["accepted"])
    assert close(results["teacher_error"][1:], results["error"][:-1])
    assert np.isclose(model.verdict_.gain, 1 - results["error"][accepted - 1] / results["teacher_error"][0])
    chain = SelfDistiller(inner, n_steps=None, xi=results["xi"][:accepted]).fit(X, y)
    assert close(model.predict(X), chain.predict(X))
    assert f"{accepted} steps accepted" in str(model.verdict_)


class CountingRidge(Ridge):
    """Counts the fits of all its clones."""

    fits: ClassVar[list[int]] = []

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CountingRidge:
        self.fits.append(len(y))
        return super().fit(X, y, sample_weight)


def test_the_number_of_fits(rng):
    X, y = problem(rng)
    CountingRidge.fits.clear()
    model = SelfDistiller(CountingRidge(60.0), cv=4).fit(X, y)
    assert model.verdict_.n_steps == 1
    assert sorted(CountingRidge.fits) == [30] * 4 * 3 + [40] * 2


def test_a_penalty_far_too_large_is_repaired():
    """Test error over that of tuned ridge: plain 1.28, distilled 1.05, with the weight best on the test set 1.03."""
    X, y = load_diabetes(return_X_y=True)
    ratios = []
    for seed in range(20):
        A, B, u, v = train_test_split(X, y, test_size=0.3, random_state=seed)
        tuned = RidgeCV(np.logspace(-4, 5, 40)).fit(A, u)
        model = SelfDistiller(Ridge(100 * tuned.alpha_)).fit(A, u)
        plain = model.estimators_[0]
        f0, f1 = plain.predict(B), clone(plain).fit(A, plain.predict(A)).predict(B)
        xi = fd.theory.best_step_weight(f0, f1, v)
        students = np.array([f0, model.predict(B), (1 - xi) * f0 + xi * f1, tuned.predict(B)])
        errors = np.mean((students - v) ** 2, axis=1)
        ratios.append(errors[:3] / errors[3])
    plain, ours, best = np.mean(ratios, axis=0)
    assert plain > 1.25
    assert ours < 1.06
    assert ours < 1.02 * best


def test_where_there_is_nothing_to_gain_nothing_is_lost():
    X, y = load_diabetes(return_X_y=True)
    accepted = 0
    for seed in range(20):
        A, _, u, _ = train_test_split(X, y, train_size=150, random_state=seed)
        tuned = RidgeCV(np.logspace(-4, 5, 40)).fit(A, u)
        model = SelfDistiller(Ridge(tuned.alpha_), n_steps=2).fit(A, u)
        accepted += model.verdict_.n_steps
        if not model.verdict_.n_steps:
            assert np.array_equal(model.xi_, [0.0, 0.0])
            assert model.estimator_ is model.estimators_[0]
            assert "No step accepted, the plain Ridge is kept" in str(model.verdict_)
    assert accepted == 0


@pytest.mark.parametrize("inner", [LinearRegression(), DecisionTreeRegressor(random_state=0)])
def test_models_that_repeat_their_teacher_are_left_alone(inner, rng):
    """f(1) − f(0) is rounding noise or zero, and its closed form would be any number."""
    for dtype in (np.float64, np.float32):
        X, y = problem(rng)
        model = SelfDistiller(inner).fit(X.astype(dtype), y.astype(dtype))
        assert np.array_equal(model.cv_results_["xi"], [0.0])
        assert not model.cv_results_["accepted"][0]


def test_positive_targets_stay_positive(rng):
    X, y = problem(rng)
    counts = rng.poisson(np.exp(y - 2.0))
    model = SelfDistiller(PoissonRegressor(alpha=300.0), n_steps=2).fit(X, counts)
    assert np.all((model.cv_results_["xi"] >= 0) & (model.cv_results_["xi"] <= 1))
    with pytest.raises(ValueError, match=r"xi must lie within \[0, 1\] for PoissonRegressor"):
        SelfDistiller(PoissonRegressor(), xi=-0.5).fit(X, counts)


def test_trees_are_judged_by_fitted_students(rng):
    """The outputs of a tree are not affine in the weight: the recorded error is that of actual fits."""
    X, y = problem(rng, n=120)
    inner = DecisionTreeRegressor(min_samples_leaf=2, random_state=0)
    first, second = np.arange(60), np.arange(60, 120)
    teachers, weights = [], []
    for train, test in ((second, first), (first, second)):
        plain = clone(inner).fit(X[train], y[train])
        teachers.append(plain.predict(X[train]))
        pure = clone(inner).fit(X[train], teachers[-1])
        weights.append(fd.theory.best_step_weight(plain.predict(X[test]), pure.predict(X[test]), y[test]))
    errors = []
    for train, test, teacher, xi in zip((second, first), (first, second), teachers, weights[::-1], strict=True):
        student = clone(inner).fit(X[train], (1 - xi) * y[train] + xi * teacher)
        errors.append(np.mean((student.predict(X[test]) - y[test]) ** 2))
    assert close(SelfDistiller(inner, cv=KFold(2)).fit(X, y).cv_results_["error"], [np.mean(errors)])


# -- Classifiers -----------------------------------------------------------------------------------


def soft_refit(inner: Any, X: np.ndarray, y: np.ndarray, p: np.ndarray, xi: float, w: Any = 1.0) -> Any:
    """One copy of the data for each class, weighted by the mixed probabilities."""
    classes = np.unique(y)
    shares = (1 - xi) * (y[:, None] == classes) + xi * p
    rows = [
        (x, c, share) for x, row in zip(X, shares * np.reshape(w, (-1, 1)), strict=True) for c, share in enumerate(row)
    ]
    features, codes, weight = (np.array(column) for column in zip(*rows, strict=True))
    return clone(inner).fit(features, classes[codes], sample_weight=weight)


@pytest.mark.parametrize("inner", [LogisticRegression(C=10.0, tol=1e-10, max_iter=5000), GaussianNB()])
@pytest.mark.parametrize("weighted", [False, True])
def test_soft_targets_are_an_explicit_weighted_refit(inner, weighted, rng):
    X, y = labels(rng)
    w = rng.uniform(0.0, 2.0, len(y)) if weighted else np.ones(len(y))
    fit = {"sample_weight": w} if weighted else {}
    model = SelfDistiller(inner, n_steps=2, xi=[0.6, 1.0]).fit(X, y, **fit)
    teacher = clone(inner).fit(X, y, **fit)
    for xi in (0.6, 1.0):
        teacher = soft_refit(inner, X, y, teacher.predict_proba(X), xi, w)
    assert close(model.predict_proba(X), teacher.predict_proba(X), 1e-6)
    assert np.array_equal(model.classes_, ["a", "b", "c"])
    assert np.mean(model.predict(X) == y) == model.score(X, y)


def test_decision_values_are_least_squares_probabilities(rng):
    """Where no decision value is clipped a distilled RidgeClassifier is distilled ridge on targets of -1 and 1."""
    X, y = labels(rng, n=60)
    targets = 2.0 * (y[:, None] == np.unique(y)) - 1.0
    model = SelfDistiller(RidgeClassifier(alpha=80.0), n_steps=2, xi=[0.7, 0.4]).fit(X, y)
    exact = DistilledRidge(80.0, [0.7, 0.4], None).fit(X, targets)
    assert np.abs(Ridge(80.0).fit(X, targets).predict(X)).max() < 1
    assert close(model.decision_function(X), exact.predict(X))
    binary = SelfDistiller(RidgeClassifier(alpha=80.0), n_steps=2, xi=[0.7, 0.4]).fit(X, y == "a")
    assert close(binary.decision_function(X), exact.predict(X)[:, 0])


def test_decision_values_beyond_the_margins_are_clipped_and_normalised(rng):
    X, y = labels(rng)
    model = SelfDistiller(LinearSVC(C=10.0), xi=1.0).fit(X, y)
    values = model.estimators_[0].decision_function(X)
    assert values.max() > 1
    p = np.clip((1 + values) / 2, 0, 1)
    nothing = p.sum(axis=1) == 0
    p = np.where(nothing[:, None], 1 / 3, p / np.where(nothing, 1.0, p.sum(axis=1))[:, None])
    assert close(model.decision_function(X), soft_refit(LinearSVC(C=10.0), X, y, p, 1.0).decision_function(X), 1e-3)


def test_without_sample_weight_the_likeliest_class_is_learned(rng):
    X, y = labels(rng, flipped=0.4)
    for inner in (KNeighborsClassifier(7), make_pipeline(StandardScaler(), KNeighborsClassifier(7))):
        model = SelfDistiller(inner, xi=0.8).fit(X, y)
        p = clone(inner).fit(X, y).predict_proba(X)
        relabelled = model.classes_[(0.2 * (y[:, None] == model.classes_) + 0.8 * p).argmax(axis=1)]
        assert 5 < np.sum(relabelled != y) < 60
        assert np.array_equal(model.predict_proba(X), clone(inner).fit(X, relabelled).predict_proba(X))


@pytest.mark.parametrize("decision", ["ovo", "ovr"])
@pytest.mark.parametrize("precomputed", [False, True])
def test_votes_and_precomputed_kernels(decision, precomputed, rng):
    """Columns per pair of classes are not mistaken for classes; a precomputed kernel is not repeated."""
    X, y = labels(rng, flipped=0.4)
    data = rbf_kernel(X, gamma=0.5) if precomputed else X
    inner = SVC(C=100.0, kernel="precomputed" if precomputed else "rbf", gamma=0.5, decision_function_shape=decision)
    if decision == "ovo":
        relabelled = SVC(C=100.0, gamma=0.5).fit(X, y).predict(X)
        student = SVC(C=100.0, gamma=0.5, decision_function_shape="ovo").fit(X, relabelled)
        model = SelfDistiller(inner, xi=1.0).fit(data, y)
        assert close(model.decision_function(data), student.decision_function(X), 1e-2)
    estimated = SelfDistiller(inner, n_steps=2).fit(data, y)
    assert np.all((estimated.xi_ >= 0) & (estimated.xi_ <= 1))


def test_every_class_stays_known(rng):
    """The teacher never names the rare class, and imitating it alone would leave one class to learn."""
    X = rng.standard_normal((60, 3))
    y = np.where(np.arange(60) % 12 == 0, "rare", "usual")
    for inner in (LinearSVC(C=1e-3), SVC(C=1e-2), KNeighborsClassifier(15)):
        for xi in (1.0, "estimate"):
            model = SelfDistiller(inner, n_steps=2, xi=xi, cv=StratifiedKFold(3)).fit(X, y)
            assert set(model.estimators_[0].predict(X)) == {"usual"}
            assert np.array_equal(model.estimator_.classes_, ["rare", "usual"])


def test_folds_may_lack_a_class(rng):
    X, y = labels(rng)
    X, y = X[np.argsort(y)], np.sort(y)
    thirds = [(np.delete(np.arange(90), test), test) for test in np.array_split(np.arange(90), 3)]
    for inner in (LogisticRegression(), LinearSVC(), KNeighborsClassifier(), DecisionTreeClassifier(random_state=0)):
        model = SelfDistiller(inner, cv=thirds).fit(X, y)
        assert np.all(np.isfinite(model.cv_results_["error"]))
        assert np.array_equal(model.estimator_.classes_, model.classes_)


def test_flipped_digits():
    """Accuracy on clean digits after 40 % flipped ones, three splits: weak penalty 0.61, distilled 0.69."""
    X, y = load_digits(return_X_y=True)
    scores = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        A, B, u, v = train_test_split(X / 16, y, train_size=300, random_state=seed)
        wrong = rng.random(len(u)) < 0.4
        u[wrong] = (u[wrong] + rng.integers(1, 10, wrong.sum())) % 10
        model = SelfDistiller(LogisticRegression(C=10.0, max_iter=300), cv=3).fit(A, u)
        scores.append([student.score(B, v) for student in model.estimators_])
        if not seed:
            assert SelfDistiller(LogisticRegression(C=0.05), cv=3).fit(A, u).verdict_.n_steps == 0
    assert np.mean(scores, axis=0) @ [-1, 1] > 0.06


# -- Metadata --------------------------------------------------------------------------------------


def test_weights_and_groups_without_routing(rng):
    X, y = problem(rng)
    w, groups = rng.uniform(0.0, 2.0, 40), np.arange(40) % 7
    plain = SelfDistiller(Ridge(60.0), cv=list(GroupKFold(3).split(X, y, groups))).fit(X, y, sample_weight=w)
    grouped = SelfDistiller(Ridge(60.0), cv=GroupKFold(3)).fit(X, y, sample_weight=w, groups=groups)
    assert close(grouped.cv_results_["error"], plain.cv_results_["error"])
    piped = SelfDistiller(make_pipeline(StandardScaler(with_mean=False, with_std=False), Ridge(60.0)), cv=plain.cv)
    assert close(piped.fit(X, y, sample_weight=w).predict(X), plain.predict(X))
    assert close(piped.fit(X, y, ridge__sample_weight=w).cv_results_["error"], plain.cv_results_["error"])
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample_weight'"):
        SelfDistiller(KNeighborsRegressor()).fit(X, y, sample_weight=w)


def test_weights_and_groups_with_routing(rng):
    X, y = problem(rng)
    w, groups = rng.uniform(0.0, 2.0, 40), np.arange(40) % 7
    cv = GroupKFold(3)
    unrouted = SelfDistiller(Ridge(60.0), cv=cv).fit(X, y, sample_weight=w, groups=groups)
    ignoring = SelfDistiller(Ridge(60.0), cv=cv).fit(X, y, groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        for asked, name in ((True, "sample_weight"), ("importance", "importance")):
            model = SelfDistiller(Ridge(60.0).set_fit_request(sample_weight=asked), cv=cv)
            model.fit(X, y, **{name: w}, groups=groups)
            assert close(model.predict(X), unrouted.predict(X))
            assert close(model.cv_results_["error"], unrouted.cv_results_["error"])
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            SelfDistiller(Ridge(60.0), cv=cv).fit(X, y, sample_weight=w, groups=groups)
        scaler = StandardScaler(with_mean=False, with_std=False).set_fit_request(sample_weight=False)
        piped = make_pipeline(scaler, Ridge(60.0).set_fit_request(sample_weight=True))
        model = SelfDistiller(piped, cv=cv).fit(X, y, sample_weight=w, groups=groups)
        assert close(model.cv_results_["error"], unrouted.cv_results_["error"])
        model = SelfDistiller(Ridge(60.0), cv=cv).fit(X, y, groups=groups)
        assert close(model.predict(X), ignoring.predict(X))


def test_a_router_within_a_router(rng):
    X, y = problem(rng)
    w = rng.uniform(0.5, 2.0, 40)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = SelfDistiller(Ridge().set_fit_request(sample_weight=True), cv=3).set_score_request(sample_weight=True)
        search = GridSearchCV(inner, {"estimator__alpha": [1.0, 1e3], "xi": ["estimate", 1.0]}, cv=3)
        search.fit(X, y, sample_weight=w)
        assert search.best_params_ == {"estimator__alpha": 1.0, "xi": "estimate"}
    best = SelfDistiller(Ridge(1.0), cv=3).fit(X, y, sample_weight=w)
    assert close(search.predict(X), best.predict(X))


def test_soft_targets_in_a_pipeline(rng):
    """Every sample is repeated alike, so that the scaler sees the same means; the last step gets the weights."""
    X, y = labels(rng)
    inner = LogisticRegression(C=10.0, tol=1e-10, max_iter=5000)
    exact = SelfDistiller(inner, xi=0.7).fit(StandardScaler().fit_transform(X), y)
    piped = SelfDistiller(make_pipeline(StandardScaler(), inner), xi=0.7).fit(X, y)
    proba = exact.predict_proba(StandardScaler().fit_transform(X))
    assert close(piped.predict_proba(X), proba, 1e-6)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        routed = make_pipeline(scaler, clone(inner).set_fit_request(sample_weight=True))
        assert close(SelfDistiller(routed, xi=0.7).fit(X, y).predict_proba(X), proba, 1e-6)
        unasked = make_pipeline(StandardScaler(), inner)
        relabelled = SelfDistiller(unasked, xi=0.7).fit(X, y)
        p = clone(unasked).fit(X, y).predict_proba(X)
        likeliest = exact.classes_[(0.3 * (y[:, None] == exact.classes_) + 0.7 * p).argmax(axis=1)]
        assert close(relabelled.predict_proba(X), clone(unasked).fit(X, likeliest).predict_proba(X), 1e-6)
