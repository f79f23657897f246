"""Exact leave-one-out of every student against refitting without each sample."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp

import fastdistill as fd
from fastdistill.spectral import leave_one_out as room
from tests import oracle
from tests.test_path import make_rows, make_spectrum

SCHEDULES = (np.empty(0), np.ones(3), np.array([-1.5, 2.5]), np.array([0.3, 0.7, 4.0]))
TABLE = list(product(("design", "kernel"), oracle.REGIMES, (False, True), oracle.WEIGHTS))


def relative(ours, exact):
    return np.abs(ours - exact).max() / max(np.abs(exact).max(), 1e-300)


def problem_of(cell, case, rng):
    """Rows, two targets, weights, the spectra of the rows in both forms (or of the kernel), and the largest d."""
    data, regime, fit_intercept, kind = case
    has_zeros = data == "design" and (cell + cell // 4 + cell // 8) % 2
    rows, _ = make_rows("sparse" if has_zeros else data, regime, rng)
    y = rng.standard_normal((len(rows), 2)) + 1.5
    w = oracle.weights(kind, len(rows), rng)
    forms = ["kernel"] if data == "kernel" else ["design", "sparse"]
    spectra = [make_spectrum(form, rows, fit_intercept=fit_intercept, sample_weight=w) for form in forms]
    top = spectra[0].d[0] if spectra[0].rank else 1.0
    return rows, y, w, spectra, top


@pytest.mark.parametrize(("cell", "case"), list(enumerate(TABLE)), ids=["-".join(map(str, c)) for c in TABLE])
def test_equals_refitting_without_each_sample(cell, case, rng):
    """A design in both its forms, every other one with zeros, and a kernel."""
    rows, y, w, spectra, top = problem_of(cell, case, rng)
    data, _, fit_intercept, _ = case
    xi = SCHEDULES[cell % 4]
    paths = [spectrum.path(y, top * np.array([1e-3, 0.1, 10.0]), xi) for spectrum in spectra]
    for i, lam in enumerate(paths[0].lam):
        exact = oracle.leave_one_out(
            rows, y, lam, xi, kernel=data == "kernel", fit_intercept=fit_intercept, sample_weight=w
        )
        mse = np.average((y - exact) ** 2, axis=1, weights=np.ones(len(y)) if w is None else w)
        for path in paths:
            assert relative(path.loo[i], exact) <= 1e-9
            np.testing.assert_allclose(path.loo_mse[i], mse, rtol=1e-8)


def test_axes_and_blocks_of_rows(rng, monkeypatch):
    X, y = rng.standard_normal((11, 4)), rng.standard_normal(11)
    spectrum = fd.Spectrum.from_design(sp.csr_array(X), fit_intercept=True)
    lam, xi = [0.5, 2.0], [[0.5, 1.0], [1.0, -1.0], [0.0, 2.0]]
    whole = spectrum.path(y, lam, xi)
    monkeypatch.setattr(room, "BLOCK_ENTRIES", 40)
    blocks = spectrum.path(y, lam, xi)
    assert blocks.loo.shape == (2, 3, 3, 11)
    assert blocks.loo_mse.shape == (2, 3, 3)
    # BLAS adds up products of another shape in another order
    assert relative(blocks.loo, whole.loo) <= 1e-13
    np.testing.assert_allclose(blocks.loo_mse, whole.loo_mse, rtol=1e-13)
    assert relative(spectrum.path(y, 2.0, xi[1]).loo, whole.loo[1, 1]) <= 1e-13


@pytest.mark.parametrize("xi", [-0.5, 0.0, 0.5, 1.0])
def test_of_the_limit_is_the_limit_of_the_students(xi, rng):
    X, y = rng.standard_normal((9, 4)), rng.standard_normal(9)
    spectrum = fd.Spectrum.from_design(X, fit_intercept=True)
    limit = spectrum.limit(y, [8.0, 30.0], xi)
    students = spectrum.path(y, [8.0, 30.0], xi, n_steps=150)
    np.testing.assert_allclose(limit.loo, students.loo[:, -1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(limit.loo_mse, students.loo_mse[:, -1], rtol=1e-9)


@pytest.mark.parametrize("lam", [1e-14, 1e-10, 1e-6])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_tiny_penalties_do_not_cancel(lam, fit_intercept, rng):
    """n < p: 1 − h and the residual are of order lam, and their ratio is not."""
    X, y = rng.standard_normal((6, 15)), rng.standard_normal((6, 1))
    path = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, lam, [1.0, 0.5])
    exact = oracle.leave_one_out(X, y, lam, np.array([1.0, 0.5]), kernel=False, fit_intercept=fit_intercept)
    assert relative(path.loo, exact) <= 1e-9


@pytest.mark.parametrize("shape", [(6, 15), (12, 4)])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_no_penalty_is_the_least_norm_refit(shape, fit_intercept, rng):
    X, y = rng.standard_normal(shape), rng.standard_normal((shape[0], 1))
    path = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, 0.0, [1.0, 0.5])
    exact = oracle.leave_one_out(X, y, 0.0, np.array([1.0, 0.5]), kernel=False, fit_intercept=fit_intercept)
    assert relative(path.loo, exact) <= 1e-9


@pytest.mark.parametrize("lam", [0.0, 1e-12, 1e-3])
def test_a_sample_alone_in_its_direction(lam, rng):
    """Its leverage is one without a penalty; left out, nothing is known of that direction."""
    X = np.zeros((8, 4))
    X[:7, :3] = rng.standard_normal((7, 3))
    X[7, 3] = 2.0
    y = rng.standard_normal((8, 1))
    path = fd.Spectrum.from_design(X).path(y, lam, [0.5, 2.0])
    exact = oracle.leave_one_out(X, y, lam, np.array([0.5, 2.0]), kernel=False)
    np.testing.assert_allclose(path.loo, exact, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(path.loo[:, 7], 0.0, atol=1e-9)


def test_weights_over_many_orders_of_magnitude(rng):
    X, y = rng.standard_normal((14, 3)), rng.standard_normal((14, 1))
    w = np.logspace(-10, 4, 14)
    path = fd.Spectrum.from_design(X, fit_intercept=True, sample_weight=w).path(y, 1e-3, [0.5, 2.0])
    exact = oracle.leave_one_out(X, y, 1e-3, np.array([0.5, 2.0]), kernel=False, fit_intercept=True, sample_weight=w)
    assert relative(path.loo, exact) <= 1e-9


def test_a_single_sample_leaves_nothing_to_predict_from():
    path = fd.Spectrum.from_design([[1.0]], fit_intercept=True).path([3.0], 1.0, 0.5, n_steps=1)
    assert np.isnan(path.loo).all()
    assert np.isnan(path.loo_mse).all()


def test_targets_do_not_mix(rng):
    X, Y = rng.standard_normal((10, 3)), rng.standard_normal((10, 3))
    spectrum = fd.Spectrum.from_design(X)
    together = spectrum.path(Y, [0.1, 1.0], [0.5, 1.0]).loo
    for j in range(3):
        np.testing.assert_allclose(together[..., j], spectrum.path(Y[:, j], [0.1, 1.0], [0.5, 1.0]).loo, rtol=1e-12)


CASES = list(product((False, True), ("none", "random", "some_zero"), (1, 3)))


def grams_of(path):
    """Products of √w [loo_0 .. loo_k y], the targets one below the other, for each penalty: (L, k+2, k+2)."""
    grams = np.zeros((len(path.lam), path.n_steps + 2, path.n_steps + 2))
    for family, rows, block in room.leave_one_out_blocks(
        path.spectrum.coordinates, path.rotated, path.lam, path.family_weights
    ):
        columns = np.concatenate([block, rows.y[None]]) * np.sqrt(rows.weight)[:, None]
        grams[family] += np.einsum("aij,bij->ab", columns, columns)
    return grams


@pytest.mark.parametrize(("fit_intercept", "kind", "m"), CASES)
@pytest.mark.parametrize("threshold", [0.0, 1 / 64, 0.5, 2.0])
def test_factors_are_those_of_the_predictions(fit_intercept, kind, m, threshold, rng, monkeypatch):
    """By either way to subtract, and where one penalty takes the one and another penalty the other."""
    X, y = rng.standard_normal((30, 4)), rng.standard_normal((30, m)) + 2.0
    w = oracle.weights(kind, 30, rng)
    spectrum = fd.Spectrum.from_design(X, fit_intercept=fit_intercept, sample_weight=w)
    path = spectrum.path(y, [1e-3, 1.0, 30.0, 1e3], np.ones(2))
    wanted, loo = grams_of(path), path.loo
    monkeypatch.setattr(room, "NEAR_INTERPOLATION", threshold)
    monkeypatch.setattr(room, "BLOCK_ENTRIES", 150)
    found = room.leave_one_out_factors(spectrum.coordinates, path.rotated, path.lam, path.family_weights)
    np.testing.assert_allclose(np.einsum("lia,lib->lab", found, found), wanted, rtol=1e-12)
    np.testing.assert_array_equal(found, np.triu(found))
    np.testing.assert_allclose(spectrum.path(y, path.lam, np.ones(2)).loo, loo, rtol=1e-11, atol=1e-13)


def test_products_through_fewer_directions(rng, monkeypatch):
    """Eigenvalues of one size and many penalties: each student's multipliers keep their own digits, small or not."""
    X, y = np.linalg.qr(rng.standard_normal((120, 24)))[0] * np.linspace(8.0, 10.0, 24), rng.standard_normal((120, 1))
    spectrum = fd.Spectrum.from_design(X, fit_intercept=True)
    lam, xi = np.logspace(1, 8, 40), np.array([-1.5, 2.5])
    plain = spectrum.path(y, lam, xi)
    assert relative(plain.loo[20], oracle.leave_one_out(X, y, lam[20], xi, kernel=False, fit_intercept=True)) <= 1e-9
    monkeypatch.setattr(room, "WORTH_COMPRESSING", 1)
    path = spectrum.path(y, lam, xi)
    families = room._Families(spectrum.coordinates, path.rotated, path.family_penalties[:, 0], path.family_weights)
    assert [len(product.factors) for product in (families.power_diagonals_of, *families.fit_of)] == [2, 2]
    rows = room._Rows(spectrum.coordinates, path.rotated, slice(0, 120))
    fits = families.fit_of[0](rows.unscaled)
    exact = (families.filters * path.rotated.z[:, 0]) @ rows.unscaled.T
    assert (np.linalg.norm(fits - exact, axis=2) / np.linalg.norm(exact, axis=2)).max() <= 1e-13
    for i in range(40):
        assert relative(path.loo[i], plain.loo[i]) <= 1e-11


def test_triangular_factors_of_nearly_dependent_columns(rng):
    """R of rows that come in parts is R of all of them, to the rounding of each column."""
    columns = rng.standard_normal((4, 50))
    columns[2] = columns[1] + 1e-9 * columns[2]
    factor = np.zeros((4, 4))
    for part in np.split(columns, [1, 20, 20, 31], axis=1):
        fd.kernels.append_rows(part.copy(), factor)
    exact = np.linalg.qr(columns.T, mode="r")
    exact *= np.sign(exact.diagonal())[:, None]
    np.testing.assert_allclose(factor[:2], exact[:2], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(factor[2:], exact[2:], rtol=1e-5, atol=1e-13)
    fd.kernels.append_rows(np.array([[0.0], [np.nan], [1.0], [1.0]]), factor)
    assert not np.isfinite(factor).all()


@pytest.mark.parametrize("later", [1.0, 1e-6, 1e7])
@pytest.mark.parametrize("weighted", [False, True])
def test_factors_of_two_steps_in_parts(later, weighted, rng):
    """In one loop where the rows are no larger than those before, by Gram-Schmidt where they are: 1e7 times."""
    xi, n = np.array([[1.0, 1.0], [-0.3, 1.7]]), 90
    h = rng.uniform(0.1, 0.6, n)
    powers = np.repeat(np.array([h, 0.7 * h, 0.5 * h])[None], 2, axis=0)
    y, root = rng.standard_normal(n) + 2.0, np.sqrt(rng.random(n)) if weighted else np.empty(0)
    y[30:] *= later
    fit = y - 1e-3 * y * rng.standard_normal((2, 3, n))  # columns that nearly depend on each other
    found, wanted = np.zeros((2, 4, 4)), []
    for part in (slice(0, 30), slice(30, 60), slice(60, 90)):
        arrays = [np.ascontiguousarray(values[..., part]) for values in (y, root, powers, fit)]
        fd.kernels.leave_one_out_factors(xi, *arrays, np.zeros(2, dtype=bool), found)
    for f in range(2):
        loo = np.empty((3, n))
        fd.kernels.leave_one_out_direct(xi[f], y, powers[f], fit[f], loo)
        columns = np.vstack([loo, y]) * (root if weighted else 1.0)
        exact = np.linalg.qr(columns.T, mode="r")
        wanted.append(exact * np.sign(exact.diagonal())[:, None])
    sizes = np.linalg.norm(wanted, axis=1)[:, None]
    np.testing.assert_allclose(found / sizes, wanted / sizes, rtol=1e-11, atol=1e-14)
    np.testing.assert_array_equal(found, np.triu(found))
