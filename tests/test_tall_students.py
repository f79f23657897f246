"""Leave-one-out of tall designs in one pass over panels of rows: against refits without each sample, and plain sums."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastdistill as fd
from fastdistill.spectral import leave_one_out as room
from fastdistill.spectral import tall_students
from fastdistill.spectral.decompositions import tall
from tests import oracle

N, P = 75, 5  # two whole panels of 32 samples and a part
PENALTIES = np.array([1e-4, 0.3, 2.0, 40.0, 1e3, 1e6, 1e9])  # an odd number, and more than six


@pytest.fixture
def small_is_tall(monkeypatch):
    """Designs of any size are taken for tall ones whose rows of U are not stored."""
    monkeypatch.setattr(tall, "BLOCK_ENTRIES", 0)
    monkeypatch.setattr(tall, "STORED_ENTRIES", 0)


def problem(kind, rng):
    X, y = rng.standard_normal((N, P)) * np.logspace(0.3, -0.3, P) + 1.5, rng.standard_normal(N) + 3.0
    if kind == "noiseless":
        y = X @ rng.standard_normal(P)
    elif kind == "one direction":
        y = X[:, 0] + 1e-3 * y
    elif kind == "high leverage":
        X[40], y[40] = 40.0, 60.0
    elif kind == "alone":  # in its direction: of leverage 1 at λ = 0
        X[:, 2] = 0.0
        X[70, 2] = 3.0
    elif kind == "columns first":
        X = np.asfortranarray(X)
    elif kind == "single column":
        X = np.ascontiguousarray(X[:, :1])
    return X, y


KINDS = ("noise", "noiseless", "one direction", "high leverage", "alone", "columns first", "single column")


def exact_columns(X, y, lam, fit_intercept):
    """[loo_0, loo_1, loo_2, y] (n, 4) of pure steps, centred as the package has them."""
    loo = oracle.leave_one_out(X, y[:, None], lam, np.ones(2), kernel=False, fit_intercept=fit_intercept)[:, :, 0]
    return np.vstack([loo, y]).T - y.mean() * fit_intercept


@pytest.mark.parametrize(("kind", "fit_intercept"), list(product(KINDS, (False, True))))
def test_factors_are_those_of_refits_without_each_sample(kind, fit_intercept, rng, small_is_tall):
    X, y = problem(kind, rng)
    spectrum = fd.Spectrum.from_design(X, fit_intercept=fit_intercept)
    path = spectrum.path(y, PENALTIES, np.ones(2))
    assert tall_students.is_served(spectrum.coordinates, path.rotated, path.family_weights)
    found = room.leave_one_out_factors(spectrum.coordinates, path.rotated, path.lam, path.family_weights)
    np.testing.assert_array_equal(found, np.triu(found))
    for factor, lam in zip(found, PENALTIES, strict=True):
        columns = exact_columns(X, y, lam, fit_intercept)
        # predictions at a huge penalty are rounding errors of y
        sizes = np.linalg.norm(columns, axis=0) + 1e-4 * np.linalg.norm(y)
        ours, exact = factor.T @ factor / sizes / sizes[:, None], columns.T @ columns / sizes / sizes[:, None]
        assert_allclose(ours, exact, atol=1e-10)


@pytest.mark.parametrize("kind", ["noise", "one direction", "columns first"])
def test_all_digits_without_another_way(kind, rng, small_is_tall):
    """Also of what a further step adds to those before, where they nearly are the same; in two passes for some."""
    X, y = problem(kind, rng)
    spectrum = fd.Spectrum.from_design(X)
    path = spectrum.path(y, PENALTIES[1:], np.ones(2))
    found, is_valid = tall_students.two_step_factors(spectrum.coordinates, path.rotated, path.lam)
    assert is_valid.all()
    wanted = room._factors(spectrum.coordinates, path.rotated, path.lam, path.family_weights)
    diagonal = np.abs(wanted.diagonal(axis1=1, axis2=2))[:, :, None]
    assert_allclose(np.abs(found) / diagonal, np.abs(wanted) / diagonal, rtol=1e-8, atol=1e-10)


def test_a_second_pass_where_the_columns_were_not_orthogonal(rng, small_is_tall, monkeypatch):
    """Without a first guess the products of the columns themselves have lost half of their digits."""
    X, y = problem("noise", rng)
    spectrum = fd.Spectrum.from_design(X)
    path = spectrum.path(y, [2.0, 40.0, 300.0], np.ones(2))
    wanted = room._factors(spectrum.coordinates, path.rotated, path.lam, path.family_weights)
    monkeypatch.setattr(tall_students, "_turns", lambda fits, *_: np.tile(np.eye(4), (len(fits), 1, 1)))
    found, is_valid = tall_students.two_step_factors(spectrum.coordinates, path.rotated, path.lam)
    assert is_valid.all()
    sizes = wanted.diagonal(axis1=1, axis2=2)
    assert_allclose(found.diagonal(axis1=1, axis2=2) / sizes, 1.0, rtol=2e-11)


def test_directions_of_many_eigenvalues_and_penalties(rng, small_is_tall):
    """Fewer directions than eigenvalues, to the last digit of each student, small or not."""
    X = np.linalg.qr(rng.standard_normal((200, 24)))[0] * np.linspace(8.0, 10.0, 24)
    y, lam = X @ rng.standard_normal(24) + rng.standard_normal(200), np.logspace(0, 3, 40)
    spectrum = fd.Spectrum.from_design(X, fit_intercept=True)
    path, ridge = spectrum.path(y, lam, np.ones(2)), spectrum.path(y, lam, ())
    multipliers = (spectrum.d / (spectrum.d + lam[:, None]))[:, None] ** np.arange(1, 4)[:, None] * path.rotated.z[:, 0]
    directions, coefficients = tall_students._in_directions(multipliers)
    assert len(directions) < 12
    error = np.linalg.norm(coefficients @ directions - multipliers, axis=2) / np.linalg.norm(multipliers, axis=2)
    assert error.max() <= 1e-14
    found, is_valid = tall_students.two_step_factors(spectrum.coordinates, path.rotated, path.lam)
    assert is_valid.all()
    wanted = room._factors(spectrum.coordinates, path.rotated, path.lam, path.family_weights)
    assert_allclose(found.swapaxes(1, 2) @ found, wanted.swapaxes(1, 2) @ wanted, rtol=1e-13, atol=1e-12)
    _, squares = tall_students.ridge_left_out(spectrum.coordinates, ridge.rotated, lam, stored=False)
    assert_allclose(squares, np.square(y - ridge.loo[:, 0]).sum(axis=1), rtol=1e-13)


def test_the_norm_of_what_is_outside_the_span(rng, small_is_tall):
    """By a difference only where that keeps 12 digits: not along the weakest direction of an uneven design."""
    basis = np.linalg.qr(rng.standard_normal((200, 7)))[0]
    cases = ((0.5, basis[:, 0], True), (5e-3, basis[:, 5], False), (0.5, 300.0 * basis[:, 0], False))
    for weakest, along, is_difference in cases:
        turned = np.linalg.qr(rng.standard_normal((6, 6)))[0]
        X = basis[:, :6] * np.append(np.ones(5), weakest) @ turned
        y = basis[:, 6] + 3.0 * along
        rotated = fd.Spectrum.from_design(X).path(y, 1.0, ()).rotated
        assert callable(rotated.left) == is_difference
        q = np.linalg.qr(X)[0]
        left = y - q @ (q.T @ y)
        assert_allclose(rotated.outside, left @ left, rtol=2e-12)
        assert_allclose(rotated.outside_part[:, 0], left, atol=1e-11)


def test_samples_of_leverage_one_are_left_to_another_way(rng, small_is_tall):
    X, y = problem("alone", rng)
    spectrum = fd.Spectrum.from_design(X)
    path = spectrum.path(y, [1e-4, 30.0], np.ones(2))
    _, is_valid = tall_students.two_step_factors(spectrum.coordinates, path.rotated, path.lam)
    assert is_valid.tolist() == [False, True]
    assert tall_students.ridge_left_out(spectrum.coordinates, path.rotated, path.lam, stored=True) is None


def test_designs_of_many_columns_are_left_to_another_way(rng, small_is_tall, monkeypatch):
    X, y = problem("noise", rng)
    path = fd.Spectrum.from_design(X).path(y, PENALTIES, np.ones(2))
    arguments = path.spectrum.coordinates, path.rotated
    assert tall_students.is_served(*arguments, path.family_weights)
    assert tall_students.ridge_left_out(*arguments, path.lam, stored=False) is not None
    monkeypatch.setattr(tall_students, "MOST_COLUMNS", P - 1)
    assert not tall_students.is_served(*arguments, path.family_weights)
    assert tall_students.ridge_left_out(*arguments, path.lam, stored=False) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("uneven", [0.0, 1.2])
@pytest.mark.parametrize("lam", [1e40, 1e55, 1e56, 1e60, 1e80, 1e110, 1e200])
def test_students_whose_squares_underflow_are_those_of_another_decomposition(lam, uneven, rng, small_is_tall):
    X, y = rng.standard_normal((N, P)) * np.logspace(-uneven, uneven, P), rng.standard_normal(N) + 3.0
    ours, other = (fd.Spectrum.from_design(X, solver=solver) for solver in ("auto", "svd"))
    found, wanted = (fd.tune(spectrum, y, lam, strategy="joint").scores for spectrum in (ours, other))
    assert_allclose(found, wanted, rtol=1e-9)


@pytest.mark.parametrize(("kind", "fit_intercept"), list(product(KINDS, (False, True))))
def test_residuals_of_ridge_are_those_of_refits_without_each_sample(kind, fit_intercept, rng, small_is_tall):
    X, y = problem(kind, rng)
    penalties = np.append(PENALTIES, 0.0)
    spectrum = fd.Spectrum.from_design(X, fit_intercept=fit_intercept)
    path = spectrum.path(y, penalties, ())
    exact = np.array(
        [
            y
            - oracle.leave_one_out(X, y[:, None], lam, np.empty(0), kernel=False, fit_intercept=fit_intercept)[0, :, 0]
            for lam in penalties
        ]
    )
    if kind == "noiseless":  # residuals of their own size, however small: those at λ = 0 are rounding errors
        exact, path = exact[1:-1], spectrum.path(y, PENALTIES[1:], ())
    ((targets, found, sums),) = room.ridge_left_out(spectrum.coordinates, path.rotated, path.lam)
    assert targets == slice(0, 1)
    sizes = np.linalg.norm(exact, axis=1)
    assert_allclose(found[0] / sizes[:, None], exact / sizes[:, None], atol=1e-9)
    assert_allclose(sums[0], sizes**2, rtol=1e-9)
    squares = room.ridge_left_out_squares(spectrum.coordinates, path.rotated, path.lam)
    assert_allclose(squares[:, 0], sizes**2, rtol=1e-9)
    served = tall_students.ridge_left_out(spectrum.coordinates, path.rotated, path.lam, stored=True)
    assert served is None if kind == "alone" else served is not None or kind == "high leverage"


@pytest.mark.parametrize("strategy", ["joint", "greedy", "safe"])
def test_tuning_is_that_of_another_decomposition(strategy, rng, small_is_tall):
    X, y = problem("noise", rng)
    ours, other = (fd.Spectrum.from_design(X, fit_intercept=True, solver=solver) for solver in ("auto", "svd"))
    found, wanted = (fd.tune(spectrum, y, PENALTIES, strategy=strategy) for spectrum in (ours, other))
    assert (ours.method, other.method) == ("gram", "svd")
    assert found.lam == wanted.lam
    assert_allclose(found.scores[:-2], wanted.scores[:-2], rtol=1e-9)  # the last two: of students that are nearly 0
    assert_allclose(found.xi, wanted.xi, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n", [31, 128, 300])
@pytest.mark.parametrize("p", [16, 33, 70])
@pytest.mark.parametrize("order", ["C", "F"])
def test_centred_products(n, p, order, rng):
    X, shift = np.asarray(rng.standard_normal((n, p)) + 3.0, order=order), rng.standard_normal(p)
    gram, total = np.zeros((p, p)), np.ones(p)
    fd.kernels.add_centred_products(X, shift, gram, total)
    assert_allclose(gram, (X - shift).T @ (X - shift), rtol=1e-13, atol=1e-11)
    assert_allclose(total, 1.0 + (X - shift).sum(axis=0), rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("kind", ["near", "far", "sorted", "columns first"])
def test_a_design_of_more_columns_is_decomposed_as_by_an_svd(kind, rng, small_is_tall):
    X = rng.standard_normal((9000, 17))
    if kind == "far":
        X += 1e5
    elif kind == "sorted":  # the first rows say nothing of the means
        X[:, 0] *= 30.0
        X = X[X[:, 0].argsort()]
    elif kind == "columns first":
        X = np.asfortranarray(X)
    found = tall.decompose_tall(X, True)
    centred = X - X.mean(axis=0)
    s = np.linalg.svd(centred - centred.mean(axis=0), compute_uv=False)
    assert_allclose(found.d, s**2, rtol=1e-11)
    assert_allclose(found.rows.centre, X.mean(axis=0), rtol=1e-13, atol=1e-14)
