"""How fits of the SGD estimators end: interrupted by Ctrl-C, above where they began, or far from the optimum."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

import fastdistill as fd
from fastdistill import KDSGDClassifier, KDSGDRegressor, SelfDistiller
from fastdistill.estimators._sgd import Watch

FIXED = {"step_size": 0.02, "tol": None, "max_iter": 6, "random_state": 3}


def problem(rng, kind="numbers", n=200, p=5):
    """Standardised features and targets that they explain in part: "numbers", or so many classes."""
    X = rng.standard_normal((n, p))
    scores = X @ rng.standard_normal((p, 3)) + 0.5 * rng.standard_normal((n, 3))
    return X, scores[:, 0] + 1.0 if kind == "numbers" else scores[:, :kind].argmax(axis=1)


def student(kind, **options):
    return (KDSGDRegressor if kind == "numbers" else KDSGDClassifier)(**options)


# -- Ctrl-C ----------------------------------------------------------------------------------------


@pytest.fixture
def ctrl_c_in_epoch(monkeypatch):
    """A function that makes Ctrl-C arrive after so many epochs of a fit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    original = Watch.__call__

    def arrive(after):
        def call(self, epoch, coef, intercept):
            found = original(self, epoch, coef, intercept)
            if epoch == after:
                signal.raise_signal(signal.SIGINT)
            return found

        monkeypatch.setattr(Watch, "__call__", call)

    yield arrive
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", ["numbers", 2, 3])
def test_an_interrupted_fit_keeps_its_complete_epochs(kind, ctrl_c_in_epoch, rng):
    X, y = problem(rng, kind)
    shorter = student(kind, **{**FIXED, "max_iter": 2}).fit(X, y)
    ctrl_c_in_epoch(2)
    model = student(kind, **FIXED)
    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(X, y)
    assert caught.value.run.n_epochs == 2
    np.testing.assert_array_equal(model.coef_, shorter.coef_)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    model.partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, shorter.partial_fit(X, y).coef_)


def test_a_fit_interrupted_before_its_first_epoch_is_none(ctrl_c_in_epoch, rng, monkeypatch):
    X, y = problem(rng)
    model = KDSGDRegressor(**FIXED).fit(X, y)  # of an earlier fit nothing is left
    monkeypatch.setattr("fastdistill.sgd.steps.Stepper.epoch", lambda *_: signal.raise_signal(signal.SIGINT))
    ctrl_c_in_epoch(-1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_an_interrupted_partial_fit_leaves_the_model(ctrl_c_in_epoch, rng, monkeypatch):
    X, y = problem(rng)
    model = KDSGDRegressor(**FIXED).partial_fit(X, y)
    coef = model.coef_.copy()
    monkeypatch.setattr("fastdistill.sgd.steps.Stepper.epoch", lambda *_: signal.raise_signal(signal.SIGINT))
    ctrl_c_in_epoch(-1)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, coef)
    assert model.n_iter_ == 1


class Pressed(Ridge):
    def fit(self, X, y, sample_weight=None):
        raise KeyboardInterrupt


def test_other_loops_let_interrupts_through(rng, monkeypatch):
    X, y = problem(rng)
    for model in (SelfDistiller(Pressed()), SelfDistiller(Pressed(), xi=0.5)):
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
        assert not hasattr(model, "estimator_")
    monkeypatch.setattr("fastdistill.sgd.deep_linear._Training.step", lambda *_: signal.default_int_handler(2, None))
    with pytest.raises(KeyboardInterrupt):
        fd.deep_linear_distillation(X, y, [np.ones((1, 5))], kd_weight=0.5, step_size=0.01, n_epochs=3)


# -- Divergence ------------------------------------------------------------------------------------

LARGE = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "averaging": {"average": True, "step_size": 4.0},
    "early stopping": {"early_stopping": True},
    "no tolerance": {"tol": None},
    "one at a time": {"batch_size": 1},
    "taught": {"teacher": np.ones(5)},
    "svrg": {"variant": "svrg"},
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_regressor_worse_than_zero_says_so(name, weighted, rng):
    X, y = problem(rng)
    w = rng.uniform(0.5, 2.0, len(y)) if weighted else None
    with pytest.warns(fd.ConvergenceWarning, match="diverged") as caught:
        model = KDSGDRegressor(**{"step_size": 2.0, "max_iter": 6, "random_state": 0, **LARGE[name]}).fit(X, y, w)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classifier_worse_than_zero_says_so(n_classes, rng):
    X, y = problem(rng, n_classes)
    with pytest.warns(fd.ConvergenceWarning, match="its objective is above that of the start"):
        KDSGDClassifier(step_size=50.0, max_iter=6, random_state=0, batch_size=1).fit(X, rng.permutation(y))


def test_partial_fits_that_diverge_say_so(rng):
    X, y = problem(rng)
    with pytest.warns(fd.ConvergenceWarning, match="diverged"):
        KDSGDRegressor(step_size=2.0, random_state=0).partial_fit(X, y)


@pytest.mark.parametrize("kind", ["numbers", 2, 3])
def test_going_on_from_the_optimum_is_no_divergence(kind, rng):
    X, y = problem(rng, kind)
    model = student(kind, random_state=0, warm_start=True).fit(X, y)
    model.fit(X, y)
    for rows in rng.permutation(len(X)).reshape(-1, 20):  # batches that the model is not the optimum of
        model.partial_fit(X[rows], y[rows])


# -- Features on different scales ------------------------------------------------------------------

SCALES = {
    "units": lambda X: X * [1.0, 10.0, 1e2, 1e3, 1e4],
    "means": lambda X: X + 1e3,
    "one column": lambda X: X * [1.0, 1.0, 1.0, 1.0, 1e3],
    "a constant": lambda X: np.column_stack([X, np.full(len(X), 1e3)]),
}


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"tol": None, "max_iter": 30}], ids=str)
@pytest.mark.parametrize("name", SCALES)
def test_a_fit_stalled_by_scales_says_so(name, options, rng):
    X, y = problem(rng)
    scaled = SCALES[name](X)
    with pytest.warns(fd.ConvergenceWarning, match="far from the optimum.*StandardScaler") as caught:
        model = KDSGDRegressor(random_state=0, l2=0.0, **options).fit(scaled, y)
    assert caught[0].filename == __file__
    best = Ridge(1e-9).fit(scaled, y)
    assert best.score(scaled, y) - model.score(scaled, y) > 0.1
    if not options.get("early_stopping"):  # what could be reached is not below the optimum
        said = float(str(caught[0].message).split("and ")[1].split()[0])
        assert said >= 0.499 * np.mean((y - best.predict(scaled)) ** 2)
    KDSGDRegressor(random_state=0, l2=0.0, **options).fit(StandardScaler().fit_transform(scaled), y)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classifier_stalled_by_scales_says_so(n_classes, rng):
    X, y = problem(rng, n_classes)
    with pytest.warns(fd.ConvergenceWarning, match="far from the optimum.*StandardScaler"):
        model = KDSGDClassifier(random_state=0).fit(SCALES["one column"](X), y)
    assert LogisticRegression(C=1 / (1e-4 * len(y))).fit(X, y).score(X, y) > model.score(SCALES["one column"](X), y)
    KDSGDClassifier(random_state=0).fit(X, y)


def test_scales_that_hide_nothing_are_not_told(rng):
    X, y = problem(rng)
    KDSGDRegressor(random_state=0).fit(SCALES["one column"](X), X[:, 4])  # the large column is all there is
    KDSGDRegressor(random_state=0).fit(SCALES["one column"](X), rng.standard_normal(len(y)))
