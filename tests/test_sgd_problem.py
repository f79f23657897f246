"""The passes over X before the steps, against NumPy on the dense matrix: scores, outputs, mean gradients, checks."""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np
import pytest
from scipy.sparse import csr_array

import fastdistill as fd
from fastdistill import kernels
from fastdistill.sgd import problem as problems
from fastdistill.sgd.problem import Model, Problem
from tests.oracle_sgd import predictions
from tests.test_sgd import LAYOUTS, laid_out

N, P = 23, 41  # rows of more than two times eight stored values, and what is left of eight


def data(loss, n_outputs=1, dtype=np.float64):
    """X with an empty row, y, targets (n, C), weights of mean 1, coefficients (C, p) and intercepts (C,)."""
    rng = np.random.default_rng(7)
    X = (rng.standard_normal((N, P)) * (rng.random((N, P)) < 0.6)).astype(dtype)
    X[4] = 0.0
    if loss == "softmax":
        y = np.arange(N) % n_outputs
        targets = np.eye(n_outputs)[y]
    else:
        targets = rng.standard_normal((N, n_outputs)) if loss == "squared" else (np.arange(N) % 2.0)[:, None]
        y = targets if n_outputs > 1 else targets[:, 0]
    weight = rng.random(N) + 0.1
    return X, y, targets, weight / weight.mean(), rng.standard_normal((n_outputs, P)), rng.standard_normal(n_outputs)


CASES = [("squared", 1), ("squared", 3), ("logistic", 1), ("softmax", 2), ("softmax", 5)]


@pytest.mark.parametrize("has_intercept", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", [*LAYOUTS, "blas"])
@pytest.mark.parametrize(("loss", "n_outputs"), CASES)
def test_teachers_are_their_definition(loss, n_outputs, layout, dtype, has_intercept, monkeypatch):
    X, y, b, weight, coef, intercept = data(loss, n_outputs, dtype)
    intercept = intercept * has_intercept
    if layout == "blas":
        monkeypatch.setattr(problems, "CACHED_COEFFICIENTS", 0)
        monkeypatch.setattr(problems, "BLAS_ENTRIES", 3 * P)  # several blocks, the last of them shorter
    given = X if layout == "blas" else laid_out(X, layout)
    found = Problem(given, y, loss, 0.3, has_intercept, weight, n_outputs)
    model = Model(coef, intercept)
    rows = np.column_stack([X.astype(np.float64), np.ones(N)])[:, : P + has_intercept]

    z = X.astype(np.float64) @ coef.T + intercept
    close = {"rtol": 1e-13, "atol": 1e-13}
    np.testing.assert_allclose(found.scores(model), z, **close)
    np.testing.assert_allclose(found.squared_norms, np.square(rows).sum(axis=1), rtol=1e-14)
    temperatures = (1.0,) if loss == "squared" else (1.0, 2.5)
    for temperature in temperatures:
        taught = found.teach(model, "soft_labels", temperature)
        np.testing.assert_allclose(taught.outputs, predictions(loss, z / temperature), **close)
        np.testing.assert_array_equal(taught.push[:, :P], -0.3 * coef)
        np.testing.assert_array_equal(taught.push[:, P:], 0.0)

    s = predictions(loss, z)
    push = (weight[:, None] * (s - b)).T @ rows / N
    for variant in ("kd_unbiased", "svrg"):
        taught = found.teach(model, variant, 1.0)
        np.testing.assert_allclose(taught.outputs, s, **close)
        np.testing.assert_allclose(taught.push, push, **close)
        np.testing.assert_allclose(found.teach(s, variant, 1.0).push, push, **close)  # known by its outputs
        samples = found.samples(taught)
        np.testing.assert_allclose(samples[:, 2 * n_outputs + 1 :], rows[:, :P] @ push[:, :P].T, **close)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_intercept_serves_all_outputs(layout):
    X, y, _, _, coef, _ = data("squared", 3)
    found = Problem(laid_out(X, layout), y, "squared", 0.0, False, None, None)
    one = Model(coef, np.array([0.5]))
    np.testing.assert_allclose(found.scores(one), X @ coef.T + 0.5, rtol=1e-13)
    np.testing.assert_allclose(found.teach(one, "svrg", 1.0).outputs, X @ coef.T + 0.5, rtol=1e-13)


def test_predictions_at_the_ends_neither_overflow_nor_lose_digits():
    z = np.array([[-800.0], [-700.0], [-40.0], [-1e-9], [0.0], [40.0], [800.0]])
    found = z.copy()
    kernels.predict(found, kernels.LOGISTIC)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = np.where(z < 0, np.exp(z) / (1 + np.exp(z)), 1 / (1 + np.exp(-z)))
    np.testing.assert_allclose(found, wanted, rtol=1e-15)
    found = np.array([[1e3, 0.0, -1e3], [-1e3, 0.0, 1e3], [-1e3, -1e3, -1e3]])
    kernels.predict(found, kernels.SOFTMAX)
    np.testing.assert_allclose(found, [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found_wherever_it_stands(wrong, dtype):
    for length in (1, 7, 64, 133):
        values = np.full(length, np.finfo(dtype).max, dtype)  # whose sum overflows
        values[::2] *= -1
        assert kernels.all_finite(values)
        assert kernels.all_finite(np.abs(values))
        for k in range(length):
            damaged = values.copy()
            damaged[k] = wrong
            assert not kernels.all_finite(damaged)
    assert kernels.all_finite(np.zeros(0, dtype))


def test_finite_numbers_with_an_infinite_sum_are_too_large_but_not_infinite():
    X = np.full((6, 2), 1.5e308)
    for given in (X, np.asfortranarray(X), csr_array(X)):
        with pytest.raises(ValueError, match=r"X is too large: its largest entry is 1\.5e\+308 in size"):
            Problem(given, np.zeros(6), "squared", 0.0, False, None, None)


def is_ascending(indices, indptr, p):
    rows = [indices[start:stop].tolist() for start, stop in pairwise(indptr)]
    return all(row == sorted(set(row)) and set(row) <= set(range(p)) for row in rows)


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_column_numbers_ascend_or_not(index):
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(400):
        n, p = rng.integers(1, 5), rng.integers(1, 30)
        X = csr_array(rng.random((n, p)) < rng.random())
        indices, indptr = X.indices.astype(index), X.indptr.astype(np.int64)
        if len(indices) and rng.random() < 0.6:
            indices[rng.integers(len(indices))] = rng.integers(-1, p + 1)
        wanted = is_ascending(indices, indptr, p)
        assert kernels.csr_ascends(indices, indptr, p) == wanted
        seen.add(wanted)
    assert seen == {True, False}


def with_indices(X, indices, indptr=None):
    """X with other column numbers, unseen by SciPy."""
    found = csr_array(X.shape)
    found.data, found.indices, found.indptr = X.data, indices, X.indptr if indptr is None else indptr
    return found


def test_wrong_column_numbers_are_named_in_the_order_they_were():
    X = csr_array(np.ones((3, 5)))
    wide = X.indices.astype(np.int64)
    wide[6] = 2**32 + 1  # 1 in 32 bits, and in place there
    cases = [
        (wide, "column index 4294967297, but 5 columns"),
        (np.array([0, 1, 2, 3, 4, 0, 2, 1, 3, 4, 0, 1, 2, 3, -7]), "column index -7"),  # before the descent
        (np.array([0, 1, 2, 3, 4, 0, 2, 2, 3, 4, 1, 0, 2, 3, 4]), "not ascending in row 1"),  # the first of two
    ]
    for indices, message in cases:
        with pytest.raises(ValueError, match=message):
            fd.run_sgd(with_indices(X, indices), np.zeros(3), step_size=0.1)
    damaged = with_indices(X, np.array([0, 1, 2, 3, 4, 1, 0, 2, 3, 4, 0, 1, 2, 3, 4]))
    damaged.data[0] = np.nan
    with pytest.raises(ValueError, match="not ascending in row 1"):  # before the values
        fd.run_sgd(damaged, np.zeros(3), step_size=0.1)


@pytest.mark.parametrize("index", [np.int16, ">i4", ">i8"])
def test_column_numbers_of_unusual_kinds(index):
    rng = np.random.default_rng(0)
    X = csr_array(rng.standard_normal((9, 4)) * (rng.random((9, 4)) < 0.5))
    y = rng.standard_normal(9)
    options = {"step_size": 0.1, "n_epochs": 2, "order": "sequential", "teacher": np.ones(4), "kd_weight": 0.5}
    unusual = with_indices(X, X.indices.astype(index), X.indptr.astype(index))
    np.testing.assert_array_equal(fd.run_sgd(unusual, y, **options).coef, fd.run_sgd(X, y, **options).coef)
    unusual.indices[0] = 17
    with pytest.raises(ValueError, match="column index 17, but 4 columns"):
        fd.run_sgd(unusual, y, **options)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="Nothing is compiled with NUMBA_DISABLE_JIT=1.")
def test_layouts_and_flags_of_the_input_need_no_compiled_version_of_their_own():
    X, y, _, weight, coef, _ = data("squared")
    options = {"step_size": 1e-3, "n_epochs": 1, "variant": "kd_unbiased", "kd_weight": 0.5, "order": "sequential"}
    teachers = [coef[0].copy(), np.repeat(coef[0], 2)[::2]]
    fixed = y.copy()
    for array in (fixed, teachers[0]):
        array.flags.writeable = False
    wanted = fd.run_sgd(X, y, teacher=teachers[1], sample_weight=weight, **options).coef
    known = ("all_finite", "dense_scores", "dense_teacher", "dense_gradient")
    before = {name: len(getattr(kernels, name).signatures) for name in known}
    for given in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X[::-1][::-1]):
        for teacher in teachers:
            found = fd.run_sgd(given, fixed, teacher=teacher, sample_weight=weight, **options).coef
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert {name: len(getattr(kernels, name).signatures) for name in known} == before
