"""The scikit-learn face: its contract, refits of scikit-learn's own models step by step, and every kind of input."""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from fastdistill import DistilledKernelRidge, DistilledRidge
from tests import oracle

ESTIMATORS = (DistilledRidge, DistilledKernelRidge)
# Definite for all data (for non-negative data: chi2); additive_chi2 is definite only beside an intercept.
DEFINITE = ("linear", "poly", "polynomial", "rbf", "laplacian", "cosine", "chi2")
SCHEDULES = ([], [0.5], [1.0, -0.3, 0.7], [1.5, 1.5])


def close(ours: Any, exact: Any, tolerance: float = 1e-9) -> bool:
    """Whether two arrays of one shape agree in norm."""
    assert np.shape(ours) == np.shape(exact)
    return bool(np.linalg.norm(np.subtract(ours, exact)) <= tolerance * np.linalg.norm(exact))


def problem(rng: np.random.Generator, n: int = 18, p: int = 5, m: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative data with a mean far from zero, and targets with a signal and an offset."""
    X = rng.uniform(0.0, 2.0, (n, p))
    signal = np.sin(X @ rng.standard_normal((p, m or 1))) + 3.0
    y = signal + 0.1 * rng.standard_normal(signal.shape)
    return X, y if m else y[:, 0]


def refitted(model: Any, X: Any, y: np.ndarray, xi: Any, **fit: Any) -> Any:
    """`model` fitted to y, then again and again to (1 − ξ) y + ξ times its own predictions."""
    model.fit(X, y, **fit)
    for step in xi:
        model.fit(X, (1 - step) * y + step * model.predict(X).reshape(y.shape), **fit)
    return model


# -- The contract ----------------------------------------------------------------------------------


@parametrize_with_checks(
    [
        DistilledRidge(),
        DistilledRidge(n_steps=3, xi=0.5),
        DistilledRidge(n_steps=None, xi=[1.0, -0.5]),
        DistilledRidge(n_steps=0, fit_intercept=False),
        DistilledKernelRidge(),
        DistilledKernelRidge(n_steps=3, xi=0.5, kernel="linear"),
        DistilledKernelRidge(n_steps=0, kernel="laplacian", fit_intercept=False),
        DistilledKernelRidge(n_steps=2, xi=-0.3, kernel="poly", degree=2),
        DistilledKernelRidge(kernel="cosine"),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:kernel='precomputed' is indefinite:RuntimeWarning")
def test_scikit_learn_contract_of_precomputed_kernels():
    """Two checks pass matrices that are no kernels, with eigenvalues down to -1.9, which takes a penalty above 1.9."""
    assert len(check_estimator(DistilledKernelRidge(2.0, n_steps=2, kernel="precomputed"), on_skip=None)) > 50


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_clone_and_pickle(estimator, rng):
    X, y = problem(rng, m=2)
    model = estimator(alpha=0.3, xi=np.array([0.5, -0.2]), n_steps=None)
    copy = clone(model)
    assert copy.get_params().keys() == model.get_params().keys()
    assert np.array_equal(copy.xi, model.xi)
    assert not hasattr(copy, "intercept_")
    model.fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert loaded.n_features_in_ == 5


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_fits_are_idempotent_and_leave_the_data_alone(estimator, rng):
    X, y = problem(rng)
    w = rng.uniform(0.0, 2.0, len(y))
    before = X.copy(), y.copy(), w.copy()
    for array in (X, y, w):
        array.flags.writeable = False
    model = estimator(n_steps=2, xi=0.4)
    first = model.fit(X, y, w).predict(X)
    assert np.array_equal(model.fit(X, y, w).predict(X), first)
    assert all(np.array_equal(a, b) for a, b in zip((X, y, w), before, strict=True))
    # BLAS adds up the product of one row in another order
    assert close(np.concatenate([model.predict(row[None]) for row in X]), first, 1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_fitted_model_outlives_changes_of_its_data(estimator, rng):
    X, y = problem(rng)
    queries = X.copy()
    model = estimator().fit(X, y)
    first = model.predict(queries)
    X[...] = 0.0
    assert np.array_equal(model.predict(queries), first)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_pandas(estimator, rng):
    X, y = problem(rng, m=2)
    frame = pd.DataFrame(X, columns=list("abcde"))
    targets = pd.DataFrame(y, columns=["u", "v"])
    weight = pd.Series(rng.uniform(0.0, 2.0, len(y)))
    model = estimator().fit(frame, targets, weight)
    assert list(model.feature_names_in_) == list("abcde")
    # pandas lays its columns one after the other
    assert close(model.predict(frame), estimator().fit(X, y, weight.to_numpy()).predict(X), 1e-12)
    assert estimator().fit(frame, targets["u"]).predict(frame).shape == (18,)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("edcba")])
    model.fit(X[:, :4].copy(), y)  # an array has no names
    assert (model.n_features_in_, hasattr(model, "feature_names_in_")) == (4, False)


def test_grid_search():
    rng = np.random.default_rng(7)
    X, y = problem(rng, n=40)
    grid = {"alpha": [0.1, 1.0], "xi": [0.5, 1.0, -0.5], "n_steps": [0, 1, 2]}
    search = GridSearchCV(DistilledRidge(), grid, cv=KFold(4)).fit(X, y)
    train, test = next(KFold(4).split(X))
    scores = search.cv_results_
    for i in (0, 7, 16):
        model = DistilledRidge(**scores["params"][i]).fit(X[train], y[train])
        assert scores["split0_test_score"][i] == pytest.approx(model.score(X[test], y[test]), rel=1e-12)
    assert np.array_equal(search.predict(X), search.best_estimator_.fit(X, y).predict(X))


def test_a_precomputed_kernel_is_split_by_rows_and_columns():
    X, y = problem(np.random.default_rng(8), n=40)
    grid = {"alpha": [0.1, 1.0], "xi": [0.5, 1.0]}
    named = GridSearchCV(DistilledKernelRidge(gamma=0.4), grid, cv=KFold(4)).fit(X, y)
    matrix = GridSearchCV(DistilledKernelRidge(kernel="precomputed"), grid, cv=KFold(4))
    matrix.fit(pairwise_kernels(X, metric="rbf", gamma=0.4), y)
    np.testing.assert_allclose(matrix.cv_results_["mean_test_score"], named.cv_results_["mean_test_score"], rtol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_sample_weights_are_routed_through_a_pipeline(estimator, rng):
    X, y = problem(rng)
    w = rng.uniform(0.0, 2.0, len(y))
    scaled = StandardScaler().fit_transform(X)
    direct = estimator(n_steps=2).fit(scaled, y, w)
    named = Pipeline([("scale", StandardScaler()), ("model", estimator(n_steps=2))]).fit(X, y, model__sample_weight=w)
    # a pipeline may hand on its copies in another order in memory
    assert close(named.predict(X), direct.predict(scaled), 1e-12)
    with sklearn.config_context(enable_metadata_routing=True):
        model = estimator(n_steps=2).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        routed = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        assert close(routed.fit(X, y, sample_weight=w).predict(X), direct.predict(scaled), 1e-12)
        assert routed.score(X, y, sample_weight=w) == pytest.approx(direct.score(scaled, y, w), rel=1e-11)
        scores = cross_validate(model, X, y, params={"sample_weight": w}, cv=KFold(3))["test_score"]
    train, test = next(KFold(3).split(X))
    exact = model.fit(X[train], y[train], w[train]).score(X[test], y[test], w[test])
    assert scores[0] == pytest.approx(exact, rel=1e-11)


# -- Refitting scikit-learn's models, step by step -------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weights", ["none", "random", "some_zero"])
@pytest.mark.parametrize(("n", "p"), [(20, 4), (8, 15)])
def test_ridge_equals_refitting_ridge(n, p, weights, fit_intercept, rng):
    w = oracle.weights(weights, n, rng)
    for m, xi, alpha in product((None, 1, 3), SCHEDULES, (1e-3, 2.0)):
        X, y = problem(rng, n, p, m)
        ours = DistilledRidge(alpha, xi, None, fit_intercept).fit(X, y, w)
        twin = refitted(Ridge(alpha, fit_intercept=fit_intercept, solver="svd"), X, y, xi, sample_weight=w)
        queries = rng.uniform(0.0, 2.0, (6, p))
        shape = (m, p) if m == 3 else (p,)  # a single column of targets counts as one target
        assert close(ours.coef_, twin.coef_.reshape(shape))
        assert close(ours.intercept_, np.reshape(twin.intercept_, (m,) if m and fit_intercept else ()))
        assert close(ours.predict(queries), twin.predict(queries).reshape(6, *shape[:-1]))


@pytest.mark.parametrize("kernel", DEFINITE)
def test_kernel_ridge_equals_refitting_kernel_ridge(kernel, rng):
    queries = rng.uniform(0.0, 2.0, (6, 5))
    for m, xi, w in product((None, 1, 2), SCHEDULES, (None, rng.uniform(0.2, 2.0, 18))):
        X, y = problem(rng, m=m)
        params = {"kernel": kernel, "gamma": 0.3, "degree": 2, "coef0": 0.7}
        ours = DistilledKernelRidge(0.5, xi, None, **params, fit_intercept=False).fit(X, y, w)
        twin = refitted(KernelRidge(alpha=0.5, **params), X, y, xi, sample_weight=w)
        assert close(ours.predict(queries), twin.predict(queries))
        assert close(ours.dual_coef_, twin.dual_coef_)
        assert ours.intercept_ == 0.0


@pytest.mark.parametrize("kernel", [*DEFINITE, "additive_chi2"])
@pytest.mark.parametrize("weights", ["none", "random", "some_zero"])
def test_kernel_ridge_with_an_intercept_equals_the_bordered_system(kernel, weights, rng):
    params = {} if kernel in ("linear", "cosine", "additive_chi2") else {"gamma": 0.3}
    queries = rng.uniform(0.0, 2.0, (6, 5))
    for m, xi in product((None, 2), SCHEDULES):
        X, y = problem(rng, m=m)
        w = oracle.weights(weights, len(y), rng)
        ours = DistilledKernelRidge(0.5, xi, None, kernel, **params).fit(X, y, w)
        K = pairwise_kernels(X, metric=kernel, **params)
        twin = oracle.students(K, y.reshape(18, -1), 0.5, xi, kernel=True, fit_intercept=True, sample_weight=w)
        predictions = twin.predict(pairwise_kernels(queries, X, metric=kernel, **params))[-1]
        assert close(ours.predict(queries), predictions.reshape(6, *y.shape[1:]))
        assert close(ours.intercept_, twin.intercept[-1].reshape(y.shape[1:]))
        assert close(ours.dual_coef_, twin.parameters[-1].reshape(y.shape))


def test_gamma_none_is_scikit_learns_default(rng):
    X, y = problem(rng)
    for kernel in ("rbf", "laplacian", "poly", "chi2"):
        # where scikit-learn's KernelRidge fails: chi2_kernel wants its default of 1 rather than None
        twin = KernelRidge(kernel=kernel, gamma=1.0 if kernel == "chi2" else None).fit(X, y)
        ours = DistilledKernelRidge(n_steps=0, kernel=kernel, fit_intercept=False).fit(X, y)
        assert close(ours.predict(X), twin.predict(X))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_many_steps_reach_the_published_limits(estimator, rng):
    X, y = problem(rng)
    limit = estimator(alpha=0.5 / (1 - 0.6), n_steps=0).fit(X, y)
    assert close(estimator(alpha=0.5, xi=0.6, n_steps=300).fit(X, y).predict(X), limit.predict(X))
    collapsed = estimator(alpha=5.0, xi=1.0, n_steps=3000).fit(X, y)
    assert close(collapsed.predict(X), np.full(18, y.mean()))


def test_the_linear_kernel_is_ridge(rng):
    for n, p in ((20, 4), (8, 15)):
        X, y = problem(rng, n, p, 2)
        w = rng.uniform(0.0, 2.0, n)
        primal = DistilledRidge(0.7, [0.4, -1.0], None).fit(X, y, w)
        dual = DistilledKernelRidge(0.7, [0.4, -1.0], None, "linear").fit(X, y, w)
        assert close(dual.predict(X), primal.predict(X))
        assert close(dual.dual_coef_.T @ X, primal.coef_)


# -- Kernels ---------------------------------------------------------------------------------------


def scaled_product(a: np.ndarray, b: np.ndarray, scale: float = 1.0) -> float:
    return scale * float(a @ b)


def test_callable_kernels(rng):
    X, y = problem(rng)
    queries = X[:4] + 0.1
    named = DistilledKernelRidge(kernel="linear", alpha=0.5).fit(X, y).predict(queries)
    ours = DistilledKernelRidge(kernel=scaled_product, kernel_params={"scale": 2.0}, alpha=1.0).fit(X, y)
    assert close(ours.predict(queries), named)
    named = DistilledKernelRidge(gamma=0.5 / 0.8**2).fit(X, y).predict(queries)
    assert close(DistilledKernelRidge(kernel=RBF(0.8)).fit(X, y).predict(queries), named)


@pytest.mark.parametrize("kernel", DEFINITE)
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.csc_matrix])
def test_a_precomputed_kernel_is_the_named_one(kernel, container, rng):
    X, y = problem(rng, m=2)
    queries = X[:4] + 0.1
    w = rng.uniform(0.0, 2.0, len(y))
    named = DistilledKernelRidge(xi=0.3, n_steps=2, kernel=kernel).fit(X, y, w)
    ours = DistilledKernelRidge(xi=0.3, n_steps=2, kernel="precomputed")
    ours.fit(container(pairwise_kernels(X, metric=kernel)), y, w)
    Kq = container(pairwise_kernels(queries, X, metric=kernel))
    assert close(ours.predict(Kq), named.predict(queries), 1e-12)
    assert ours.__sklearn_tags__().input_tags.pairwise
    assert not named.__sklearn_tags__().input_tags.pairwise


# -- Weights, sparse data, single precision --------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("p", [4, 30])
def test_weights_are_repetitions(estimator, fit_intercept, container, p, rng):
    X, y = problem(rng, p=p, m=2)
    counts = rng.integers(0, 4, len(y))
    X[counts == 0] += 100.0
    model = estimator(alpha=0.5, xi=[0.5, -0.2, 1.3], n_steps=None, fit_intercept=fit_intercept)
    weighted = clone(model).fit(container(X), y, counts)
    repeated = clone(model).fit(container(np.repeat(X, counts, axis=0)), np.repeat(y, counts, axis=0))
    queries = rng.uniform(0.0, 2.0, (6, p))
    assert close(weighted.predict(queries), repeated.predict(queries))
    assert close(weighted.intercept_, repeated.intercept_) or not fit_intercept
    dropped = clone(model).fit(container(X[counts > 0]), y[counts > 0], counts[counts > 0])
    assert close(weighted.predict(queries), dropped.predict(queries), 1e-11)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_weight_for_all(estimator, rng):
    X, y = problem(rng)
    scalar = estimator(alpha=3.0).fit(X, y, 3.0)
    assert close(scalar.predict(X), estimator(alpha=1.0).fit(X, y).predict(X))


def sparse_data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    X, y = problem(rng, n=25, p=6)
    X[X < 1.2] = 0.0
    return X, y


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("form", ["csr_array", "csr_matrix", "csc_array", "csc_matrix", "coo_array", "dok_matrix"])
def test_sparse_equals_dense(form, index, rng):
    X, y = sparse_data(rng)
    sparse = getattr(sp, form)(X)
    for name in ("indices", "indptr"):
        if hasattr(sparse, name):
            setattr(sparse, name, getattr(sparse, name).astype(index))
    w = rng.integers(0, 3, len(y))
    kernels = [DistilledKernelRidge(xi=0.4, n_steps=2, kernel=k) for k in ("linear", "poly", "rbf", "laplacian")]
    for model in (DistilledRidge(xi=0.4, n_steps=2), *kernels):
        dense = clone(model).fit(X, y, w)
        ours = model.fit(sparse, y, w)
        assert close(ours.predict(sparse), dense.predict(X))
        assert close(ours.predict(X), dense.predict(X))


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_single_precision(container, rng):
    X, y = sparse_data(rng)
    X = X.astype(np.float32)
    kernels = [DistilledKernelRidge(1e-4, 0.4, 2, k) for k in ("linear", "poly", "rbf", "laplacian")]
    for model in (DistilledRidge(1e-4, 0.4, 2), *kernels):
        exact = clone(model).fit(X.astype(np.float64), y)
        model.fit(container(X), y)
        single = model.predict(container(X))
        assert single.dtype == np.float32
        assert close(single, exact.predict(X), 1e-5)
        assert exact.predict(X).dtype == np.float64
        assert model.predict(container(X.astype(np.float64))).dtype == np.float64


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly", "cosine"])
def test_a_precomputed_kernel_in_single_precision(kernel, rng):
    X, y = problem(rng, n=60)
    K = pairwise_kernels(X.astype(np.float32), metric=kernel)
    assert K.dtype == np.float32
    single = DistilledKernelRidge(kernel="precomputed").fit(K, y).predict(K)
    exact = DistilledKernelRidge(kernel=kernel).fit(X, y).predict(X)
    assert single.dtype == np.float32
    assert close(single, exact, 1e-4)


# -- Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"alpha": -0.5}, ValueError, "alpha must be at least 0, got -0.5"),
        ({"alpha": np.nan}, ValueError, "alpha contains NaN"),
        ({"alpha": [1.0, 2.0]}, ValueError, "targets and number of penalties do not correspond: 2 != 1"),
        ({"alpha": [1.0, -2.0]}, ValueError, r"alpha\[1\] == -2, must be > 0.0 \(or 0: no penalty\)"),
        ({"alpha": []}, ValueError, "alpha is empty"),
        ({"alpha": [[1.0]]}, ValueError, "alpha must be 0-D or 1-D"),
        ({"xi": np.inf}, ValueError, "xi contains inf"),
        ({"xi": "estimate"}, TypeError, "xi must hold real numbers, but 'estimate' is text"),
        ({"xi": [[0.5, 0.2]]}, ValueError, "targets and number of schedules do not correspond: 2 != 1"),
        ({"xi": [[[0.5]]]}, ValueError, "xi must be 0-D or 1-D or 2-D"),
        ({"xi": [0.5, 0.2]}, ValueError, "schedule of 2 steps, but n_steps=1; set n_steps=2 or n_steps=None"),
        ({"xi": 0.5, "n_steps": None}, ValueError, "scalar xi needs n_steps"),
        ({"n_steps": -1}, ValueError, "n_steps must be at least 0, got -1"),
        ({"n_steps": 1.0}, TypeError, "n_steps must be an integer, got 1.0"),
        ({"n_steps": True}, TypeError, "n_steps must be an integer, got True"),
        ({"fit_intercept": "no"}, TypeError, "fit_intercept must be True or False, got 'no'"),
    ],
)
def test_bad_parameters(estimator, params, error, message, rng):
    X, y = problem(rng)
    with pytest.raises(error, match=message):
        estimator(**params).fit(X, y)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"kernel": "gaussian"}, ValueError, "kernel must be one of 'additive_chi2'.*'precomputed', got 'gaussian'"),
        ({"gamma": -1.0}, ValueError, "gamma must be at least 0, got -1"),
        ({"gamma": "scale"}, TypeError, "gamma must be a real number"),
        ({"degree": -2}, ValueError, "degree must be at least 0"),
        ({"coef0": np.inf}, ValueError, "coef0 must be finite"),
        ({"kernel_params": 3}, TypeError, "kernel_params must be a dict or None, got 3"),
        (
            {"kernel": "sigmoid", "alpha": 1e-3},
            ValueError,
            "'sigmoid' and alpha=0.001.*positive semi-definite, or alpha above.*which is -.*'rbf' is definite",
        ),
        (
            {"kernel": "additive_chi2", "fit_intercept": False},
            ValueError,
            "'additive_chi2'.*positive semi-definite.*set fit_intercept=True",
        ),
        ({"kernel": lambda a, b: np.nan}, ValueError, "Cannot fit with kernel=<function.*contains NaN"),
        ({"kernel": lambda a, b: -a @ b}, ValueError, "positive semi-definite, or alpha above.*use an alpha above"),
    ],
)
def test_bad_kernels(params, error, message, rng):
    X, y = problem(rng)
    with pytest.raises(error, match=message):
        DistilledKernelRidge(**params).fit(X, y)


def test_bad_kernel_matrices(rng):
    X, y = problem(rng)
    K = X @ X.T
    model = DistilledKernelRidge(kernel="precomputed")
    with pytest.raises(ValueError, match=r"kernel='precomputed'.*must be square.*\(18, 5\)"):
        model.fit(X, y)
    with pytest.raises(ValueError, match=r"positive semi-definite.*clip its eigenvalues"):
        model.fit(K - 10.0 * np.eye(18), y)
    with pytest.raises(ValueError, match="must be symmetric"):
        model.fit(K + np.triu(K), y)
    with pytest.raises(ValueError, match="5 features"):
        model.fit(K, y).predict(X)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_bad_data(estimator, rng):
    X, y = problem(rng)
    model = estimator()
    with pytest.raises(NotFittedError):
        model.predict(X)
    for w, message in (
        (np.zeros(18), "sample_weight is zero for every sample"),
        (-np.ones(18), "sample_weight must not be negative, got -1"),
        (np.ones(17), "sample_weight has 17 entries, but there are 18 samples"),
        (np.full(18, np.nan), "sample_weight contains NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, w)
    with pytest.raises(ValueError, match="y contains NaN"):
        model.fit(X, np.full(18, np.nan))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:-1])
    with pytest.raises(ValueError, match="X has 4 features"):
        model.fit(X, y).predict(X[:, :4])


def test_without_scikit_learn_the_rest_works_and_the_message_says_what_to_install():
    code = """
import sys
sys.modules["sklearn"] = None
import fastdistill as fd
assert fd.Spectrum.from_design([[1.0]]).rank == 1
for use in (lambda: fd.DistilledRidge, lambda: __import__("fastdistill.estimators")):
    try:
        use()
    except ImportError as err:
        assert 'pip install "fastdistill[all]"' in str(err), err
    else:
        raise AssertionError("no ImportError")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
