"""One Cholesky factor against eigendecompositions of the scaled problem and refits, both written out here."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from fastdistill.spectral.decompositions import cholesky
from fastdistill.spectral.decompositions.cholesky import Cholesky
from tests import oracle

REGIMES = ("tall", "wide", "square", "rank_deficient", "duplicate_rows", "constant_column")
TABLE = list(product(("design", "kernel"), REGIMES, (False, True), oracle.WEIGHTS))
XI = np.array([[0.5, -1.2, 3.0, 1.0], [0.0, 1.0, 0.4, 2.0], [1.0, 1.0, 1.0, 1.0]])
TOLERANCE = 1e-11


def scaled_problem(data, regime, fit_intercept, kind, rng, m=3):
    """Raw rows, raw targets, weights, and what a solver sees: scaled rows or kernel, scaled targets."""
    X = oracle.design(regime, rng)
    n = len(X)
    y = rng.standard_normal((n, m)) + 1.5
    w = oracle.weights(kind, n, rng)
    ones = np.ones(n) if w is None else w
    share = ones / ones.sum() * fit_intercept
    root = np.sqrt(ones)[:, None]
    y_s = root * (y - share @ y)
    if data == "design":
        return X, y, w, root * (X - share @ X), y_s
    K = oracle.rbf(X, X, 0.3)
    centring = np.eye(n) - np.outer(np.ones(n), share)
    return K, y, w, root * (centring @ K @ centring.T) * root.T, y_s


def filters(d, lam, xi):
    """f_0..f_k of one family."""
    a = d / (d + lam)
    out = [a]
    for step in xi:
        out.append(a * ((1 - step) + step * out[-1]))
    return np.array(out)


def kernel_of(data, scaled):
    return scaled @ scaled.T if data == "design" else scaled


def spectrum_of(data, scaled):
    """Eigenvalues, negative rounding cut, and eigenvectors of the n by n matrix."""
    if data == "kernel":
        d, U = np.linalg.eigh(scaled)
        return np.maximum(d, 0), U
    U, s, _ = np.linalg.svd(scaled, full_matrices=True)
    return np.concatenate([s**2, np.zeros(len(U) - len(s))]), U


def make(data, scaled, lam, **options):
    return Cholesky.of_design(scaled, lam) if data == "design" else Cholesky.of_kernel(scaled, lam, **options)


def relative(ours, exact):
    assert ours.shape == exact.shape
    return np.abs(ours - exact).max() / max(np.abs(exact).max(), 1e-300)


IDS = ["-".join(map(str, cell)) for cell in TABLE]


@pytest.mark.parametrize(("cell", "case"), list(enumerate(TABLE)), ids=IDS)
def test_students_and_traces(cell, case, rng):
    data, *problem = case
    *_, scaled, y_s = scaled_problem(data, *problem, rng, m=1 + cell % 4)
    d, U = spectrum_of(data, scaled)
    for lam in d.max() * np.array([1e-3, 0.2, 50.0, 1e5]):
        factor = make(data, scaled, lam)
        assert factor.accurate
        penalties = np.full(len(XI), lam)
        solved = factor.students(y_s, penalties, XI)
        f = np.array([filters(d, lam, xi) for xi in XI])
        exact = U @ (f[..., None] * (U.T @ y_s))
        for t in range(f.shape[1]):  # each student on its own: late ones are small
            assert relative(solved.fits[:, t], exact[:, t]) < TOLERANCE
        assert relative(factor.traces(penalties, XI), f.sum(axis=2)) < TOLERANCE
        assert relative(factor.remaining(penalties, XI), (1 - f).sum(axis=2)) < TOLERANCE
        assert relative(scaled @ solved.coefficients, exact) < TOLERANCE
        if data == "kernel":  # the dual coefficients themselves, null vectors included: y / λ there at t = 0
            carried = np.concatenate([np.ones((3, 1, len(d))), (1 - XI)[..., None] + XI[..., None] * f[:, :-1]], axis=1)
            duals = U @ ((carried / (d + lam))[..., None] * (U.T @ y_s))
            assert relative(solved.coefficients, duals) < TOLERANCE
        without = factor.students(y_s, penalties, XI, with_fits=False)
        np.testing.assert_array_equal(without.coefficients, solved.coefficients)
        assert without.fits.shape == (3, 5, 0, y_s.shape[1])


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("data", ["design", "kernel"])
@pytest.mark.parametrize("regime", ["tall", "wide", "rank_deficient"])
def test_diagonals_of_every_power(data, regime, k, rng):
    *_, scaled, _ = scaled_problem(data, regime, False, "none", rng)
    d, U = spectrum_of(data, scaled)
    for lam in d.max() * np.array([1e-4, 1.0, 1e4]):
        a = d / (d + lam)
        powers, complements = make(data, scaled, lam).diagonals(k)
        for j in range(k + 1):
            assert relative(powers[j], U**2 @ a ** (j + 1)) < TOLERANCE
            assert np.abs(complements[j] - U**2 @ ((lam / (d + lam)) * a**j)).max() < 1e-12


@pytest.mark.parametrize(("cell", "case"), list(enumerate(TABLE)), ids=IDS)
def test_leave_one_out_equals_refits(cell, case, rng):
    data, *problem = case
    rows, y, w, scaled, y_s = scaled_problem(data, *problem, rng, m=1 + cell % 2)
    fit_intercept = problem[1]
    ones = np.ones(len(y)) if w is None else w
    share = ones / ones.sum()
    xi = XI[cell % 3, : cell % 4]
    for lam in spectrum_of(data, scaled)[0].max() * np.array([0.05, 3.0]):
        ours = make(data, scaled, lam).leave_one_out(y_s, xi, share if fit_intercept else None)
        exact = oracle.leave_one_out(
            rows, y, lam, xi, kernel=data == "kernel", fit_intercept=fit_intercept, sample_weight=w
        )
        exact = np.sqrt(ones)[:, None] * (exact - share @ y * fit_intercept)
        assert relative(ours, exact) < 1e-10


def test_leave_one_out_of_a_kernel_that_nearly_interpolates(rng):
    """Leverages within 1e-7 of one: a kernel's complement is formed without a subtraction."""
    X = rng.standard_normal((12, 2))
    K = oracle.rbf(X, X, 3.0)
    y = rng.standard_normal((12, 2))
    xi = np.array([0.7, 1.4])
    lam = 1e-8
    ours = Cholesky.of_kernel(K, lam).leave_one_out(y, xi)
    assert relative(ours, oracle.leave_one_out(K, y, lam, xi, kernel=True)) < 1e-8


def test_leave_one_out_refuses_what_would_lose_digits(rng):
    X = rng.standard_normal((20, 3))
    X[0] *= 1e4
    y = rng.standard_normal((20, 1))
    assert Cholesky.of_design(X, 1.0).leave_one_out(y, np.ones(1)) is None
    w = np.ones(20)
    w[0] = 1e6
    K = oracle.rbf(X, X, 0.1)
    share = w / w.sum()
    centring = np.eye(20) - np.outer(np.ones(20), share)
    root = np.sqrt(w)[:, None]
    scaled = root * (centring @ K @ centring.T) * root.T
    assert Cholesky.of_kernel(scaled, 1.0).leave_one_out(root * (y - share @ y), np.ones(1), share) is None


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_layouts_and_overwriting(order, overwrite, rng):
    X = rng.standard_normal((30, 4))
    K = oracle.rbf(X, X, 0.5)
    given = np.zeros((60, 60))[::2, ::2] if order == "strided" else np.empty_like(K, order=order)
    given[:] = K
    y = rng.standard_normal((30, 2))
    exact = Cholesky.of_kernel(K, 0.3).students(y, np.full(3, 0.3), XI)
    ours = Cholesky.of_kernel(given, 0.3, overwrite=overwrite).students(y, np.full(3, 0.3), XI)
    np.testing.assert_array_equal(ours.fits, exact.fits)
    if overwrite and order != "strided":
        assert not np.array_equal(given, K)
    else:
        np.testing.assert_array_equal(given, K)


@pytest.mark.parametrize("n", [5, 300, 700])
def test_condition(n, rng):
    """The 1-norm from half of a matrix, block by block, and LAPACK's estimate of the inverse's."""
    X = rng.standard_normal((n, 8))
    K = X @ X.T
    factor = Cholesky.of_kernel(K, 0.01)
    A = K + 0.01 * np.eye(n)
    exact = 1 / (np.linalg.norm(A, 1) * np.linalg.norm(np.linalg.inv(A), 1))
    assert exact * (1 - 1e-9) <= factor.rcond <= 3 * exact


def test_a_penalty_far_below_the_design_is_not_accurate(rng):
    X = rng.standard_normal((40, 5))
    X[:, 0] *= 1e-4
    assert not Cholesky.of_design(X, 1e-9).accurate
    assert Cholesky.of_design(X, 0.1).accurate
    assert Cholesky.of_design(rng.standard_normal((40, 5)), 1e-9).accurate  # well conditioned without a penalty


def test_not_positive_definite():
    K = np.diag([1.0, 2.0, -0.5, 3.0])
    with pytest.raises(np.linalg.LinAlgError, match=r"lam = 0\.1 is not positive definite.*order 3"):
        Cholesky.of_kernel(K, 0.1)


def test_another_penalty_is_refused(rng):
    factor = Cholesky.of_kernel(np.eye(4), 0.5)
    for ask in (factor.traces, factor.remaining, lambda lam, xi: factor.students(np.ones((4, 1)), lam, xi)):
        with pytest.raises(ValueError, match=r"serves one penalty: lam must be 0\.5"):
            ask(np.array([0.5, 0.6]), np.ones((2, 1)))


def test_blocks_of_rows(rng, monkeypatch):
    X = rng.standard_normal((50, 4))
    whole = Cholesky.of_design(X, 0.4).diagonals(3)
    monkeypatch.setattr(cholesky, "BLOCK_ENTRIES", 4 * 7)
    np.testing.assert_allclose(Cholesky.of_design(X, 0.4).diagonals(3), whole, rtol=1e-12)


def test_leave_one_out_without_a_penalty_is_refused(rng):
    assert Cholesky.of_kernel(np.eye(5) + 0.1, 0.0).leave_one_out(rng.standard_normal((5, 1)), np.ones(1)) is None
