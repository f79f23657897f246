"""The neural tangent kernel against hand-computed values, a textbook recursion, and networks of finite width."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import fastdistill as fd
from fastdistill.estimators import kernel_ridge
from fastdistill.spectral import neural_tangent

ANGLES = np.array([0.0, np.pi / 3, np.pi / 2, 2 * np.pi / 3, np.pi])
# J_1(θ) = sin θ + (π − θ) cos θ and J_0(θ) = π − θ of Cho and Saul, by hand
J_1 = np.array([np.pi, np.sqrt(3) / 2 + np.pi / 3, 1.0, np.sqrt(3) / 2 - np.pi / 6, 0.0])
J_0 = np.pi * np.array([1.0, 2 / 3, 1 / 2, 1 / 3, 0.0])
NETWORKS = [(1, 2.0, 0.0), (2, 2.0, 0.0), (3, 1.7, 0.3), (4, 3.0, 10.0)]


def textbook(x, z, depth, weight_variance=2.0, bias_variance=0.0):
    """Θ of two samples from the covariance matrix of each layer."""
    covariance = np.array([[a @ b + bias_variance for b in (x, z)] for a in (x, z)])
    kernel = covariance[0, 1]
    for _ in range(depth):
        size = np.sqrt(covariance[0, 0] * covariance[1, 1])
        theta = np.arccos(np.clip(covariance[0, 1] / size, -1, 1)) if size else 0.0
        arc = np.sin(theta) + (np.pi - theta) * np.cos(theta)
        cross = weight_variance * size * arc / (2 * np.pi) + bias_variance
        kernel = cross + weight_variance * (np.pi - theta) / (2 * np.pi) * kernel
        covariance = weight_variance / 2 * covariance + bias_variance
        covariance[0, 1] = covariance[1, 0] = cross
    return kernel


def of_width(X, width, depth, weight_variance, bias_variance, rng):
    """Products of the gradients by all parameters of one network of finite width, at its random start."""
    signals, slopes, weights = [X], [], []
    scale, root = 1.0, np.sqrt(bias_variance)
    for layer in range(depth + 1):
        weights.append(rng.standard_normal((signals[-1].shape[1], 1 if layer == depth else width)))
        h = scale * signals[-1] @ weights[-1] + root * rng.standard_normal(weights[-1].shape[1])
        signals.append(np.maximum(h, 0.0))
        slopes.append(h > 0)
        scale = np.sqrt(weight_variance / width)
    kernel, back = 0.0, np.ones((len(X), 1))
    for layer in reversed(range(depth + 1)):
        scale = np.sqrt(weight_variance / width) if layer else 1.0
        kernel = kernel + back @ back.T * (scale**2 * signals[layer] @ signals[layer].T + bias_variance)
        if layer:
            back = scale * back @ weights[layer].T * slopes[layer - 1]
    return kernel


def directions(angles, size=1.0):
    return size * np.column_stack([np.cos(angles), np.sin(angles)])


def test_published_values_of_one_and_two_layers():
    """Beside the arc-cosine kernels of degree 1 and 0: Θ_1 = k_1 + k_0 xᵀz, with lengths 2 and 3."""
    x, Z = np.array([[2.0, 0.0]]), directions(ANGLES, 3.0)
    one = 6 * (J_1 + J_0 * np.cos(ANGLES)) / np.pi
    np.testing.assert_allclose(fd.ntk_kernel(x, Z, depth=1)[0], one, rtol=1e-14, atol=1e-15)
    deeper = np.arccos(J_1 / np.pi)  # the angle after one layer
    k_1 = 6 * (np.sin(deeper) + (np.pi - deeper) * np.cos(deeper)) / np.pi
    two = k_1 + one * (np.pi - deeper) / np.pi
    np.testing.assert_allclose(fd.ntk_kernel(x, Z, depth=2)[0], two, rtol=1e-14)


@pytest.mark.parametrize("network", NETWORKS)
def test_textbook_recursion(rng, network):
    X, Z = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    wanted = [[textbook(x, z, *network) for z in Z] for x in X]
    np.testing.assert_allclose(fd.ntk_kernel(X, Z, *network), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("depth", "weight_variance", "bias_variance"), [(1, 2.0, 0.0), (2, 1.5, 0.2)])
def test_networks_of_finite_width_approach_it_like_the_root_of_the_width(depth, weight_variance, bias_variance):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, 4))
    K = fd.ntk_kernel(X, None, depth, weight_variance, bias_variance)
    widths, errors = np.array([64, 256, 1024, 4096]), []
    for width, n_draws in zip(widths, (100, 100, 50, 3), strict=True):
        draws = [of_width(X, width, depth, weight_variance, bias_variance, rng) for _ in range(n_draws)]
        errors.append(np.sqrt(np.mean(np.square(np.array(draws) - K))) / np.abs(K).max())
    assert np.polyfit(np.log(widths[:3]), np.log(errors[:3]), 1)[0] == pytest.approx(-0.5, abs=0.08)
    assert errors[-1] < 1.5 / np.sqrt(widths[-1])


@pytest.mark.parametrize("depth", [1, 3, 6])
@pytest.mark.parametrize("theta", [1e-12, 1e-9, 1e-6])
def test_nearly_parallel_samples_keep_their_digits(depth, theta):
    """To first order Θ_L(θ) = L + 1 − θ L (L + 1) / (2π); from a cosine θ would hold half of the digits."""
    gap = depth + 1 - fd.ntk_kernel([[1.0, 0.0]], directions(np.array([theta])), depth)[0, 0]
    assert gap == pytest.approx(theta * depth * (depth + 1) / (2 * np.pi), rel=10 * theta, abs=1e-14)
    opposite = fd.ntk_kernel([[1.0, 0.0]], directions(np.array([np.pi - theta])), 1)[0, 0]
    assert opposite == pytest.approx(-theta / np.pi, rel=10 * theta, abs=1e-15)


def test_one_set_of_samples(rng, monkeypatch):
    X = rng.standard_normal((23, 4))
    X[5], X[7], X[9] = X[4], 0.0, 2 * X[8]
    whole = fd.ntk_kernel(X, bias_variance=0.1)
    for block in (40, 2**20):
        monkeypatch.setattr(neural_tangent, "BLOCK", block)
        monkeypatch.setattr(neural_tangent, "CHUNK", block // 10)
        K = fd.ntk_kernel(X)
        np.testing.assert_array_equal(K, K.T)
        np.testing.assert_array_equal(K[4], K[5])
        np.testing.assert_array_equal(K[7], 0.0)
        np.testing.assert_allclose(K[9], 2 * K[8], rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(np.diagonal(K), 4 * np.square(X).sum(axis=1), rtol=1e-14)
        np.testing.assert_allclose(K, fd.ntk_kernel(X, X), rtol=1e-14, atol=1e-14)
        assert np.linalg.eigvalsh(K).min() > -1e-13 * K.max()
        np.testing.assert_allclose(fd.ntk_kernel(X, bias_variance=0.1), whole, rtol=1e-14)


def test_kinds_of_samples(rng):
    X = rng.standard_normal((12, 30)) * (rng.random((12, 30)) < 0.2)
    for options in ({}, {"bias_variance": 0.5}):
        dense = fd.ntk_kernel(X, X[:5], **options)
        np.testing.assert_allclose(fd.ntk_kernel(sp.csc_matrix(X), sp.csr_array(X[:5]), **options), dense, rtol=1e-13)
        np.testing.assert_allclose(fd.ntk_kernel(X.tolist(), X[:5], **options), dense, rtol=1e-13)
    single = fd.ntk_kernel(X.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, fd.ntk_kernel(X), rtol=1e-5, atol=1e-6)
    assert fd.ntk_kernel(X.astype(np.float32), X).dtype == np.float64


@pytest.mark.parametrize("size", [1e-99, 1e99])
def test_samples_of_extreme_size(rng, size):
    X = rng.standard_normal((4, 3))
    np.testing.assert_allclose(fd.ntk_kernel(size * X) / size / size, fd.ntk_kernel(X), rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"X": [[1.0, np.nan]]}, ValueError, "X contains NaN"),
        ({"X": [1.0, 2.0]}, ValueError, "X must be 2-D"),
        ({"X": np.empty((0, 2))}, ValueError, "X is empty"),
        ({"X": [["a"]]}, TypeError, "'a' is text"),
        ({"Z": [[1.0]]}, ValueError, "Z has 1 features, but X has 2"),
        ({"depth": 0}, ValueError, "depth must be at least 1"),
        ({"depth": 10**6}, ValueError, "depth must be at most 10000"),
        ({"depth": 1.5}, TypeError, "depth must be an integer"),
        ({"weight_variance": 0.0}, ValueError, "weight_variance must be above 0"),
        ({"bias_variance": -1.0}, ValueError, "bias_variance must be at least 0"),
        ({"depth": 200, "weight_variance": 1e5}, ValueError, "overflow in float64.*set weight_variance=2"),
        ({"X": np.full((1, 2), 1e30, np.float32)}, ValueError, "overflow in float32"),
    ],
)
def test_what_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        fd.ntk_kernel(**{"X": [[1.0, 2.0]], **arguments})


# --- as the kernel of the estimators ---

PARAMETERS = {"depth": 2, "bias_variance": 0.1}


def test_estimators_know_it_by_name(rng):
    X, Q = rng.standard_normal((40, 3)), rng.standard_normal((7, 3))
    y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(40)
    K, Kq = fd.ntk_kernel(X, **PARAMETERS), fd.ntk_kernel(Q, X, **PARAMETERS)
    options = {"alpha": 0.3, "xi": 0.6, "n_steps": 3}
    wanted = fd.DistilledKernelRidge(kernel="precomputed", **options).fit(K, y)
    for solver in ("auto", "eigh", "cholesky"):
        model = fd.DistilledKernelRidge(kernel="ntk", kernel_params=PARAMETERS, solver=solver, **options).fit(X, y)
        np.testing.assert_allclose(model.predict(Q), wanted.predict(Kq), rtol=1e-9)
    _, std = model.predict(Q, return_std=True)
    diagonal = [fd.ntk_kernel(q[np.newaxis], **PARAMETERS)[0, 0] for q in Q]
    np.testing.assert_allclose(std, wanted.predict(Kq, return_std=True, kernel_diag=diagonal)[1], rtol=1e-7)
    tuned = fd.DistilledKernelRidgeCV([0.1, 1.0], 1, kernel="ntk", kernel_params=[{"depth": 1}, PARAMETERS]).fit(X, y)
    assert len(tuned.cv_results_["params"]) == 2
    chosen = tuned.kernel_params_["kernel_params"]
    alone = fd.DistilledKernelRidgeCV([0.1, 1.0], 1, kernel="precomputed").fit(fd.ntk_kernel(X, **chosen), y)
    assert tuned.best_score_ == pytest.approx(alone.best_score_, rel=1e-9)


@pytest.mark.parametrize("stored", [0, 2**25])
def test_krylov_with_the_matrix_and_without(rng, monkeypatch, stored):
    X, y = rng.standard_normal((60, 3)), rng.standard_normal(60)
    exact = fd.DistilledKernelRidge(kernel="ntk", kernel_params={"depth": 1}, n_steps=2).fit(X, y)
    monkeypatch.setattr(kernel_ridge, "STORED", stored)
    model = fd.DistilledKernelRidge(kernel="ntk", kernel_params={"depth": 1}, n_steps=2, solver="krylov").fit(X, y)
    np.testing.assert_allclose(model.predict(X), exact.predict(X), atol=1e-7)
    sparse = fd.DistilledKernelRidge(kernel="ntk", kernel_params={"depth": 1}, n_steps=2).fit(sp.csr_array(X), y)
    np.testing.assert_allclose(sparse.predict(sp.csr_array(X)), exact.predict(X), rtol=1e-9)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"width": 10}, ValueError, "kernel='ntk' has no parameter 'width'.*depth, weight_variance, bias_variance"),
        ({"depth": 0}, ValueError, "depth must be at least 1"),
        ([("depth", 1)], TypeError, "kernel_params must be a dict"),
    ],
)
def test_wrong_parameters(params, error, words):
    with pytest.raises(error, match=words):
        fd.DistilledKernelRidge(kernel="ntk", kernel_params=params).fit(np.eye(3), np.ones(3))
