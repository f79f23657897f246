"""SGD estimators: contract, `run_sgd` behind them, naive twins of early stopping, teachers, weights, partial fits."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numba
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, make_classification, make_regression
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastdistill as fd
from fastdistill import KDSGDClassifier, KDSGDRegressor
from fastdistill.estimators._sgd import Rate, Watch, auto_batch, auto_step
from fastdistill.sgd.problem import Problem

FEW = {"max_iter": 30} if numba.config.DISABLE_JIT else {}  # epochs of the contract, which take their time uncompiled
STEADY = {"step_size": 0.02, "tol": None, "max_iter": 4, "random_state": 3, "batch_size": 5}


def problem(rng, kind="numbers", n=60, p=4):
    """Design and targets: "numbers", "pairs" of numbers, or so many classes."""
    X = rng.standard_normal((n, p))
    scores = X @ rng.standard_normal((p, 3)) + 0.7 * rng.standard_normal((n, 3))
    if kind == "numbers":
        return X, scores[:, 0] + 2.0
    if kind == "pairs":
        return X, scores[:, :2] + [2.0, -1.0]
    return X, np.array(["a", "b", "c"])[scores[:, :kind].argmax(axis=1)]


def student(kind, **options):
    return (KDSGDRegressor if isinstance(kind, str) else KDSGDClassifier)(**{**STEADY, **options})


def assert_same(model, other, rtol=1e-12):
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=rtol, atol=1e-14)
    np.testing.assert_allclose(model.intercept_, other.intercept_, rtol=rtol, atol=1e-14)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


KINDS = ["numbers", "pairs", 2, 3]

# -- The contract ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::fastdistill.ConvergenceWarning")  # few epochs, features on any scale
@parametrize_with_checks(
    [
        KDSGDRegressor(**FEW),
        KDSGDClassifier(**FEW),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::fastdistill.ConvergenceWarning")  # few epochs, features on any scale
@parametrize_with_checks(
    [
        KDSGDRegressor(variant="svrg", kd_weight=1.0, average=True, max_iter=10),
        KDSGDRegressor(tol=None, max_iter=5, order="sequential", batch_size=100, compressor=fd.Bernoulli(1.0)),
        KDSGDClassifier(variant="repeated", momentum=0.5, max_iter=15),
        KDSGDClassifier(order="sequential", step_size=fd.InverseTime(0.1, 10.0), max_iter=15),
    ]
)
def test_scikit_learn_contract_of_variants(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", KINDS)
def test_clone_pickle_and_names(kind, rng):
    X, y = problem(rng, kind)
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = student(kind).fit(frame, y)
    assert list(model.feature_names_in_) == list("abcd")
    assert np.array_equal(clone(model).fit(frame, y).coef_, model.coef_)
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.predict(frame), model.predict(frame))
    assert_same(loaded.partial_fit(frame, y), model.partial_fit(frame, y))  # the orders go on


def test_routing_slices_weights_and_outputs(rng):
    X, y = problem(rng)
    w, s = rng.uniform(0.5, 2.0, len(y)), y + 1.0
    folds = [(np.arange(40), np.arange(40, 60))]
    with sklearn.config_context(enable_metadata_routing=True):
        last = student("numbers").set_fit_request(sample_weight=True, teacher_outputs=True)
        model = make_pipeline(last.set_score_request(sample_weight=True))
        found = cross_validate(
            model, X, y, cv=folds, params={"sample_weight": w, "teacher_outputs": s}, return_estimator=True
        )
    assert_same(found["estimator"][0][-1], student("numbers").fit(X[:40], y[:40], w[:40], s[:40]))


# -- Defaults --------------------------------------------------------------------------------------


def scaled(X, y):
    return StandardScaler().fit_transform(X), y


@pytest.mark.parametrize(
    ("data", "alpha"),
    [
        (lambda: make_regression(1000, 20, noise=50.0, bias=30.0, random_state=0), 1e-4),
        (lambda: make_regression(500, 20, noise=5.0, n_targets=2, random_state=0), 1e-2),
        (lambda: load_diabetes(return_X_y=True), 1e-4),
    ],
)
def test_default_regressor_converges_to_ridge(data, alpha):
    X, y = scaled(*data())
    model = KDSGDRegressor(l2=alpha, random_state=0).fit(X, y)
    ridge = Ridge(alpha * len(y)).fit(X, y)
    assert model.n_iter_ < model.max_iter
    assert ridge.score(X, y) - model.score(X, y) < 0.003
    scale = ridge.predict(X).std(axis=0)
    assert np.all(np.abs(model.predict(X) - ridge.predict(X)).std(axis=0) < 0.06 * scale)


@pytest.mark.parametrize(
    ("data", "l2"),
    [
        (lambda: make_classification(1000, 20, flip_y=0.2, random_state=0), 1e-4),
        (lambda: make_classification(1000, 20, n_classes=4, n_informative=6, flip_y=0.2, random_state=0), 1e-3),
        (lambda: load_breast_cancer(return_X_y=True), 1e-2),
    ],
)
def test_default_classifier_converges_to_logistic_regression(data, l2):
    X, y = scaled(*data())
    model = KDSGDClassifier(l2=l2, random_state=0).fit(X, y)
    exact = LogisticRegression(C=1 / (l2 * len(y)), max_iter=1000, tol=1e-8).fit(X, y)
    assert model.n_iter_ < model.max_iter
    assert log_loss(y, model.predict_proba(X)) - log_loss(y, exact.predict_proba(X)) < 0.003
    assert np.abs(model.predict_proba(X) - exact.predict_proba(X)).mean() < 0.01
    assert model.coef_.shape == exact.coef_.shape


def test_the_automatic_step_leaves_no_plateau(rng):
    X, y = problem(rng, n=1000)
    best = LinearRegression().fit(X, y)
    excess = {}
    for name, step in (("auto", "auto"), ("kept", KDSGDRegressor(max_iter=1, tol=None).fit(X, y).step_size_)):
        model = KDSGDRegressor(step_size=step, l2=0.0, random_state=0).fit(X, y)
        excess[name] = np.mean((model.predict(X) - best.predict(X)) ** 2)
    assert excess["auto"] < 0.1 * excess["kept"]


@pytest.mark.parametrize("loss", ["squared", "logistic", "softmax"])
@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_automatic_step_is_one_over_expected_smoothness(loss, batch_size, rng):
    X = rng.standard_normal((50, 6)) * [5, 1, 1, 1, 1, 1]
    y = rng.standard_normal(50) if loss == "squared" else np.arange(50) % 2
    w = rng.uniform(0.5, 2.0, 50)
    found = auto_step(Problem(X, y, loss, 0.1, True, w, 2), batch_size, replace=False)
    constants = fd.theory.smoothness(
        np.column_stack([X, np.ones(50)]) * np.sqrt(w / w.mean())[:, None],
        loss=loss,
        l2=0.1,
        batch_size=50 % batch_size or batch_size,
    )
    assert found == pytest.approx(1 / constants.expected, rel=0.05)


@pytest.mark.parametrize("n", [1, 2, 64, 65, 100, 127, 129, 1000, 6401])
def test_automatic_batches_are_full(n):
    size = auto_batch(n)
    assert size == min(n, size) <= 64
    last = n % size or size
    assert last >= 0.8 * size


# -- `run_sgd` -------------------------------------------------------------------------------------

RUNS = {
    "plain": {},
    "kd": {"kd_weight": 0.7},
    "unbiased": {"variant": "kd_unbiased", "batch_size": 1},
    "fading": {"kd_weight": fd.Geometric(0.9, 0.5), "step_size": fd.InverseTime(0.05, 2.0), "order": "replace"},
    "svrg": {"variant": "svrg", "kd_weight": 1.0, "teacher_every": 2},
    "repeated": {"variant": "repeated", "average": True},
    "momentum": {"momentum": 0.5, "fit_intercept": False, "compressor": fd.RandK(2)},
}


@pytest.mark.filterwarnings("ignore:The teacher has coefficients and no intercept")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RUNS)
def test_fit_is_run_sgd(name, kind, rng):
    X, y = problem(rng, kind)
    w = rng.uniform(0.5, 2.0, len(y))
    codes = np.unique(y, return_inverse=True)[1]
    loss = "squared" if isinstance(kind, str) else {2: "logistic", 3: "softmax"}[kind]
    shape = (4, *np.shape(y)[1:]) if loss == "squared" else (4, 3)[: kind - 1]
    teacher = rng.standard_normal(shape)
    self_taught = RUNS[name].get("variant") in ("svrg", "repeated")
    teacher = None if name in ("plain", "momentum") or self_taught else teacher
    model = student(kind, teacher=teacher, l2=0.1, **RUNS[name]).fit(X, y, w)
    options = {"kd_weight": 0.5, "fit_intercept": True, **STEADY, **RUNS[name]}
    options |= {"n_epochs": options.pop("max_iter")}
    if teacher is None and not self_taught:
        options["kd_weight"] = 0.0
    del options["tol"]
    run = fd.run_sgd(X, y if loss == "squared" else codes, loss, teacher=teacher, l2=0.1, sample_weight=w, **options)
    np.testing.assert_allclose(np.atleast_2d(model.coef_), np.atleast_2d(run.coef.T), rtol=1e-12)
    np.testing.assert_allclose(np.ravel(model.intercept_), np.ravel(run.intercept), rtol=1e-12)
    assert model.n_iter_ == 4
    if name in ("plain", "unbiased", "svrg", "repeated"):
        np.testing.assert_allclose(model.loss_curve_, run.trace["loss"][1:], rtol=1e-10)


def test_soft_labels_and_temperature(rng):
    X, y = problem(rng, 3)
    teacher = rng.standard_normal((4, 3))
    options = {"teacher": teacher, "variant": "soft_labels", "temperature": 2.0}
    model = student(3, **options).fit(X, y)
    options = {**options, "kd_weight": 0.5, "fit_intercept": True, "l2": 1e-4}
    run = fd.run_sgd(
        X, np.unique(y, return_inverse=True)[1], "softmax", step_size=0.02, n_epochs=4, batch_size=5, random_state=3,
        **options,
    )  # fmt: skip
    np.testing.assert_allclose(model.coef_, run.coef.T, rtol=1e-12)
    z, onehot = X @ run.coef + run.intercept, y[:, None] == ["a", "b", "c"]
    soft = -np.sum(softmax(X @ teacher / 2) * np.log(softmax(z / 2)), axis=1)
    loss = 0.5 * -np.log(softmax(z))[onehot].mean() + 0.5 * 4 * soft.mean()
    loss += 0.25e-4 * (np.square(run.coef).sum() + np.square(run.coef - teacher).sum())
    assert model.loss_curve_[-1] == pytest.approx(loss, rel=1e-10)


@pytest.mark.parametrize("kind", ["numbers", 2])
def test_distilled_loss_curve(kind, rng):
    X, y = problem(rng, kind)
    theta, w = rng.standard_normal(4), rng.uniform(0.5, 2.0, len(y))
    model = student(kind, teacher=theta, kd_weight=0.3, l2=0.2).fit(X, y, w)
    coef, z = np.ravel(model.coef_), np.ravel(X @ model.coef_.T + model.intercept_)

    def loss(b):
        return (z - b) ** 2 / 2 if kind == "numbers" else np.log1p(np.exp(z)) - b * z

    b, s = (y, X @ theta) if kind == "numbers" else (y == "b", 1 / (1 + np.exp(-X @ theta)))
    expected = np.average(0.7 * loss(b) + 0.3 * loss(s), weights=w)
    expected += 0.1 * (0.7 * coef @ coef + 0.3 * (coef - theta) @ (coef - theta))
    assert model.loss_curve_[-1] == pytest.approx(expected, rel=1e-10)
    assert len(model.loss_curve_) == 4


# -- When to stop ----------------------------------------------------------------------------------


def naive_stop(values, tol, patience, relative):
    """The epoch after which a fit with a given step ends: `patience` epochs in a row that do not beat the last best."""
    best, first = np.inf, values[0]
    waited = 0
    for epoch, value in enumerate(values):
        margin = tol * (max(best, 1e-3 * first) if relative else 1.0) if epoch else 0.0
        if value < best - margin:
            best, waited = value, 0
        else:
            waited += 1
        if waited == patience:
            return epoch + 1
    return len(values)


@pytest.mark.parametrize("kind", ["numbers", 2, 3])
@pytest.mark.parametrize("tol", [0.0, 1e-2])
@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_where_the_objective_does(kind, tol, patience, rng):
    X, y = problem(rng, kind)
    options = {"n_iter_no_change": patience, "step_size": 0.1, "random_state": 0, "batch_size": 4}
    model = student(kind, **{**options, "tol": tol, "max_iter": 300}).fit(X, y)
    whole = student(kind, **{**options, "tol": None, "max_iter": model.n_iter_ + 5}).fit(X, y)
    assert model.n_iter_ == naive_stop(whole.loss_curve_, tol, patience, kind == "numbers")
    np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_[: model.n_iter_], rtol=1e-12)


def test_an_exact_fit_ends(rng):
    X = rng.standard_normal((50, 4))
    y = X @ rng.standard_normal(4)
    options = {"n_iter_no_change": 2, "step_size": 0.05, "l2": 0.0}
    model = student("numbers", **{**options, "tol": 1e-2, "max_iter": 300}).fit(X, y)
    whole = student("numbers", **{**options, "max_iter": model.n_iter_ + 3}).fit(X, y)
    assert model.n_iter_ == naive_stop(whole.loss_curve_, 1e-2, 2, True)
    assert 1e-8 < whole.loss_curve_[-1] / whole.loss_curve_[0] < 1e-4


def test_the_automatic_step_is_cut_where_progress_ends():
    """3 epochs without progress cut the step by 4; the fit ends where the last cut has gained less than 10 %."""

    class Said:
        problem = SimpleNamespace(loss="squared")
        values = iter([8.0, 6.0, 5.9, 5.8, 5.7, 4.0, 3.9, 3.8, 3.7, 3.65, 3.64, 3.63])

        def __call__(self, coef, intercept):
            return next(self.values)

    step = Rate(1.0, is_auto=True)
    watch = Watch(Said(), None, 0.1, 3, step)
    found = [(watch(epoch, np.zeros(1), 0.0), float(step.factor(0.0))) for epoch in range(12)]
    assert found == [(False, 1.0)] * 4 + [(False, 1 / 4)] * 4 + [(False, 1 / 16)] * 3 + [(True, 1 / 16)]


def naive_early_stopping(X, y, w, kind, *, step, l2, fraction, patience, tol, seed):
    """SGD row by row in sequential order, scored on held-out rows after each epoch: scores, best coefficients."""
    X, y, w = X[w > 0], y[w > 0], w[w > 0]
    classes = None if isinstance(kind, str) else np.unique(y)
    rows = train_test_split(
        np.arange(len(y)), test_size=fraction, stratify=None if classes is None else y, random_state=seed
    )
    train, held_out = rows
    A = np.column_stack([X, np.ones(len(X))])
    targets = y if classes is None else (y[:, None] == classes).astype(float)
    x = np.zeros((A.shape[1], 1 if classes is None or len(classes) == 2 else len(classes)))
    weight = w[train] / w[train].mean()
    scores, kept, reference, waited = [], None, -np.inf, 0
    while waited < patience:
        for i, wi in zip(train, weight, strict=True):
            z = A[i] @ x
            if classes is None:
                r = z - targets[i]
            else:
                r = 1 / (1 + np.exp(-z)) - targets[i, 1:] if len(classes) == 2 else softmax(z[None])[0] - targets[i]
            penalty = l2 * x
            penalty[-1] = 0.0
            x = x - step * (wi * np.outer(A[i], r) + penalty)
        z = A[held_out] @ x
        if classes is None:
            score = r2_score(y[held_out], z[:, 0], sample_weight=w[held_out])
        else:
            named = classes[(z[:, 0] > 0).astype(int) if len(classes) == 2 else z.argmax(axis=1)]
            score = accuracy_score(y[held_out], named, sample_weight=w[held_out])
        if score > max(scores, default=-np.inf):
            kept = x
        scores.append(score)
        reference, waited = (
            (score, 0) if score > reference + (tol if len(scores) > 1 else 0) else (reference, waited + 1)
        )
    return scores, kept


@pytest.mark.parametrize("kind", ["numbers", 2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("tol", [1e-9, 1e-2])  # progress of rounding errors is none
def test_early_stopping_is_its_naive_twin(kind, seed, tol):
    rng = np.random.default_rng(seed)
    X, y = problem(rng, kind, n=80)
    w = rng.uniform(0.2, 2.0, len(y))
    w[:5] = 0.0
    options = {"l2": 0.01, "tol": tol}
    scores, kept = naive_early_stopping(
        X, y, w, kind, step=0.08, fraction=0.25, patience=4, seed=seed, **options
    )  # fmt: skip
    model = student(
        kind, early_stopping=True, validation_fraction=0.25, n_iter_no_change=4, order="sequential", step_size=0.08,
        batch_size=1, max_iter=500, random_state=seed, **options,
    ).fit(X, y, w)  # fmt: skip
    np.testing.assert_allclose(model.validation_scores_, scores, rtol=1e-9)
    assert model.n_iter_ == len(scores) == len(model.loss_curve_)
    np.testing.assert_allclose(np.atleast_2d(model.coef_).T, kept[:-1], rtol=1e-8)
    np.testing.assert_allclose(np.ravel(model.intercept_), kept[-1], rtol=1e-8)
    assert max(scores[-4:]) <= scores[-5] + tol  # four epochs without progress


def test_early_stopping_needs_samples(rng):
    X, y = problem(rng)
    for rows, weight in ((slice(3), None), (slice(None), np.arange(60) < 3)):
        with pytest.raises(ValueError, match=r"hold out 3 samples, but n_samples = 3"):
            student("numbers", early_stopping=True, validation_fraction=0.9).fit(X[rows], y[rows], weight)


def test_warnings_say_what_to_do(rng):
    X, y = problem(rng)
    with pytest.warns(fd.ConvergenceWarning, match=r"max_iter=2 epochs before convergence.*StandardScaler"):
        assert KDSGDRegressor(max_iter=2).fit(X, y).n_iter_ == 2
    with pytest.warns(fd.ConvergenceWarning, match=r"diverged in epoch .* step of at most"):
        model = KDSGDRegressor(step_size=1e3, batch_size=1, random_state=0).fit(X, y)
    assert np.isfinite(model.coef_).all()


# -- Teachers --------------------------------------------------------------------------------------


def equal_fits(kind, X, y, forms, **options):
    """The students of all forms (teacher, outputs) are one."""
    models = [student(kind, teacher=teacher, l2=0.0, **options).fit(X, y, None, s) for teacher, s in forms]
    for model in models[1:]:
        assert_same(model, models[0], rtol=1e-7)
    assert not np.allclose(models[0].coef_, student(kind, l2=0.0).fit(X, y).coef_, rtol=1e-3)


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_forms_of_teachers_agree(variant, early_stopping, rng):
    options = {"variant": variant, "early_stopping": early_stopping}
    for kind in ("numbers", "pairs"):
        X, y = problem(rng, kind)
        linear = Ridge(20.0).fit(X, y)
        coef, b = linear.coef_.T, linear.intercept_
        run = fd.run_sgd(
            X, y, teacher=(coef, b), kd_weight=1.0, coef_init=(coef, b), step_size=0.1, n_epochs=0, fit_intercept=True
        )
        forms = [((coef, b), None), (np.vstack([coef, [b]]) if coef.ndim == 2 else np.append(coef, b), None)]
        forms += [(linear, None), (FrozenEstimator(linear), None), (run, None), (None, linear.predict(X))]
        forms += [(make_pipeline(StandardScaler(with_mean=False, with_std=False), Ridge(20.0)).fit(X, y), None)]
        equal_fits(kind, X, y, forms, **options)
    X, y = problem(rng, 2)
    linear = LogisticRegression(C=0.1).fit(X, y)
    proba = linear.predict_proba(X)
    forms = [(linear, None), ((linear.coef_[0], linear.intercept_[0]), None), (None, proba), (None, proba[:, 1])]
    equal_fits(2, X, y, forms, **options)
    X, y = problem(rng, 3)
    linear = LogisticRegression(C=0.1).fit(X, y)
    forms = [(linear, None), ((linear.coef_.T, linear.intercept_), None), (None, linear.predict_proba(X))]
    equal_fits(3, X, y, forms, **options)


def test_other_teachers_count_by_their_outputs(rng):
    X, y = problem(rng)
    y = np.exp(y / 2)
    for teacher in (RandomForestRegressor(5, random_state=0), PoissonRegressor()):  # coef_, but not linear
        teacher.fit(X, y)
        equal_fits("numbers", X, y, [(teacher, None), (None, teacher.predict(X))])
    X, y = problem(rng, 3)
    one_against_rest = SGDClassifier(loss="log_loss", random_state=0)
    for teacher in (RandomForestClassifier(5, random_state=0), one_against_rest):
        teacher.fit(X, y)
        equal_fits(3, X, y, [(teacher, None), (None, teacher.predict_proba(X))])


def test_linear_decision_values_are_scores(rng):
    X, y = problem(rng, 2)
    teacher = LinearSVC().fit(X, y)
    equal_fits(2, X, y, [(teacher, None), ((teacher.coef_[0], teacher.intercept_[0]), None)])


def test_a_frame_reaches_the_teacher_and_a_frozen_one_survives_clones(rng):
    X, y = problem(rng, 2)
    frame = pd.DataFrame(X, columns=list("abcd"))
    forest = RandomForestClassifier(5, random_state=0).fit(frame, y)
    model = student(2, teacher=forest).fit(frame, y)  # no warning about missing names
    assert_same(clone(student(2, teacher=FrozenEstimator(forest))).fit(frame, y), model)
    y = X[:, 0]
    forest = RandomForestRegressor(5, random_state=0).fit(frame, y)
    assert_same(
        student("numbers", teacher=forest).fit(frame, y), student("numbers").fit(X, y, None, forest.predict(frame))
    )
    y = problem(rng, 2)[1]
    with pytest.raises(NotFittedError, match="FrozenEstimator"):
        clone(model).fit(frame, y)


def test_a_teacher_at_the_optimum_removes_the_plateau(rng):
    X, y = problem(rng, n=200)
    best = LinearRegression().fit(X, y)
    excess = {}
    for weight in (0.0, 1.0):
        model = KDSGDRegressor(best, kd_weight=weight, step_size=0.05, batch_size=1, l2=0.0, tol=None, max_iter=60)
        model.set_params(random_state=0).fit(X, y)
        excess[weight] = np.linalg.norm(model.coef_ - best.coef_)
    assert excess[1.0] < 1e-10 < 1e-3 < excess[0.0]


# -- Weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [2, 3])
def test_class_weights_are_sample_weights(kind, rng):
    X, y = problem(rng, kind)
    w = rng.uniform(0.5, 2.0, len(y))
    given = {"a": 3.0, "b": 0.5}
    per_sample = np.array([given.get(label, 1.0) for label in y])
    assert_same(student(kind, class_weight=given).fit(X, y, w), student(kind).fit(X, y, w * per_sample))
    classes = np.unique(y)
    found = dict(zip(classes, compute_class_weight("balanced", classes=classes, y=y), strict=True))
    assert_same(student(kind, class_weight="balanced").fit(X, y), student(kind, class_weight=found).fit(X, y))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_equal_repetition(kind, rng):
    X, y = problem(rng, kind, n=25)
    w = rng.integers(0, 4, len(y))
    options = {"batch_size": 1000, "step_size": 0.1, "max_iter": 20}
    if not isinstance(kind, str):
        options["class_weight"] = "balanced"
    weighted = student(kind, **options).fit(X, y, w)
    repeated = student(kind, **options).fit(X.repeat(w, axis=0), y.repeat(w, axis=0))
    assert_same(weighted, repeated, rtol=1e-9)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)


def test_weights_equal_repetition_on_average(rng):
    """One epoch of single steps, drawn with replacement: the mean over seeds is that of the repeated samples."""
    X, y = problem(rng, n=20)
    w = rng.integers(0, 4, len(y))
    options = {"order": "replace", "batch_size": 1, "max_iter": 1, "step_size": 0.005, "fit_intercept": False}
    sizes = (w.sum(), np.count_nonzero(w))  # visits of an epoch: the step makes up for them
    means = []
    for data, weight, visits in (((X.repeat(w, axis=0), y.repeat(w)), None, sizes[0]), ((X, y), w, sizes[1])):
        options["step_size"] = 0.1 / visits
        seeds = range(300)
        means.append([student("numbers", **{**options, "random_state": s}).fit(*data, weight).coef_ for s in seeds])
    a, b = np.array(means)
    error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
    assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) < 4 * error + 1e-3)
