"""What surrounds the steps of `run_sgd`: traces, callbacks, Ctrl-C, divergence; and where long runs settle."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import nullcontext

import numpy as np
import pytest

import fastdistill as fd
from fastdistill import theory
from fastdistill.sgd.steps import Stepper
from tests.oracle_sgd_loop import NaiveSGD, draw_orders
from tests.test_sgd import LAYOUTS, LOSSES, VARIANTS, N, P, laid_out, problem, public

# --- traces --------------------------------------------------------------------------------------


def naive_measures(naive, x, theta, reference, temperature=1.0):
    """loss, grad_norm, distance and kd_cosine of one state (P, C), sample by sample."""
    values, own, cross, taught = [], 0.0, 0.0, 0.0
    for n, (row, b, w) in enumerate(zip(naive.rows, naive.targets, naive.weight, strict=True)):
        z = row @ x
        if naive.loss == "squared":
            values.append(w * 0.5 * np.sum((z - b) ** 2))
        elif naive.loss == "logistic":
            values.append(w * float((np.log1p(np.exp(z)) - b * z)[0]))
        else:
            values.append(-w * float(b @ np.log(naive.predict(n, x))))
        mine = np.outer(row, naive.predict(n, x) - b)
        theirs = np.zeros_like(mine) if theta is None else np.outer(row, naive.predict(n, theta, temperature) - b)
        own, cross, taught = (
            own + w * np.sum(mine**2),
            cross + w * np.sum(mine * theirs),
            taught + w * np.sum(theirs**2),
        )
    return {
        "loss": np.mean(values) + 0.5 * np.sum(naive.penalty * x**2),
        "grad_norm": np.linalg.norm(naive.full_gradient(x)),
        "distance": np.linalg.norm(x - reference),
        "kd_cosine": np.nan if theta is None else cross / np.sqrt(own * taught),
    }


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("every", [1, 2])
def test_traces_are_measured_sample_by_sample(variant, loss, layout, every):
    n_outputs, n_epochs = 2 if loss == "squared" else 1, 4
    X, y, targets, teacher, start = problem(loss, n_outputs, fit_intercept=True)
    weight, reference = np.linspace(0.2, 2.0, N), -start
    teacher_every = 2 if variant in ("svrg", "repeated") else None
    temperature = 2.0 if variant == "soft_labels" and loss != "squared" else 1.0
    given = None if variant == "repeated" else teacher
    average = variant == "kd_unbiased"
    shared = {"l2": 0.2, "fit_intercept": True, "sample_weight": weight, "temperature": temperature}
    run = fd.run_sgd(
        laid_out(X, layout),
        y,
        loss,
        teacher=None if given is None else public(given, loss, n_outputs),
        reference=public(reference, loss, n_outputs),
        coef_init=public(start, loss, n_outputs),
        variant=variant,
        kd_weight=0.5,
        step_size=0.05,
        n_epochs=n_epochs,
        teacher_every=teacher_every,
        record_every=every,
        average=average,
        random_state=0,
        **shared,
    )
    naive = NaiveSGD(X, targets, loss, **shared)
    iterates, means, teachers = naive.run(
        start,
        draw_orders("shuffle", N, 0, n_epochs)[0],
        step_size=0.05,
        kd_weight=0.5,
        variant=variant,
        teacher=given,
        teacher_every=teacher_every or 1,
    )
    epochs = np.arange(0, n_epochs + 1, every)
    np.testing.assert_array_equal(run.trace["epoch"], epochs)
    states = means if average else iterates
    for i, epoch in enumerate(epochs):
        wanted = naive_measures(naive, states[epoch], teachers[max(epoch - 1, 0)], reference, temperature)
        for name, value in wanted.items():
            np.testing.assert_allclose(run.trace[name][i], value, rtol=1e-9, err_msg=f"{name} after epoch {epoch}")


def test_long_traces_of_many_configurations_are_those_of_each():
    X, y, _, teacher, _ = problem("squared")
    options = {"teacher": teacher[:, 0], "reference": teacher[:, 0], "n_epochs": 70, "random_state": 0}
    steps = np.linspace(0.01, 0.1, 5)
    together = fd.run_sgd(X, y, step_size=steps, kd_weight=0.5, **options)
    for q, step in enumerate(steps):
        for name, values in fd.run_sgd(X, y, step_size=step, kd_weight=0.5, **options).trace.items():
            np.testing.assert_allclose(together.trace[name][q], values, rtol=1e-9)


def test_what_a_trace_lacks_is_nan_or_absent():
    X, y, *_ = problem("squared")
    trace = fd.run_sgd(X, y, step_size=0.1).trace
    assert np.isnan(trace["distance"]).all()
    assert np.isnan(trace["kd_cosine"]).all()
    assert np.isfinite(trace["loss"]).all()
    assert fd.run_sgd(X, y, step_size=0.1, record_every=0).trace == {}
    run = fd.run_sgd(X, y, step_size=0.1, n_epochs=0, coef_init=np.ones(P))
    np.testing.assert_array_equal(run.coef, np.ones(P))
    assert run.trace["epoch"].tolist() == [0]
    assert (run.n_epochs, run.status) == (0, "finished")


# --- callbacks and Ctrl-C ------------------------------------------------------------------------


def test_a_callback_sees_every_epoch_and_may_stop():
    X, y, *_ = problem("squared", fit_intercept=True)
    seen = []

    def stop(epoch, coef, intercept):
        seen.append((epoch, coef.copy(), intercept))
        coef[:] = np.nan  # a copy
        return epoch == 3

    run = fd.run_sgd(X, y, step_size=0.1, fit_intercept=True, random_state=0, callback=stop)
    shorter = fd.run_sgd(X, y, step_size=0.1, fit_intercept=True, random_state=0, n_epochs=3)
    assert [epoch for epoch, *_ in seen] == [1, 2, 3]
    assert (run.status, run.n_epochs, run.trace["epoch"].tolist()) == ("stopped", 3, [0, 1, 2, 3])
    np.testing.assert_array_equal(run.coef, shorter.coef)
    np.testing.assert_array_equal(run.coef, seen[-1][1])
    assert run.intercept == seen[-1][2]
    shapes = []
    fd.run_sgd(X, y, step_size=[0.1, 0.2], n_epochs=1, callback=lambda e, c, i: shapes.append((c.shape, i.shape)))
    assert shapes == [((2, P), (2,))]


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("during", ["epoch", "_lanes", "samples", "add"])
def test_ctrl_c_keeps_the_last_complete_epoch(during, average, monkeypatch):
    X, y, *_ = problem("squared")
    options = {"step_size": [0.05, 0.1], "variant": "svrg", "average": average, "random_state": 0}
    kept = fd.run_sgd(X, y, n_epochs=2, **options)
    if during == "_lanes":
        options = {"step_size": np.linspace(0.1, 0.2, 5), "random_state": 0, "average": False}
        kept = fd.run_sgd(X, y, n_epochs=2, **options)
    from fastdistill.sgd.problem import Problem
    from fastdistill.sgd.trace import Recorder

    owner = {"samples": Problem, "add": Recorder}.get(during, Stepper)
    original, calls = getattr(owner, during), []
    allowed = {"samples": 1 + 2 * 2, "add": 3}.get(during, 2)  # one for no teacher, then one for each configuration

    def interrupted(self, *arguments):
        calls.append(None)
        if len(calls) > allowed:
            if during == "epoch":
                self.state[:] = np.nan  # half an epoch
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(owner, during, interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fd.run_sgd(X, y, n_epochs=6, n_jobs=1, **options)
    monkeypatch.undo()
    run = caught.value.run
    assert set(run.status) == {"interrupted"}
    if during == "add":  # in the middle of a record the epoch itself is complete
        kept = fd.run_sgd(X, y, n_epochs=run.n_epochs, **options)
    assert run.n_epochs == kept.n_epochs
    np.testing.assert_array_equal(run.coef, kept.coef)
    recorded = run.trace["loss"].shape[1]
    np.testing.assert_allclose(run.trace["loss"], kept.trace["loss"][:, :recorded])
    again = fd.run_sgd(X, y, n_epochs=1, coef_init=run, **options)
    assert again.coef.shape == run.coef.shape


@pytest.fixture
def ctrl_c():
    """Ctrl-C raises KeyboardInterrupt, also where the process was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_before_anything_was_done(monkeypatch, ctrl_c):
    X, y, *_ = problem("squared")
    monkeypatch.setattr(Stepper, "epoch", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as caught:
        fd.run_sgd(X, y, step_size=0.1, variant="svrg")
    run = caught.value.run
    np.testing.assert_array_equal(run.coef, np.zeros(P))
    assert run.trace["epoch"].tolist() == [0]


def test_a_real_ctrl_c_from_a_timer(ctrl_c):
    X, y, *_ = problem("squared")
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        fd.run_sgd(X, y, step_size=0.1, n_epochs=10**7, record_every=0, random_state=0)
    timer.join()
    run = caught.value.run
    assert run.status == "interrupted"
    if run.n_epochs < 10**4:
        shorter = fd.run_sgd(X, y, step_size=0.1, n_epochs=run.n_epochs, record_every=0, random_state=0)
        np.testing.assert_array_equal(run.coef, shorter.coef)


def test_an_interrupt_in_a_callback_reaches_the_caller(ctrl_c):
    X, y, *_ = problem("squared")
    options = {"step_size": [0.05, 0.1], "random_state": 0}

    def interrupted(epoch, coef, intercept):
        if epoch == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        fd.run_sgd(X, y, n_epochs=9, callback=interrupted, **options)
    assert type(caught.value) is KeyboardInterrupt  # by which Python knows to exit as interrupted
    run = pickle.loads(pickle.dumps(caught.value)).run  # as a pool of processes hands it on
    shorter = fd.run_sgd(X, y, n_epochs=3, **options)
    assert (run.n_epochs, run.status.tolist()) == (3, ["interrupted"] * 2)
    np.testing.assert_array_equal(run.coef, shorter.coef)
    np.testing.assert_array_equal(run.trace["epoch"], shorter.trace["epoch"])


@pytest.mark.skipif(os.name != "posix", reason="signals of other processes are those of POSIX")
def test_ctrl_c_ends_a_script():
    """Nothing after the interrupted call is executed, and Python exits as for any interrupt: killed by SIGINT."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import fastdistill as fd;"
        "fd.run_sgd([[1.0]], [1.0], step_size=0.1, n_epochs=10**9, record_every=0,"
        " callback=lambda epoch, *_: epoch == 2 and print('begun', flush=True)); print('went on')"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert out == b""
    assert b"KeyboardInterrupt" in err
    assert process.returncode == -signal.SIGINT


# --- divergence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"l2": 0.5, "batch_size": 3},
        {"momentum": 0.9},
        {"variant": "svrg"},
        {"average": True},
        {"fit_intercept": True, "variant": "kd_unbiased"},
        {"order": "sequential", "n_outputs": 2},
        {"variant": "repeated", "sample_weight": np.linspace(0.0, 5.0, 40)},
    ],
    ids=str,
)
def test_divergence_names_a_step_that_works(options, dtype, layout):
    options = dict(options)
    n_outputs = options.pop("n_outputs", 1)
    X, y, *_ = problem("squared", n_outputs, n=40)
    rows = np.column_stack([X, np.ones(40)]) if "fit_intercept" in options else X
    best = np.linalg.lstsq(5.0 * rows, y, rcond=None)[0]
    X = laid_out((5.0 * X).astype(dtype), layout)
    options |= {"teacher": 1.1 * best, "kd_weight": 0.5, "n_epochs": 60, "random_state": 0}
    with pytest.warns(fd.ConvergenceWarning, match="diverged in epoch") as caught:
        run = fd.run_sgd(X, y, step_size=0.5, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (run.status, run.n_epochs) == ("diverged", len(run.trace["epoch"]) - 1)
    assert np.isfinite(run.coef).all()
    above = pytest.warns(fd.ConvergenceWarning, match="its objective is above that of the start")
    with above if run.n_epochs else nullcontext():
        shorter = fd.run_sgd(X, y, step_size=0.5, **{**options, "n_epochs": run.n_epochs})
    np.testing.assert_array_equal(run.coef, shorter.coef)
    smaller = float(re.search(r"step of at most ([0-9.e-]+) ", str(caught[0].message))[1])
    run = fd.run_sgd(X, y, step_size=smaller, **options)
    assert run.status == "finished"
    assert run.trace["loss"][-1] < 2 * run.trace["loss"][0]


def test_divergence_for_another_reason_is_not_blamed_on_the_step():
    X, y, *_ = problem("squared", n=20)
    with pytest.warns(fd.ConvergenceWarning, match="lower kd_weight"):
        fd.run_sgd(X, y, step_size=0.05, variant="repeated", kd_weight=9.0, teacher_every=5, n_epochs=3000)


@pytest.mark.parametrize(("dtype", "exponent"), [(np.float64, 154), (np.float32, 19)])
def test_a_run_ends_before_its_squares_overflow(dtype, exponent):
    X = np.ones((1, 1), dtype)
    with pytest.warns(fd.ConvergenceWarning, match=rf"diverged in epoch {exponent + 1} with step_size=11; .* most 1 "):
        run = fd.run_sgd(X, [0.0], step_size=11.0, n_epochs=200, coef_init=[1.0])  # ten times as large every epoch
    assert run.n_epochs == exponent
    np.testing.assert_allclose(np.abs(run.coef), 10.0**exponent, rtol=1e-5)
    assert np.isfinite(run.trace["loss"]).all()


@pytest.mark.parametrize("Q", [3, 6])
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_only_the_diverging_configuration_stops(layout, Q):
    X, y, _, teacher, _ = problem("squared", n=20)
    X = laid_out(X, layout)
    steps = np.linspace(0.05, 0.06, Q)
    steps[1] = 50.0
    options = {"teacher": teacher[:, 0], "kd_weight": 0.5, "n_epochs": 20, "random_state": 0, "l2": 0.1}
    with pytest.warns(fd.ConvergenceWarning, match=r"configurations \[1\]"):
        run = fd.run_sgd(X, y, step_size=steps, **options)
    assert run.status.tolist() == ["finished", "diverged", *["finished"] * (Q - 2)]
    assert run.n_epochs == 20
    for q in {0, 2, Q - 1}:
        alone = fd.run_sgd(X, y, step_size=steps[q], **options)
        np.testing.assert_allclose(run.coef[q], alone.coef, rtol=1e-12)
    assert np.isfinite(run.coef[1]).all()


def test_the_warning_is_that_of_scikit_learn():
    from sklearn.exceptions import ConvergenceWarning

    assert issubclass(fd.ConvergenceWarning, ConvergenceWarning)
    assert fd.ConvergenceWarning is fd.ConvergenceWarning
    assert "finite state" in fd.ConvergenceWarning.__doc__


# --- where long runs settle ----------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
def test_long_runs_settle_where_they_should(variant, layout):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((40, 2)) * [1.0, 0.6]
    y = X @ [1.0, -1.0] + rng.standard_normal(40)
    best = np.linalg.lstsq(X, y, rcond=None)[0]
    theta, lam, gamma, Q = best + np.array([0.5, -0.4]), 0.6, 0.1, 40
    options = {"teacher": theta, "kd_weight": lam, "variant": variant, "step_size": gamma, "order": "replace"}
    X_ = laid_out(X, layout)
    warm = fd.run_sgd(X_, y, n_epochs=4, random_state=np.arange(Q), record_every=0, coef_init=best, **options)
    states = []
    run = fd.run_sgd(
        X_,
        y,
        n_epochs=12,
        average=True,
        random_state=np.arange(Q, 2 * Q),
        record_every=0,
        coef_init=warm,
        callback=lambda epoch, coef, intercept: states.append(coef * epoch),
        **options,
    )
    at = theory.kd_stationary(X, y, theta, gamma, lam, variant=variant)
    wanted = best + lam * (theta - best) * (variant == "kd")
    np.testing.assert_allclose(at.mean, wanted, rtol=1e-9)
    error = run.coef.std(axis=0, ddof=1) / np.sqrt(Q)
    assert np.all(np.abs(run.coef.mean(axis=0) - wanted) < 4 * error)
    assert np.all(error < 0.02)


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
def test_the_stationary_covariance_is_the_exact_one(variant):
    rng = np.random.default_rng(6)
    X = rng.standard_normal((20, 2))
    y = X @ [1.0, -1.0] + rng.standard_normal(20)
    best = np.linalg.lstsq(X, y, rcond=None)[0]
    theta, gamma, Q = best + np.array([0.4, 0.3]), 0.15, 400
    last = fd.run_sgd(
        X,
        y,
        teacher=theta,
        kd_weight=0.5,
        variant=variant,
        step_size=gamma,
        order="replace",
        n_epochs=4,
        coef_init=best,
        random_state=np.arange(Q),
        record_every=0,
    ).coef
    at = theory.kd_stationary(X, y, theta, gamma, 0.5, variant=variant)
    whitened = np.linalg.solve(np.linalg.cholesky(at.covariance), (last - at.mean).T)  # of unit covariance
    products = np.array([np.outer(w, w) for w in whitened.T])
    error = products.std(axis=0) / np.sqrt(Q)
    assert np.all(np.abs(products.mean(axis=0) - np.eye(2)) < 4 * error)
    assert np.all(np.abs(whitened.mean(axis=1)) < 4 / np.sqrt(Q))


def test_nothing_warns_in_an_ordinary_run():
    X, y, *_ = problem("softmax")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fd.run_sgd(X, y, "softmax", step_size=0.1, teacher=fd.TeacherOutputs(np.eye(3)[y]), kd_weight=1.0)
