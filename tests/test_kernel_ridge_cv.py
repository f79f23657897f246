"""Kernel ridge with cross-validation, without distillation: grids, widths, likelihood, and folds by refitting."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.linalg import null_space
from scipy.optimize import brentq
from scipy.spatial.distance import pdist
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.metrics.pairwise import chi2_kernel, pairwise_kernels, rbf_kernel
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneOut, ShuffleSplit, cross_val_score

import fastdistill as fd
from fastdistill import DistilledKernelRidgeCV, DistilledRidgeClassifierCV, DistilledRidgeCV
from fastdistill.estimators._widths import of_data
from fastdistill.selection.grids import FINENESS, LEFT, dof_penalties
from tests.test_estimators_dropin import bordered

GRID = np.logspace(-2, 2, 7)
LIKELIHOOD = "marginal_likelihood"


def problem(rng, n=30, p=3, m=None):
    X = rng.uniform(0.0, 2.0, (n, p))
    y = np.sin(2.0 * X @ rng.standard_normal((p, m or 1))) + 3.0 + 0.3 * rng.standard_normal((n, m or 1))
    return X, y if m else y[:, 0]


def weights_of(kind, n, rng):
    return {"none": None, "random": rng.uniform(0.2, 2.0, n), "some_zero": rng.integers(0, 3, n) * 1.0}[kind]


def centred(K, w, fit_intercept):
    """W^½ (I − 1 w̄ᵀ) K (I − w̄ 1ᵀ) W^½."""
    w = np.ones(len(K)) if w is None else w
    centre = np.eye(len(K)) - fit_intercept * np.outer(np.ones(len(K)), w) / w.sum()
    return np.sqrt(w)[:, None] * (centre @ K @ centre.T) * np.sqrt(w)


def dof(d, lam):
    return np.sum(d / (d + lam))


# -- Penalties spaced in degrees of freedom --------------------------------------------------------


@pytest.mark.parametrize(
    "d",
    [
        np.array([3.0]),
        np.full(5, 2.0),
        np.logspace(2, -11, 60),
        np.array([1e6, 1e6, 1e-6, 1e-6, 1e-6]),
        np.random.default_rng(0).uniform(size=400),
    ],
)
def test_penalties_have_equal_steps_of_their_level(d):
    lam = dof_penalties(d, 12)
    assert lam.shape == (12,)
    assert (np.diff(lam) > 0).all()
    share = np.array([dof(d, value) for value in lam]) / len(d)
    missing = np.array([np.sum(value / (d + value)) for value in lam]) / len(d)
    level = np.log(share) - FINENESS * np.log(missing)
    np.testing.assert_allclose(np.diff(level), level[1] - level[0], rtol=1e-7)
    assert share[-1] == pytest.approx(min(0.1 / len(d), 0.01), rel=1e-8)
    assert missing[0] == pytest.approx(LEFT, rel=1e-8)
    t = share[4] * len(d)
    root = brentq(lambda log: dof(d, np.exp(log)) - t, np.log(lam[3]), np.log(lam[5]), xtol=1e-13)
    assert lam[4] == pytest.approx(np.exp(root), rel=1e-8)


def test_penalties_go_with_the_size_of_the_eigenvalues():
    d = np.logspace(0, -9, 50)
    lam = dof_penalties(d)
    for scale in (1e-120, 2.0**40, 1e7, 1e120):
        np.testing.assert_allclose(dof_penalties(scale * d), scale * lam, rtol=1e-9)
    floored = dof_penalties(d, 20, 1e-6)
    assert floored[0] == pytest.approx(1e-6, rel=1e-8)
    assert floored[-1] == pytest.approx(lam[-1], rel=1e-8)
    np.testing.assert_allclose(dof_penalties(np.append(d, -0.3)), lam, rtol=1e-12)
    assert dof_penalties(np.empty(0), 7).shape == (7,)


@pytest.mark.parametrize("weights", ["none", "random", "some_zero"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_word_dof_is_the_grid_of_all_samples(weights, fit_intercept, rng):
    X, y = problem(rng, p=12)
    w = weights_of(weights, 30, rng)
    for model, K in (
        (DistilledRidgeCV(n_steps=0), X @ X.T),
        (DistilledKernelRidgeCV(n_steps=0, kernel="linear"), X @ X.T),
        (DistilledKernelRidgeCV(n_steps=0, gamma=2.0), rbf_kernel(X, gamma=2.0)),
    ):
        d = np.linalg.eigvalsh(centred(K, w, fit_intercept))
        expected = dof_penalties(d[d > 1e-9 * d[-1]])
        for cv in (None, 3):
            model.set_params(alphas="dof", fit_intercept=fit_intercept, cv=cv).fit(X, y, w)
            np.testing.assert_allclose(model.cv_results_["alpha"], expected, rtol=1e-6)
            np.testing.assert_array_equal(model.alphas_, model.cv_results_["alpha"])
            given = type(model)(**model.get_params() | {"alphas": model.alphas_}).fit(X, y, w)
            assert given.alpha_ == model.alpha_
            np.testing.assert_array_equal(given.predict(X), model.predict(X))


def test_the_word_dof_wherever_penalties_are_chosen(rng):
    X, y = problem(rng, m=3)
    spectrum = fd.Spectrum.from_design(X, True)
    expected = dof_penalties(spectrum.d)
    tuned, given = (fd.tune(spectrum, y, grid, 0) for grid in ("dof", expected))
    assert (tuned.lam, tuned.score) == (given.lam, given.score)
    labels = y[:, 0] > 3.0
    classifier = DistilledRidgeClassifierCV("dof", 0).fit(X, labels)
    np.testing.assert_allclose(classifier.alphas_, expected, rtol=1e-9)
    assert classifier.alpha_ in classifier.alphas_
    acc = fd.GramAccumulator().partial_fit(X, y[:, 0])
    summed = DistilledRidgeCV("dof", 0, scoring="gcv").fit_accumulated(acc)
    np.testing.assert_allclose(summed.alphas_, expected, rtol=1e-7)
    together = DistilledRidgeCV("dof", 0, alpha_per_target=True, store_cv_results=True).fit(X, y)
    assert together.cv_results_.shape == (30, 3, 40)
    assert np.isin(together.alpha_, together.alphas_).all()
    units = DistilledRidgeCV("dof").fit(1e6 * X, y)
    np.testing.assert_allclose(units.predict(1e6 * X), DistilledRidgeCV("dof").fit(X, y).predict(X), rtol=1e-8)


def test_each_kernel_has_its_own_penalties(rng):
    X, y = problem(rng)
    model = DistilledKernelRidgeCV("dof", 0, gamma=[0.1, 1.0, 10.0]).fit(X, y)
    assert model.cv_results_["alpha"].shape == (3, 40)
    for i, gamma in enumerate((0.1, 1.0, 10.0)):
        alone = DistilledKernelRidgeCV("dof", 0, gamma=gamma).fit(X, y)
        np.testing.assert_array_equal(model.cv_results_["alpha"][i], alone.cv_results_["alpha"])
        np.testing.assert_array_equal(model.cv_results_["scores"][i], alone.cv_results_["scores"])
        if gamma == model.kernel_params_["gamma"]:
            assert model.alpha_ == alone.alpha_
            np.testing.assert_array_equal(model.alphas_, alone.alphas_)
    constant = DistilledKernelRidgeCV("dof").fit(np.ones((5, 1)), np.arange(5.0))
    np.testing.assert_allclose(constant.predict([[1.0]]), [2.0])


@pytest.mark.parametrize("model", [DistilledRidgeCV, DistilledKernelRidgeCV, DistilledRidgeClassifierCV])
def test_other_words_are_refused(model, rng):
    X, y = problem(rng)
    with pytest.raises(TypeError, match="alphas must hold real numbers, or be \"dof\", got 'auto'"):
        model(alphas="auto").fit(X, y > 3.0)
    with pytest.raises(TypeError, match="lam_grid must hold real numbers, or be \"dof\", got 'DOF'"):
        fd.tune(fd.Spectrum.from_design(X), y, "DOF")
    with pytest.raises(ValueError, match=r"gives coefficients.*but no eigenvalues"):
        fd.tune(fd.Spectrum.from_design(X, solver="krylov"), y, "dof")


# -- Widths from the data --------------------------------------------------------------------------


def width(X, w=None, **options):
    y = np.arange(X.shape[0]) % 7.0
    return DistilledKernelRidgeCV(1.0, 0, gamma="median", **options).fit(X, y, w).kernel_params_["gamma"]


def median(values):
    """The lower of the two in the middle."""
    return np.sort(values)[(len(values) - 1) // 2]


def test_the_median_heuristic(rng):
    X = rng.uniform(0.0, 1.0, (40, 3)) + 100.0
    X[10:14] = X[9]  # distances between equal samples do not count
    squares, absolute = pdist(X) ** 2, pdist(X, "cityblock")
    sums = -np.log(chi2_kernel(X, gamma=1.0))[np.triu_indices(40, 1)]
    of_kernel = {
        "rbf": 0.5 / median(squares[squares > 0]),
        "laplacian": 1.0 / median(absolute[absolute > 0]),
        "chi2": 1.0 / median(sums[sums > 1e-12]),
    }
    for kernel, gamma in of_kernel.items():
        assert width(X, kernel=kernel) == pytest.approx(gamma, rel=1e-9)
        if kernel != "chi2":  # takes no sparse X
            assert width(sp.csr_array(X), kernel=kernel) == pytest.approx(gamma, rel=1e-6)
        grid = DistilledKernelRidgeCV("dof", 0, kernel=kernel, gamma="grid", cv=3).fit(X, X[:, 0])
        tried = [params["gamma"] for params in grid.cv_results_["params"]]
        np.testing.assert_allclose(tried, gamma * 4.0 ** np.arange(-4, 3), rtol=1e-9)
        assert grid.kernel_params_["gamma"] in tried
        assert grid.gamma == "grid"
    w = np.repeat([0.0, 2.0], [5, 35])
    assert width(X, w=w) == pytest.approx(width(X[5:]), rel=1e-12)
    counts = rng.integers(0, 4, 40)
    assert width(X, w=0.3 * counts) == pytest.approx(width(np.repeat(X, counts, axis=0)), rel=1e-9)
    assert width(np.ones((6, 2))) == 1.0
    assert width(1e20 * X) == pytest.approx(1e-40 * of_kernel["rbf"], rel=1e-9)


def test_the_order_of_many_rows_does_not_matter(rng):
    X = rng.standard_normal((3000, 4)) * [1.0, 2.0, 3.0, 10.0]
    shuffled = X[rng.permutation(3000)]
    exact = 0.5 / np.median(pdist(X) ** 2)
    for data in (X, shuffled, sp.csr_array(X)):
        (gamma,) = of_data("median", "rbf", data, None)
        assert gamma == pytest.approx(of_data("median", "rbf", X, None)[0], rel=1e-9)
        assert gamma == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"gamma": "auto"}, TypeError, 'gamma must be a real number, "median" or "grid", got \'auto\''),
        ({"gamma": ["median", 1.0]}, TypeError, "gamma must be a real number"),
        ({"gamma": "grid", "kernel": "poly"}, ValueError, "distances between samples.*kernel='poly' is no function"),
        ({"gamma": "median", "kernel": "sigmoid"}, ValueError, 'for the kernels "rbf", "laplacian" and "chi2"'),
        ({"gamma": "median", "kernel": "precomputed"}, ValueError, "kernel='precomputed' is no function"),
        ({"gamma": "median", "kernel": np.dot}, ValueError, "give numbers for any other"),
        ({"scoring": LIKELIHOOD, "strategy": "joint", "n_steps": 1}, ValueError, "no weights of students can be tuned"),
        ({"scoring": LIKELIHOOD, "n_steps": 2}, ValueError, "the likelihood of plain ridge"),
        ({"scoring": LIKELIHOOD, "cv": 3}, ValueError, "cv and scoring='marginal_likelihood' exclude each other"),
        ({"scoring": LIKELIHOOD, "store_cv_results": True}, ValueError, "which scoring='marginal_likelihood' does not"),
        ({"scoring": LIKELIHOOD, "alphas": 0.0}, ValueError, "The criterion is defined at no penalty"),
        ({"scoring": "likelihood"}, ValueError, "or the name of one, or 'marginal_likelihood'"),
    ],
)
def test_what_is_refused(params, error, message, rng):
    X, y = problem(rng)
    with pytest.raises(error, match=message):
        DistilledKernelRidgeCV(**params).fit(X, y)


# -- The marginal likelihood -----------------------------------------------------------------------


def log_density(K, y, alpha, w, fit_intercept):
    """log p(y) at the noise variance of its maximum: a dense Gaussian density of y, or of its contrasts."""
    used = w > 0
    covariance = K[np.ix_(used, used)] / alpha + np.diag(1.0 / w[used])
    contrasts = null_space(np.ones((1, used.sum()))) if fit_intercept else np.eye(used.sum())
    covariance, values = contrasts.T @ covariance @ contrasts, contrasts.T @ y[used]
    noise = values @ np.linalg.solve(covariance, values) / len(values)
    return multivariate_normal(np.zeros(len(values)), noise * covariance).logpdf(values), noise


@pytest.mark.parametrize("weights", ["none", "random", "some_zero"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_likelihood_is_a_dense_density(weights, fit_intercept, rng):
    X, y = problem(rng, m=2)
    w = weights_of(weights, 30, rng)
    W, gammas = np.ones(30) if w is None else w, [0.2, 1.0, 5.0]
    options = {"scoring": LIKELIHOOD, "fit_intercept": fit_intercept, "gamma": gammas}
    exact, noise = np.empty((2, 3, 7, 2))
    for (i, gamma), (j, alpha), t in product(enumerate(gammas), enumerate(GRID), range(2)):
        K = rbf_kernel(X, gamma=gamma)
        exact[i, j, t], noise[i, j, t] = log_density(K, y[:, t], alpha, W, fit_intercept)
    one = DistilledKernelRidgeCV(GRID, 0, **options).fit(X, y[:, 0], w)
    np.testing.assert_allclose(one.cv_results_["scores"][..., 0], exact[..., 0], rtol=1e-9)
    i, j = np.unravel_index(exact[..., 0].argmax(), (3, 7))
    assert (one.kernel_params_["gamma"], one.alpha_) == (gammas[i], GRID[j])
    assert one.best_score_ == one.cv_results_["scores"].max()
    assert one.noise_variance_ == pytest.approx(noise[i, j, 0], rel=1e-9)
    both = DistilledKernelRidgeCV(GRID, strategy="ridge", **options).fit(X, y, w)
    np.testing.assert_allclose(both.cv_results_["scores"][..., 0], exact.sum(axis=-1), rtol=1e-9)
    i, j = np.unravel_index(exact.sum(axis=-1).argmax(), (3, 7))
    np.testing.assert_allclose(both.noise_variance_, noise[i, j], rtol=1e-9)
    each = DistilledKernelRidgeCV(GRID, 0, alpha_per_target=True, **options).fit(X, y, w)
    np.testing.assert_allclose(each.cv_results_["scores"][:, :, 0], exact, rtol=1e-9)
    i = exact.max(axis=1).sum(axis=1).argmax()
    assert each.kernel_params_["gamma"] == gammas[i]
    np.testing.assert_array_equal(each.alpha_, GRID[exact[i].argmax(axis=0)])
    own = noise[i, exact[i].argmax(axis=0), range(2)]
    np.testing.assert_allclose(each.noise_variance_, own, rtol=1e-9)


def test_the_likelihood_is_that_of_a_gaussian_process(rng):
    X, y = problem(rng)
    model = DistilledKernelRidgeCV(GRID, 0, scoring=LIKELIHOOD, gamma=0.7, fit_intercept=False).fit(X, y)
    noise, alpha = model.noise_variance_, model.alpha_
    kernel = ConstantKernel(noise / alpha) * RBF(np.sqrt(0.5 / 0.7)) + WhiteKernel(noise)
    process = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(X, y)
    assert model.best_score_ == pytest.approx(process.log_marginal_likelihood(), rel=1e-9)
    for factor in (0.99, 1.01):
        less = kernel.clone_with_theta(kernel.theta + np.array([1.0, 0.0, 1.0]) * np.log(factor))
        assert process.log_marginal_likelihood(less.theta) < model.best_score_
    queries = rng.uniform(0.0, 2.0, (4, 3))
    mean, std = model.predict(queries, return_std=True)
    twin, with_noise = process.predict(queries, return_std=True)
    np.testing.assert_allclose(mean, twin, rtol=1e-9)
    np.testing.assert_allclose((std**2 / alpha + 1.0) * noise, with_noise**2, rtol=1e-8)


def test_the_likelihood_of_a_design_is_that_of_its_kernel(rng):
    X, y = problem(rng)
    design = DistilledRidgeCV("dof", 0, scoring=LIKELIHOOD).fit(X, y)
    kernel = DistilledKernelRidgeCV(design.alphas_, 0, scoring=LIKELIHOOD, kernel="linear").fit(X, y)
    np.testing.assert_allclose(design.cv_results_["scores"], kernel.cv_results_["scores"], rtol=1e-9)
    assert design.alpha_ == kernel.alpha_
    scaled = DistilledRidgeCV(design.alphas_, 0, scoring=LIKELIHOOD).fit(X, 10.0 * y)
    np.testing.assert_allclose(
        scaled.cv_results_["scores"], design.cv_results_["scores"] - 29 * np.log(10.0), rtol=1e-9
    )
    with_zero = DistilledRidgeCV([0.0, 1.0], 0, scoring=LIKELIHOOD).fit(X, y)
    assert np.isneginf(with_zero.cv_results_["scores"][0, 0])
    assert with_zero.alpha_ == 1.0
    safe = DistilledRidgeCV("dof", scoring=LIKELIHOOD).fit(X, y)
    assert (safe.alpha_, safe.best_score_, safe.n_steps_) == (design.alpha_, design.best_score_, 0)
    constant = DistilledKernelRidgeCV(GRID, 0, scoring=LIKELIHOOD).fit(X, np.full(30, 0.1))
    np.testing.assert_allclose(constant.predict(X), 0.1, rtol=1e-12)


def test_the_noise_variance_has_the_unit_of_y_squared(rng):
    X, y = problem(rng)
    base = DistilledKernelRidgeCV(GRID, 0).fit(X, y)
    assert 0.01 < base.noise_variance_ < 1.0
    for unit in (2.0**-300, 2.0**300):
        other = DistilledKernelRidgeCV(GRID, 0).fit(X, unit * y)
        assert other.noise_variance_ == pytest.approx(unit**2 * base.noise_variance_, rel=1e-10)


# -- Brute force -----------------------------------------------------------------------------------


@pytest.mark.parametrize("splitter", [LeaveOneOut(), KFold(4), ShuffleSplit(3, random_state=0)])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weights", ["none", "random", "some_zero"])
def test_folds_weights_and_targets_by_refitting(splitter, fit_intercept, weights, rng):
    X, y = problem(rng, m=2)
    w = weights_of(weights, 30, rng)
    W = np.ones(30) if w is None else w
    K = pairwise_kernels(X, metric="laplacian", gamma=0.5)
    errors, total = np.zeros((7, 2)), 0.0
    for train, test in splitter.split(X):
        total += W[test].sum()
        for i, alpha in enumerate(GRID):
            dual, intercept = bordered(K[np.ix_(train, train)], y[train], alpha, W[train], fit_intercept)
            errors[i] += W[test] @ np.square(y[test] - K[np.ix_(test, train)] @ dual - intercept)
    scores = -errors / total * W.mean()
    cv = None if isinstance(splitter, LeaveOneOut) else splitter
    options = {"n_steps": 0, "cv": cv, "fit_intercept": fit_intercept}
    for data, kernel in ((X, {"kernel": "laplacian", "gamma": 0.5}), (K, {"kernel": "precomputed"})):
        each = DistilledKernelRidgeCV(GRID, alpha_per_target=True, **options, **kernel).fit(data, y, w)
        np.testing.assert_allclose(each.cv_results_["scores"][:, 0], scores, rtol=1e-8)
        np.testing.assert_array_equal(each.alpha_, GRID[scores.argmax(axis=0)])
        np.testing.assert_allclose(each.best_score_, scores.max(axis=0), rtol=1e-8)
        for t, alpha in enumerate(each.alpha_):
            dual, intercept = bordered(K, y[:, [t]], alpha, W, fit_intercept)
            np.testing.assert_allclose(each.predict(data)[:, t], (K @ dual + intercept)[:, 0], rtol=1e-8)
        shared = DistilledKernelRidgeCV(GRID, **options, **kernel).fit(data, y, w)
        np.testing.assert_allclose(shared.cv_results_["scores"][:, 0], scores.mean(axis=1), rtol=1e-8)
        assert shared.alpha_ == GRID[scores.sum(axis=1).argmax()]


def test_precomputed_kernels_in_the_cross_validation_of_scikit_learn(rng):
    X, y = problem(rng, n=40)
    K = rbf_kernel(X, gamma=0.5)
    named, ours = DistilledKernelRidgeCV("dof", 0, gamma=0.5), DistilledKernelRidgeCV("dof", 0, kernel="precomputed")
    folds = KFold(4)
    np.testing.assert_allclose(cross_val_score(ours, K, y, cv=folds), cross_val_score(named, X, y, cv=folds), rtol=1e-8)
    params = {"fit_intercept": [True, False], "scoring": ["loo", "gcv", LIKELIHOOD]}
    searched = GridSearchCV(ours, params, cv=folds).fit(K, y)
    twin = GridSearchCV(named, params, cv=folds).fit(X, y)
    assert searched.best_params_ == twin.best_params_
    np.testing.assert_allclose(searched.cv_results_["mean_test_score"], twin.cv_results_["mean_test_score"], rtol=1e-8)
    queries = rng.uniform(0.0, 2.0, (4, 3))
    mean, std = searched.best_estimator_.predict(rbf_kernel(queries, X, gamma=0.5), True, np.ones(4))
    expected, twin_std = twin.best_estimator_.predict(queries, return_std=True)
    np.testing.assert_allclose(mean, expected, rtol=1e-8)
    np.testing.assert_allclose(std, twin_std, rtol=1e-6)
