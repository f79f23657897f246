"""The decomposition of tall designs, whose left singular vectors are not stored: against an SVD and refits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

import fastdistill as fd
from fastdistill.spectral.decompositions import tall

ROWS = 200_000  # of six columns: more entries than are stored of U


def design(kind, rng):
    X = rng.standard_normal((ROWS, 6)) * [1.0, 2.0, 0.5, 1.0, 3.0, 1.0]
    if kind == "far":  # no row of U may be formed before it is centred
        X += [0.0, 1e4, -2e5, 5.0, 0.0, 1.0]
    elif kind == "offset":
        X += [0.0, 20.0, -15.0, 5.0, 0.0, 1.0]
    elif kind == "sorted":  # the first rows say nothing of the means
        X = X[X[:, 0].argsort()]
    elif kind == "columns first":
        X = np.asfortranarray(X)
    return X


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["near", "offset", "far", "sorted", "columns first"])
def test_a_tall_design_is_decomposed_as_by_an_svd(kind, fit_intercept, rng):
    X = design(kind, rng)
    centred = X - X.mean(axis=0) if fit_intercept else X
    centred = centred - centred.mean(axis=0) * fit_intercept  # twice: the mean itself is rounded
    found = tall.decompose_tall(X, fit_intercept)
    if kind == "far" and not fit_intercept:  # the means make the columns nearly dependent
        assert found is None
        return
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    assert_allclose(found.d, s**2, rtol=1e-10)
    signs = np.sign(np.einsum("ji,ij->j", vt, found.basis))
    assert_allclose(found.basis.T * signs[:, None], vt, atol=1e-9)
    y, c = rng.standard_normal((ROWS, 2)), rng.standard_normal((6, 3))
    assert isinstance(found.rows, tall.TallRows)
    assert_allclose(found.rows.block(70_000, 70_050) * signs, u[70_000:70_050], atol=1e-11)
    assert_allclose(found.rows @ c, (u * signs) @ c, atol=1e-11)
    assert_allclose(found.rows @ c[:, 0], (u * signs) @ c[:, 0], atol=1e-11)
    assert_allclose(found.rows.T @ y, (u * signs).T @ y, atol=1e-9)
    assert_allclose(found.rows.T @ y[:, 0], (u * signs).T @ y[:, 0], atol=1e-9)


def test_columns_too_far_from_zero_or_nearly_dependent_are_left_to_another(rng):
    X = design("near", rng)
    X[:, 1] += 1e9
    assert tall.decompose_tall(X, True) is None
    X = design("near", rng)
    X[:, 1] = X[:, 0] + 1e-4 * X[:, 1]
    assert tall.decompose_tall(X, True) is None
    X[:, 1] = 0.0
    assert tall.decompose_tall(X, False) is None


def test_students_of_a_tall_design_are_refits_and_the_spectrum_keeps_its_own_copy(rng):
    X = design("offset", rng)
    y = X @ rng.standard_normal(6) + rng.standard_normal(ROWS)
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    path = S.path(y, [10.0, 1e4, 1e5], [0.5])
    coef, loo = path.coef.copy(), path.loo_mse
    first = Ridge(1e4).fit(X, y)
    second = Ridge(1e4).fit(X, 0.5 * y + 0.5 * first.predict(X))
    assert_allclose(coef[1, 0], first.coef_, rtol=1e-9)
    assert_allclose(coef[1, 1], second.coef_, rtol=1e-9)
    assert_allclose(path.fitted[1, 1], second.predict(X), rtol=1e-8, atol=1e-8)
    centred = X - X.mean(axis=0)
    h = np.einsum("ij,ji->i", centred, np.linalg.solve(centred.T @ centred + 1e4 * np.eye(6), centred.T)) + 1 / ROWS
    assert_allclose(loo[1, 0], np.mean(((y - first.predict(X)) / (1 - h)) ** 2), rtol=1e-9)
    before = S.path(y, [1e3], [0.5]).loo_mse
    X[:] = 0.0
    assert_allclose(S.path(y, [1e3], [0.5]).loo_mse, before, rtol=0.0)
