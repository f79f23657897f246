"""`run_sgd` against a loop over its definition: variants, losses, layouts, orders, schedules; many at once; laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

import fastdistill as fd
from tests.oracle_sgd import predictions
from tests.oracle_sgd_loop import NaiveSGD, draw_orders

LOSSES = ("squared", "logistic", "softmax")
VARIANTS = ("kd", "kd_unbiased", "svrg", "soft_labels", "repeated")
LAYOUTS = ("dense", "csr32", "csr64")
N, P = 13, 4


def sparse(X, index=np.int32):
    """X as CSR with the wanted kind of indices."""
    found = csr_array(X)
    return csr_array((found.data, found.indices.astype(index), found.indptr.astype(index)), shape=found.shape)


def laid_out(X, layout):
    return X if layout == "dense" else sparse(X, np.int32 if layout == "csr32" else np.int64)


def problem(loss, n_outputs=1, *, n=N, p=P, fit_intercept=False, seed=0):
    """X with zeros and an empty row, y and its targets (n, C), a teacher and a start (p or p + 1, C)."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * (rng.random((n, p)) < 0.7)
    X[n // 2] = 0.0
    if loss == "squared":
        y = targets = rng.standard_normal((n, n_outputs))
        y = y[:, 0] if n_outputs == 1 else y
    elif loss == "logistic":
        y = np.arange(n) % 2
        targets, n_outputs = y[:, None], 1
    else:
        n_outputs = max(n_outputs, 3)
        y = np.arange(n) % n_outputs
        targets = np.eye(n_outputs)[y]
    teacher, start = rng.standard_normal((2, p + fit_intercept, n_outputs))
    return X, y, targets, teacher, start


def public(params, loss, n_outputs=1):
    """(P, C) as a user gives it."""
    return params if loss == "softmax" or (loss == "squared" and n_outputs > 1) else params[:, 0]


def found_parameters(run, fit_intercept):
    """(P, C) of a run of one configuration."""
    coef = run.coef if run.coef.ndim == 2 else run.coef[:, None]
    return np.vstack([coef, np.reshape(run.intercept, (1, -1))]) if fit_intercept else coef


def relative(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


# A covering table: every variant, loss and layout together, other settings cycling through them with coprime periods.
CYCLES = {
    "order": ("shuffle", "sequential", "replace"),
    "batch_size": (1, 4, 1, 5, 13),
    "fit_intercept": (False, True),
    "momentum": (0.0, 0.0, 0.0, 0.7),
    "l2": (0.0, 0.3, 0.05),
    "average": (False, False, True, False, True),
    "weighted": (False, True, False, False),
    "n_outputs": (1, 1, 5, 1, 2, 1, 7),
    "kd_weight": (0.6, 1.0, 0.3, 1.4),
    "schedules": (False, False, True),
}


def covering_table():
    cycles = {name: itertools.cycle(values) for name, values in CYCLES.items()}
    for _ in range(2):
        for variant, loss, layout in itertools.product(VARIANTS, LOSSES, LAYOUTS):
            yield variant, loss, layout, {name: next(cycle) for name, cycle in cycles.items()}


def named(value):
    return "-".join(str(v) for v in value.values()) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize(("variant", "loss", "layout", "also"), list(covering_table()), ids=named)
def test_every_run_is_the_loop_over_its_definition(variant, loss, layout, also):
    m, intercept = also["n_outputs"], also["fit_intercept"]
    X, y, targets, teacher, start = problem(loss, m, fit_intercept=intercept)
    weight = np.linspace(0.0, 3.0, N) if also["weighted"] else None
    temperature = 2.5 if variant == "soft_labels" and loss != "squared" else 1.0
    every = 2 if variant in ("svrg", "repeated") else None
    given = teacher if variant != "svrg" or m > 1 else None
    step_size, kd_weight = 0.05, also["kd_weight"]
    factors = {}
    if also["schedules"]:
        step_size, kd_weight = fd.InverseTime(0.05, 2.0), fd.Geometric(also["kd_weight"], 0.5)
        factors = {"step_factor": lambda t: 2 / (2 + t), "weight_factor": lambda t: 0.5**t}
    run = fd.run_sgd(
        laid_out(X, layout),
        y,
        loss,
        teacher=None if given is None else public(given, loss, m),
        variant=variant,
        step_size=step_size,
        kd_weight=kd_weight,
        n_epochs=3,
        temperature=temperature,
        teacher_every=every,
        sample_weight=weight,
        coef_init=public(start, loss, m),
        random_state=3,
        record_every=0,
        **{name: also[name] for name in ("order", "batch_size", "fit_intercept", "momentum", "l2", "average")},
    )
    naive = NaiveSGD(
        X, targets, loss, fit_intercept=intercept, l2=also["l2"], temperature=temperature, sample_weight=weight
    )
    iterates, means, _ = naive.run(
        start,
        draw_orders(also["order"], N, 3, 3)[0],
        step_size=0.05,
        teacher=given,
        kd_weight=also["kd_weight"],
        variant=variant,
        batch_size=also["batch_size"],
        momentum=also["momentum"],
        teacher_every=every or 1,
        **factors,
    )
    wanted = (means if also["average"] else iterates)[-1]
    assert relative(found_parameters(run, intercept), wanted) < 1e-10
    assert (run.status, run.n_epochs, run.trace) == ("finished", 3, {})


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("step", [0.02, 0.2, 0.49, 0.6, 1.0])  # l2 is 1: the share by which a step shrinks
@pytest.mark.parametrize("batch_size", [1, 3])
def test_strong_penalties_are_multiplied_out_in_time(step, layout, average, batch_size):
    X, y, targets, teacher, start = problem("squared", n=31)
    X /= 4.0
    options = {"teacher": teacher[:, 0], "kd_weight": 0.7, "variant": "kd_unbiased", "batch_size": batch_size}
    run = fd.run_sgd(
        laid_out(X, layout), y, step_size=step, l2=1.0, n_epochs=4, average=average, random_state=0, **options
    )
    naive = NaiveSGD(X, targets, "squared", l2=1.0)
    iterates, means, _ = naive.run(
        np.zeros_like(start), draw_orders("shuffle", 31, 0, 4)[0], step_size=step, **{**options, "teacher": teacher}
    )
    assert relative(run.coef[:, None], (means if average else iterates)[-1]) < 1e-10


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_soft_labels_at_temperature_one_are_kd(loss, layout, batch_size):
    X, y, _, teacher, start = problem(loss, fit_intercept=True)
    runs = [
        fd.run_sgd(
            laid_out(X, layout),
            y,
            loss,
            teacher=public(teacher, loss),
            coef_init=public(start, loss),
            variant=variant,
            kd_weight=0.8,
            step_size=0.1,
            n_epochs=5,
            batch_size=batch_size,
            l2=0.1,
            fit_intercept=True,
            random_state=0,
        )
        for variant in ("kd", "soft_labels")
    ]
    np.testing.assert_allclose(runs[1].coef, runs[0].coef, rtol=1e-12)
    np.testing.assert_allclose(runs[1].intercept, runs[0].intercept, rtol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize("variant", ["kd", "kd_unbiased", "soft_labels"])
def test_the_optimum_as_teacher_removes_the_plateau(variant, l2, layout):
    X, y, *_ = problem("squared", n=20)
    best = np.linalg.solve(X.T @ X / 20 + l2 * np.eye(P), X.T @ y / 20)
    options = {"step_size": 0.15, "n_epochs": 40, "l2": l2, "reference": best, "random_state": 0}
    with_teacher = fd.run_sgd(laid_out(X, layout), y, teacher=best, kd_weight=1.0, variant=variant, **options)
    assert with_teacher.trace["distance"][-1] < 1e-9 * with_teacher.trace["distance"][0]
    assert fd.run_sgd(X, y, **options).trace["distance"][-1] > 1e-2


@pytest.mark.parametrize("loss", LOSSES)
def test_a_teacher_by_its_outputs_is_one_by_its_coefficients_without_a_penalty(loss):
    X, y, _, teacher, _ = problem(loss, fit_intercept=True)
    z = X @ teacher[:-1] + teacher[-1]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    outputs = {"squared": z[:, 0], "logistic": 1 / (1 + np.exp(-z[:, 0])), "softmax": e / e.sum(axis=1, keepdims=True)}
    temperatures = (1.0,) if loss == "squared" else (1.0, 3.0)
    for variant, temperature in [*itertools.product(["soft_labels"], temperatures), ("kd_unbiased", 1.0), ("kd", 1.0)]:
        runs = [
            fd.run_sgd(
                X,
                y,
                loss,
                teacher=source,
                kd_weight=0.5,
                variant=variant,
                step_size=0.1,
                temperature=temperature,
                fit_intercept=True,
                random_state=1,
            )
            for source in (public(teacher, loss), fd.TeacherOutputs(outputs[loss]))
        ]
        np.testing.assert_allclose(runs[1].coef, runs[0].coef, rtol=1e-9)


def test_forms_of_a_teacher():
    from sklearn.linear_model import LinearRegression, LogisticRegression

    X, y, *_ = problem("squared", fit_intercept=True)
    theta = np.arange(1.0, P + 1)
    fitted = LinearRegression().fit(X, y)
    fitted.coef_, fitted.intercept_ = theta, 0.5
    options = {"kd_weight": 0.6, "step_size": 0.05, "fit_intercept": True, "random_state": 0}
    as_run = fd.run_sgd(X, y, step_size=0.1, n_epochs=0, fit_intercept=True, coef_init=(theta, 0.5))
    teachers = [(theta, 0.5), np.append(theta, 0.5), fitted, as_run, (theta.tolist(), [0.5])]
    coefs = [fd.run_sgd(X, y, teacher=teacher, **options).coef for teacher in teachers]
    for coef in coefs[1:]:
        np.testing.assert_allclose(coef, coefs[0], rtol=1e-12)
    for loss in ("logistic", "softmax"):
        X, y, *_ = problem(loss, n=21)
        model = LogisticRegression().fit(X, y)
        teachers = [model, (model.coef_.T if loss == "softmax" else model.coef_[0], model.intercept_)]
        coefs = [fd.run_sgd(X, y, loss, teacher=teacher, **options).coef for teacher in teachers]
        np.testing.assert_allclose(coefs[1], coefs[0], rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
def test_the_optimal_weight_is_that_of_the_formula(loss, variant):
    X, y, _, teacher, reference = problem(loss, n=20, fit_intercept=True)
    theta, best = public(reference + 0.1 * teacher, loss), public(reference, loss)
    kept = {"loss": loss, "l2": 0.1, "batch_size": 2, "fit_intercept": True, "variant": variant}
    weights = [max(0.0, fd.optimal_kd_weight(X, y, theta, best, step_size=s, **kept)) for s in (0.02, 0.1)]
    options = {"teacher": theta, "reference": best, "kd_weight": "optimal", "n_epochs": 1, **kept}
    run = fd.run_sgd(X, y, step_size=[0.02, 0.1], **options)
    np.testing.assert_allclose(run.kd_weight, weights, rtol=1e-12)
    assert 0 < weights[0] <= 1.5
    assert fd.run_sgd(X, y, step_size=0.1, **options).kd_weight == pytest.approx(weights[1], rel=1e-12)
    assert fd.run_sgd(sparse(X), y, step_size=0.1, **options).kd_weight == pytest.approx(weights[1], rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("form", [np.asarray, sparse])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_without_a_reference_the_optimal_weight_is_taken_at_the_optimum(loss, form, fit_intercept):
    X, y, targets, teacher, reference = problem(loss, n=40, fit_intercept=fit_intercept)
    theta, kept = public(reference + 0.1 * teacher, loss), {"loss": loss, "l2": 0.1, "fit_intercept": fit_intercept}
    rows = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    penalty = np.full((rows.shape[1], 1), 0.1)
    if fit_intercept:
        penalty[-1] = 0.0
    best = np.zeros((rows.shape[1], targets.shape[1]))
    step = 1.0 / (np.linalg.eigvalsh(rows.T @ rows / len(X))[-1] + 0.1)
    for _ in range(3000):  # gradient descent
        best -= step * (rows.T @ (predictions(loss, rows @ best) - targets) / len(X) + penalty * best)
    weight = fd.optimal_kd_weight(X, y, theta, public(best, loss), step_size=0.05, **kept)
    run = fd.run_sgd(form(X), y, teacher=theta, kd_weight="optimal", step_size=0.05, n_epochs=1, **kept)
    assert run.kd_weight == pytest.approx(weight, rel=1e-6)


@pytest.mark.parametrize("name", ["coef", "pair", "stacked", "run"])
def test_a_warm_start_goes_on_where_the_run_ended(name):
    X, y, _, teacher, _ = problem("squared", fit_intercept=True)
    options = {"teacher": teacher[:, 0], "kd_weight": 0.5, "step_size": 0.05, "fit_intercept": True, "l2": 0.1}
    options |= {"order": "sequential", "random_state": 0}
    half = fd.run_sgd(X, y, n_epochs=2, **options)
    forms = {"pair": (half.coef, half.intercept), "stacked": np.append(half.coef, half.intercept), "run": half}
    if name == "coef":
        options["fit_intercept"], options["teacher"] = False, teacher[:-1, 0]
        half = fd.run_sgd(X, y, n_epochs=2, **options)
        forms["coef"] = half.coef
    both = fd.run_sgd(X, y, n_epochs=3, coef_init=forms[name], **options)
    whole = fd.run_sgd(X, y, n_epochs=5, **options)
    np.testing.assert_allclose(both.coef, whole.coef, rtol=1e-12)
    np.testing.assert_allclose(both.intercept, whole.intercept, rtol=1e-12)


def test_csr_matrices_and_other_formats_are_csr():
    X, y, *_ = problem("squared")
    wanted = fd.run_sgd(sparse(X), y, step_size=0.1, random_state=0).coef
    for form in (csr_matrix(X), sparse(X).tocsc(), sparse(X).tocoo(), sparse(X).tolil(), sparse(X.astype(np.float64))):
        np.testing.assert_array_equal(fd.run_sgd(form, y, step_size=0.1, random_state=0).coef, wanted)


def test_a_single_sample_and_a_single_feature():
    for X in (np.array([[2.0]]), sparse(np.array([[2.0]]))):
        run = fd.run_sgd(X, [3.0], step_size=0.1, n_epochs=1)
        np.testing.assert_allclose(run.coef, [0.6])
        for variant in ("svrg", "repeated"):
            assert fd.run_sgd(X, [3.0], step_size=0.1, variant=variant, n_epochs=40).coef == pytest.approx([1.5])


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_targets_far_beyond_label_and_teacher_are_mixed_once(layout, n_outputs, batch_size):
    X, y, targets, teacher, _ = problem("squared", n_outputs)
    weight, wanted = 1e20, np.zeros((P, n_outputs))
    mixed = (1.0 - weight) * targets + weight * X @ teacher
    for start in range(0, N, batch_size):
        rows = X[start : start + batch_size]
        wanted -= 0.05 * rows.T @ (rows @ wanted - mixed[start : start + batch_size]) / len(rows)
    taught = {"teacher": public(teacher, "squared", n_outputs), "kd_weight": weight, "order": "sequential"}
    run = fd.run_sgd(laid_out(X, layout), y, step_size=0.05, n_epochs=1, batch_size=batch_size, **taught)
    assert relative(found_parameters(run, False), wanted) < 1e-10
