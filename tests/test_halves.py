"""One array for a kernel matrix, its check and its factor: nothing is lost, and nothing indefinite passes."""

from __future__ import annotations

import pickle
import warnings
import weakref

import numpy as np
import pytest

import fastdistill as fd
from fastdistill.base import validation
from fastdistill.spectral.decompositions import halves
from fastdistill.spectral.decompositions.halves import Halves

N = 150


def below_and_on_the_diagonal(array):
    """Overwrite what LAPACK may."""
    array[np.tril_indices(len(array))] = np.nan


@pytest.fixture(params=["in_place", "copied"])
def way(request, monkeypatch):
    """Whether small matrices are checked in their own array too."""
    monkeypatch.setattr(halves, "SMALL", 0 if request.param == "in_place" else 1000)


@pytest.mark.usefixtures("way")
def test_the_matrix_survives_checks_and_factors(rng):
    K = rng.standard_normal((N, N))
    K = K @ K.T
    kept = Halves(K.copy())
    for _ in range(2):
        assert kept.is_positive_semidefinite(1e-8)
        assert not Halves(K - 2 * np.abs(K).sum() * np.eye(N)).is_positive_semidefinite(1e-8)
        first = kept.lend()
        np.testing.assert_array_equal(first, K)
        assert first.flags.f_contiguous
        below_and_on_the_diagonal(first)
    read = kept.read()
    np.testing.assert_array_equal(read, K)
    below_and_on_the_diagonal(kept.lend())
    np.testing.assert_array_equal(read, K)  # what was lent for reading is never overwritten
    np.testing.assert_array_equal(kept.give_up(), K)


def test_of_a_nearly_symmetric_matrix_one_triangle_counts(rng, monkeypatch):
    """That which LAPACK reads, before a check in place and after it."""
    monkeypatch.setattr(halves, "SMALL", 0)
    K = rng.standard_normal((N, N))
    K = K @ K.T + np.triu(1e-7 * rng.standard_normal((N, N)), 1)
    assert validation.kernel_matrix(K)[1] is False
    assert validation.kernel_matrix(K + K.T)[1] is True
    kept = Halves(K.copy(), is_symmetric=False)
    assert kept.is_positive_semidefinite(1e-3)
    np.testing.assert_array_equal(kept.read(), np.triu(K) + np.triu(K, 1).T)


def test_what_is_given_up_is_not_kept(rng):
    """The two stages of a tridiagonal form need the matrix for a time only."""
    K = rng.standard_normal((N, N))
    matrix = weakref.ref(K)
    kept = Halves(K)
    del K
    assert kept.give_up() is not None
    assert matrix() is None


def test_a_matrix_that_is_not_a_number_is_not_definite(rng):
    K = np.eye(N)
    K[70, 3] = K[3, 70] = np.nan
    assert not Halves(K).is_positive_semidefinite(1e-8)


def with_smallest(kind, smallest, rng):
    """A kernel matrix of largest eigenvalue 1 with one eigenvalue `smallest` along a hidden direction."""
    if kind == "random":
        d, U = rng.uniform(0.1, 1.0, N), np.linalg.qr(rng.standard_normal((N, N)))[0]
    elif kind == "smooth":
        x = np.sort(rng.uniform(size=N))
        d, U = np.linalg.eigh(np.exp(-20.0 * np.subtract.outer(x, x) ** 2))
        d = np.maximum(d, 0.0)
    else:
        U = np.linalg.qr(rng.standard_normal((N, N)))[0]
        d = np.where(np.arange(N) < 4, [1.0, 0.5, 0.2, 0.1] + [0.0] * (N - 4), 0.0)
    order = np.argsort(-d)
    d, U = d[order] / d.max(), U[:, order]
    d[N // 2] = smallest
    K = (U * d) @ U.T
    return (K + K.T) / 2


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", ["random", "smooth", "rank 4"])
@pytest.mark.parametrize("smallest", [-1e-3, -1e-6, -2e-8, -5e-9, -1e-9, 0.0])
def test_one_negative_eigenvalue_is_found(kind, smallest, rng):
    """Below 1e-8 of the largest a matrix is refused, and above it is not, whatever the penalty."""
    K, y = with_smallest(kind, smallest, rng), rng.standard_normal(N)
    refused = smallest < -1e-8
    if refused:
        with pytest.raises(ValueError, match="positive semi-definite: its smallest eigenvalue is"):
            fd.Spectrum.from_kernel(K)
    else:
        fd.Spectrum.from_kernel(K)
    for alpha in (1e-6, 1e-4, 1e-2, 1.0, 1e2):
        model = fd.DistilledKernelRidge(alpha, kernel="precomputed", fit_intercept=False, n_steps=0)
        if refused and alpha < -smallest:
            with pytest.raises(ValueError, match="K must be positive semi-definite"):
                model.fit(K, y)
        elif refused and alpha > -1.001 * smallest:
            with pytest.warns(RuntimeWarning, match="indefinite"):
                model.fit(K, y)
        elif not refused:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                model.fit(K, y)
            # a negative eigenvalue within the tolerance counts as zero where the matrix is decomposed
            residual = K @ model.dual_coef_ + alpha * model.dual_coef_ - y
            assert np.abs(residual).max() <= 1e-6 - smallest / alpha


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_model_is_independent_of_the_matrix_it_was_fitted_to(fit_intercept, rng):
    """Two penalties, leave-one-out and standard deviations from one spectrum, which the caller cannot change."""
    X, y, w = rng.standard_normal((N, 3)), rng.standard_normal(N), rng.uniform(0.5, 2.0, N)
    K = X @ X.T + 0.1 * np.eye(N)
    given = K.copy()
    spectrum = fd.Spectrum.from_kernel(given, fit_intercept, w)
    model = fd.DistilledKernelRidge(0.5, kernel="precomputed", fit_intercept=fit_intercept).fit(given, y, w)
    found = [spectrum.path(y, lam, 0.5, n_steps=1).dual_coef for lam in (0.5, 2.0)]
    given[:] = 0.0
    whole = fd.Spectrum.from_kernel(K, fit_intercept, w, solver="eigh").path(y, [0.5, 2.0], 0.5, n_steps=1)
    np.testing.assert_allclose(found, whole.dual_coef, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(spectrum.path(y, [0.5, 2.0], 0.5, n_steps=1).loo, whole.loo, rtol=1e-9, atol=1e-11)
    std = model.predict(K[:5], return_std=True, kernel_diag=np.diagonal(K)[:5])[1]
    np.testing.assert_allclose(std, whole.predict_std(K[:5], np.diagonal(K)[:5])[0, 0], rtol=1e-8)


@pytest.mark.parametrize("solver", ["auto", "eigh", "cholesky", "tridiagonal"])
def test_standard_deviations_survive_the_caller_and_a_pickle(solver, rng):
    """A model of a given matrix keeps what it needs of it, once."""
    X, y = rng.standard_normal((N, 3)), rng.standard_normal(N)
    K = X @ X.T + 0.1 * np.eye(N)
    given = K.copy()
    model = fd.DistilledKernelRidge(0.5, kernel="precomputed", solver=solver).fit(given, y)
    stored = pickle.dumps(model)
    given[:] = 0.0
    wanted = fd.Spectrum.from_kernel(K, True).path(y, 0.5, []).predict_std(K[:5], np.diagonal(K)[:5])[0]
    for fitted in (model, pickle.loads(stored)):
        std = fitted.predict(K[:5], return_std=True, kernel_diag=np.diagonal(K)[:5])[1]
        np.testing.assert_allclose(std, wanted, rtol=1e-8)
    assert len(stored) < 4 * K.nbytes


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("is_lent", [False, True])
def test_a_spectrum_whose_memory_may_only_be_read(is_lent, rng):
    """As joblib hands large arrays to its processes: factors and eigenvalues come from a copy."""
    X, y = rng.standard_normal((N, 3)), rng.standard_normal(N)
    spectrum = fd.Spectrum.from_kernel(X @ X.T + np.eye(N), True)
    if is_lent:
        _ = spectrum.path(y, 0.7, 0.5, n_steps=1)
    buffers = []
    stored = pickle.dumps(spectrum, protocol=5, buffer_callback=buffers.append)
    for lam in (0.5, [0.5, 2.0]):
        read_only = pickle.loads(stored, buffers=[bytes(buffer) for buffer in buffers])
        wanted = fd.Spectrum.from_kernel(X @ X.T + np.eye(N), True, solver="eigh").path(y, lam, 0.5, n_steps=1)
        np.testing.assert_allclose(read_only.path(y, lam, 0.5, n_steps=1).loo, wanted.loo, rtol=1e-9, atol=1e-11)
