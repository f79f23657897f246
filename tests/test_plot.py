"""Displays: their numbers are those of what they show, and they keep scikit-learn's convention."""

from __future__ import annotations

import subprocess
import sys

import matplotlib

matplotlib.use("agg")

import numpy as np
import pytest
from matplotlib import pyplot
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError
from sklearn.metrics.pairwise import rbf_kernel

import fastdistill as fd
from fastdistill.plot import Choice, PathDisplay, SpectrumDisplay, TraceDisplay, TuningDisplay

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)) * [4.0, 3.0, 2.0, 1.0, 1.0, 0.5]
Y = X @ [1.0, -1.0, 0.5, 0.0, 0.0, 0.0] + RNG.standard_normal(40)
W = RNG.uniform(0.5, 2.0, 40)
XQ, YQ = RNG.standard_normal((15, 6)), RNG.standard_normal(15)
GRID = np.logspace(-1, 3, 7)
S = fd.Spectrum.from_design(X, fit_intercept=True)
PATH = S.path(Y, GRID, 1.0, 2)
ONE = S.path(Y, 10.0, 1.0, 2)


def run():
    teacher = np.linalg.lstsq(X, Y, rcond=None)[0]
    return fd.run_sgd(X, Y, teacher=teacher, kd_weight=[0.0, 0.5], step_size=0.01, n_epochs=4, random_state=0)


DISPLAYS = {
    "path": lambda: PathDisplay.from_path(PATH),
    "tuning": lambda: TuningDisplay.from_estimator(fd.DistilledRidgeCV(GRID, n_steps=1, strategy="joint").fit(X, Y)),
    "spectrum": lambda: SpectrumDisplay.from_path(ONE),
    "trace": lambda: TraceDisplay.from_run(run()),
}


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    pyplot.close("all")


@pytest.mark.parametrize("name", DISPLAYS)
def test_the_convention(name):
    display = DISPLAYS[name]()
    assert not hasattr(display, "ax_")
    assert display.plot() is display
    assert display.figure_ is display.ax_.get_figure()
    _, ax = pyplot.subplots()
    assert display.plot(ax=ax).ax_ is ax
    frame, columns = display.frame(), display.columns()
    assert list(frame.columns) == list(columns)
    for key, values in columns.items():
        np.testing.assert_array_equal(frame[key].to_numpy(), values)
    with pytest.raises(TypeError, match=r"pass one: axes\[0\]"):
        display.plot(ax=pyplot.subplots(1, 2)[1])
    assert display.plot(ax=pyplot.subplots()[1], legend=False).ax_.get_legend() is None


@pytest.mark.parametrize(("error", "wanted"), [("loo", PATH.loo_mse), ("gcv", PATH.gcv), ("train", PATH.train_mse)])
def test_a_path_is_drawn_as_it_is(error, wanted):
    display = PathDisplay.from_path(PATH, error=error)
    np.testing.assert_allclose(display.errors, wanted, rtol=1e-12)
    lines = display.plot(dots=False).ax_.get_lines()
    assert [line.get_label() for line in lines] == ["ridge", "1 step", "2 steps"]
    for t, line in enumerate(lines):
        np.testing.assert_array_equal(line.get_xydata(), np.c_[GRID, display.errors[:, t]])
    assert display.frame().set_index(["penalty", "student"]).error[GRID[2], "1 step"] == display.errors[2, 1]


def test_penalties_come_in_any_order():
    shuffled = PathDisplay(GRID[::-1], np.arange(7.0)[:, None], standard_errors=np.ones((7, 1)), names=["a"])
    line, _ = shuffled.plot(band="a").ax_.get_lines()
    np.testing.assert_array_equal(line.get_xydata(), np.c_[GRID, np.arange(7.0)[::-1]])


def test_errors_on_new_samples_and_their_standard_errors():
    display = PathDisplay.from_path(PATH, XQ, YQ)
    squares = np.square(PATH.predict(XQ) - YQ)
    np.testing.assert_allclose(display.errors, PATH.mse(XQ, YQ), rtol=1e-12)
    np.testing.assert_allclose(display.standard_errors, squares.std(axis=-1, ddof=1) / np.sqrt(15), rtol=1e-12)
    penalty, error = display.best("1 step")
    assert (penalty, error) == (GRID[display.errors[:, 1].argmin()], display.errors[:, 1].min())


def test_weights_and_several_targets():
    both = np.c_[Y, RNG.standard_normal(40)]
    path = fd.Spectrum.from_design(X, fit_intercept=True, sample_weight=W).path(both, GRID, [0.5])
    display = PathDisplay.from_path(path)
    np.testing.assert_allclose(display.errors, path.loo_mse.mean(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(PathDisplay.from_path(path, error="gcv").errors, path.gcv.mean(axis=-1), rtol=1e-12)
    found = PathDisplay.from_estimator(fd.DistilledRidge(xi=0.5), X, both, GRID, sample_weight=W)
    np.testing.assert_allclose(found.errors, display.errors, rtol=1e-9)


def test_a_kernel_estimator_over_penalties():
    model = fd.DistilledKernelRidge(gamma=0.1, xi=[1.0, 0.5], n_steps=2, fit_intercept=True)
    expected = fd.Spectrum.from_kernel(rbf_kernel(X, gamma=0.1), fit_intercept=True).path(Y, GRID, [1.0, 0.5])
    np.testing.assert_allclose(PathDisplay.from_estimator(model, X, Y, GRID).errors, expected.loo_mse, rtol=1e-9)
    sparse = PathDisplay.from_estimator(model, csr_array(X), Y, GRID)
    np.testing.assert_allclose(sparse.errors, expected.loo_mse, rtol=1e-9)
    model.set_params(kernel="precomputed")
    given = PathDisplay.from_estimator(model, rbf_kernel(X, gamma=0.1).tolist(), Y, GRID)
    np.testing.assert_allclose(given.errors, expected.loo_mse, rtol=1e-9)


def test_the_band_is_one_standard_error_of_its_line():
    display = PathDisplay.from_path(PATH).plot(band="1 step")
    (band,) = display.ax_.collections
    low, high = (display.errors + sign * display.standard_errors for sign in (-1, 1))
    corners = band.get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (low[:, 1].min(), high[:, 1].max())


def test_what_tuning_chose():
    model = fd.DistilledRidgeCV(GRID, n_steps=2, strategy="joint").fit(X, Y)
    display = TuningDisplay.from_estimator(model)
    np.testing.assert_allclose(display.scores, -model.cv_results_["scores"], rtol=1e-12)
    ridge, chosen = display.choices
    assert (ridge.penalty, ridge.error) == (GRID[display.scores[:, 0].argmin()], display.scores[:, 0].min())
    assert (chosen.penalty, chosen.gain, chosen.gain_se) == (
        model.alpha_,
        model.verdict_.gain,
        model.verdict_.standard_error,
    )
    assert chosen.error == pytest.approx(-model.best_score_, rel=1e-12)
    dots = [line for line in display.plot().ax_.get_lines() if line.get_marker() == "o"]
    assert [(*dot.get_xydata()[0],) for dot in dots] == [(c.penalty, c.error) for c in display.choices]
    tuned = fd.tune(S, Y, GRID, 2, strategy="joint")
    again = TuningDisplay.from_tuned(tuned, GRID, Y)
    np.testing.assert_allclose(again.scores, display.scores, rtol=1e-9)
    assert again.choices[1].gain == pytest.approx(chosen.gain, rel=1e-6)


def test_an_average_over_penalties_and_a_student_by_evidence():
    averaged = fd.DistilledRidgeCV(GRID).fit(X, Y)
    _, choice = TuningDisplay.from_estimator(averaged).choices
    assert (choice.penalty, choice.gain) == (None, averaged.verdict_.penalty_gain)
    rng = np.random.default_rng(1)
    wide = rng.standard_normal((200, 30)) * np.r_[4.0, np.ones(29)]
    distilled = fd.DistilledRidgeCV(n_steps=2).fit(wide, wide[:, 0] + 2.0 * rng.standard_normal(200))
    assert distilled.n_steps_ > 0
    _, choice = TuningDisplay.from_estimator(distilled).choices
    assert (choice.held_out_gain, choice.held_out_gain_se) == (
        distilled.verdict_.gain,
        distilled.verdict_.standard_error,
    )
    assert np.isnan(choice.gain)


def test_gains_are_drawn_in_percent_with_two_standard_errors():
    choices = [Choice("ridge", 1.0, 2.0), Choice("1 step", 3.0, 1.9, 0.1, 0.05, 0.01, -0.02, 0.03)]
    display = TuningDisplay(GRID, np.ones((7, 2)), choices).plot(kind="gains")
    ends = [bars.get_segments()[0][:, 0] for bars in display.ax_.collections]
    np.testing.assert_allclose(ends, [[3.0, 7.0], [-8.0, 4.0]])
    np.testing.assert_allclose(display.gains()["held_out_gain"], [np.nan, -0.02])


def test_one_target_of_several():
    both = np.c_[Y, Y[::-1]]
    model = fd.DistilledRidgeCV(GRID, n_steps=1, strategy="joint", alpha_per_target=True).fit(X, both)
    alone = TuningDisplay.from_estimator(fd.DistilledRidgeCV(GRID, n_steps=1, strategy="joint").fit(X, both[:, 1]))
    display = TuningDisplay.from_estimator(model, target=1)
    np.testing.assert_allclose(display.scores, alone.scores, rtol=1e-9)
    for target, words in ((None, "pass target=0 to 1"), (2, "below the number of targets 2")):
        with pytest.raises(ValueError, match=words):
            TuningDisplay.from_estimator(model, target=target)


def test_the_spectrum_of_a_path():
    display = SpectrumDisplay.from_path(ONE)
    centred, y = X - X.mean(axis=0), Y - Y.mean()
    U, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(display.d, s**2, rtol=1e-10)
    np.testing.assert_allclose(display.share, np.square(U.T @ y) / (y @ y), rtol=1e-8)
    np.testing.assert_array_equal(display.filters, ONE.filters)
    for t, line in enumerate(display.plot(kind="filters").ax_.get_lines()):
        np.testing.assert_array_equal(line.get_ydata(), ONE.filters[t])
    of_x, of_y = display.plot(kind="cumulated").ax_.get_lines()
    assert of_x.get_ydata()[-1] == pytest.approx(1.0)
    assert of_y.get_ydata()[-1] == pytest.approx(display.share.sum())
    heights = [bar.get_height() for bar in display.plot(kind="filters", bars=True).ax_.patches]
    np.testing.assert_array_equal(heights, ONE.filters.ravel())
    assert display.plot(kind="filters", log=True).ax_.get_yscale() == "log"
    (line,) = display.plot(kind="eigenvalues").ax_.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), display.d)


def test_the_filter_that_an_estimator_uses():
    model = fd.DistilledRidgeCV(GRID).fit(X, Y)
    display = SpectrumDisplay.from_estimator(model, X, Y)
    np.testing.assert_allclose(display.filters[0], display.d / (display.d + model.alpha_), rtol=1e-9)
    np.testing.assert_array_equal(display.filters[1], model.filter_)
    given = SpectrumDisplay.from_estimator(fd.DistilledRidge(alpha=10.0, n_steps=2), X, Y)
    np.testing.assert_allclose(given.filters, ONE.filters, rtol=1e-9)
    tuned = SpectrumDisplay.from_path(fd.tune(S, Y, GRID, n_steps=None).path)
    np.testing.assert_allclose(tuned.filters[-1], model.filter_, rtol=1e-9)


def test_the_filter_of_a_kernel_estimator():
    model = fd.DistilledKernelRidgeCV(GRID, gamma=[0.01, 0.1], strategy="ridge").fit(X, Y)
    display = SpectrumDisplay.from_estimator(model, X, Y)
    gamma = model.kernel_params_["gamma"]
    expected = fd.Spectrum.from_kernel(rbf_kernel(X, gamma=gamma), fit_intercept=True).path(Y, model.alpha_, [])
    np.testing.assert_allclose(display.d, expected.spectrum.d, rtol=1e-9, atol=1e-12)
    for row in display.filters:
        np.testing.assert_allclose(row, expected.filters[0], rtol=1e-8, atol=1e-12)


def test_directions_above_the_noise():
    display = SpectrumDisplay([3.0, 2.0, 1.0], [0.5, 0.04, 0.0], noise=0.01, wanted=[0.98, 0.75, 0.0])
    assert display.above_noise.tolist() == [True, False, False]
    labels = [text.get_text() for text in display.plot().ax_.get_legend().get_texts()]
    assert labels == ["above the noise", "not told from noise", "noise γ²"]
    assert [*display.columns()] == ["direction", "eigenvalue", "share_of_x", "share_of_y", "noise", "wanted"]


def test_the_trace_of_a_run():
    found = run()
    display = TraceDisplay.from_run(found)
    assert display.names == ["kd_weight 0", "kd_weight 0.5"]
    assert {*display.values} == {"loss", "grad_norm", "kd_cosine"}  # no distance without a reference
    for line, loss in zip(display.plot().ax_.get_lines(), found.trace["loss"], strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.c_[np.arange(5), loss])
    assert display.ax_.get_yscale() == "log"
    assert display.plot(quantity="kd_cosine").ax_.get_yscale() == "linear"
    assert TraceDisplay.from_run(found, names=["a", "b"]).frame().run.unique().tolist() == ["a", "b"]


def test_the_trace_of_deep_linear_students():
    teacher = [np.ones((1, 6))]
    found = fd.deep_linear_distillation(X, Y, teacher, kd_weight=0.5, step_size=0.01, n_epochs=2, random_state=0)
    display = TraceDisplay.from_run(found)
    assert display.names == ["run"]
    np.testing.assert_array_equal(display.values["loss"][0], found.trace["loss"])


def test_the_loss_curve_of_an_estimator():
    model = fd.KDSGDRegressor(max_iter=5, tol=None, early_stopping=True, random_state=0).fit(X, Y)
    display = TraceDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.epochs, np.arange(1, len(model.loss_curve_) + 1))
    np.testing.assert_array_equal(display.values["loss"][0], model.loss_curve_)
    np.testing.assert_array_equal(display.values["validation_score"][0], model.validation_scores_)


ERRORS = {
    "no path": (lambda: PathDisplay.from_path(Y), TypeError, "path must be a path"),
    "one penalty": (lambda: PathDisplay.from_path(ONE), ValueError, "several penalties"),
    "schedules": (
        lambda: PathDisplay.from_path(S.path(Y, GRID, [[1.0], [0.5]])),
        ValueError,
        r"S\.path\(y, lam, xi\[0",
    ),
    "X alone": (lambda: PathDisplay.from_path(PATH, XQ), ValueError, "X and y go together"),
    "error": (lambda: PathDisplay.from_path(PATH, error="aic"), ValueError, "'loo', 'gcv', 'train', got 'aic'"),
    "no band": (lambda: PathDisplay.from_path(PATH, error="gcv").plot(band="ridge"), ValueError, "no standard errors"),
    "band": (lambda: PathDisplay.from_path(PATH).plot(band="3 steps"), ValueError, "got '3 steps'"),
    "styles": (lambda: PathDisplay.from_path(PATH).plot(styles=[{}]), ValueError, "styles must hold 3 dicts"),
    "names": (lambda: PathDisplay(GRID, np.ones((7, 2)), names=["a"]), ValueError, "names must hold 2 names"),
    "shape": (lambda: PathDisplay(GRID, np.ones((6, 2))), ValueError, r"errors must have the shape \(7, 2\)"),
    "estimator": (
        lambda: PathDisplay.from_estimator(fd.DistilledRidgeCV(), X, Y, GRID),
        TypeError,
        "TuningDisplay.from_estimator shows",
    ),
    "not tuned": (lambda: TuningDisplay.from_estimator(fd.DistilledRidge()), TypeError, "such as DistilledRidgeCV"),
    "not fitted": (lambda: TuningDisplay.from_estimator(fd.DistilledRidgeCV()), NotFittedError, "not fitted"),
    "stored": (
        lambda: TuningDisplay.from_estimator(fd.DistilledRidgeCV(GRID, store_cv_results=True).fit(X, Y)),
        ValueError,
        "fit without it",
    ),
    "target": (
        lambda: TuningDisplay.from_estimator(fd.DistilledRidgeCV(GRID).fit(X, Y), target=0),
        ValueError,
        "alpha_per_target=True",
    ),
    "grid": (
        lambda: TuningDisplay.from_tuned(fd.tune(S, Y, GRID), GRID[1:], Y),
        ValueError,
        "the grid of the search, 7 of them, got 6",
    ),
    "no tuned": (lambda: TuningDisplay.from_tuned(PATH, GRID, Y), TypeError, "what fd.tune returned"),
    "no choices": (lambda: TuningDisplay(GRID, np.ones((7, 1)), []), ValueError, "choices is empty"),
    "kind": (lambda: DISPLAYS["tuning"]().plot(kind="bars"), ValueError, "'curves', 'gains', got 'bars'"),
    "no gains": (
        lambda: TuningDisplay(GRID, np.ones((7, 1)), [Choice("ridge", 1.0, 1.0)]).plot(kind="gains"),
        ValueError,
        "no gain to draw",
    ),
    "filters of many": (lambda: SpectrumDisplay.from_path(PATH), ValueError, r"pass S\.path\(y, lam\[0\], xi\)"),
    "spectrum of y": (lambda: SpectrumDisplay.from_path(Y), TypeError, "path must be a path"),
    "no share": (lambda: SpectrumDisplay([1.0]).plot(), ValueError, "needs the shares"),
    "no filters": (lambda: SpectrumDisplay([1.0]).plot(kind="filters"), ValueError, "needs filters"),
    "classifier": (
        lambda: SpectrumDisplay.from_estimator(fd.DistilledRidgeClassifier(), X, Y),
        TypeError,
        "SpectrumDisplay.from_path",
    ),
    "other samples": (
        lambda: SpectrumDisplay.from_estimator(fd.DistilledRidgeCV(GRID).fit(X, Y), X[:, :4], Y),
        ValueError,
        "the rank 4, the model 6",
    ),
    "no trace": (lambda: TraceDisplay.from_run(X), TypeError, "what fd.run_sgd returned"),
    "nothing recorded": (
        lambda: TraceDisplay.from_run(fd.run_sgd(X, Y, step_size=0.01, n_epochs=1, record_every=0)),
        ValueError,
        "record_every=1",
    ),
    "not recorded": (lambda: TraceDisplay.from_run(run()).plot(quantity="distance"), ValueError, "got 'distance'"),
    "no loss curve": (lambda: TraceDisplay.from_estimator(fd.DistilledRidge()), TypeError, "KDSGDRegressor"),
    "no values": (lambda: TraceDisplay([0], {}), ValueError, "values is empty"),
    "two counts": (lambda: TraceDisplay([0], {"a": [1.0], "b": [[1.0], [2.0]]}), ValueError, "same number"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_to_do(case):
    call, kind, words = ERRORS[case]
    with pytest.raises(kind, match=words):
        call()


def test_data_are_made_without_matplotlib_and_its_absence_is_said():
    code = (
        "import sys; sys.modules['matplotlib'] = sys.modules['pandas'] = None\n"
        "import fastdistill as fd\n"
        "display = fd.plot.SpectrumDisplay([2.0, 1.0], [0.5, 0.1])\n"
        "print(len(display.columns()))\n"
        "for call in (display.plot, display.frame):\n"
        "    try: call()\n"
        "    except ImportError as err: print(err)\n"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert printed[0] == "4"
    assert "pip install" in printed[1]
    assert "matplotlib" in printed[1]
    assert "pip install pandas" in printed[2]
