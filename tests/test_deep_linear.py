"""Deep linear students: gradients against differences, runs against a naive loop, the angle between the two forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastdistill as fd
from fastdistill.base import linear_losses as losses
from fastdistill.sgd import deep_linear

SHAPES = {1: [5], 2: [5, 4], 3: [5, 4, 6]}  # inputs of each layer


def problem(loss, depth, seed=0, n=9):
    """X, y, teacher and student layers."""
    rng = np.random.default_rng(seed)
    outputs = {"squared": 2, "logistic": 1, "softmax": 3}[loss]
    inputs = SHAPES[depth]
    shapes = list(zip([*inputs[1:], outputs], inputs, strict=True))
    X = rng.standard_normal((n, 5))
    if loss == "squared":
        y = rng.standard_normal((n, 2))
    else:
        y = rng.permutation(np.arange(n) % max(outputs, 2))
    teacher, student = ([0.7 * rng.standard_normal(shape) for shape in shapes] for _ in range(2))
    return X, y, teacher, student


def scores(X, weights):
    z = X.T
    for W in weights:
        z = W @ z
    return z.T


def distillation_loss(loss, X, y, weights, teacher, lam):
    """(1 − λ) ℓ(·, b) + λ ℓ(·, the teacher's prediction) from the scores, sample by sample."""
    total = 0.0
    for a, b in zip(X, y, strict=True):
        z, taught = (scores(a[None], layers)[0] for layers in (weights, teacher))
        if loss == "squared":
            total += 0.5 * ((1 - lam) * np.sum((z - b) ** 2) + lam * np.sum((z - taught) ** 2))
        elif loss == "logistic":
            p = 1 / (1 + np.exp(-taught[0]))
            total += np.log(1 + np.exp(z[0])) - ((1 - lam) * b + lam * p) * z[0]
        else:
            p = np.exp(taught) / np.exp(taught).sum()
            total += np.log(np.exp(z).sum()) - (1 - lam) * z[b] - lam * (p @ z)
    return total / len(X)


def differences(f, weights, h=1e-6):
    """Central differences of f(weights) by every entry of every layer."""
    out = []
    for i, W in enumerate(weights):
        g = np.empty_like(W)
        for at in np.ndindex(W.shape):
            values = []
            for sign in (1, -1):
                moved = [V.copy() for V in weights]
                moved[i][at] += sign * h
                values.append(f(moved))
            g[at] = (values[0] - values[1]) / (2 * h)
        out.append(g)
    return out


def both_forms(loss, X, y, student, teacher, lam):
    """The two gradients by differences alone."""
    true = differences(lambda W: distillation_loss(loss, X, y, W, teacher, lam), student)
    plain = [differences(lambda W: distillation_loss(loss, X, y, W, W, 0.0), layers) for layers in (student, teacher)]
    return {"student": true, "teacher": [g - lam * h for g, h in zip(*plain, strict=True)]}


def naive_run(loss, X, y, teacher, student, lam, gamma, jacobian, batches):
    for batch in batches:
        gradient = both_forms(loss, X[batch], y[batch], student, teacher, lam)[jacobian]
        student = [W - gamma * g for W, g in zip(student, gradient, strict=True)]
    return student


def flat(layers):
    return np.concatenate([W.ravel() for W in layers])


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_both_gradients_are_those_of_their_definitions(loss, depth):
    X, y, teacher, student = problem(loss, depth)
    targets = deep_linear._targets(loss, y, len(X), len(teacher[-1]))
    for lam in (0.0, 0.6, 1.3):
        training = deep_linear._Training(loss, X, targets, teacher, lam, "student")
        found = training.both(student, slice(2, 9))
        wanted = both_forms(loss, X[2:], y[2:], student, teacher, lam)
        for form in deep_linear.JACOBIANS:
            assert [g.shape for g in found[form]] == [W.shape for W in student]
            np.testing.assert_allclose(flat(found[form]), flat(wanted[form]), atol=1e-8)
        a, b = flat(wanted["student"]), flat(wanted["teacher"])
        cosine = deep_linear.cosine(found["student"], found["teacher"])
        assert cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-7)
        if depth == 1 or lam == 0.0:
            np.testing.assert_allclose(flat(found["student"]), flat(found["teacher"]), rtol=1e-11, atol=1e-14)
        else:
            assert cosine < 0.999


@pytest.mark.parametrize("jacobian", ["student", "teacher"])
@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_run_is_the_naive_loop(loss, jacobian, batch_size):
    X, y, teacher, student = problem(loss, 2, seed=1)
    rng = np.random.default_rng(5)
    batches = []
    for _ in range(2):
        order = rng.permutation(9) if batch_size else np.arange(9)
        batches += [order[start : start + (batch_size or 9)] for start in range(0, 9, batch_size or 9)]
    wanted = naive_run(loss, X, y, teacher, student, 0.6, 0.2, jacobian, batches)
    for matrix in (X, csr_array(X)):
        run = fd.deep_linear_distillation(
            matrix,
            y,
            teacher,
            kd_weight=0.6,
            step_size=0.2,
            n_epochs=2,
            loss=loss,
            jacobian=jacobian,
            batch_size=batch_size,
            weights_init=student,
            random_state=5,
        )
        np.testing.assert_allclose(flat(run.weights), flat(wanted), atol=1e-7)
        np.testing.assert_allclose(X @ run.coef, scores(X, run.weights), rtol=1e-12)


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_the_trace_is_what_it_says(loss):
    X, y, teacher, student = problem(loss, 2, seed=2)
    options = {"kd_weight": 0.4, "step_size": 0.05, "loss": loss, "batch_size": 4, "weights_init": student}
    run = fd.deep_linear_distillation(X, y, teacher, n_epochs=7, record_every=3, random_state=3, **options)
    trace = run.trace
    np.testing.assert_array_equal(trace["epoch"], [0, 3, 6, 7])
    assert {len(values) for values in trace.values()} == {4}
    for record, weights in ((0, student), (3, run.weights)):
        assert trace["loss"][record] == pytest.approx(distillation_loss(loss, X, y, weights, weights, 0.0), rel=1e-12)
        taught = distillation_loss(loss, X, y, weights, teacher, 0.4)
        assert trace["kd_loss"][record] == pytest.approx(taught, rel=1e-12)
        forms = both_forms(loss, X, y, weights, teacher, 0.4)
        a, b = flat(forms["student"]), flat(forms["teacher"])
        assert trace["grad_norm"][record] == pytest.approx(np.linalg.norm(a), rel=1e-6)
        assert trace["kd_cosine"][record] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)
        gap = weights[1] @ weights[0] - teacher[1] @ teacher[0]
        assert trace["distance"][record] == pytest.approx(np.linalg.norm(gap), rel=1e-12)
        predicted = [
            losses.predictions(loss, scores(X, W)[:, 0] if loss == "logistic" else scores(X, W))
            for W in (weights, teacher)
        ]
        assert trace["prediction_error"][record] == pytest.approx(np.sum((predicted[0] - predicted[1]) ** 2) / 9)
    assert np.isnan(trace["step_cosine"][0])
    assert np.all(trace["step_cosine_min"][1:] <= trace["step_cosine"][1:])
    every = fd.deep_linear_distillation(X, y, teacher, n_epochs=7, random_state=3, **options).trace
    assert trace["step_cosine"][1] == pytest.approx(every["step_cosine"][1:4].mean(), rel=1e-12)
    assert trace["step_cosine_min"][2] == pytest.approx(every["step_cosine_min"][4:7].min(), rel=1e-12)


def test_one_layer_is_the_linear_case_of_similarity_one():
    X, y, teacher, student = problem("softmax", 1, seed=4)
    runs = [
        fd.deep_linear_distillation(
            X,
            y,
            teacher,
            kd_weight=0.7,
            step_size=0.3,
            n_epochs=20,
            loss="softmax",
            jacobian=jacobian,
            weights_init=student,
            batch_size=3,
            random_state=1,
        )
        for jacobian in ("student", "teacher")
    ]
    np.testing.assert_allclose(runs[0].coef, runs[1].coef, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(runs[0].trace["kd_cosine"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(runs[0].trace["step_cosine_min"][1:], 1.0, rtol=1e-12)


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_a_student_at_its_teacher_sees_one_gradient(loss):
    X, y, teacher, _ = problem(loss, 3, seed=5)
    run = fd.deep_linear_distillation(
        X, y, teacher, kd_weight=0.5, step_size=0.1, n_epochs=0, loss=loss, weights_init=teacher
    )
    assert run.trace["kd_cosine"][0] == pytest.approx(1.0, rel=1e-12)
    assert run.trace["distance"][0] == 0.0
    assert run.trace["prediction_error"][0] <= 1e-28  # squares of the rounding of two products


def test_the_true_gradient_leads_to_the_minimiser_of_the_distillation_loss():
    X, y, teacher, _ = problem("squared", 2, seed=6, n=30)
    run = fd.deep_linear_distillation(X, y, teacher, kd_weight=0.3, step_size=0.1, n_epochs=1500, random_state=0)
    target = 0.7 * y + 0.3 * scores(X, teacher)
    np.testing.assert_allclose(run.coef, np.linalg.lstsq(X, target, rcond=None)[0], atol=1e-6)
    assert run.trace["grad_norm"][-1] < 1e-7
    assert np.all(np.diff(run.trace["kd_loss"]) <= 1e-14)  # at its least value the mean of 30 squares is rounded


def test_the_start_is_drawn_before_the_permutations_and_scaled():
    X, y, teacher, _ = problem("squared", 2)
    runs = [
        fd.deep_linear_distillation(
            X,
            y,
            teacher,
            kd_weight=0.3,
            step_size=0.05,
            n_epochs=epochs,
            init_scale=scale,
            batch_size=2,
            random_state=seed,
        )
        for epochs, scale, seed in ((0, 2.0, 7), (0, 1.0, np.random.default_rng(7)), (3, 1.0, 7), (3, 1.0, 7))
    ]
    rng = np.random.default_rng(7)
    wanted = [rng.standard_normal(V.shape) / np.sqrt(V.shape[1]) for V in teacher]
    np.testing.assert_allclose(flat(runs[1].weights), flat(wanted), rtol=1e-14)
    np.testing.assert_allclose(flat(runs[0].weights), 2 * flat(wanted), rtol=1e-14)
    np.testing.assert_array_equal(flat(runs[2].weights), flat(runs[3].weights))


def test_inputs_are_left_alone_and_labels_come_in_every_form():
    X, y, teacher, student = problem("logistic", 2)
    before = [W.copy() for W in (*teacher, *student)]
    options = {"kd_weight": 0.5, "step_size": 0.5, "n_epochs": 3, "loss": "logistic"}
    runs = [
        fd.deep_linear_distillation(X, labels, layers, weights_init=student, **options).coef
        for labels, layers in ((y, teacher), (2 * y - 1, teacher), (y.tolist(), [V.tolist() for V in teacher]))
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])
    np.testing.assert_array_equal(flat(before), flat([*teacher, *student]))


def test_a_vanishing_gradient_has_no_angle():
    run = fd.deep_linear_distillation(
        [[1.0]], [2.0], [[[2.0]]], kd_weight=0.5, step_size=0.1, n_epochs=1, weights_init=[[[2.0]]]
    )
    assert np.isnan(run.trace["kd_cosine"]).all()
    assert np.isnan(run.trace["step_cosine"]).all()


GOOD = {
    "X": np.eye(3),
    "y": [1.0, 2.0, 3.0],
    "teacher_weights": [np.ones((2, 3)), np.ones((1, 2))],
    "kd_weight": 0.5,
    "step_size": 0.1,
    "n_epochs": 2,
}
BAD = [
    ({"teacher_weights": np.ones((1, 3))}, r"sequence of layers; for a single one pass \[W\]"),
    ({"teacher_weights": []}, "teacher_weights is empty"),
    ({"teacher_weights": [np.ones((2, 4)), np.ones((1, 2))]}, r"teacher_weights\[0\] .* its input has 3 entries"),
    ({"teacher_weights": [np.ones((2, 3)), np.ones((1, 3))]}, r"teacher_weights\[1\] .* its input has 2 entries"),
    ({"teacher_weights": [np.ones((2, 3)), [[1.0, np.nan]]]}, r"teacher_weights\[1\] contains NaN"),
    ({"teacher_weights": [np.ones((2, 3))]}, "last layer has 2 rows, but the targets ask for 1"),
    ({"loss": "logistic", "y": [0, 1, 1], "teacher_weights": [np.ones((2, 3))]}, "2 rows.* ask for 1 .the logistic"),
    ({"loss": "softmax", "y": [0, 1, 2], "teacher_weights": [np.ones((2, 3))]}, "class 2, but .* 2 classes"),
    ({"weights_init": [np.ones((4, 3)), np.ones((1, 4))]}, "student and teacher need the same shapes"),
    ({"loss": "hinge"}, "loss must be one of"),
    ({"jacobian": "both"}, "jacobian must be one of"),
    ({"step_size": 0.0}, "step_size must be above 0"),
    ({"kd_weight": np.inf}, "kd_weight must be finite"),
    ({"n_epochs": -1}, "n_epochs must be at least 0"),
    ({"batch_size": 0}, "batch_size must be at least 1"),
    ({"record_every": 0}, "record_every must be at least 1"),
    ({"init_scale": -1.0}, "init_scale must be at least 0"),
    ({"step_size": 1e3, "n_epochs": 200}, r"diverged in epoch \d+ with step_size=1000: lower the step size"),
    ({"step_size": 1e3, "n_epochs": 200, "batch_size": 1}, "diverged in epoch"),
    ({"step_size": 1e3, "n_epochs": 900, "record_every": 800}, r"diverged in epoch \d{1,2} with"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        fd.deep_linear_distillation(**{**GOOD, **change})
