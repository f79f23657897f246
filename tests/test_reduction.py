"""Both ways to a tridiagonal form against what defines it: K = Q T Qᵀ with Q orthogonal, and the eigenvalues of K."""

from __future__ import annotations

import numpy as np
import pytest

from fastdistill import kernels
from fastdistill.spectral.decompositions import reduction
from fastdistill.spectral.decompositions.reduction import WIDTH, OneStage, TwoStage
from tests import oracle

SIDES = (1, 2, 3, WIDTH, WIDTH + 1, WIDTH + 2, 2 * WIDTH + 1, 2 * WIDTH + 2, 3 * WIDTH + 5, 150)
EPS = np.finfo(float).eps


def tridiagonal(diagonal, off):
    return np.diag(diagonal) + np.diag(off, -1) + np.diag(off, 1)


def symmetric(kind, n, rng):
    X = rng.standard_normal((n, 3))
    return {
        "indefinite": lambda: (lambda A: A + A.T)(rng.standard_normal((n, n))),
        "rbf": lambda: oracle.rbf(X, X, 0.5),
        "rank 3": lambda: X @ X.T,
        "diagonal": lambda: np.diag(rng.uniform(size=n)),
        "zero": lambda: np.zeros((n, n)),
        "narrow": lambda: np.eye(n) + 1e-155 * symmetric("indefinite", n, rng),  # squares that lose their digits
        "blocks": lambda: np.kron(np.eye(n), np.ones((2, 2)))[:n, :n],
    }[kind]()


@pytest.mark.parametrize("reduced", [OneStage, TwoStage])
@pytest.mark.parametrize("kind", ["indefinite", "rbf", "rank 3", "diagonal", "zero", "narrow", "blocks"])
def test_is_the_matrix(reduced, kind, rng):
    for n in SIDES:
        K = symmetric(kind, n, rng)
        form = reduced(np.asfortranarray(K))
        Qt = form.rotate(np.eye(n))  # a row for each column of Q
        size = max(np.abs(K).sum(axis=0).max(), np.finfo(float).tiny)
        assert np.abs(Qt @ Qt.T - np.eye(n)).max() < 50 * EPS
        assert np.abs(Qt.T @ tridiagonal(form.diagonal, form.off) @ Qt - K).max() < 50 * EPS * size
        np.testing.assert_allclose(form.rotate(np.eye(n), transpose=True), Qt.T, atol=50 * EPS)


@pytest.mark.parametrize("exponent", [-1000, -600, 600, 1000])
def test_squares_out_of_range(exponent, rng):
    """Powers of two: T is that of the matrix itself, digit by digit."""
    K = symmetric("rbf", 100, rng)
    near, far = TwoStage(np.asfortranarray(K)), TwoStage(np.asfortranarray(K * 2.0**exponent))
    np.testing.assert_allclose(far.diagonal * 2.0**-exponent, near.diagonal, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(np.abs(far.off) * 2.0**-exponent, np.abs(near.off), rtol=1e-9, atol=1e-13)


def test_vectors_in_blocks(rng, monkeypatch):
    form, vectors = TwoStage(np.asfortranarray(symmetric("rbf", 90, rng))), rng.standard_normal((7, 90))
    whole = form.rotate(vectors)
    monkeypatch.setattr(reduction, "AT_A_TIME", 3)
    np.testing.assert_allclose(form.rotate(vectors), whole, atol=1e-13)


def test_large_matrices_take_two_stages(rng, monkeypatch):
    K = np.asfortranarray(symmetric("rbf", 60, rng))
    assert isinstance(reduction.reduce(K.copy(order="F")), OneStage)
    monkeypatch.setattr(reduction, "LEAST_SIDE", 60)
    assert isinstance(reduction.reduce(K), TwoStage)


@pytest.mark.parametrize("width", [1, 2, 5, 8])
@pytest.mark.parametrize("n", [3, 4, 23])
def test_kernel_of_any_width(width, n, rng):
    B = symmetric("indefinite", n, rng)
    B[np.abs(np.subtract.outer(np.arange(n), np.arange(n))) > width] = 0.0
    band = np.zeros((n, 2 * width + 8))
    for i in range(min(width + 1, n)):
        band[: n - i, i] = B.diagonal(-i)
    reflectors = np.empty((-(-n // width), n, width))
    factors = np.empty(reflectors.shape[:2])
    kernels.band_to_tridiagonal(band, reflectors, factors)
    rows = np.zeros((n, n + width))
    rows[:, :n] = np.eye(n)
    kernels.rotate_from_band(reflectors, factors, False, rows)
    Qt = rows[:, :n]
    assert not rows[:, n:].any()
    np.testing.assert_allclose(Qt.T @ tridiagonal(band[:, 0], band[:-1, 1]) @ Qt, B, atol=1e-13)
    kernels.rotate_from_band(reflectors, factors, True, rows)
    np.testing.assert_allclose(rows[:, :n], np.eye(n), atol=1e-14)
