"""The contract of every solver: students of designs and kernels, against explicit refits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastdistill as fd
from tests import oracle

DESIGN_SOLVERS = ("auto", "svd", "gram", "cholesky", "krylov")
KERNEL_SOLVERS = ("auto", "eigh", "cholesky", "tridiagonal", "krylov")
REGIMES = {"tall": (24, 5, 5), "wide": (12, 30, 12), "deficient": (20, 7, 3), "square": (9, 8, 8)}
LAM, XI = 2.5, np.array([0.6, -1.3, 2.0])


def problem(regime, weighted, m, rng):
    n, p, rank = REGIMES[regime]
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, p)) + 0.5
    w = rng.uniform(0.2, 3.0, n) if weighted else None
    return X, rng.standard_normal((n, m)) + 2.0, w, rng.standard_normal((6, p))


def check(path, exact, queries, kernel, w):
    parameters = path.dual_coef if kernel else path.coef
    for ours, twin in (
        (parameters, exact.parameters),
        (path.intercept, exact.intercept),
        (path.fitted, exact.fitted),
        (path.predict(queries), exact.predict(queries)),
        (path.dof, exact.dof),
        (path.train_mse, exact.train_mse),
        (path.gcv, exact.gcv),
    ):
        assert oracle.relative_error(ours, twin, 1.0) < 1e-9


@pytest.mark.parametrize("solver", DESIGN_SOLVERS)
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("m", [1, 3])
def test_designs(solver, regime, fit_intercept, weighted, m, rng):
    X, y, w, queries = problem(regime, weighted, m, rng)
    exact = oracle.students(X, y, LAM, XI, kernel=False, fit_intercept=fit_intercept, sample_weight=w)
    S = fd.Spectrum.from_design(X, fit_intercept, w, solver=solver, tol=1e-11)
    check(S.path(y, LAM, XI), exact, queries, False, w)
    assert S.method == {"auto": "cholesky"}.get(solver, solver)


@pytest.mark.parametrize("solver", KERNEL_SOLVERS)
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("m", [1, 3])
def test_kernels(solver, regime, fit_intercept, weighted, m, rng):
    X, y, w, queries = problem(regime, weighted, m, rng)
    exact = oracle.students(X @ X.T, y, LAM, XI, kernel=True, fit_intercept=fit_intercept, sample_weight=w)
    S = fd.Spectrum.from_kernel(X @ X.T, fit_intercept, w, solver=solver, tol=1e-11)
    check(S.path(y, LAM, XI), exact, queries @ X.T, True, w)
    assert S.method == {"auto": "cholesky"}.get(solver, solver)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out_of_a_factor(fit_intercept, weighted, rng):
    X, y, w, _ = problem("tall", weighted, 2, rng)
    exact = oracle.leave_one_out(X, y, LAM, XI, kernel=False, fit_intercept=fit_intercept, sample_weight=w)
    for S in (fd.Spectrum.from_design(X, fit_intercept, w), fd.Spectrum.from_kernel(X @ X.T, fit_intercept, w)):
        path = S.path(y, LAM, XI)
        assert oracle.relative_error(path.loo, exact, 1.0) < 1e-9
        errors = np.average(np.square(y - path.loo), axis=1, weights=w)
        np.testing.assert_allclose(path.loo_mse, errors, rtol=1e-12)
        assert S.method == "cholesky"


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_weights_of_zero_leave_samples_out(fit_intercept, rng):
    X, y, w, _ = problem("tall", True, 2, rng)
    w[[2, 5, 11]] = 0.0
    exact = oracle.students(X, y, LAM, XI, kernel=False, fit_intercept=fit_intercept, sample_weight=w)
    left_out = oracle.leave_one_out(X, y, LAM, XI, kernel=False, fit_intercept=fit_intercept, sample_weight=w)
    for kernel in (False, True):
        S = (
            fd.Spectrum.from_kernel(X @ X.T, fit_intercept, w)
            if kernel
            else fd.Spectrum.from_design(X, fit_intercept, w)
        )
        path = S.path(y, LAM, XI)
        for name in ("fitted", "intercept", "train_mse", "gcv", "dof"):
            assert oracle.relative_error(getattr(path, name), getattr(exact, name), 1.0) < 1e-9, name
        assert oracle.relative_error(path.loo, left_out, 1.0) < 1e-9
        errors = np.average(np.square(y - left_out), axis=1, weights=w)
        np.testing.assert_allclose(path.loo_mse, errors, rtol=1e-9)
        assert S.method == "cholesky"


@pytest.mark.parametrize("solver", ["eigh", "tridiagonal"])
def test_grids_of_penalties_and_schedules(solver, rng):
    X, y, w, _ = problem("square", True, 2, rng)
    lam, xi = [0.3, 4.0], [[0.5, -1.0], [1.0, 1.0], [0.0, 2.0]]
    exact = fd.Spectrum.from_design(X, True, w).path(y, lam, xi)
    path = fd.Spectrum.from_kernel(X @ X.T, True, w, solver=solver).path(y, lam, xi)
    for name in ("fitted", "train_mse", "gcv", "dof", "intercept"):
        np.testing.assert_allclose(getattr(path, name), getattr(exact, name), rtol=1e-9, atol=1e-12)


def test_a_third_penalty_is_decomposed(rng):
    """One after the other they would cost more than the decomposition that serves all."""
    X, y, _, _ = problem("tall", False, 1, rng)
    S = fd.Spectrum.from_design(X)
    for lam in (1.0, 2.0, 1.0):
        S.path(y, lam, XI)
        assert S.method == "cholesky"
    path = S.path(y, 3.0, XI)
    assert S.method == "gram"
    np.testing.assert_allclose(path.coef, fd.Spectrum.from_design(X, solver="svd").path(y, 3.0, XI).coef, rtol=1e-10)


def test_what_a_factor_has_not_is_decomposed(rng):
    X, y, _, queries = problem("tall", False, 1, rng)
    S, exact = fd.Spectrum.from_design(X, True), fd.Spectrum.from_design(X, True, solver="svd")
    path, twin = S.path(y, LAM, XI), exact.path(y, LAM, XI)
    before = path.fitted
    np.testing.assert_allclose(path.filters, twin.filters, rtol=1e-12)
    np.testing.assert_allclose(path.predict_std(queries), twin.predict_std(queries), rtol=1e-10)
    np.testing.assert_allclose(path.standard_error(queries, 0.3), twin.standard_error(queries, 0.3), rtol=1e-10)
    np.testing.assert_array_equal(path.fitted, before)
    assert S.method == "gram"


def test_later_changes_of_the_data_change_nothing(rng):
    X, y, _, _ = problem("tall", False, 1, rng)
    K = X @ X.T
    S, T = fd.Spectrum.from_design(X, True), fd.Spectrum.from_kernel(K, True)
    exact = S.path(y, LAM, XI).fitted
    X[:], K[:] = 0.0, 0.0
    for spectrum in (S, T):
        np.testing.assert_allclose(spectrum.path(y, LAM, XI).fitted, exact, rtol=1e-9)
        np.testing.assert_allclose(spectrum.path(y, [LAM, 2.0], XI).fitted[0], exact, rtol=1e-9)


def test_threads_share_a_spectrum(rng):
    """One of them decomposes, in the memory that the others' factors are made of."""
    X, y = rng.standard_normal((300, 20)), rng.standard_normal(300)
    K = X @ X.T + np.eye(300)
    exact = fd.Spectrum.from_kernel(K, True, solver="eigh")
    for _ in range(5):
        S = fd.Spectrum.from_kernel(K, True)
        jobs = [lambda S=S, lam=lam: S.path(y, lam, XI).fitted for lam in (1.0, 2.0, 3.0, 4.0)] * 3
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda job: job(), jobs))
        for fitted, lam in zip(found, (1.0, 2.0, 3.0, 4.0) * 3, strict=True):
            np.testing.assert_allclose(fitted, exact.path(y, lam, XI).fitted, rtol=1e-8, atol=1e-9)


def test_a_spectrum_is_shown_without_being_decomposed(rng):
    X, y, _, _ = problem("tall", False, 1, rng)
    S = fd.Spectrum.from_design(X)
    assert "rank" not in repr(S)
    path = S.path(y, LAM, XI)
    assert "method='cholesky'" in repr(path)
    assert S.rank == 5
    assert "rank=5, method='gram'" in repr(S)


@pytest.mark.parametrize("xi", [np.full(20, 0.9), np.array([30.0, -40.0, 50.0])], ids=["many", "large"])
def test_many_steps_and_large_weights(xi, rng):
    X, y, w, _ = problem("tall", True, 2, rng)
    exact = fd.Spectrum.from_design(X, True, w, solver="svd").path(y, LAM, xi)
    for S, queries in ((fd.Spectrum.from_design(X, True, w), X), (fd.Spectrum.from_kernel(X @ X.T, True, w), X @ X.T)):
        path = S.path(y, LAM, xi)
        for name in ("fitted", "dof", "gcv", "train_mse", "loo"):
            np.testing.assert_allclose(getattr(path, name), getattr(exact, name), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(path.predict(queries), exact.fitted, rtol=1e-8, atol=1e-10)


def test_nearly_fitted_targets_keep_the_digits_of_their_errors(rng):
    X = rng.standard_normal((9, 9)) + 5.0 * np.eye(9)
    y = rng.standard_normal((9, 1))
    ours = fd.Spectrum.from_design(X).path(y, 1e-7, [0.5])
    exact = fd.Spectrum.from_design(X, solver="svd").path(y, 1e-7, [0.5])
    np.testing.assert_allclose(ours.train_mse, exact.train_mse, rtol=1e-9)
    np.testing.assert_allclose(ours.gcv, exact.gcv, rtol=1e-9)


def test_indefinite_matrices_are_found_without_eigenvalues(rng):
    K = rng.standard_normal((20, 20))
    K = K + K.T
    with pytest.raises(ValueError, match="K must be positive semi-definite: its smallest eigenvalue is -"):
        fd.Spectrum.from_kernel(K)


@pytest.mark.parametrize(("solver", "message"), [("qr", "solver must be one of"), (None, "solver must be")])
def test_unknown_solvers(solver, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fd.Spectrum.from_design(np.eye(3), solver=solver)
    with pytest.raises((ValueError, TypeError), match=message):
        fd.Spectrum.from_kernel(np.eye(3), solver=solver)


@pytest.mark.parametrize("solver", ["cholesky", "tridiagonal", "krylov"])
def test_a_named_solver_says_what_it_has_not(solver, rng):
    X, y, _, queries = problem("tall", False, 1, rng)
    S = fd.Spectrum.from_kernel(X @ X.T, solver=solver)
    path = S.path(y, LAM, XI)
    for call in (
        lambda: S.d,
        lambda: path.filters,
        lambda: path.predict_std(queries @ X.T, np.ones(6)),
        lambda: S.limit(y, LAM, 0.5),
        lambda: S.tolerance_path(y, 0.5),
        lambda: fd.tune(S, y, [1.0, 2.0]),
    ):
        with pytest.raises(ValueError, match=f"solver='{solver}' .*use solver='auto'"):
            call()
    with pytest.raises(ValueError, match="solver='cholesky' serves one positive penalty"):
        fd.Spectrum.from_design(X, solver="cholesky").path(y, [1.0, 2.0], XI)
    with pytest.raises(ValueError, match="solver='cholesky' serves one positive penalty"):
        fd.Spectrum.from_design(X, solver="cholesky").path(y, 0.0, XI)


def test_tridiagonal_refuses_what_would_lose_digits(rng):
    X, y, _, _ = problem("deficient", False, 1, rng)
    with pytest.raises(ValueError, match="solver='tridiagonal' would lose digits at lam=1e-08; use solver='eigh'"):
        fd.Spectrum.from_kernel(X @ X.T, solver="tridiagonal").path(y, [1e-8, 1.0], XI)
    w = np.ones(20)
    w[3] = 0.0
    with pytest.raises(ValueError, match="takes no weights of zero"):
        fd.Spectrum.from_kernel(X @ X.T, sample_weight=w, solver="tridiagonal").path(y, 1.0, XI)
