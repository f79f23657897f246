"""How fits of the SGD estimators end: interrupted by Ctrl-C, above where they began, or far from the optimum."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

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
    monkeypatch.setattr("fastdistill.deep_linear._Training.step", lambda *_: signal.default_int_handler(2, None))
    with pytest.raises(KeyboardInterrupt):
        fd.deep_linear_distillation(X, y, [np.ones((1, 5))], kd_weight=0.5, step_size=0.01, n_epochs=3)
