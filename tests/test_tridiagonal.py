"""The tridiagonal form against eigendecompositions of the scaled problem and refits, both written out here."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import fastdistill as fd
from fastdistill.spectral.decompositions import reduction, tridiagonal
from fastdistill.spectral.decompositions.tridiagonal import Tridiagonal
from tests import oracle
from tests.test_cholesky import IDS, TABLE, filters, relative, scaled_problem, spectrum_of

XI = np.array([[0.5, -1.2, 3.0], [0.0, 1.0, 0.4], [1.0, 1.0, 1.0]])
TOLERANCE = 1e-11


def make(data, scaled, **options):
    return Tridiagonal.of_design(scaled) if data == "design" else Tridiagonal(scaled, **options)


def families(d):
    """Every penalty with every schedule; equal penalties side by side."""
    lam = d.max() * np.array([1e-3, 0.2, 50.0, 1e5])
    pairs = list(product(lam, XI))
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


@pytest.mark.parametrize(("cell", "case"), list(enumerate(TABLE)), ids=IDS)
def test_equals_an_eigendecomposition(cell, case, rng, monkeypatch):
    monkeypatch.setattr(reduction, "LEAST_SIDE", (10_000, 2)[cell // 4 % 2])  # in one stage, and in two
    data, *problem = case
    *_, scaled, y_s = scaled_problem(data, *problem, rng, m=(1, 2, 9, 17)[cell % 4])
    d, U = spectrum_of(data, scaled)
    lam, xi = families(d)
    solver = make(data, scaled)
    f = np.array([filters(d, *family) for family in zip(lam, xi, strict=True)])
    exact = U @ (f[..., None] * (U.T @ y_s))
    solved = solver.students(y_s, lam, xi)
    through = scaled @ solved.coefficients
    residuals = U @ ((1 - f)[..., None] * (U.T @ y_s))
    misfits = solver.misfits(y_s, lam, xi)
    for p, t in product(range(f.shape[0]), range(f.shape[1])):  # each student on its own: some are small
        assert relative(solved.fits[p, t], exact[p, t]) < TOLERANCE
        assert relative(through[p, t], exact[p, t]) < TOLERANCE
        assert relative(misfits[p, t], (residuals[p, t] ** 2).sum(axis=0)) < TOLERANCE
    assert relative(solver.traces(lam, xi), f.sum(axis=2)) < TOLERANCE
    assert relative(solver.remaining(lam, xi), (1 - f).sum(axis=2)) < TOLERANCE
    size = min(scaled.shape)
    assert np.abs(solver.eigenvalues() - np.sort(d)[::-1][:size]).max() < 1e-13 * d.max()


def rbf_problem(rng, n, m=1, gamma=0.5):
    X = rng.standard_normal((n, 2))
    return oracle.rbf(X, X, gamma), rng.standard_normal((n, m))


@pytest.mark.parametrize("regime", ["tall", "wide"])
def test_what_memory_holds_does_not_matter(regime, rng, monkeypatch):
    """Reflectors are read with one entry too many: 0 times NaN would be NaN."""
    *_, scaled, y_s = scaled_problem("design", regime, False, "none", rng)
    lam, xi = families(np.array([30.0]))
    exact = Tridiagonal.of_design(scaled).students(y_s, lam, xi)
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, np.nan, dtype=dtype))
    ours = Tridiagonal.of_design(scaled).students(y_s, lam, xi)
    np.testing.assert_array_equal(ours.fits, exact.fits)
    np.testing.assert_array_equal(ours.coefficients, exact.coefficients)


@pytest.mark.parametrize("directions", [3, 128])
def test_many_students_go_back_through_few_directions(directions, rng, monkeypatch):
    """As many as needed, or, where they are too few, all students themselves."""
    K, y = rbf_problem(rng, 150, m=2)
    y[:, 1] *= 1e-9
    lam = np.repeat(np.geomspace(1e-3, 1e3, 40), 2)
    xi = rng.uniform(-1, 2, (80, 6))
    solver = Tridiagonal(K)
    monkeypatch.setattr(tridiagonal, "WORTH_COMPRESSING", np.inf)
    exact = solver.students(y, lam, xi)
    monkeypatch.setattr(tridiagonal, "WORTH_COMPRESSING", 4)
    monkeypatch.setattr(tridiagonal, "DIRECTIONS", directions)
    ours = solver.students(y, lam, xi)
    for mine, theirs in ((ours.fits, exact.fits), (ours.coefficients, exact.coefficients)):
        error = np.linalg.norm(mine - theirs, axis=2) / np.linalg.norm(theirs, axis=2)
        assert error.max() < 1e-12
        assert (error.max() == 0) == (directions == 3)


def test_targets_that_are_zero_and_many_students(rng):
    K, y = rbf_problem(rng, 140, m=2)
    y[:, 0] = 0.0
    solved = Tridiagonal(K).students(y, np.geomspace(0.1, 1, 600), np.empty((600, 0)))
    assert not solved.fits[..., 0].any()
    assert np.isfinite(solved.fits).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_kernels(n, rng):
    K, y = rbf_problem(rng, n, m=2)
    d, U = np.linalg.eigh(K)
    lam, xi = families(d)
    solver = Tridiagonal(K)
    f = np.array([filters(d, *family) for family in zip(lam, xi, strict=True)])
    assert relative(solver.students(y, lam, xi).fits, U @ (f[..., None] * (U.T @ y))) < TOLERANCE
    assert relative(solver.traces(lam, xi), f.sum(axis=2)) < TOLERANCE


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_layouts_and_overwriting(order, overwrite, rng):
    K, y = rbf_problem(rng, 30, m=2)
    given = np.zeros((60, 60))[::2, ::2] if order == "strided" else np.empty_like(K, order=order)
    given[:] = K
    lam, xi = families(np.ones(1))
    ours = Tridiagonal(given, overwrite=overwrite).students(np.asfortranarray(y), lam, xi[:, ::-1])
    exact = Tridiagonal(K).students(y, lam, np.ascontiguousarray(xi[:, ::-1]))
    np.testing.assert_allclose(ours.fits, exact.fits, rtol=1e-12, atol=1e-15)
    assert np.array_equal(given, K) != (overwrite and order != "strided")


def test_penalties_in_any_order(rng):
    """A factor is kept for the next family only if that has the same penalty."""
    K, y = rbf_problem(rng, 20)
    lam = np.array([0.1, 2.0, 0.1, 0.1, 30.0, 2.0])
    xi = rng.uniform(-1, 2, (6, 2))
    together = Tridiagonal(K).students(y, lam, xi).fits
    for i in range(6):
        np.testing.assert_allclose(
            together[i], Tridiagonal(K).students(y, lam[i : i + 1], xi[i : i + 1]).fits[0], rtol=1e-12, atol=1e-14
        )


def test_misfits_of_a_design_in_blocks(rng, monkeypatch):
    *_, scaled, y_s = scaled_problem("design", "tall", True, "random", rng)
    lam, xi = families(np.ones(1))
    solver = Tridiagonal.of_design(scaled)
    whole = solver.misfits(y_s, lam, xi)
    monkeypatch.setattr(tridiagonal, "BLOCK_ENTRIES", 1)
    np.testing.assert_allclose(solver.misfits(y_s, lam, xi), whole, rtol=1e-13)


@pytest.mark.parametrize("lam", [0.0, -1.0, np.inf, np.nan])
@pytest.mark.parametrize("ask", ["students", "misfits"])
def test_penalties_without_a_solve(lam, ask, rng):
    K, y = rbf_problem(rng, 6)
    with pytest.raises(ValueError, match="positive, finite penalties; lam = 0 takes an eigendecomposition"):
        getattr(Tridiagonal(K), ask)(y, np.array([1.0, lam]), np.ones((2, 1)))


def test_indefinite(rng):
    solver = Tridiagonal(np.diag([1.0, 2.0, -0.5, 3.0]))
    with pytest.raises(np.linalg.LinAlgError, match=r"lam = 0\.1 is not positive definite"):
        solver.students(np.ones((4, 1)), np.array([0.6, 0.1]), np.ones((2, 1)))


def test_where_an_eigendecomposition_is_due(rng):
    X = rng.standard_normal((40, 5))
    X[:, 0] *= 1e-4
    penalties = np.array([1e-13, 1e-9, 0.1, 1e5])
    assert Tridiagonal.of_design(X).accurate(penalties).tolist() == [False, False, True, True]
    assert Tridiagonal(X @ X.T).accurate(penalties).tolist() == [False, False, True, True]
    assert Tridiagonal(X @ X.T + np.eye(40)).accurate(penalties).all()


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("smallest", "is_refused"), [(-1e-3, True), (-1e-6, True), (-3e-9, False)])
def test_the_form_tells_whether_a_kernel_is_definite(smallest, is_refused, fit_intercept, rng):
    U = np.linalg.qr(np.column_stack([np.ones(40), rng.standard_normal((40, 39))]))[0]
    K = U @ np.diag([0.5, smallest, *np.linspace(0.1, 1.0, 38)]) @ U.T
    K = (K + K.T) / 2
    before = K.copy()
    if is_refused:
        with pytest.raises(ValueError, match="K must be positive semi-definite: its smallest eigenvalue is -"):
            fd.Spectrum.from_kernel(K, fit_intercept, solver="tridiagonal")
    else:
        path = fd.Spectrum.from_kernel(K, fit_intercept, solver="tridiagonal").path(K[0], 0.1, [0.5])
        exact = fd.Spectrum.from_kernel(K, fit_intercept, solver="eigh").path(K[0], 0.1, [0.5])
        np.testing.assert_allclose(path.fitted, exact.fitted, atol=1e-8)
    np.testing.assert_array_equal(K, before)


@pytest.mark.parametrize("least_side", [10_000, 2])
def test_errors_after_fits_and_before(least_side, rng, monkeypatch):
    """The same numbers, whether they came with the fits or alone; in one stage and in two."""
    monkeypatch.setattr(reduction, "LEAST_SIDE", least_side)
    K, y = rbf_problem(rng, 60)
    after, before = (fd.Spectrum.from_kernel(K, solver="tridiagonal").path(y, [0.1, 1.0], XI[0]) for _ in range(2))
    _ = after.fitted
    np.testing.assert_array_equal(after.gcv, before.gcv)
    exact = fd.Spectrum.from_kernel(K, solver="eigh").path(y, [0.1, 1.0], XI[0])
    np.testing.assert_allclose(after.gcv, exact.gcv, rtol=1e-10)
    np.testing.assert_allclose(after.fitted, exact.fitted, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(after.dual_coef, exact.dual_coef, rtol=1e-9, atol=1e-10)
