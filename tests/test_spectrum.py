"""The decomposition: eigenvalues, rank, sizes, the choice of method, and what construction refuses."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp

import fastdistill as fd
from fastdistill.spectral.decompositions import centre, tall
from tests import oracle


def eigenvalues(K, fit_intercept, w):
    """Eigenvalues, descending, of the kernel matrix after weighted centring and scaling by sqrt(w)."""
    n = len(K)
    w = np.ones(n) if w is None else w
    C = np.eye(n) - np.outer(np.ones(n), w / w.sum()) if fit_intercept else np.eye(n)
    root = np.sqrt(w)
    return np.linalg.eigvalsh(root[:, None] * (C @ K @ C.T) * root)[::-1]


CASES = list(product(("design", "sparse", "kernel"), oracle.REGIMES, (False, True), oracle.WEIGHTS))


@pytest.mark.parametrize(
    ("kind", "regime", "fit_intercept", "weighting"), CASES, ids=["-".join(map(str, c)) for c in CASES]
)
def test_eigenvalues(kind, regime, fit_intercept, weighting, rng):
    X = oracle.design(regime, rng)
    w = oracle.weights(weighting, len(X), rng)
    K = X @ X.T
    options = {"fit_intercept": fit_intercept, "sample_weight": w}
    if kind == "kernel":
        S = fd.Spectrum.from_kernel(K, **options)
    else:
        S = fd.Spectrum.from_design(sp.csr_array(X) if kind == "sparse" else X, **options)
    exact = eigenvalues(K, fit_intercept, w)
    assert S.n_samples == len(X)
    assert S.d.shape == (S.rank,)
    assert S.rank <= min(X.shape)
    assert np.all(S.d > 0)
    assert np.all(np.diff(S.d) <= 0)
    scale = max(np.abs(K).max(), 1.0)  # centring cancels where all rows are equal
    np.testing.assert_allclose(S.d, exact[: S.rank], atol=1e-12 * scale, rtol=1e-10)
    np.testing.assert_allclose(exact[S.rank :], 0, atol=1e-12 * scale)


@pytest.mark.parametrize("kind", ["design", "sparse", "kernel"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_rank_of_deficient_and_zero_matrices(kind, fit_intercept, rng):
    build = {
        "design": fd.Spectrum.from_design,
        "sparse": lambda X, **options: fd.Spectrum.from_design(sp.csr_array(X), **options),
        "kernel": lambda X, **options: fd.Spectrum.from_kernel(X @ X.T, **options),
    }[kind]
    low = rng.standard_normal((12, 3)) @ rng.standard_normal((3, 8))
    assert build(low, fit_intercept=fit_intercept).rank == 3
    assert build(np.zeros((5, 4)), fit_intercept=fit_intercept).rank == 0
    assert build(rng.standard_normal((6, 9)), fit_intercept=fit_intercept).rank == 6 - fit_intercept
    assert build(np.full((6, 2), 3.0), fit_intercept=fit_intercept).rank == 1 - fit_intercept


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (20, 20)])
def test_small_singular_values_keep_their_digits(shape, rng):
    """A Gram matrix would lose every singular value below 1e-8 of the largest."""
    U, _, Vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    s = np.logspace(0, -11, min(shape))
    S = fd.Spectrum.from_design(U * s @ Vt)
    assert S.rank == len(s)
    np.testing.assert_allclose(np.sqrt(S.d), s, atol=1e-14, rtol=1e-3)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_one_or_two_samples(n, fit_intercept, rng):
    X, y = rng.standard_normal((n, 3)), rng.standard_normal(n)
    for S, rows, kernel in [
        (fd.Spectrum.from_design(X, fit_intercept=fit_intercept), X, False),
        (fd.Spectrum.from_kernel(X @ X.T, fit_intercept=fit_intercept), X @ X.T, True),
    ]:
        exact = oracle.students(rows, y[:, None], 0.7, [0.5], kernel=kernel, fit_intercept=fit_intercept)
        np.testing.assert_allclose(S.path(y, 0.7, [0.5]).fitted, exact.fitted[..., 0], rtol=1e-12)


def test_weights_equal_repetition(rng):
    X, y, counts = rng.standard_normal((8, 3)), rng.standard_normal(8), np.array([1, 2, 0, 3, 1, 1, 2, 0])
    lam, xi = [0.1, 2.0], [0.5, -1.0]
    for fit_intercept in (False, True):
        weighted = fd.Spectrum.from_design(X, fit_intercept=fit_intercept, sample_weight=counts).path(y, lam, xi)
        repeated = fd.Spectrum.from_design(X.repeat(counts, axis=0), fit_intercept=fit_intercept)
        plain = repeated.path(y.repeat(counts), lam, xi)
        np.testing.assert_allclose(weighted.coef, plain.coef, rtol=1e-11)
        np.testing.assert_allclose(weighted.dof, plain.dof, rtol=1e-11)
        np.testing.assert_allclose(weighted.train_mse, plain.train_mse, rtol=1e-11)


def test_a_scalar_weight_rescales_the_penalty(rng):
    X, y = rng.standard_normal((7, 3)), rng.standard_normal(7)
    ours = fd.Spectrum.from_design(X, sample_weight=np.full(7, 4.0)).path(y, 4.0, 0.5, n_steps=2)
    np.testing.assert_allclose(ours.coef, fd.Spectrum.from_design(X).path(y, 1.0, 0.5, n_steps=2).coef, rtol=1e-12)


def test_kernel_of_the_design_gives_the_same_students(rng):
    X, Q, y = rng.standard_normal((9, 4)), rng.standard_normal((3, 4)), rng.standard_normal((9, 2))
    for fit_intercept in (False, True):
        a = fd.Spectrum.from_design(X, fit_intercept=fit_intercept).path(y, [0.1, 3.0], [0.5, 2.0])
        b = fd.Spectrum.from_kernel(X @ X.T, fit_intercept=fit_intercept).path(y, [0.1, 3.0], [0.5, 2.0])
        np.testing.assert_allclose(a.fitted, b.fitted, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(a.predict(Q), b.predict(Q @ X.T), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(a.coef, np.einsum("np,lknm->lkpm", X, b.dual_coef), rtol=1e-11, atol=1e-13)


def test_sparse_design_is_not_made_dense(rng):
    """The Gram matrix is 40 x 40; a dense copy of the design would take 32 MB."""
    import tracemalloc

    X = sp.random_array((100_000, 40), density=0.002, rng=rng, format="csr")
    tracemalloc.start()
    try:
        fd.Spectrum.from_design(X, fit_intercept=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_tall_design_is_decomposed_in_blocks_of_rows(fit_intercept, rng, monkeypatch):
    X = rng.standard_normal((90, 4)) * [1.0, 2.0, 0.5, 3.0] + 10.0
    whole = fd.Spectrum.from_design(X, fit_intercept=fit_intercept)
    for module in (centre, tall):
        monkeypatch.setattr(module, "BLOCK_ENTRIES", 60)
    blocks = fd.Spectrum.from_design(X, fit_intercept=fit_intercept)
    assert blocks.method == whole.method == "gram"
    np.testing.assert_allclose(blocks.d, whole.d, rtol=1e-12)
    y = rng.standard_normal(90)
    of_blocks, of_whole = (S.path(y, [0.0, 1.0], [0.5]) for S in (blocks, whole))
    np.testing.assert_allclose(of_blocks.fitted, of_whole.fitted, atol=1e-12)
    np.testing.assert_allclose(of_blocks.coef, of_whole.coef, atol=1e-11)


def test_a_constant_column_of_a_tall_design_is_no_direction(rng, monkeypatch):
    for module in (centre, tall):
        monkeypatch.setattr(module, "BLOCK_ENTRIES", 60)
    X = rng.standard_normal((90, 4))
    X[:, 2] = 0.1
    assert fd.Spectrum.from_design(X, fit_intercept=True).rank == 3
    assert fd.Spectrum.from_design(X[:, 2:3], fit_intercept=True).rank == 0
    X[:, 2] = X[:, 1]
    assert fd.Spectrum.from_design(X, fit_intercept=False).rank == 3
