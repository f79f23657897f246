"""Runs that end above where they began say so, and no others: the objective is computed here, from its definition."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp

import fastdistill as fd

LOSSES = ("squared", "logistic", "softmax")
ABOVE = "its objective is above that of the start"


def problem(rng, loss="squared", n=120, p=4):
    X = rng.standard_normal((n, p))
    scores = X @ rng.standard_normal((p, 3)) + 0.5 * rng.standard_normal((n, 3))
    y = {"squared": scores[:, 0], "logistic": scores[:, 0] > 0, "softmax": scores.argmax(axis=1)}[loss]
    return X, y.astype(np.float64) if loss != "softmax" else y


def objective(X, y, coef, s, kappa, w, l2, theta):
    """Distilled squared loss with the penalty as part of the loss at the teacher θ."""
    z, w = X @ coef, w / w.mean()
    value = np.mean(w * ((1 - kappa) * (z - y) ** 2 + kappa * (z - s) ** 2)) / 2
    return value + l2 / 2 * ((1 - kappa) * coef @ coef + kappa * (coef - theta) @ (coef - theta))


DIVERGING = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "average": {"average": True},
    "no trace": {"record_every": 0},
    "a trace of some epochs": {"record_every": 2},
    "weighted": {"sample_weight": np.linspace(0.0, 2.0, 120)},
    "taught": {"kd_weight": 0.5, "teacher": np.ones(4)},
    "unbiased": {"kd_weight": 0.5, "teacher": np.ones(4), "variant": "kd_unbiased"},
    "by outputs": {"kd_weight": 0.5, "teacher": fd.TeacherOutputs(np.linspace(-1.0, 1.0, 120))},
    "svrg": {"variant": "svrg"},
    "repeated": {"variant": "repeated", "kd_weight": 0.5},
    "fading": {"kd_weight": fd.Geometric(0.9, 0.5), "teacher": np.ones(4)},
    "stopped": {"callback": lambda epoch, *_: epoch == 3},
    "with replacement": {"order": "replace"},
    "penalty": {"l2": 0.5},
    "intercept": {"fit_intercept": True},
}


@pytest.mark.parametrize("name", DIVERGING)
@pytest.mark.parametrize("layout", ["dense", "csr", "float32"])
def test_steps_too_large_are_told(name, layout, rng):
    X, y = problem(rng)
    X = {"dense": X, "csr": sp.csr_array(X), "float32": X.astype(np.float32)}[layout]
    options = {"step_size": 3.0, "batch_size": 10, "n_epochs": 4, "random_state": 0, **DIVERGING[name]}
    with pytest.warns(fd.ConvergenceWarning, match="diverged") as caught:
        run = fd.run_sgd(X, y, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "step of at most" in str(caught[0].message)
    assert run.status == "diverged"
    assert np.isfinite(run.coef).all()


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_steps_too_large_for_classes_are_told(loss, rng):
    X, y = problem(rng, loss)
    y = rng.permutation(y)  # nothing to learn: each step overshoots, and the loss of certainty is large
    with pytest.warns(fd.ConvergenceWarning, match=ABOVE):
        fd.run_sgd(X, y, loss, step_size=30.0, n_epochs=3, random_state=0)


@pytest.mark.parametrize("kappa", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_objective_is_that_of_the_definition(kappa, l2, rng):
    """Full-batch steps on either side of 2 / λ_max: the objective falls or rises by hand as by the warning."""
    X, y = problem(rng)
    w, theta = rng.uniform(0.5, 2.0, len(y)), rng.standard_normal(4)
    hessian = (X * (w / w.mean())[:, None]).T @ X / len(y) + l2 * np.eye(4)
    limit = 2 / np.linalg.eigvalsh(hessian)[-1]
    for factor in (0.5, 0.95, 1.3, 1.6):
        options = {"teacher": theta, "kd_weight": kappa, "l2": l2, "sample_weight": w, "batch_size": len(y)}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = fd.run_sgd(X, y, step_size=factor * limit, n_epochs=25, **options)
        value = partial(objective, X, y, s=X @ theta, kappa=kappa, w=w, l2=l2, theta=theta)
        assert len(caught) == (value(coef=run.coef) > value(coef=np.zeros(4))) == (factor > 1)


def test_only_the_configurations_that_rose_are_named(rng):
    X, y = problem(rng)
    with pytest.warns(fd.ConvergenceWarning, match=r"configurations \[1, 3\]"):
        run = fd.run_sgd(X, y, step_size=[0.1, 3.0, 0.05, 4.0], batch_size=10, n_epochs=3, random_state=0)
    assert run.status.tolist() == ["finished", "diverged", "finished", "diverged"]


def test_a_part_of_many_rows_tells_as_well(rng, monkeypatch):
    monkeypatch.setattr("fastdistill.sgd.outcome.FEWEST_ROWS", 200)
    monkeypatch.setattr("fastdistill.sgd.outcome.MEASURED", 1000)
    X, y = problem(rng, n=5000)
    w = np.where(np.arange(5000) < 100, 50.0, 0.01)  # what counts is a fiftieth of the rows
    best = np.linalg.lstsq(X * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
    for start in (None, best):
        options = {"sample_weight": w, "coef_init": start, "batch_size": 50, "random_state": 0, "n_epochs": 3}
        fd.run_sgd(X, y, step_size=1e-3, **options)
        with pytest.warns(fd.ConvergenceWarning, match="diverged"):
            fd.run_sgd(X, y, step_size=0.5, **options)


WELL_BEHAVED = {
    "plain": {},
    "batches": {"batch_size": 16, "step_size": 0.2},
    "taught": {"kd_weight": 0.7, "teacher": True},
    "taught alone": {"kd_weight": 1.0, "teacher": True},
    "unbiased": {"kd_weight": 0.7, "teacher": True, "variant": "kd_unbiased"},
    "soft labels": {"kd_weight": 0.7, "teacher": True, "variant": "soft_labels"},
    "svrg": {"variant": "svrg"},
    "repeated": {"variant": "repeated", "kd_weight": 0.5},
    "repeated, first of a teacher": {"variant": "repeated", "kd_weight": 0.8, "teacher": True, "teacher_every": 3},
    "fading": {"kd_weight": fd.Geometric(1.0, 0.5), "teacher": True},
    "growing": {"kd_weight": fd.Geometric(0.1, 2.0, limit=1.0), "teacher": True},
    "falling steps": {"step_size": fd.InverseTime(0.05, 3.0)},
    "momentum": {"momentum": 0.8, "step_size": 0.01},
    "average": {"average": True},
    "penalty": {"l2": 0.5},
    "intercept": {"fit_intercept": True},
    "replace": {"order": "replace"},
    "in order": {"order": "sequential"},
    "top": {"compressor": fd.TopK(2)},
    "mask": {"compressor": fd.Mask([1.0, 0.0, 1.0, 1.0])},
    "rounding": {"compressor": fd.RandomRounding(200)},
    "no epochs": {"n_epochs": 0},
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", WELL_BEHAVED)
def test_well_behaved_runs_are_not_accused(name, loss, rng):
    """From zero and from the optimum, where steps of any size can only rise."""
    X, y = problem(rng, loss)
    options = {"step_size": 0.05, "n_epochs": 6, "batch_size": 4, **WELL_BEHAVED[name]}
    best = fd.run_sgd(X, y, loss, step_size=0.1, n_epochs=200, batch_size=120, l2=options.get("l2", 0.0))
    other = best.coef + 0.3 * rng.standard_normal(best.coef.shape)
    if options.get("teacher"):
        options["teacher"] = other
    for seed in range(3):
        for start in (None, best.coef):
            fd.run_sgd(X, y, loss, coef_init=start, random_state=seed, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("signal", [0.0, 1.0])
@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("p", [1, 12])
def test_noise_about_the_optimum_is_no_divergence(p, batch_size, signal, dtype, rng):
    """1 000 runs for each kind of data, from the optimum, at every size of steps that are safe for single samples."""
    X = rng.standard_normal((80, p)).astype(dtype)
    y = signal * X.sum(axis=1) + rng.standard_normal(80)
    best = np.linalg.lstsq(X.astype(np.float64), y, rcond=None)[0]
    safe = 1 / np.square(X).sum(axis=1).max()
    steps = np.tile(np.geomspace(0.001, 1.0, 10), 100) * safe
    fd.run_sgd(X, y, step_size=steps, coef_init=best, batch_size=batch_size, n_epochs=1, random_state=np.arange(1000))


def test_an_exact_fit_stays_one(rng):
    X = rng.standard_normal((60, 3))
    for dtype in (np.float64, np.float32):
        y = X @ [1.0, 2.0, 3.0]
        fd.run_sgd(X.astype(dtype), y, step_size=0.1, coef_init=[1.0, 2.0, 3.0], n_epochs=3, random_state=0)
        fd.run_sgd(X.astype(dtype), np.zeros(60), step_size=0.1, n_epochs=3, random_state=0)
