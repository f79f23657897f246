"""Losses, gradients and moments against differences and enumeration; the best weight against a search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.sparse import csr_array

import fastdistill as fd
from fastdistill.base import linear_losses as losses

N, P, C = 7, 3, 4
LOSSES = ("squared", "squared2", "logistic", "softmax")


def problem(kind, seed=0, *, fit_intercept=False, n=N):
    """(loss, X, y, encoded targets, two parameter arrays with the intercept as last row)."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, P))
    X[np.abs(X) < 0.2] = 0.0
    outputs = {"squared": (), "squared2": (2,), "logistic": (), "softmax": (C,)}[kind]
    points = rng.standard_normal((2, P + fit_intercept, *outputs))
    if kind == "logistic":
        y = rng.integers(0, 2, n)
        targets = y.astype(float)
    elif kind == "softmax":
        y = rng.permutation(np.arange(n) % C)  # no class is empty: its intercept would run away
        targets = np.eye(C)[y]
    else:
        y = targets = rng.standard_normal((n, *outputs))
    return kind.rstrip("2"), X, y, targets, points[0], points[1]


def naive_value(loss, z, b):
    """ℓ(z, b) of one sample from its definition."""
    z, b = np.atleast_1d(z), np.atleast_1d(b)
    if loss == "squared":
        return 0.5 * np.sum((z - b) ** 2)
    if loss == "logistic":
        return float(np.log(1 + np.exp(z[0])) - b[0] * z[0])
    return float(np.log(np.exp(z).sum()) - z @ b)


def naive_objective(loss, rows, targets, x, l2, fit_intercept):
    coef = x[:-1] if fit_intercept else x
    values = [naive_value(loss, row @ x, b) for row, b in zip(rows, targets, strict=True)]
    return np.mean(values) + 0.5 * l2 * np.sum(coef**2)


def with_ones(X, fit_intercept):
    return np.column_stack([X, np.ones(len(X))]) if fit_intercept else X


def difference(f, x, h=1e-6):
    """Central differences of f by the entries of x; f may return an array."""
    out = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = h
        step = step.reshape(x.shape)
        out.append((f(x + step) - f(x - step)) / (2 * h))
    return np.array(out)


def sample_gradients(loss, X, targets, x, l2, fit_intercept):
    """(N, P…) gradients of every f_n, by differences."""
    rows = with_ones(X, fit_intercept)
    return np.array(
        [
            difference(
                lambda x, n=n: naive_objective(loss, rows[n : n + 1], targets[n : n + 1], x, l2, fit_intercept), x
            )
            for n in range(len(X))
        ]
    )


# --- values and gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("matrix", [np.asarray, csr_array])
def test_values_and_gradients_are_those_of_the_definition(kind, fit_intercept, matrix):
    loss, X, _, targets, x, _ = problem(kind, 1, fit_intercept=fit_intercept)
    coef, intercept = (x[:-1], x[-1]) if fit_intercept else (x, 0.0)
    rows = with_ones(X, fit_intercept)
    value = losses.objective(loss, matrix(X), targets, coef, intercept, 0.3)
    assert value == pytest.approx(naive_objective(loss, rows, targets, x, 0.3, fit_intercept), rel=1e-13)
    by_coef, by_intercept = losses.full_gradient(loss, matrix(X), targets, coef, intercept, 0.3)
    found = np.concatenate([by_coef, np.reshape(by_intercept, (1, *x.shape[1:]))])[: len(x)]
    wanted = difference(lambda x: naive_objective(loss, rows, targets, x, 0.3, fit_intercept), x)
    np.testing.assert_allclose(found.ravel(), wanted, atol=1e-8)


def test_residuals_are_the_derivative_of_the_values():
    rng = np.random.default_rng(3)
    for loss, shape in (("squared", (5,)), ("squared", (5, 2)), ("logistic", (5,)), ("softmax", (5, C))):
        z, b = rng.standard_normal(shape), rng.uniform(0, 1, shape)
        if loss == "softmax":
            b /= b.sum(axis=1, keepdims=True)  # soft labels are as good as hard ones
        found = losses.residuals(loss, z, b)
        assert found.shape == shape
        wanted = difference(lambda z, loss=loss, b=b: losses.loss_values(loss, z, b).sum(), z)
        np.testing.assert_allclose(found.ravel(), wanted, atol=1e-8)


def test_extreme_scores_neither_overflow_nor_lose_digits():
    z = np.array([-800.0, -40.0, 0.0, 40.0, 800.0])
    np.testing.assert_allclose(losses.sigmoid(z), [0.0, np.exp(-40.0), 0.5, 1.0, 1.0], rtol=1e-14)
    np.testing.assert_allclose(losses.loss_values("logistic", z, np.ones(5)), [800, 40, np.log(2), np.exp(-40.0), 0])
    np.testing.assert_allclose(losses.loss_values("logistic", z, np.zeros(5)), [0, np.exp(-40.0), np.log(2), 40, 800])
    pair = np.column_stack([z, np.zeros(5)])
    np.testing.assert_allclose(losses.softmax(pair)[:, 0], losses.sigmoid(z), rtol=1e-13)
    one = np.tile([1.0, 0.0], (5, 1))
    np.testing.assert_allclose(losses.loss_values("softmax", pair, one)[:3], [800, 40, np.log(2)])


# --- moments -------------------------------------------------------------------------------------


def batches(n, size, replace):
    """Every batch of a size, each as likely as every other."""
    return np.array(
        list(itertools.product(range(n), repeat=size) if replace else itertools.combinations(range(n), size))
    )


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
def test_moments_are_the_means_over_all_batches(kind, fit_intercept, size, replace):
    loss, X, y, targets, x, theta = problem(kind, 5, fit_intercept=fit_intercept, n=4)
    gradients = [sample_gradients(loss, X, targets, point, 0.3, fit_intercept) for point in (x, theta)]
    at_x, at_teacher = (g[batches(4, size, replace)].mean(axis=1).reshape(-1, x.size) for g in gradients)
    full_x, full_teacher = (g.mean(axis=0).ravel() for g in gradients)
    checked, _ = losses.checked_problem(
        csr_array(X), y, {"teacher": theta}, loss=loss, l2=0.3, fit_intercept=fit_intercept
    )
    found = checked.moments(x, theta, losses.checked_share(4, size, replace))
    wanted = losses.GradientMoments(
        noise=np.mean(np.sum(at_x**2, axis=1)),
        teacher=np.mean(np.sum(at_teacher**2, axis=1)),
        cross=np.mean(np.sum(at_x * at_teacher, axis=1)),
        bias=full_teacher @ full_teacher,
        mean_cross=full_x @ full_teacher,
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-7)
    centred = at_teacher - full_teacher
    np.testing.assert_allclose(
        found.centred()[1:3], [np.mean(np.sum(centred**2, axis=1)), np.mean(np.sum(at_x * centred, axis=1))], rtol=1e-7
    )


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
def test_the_hessian_is_the_derivative_of_the_gradient(kind, fit_intercept):
    loss, X, y, _, x, _ = problem(kind, 6, fit_intercept=fit_intercept)
    checked, _ = losses.checked_problem(X, y, {"x": x}, loss=loss, l2=0.2, fit_intercept=fit_intercept)
    sparse = checked._replace(X=csr_array(X))
    wanted = difference(lambda x: checked.pulled_back(checked.residuals(x)) + checked.penalised(x), x)
    for hessian in (checked.hessian(x), sparse.hessian(x)):
        np.testing.assert_allclose(hessian, wanted.reshape(x.size, x.size), atol=1e-8)
    assert checked.local_curvature(x) == pytest.approx(smallest_eigenvalue(hessian), rel=1e-9)


def test_the_local_curvature_passes_over_directions_without_any():
    rng = np.random.default_rng(7)
    X = rng.standard_normal((9, 2)) @ rng.standard_normal((2, 3))  # of rank 2
    y = rng.integers(0, 3, 9)
    for loss, target, x in (("squared", y, np.zeros(3)), ("softmax", y, rng.standard_normal((3, 3)))):
        checked, _ = losses.checked_problem(X, target, {"x": x}, loss=loss, l2=0.0, fit_intercept=False)
        eigenvalues = np.linalg.eigvalsh(checked.hessian(x))
        zeros = 1 if loss == "squared" else 5  # of rank 2 times (3 classes − 1)
        assert checked.local_curvature(x) == pytest.approx(eigenvalues[zeros], rel=1e-9)
        assert eigenvalues[zeros] > 1e-3 > 1e-12 > eigenvalues[zeros - 1]


# --- the best weight -----------------------------------------------------------------------------


def smallest_eigenvalue(hessian):
    """The smallest but the zero of softmax, whose intercepts may all move together."""
    eigenvalues = np.linalg.eigvalsh(hessian)
    return eigenvalues[eigenvalues > 1e-12][0]


def minimiser(checked, start):
    def value_and_gradient(v):
        x = v.reshape(start.shape)
        value = losses.objective(checked.loss, checked.X, checked.targets, *checked.split(x), checked.l2)
        return value, (checked.pulled_back(checked.residuals(x)) + checked.penalised(x)).ravel()

    return minimize(value_and_gradient, start.ravel(), jac=True, tol=1e-14).x.reshape(start.shape)


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", LOSSES)
def test_the_best_weight_minimises_the_neighbourhood(kind, size, variant):
    loss, X, y, targets, x, noise = problem(kind, 8, fit_intercept=True, n=6)
    checked, _ = losses.checked_problem(X, y, {"x": x}, loss=loss, l2=0.1, fit_intercept=True)
    best = minimiser(checked, x)
    theta, gamma = best + 0.2 * noise, 0.05
    every = batches(6, size, True)
    at_best, at_teacher = (
        sample_gradients(loss, X, targets, point, 0.1, True)[every].mean(axis=1).reshape(len(every), -1)
        for point in (best, theta)
    )
    full = at_teacher.mean(axis=0)
    mu = smallest_eigenvalue(checked.hessian(best))

    def neighbourhood(lam):
        if variant == "kd_unbiased":
            return np.mean(np.sum((at_best - lam * (at_teacher - full)) ** 2, axis=1))
        bias = lam**2 * full @ full / (2 * gamma * mu)
        return np.mean(np.sum((at_best - lam * at_teacher) ** 2, axis=1)) + bias

    wanted = minimize_scalar(neighbourhood, tol=1e-10).x
    settings = {"loss": loss, "step_size": gamma, "l2": 0.1, "batch_size": size, "fit_intercept": True}
    found = fd.optimal_kd_weight(X, y, theta, best, variant=variant, **settings)
    assert type(found) is float
    assert found == pytest.approx(wanted, rel=1e-4)
    given = fd.optimal_kd_weight(csr_array(X), y, theta, best, variant=variant, curvature=mu, **settings)
    assert given == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("variant", ["kd", "kd_unbiased"])
@pytest.mark.parametrize("kind", LOSSES)
def test_a_teacher_at_the_minimum_deserves_the_weight_one(kind, variant):
    loss, X, y, _, x, _ = problem(kind, 9, n=8)
    checked, _ = losses.checked_problem(X, y, {"x": x}, loss=loss, l2=0.1, fit_intercept=False)
    best = minimiser(checked, x)
    assert fd.optimal_kd_weight(X, y, best, best, loss=loss, step_size=0.1, l2=0.1, variant=variant) == pytest.approx(
        1.0
    )


def test_a_teacher_without_gradients_gets_no_weight():
    X, y = np.eye(3), np.arange(3.0)
    assert fd.optimal_kd_weight(X, y, y, np.zeros(3), step_size=0.1) == 0.0
    # one sample has no noise to remove: what is left of its centred gradient is rounding
    for seed in range(50):
        X, points = np.split(np.random.default_rng(seed).standard_normal((3, 4)), [1])
        assert fd.optimal_kd_weight(X, [0.3], *points, step_size=0.1, variant="kd_unbiased") == 0.0


def test_labels_come_in_every_form():
    rng = np.random.default_rng(10)
    X, y = rng.standard_normal((6, 2)), np.array([0, 1, 1, 0, 1, 0])
    points = rng.standard_normal((2, 2))
    weights = [
        fd.optimal_kd_weight(X, labels, *points, loss="logistic", step_size=0.1)
        for labels in (y, 2 * y - 1, y.astype(bool), (2.0 * y - 1).tolist())
    ]
    assert len(set(weights)) == 1
    points = rng.standard_normal((2, 2, 3))
    weights = [
        fd.optimal_kd_weight(X, labels, *points, loss="softmax", step_size=0.1)
        for labels in (y, y.astype(np.int32), y.astype(float), np.eye(3)[y])
    ]
    assert len(set(weights)) == 1


GOOD = {"X": np.eye(3), "y": [0, 1, 1], "teacher": [1.0, 2.0, 3.0], "reference": [0.0, 0.0, 0.0], "step_size": 0.1}
BAD = [
    ({"loss": "hinge"}, ValueError, "loss must be one of"),
    ({"variant": "svrg"}, ValueError, "variant must be one of"),
    ({"step_size": 0.0}, ValueError, "step_size must be above 0"),
    ({"step_size": np.inf}, ValueError, "step_size must be finite"),
    ({"l2": -1.0}, ValueError, "l2 must be at least 0"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ({"batch_size": 4, "replace": False}, ValueError, "batch_size=4 without replacement .* there are 3"),
    ({"fit_intercept": 1}, TypeError, "fit_intercept must be True or False"),
    ({"fit_intercept": True}, ValueError, r"teacher has shape \(3,\), but \(4,\) is needed.*intercept as the last row"),
    ({"teacher": [1.0, np.nan, 0.0]}, ValueError, "teacher contains NaN at index 1"),
    ({"reference": [1.0, 2.0]}, ValueError, r"reference has shape \(2,\), but \(3,\) is needed: a row per feature"),
    ({"y": [0, 1]}, ValueError, "y has 2 rows, but there are 3 samples"),
    ({"y": [0, 1, 2], "loss": "logistic"}, ValueError, r"labels 0 and 1.*found \[0.0, 1.0, 2.0\]"),
    ({"y": [1, 2, 2], "loss": "logistic"}, ValueError, r"found \[1.0, 2.0\]"),
    ({"loss": "softmax"}, ValueError, r"\(3, 2\) is needed.*column per class"),
    ({"loss": "softmax", "y": [0, 1, 0.5]}, ValueError, "class numbers .* got 0.5 at index 2"),
    ({"loss": "softmax", "y": [0, -1, 1]}, ValueError, "class numbers .* got -1 at index 1"),
    ({"loss": "softmax", "y": [0, 1e300, 1]}, ValueError, r"class numbers .* got 1e\+300 at index 1"),
    (
        {"loss": "softmax", "y": [0, 1, 2], "teacher": np.ones((3, 2)), "reference": np.ones((3, 2))},
        ValueError,
        "y holds the class 2, but the coefficients are for 2 classes",
    ),
    (
        {"loss": "softmax", "y": np.ones((3, 2)), "teacher": np.ones((3, 2)), "reference": np.ones((3, 2))},
        ValueError,
        "rows summing to 1",
    ),
    (
        {"loss": "softmax", "y": np.eye(3), "teacher": np.ones((3, 2)), "reference": np.ones((3, 2))},
        ValueError,
        "y has 3 columns, but the coefficients are for 2 classes",
    ),
    ({"curvature": 0.0}, ValueError, "curvature must be above 0"),
    (
        {"X": np.ones((3, 4001)), "teacher": np.ones(4001), "reference": np.ones(4001)},
        ValueError,
        "4001 rows.*curvature=",
    ),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        fd.optimal_kd_weight(**{**GOOD, **change})


def test_a_flat_objective_is_named():
    # softmax so sure of itself that its Hessian is zero at the reference
    certain = np.array([[900.0, -900.0]])
    with pytest.raises(ValueError, match=r"flat at the reference.*curvature= or l2 > 0"):
        fd.optimal_kd_weight([[1.0], [1.0]], [0, 1], [[1.0, 0.0]], certain, loss="softmax", step_size=0.1)
