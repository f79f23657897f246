"""Weights of the squared loss with a fixed teacher: two runs serve all of them, and nobody can tell."""

from __future__ import annotations

import itertools
import warnings
from functools import partial

import numpy as np
import pytest

import fastdistill as fd
from fastdistill import kernels
from fastdistill.sgd import affine, steps
from tests.oracle_sgd_loop import NaiveSGD, draw_orders
from tests.test_sgd import LAYOUTS, P, laid_out, problem, public, relative

WEIGHTS = [0.9, 0.3, 1.5, 0.0, 0.3, 1.5, 1.2]  # of each end one in the middle, and one twice
KERNELS = ("dense_rows", "dense_lanes", "dense_batches", "csr_rows", "csr_batches")


class Pulsed:
    """A schedule that turns the teacher off in its second epoch, where weights times factors are all equal."""

    initial = WEIGHTS

    def factor(self, t):
        return np.where(np.asarray(t) == 1, 0.0, 1.0)


@pytest.fixture
def count_calls(monkeypatch):
    """How many configurations kernels have stepped: `dense_lanes` counts once a group."""
    calls = []

    def counted(kernel, *arguments):
        calls.append(None)
        return kernel(*arguments)

    for name in KERNELS:
        monkeypatch.setattr(kernels, name, partial(counted, getattr(kernels, name)))
    return calls


def assert_separate(X, y, loss="squared", *, tolerance=1e-10, **options):
    """Every configuration of a run is, in all that a run returns, the run of its weight, step size and seed alone."""
    together = fd.run_sgd(X, y, loss, **options)
    several = {name: np.asarray(options[name]) for name in ("step_size", "random_state") if np.ndim(options[name])}
    schedule, start = options["kd_weight"], options.get("coef_init")
    for q, weight in enumerate(together.kd_weight):
        own = {name: values[q] for name, values in several.items()} | {"kd_weight": float(weight)}
        if hasattr(schedule, "factor"):
            own["kd_weight"] = type("One", (), {"initial": float(weight), "factor": staticmethod(schedule.factor)})
        if isinstance(start, fd.SGDRun):
            own["coef_init"] = start.coef[q], start.intercept[q]
        alone = fd.run_sgd(X, y, loss, **{**options, **own})
        assert together.status[q] == alone.status
        close = {"rtol": 0, "atol": tolerance * max(np.abs(alone.coef).max(), np.abs(alone.iterate[0]).max())}
        np.testing.assert_allclose(together.coef[q], alone.coef, **close)
        np.testing.assert_allclose(together.intercept[q], alone.intercept, **close)
        np.testing.assert_allclose(together.iterate[0][q], alone.iterate[0], **close)
        for name, values in alone.trace.items():
            np.testing.assert_allclose(together.trace[name][q], values, rtol=100 * tolerance, err_msg=name)
    return together


def settings(loss="squared", n_outputs=1, n=23, **options):
    """y and the options of a run."""
    X, y, _, teacher, start = problem(loss, n_outputs, n=n, fit_intercept=options.get("fit_intercept", False))
    taught = {} if options.get("variant") == "svrg" else {"teacher": public(teacher, loss, n_outputs)}
    begun = {"coef_init": public(start, loss, n_outputs), "reference": public(-start, loss, n_outputs)}
    given = {"kd_weight": WEIGHTS, "step_size": 0.05, "n_epochs": 3, "random_state": 1}
    return X, {"y": y, "loss": loss, **taught, **begun, **given, **options}


# --- what is affine in the weight ----------------------------------------------------------------

CYCLES = {
    "fit_intercept": (False, True),
    "l2": (0.0, 0.3, 0.05),
    "momentum": (0.0, 0.0, 0.7),
    "average": (False, True, False, False, True),
    "order": ("shuffle", "replace", "sequential", "shuffle"),
    "kd_weight": (WEIGHTS, fd.Geometric(WEIGHTS, 0.5), WEIGHTS, Pulsed(), fd.Geometric(WEIGHTS, 2.0, limit=3.0)),
    "compressor": (None, fd.RandK(2), None, None, fd.Bernoulli(0.7), None, fd.Mask([1, 0, 1, 1])),
    "sample_weight": (None, None, np.linspace(0.0, 3.0, 23)),
}


def covering_table():
    cycles = {name: itertools.cycle(values) for name, values in CYCLES.items()}
    cases = itertools.product(("kd", "kd_unbiased", "soft_labels"), LAYOUTS[:2], (1, 7), (1, 3))
    for variant, layout, batch_size, n_outputs in [*cases] * 2:
        yield (
            layout,
            n_outputs,
            {name: next(values) for name, values in cycles.items()}
            | {
                "variant": variant,
                "batch_size": batch_size,
            },
        )


@pytest.mark.filterwarnings("ignore:Stochastic gradient descent diverged. after")  # compression outgrows such steps
@pytest.mark.parametrize(("layout", "n_outputs", "options"), list(covering_table()))
def test_weights_at_once_are_those_one_by_one(layout, n_outputs, options, count_calls):
    X, options = settings(n_outputs=n_outputs, **options)
    fd.run_sgd(laid_out(X, layout), **options)
    assert len(count_calls) == 2 * options["n_epochs"]
    assert_separate(laid_out(X, layout), **options)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_weights_at_once_are_the_loop_over_its_definition(momentum, average):
    X, y, targets, teacher, start = problem("squared", 2, n=23)
    options = {"step_size": 0.05, "batch_size": 4, "momentum": momentum, "variant": "kd_unbiased"}
    run = fd.run_sgd(
        X,
        y,
        teacher=teacher,
        coef_init=start,
        kd_weight=WEIGHTS,
        n_epochs=3,
        random_state=2,
        average=average,
        **options,
    )
    orders = draw_orders("shuffle", 23, 2, 3)[0]
    for coef, weight in zip(run.coef, WEIGHTS, strict=True):
        naive = NaiveSGD(X, targets, "squared").run(start, orders, teacher=teacher, kd_weight=weight, **options)
        assert relative(coef, naive[average][-1]) < 1e-10


@pytest.mark.parametrize(
    ("kernel", "layout", "options"),
    [
        ("dense_rows", "dense", {}),
        ("dense_rows", "dense", {"kd_weight": [0.5] * 5}),
        ("dense_rows", "dense", {"kd_weight": [0.5, 0.0, 1.0]}),
        ("dense_batches", "dense", {"average": True}),
        ("dense_batches", "csr32", {"compressor": fd.RandK(2)}),
        ("csr_rows", "csr32", {}),
        ("csr_batches", "csr32", {"batch_size": 4}),
    ],
)
def test_two_runs_serve_any_number_of_weights(kernel, layout, options, monkeypatch):
    # results would be the same if every weight took its own steps: only the calls show that they do not
    X, options = settings(**{"kd_weight": np.linspace(0.0, 1.0, 32), **options})
    original, stepped = getattr(kernels, kernel), []
    monkeypatch.setattr(kernels, kernel, lambda *arguments: (stepped.append(None), original(*arguments)))
    fd.run_sgd(laid_out(X, layout), **options)
    assert len(stepped) == 2 * options["n_epochs"]


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("more", [{}, {"fit_intercept": True, "l2": 0.2, "variant": "kd_unbiased"}, {"average": True}])
def test_step_sizes_have_their_own_weights(more, layout, monkeypatch):
    X, options = settings(**more)
    pairs = [*itertools.product((0.02, 0.05, 0.11), WEIGHTS), (0.08, 1.0), (0.08, 0.5)]
    pairs = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]
    options |= {"step_size": [step for step, _ in pairs], "kd_weight": [weight for _, weight in pairs]}
    assert_separate(laid_out(X, layout), **options)
    stepped, original = [], steps.Stepper._tasks
    monkeypatch.setattr(
        steps.Stepper, "_tasks", lambda *args: (stepped.append(len(args[1].configurations)), original(*args))[1]
    )
    fd.run_sgd(laid_out(X, layout), **options)
    assert stepped == [3 * 2 + 2] * 3


def test_weights_over_nine_orders_of_magnitude():
    X, options = settings(l2=0.1, fit_intercept=True, variant="kd_unbiased")
    assert_separate(X, **{**options, "kd_weight": np.logspace(-6, 3, 10)}, tolerance=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("more", [{}, {"momentum": 0.5, "batch_size": 3}, {"average": True, "l2": 0.5}], ids=str)
def test_single_precision_is_kept(more, layout):
    X, options = settings(fit_intercept=True, **more)
    double = fd.run_sgd(laid_out(X, layout), **options)
    single = assert_separate(laid_out(X.astype(np.float32), layout), **options, tolerance=2e-6)
    assert (single.coef.dtype, single.intercept.dtype) == (np.float32, np.float32)
    assert relative(single.coef, double.coef) < 2e-6


@pytest.mark.filterwarnings("ignore:Stochastic gradient descent diverged. after")  # compression outgrows such steps
@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize(
    "more", [{}, {"batch_size": 4, "average": True}, {"compressor": fd.RandK(3)}, {"step_size": [0.05] * 4 + [0.1] * 3}]
)
def test_any_number_of_threads_gives_the_same_bits(more, layout, monkeypatch):
    monkeypatch.setattr(steps, "PIECE_BYTES", 7 * 8 * P)  # several pieces to an epoch
    monkeypatch.setattr(steps, "LEAST_THREADED", 0)
    X, options = settings(**more)
    runs = [fd.run_sgd(laid_out(X, layout), **options, n_jobs=n_jobs) for n_jobs in (1, 2, 3)]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.coef, runs[0].coef)
        np.testing.assert_allclose(run.trace["loss"], runs[0].trace["loss"], rtol=1e-12)  # of products by BLAS


def test_weights_of_one_run_are_equal_where_they_are_the_same():
    X, options = settings(l2=0.1)
    coef = fd.run_sgd(X, **options).coef
    for one, other in itertools.combinations(range(len(WEIGHTS)), 2):
        assert np.allclose(coef[one], coef[other], rtol=1e-12, atol=0) == (WEIGHTS[one] == WEIGHTS[other])


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
def test_the_optimum_as_teacher_removes_the_plateau_between_two_weights_that_have_one(variant):
    X, y, *_ = problem("squared", n=20)
    best = np.linalg.solve(X.T @ X / 20 + 0.2 * np.eye(P), X.T @ y / 20)
    options = {"step_size": 0.15, "n_epochs": 40, "l2": 0.2, "reference": best, "random_state": 0, "variant": variant}
    distance = fd.run_sgd(X, y, teacher=best, kd_weight=[0.0, 1.0, 1.5], **options).trace["distance"]
    assert distance[1, -1] < 1e-9 * distance[1, 0]
    assert distance[[0, 2], -1].min() > 1e-2


def test_a_callback_sees_every_weight_after_every_epoch():
    X, options = settings(fit_intercept=True, n_epochs=2)
    seen = []
    fd.run_sgd(X, **options, callback=lambda epoch, coef, intercept: seen.append((coef, intercept)))
    for epoch, (coef, intercept) in enumerate(seen):
        for q, weight in enumerate(WEIGHTS):
            alone = fd.run_sgd(X, **{**options, "kd_weight": weight, "n_epochs": epoch + 1})
            np.testing.assert_allclose(coef[q], alone.coef, rtol=1e-11)
            np.testing.assert_allclose(intercept[q], alone.intercept, rtol=1e-11)


# --- what is not ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize(
    "options",
    [
        {"loss": "logistic"},
        {"loss": "softmax", "batch_size": 3},
        {"compressor": fd.TopK(2)},
        {"compressor": fd.RandomRounding(4), "batch_size": 4},
        {"variant": "svrg", "kd_weight": [0.5, 1.0, 0.2, 1.5]},
        {"random_state": [0, 5, 1, 0, 5, 3, 1]},
    ],
    ids=str,
)
def test_other_runs_take_their_own_steps(options, layout, count_calls):
    X, options = settings(n=13, **options)
    run = fd.run_sgd(laid_out(X, layout), **options)
    is_in_lanes = options["loss"] == "logistic" and layout == "dense"
    assert len(count_calls) == options["n_epochs"] * (1 if is_in_lanes else len(run.coef))
    assert_separate(laid_out(X, layout), **options)


@pytest.mark.filterwarnings("ignore:Stochastic gradient descent diverged. after")  # repeated with weights above one
@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("variant", ["svrg", "repeated"])
@pytest.mark.parametrize("with_teacher", [True, False])
def test_a_teacher_that_becomes_the_student_parts_the_weights(with_teacher, variant, layout, count_calls):
    X, y, _, teacher, start = problem("squared", n=23)
    weights = np.array(WEIGHTS) + 0.1  # SVRG reads a weight of 0 alone as 1
    options = {"kd_weight": weights, "step_size": 0.05, "random_state": 0, "coef_init": start[:, 0], "l2": 0.1}
    options |= {"teacher": teacher[:, 0] if with_teacher else None, "variant": variant, "teacher_every": 2}
    fd.run_sgd(laid_out(X, layout), y, n_epochs=5, record_every=0, **options)
    fixed = 2 if with_teacher or variant == "repeated" else 0  # epochs before the first refresh
    assert len(count_calls) == fixed * 2 + (5 - fixed) * len(WEIGHTS)
    assert_separate(laid_out(X, layout), y, n_epochs=5, **options)


@pytest.mark.parametrize("average", [False, True])
def test_a_start_for_each_weight(average, count_calls):
    X, options = settings(fit_intercept=True, average=average, n_epochs=2)
    other = fd.run_sgd(X, **{**options, "step_size": np.linspace(0.01, 0.1, len(WEIGHTS))})
    count_calls.clear()
    fd.run_sgd(X, **{**options, "coef_init": other})
    assert len(count_calls) == (2 * len(WEIGHTS) if average else 2)  # in lanes without an average
    assert_separate(X, **{**options, "coef_init": other})


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_weights_go_on_as_two_runs(dtype, count_calls):
    X, options = settings(fit_intercept=True, l2=0.1, order="sequential")
    X = X.astype(dtype)
    half = fd.run_sgd(X, **options)
    count_calls.clear()
    both = fd.run_sgd(X, **{**options, "coef_init": half})
    assert len(count_calls) == 2 * options["n_epochs"]
    whole = fd.run_sgd(X, **{**options, "n_epochs": 6})
    assert relative(both.coef, whole.coef) < 100 * np.finfo(dtype).eps


# --- divergence ----------------------------------------------------------------------------------


def diverging(X, y, **options):
    """A run and those of its weights one by one, with what they warn of."""
    with pytest.warns(fd.ConvergenceWarning) as caught:
        together = fd.run_sgd(X, y, **options)
    alone = []
    for weight, step in zip(together.kd_weight, together.step_size, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fd.ConvergenceWarning)
            alone.append(fd.run_sgd(X, y, **{**options, "kd_weight": weight, "step_size": step}))
    return together, alone, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_weights_diverge_each_in_its_own_epoch(n_jobs):
    # x ← −10 x + 11 κ from 0: ten times as large every epoch, but for κ = 0 for which it never moves
    weights = [1.0, 0.0, 1e-90, 0.0, 1e-20, 1e-40, 1e-6]
    options = {"teacher": [1.0], "kd_weight": weights, "step_size": 11.0, "n_epochs": 200, "n_jobs": n_jobs}
    together, alone, told = diverging(np.ones((1, 1)), [0.0], **options)
    assert together.status.tolist() == [run.status for run in alone]
    assert together.status.tolist().count("finished") == 2
    assert [int(text.split("epoch ")[1].split()[0]) for text in told[:-1]] == [155, 161, 175, 195]
    assert "after 200 epochs (configurations [2])" in told[-1]  # 1e-90 has not come far enough to overflow
    for q, run in enumerate(alone):
        np.testing.assert_allclose(together.coef[q], run.coef, rtol=1e-12)
        epochs = len(run.trace["loss"])
        np.testing.assert_allclose(together.trace["loss"][q, :epochs], run.trace["loss"], rtol=1e-11)


@pytest.mark.parametrize("average", [False, True])
def test_weights_between_those_that_overflow_within_an_epoch(average):
    # 10^400 times as large every epoch: what follows from NaN would be NaN
    weights = [0.0, 1.0, 0.0, 1e-300, 1e-200]
    options = {"teacher": [1.0], "kd_weight": weights, "step_size": 11.0, "n_epochs": 3, "average": average}
    together, alone, told = diverging(np.ones((400, 1)), np.zeros(400), **options)
    assert together.status.tolist() == [run.status for run in alone]
    assert together.status.tolist() == ["finished", "diverged", "finished", "diverged", "diverged"]
    assert ["configurations [1, 4]" in text and "epoch 1 " in text for text in told] == [True, False]
    assert together.coef[3] != 0.0
    np.testing.assert_allclose(together.coef, [run.coef for run in alone], rtol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("more", [{}, {"average": True, "fit_intercept": True}, {"momentum": 0.5}, {"batch_size": 3}])
def test_step_sizes_that_diverge_leave_the_others_alone(more, layout):
    X, options = settings(**more)
    step_size = np.tile([0.05, 20.0], 5)
    options |= {"step_size": step_size, "kd_weight": np.repeat([0.0, 0.7, 1.1, 0.2, 2.0], 2), "n_epochs": 30}
    together, alone, _ = diverging(laid_out(X, layout), **options)
    assert together.status.tolist() == ["finished", "diverged"] * 5 == [run.status for run in alone]
    for q, run in enumerate(alone):
        assert relative(together.coef[q], run.coef) < 1e-10


def test_all_weights_diverge():
    X, options = settings(n_epochs=60, step_size=1.5)
    together, alone, told = diverging(X, **options)
    assert set(together.status) == {"diverged"}
    assert together.n_epochs == max(run.n_epochs for run in alone)
    assert len(told) == len({run.n_epochs for run in alone})
    for q, run in enumerate(alone):
        assert np.isfinite(together.coef[q]).all()
        assert relative(together.coef[q], run.coef) < 1e-10


# --- by hand -------------------------------------------------------------------------------------


def test_lines_agree_in_all_but_the_weight():
    settings = np.zeros((8, kernels.PARAMETER + 1))
    settings[:, kernels.STEP] = [1, 2, 1, 2, 1, 3, 3, 1]
    settings[:, kernels.WEIGHT] = [5, 1, 3, 0, 4, 1, 2, 3]
    assert [line.tolist() for line in affine.lines(settings)] == [[2, 7, 4, 0]]
    settings[3, kernels.STEP] = 3
    assert [line.tolist() for line in affine.lines(settings)] == [[2, 7, 4, 0], [3, 5, 6]]
    settings[2, kernels.PENALTY] = 1.0
    assert [line.tolist() for line in affine.lines(settings)] == [[7, 4, 0], [3, 5, 6]]


def test_ends_and_what_is_equal_to_them_are_exact():
    rng = np.random.default_rng(0)
    values, line, weights = (
        rng.standard_normal((5, 2, 3)),
        np.array([4, 0, 2, 1, 3]),
        np.array([0.3, 1.0, 0.7, 1.0, 0.3]),
    )
    values[4] *= 1e6  # low + (high − low) would not be high
    found = affine.between(values, line, weights)
    np.testing.assert_array_equal(found[[0, 2]], [values[4], values[3]])
    np.testing.assert_allclose(found[1], (3 * values[4] + 4 * values[3]) / 7, rtol=1e-14)
    equal = np.repeat(values[:1], 5, axis=0)
    np.testing.assert_array_equal(affine.between(equal, line, weights), equal[1:4])
    np.testing.assert_array_equal(affine.between(values, line, np.full(5, 0.7)), values[[4, 4, 4]])
