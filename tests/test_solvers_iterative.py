"""Iterative solvers behind `Spectrum` and the estimators, against dense decompositions of the same data."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

import fastdistill as fd
from fastdistill.estimators import kernel_ridge
from fastdistill.spectral import path_solvers
from fastdistill.spectral.decompositions import sparse
from fastdistill.spectral.decompositions.choose import Job, Shape, choose, iterations
from fastdistill.spectral.problems import DesignProblem

LAM, XI = np.array([0.01, 1.0, 30.0]), np.array([[0.5, -1.0, 2.0], [1.0, 1.0, 1.0]])


def memory_map(X, folder):
    mapped = np.memmap(folder / "X.dat", dtype=X.dtype, mode="w+", shape=X.shape)
    mapped[:] = X
    return mapped


FORMS = {
    "dense": lambda X, _: X,
    "csr": lambda X, _: scipy.sparse.csr_array(X),
    "csc": lambda X, _: scipy.sparse.csc_matrix(X),
    "operator": lambda X, _: aslinearoperator(X),
    "map": memory_map,
}


def make(rng, n, p, weighted=False, deficient=False, share=0.3):
    X = rng.standard_normal((n, p)) * (rng.random((n, p)) < share)
    if deficient:
        X[:, 1], X[5], X[:, 3] = 0.0, X[4], X[:, 2]
    y = X @ rng.standard_normal((p, 2)) + 1.0 + rng.standard_normal((n, 2))
    weight = rng.uniform(0.2, 3.0, n) * (rng.random(n) < 0.8) if weighted else None
    return X, y, weight


def relative(found, expected, axis):
    return np.linalg.norm(found - expected, axis=axis) / np.linalg.norm(expected, axis=axis)


REGIMES = [
    pytest.param(*shape, weighted, intercept, deficient, id=f"{shape}-w{weighted}-i{intercept}-d{deficient}")
    for shape in [(50, 20), (20, 45)]
    for weighted, intercept, deficient in [
        (False, False, False),
        (True, True, True),
        (True, False, False),
        (False, True, True),
        (False, True, False),
    ]
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("n", "p", "weighted", "intercept", "deficient"), REGIMES)
def test_krylov_paths_of_designs(form, n, p, weighted, intercept, deficient, rng, tmp_path):
    X, y, weight = make(rng, n, p, weighted, deficient)
    Xq, yq = rng.standard_normal((7, p)), rng.standard_normal((7, 2))
    expected = fd.Spectrum.from_design(X, intercept, weight, solver="svd").path(y, LAM, XI)
    spectrum = fd.Spectrum.from_design(FORMS[form](X, tmp_path), intercept, weight, solver="krylov", tol=1e-10)
    path = spectrum.path(y, LAM, XI)
    assert spectrum.method == "krylov"
    assert path.error_estimate.shape == (3, 2, 4, 2)
    assert path.error_estimate.max() <= 1e-10
    assert relative(path.coef, expected.coef, -2).max() <= 1e-7
    assert relative(path.fitted, expected.fitted, -2).max() <= 1e-9
    assert relative(path.predict(Xq), expected.predict(Xq), -2).max() <= 1e-7
    np.testing.assert_allclose(path.mse(Xq, yq), expected.mse(Xq, yq), rtol=1e-7)
    np.testing.assert_allclose(path.train_mse, expected.train_mse, rtol=1e-8)
    np.testing.assert_allclose(path.intercept, expected.intercept, rtol=1e-7, atol=1e-8)
    # as few directions as probes: traces are exact
    np.testing.assert_allclose(path.dof, expected.dof, rtol=1e-6)
    np.testing.assert_allclose(path.gcv, expected.gcv, rtol=1e-5)
    assert path.dof_error.shape == path.dof.shape
    assert not path.dof_error.any()
    single = spectrum.path(y[:, 1], 1.0, XI[0])
    assert single.error_estimate.shape == (4,)
    np.testing.assert_allclose(single.fitted, path.fitted[1, 0, ..., 1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("solver", ["conjugate_gradients", "krylov", "cholesky"])
@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize(("n", "p", "weighted", "intercept", "deficient"), REGIMES)
def test_whatever_auto_takes_results_are_those_of_the_decomposition(
    solver, form, n, p, weighted, intercept, deficient, rng, tmp_path, monkeypatch
):
    monkeypatch.setattr(path_solvers, "choose", lambda job, shape: solver)
    X, y, weight = make(rng, n, p, weighted, deficient)
    weight = None if weight is None else weight + 0.1  # a factor refuses rows without weight
    expected = fd.Spectrum.from_design(X, intercept, weight, solver="svd").path(y, 1.0, XI)
    spectrum = fd.Spectrum.from_design(FORMS[form](X, tmp_path), intercept, weight)
    path = spectrum.path(y, 1.0, XI)
    for name in ("coef", "intercept", "fitted", "train_mse"):
        np.testing.assert_allclose(getattr(path, name), getattr(expected, name), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(path.predict(X[:3]), expected.predict(X[:3]), rtol=1e-9, atol=1e-10)
    assert spectrum.method == solver
    assert path.error_estimate.max() <= 1e-12
    for name in ("dof", "gcv", "loo", "loo_mse"):  # which iterative solvers leave to a decomposition
        np.testing.assert_allclose(getattr(path, name), getattr(expected, name), rtol=1e-8, atol=1e-10)
    assert not path.dof_error.any()
    np.testing.assert_allclose(path.filters, expected.filters, rtol=1e-8, atol=1e-10)
    assert spectrum.method in ("gram", "svd")


class TestFallingBack:
    @pytest.fixture
    def design(self, rng):
        X, y, _ = make(rng, 60, 40)
        return scipy.sparse.csr_array(X), y

    @pytest.mark.parametrize("way", ["conjugate_gradients", "krylov", "cholesky"])
    def test_a_small_problem_is_decomposed(self, design, way, monkeypatch):
        monkeypatch.setattr(path_solvers, "choose", lambda job, shape: way)
        monkeypatch.setattr(path_solvers, "iterations", lambda job, shape: 2)
        monkeypatch.setattr(path_solvers, "ACCEPTED", -1.0)
        monkeypatch.setattr(DesignProblem, "factor", lambda self, lam: None)
        X, y = design
        spectrum = fd.Spectrum.from_design(X)
        path = spectrum.path(y, 1.0, [0.5])
        assert spectrum.method in ("gram", "svd")
        expected = fd.Spectrum.from_design(X.toarray(), solver="svd").path(y, 1.0, [0.5])
        np.testing.assert_allclose(path.coef, expected.coef, rtol=1e-9)

    @pytest.mark.parametrize("way", ["conjugate_gradients", "cholesky"])
    def test_a_large_one_takes_a_krylov_basis(self, design, way, monkeypatch):
        monkeypatch.setattr(path_solvers, "choose", lambda job, shape: way)
        monkeypatch.setattr(path_solvers, "iterations", lambda job, shape: 2)
        monkeypatch.setattr(path_solvers, "EXACT_SIDE", 10)
        monkeypatch.setattr(DesignProblem, "factor", lambda self, lam: None)
        X, y = design
        spectrum = fd.Spectrum.from_design(X)
        path = spectrum.path(y, 1.0, [0.5])
        assert spectrum.method == "krylov"
        expected = fd.Spectrum.from_design(X.toarray(), solver="svd").path(y, 1.0, [0.5])
        np.testing.assert_allclose(path.coef, expected.coef, rtol=1e-8)
        assert path.dof == pytest.approx(expected.dof, abs=6 * path.dof_error.max())

    def test_and_says_what_it_could_not_reach(self, rng, monkeypatch):
        monkeypatch.setattr(path_solvers, "choose", lambda job, shape: "krylov")
        monkeypatch.setattr(path_solvers, "EXACT_SIDE", 10)
        monkeypatch.setattr("fastdistill.spectral.decompositions.krylov.SMALLEST_BUDGET", 8 * 200 * 12)
        X = scipy.sparse.csr_array(make(rng, 300, 200, share=0.04)[0])
        spectrum = fd.Spectrum.from_design(X)
        with pytest.warns(
            RuntimeWarning, match=r"relative errors of up to .* above 1e-09 \(see error_estimate"
        ) as seen:
            path = spectrum.path(rng.standard_normal(300), 1e-3, [0.5])
        assert seen[0].filename == __file__
        assert path.error_estimate.max() > 1e-9

    def test_columns_of_all_sizes_are_decomposed(self, rng, monkeypatch):
        monkeypatch.setattr(path_solvers, "choose", lambda job, shape: "conjugate_gradients")
        X, y, _ = make(rng, 40, 8, share=0.8)
        X *= np.logspace(-4, 6, 8)
        spectrum = fd.Spectrum.from_design(scipy.sparse.csr_array(X))
        spectrum.path(y, 1.0, [0.5])
        assert spectrum.method == "graded"

    def test_extreme_sizes(self, design):
        X, y = design
        huge = fd.Spectrum.from_design(X * 1e70)
        np.testing.assert_allclose(
            huge.path(y, 1e140, [0.5]).fitted, fd.Spectrum.from_design(X).path(y, 1.0, [0.5]).fitted, rtol=1e-8
        )
        with pytest.raises(ValueError, match="leave float64: rescale"):
            fd.Spectrum.from_design(X * 1e70, solver="krylov").path(y, 1e140, [0.5])
        with pytest.raises(ValueError, match=r"lam=1e\+250 is too large"):
            fd.Spectrum.from_design(X, solver="krylov").path(y, 1e250, [0.5])


class TestEstimatedTraces:
    def test_within_their_standard_errors_and_the_same_again(self, rng):
        X, y, weight = make(rng, 150, 90, weighted=True)
        expected = fd.Spectrum.from_design(X, True, weight, solver="svd").path(y, LAM, XI)
        paths = [
            fd.Spectrum.from_design(scipy.sparse.csr_array(X), True, weight, solver="krylov").path(y, LAM, XI)
            for _ in range(2)
        ]
        error = paths[0].dof_error
        assert error.shape == (3, 2, 4)
        assert np.all(error > 0)
        assert np.all(np.abs(paths[0].dof - expected.dof) <= 5 * error)
        np.testing.assert_array_equal(paths[0].dof, paths[1].dof)
        left = np.count_nonzero(weight) - paths[0].dof
        np.testing.assert_allclose(
            paths[0].gcv, paths[0].train_mse * np.square(np.count_nonzero(weight) / left)[..., None]
        )

    def test_of_other_paths_are_exact(self, rng):
        X, y, _ = make(rng, 30, 10)
        spectrum = fd.Spectrum.from_design(X)
        for lam, shape in ((1.0, (2, 4)), (LAM, (3, 2, 4))):
            path = spectrum.path(y, lam, XI)
            assert path.dof_error.shape == shape
            assert path.error_estimate.shape == (*shape, 2)
            assert not path.error_estimate.any()
        assert spectrum.limit(y, 1.0, 0.5).error_estimate.shape == (2,)


@pytest.fixture
def no_dense_copy(monkeypatch):
    """Sparse arrays of the design's shape cannot be made dense."""

    def forbid(shape):
        for kind in (scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.csr_matrix):
            make_dense = kind.toarray

            def toarray(self, *args, make_dense=make_dense, **kwargs):
                assert self.shape not in (shape, shape[::-1]), "a dense copy"
                return make_dense(self, *args, **kwargs)

            monkeypatch.setattr(kind, "toarray", toarray)
            monkeypatch.setattr(kind, "todense", toarray)

    return forbid


class TestMemory:
    @pytest.mark.parametrize("shape", [(4000, 2100), (2100, 4000)])
    @pytest.mark.parametrize("intercept", [False, True])
    def test_no_dense_copy_of_a_sparse_design(self, shape, intercept, rng, no_dense_copy):
        X = scipy.sparse.random_array(shape, density=1e-3, rng=rng, format="csr", data_sampler=rng.standard_normal)
        y = rng.standard_normal(shape[0])
        no_dense_copy(shape)
        tracemalloc.start()
        for solver in ("auto", "krylov"):
            for k in (0, 2):
                fd.DistilledRidge(n_steps=k, fit_intercept=intercept, solver=solver).fit(X, y)
            path = fd.Spectrum.from_design(X, intercept, solver=solver).path(y, [1.0, 30.0], XI)
            _ = path.coef, path.train_mse
        _ = fd.Spectrum.from_design(X, intercept).path(y, 30.0, [0.5]).gcv
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 0.15 * 8 * shape[0] * shape[1]

    def test_of_a_memory_map(self, rng, tmp_path):
        X = np.memmap(tmp_path / "X.dat", dtype=np.float32, mode="w+", shape=(20_000, 100))
        X[:] = rng.standard_normal(X.shape)
        y = rng.standard_normal(len(X))
        tracemalloc.start()
        spectrum = fd.Spectrum.from_design(X, True, solver="krylov", tol=1e-6)
        path = spectrum.path(y, 1.0, [0.5])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 0.5 * 4 * X.size
        assert path.coef.dtype == np.float32
        expected = fd.Spectrum.from_design(np.array(X), True).path(y, 1.0, [0.5])
        np.testing.assert_allclose(path.coef, expected.coef, rtol=2e-3, atol=1e-5)

    @pytest.mark.parametrize("shape", [(300, 40), (40, 300)])
    @pytest.mark.parametrize("intercept", [False, True])
    def test_empty_columns_and_repeated_rows_stay_sparse(self, shape, intercept, rng, no_dense_copy):
        X, y, _ = make(rng, *shape, deficient=True)
        expected = fd.Spectrum.from_design(X, intercept, solver="svd")
        no_dense_copy(shape)
        spectrum = fd.Spectrum.from_design(scipy.sparse.csr_array(X), intercept)
        np.testing.assert_allclose(spectrum.d, expected.d, rtol=1e-10)
        assert (spectrum.method, spectrum.rank) == ("gram", expected.rank)
        found, wanted = (s.path(y, LAM, XI) for s in (spectrum, expected))
        np.testing.assert_allclose(found.loo, wanted.loo, rtol=1e-8, atol=1e-9)

    @pytest.mark.parametrize("shape", [(300, 40), (40, 300)])
    @pytest.mark.parametrize("columns", ["collinear", "uneven", "far from zero"])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_an_ill_conditioned_one_stays_sparse(self, shape, columns, weighted, rng, no_dense_copy, monkeypatch):
        monkeypatch.setattr(sparse, "BLOCK_ENTRIES", 2000)
        X, y, weight = make(rng, *shape)
        if columns == "collinear":
            X[:, 1:] = X[:, :1] + 1e-3 * X[:, 1:]
        elif columns == "uneven" and shape[0] > shape[1]:
            X *= np.logspace(0, -5, shape[1])
        else:
            X[:, 0] = 1e5 + X[:, 0]
            X[:, 1] = 7.3
        weight = weight if weighted else None
        expected = fd.Spectrum.from_design(X, True, weight, solver="svd")
        no_dense_copy(shape)
        for solver in ("auto", "svd"):
            spectrum = fd.Spectrum.from_design(scipy.sparse.csr_array(X), True, weight, solver=solver)
            np.testing.assert_allclose(spectrum.d, expected.d, rtol=1e-7)
            assert spectrum.method == expected.method or (spectrum.method, columns) == ("svd", "far from zero")
            found, wanted = (s.path(y, LAM, XI) for s in (spectrum, expected))
            for name in ("coef", "fitted", "dof", "loo", "gcv"):
                wanted_values = getattr(wanted, name)
                tolerance = 1e-9 * np.abs(wanted_values).max()
                np.testing.assert_allclose(getattr(found, name), wanted_values, rtol=1e-9, atol=tolerance)
            np.testing.assert_allclose(found.predict(scipy.sparse.csr_array(X[:9])), wanted.predict(X[:9]), rtol=1e-8)

    def test_what_is_made_dense_or_inexact_is_said(self, rng, monkeypatch):
        monkeypatch.setattr(sparse, "BLOCK_ENTRIES", 100)
        X, _, _ = make(rng, 60, 10, share=0.9)
        heavy = np.where(np.arange(60) == 3, 1e9, 1.0)
        with pytest.warns(RuntimeWarning, match="The sparse X is made dense.*its weights differ"):
            assert fd.Spectrum.from_design(scipy.sparse.csr_array(X), sample_weight=heavy, solver="svd").rank == 10
        X = X @ np.diag(np.logspace(0, -4, 10)) @ rng.standard_normal((10, 10))
        monkeypatch.setattr(sparse, "FACTOR_WORK", 100)
        spectrum = fd.Spectrum.from_design(scipy.sparse.csr_array(X))
        with pytest.warns(RuntimeWarning, match="inexact by the Gram matrix.*solver='svd'"):
            assert spectrum.method == "gram"

    def test_of_a_kernel_given_by_rows(self, rng, monkeypatch):
        monkeypatch.setattr(kernel_ridge, "STORED", 2**14)
        monkeypatch.setattr(kernel_ridge, "VALUES", 2**15)
        X, y = rng.standard_normal((1500, 2)), rng.standard_normal(1500)
        model = fd.DistilledKernelRidge(alpha=30.0, gamma=0.05, solver="krylov", tol=1e-3)
        model.fit(X[:300], y[:300])
        tracemalloc.start()
        model.fit(X, y).predict(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 0.7 * 8 * 1500**2


class TestKernels:
    @pytest.fixture
    def data(self, rng):
        X = rng.standard_normal((70, 3))
        y = np.sin(X[:, :2]) + 0.1 * rng.standard_normal((70, 2))
        return X, y, rng.uniform(0.2, 2.0, 70) * (rng.random(70) < 0.9)

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("intercept", [False, True])
    @pytest.mark.parametrize("kind", [np.ascontiguousarray, np.asfortranarray, np.float32])
    def test_of_a_matrix(self, data, weighted, intercept, kind):
        X, y, weight = data
        K = np.exp(-0.5 * np.square(X[:, None] - X).sum(axis=-1))
        weight = weight if weighted else None
        expected = fd.Spectrum.from_kernel(K, intercept, weight, solver="eigh").path(y, LAM, XI)
        spectrum = fd.Spectrum.from_kernel(kind(K), intercept, weight, solver="krylov", tol=1e-10)
        path = spectrum.path(y, LAM, XI)
        assert spectrum.method == "krylov"
        tolerance = 1e-5 if kind is np.float32 else 1e-8
        assert relative(path.fitted, expected.fitted, -2).max() <= tolerance
        assert relative(path.predict(K[:9]), expected.predict(K[:9]), -2).max() <= tolerance
        np.testing.assert_allclose(path.train_mse, expected.train_mse, rtol=10 * tolerance)
        np.testing.assert_allclose(path.intercept, expected.intercept, rtol=1e-4, atol=10 * tolerance)
        assert np.all(np.abs(path.dof - expected.dof) <= 5 * path.dof_error + 1e-6)
        if kind is not np.float32:
            assert relative(path.dual_coef, expected.dual_coef, -2).max() <= 1e-6

    @pytest.mark.parametrize("stored", [2**25, 0])
    @pytest.mark.parametrize("params", [{}, {"gamma": 0.3}, {"kernel": "laplacian", "fit_intercept": False}])
    def test_of_estimators(self, data, params, stored, monkeypatch):
        monkeypatch.setattr(kernel_ridge, "STORED", stored)
        monkeypatch.setattr(kernel_ridge, "VALUES", 700)
        X, y, weight = data
        exact, krylov = (
            fd.DistilledKernelRidge(alpha=[0.1, 0.5], xi=0.5, n_steps=2, solver=solver, tol=1e-10, **params)
            for solver in ("eigh", "krylov")
        )
        for Z in (X, scipy.sparse.csr_array(X)):
            found = krylov.fit(Z, y, weight)
            wanted = exact.fit(X, y, weight)
            np.testing.assert_allclose(found.dual_coef_, wanted.dual_coef_, rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(found.predict(Z), wanted.predict(X), rtol=1e-6, atol=1e-7)
        with pytest.raises(ValueError, match=r"solver='krylov' gives no standard deviations; use solver='auto'"):
            krylov.predict(X, return_std=True)
        mean, std = exact.predict(X, return_std=True)
        monkeypatch.setattr(kernel_ridge, "VALUES", 2**24)
        np.testing.assert_allclose(exact.predict(X, return_std=True)[0], mean, rtol=1e-9)
        np.testing.assert_allclose(exact.predict(X, return_std=True)[1], std, rtol=1e-6)

    def test_of_a_precomputed_matrix(self, data):
        X, y, _ = data
        K = X @ X.T
        found, wanted = (
            fd.DistilledKernelRidge(kernel="precomputed", solver=s, tol=1e-10).fit(K, y) for s in ("krylov", "auto")
        )
        np.testing.assert_allclose(found.predict(K), wanted.predict(K), rtol=1e-7, atol=1e-8)

    def test_an_indefinite_one_is_refused(self, data):
        y = data[1]
        with pytest.raises(ValueError, match="must be positive semi-definite"):
            fd.Spectrum.from_kernel(np.diag(np.linspace(-1, 1, 70)), solver="krylov").path(y, 0.1, [0.5])


class TestMessages:
    @pytest.mark.parametrize("name", ["filters", "loo", "loo_mse"])
    def test_what_a_path_cannot_give(self, name, rng):
        X, y, _ = make(rng, 30, 10)
        path = fd.Spectrum.from_design(X, solver="krylov").path(y, 1.0, [0.5])
        with pytest.raises(ValueError, match=r"solver='krylov' gives .* no eigenvalues.*use solver='auto'"):
            getattr(path, name)

    def test_what_a_spectrum_cannot_give(self, rng):
        X, y, _ = make(rng, 30, 10)
        spectrum = fd.Spectrum.from_design(X, solver="krylov")
        path = spectrum.path(y, 1.0, [0.5])
        for call in (
            lambda: spectrum.d,
            lambda: spectrum.limit(y, 1.0, 0.5),
            lambda: spectrum.tolerance_path(y, 0.5),
            lambda: path.predict_std(X),
            lambda: path.standard_error(X, 1.0),
            lambda: fd.tune(spectrum, y[:, 0], [1.0], n_steps=1),
        ):
            with pytest.raises(ValueError, match=r"solver='krylov' gives .*use solver='auto'"):
                call()
        assert repr(spectrum) == "Spectrum(n_samples=30, n_features=10, method='krylov', fit_intercept=False)"

    def test_operators(self, rng):
        X, y, _ = make(rng, 30, 10)
        with pytest.raises(ValueError, match=r"solver='svd' needs an array; a LinearOperator has solver='krylov'"):
            fd.Spectrum.from_design(aslinearoperator(X), solver="svd")
        with pytest.raises(ValueError, match="real numbers"):
            fd.Spectrum.from_design(aslinearoperator(X * 1j))
        spectrum = fd.Spectrum.from_design(aslinearoperator(X), tol=1e-10)
        expected = fd.Spectrum.from_design(X).path(y, 1.0, [0.5])
        np.testing.assert_allclose(spectrum.path(y, 1.0, [0.5]).coef, expected.coef, rtol=1e-7)
        with pytest.raises(ValueError, match=r"a LinearOperator has solver='krylov' only"):
            spectrum.d  # noqa: B018  # reading it decomposes

    def test_memory_maps(self, rng, tmp_path):
        X = memory_map(rng.standard_normal((3000, 60)), tmp_path)
        X[2800, 3] = np.nan
        with pytest.raises(ValueError, match=r"contains NaN at index"):
            fd.Spectrum.from_design(X, solver="krylov")

    def test_parameters(self, rng):
        X, y, _ = make(rng, 30, 10)
        for call, message in (
            (lambda: fd.Spectrum.from_design(X, solver="lsqr"), "solver must be one of 'auto', 'svd'"),
            (lambda: fd.Spectrum.from_design(X, tol=0.0), "tol must be above 0"),
            (lambda: fd.Spectrum.from_kernel(X @ X.T, tol=0.0), "tol must be above 0"),
            (lambda: fd.DistilledRidge(solver="eigh").fit(X, y), "solver must be one of 'auto', 'svd'"),
            (lambda: fd.DistilledRidge(tol=-1.0).fit(X, y), "tol must be above 0"),
            (lambda: fd.DistilledRidgeCV(solver="krylov").fit(X, y), "solver must be one of 'auto', 'svd', 'gram'"),
            (lambda: fd.DistilledKernelRidge(solver="svd").fit(X, y), "solver must be one of 'auto', 'eigh'"),
            (lambda: fd.DistilledKernelRidgeCV(solver="svd").fit(X, y), "solver must be one of 'auto', 'eigh'"),
        ):
            with pytest.raises(ValueError, match=message):
                call()


class TestNamedSolvers:
    @pytest.mark.parametrize("form", ["dense", "csr", "csc"])
    @pytest.mark.parametrize("solver", ["svd", "gram", "cholesky", "krylov"])
    def test_of_estimators(self, form, solver, rng, tmp_path):
        X, y, weight = make(rng, 60, 12, weighted=True)
        labels = np.where(y[:, 0] > 0, "a", "b")
        given = FORMS[form](X, tmp_path)
        for make_model, target in (
            (lambda s: fd.DistilledRidge(xi=0.5, n_steps=2, solver=s, tol=1e-11), y),
            (lambda s: fd.DistilledRidgeClassifier(xi=0.5, n_steps=2, solver=s, tol=1e-11), labels),
        ):
            found, wanted = make_model(solver).fit(given, target, weight), make_model("auto").fit(X, target, weight)
            np.testing.assert_allclose(found.coef_, wanted.coef_, rtol=1e-7)
            np.testing.assert_allclose(found.intercept_, wanted.intercept_, rtol=1e-7)

    @pytest.mark.parametrize("form", ["dense", "csr"])
    @pytest.mark.parametrize("solver", ["svd", "gram"])
    def test_decompositions(self, form, solver, rng, tmp_path):
        X, y, _ = make(rng, 60, 12)
        spectrum = fd.Spectrum.from_design(FORMS[form](X, tmp_path), True, solver=solver)
        path = spectrum.path(y, 1.0, [0.5])
        assert spectrum.method == solver
        np.testing.assert_allclose(path.coef, fd.Spectrum.from_design(X, True).path(y, 1.0, [0.5]).coef, rtol=1e-9)
        found, wanted = (fd.DistilledRidgeCV(solver=s).fit(FORMS[form](X, tmp_path), y) for s in (solver, "auto"))
        np.testing.assert_allclose(found.coef_, wanted.coef_, rtol=1e-7)

    def test_a_named_gram_matrix_warns_where_it_is_inexact(self, rng):
        X = rng.standard_normal((40, 5)) @ np.diag(np.logspace(0, -4, 5)) @ rng.standard_normal((5, 5))
        with pytest.warns(RuntimeWarning, match=r"inexact by the Gram matrix.*use solver='svd'"):
            assert fd.Spectrum.from_design(X, solver="gram").method == "gram"


def test_paths_of_a_kept_design_follow_it(rng):
    """Without a copy: what the documentation says must not be done."""
    X, y, _ = make(rng, 30, 10)
    X = scipy.sparse.csr_array(X)
    spectrum = fd.Spectrum.from_design(X, solver="krylov", tol=1e-10)
    copied = fd.Spectrum.from_design(X)
    before = copied.path(y, 1.0, [0.5]).coef
    X.data *= 2.0
    np.testing.assert_allclose(spectrum.path(y, 4.0, [0.5]).coef, before / 2.0, rtol=1e-7)
    np.testing.assert_allclose(copied.path(y, 2.0, [0.5]).intercept, 0.0)


SMALL, WIDE, TALL = (
    Shape("sparse", 400, 100, 4000, 4000.0),
    Shape("sparse", 5000, 20_000, 200_000, 2e6),
    Shape("sparse", 200_000, 50_000, 10**7, 5e8),
)


@pytest.mark.parametrize(
    ("job", "shape", "expected"),
    [
        (Job(1, 1, 1), Shape("dense", 500, 100), "cholesky"),
        (Job(1, 1, 1, factored=1), Shape("dense", 500, 100), "cholesky"),
        (Job(1, 1, 1, factored=2), Shape("dense", 500, 100), "decomposition"),
        (Job(5, 1, 1), Shape("dense", 500, 100), "decomposition"),
        (Job(1, 1, 1), SMALL, "cholesky"),
        (Job(5, 1, 1), SMALL, "decomposition"),
        (Job(1, 0, 1), WIDE, "conjugate_gradients"),
        (Job(1, 1, 30), WIDE, "conjugate_gradients"),
        (Job(1, 1, 1, schedules=9), WIDE, "krylov"),
        (Job(1, 3, 1), WIDE, "conjugate_gradients"),
        (Job(20, 2, 1), WIDE, "krylov"),
        (Job(1, 0, 1), TALL, "conjugate_gradients"),
        (Job(5, 2, 1), TALL, "krylov"),
        (Job(1, 1, 300), Shape("sparse", 4000, 1000, 40_000, 4e5), "cholesky"),
        (Job(5, 1, 1), Shape("operator", 10, 10), "krylov"),
        (Job(1, 1, 1), Shape("operator", 10, 10), "krylov"),
    ],
)
def test_the_table_of_solvers(job, shape, expected):
    assert choose(job, shape) == expected


def test_conjugate_gradients_may_take_as_long_as_the_exact_way():
    assert iterations(Job(1, 0, 1), TALL) == 1000
    assert 100 <= iterations(Job(1, 0, 1), Shape("sparse", 5000, 2000, 100_000, 2e6)) <= 1000
    assert iterations(Job(1, 0, 1), SMALL) == 100
