"""Predictive deviations and standard errors against refitted Gaussian processes and closed forms written out."""

from __future__ import annotations

import pickle
from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastdistill as fd
from fastdistill import DistilledKernelRidge
from fastdistill.spectral.gaussian_process import Posterior
from tests import oracle
from tests.test_path import make_rows, make_spectrum

SCHEDULES = ([], [0.5], [1.0, -0.3, 0.7], [1.5, 1.5])
# Definite for all data (for non-negative data: chi2); additive_chi2 is definite only beside an intercept.
DEFINITE = (
    "linear",
    "poly",
    "polynomial",
    "rbf",
    "laplacian",
    "cosine",
    "chi2",
    lambda a, b: (1.0 + a @ b) ** 2,
    RBF(0.9),
)
KERNELS = [*product(DEFINITE, (False, True)), ("additive_chi2", True)]


def problem(rng, n=18, p=3, m=None):
    """Non-negative data, targets with a mean far from zero, and queries inside and outside of the data."""
    X = rng.uniform(0.0, 2.0, (n, p))
    signal = np.sin(X @ rng.standard_normal((p, m or 1))) + 3.0
    y = signal + 0.1 * rng.standard_normal(signal.shape)
    queries = np.vstack([X[:3], rng.uniform(0.0, 4.0, (4, p)), np.full((1, p), 30.0)])
    return X, y if m else y[:, 0], queries


def refitted(X, y, lam, xi, queries, kernel):
    """Means and deviations of scikit-learn's process, refitted to its own posterior mean at every step."""
    model = GaussianProcessRegressor(kernel, alpha=lam, optimizer=None).fit(X, y)
    results = [model.predict(queries, return_std=True)]
    for step in xi:
        model.fit(X, (1 - step) * y + step * model.predict(X))
        results.append(model.predict(queries, return_std=True))
    return tuple(np.array(part) for part in zip(*results, strict=True))


def variance(K, Kq, diag, lam, fit_intercept, w):
    """k(x, x) − [k_x 1] [K + λ/W 1; 1ᵀ 0]⁻¹ [k_x 1]ᵀ over the samples of positive weight; bordered for an intercept."""
    w = np.ones(len(K)) if w is None else w
    used = np.flatnonzero(w > 0)
    system = K[np.ix_(used, used)] + np.diag(lam / w[used])
    cross = Kq[:, used]
    if fit_intercept:
        ones = np.ones((len(used), 1))
        system = np.block([[system, ones], [ones.T, np.zeros((1, 1))]])
        cross = np.hstack([cross, np.ones((len(cross), 1))])
    return diag - np.einsum("ij,ji->i", cross, np.linalg.solve(system, cross.T))


# -- The core --------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["none", "random"])
@pytest.mark.parametrize("m", [None, 2])
def test_equals_refitted_gaussian_processes(m, weights, rng):
    X, y, queries = problem(rng, m=m)
    w = oracle.weights(weights, len(y), rng)
    kernel = RBF(0.9, "fixed")
    spectrum = fd.Spectrum.from_kernel(kernel(X), sample_weight=w)
    for lam, xi in product((1e-4, 0.05, 2.0), SCHEDULES):
        path = spectrum.path(y, lam, xi)
        mean, std = refitted(X, y, lam if w is None else lam / w, xi, queries, kernel)
        Kq = kernel(queries, X)
        np.testing.assert_allclose(path.predict(Kq), mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(path.predict_std(Kq, kernel.diag(queries)), std, rtol=1e-9)


@pytest.mark.parametrize("weights", oracle.WEIGHTS)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("regime", oracle.REGIMES)
@pytest.mark.parametrize("decomposition", ["design", "sparse", "kernel", "kernel_of_design"])
def test_equals_the_bordered_system(decomposition, regime, fit_intercept, weights, rng):
    is_kernel = decomposition.startswith("kernel")
    rows, queries = make_rows("kernel" if decomposition == "kernel" else "design", regime, rng)
    queries = np.vstack([queries, rows[:3]])
    K, Kq, diag = rows, queries, np.ones(len(queries))
    if decomposition != "kernel":
        K, Kq, diag = rows @ rows.T, queries @ rows.T, np.square(queries).sum(axis=1)
    w = oracle.weights(weights, len(rows), rng)
    spectrum = make_spectrum(decomposition, K if is_kernel else rows, fit_intercept=fit_intercept, sample_weight=w)
    lams = (spectrum.d[0] if spectrum.rank else 1.0) * np.array([1e-6, 1e-3, 0.1, 10.0])
    path = spectrum.path(np.zeros(len(rows)), lams, [0.5])
    if is_kernel:
        ours = path.predict_std(Kq, diag)
    else:
        ours = path.predict_std(sp.csr_array(queries) if decomposition == "sparse" else queries)
    assert ours.shape == (4, 2, len(queries))
    assert np.array_equal(ours[:, 0], ours[:, 1])
    for lam, std in zip(lams, ours[:, 0], strict=True):
        exact = variance(K, Kq, diag, lam, fit_intercept, w)
        # what is subtracted is of the size of the prior, and so are its rounding errors
        np.testing.assert_allclose(std**2, exact, rtol=1e-9, atol=1e-11 * diag.max())


@pytest.mark.parametrize("weights", oracle.WEIGHTS)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("regime", oracle.REGIMES)
@pytest.mark.parametrize("decomposition", ["design", "sparse", "kernel", "kernel_of_design"])
def test_standard_errors_equal_the_weights_of_the_samples(decomposition, regime, fit_intercept, weights, rng):
    is_kernel = decomposition.startswith("kernel")
    rows, queries = make_rows(decomposition, regime, rng)
    n = len(rows)
    w = oracle.weights(weights, n, rng)
    spectrum = make_spectrum(decomposition, rows, fit_intercept=fit_intercept, sample_weight=w)
    lams = (spectrum.d[0] if spectrum.rank else 1.0) * np.array([1e-5, 1e-2, 10.0])
    xi, noise = [0.4, 1.0, -1.5], np.array([0.3, 0.0, 2.0])
    arguments = sp.csr_array(queries) if decomposition == "sparse" else queries
    ours = spectrum.path(np.zeros((n, 3)), lams, xi).standard_error(arguments, noise)
    assert ours.shape == (3, 4, len(queries), 3)
    options = {"kernel": is_kernel, "fit_intercept": fit_intercept, "sample_weight": w}
    for lam, errors in zip(lams, ours, strict=True):
        shares = oracle.students(rows, np.eye(n), lam, xi, **options).predict(queries)  # (k + 1, q, n)
        inverse = np.ones(n) if w is None else np.divide(1.0, w, out=np.zeros(n), where=w > 0)
        exact = np.sqrt(np.square(shares) @ inverse)[:, :, None] * np.sqrt(noise)
        np.testing.assert_allclose(errors, exact, rtol=1e-9, atol=1e-9 * exact.max())


def test_a_flat_prior_is_the_limit_of_a_large_constant(rng):
    X, y, queries = problem(rng, m=2)
    w = rng.uniform(0.2, 2.0, len(y))
    kernel = RBF(0.9, "fixed")
    path = fd.Spectrum.from_kernel(kernel(X), fit_intercept=True, sample_weight=w).path(y, 0.05, [0.5, -0.3])
    mean, std = path.predict(kernel(queries, X)), path.predict_std(kernel(queries, X), np.ones(len(queries)))
    for c in (1e3, 1e5, 1e7):
        # the constant of variance c shrinks the mean by a share of order 1 / c, and rounding grows as c
        means, deviations = refitted(X, y, 0.05 / w, [0.5, -0.3], queries, kernel + ConstantKernel(c, "fixed"))
        np.testing.assert_allclose(mean, means, rtol=10 / c + 1e-14 * c)
        np.testing.assert_allclose(std, deviations, rtol=10 / c + 1e-14 * c)


def test_designs_equal_refitted_processes_of_the_linear_kernel(rng):
    X, y, queries = problem(rng)
    path = fd.Spectrum.from_design(X).path(y, [0.05, 2.0], [0.5, -0.3])
    for lam, mean, std in zip(path.lam, path.predict(queries), path.predict_std(queries), strict=True):
        exact = refitted(X, y, lam, [0.5, -0.3], queries, DotProduct(0.0, "fixed"))
        np.testing.assert_allclose((mean, std), exact, rtol=1e-9)


def test_integer_weights_are_repetitions(rng):
    X, y, queries = problem(rng)
    counts = rng.integers(0, 4, len(y))
    for fit_intercept in (False, True):
        students = []
        for data, w in ((X, counts), (np.repeat(X, counts, axis=0), None)):
            K, Kq = oracle.rbf(data, data, 0.3), oracle.rbf(queries, data, 0.3)
            spectrum = fd.Spectrum.from_kernel(K, fit_intercept=fit_intercept, sample_weight=w)
            path = spectrum.path(np.zeros(len(data)), [0.05, 2.0], [0.5])
            students.append((path.predict_std(Kq, np.ones(len(queries))), path.standard_error(Kq, 0.7)))
        np.testing.assert_allclose(students[0], students[1], rtol=1e-9)


def test_handing_on_the_posterior_is_an_ordinary_process_of_less_noise(rng):
    X, y, queries = problem(rng)
    n, points, lam = len(y), np.vstack([X, queries]), 0.4
    mean, covariance = np.zeros(len(points)), oracle.rbf(points, points, 0.3)
    spectrum = fd.Spectrum.from_kernel(covariance[:n, :n])
    for t in range(4):
        gain = np.linalg.solve(covariance[:n, :n] + lam * np.eye(n), covariance[:n]).T
        mean, covariance = mean + gain @ (y - mean[:n]), covariance - gain @ covariance[:n]
        path = spectrum.path(y, lam / (t + 1), [])
        Kq = oracle.rbf(queries, X, 0.3)
        np.testing.assert_allclose(path.predict(Kq)[0], mean[n:], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(path.predict_std(Kq, np.ones(8))[0] ** 2, np.diag(covariance)[n:], rtol=1e-9)


def test_standard_errors_are_the_spread_over_new_noise():
    rng = np.random.default_rng(3)
    X, y, queries = problem(rng)
    w = rng.uniform(0.2, 2.0, len(y))
    draws = y[:, None] + np.sqrt(0.3 / w)[:, None] * rng.standard_normal((len(y), 20_000))
    path = fd.Spectrum.from_design(X, fit_intercept=True, sample_weight=w).path(draws, 0.5, [0.7, -1.0])
    spread = path.predict(queries).std(axis=-1)
    np.testing.assert_allclose(path.standard_error(queries, 0.3)[..., 0], spread, rtol=0.03)


def test_of_the_limit(rng):
    X, y, queries = problem(rng, m=2)
    K, Kq = oracle.rbf(X, X, 0.3), oracle.rbf(queries, X, 0.3)
    spectrum = fd.Spectrum.from_kernel(K, fit_intercept=True)
    limit = spectrum.limit(y, [0.5, 2.0], [0.3, -0.2, 0.6])
    path = spectrum.path(y, [0.5, 2.0], np.array([[0.3], [-0.2], [0.6]]) * np.ones(200))
    for ours, late in (
        (limit.predict_std(Kq, np.ones(8)), path.predict_std(Kq, np.ones(8))),
        (limit.standard_error(Kq, 0.3), path.standard_error(Kq, 0.3)),
    ):
        assert ours.shape == (2, 3, 8, 2)
        np.testing.assert_allclose(ours, late[:, :, -1], rtol=1e-9)


@pytest.mark.parametrize("lam", [2.0, [0.5, 2.0]])
@pytest.mark.parametrize("xi", [0.5, [0.5, 1.0], [[0.5, 1.0], [1.0, 0.0], [0.3, 0.3]]])
@pytest.mark.parametrize("n_steps", [None, 0])
@pytest.mark.parametrize("m", [None, 1, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_axes_and_the_dtype_are_those_of_the_predictions(lam, xi, n_steps, m, dtype, rng):
    if n_steps == 0:
        xi = 0.5 if xi == 0.5 else np.empty((*np.shape(xi)[:-1], 0))
    elif xi == 0.5:
        n_steps = 2
    X, y, queries = problem(rng, m=m)
    kernel, Kq = (oracle.rbf(data, X, 0.3).astype(dtype) for data in (X, queries))
    for spectrum, arguments, options in (
        (fd.Spectrum.from_kernel(kernel), Kq, {"kernel_diag": [1] * 8}),
        (fd.Spectrum.from_design(X.astype(dtype)), queries.astype(dtype), {}),
    ):
        path = spectrum.path(y, lam, xi, n_steps)
        mean = path.predict(arguments)
        for deviation in (path.predict_std(arguments, **options), path.standard_error(arguments, noise=0.3)):
            assert deviation.shape == mean.shape
            assert deviation.dtype == mean.dtype == dtype
            deviation += 1.0  # nobody else's memory


# the smallest penalty would keep directions that the kernel itself has lost
@pytest.mark.filterwarnings("ignore:Rounding of K hides every direction:RuntimeWarning")
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("lam", [0.0, 1e-300, 1e-14, 1e-8, 1.0, 1e14])
def test_deviations_are_numbers_between_nothing_and_the_prior(lam, dtype, fit_intercept, rng):
    X, y, queries = problem(rng, n=40, p=2)
    X[20:] = X[:20] + 1e-9  # nearly the same samples: many eigenvalues that rounding makes
    w = rng.uniform(0.0, 2.0, 40)
    w[:3] = 0.0, 1e-300, 1e-20
    K, Kq = (oracle.rbf(data, X, 0.3).astype(dtype) for data in (X, np.vstack([X, queries])))
    for weight in (None, w):
        path = fd.Spectrum.from_kernel(K, fit_intercept=fit_intercept, sample_weight=weight).path(y, lam, [0.5])
        std = path.predict_std(Kq, np.ones(len(Kq)))
        assert np.isfinite(std).all()
        assert (std >= 0).all()
        assert fit_intercept or (std <= 1).all()
        floor = np.sqrt(lam / (40 if weight is None else w.sum())) if fit_intercept else 0.0
        assert (std >= dtype(floor * (1 - 1e-6))).all()
        if lam != 1e-300 or dtype == np.float64:  # 1e285 is right there, but no single-precision number
            assert np.isfinite(path.standard_error(Kq, 1.0)).all()


def test_without_noise_the_data_are_certain_and_the_far_is_the_prior(rng):
    X, y, queries = problem(rng)
    K, Kq = oracle.rbf(X, X, 30.0), oracle.rbf(np.vstack([X, queries[-1:]]), X, 30.0)
    std = fd.Spectrum.from_kernel(K).path(y, 0.0, [0.5]).predict_std(Kq, np.full(19, 1.0))
    np.testing.assert_allclose(std, np.append(np.zeros(18), 1.0) * np.ones((2, 1)), atol=1e-7)


def test_errors_of_the_core(rng):
    X, y, queries = problem(rng)
    Kq = oracle.rbf(queries, X, 0.3)
    path = fd.Spectrum.from_kernel(oracle.rbf(X, X, 0.3)).path(y, 0.5, [0.5])
    design = fd.Spectrum.from_design(X).path(y, 0.5, [0.5])
    for use, error, message in (
        (lambda: path.predict_std(Kq), ValueError, "needs kernel_diag"),
        (lambda: path.predict_std(Kq, np.ones(7)), ValueError, "kernel_diag has 7 entries, but there are 8 queries"),
        (lambda: path.predict_std(Kq, 1.0), ValueError, "kernel_diag must be 1-D"),
        (lambda: path.predict_std(Kq, np.full(8, np.nan)), ValueError, "kernel_diag contains NaN"),
        (lambda: path.predict_std(Kq, [-1.0] * 8), ValueError, "kernel_diag must not be negative.*got -1 at index 0"),
        (lambda: path.predict_std(Kq, ["a"] * 8), TypeError, "kernel_diag must hold real numbers"),
        (lambda: path.predict_std(Kq[:, :5], np.ones(8)), ValueError, "Kq must be"),
        (lambda: design.predict_std(queries, np.ones(8)), ValueError, "kernel_diag is for kernels"),
        (lambda: design.predict_std(queries[:, :2]), ValueError, "Xq must have 3 features"),
        (lambda: path.standard_error(Kq, -0.1), ValueError, "noise must be at least 0.*got -0.1"),
        (lambda: path.standard_error(Kq, [0.1, 0.2]), ValueError, "noise has 2 entries, but there are 1 targets"),
        (lambda: path.standard_error(Kq, np.inf), ValueError, "noise contains inf"),
        (lambda: path.standard_error(Kq, "large"), TypeError, "noise must hold real numbers"),
        (lambda: path.standard_error(Kq[:, :5], 0.1), ValueError, "Kq must be"),
    ):
        with pytest.raises(error, match=message):
            use()


# -- The estimator ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["none", "random"])
@pytest.mark.parametrize("m", [None, 2])
def test_the_estimator_equals_refitted_gaussian_processes(m, weights, rng):
    X, y, queries = problem(rng, m=m)
    w = oracle.weights(weights, len(y), rng)
    for alpha, xi in product((1e-4, 0.05, 2.0), SCHEDULES):
        model = DistilledKernelRidge(alpha, xi, None, gamma=0.5 / 0.9**2, fit_intercept=False).fit(X, y, w)
        mean, std = model.predict(queries, return_std=True)
        exact = refitted(X, y, alpha if w is None else alpha / w, xi, queries, RBF(0.9, "fixed"))
        assert mean.shape == std.shape
        np.testing.assert_allclose(mean, exact[0][-1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(std, exact[1][-1], rtol=1e-9)
        np.testing.assert_allclose(mean, model.predict(queries), rtol=1e-12)


@pytest.mark.parametrize(("kernel", "fit_intercept"), KERNELS)
@pytest.mark.parametrize("weights", ["none", "some_zero"])
def test_every_kernel_equals_the_bordered_system(kernel, fit_intercept, weights, rng):
    X, y, queries = problem(rng, n=70)
    queries = np.vstack([queries, rng.uniform(0.0, 2.0, (140, 3)), np.zeros((1, 3))])  # over several blocks
    w = oracle.weights(weights, len(y), rng)
    model = DistilledKernelRidge(0.5, n_steps=2, kernel=kernel, fit_intercept=fit_intercept)
    _, std = model.fit(X, y, w).predict(queries, return_std=True)
    K, Kq, full = (pairwise_kernels(*pair, metric=kernel) for pair in ((X,), (queries, X), (queries,)))
    exact = variance(K, Kq, np.diagonal(full), 0.5, fit_intercept, w)
    np.testing.assert_allclose(std**2, exact, rtol=1e-9, atol=1e-11 * np.abs(np.diagonal(full)).max())
    matrix = clone(model).set_params(kernel="precomputed").fit(K, y, w)
    np.testing.assert_allclose(matrix.predict(Kq, True, np.diagonal(full))[1], std, rtol=1e-10)


@pytest.mark.parametrize("form", [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_array])
@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "laplacian", "cosine", "precomputed"])
def test_sparse_equals_dense(kernel, form, rng):
    X, y, queries = problem(rng, n=80)
    X[X < 1.0], queries[queries < 1.0] = 0.0, 0.0
    options = {"return_std": True}
    if kernel == "precomputed":
        X, queries = X @ X.T, queries @ X.T
        options["kernel_diag"] = np.full(8, 3e3)
    model = DistilledKernelRidge(kernel=kernel)
    dense = model.fit(X, y).predict(queries, **options)
    sparse = clone(model).fit(form(X), y).predict(form(queries), **options)
    np.testing.assert_allclose(sparse, dense, rtol=1e-9)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "precomputed"])
def test_single_precision(kernel, rng):
    X, y, queries = problem(rng, m=2)
    diag = None
    if kernel == "precomputed":
        X, queries, diag = oracle.rbf(X, X, 0.3), oracle.rbf(queries, X, 0.3), np.ones(8)
    model = DistilledKernelRidge(0.1, kernel=kernel)
    exact = model.fit(X, y).predict(queries, True, diag)
    single = clone(model).fit(X.astype(np.float32), y).predict(queries.astype(np.float32), True, diag)
    for ours, twin in zip(single, exact, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, twin, rtol=1e-4)


def test_deviations_do_not_depend_on_targets_or_distillation(rng):
    X, y, queries = problem(rng)
    deviations = [
        DistilledKernelRidge(xi=xi, n_steps=k).fit(X, targets).predict(queries, return_std=True)[1]
        for xi, k, targets in ((1.0, 0, y), (1.0, 5, y), (-2.0, 2, y**2), (0.5, 1, np.zeros(18)))
    ]
    for std in deviations[1:]:
        np.testing.assert_allclose(std, deviations[0], rtol=1e-12)


def test_what_a_fitted_model_keeps(rng):
    X, y, queries = problem(rng, n=60)
    model = DistilledKernelRidge(alpha=0.1, gamma=0.03).fit(X, y)
    before = dict(vars(model))
    first = model.predict(queries, return_std=True)
    assert vars(model) == before
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(queries, return_std=True), first)
    X[...] = 0.0
    model.set_params(alpha=50.0)
    assert np.array_equal(model.predict(queries, return_std=True), first)
    stored = model._posterior._prepared.projection.basis
    assert stored.base is None
    assert stored.shape[0] == 60
    assert stored.shape[1] < 40  # a smooth kernel: most of its eigenvalues are below 1e-5 alpha


def test_what_is_not_stored_changes_nothing(rng):
    X, _, queries = problem(rng, n=60)
    K, Kq = oracle.rbf(X, X, 0.1), oracle.rbf(queries, X, 0.1)
    for fit_intercept, w in product((False, True), (None, rng.uniform(0.2, 2.0, 60))):
        spectrum = fd.Spectrum.from_kernel(K, fit_intercept=fit_intercept, sample_weight=w)
        lam = np.array([1.0])
        short = Posterior(spectrum.coordinates, lam)
        whole = Posterior(spectrum.coordinates, np.array([1e-300, 1.0]))
        assert short.inverse.shape[0] < 0.7 * whole.inverse.shape[0]
        np.testing.assert_allclose(
            short.variance(Kq, np.ones(8))[0], whole.variance(Kq, np.ones(8))[1], rtol=2e-10, atol=1e-15
        )


def test_in_a_pipeline(rng):
    X, y, queries = problem(rng)
    scaler = StandardScaler().fit(X)
    direct = DistilledKernelRidge().fit(scaler.transform(X), y).predict(scaler.transform(queries), return_std=True)
    named = make_pipeline(StandardScaler(), DistilledKernelRidge()).fit(X, y).predict(queries, return_std=True)
    np.testing.assert_allclose(named, direct, rtol=1e-11)  # in a pipeline copies may lie in another order in memory


def test_errors_of_the_estimator(rng):
    X, y, queries = problem(rng)
    model = DistilledKernelRidge()
    with pytest.raises(NotFittedError):
        model.predict(queries, return_std=True)
    with pytest.raises(ValueError, match="kernel_diag is for kernel='precomputed'; kernel='rbf' is evaluated"):
        model.fit(X, y).predict(queries, return_std=True, kernel_diag=np.ones(8))
    matrix = DistilledKernelRidge(kernel="precomputed").fit(X @ X.T, y)
    with pytest.raises(ValueError, match="kernel='precomputed', return_std=True needs kernel_diag"):
        matrix.predict(queries @ X.T, return_std=True)
    with pytest.raises(ValueError, match="kernel_diag has 7 entries, but there are 8 queries"):
        matrix.predict(queries @ X.T, return_std=True, kernel_diag=np.ones(7))
