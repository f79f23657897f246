"""The tridiagonal form against eigendecompositions of the scaled problem and refits, both written out here."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from fastdistill import tridiagonal
from fastdistill.tridiagonal import Tridiagonal
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
def test_equals_an_eigendecomposition(cell, case, rng):
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
