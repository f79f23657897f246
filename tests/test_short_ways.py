"""Short ways for small problems and usual arguments: the same numbers and the same errors as the long ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastdistill as fd
from fastdistill.base import validation
from fastdistill.spectral import compiled, path
from fastdistill.spectral import students as students_room
from fastdistill.spectral.decompositions import cholesky
from fastdistill.spectral.queries import DesignQueries, KernelQueries
from tests import oracle

XI = np.array([0.5, 1.0, -0.7])


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize(("fit_intercept", "m", "lam"), list(itertools.product((False, True), (1, 2), (0.3, 1e4))))
@pytest.mark.parametrize("shape", [(30, 5), (6, 11)])
def test_chains_of_few_calls(shape, fit_intercept, m, lam, kernel, rng, monkeypatch):
    X, y = rng.standard_normal(shape) + 1.0, rng.standard_normal((shape[0], m)) - 2.0
    weight, data = rng.uniform(0.5, 2.0, len(X)), X @ X.T if kernel else X
    build = fd.Spectrum.from_kernel if kernel else fd.Spectrum.from_design

    def students():
        found = build(data, fit_intercept, weight).path(y, lam, XI)
        return found.dual_coef if kernel else found.coef, found.intercept, found.fitted, found.loo

    short = students()
    monkeypatch.setattr(cholesky, "SMALL", 0)
    for ours, other in zip(short, students(), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-10, atol=1e-12)
    exact = oracle.students(data, y, lam, XI, kernel=kernel, fit_intercept=fit_intercept, sample_weight=weight)
    np.testing.assert_allclose(short[1], exact.intercept, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(short[2], exact.fitted, rtol=1e-9, atol=1e-10)


def test_intercepts_are_predictions_at_zero(rng):
    X, y = rng.standard_normal((40, 3)) + np.array([1e9, 1.0, 0.0]), rng.standard_normal(40)  # a column far from zero
    students = fd.Spectrum.from_design(X, True, rng.uniform(0.5, 1.0, 40), solver="cholesky").path(y, 1.0, XI)
    np.testing.assert_allclose(students.intercept, students.predict(np.zeros((1, 3)))[:, 0], rtol=1e-12)
    none = np.ones((4, 3))
    assert not DesignQueries(3, None).at_origin(none).any()
    assert not KernelQueries(fd.Spectrum.from_kernel(np.eye(3)).frame, None).at_origin(none).any()


@pytest.mark.parametrize("kernel", [False, True])
def test_intercepts_of_few_and_of_many_students(kernel, rng, monkeypatch):
    X, y = rng.standard_normal((20, 3)) + np.array([1e6, 1.0, 0.0]), rng.standard_normal((20, 2))
    build, data = (fd.Spectrum.from_kernel, X[:, 1:] @ X[:, 1:].T) if kernel else (fd.Spectrum.from_design, X)
    students = build(data, True, rng.uniform(0.5, 1.0, 20)).path(y, [0.5, 2.0], XI[:1])
    level = students.predict(np.zeros((1, data.shape[1])))[:, :, 0]
    for most in (0, 8):
        monkeypatch.setattr(students_room, "FEW_COEFFICIENTS", most)
        np.testing.assert_allclose(students.times(1.0).intercept, level, rtol=1e-9)


@pytest.mark.parametrize("solver", ["gram", "cholesky", "krylov", "eigh", "kernel cholesky", "tridiagonal"])
@pytest.mark.parametrize("lam", [1.0, np.geomspace(1.0, 2.0, 5)])
def test_coefficients_may_be_written_to(solver, lam, rng):
    """Rescaled in place, as for columns in other units, they change no other result."""
    X, y = rng.standard_normal((20, 3)) + 2.0, rng.standard_normal((20, 2))
    is_kernel, data = solver in ("eigh", "kernel cholesky", "tridiagonal"), X
    if is_kernel:
        data = X @ X.T + np.eye(20)
    if "cholesky" in solver:
        lam = 1.0
    build = fd.Spectrum.from_kernel if is_kernel else fd.Spectrum.from_design
    spectrum = build(data, True, solver=solver.removeprefix("kernel "))
    students, untouched = spectrum.path(y, lam, XI[:1]), spectrum.path(y, lam, XI[:1])
    coefficients = students.dual_coef if is_kernel else students.coef
    coefficients /= 3.0
    np.testing.assert_array_equal(students.intercept, untouched.intercept)
    np.testing.assert_array_equal(students.predict(data), untouched.predict(data))


def test_a_path_keeps_its_own_schedule(rng):
    X, y, xi = rng.standard_normal((20, 3)), rng.standard_normal(20), XI.copy()
    students = fd.Spectrum.from_design(X).path(y, 1.0, xi)
    xi[:] = 0.0
    y_before = y.copy()
    y[:] = 0.0
    np.testing.assert_array_equal(students.coef, fd.Spectrum.from_design(X).path(y_before, 1.0, XI).coef)


@pytest.mark.parametrize(("lam", "error"), [(np.nan, "NaN"), (-1.0, "at least 0"), (np.inf, "inf"), (1e301, "large")])
def test_penalties_are_checked(lam, error):
    with pytest.raises(ValueError, match=error):
        fd.Spectrum.from_design(np.eye(2)).path([1.0, 2.0], lam, 0.5, n_steps=1)
    with pytest.raises(ValueError, match=error):
        fd.Spectrum.from_design(np.eye(2)).path([1.0, 2.0], np.array(lam), 0.5, n_steps=1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_are_checked(wrong, order):
    X, y = np.ones((4, 3), order=order), np.ones(4)
    X[2, 1] = wrong
    kind = "NaN" if np.isnan(wrong) else "inf"
    with pytest.raises(ValueError, match=f"X contains {kind} at index"):
        fd.Spectrum.from_design(X)
    y[1] = wrong
    with pytest.raises(ValueError, match=f"y contains {kind} at index 1"):
        fd.Spectrum.from_design(np.eye(4)).path(y, 1.0, 0.5, n_steps=1)
    with pytest.raises(ValueError, match=kind):
        fd.Spectrum.from_design(np.eye(4)).path(np.ones(4), 1.0, wrong, n_steps=1)


def test_sums_of_squares_say_what_a_closer_look_would(rng):
    values = [np.ones(3), np.array([1e200, 1.0]), np.array([0.0, 1e-200]), np.array([np.nan]), np.zeros(2)]
    assert [validation.is_ordinary(array) for array in values] == [True, False, False, False, False]
    for array in values[:3]:
        validation.check_finite(array, "X")  # sums that overflow or vanish are of finite numbers
    assert np.isnan(validation.square_sum(rng.standard_normal((4, 6))[:, ::2]))
    assert not validation.is_ordinary(np.ones(3, dtype=np.float32))
    assert not validation.is_ordinary(np.ones(3), 1e300)  # whose square is infinite


@pytest.mark.parametrize("form", range(4))
def test_few_families_are_those_of_the_grid(form, rng, monkeypatch):
    values, lam, xi = rng.uniform(0.1, 2.0, 6), rng.uniform(0.1, 1.0, (3, 3)), rng.standard_normal((3, 2))
    found, expected = np.empty((3, 3, 6)), np.empty((3, 3, 6))
    monkeypatch.setattr(compiled, "FEW_MULTIPLIERS", 0)
    compiled.fill_multipliers(values, lam, xi, form, found)
    monkeypatch.setattr(compiled, "FEW_FAMILIES", 0)
    compiled.fill_multipliers(values, lam, xi, form, expected)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", ["FILTER", "RESIDUAL", "DUAL", "PRIMAL"])
@pytest.mark.parametrize("k", [0, 1, 4])
def test_multipliers_without_the_compiler_have_the_same_digits(form, k, rng):
    values, lam, xi = rng.uniform(0.1, 2.0, 7), rng.uniform(2.0, 3.0, (5, k + 1)), rng.standard_normal((5, k))
    values[2:4], lam[1], lam[2, -1] = (0.0, -0.5 if form != "PRIMAL" else 0.0), 0.0, np.inf
    found, expected = np.empty((5, k + 1, 7)), np.empty((5, k + 1, 7))
    compiled.multipliers(values, lam, xi, getattr(compiled, form), found)
    fd.kernels.student_grid(values, lam, xi, getattr(fd.kernels, form), expected)
    np.testing.assert_array_equal(found, expected)


def test_one_penalty_and_schedule_as_a_family():
    short = path.families(np.array(2.0), XI)
    penalties, weights, axes = path.families(np.array([2.0]), XI)
    np.testing.assert_array_equal(short[0], penalties)
    np.testing.assert_array_equal(short[1], weights)
    assert ((1, *short[2]), short[1] is XI) == (axes, False)
