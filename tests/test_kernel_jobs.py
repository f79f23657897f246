"""Kernel parameters searched in parallel: the same model whatever runs the jobs."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone

from fastdistill import DistilledKernelRidgeCV
from fastdistill.base import progress as progress_module

GRID = {"alphas": [0.01, 0.1, 1.0], "gamma": [0.05, 0.3, 1.0, 20.0], "coef0": [0.0, 1.0]}


def data(rng, m=None):
    X = rng.uniform(-2, 2, (40, 2))
    return X, np.sin(X[:, :1] * (np.arange(m or 1) + 1))[:, slice(None) if m else 0] + 0.1 * rng.standard_normal(
        (40, m) if m else 40
    )


def assert_same(model, other):
    assert model.kernel_params_ == other.kernel_params_
    np.testing.assert_array_equal(model.alpha_, other.alpha_)
    for name in ("dual_coef_", "intercept_", "best_score_"):
        np.testing.assert_allclose(getattr(model, name), getattr(other, name), rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(model.cv_results_["scores"], other.cv_results_["scores"], rtol=1e-10)
    assert model.cv_results_["params"] == other.cv_results_["params"]


OPTIONS = [
    {},
    {"cv": 3, "scoring": "r2"},
    {"n_steps": 2, "strategy": "joint", "alpha_per_target": True},
    {"kernel": "poly", "degree": [1, 2], "gamma": [0.1, 1.0]},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_threads_choose_the_same(options, rng):
    X, y = data(rng, 2)
    model = DistilledKernelRidgeCV(**{**GRID, **options})
    alone = clone(model).fit(X, y)
    with joblib.parallel_config("threading"):
        together = clone(model).set_params(n_jobs=2).fit(X, y, sample_weight=np.ones(40))
        assert_same(together, clone(model).fit(X, y, sample_weight=np.ones(40)))
    assert_same(together, alone)
    np.testing.assert_allclose(together.predict(X), alone.predict(X), rtol=1e-9)


def test_processes_choose_the_same(rng):
    X, y = data(rng)
    model = DistilledKernelRidgeCV(**GRID, cv=3, scoring="r2")
    assert_same(clone(model).set_params(n_jobs=2).fit(X, y), clone(model).fit(X, y))


def test_workers_of_dask_choose_the_same(rng):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    X, y = data(rng)
    model = DistilledKernelRidgeCV(**GRID)
    with (
        distributed.LocalCluster(n_workers=2, processes=False, dashboard_address=":0", silence_logs=50) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        together = clone(model).fit(X, y)
    assert_same(together, model.fit(X, y))


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_an_indefinite_kernel_warns_here_whoever_tried_it(backend, rng):
    X, y = data(rng)
    model = DistilledKernelRidgeCV([1e-3, 100.0], kernel="sigmoid", gamma=[0.5, 1.0], n_jobs=2)
    with joblib.parallel_config(backend), pytest.warns(RuntimeWarning, match="kernel='sigmoid' is indefinite") as seen:
        model.fit(X, y)
    assert len(seen) == 2
    assert {warning.filename for warning in seen} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert_same(model, clone(model).set_params(n_jobs=None).fit(X, y))


def test_where_no_kernel_is_admitted_the_error_is_raised(rng):
    X, y = data(rng)
    model = DistilledKernelRidgeCV([1e-12], kernel="sigmoid", gamma=[0.5, 1.0], n_jobs=2)
    with joblib.parallel_config("threading"), pytest.raises(ValueError, match="Cannot fit with kernel='sigmoid'"):
        model.fit(X, y)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_progress_counts_the_kernels(n_jobs, rng, monkeypatch):
    monkeypatch.setattr(progress_module, "CALLED_AFTER", 0.0)
    X, y = data(rng)
    told: list[tuple[int, int]] = []
    with joblib.parallel_config("threading"):
        model = DistilledKernelRidgeCV(**GRID, n_jobs=n_jobs, progress=lambda *counts: told.append(counts)).fit(X, y)
    assert told == [(i, 8) for i in range(1, 9)]
    assert_same(model, DistilledKernelRidgeCV(**GRID).fit(X, y))
    with pytest.raises(TypeError, match="progress must be False, True or a function"):
        DistilledKernelRidgeCV(progress="yes").fit(X, y)
