"""One small problem in one's own compiled loop: the kernel and its examples equal scikit-learn's refits."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from fastdistill import kernels
from fastdistill.kernels import ridge_students, ridge_workspace

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
XI = np.array([1.0, 0.5, -0.7])
is_compiled = not numba.config.DISABLE_JIT


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refits(X, y, lam, xi, fit_intercept, weight):
    """Coefficients (k+1, p) and intercepts (k+1,) by one fit after the other."""
    targets, found = y, []
    for step in [*xi, 0.0]:
        model = Ridge(lam, fit_intercept=fit_intercept, solver="svd").fit(X, targets, weight)
        found.append((model.coef_, model.intercept_))
        targets = (1.0 - step) * y + step * model.predict(X)
    return tuple(np.array(part) for part in zip(*found, strict=True))


def students(X, y, lam, xi, fit_intercept, weight=None):
    """Those of the kernel, and its status; memory of the caller that is full of NaN before."""
    p = X.shape[1]
    coef, intercept, work = (np.full(shape, np.nan) for shape in ((len(xi) + 1, p), len(xi) + 1, ridge_workspace(p)))
    weight = np.empty(0) if weight is None else weight
    return coef, intercept, ridge_students(X, y, weight, lam, xi, fit_intercept, coef, intercept, work)


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("n", "p"), [(64, 8), (20, 1), (5, 9), (2, 2), (1, 3)])
def test_equals_refits(n, p, fit_intercept, weighted, k, rng):
    X, y = rng.standard_normal((n, p)) + 1.0, rng.standard_normal(n) - 2.0
    weight = np.where(np.arange(n) % 4 == 1, 0.0, rng.uniform(0.5, 2.0, n)) if weighted else None
    coef, intercept, status = students(X, y, 0.7, XI[:k], fit_intercept, weight)
    expected, level = refits(X, y, 0.7, XI[:k], fit_intercept, weight)
    assert status == kernels.ACCURATE
    np.testing.assert_allclose(coef, expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(intercept, level, rtol=1e-9, atol=1e-10)


def test_tells_where_the_gram_matrix_is_not_enough(rng):
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    close = np.column_stack([X, X[:, 0] + 1e-4 * rng.standard_normal(30)])
    coef, _, status = students(close, y, 0.0, XI, True)
    assert status == kernels.ILL_CONDITIONED
    np.testing.assert_allclose(coef[0], np.linalg.lstsq(close - close.mean(0), y - y.mean(), rcond=None)[0], rtol=1e-5)
    with np.errstate(all="ignore"):  # of the kernel without the compiler
        for singular, lam in ((np.zeros((30, 2)), 0.0), (X[:2], 0.0), (np.where(X > 1.0, np.inf, X), 1.0)):
            coef, _, status = students(singular, y[: len(singular)], lam, XI, True)
            assert status == kernels.SINGULAR
            assert np.isnan(coef).all()
    assert students(X[:2], y[:2], 0.1, XI, True)[2] == kernels.ACCURATE


def test_equals_the_kernel_of_many_problems(rng):
    X, y = rng.standard_normal((2, 20, 4)), rng.standard_normal((2, 20, 1))
    coef, intercept, inflation = np.empty((2, 4, 4, 1)), np.empty((2, 4, 1)), np.empty(2)
    kernels.batched_students(X, y, np.ones((1, 20)), np.full(2, 0.3), XI[None], True, coef, intercept, inflation)
    for i in range(2):
        found = students(X[i], y[i, :, 0], 0.3, XI, True)
        np.testing.assert_array_equal(found[0], coef[i, :, :, 0])
        np.testing.assert_array_equal(found[1], intercept[i, :, 0])


@numba.njit
def mean_error(X, y, xi, coef, intercept, work):
    """Of the last student, over problems: a loop of one's own."""
    total = 0.0
    for i in range(X.shape[0]):
        ridge_students(X[i], y[i], np.empty(0), 1.0, xi, True, coef, intercept, work)
        for n in range(X.shape[1]):
            fit = intercept[-1]
            for j in range(X.shape[2]):
                fit += X[i, n, j] * coef[-1, j]
            total += (y[i, n] - fit) ** 2
    return total / y.size


def test_serves_compiled_code_of_others(rng):
    X, y = rng.standard_normal((3, 20, 4)), rng.standard_normal((3, 20))
    found = mean_error(X, y, XI, np.empty((4, 4)), np.empty(4), np.empty(ridge_workspace(4)))
    errors = []
    for rows, targets in zip(X, y, strict=True):
        coef, intercept = refits(rows, targets, 1.0, XI, True, None)
        errors.append(np.square(targets - rows @ coef[-1] - intercept[-1]).mean())
    assert found == pytest.approx(np.mean(errors), rel=1e-10)


@pytest.mark.skipif(not is_compiled, reason="numba is switched off: there is no compiled function to call from C")
@pytest.mark.skipif(sys.platform == "win32", reason="the example builds a shared library as Unix does")
def test_example_in_c(tmp_path, rng):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler was found")
    module = example("ridge_in_c")
    X, y = rng.standard_normal((5, 12, 3)), rng.standard_normal((5, 12))
    coef, intercept, status = module.fit_problems(module.compile_library(compiler, tmp_path), X, y, 0.5, XI)
    assert status == kernels.ACCURATE
    for i in range(len(X)):
        expected = refits(X[i], y[i], 0.5, XI, True, None)
        np.testing.assert_allclose(coef[i], expected[0], rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(intercept[i], expected[1], rtol=1e-9, atol=1e-10)
    assert module.fit_problems(module.compile_library(compiler, tmp_path), 0 * X, y, 0.0, XI)[2] == kernels.SINGULAR


def test_example_of_many_problems():
    module = example("many_problems")
    mean, error = module.simulate(300, chunk=128)
    rng, errors = np.random.default_rng(0), []
    for size in (128, 128, 44):
        for X, y, truth in zip(*module.draw(rng, size), strict=True):
            coef, _ = refits(X, y, module.LAM, module.XI, False, None)
            errors.append(np.square(coef - truth).sum(axis=1))
    np.testing.assert_allclose(mean, np.mean(errors, axis=0), rtol=1e-9)
    np.testing.assert_allclose(error, np.std(errors, axis=0) / np.sqrt(300), rtol=1e-7)
