"""Importing the package costs next to nothing, and every public name is there."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import fastdistill as fd
from fastdistill import estimators

HEAVY = ("numba", "llvmlite", "scipy", "sklearn", "matplotlib", "dask", "pandas", "torch")


def loaded_by(statement: str) -> set[str]:
    """The heavy libraries that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(Path(fd.__file__).parents[1])}
    printed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    return set(printed.split()) & set(HEAVY)


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import fastdistill as fd; dir(fd), fd.__version__") == set()


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        (
            "import fastdistill as fd; fd.Spectrum, fd.tune, fd.Holdout, fd.theory.oracle_filter",
            {"numba", "sklearn", "matplotlib", "pandas"},
        ),
        (
            "import fastdistill as fd; fd.deep_linear_distillation, fd.TopK, fd.Geometric, fd.optimal_kd_weight",
            {"numba", "scipy", "sklearn", "matplotlib", "pandas"},
        ),
        ("import fastdistill as fd; fd.kernels, fd.run_sgd, fd.TopK", {"sklearn", "matplotlib", "pandas"}),
        ("import fastdistill as fd; fd.estimators, dir(fd.estimators)", {"numba", "matplotlib"}),
        ("from fastdistill.estimators import DistilledRidge, DistilledKernelRidge", {"numba", "matplotlib"}),
        ("import fastdistill as fd; fd.DistilledRidgeCV, fd.SelfDistiller", {"numba", "matplotlib"}),
        ("import fastdistill as fd; fd.KDSGDRegressor, fd.KDSGDClassifier", {"matplotlib"}),
        ("import fastdistill as fd; fd.plot, dir(fd.plot)", {"numba", "sklearn", "matplotlib", "pandas"}),
        ("import fastdistill as fd; fd.plot.PathDisplay, fd.plot.TuningDisplay", {"numba", "matplotlib"}),
        ("import fastdistill as fd; fd.plot.SpectrumDisplay, fd.plot.TraceDisplay", {"numba", "matplotlib"}),
    ],
)
def test_rooms_load_only_what_they_need(statement, unwanted):
    assert loaded_by(statement) & {*unwanted, "dask", "torch"} == set()


def test_a_missing_pytorch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    with pytest.raises(ImportError, match=r"pip install 'fastdistill\[torch\]'"):
        fd.TorchEstimator(None).fit([[1.0]], [0])


FITS = """
import sys
import numpy as np
import fastdistill as fd
X = np.random.default_rng(0).standard_normal((30, 3))
y = X.sum(axis=1)
for fit in (
    lambda: fd.Spectrum.from_design(X).path(y, 1.0, 0.5, n_steps=1).coef,
    lambda: fd.DistilledRidge().fit(X, y).predict(X),
    lambda: fd.DistilledRidge(n_steps=2).fit(X, np.c_[y, -y], sample_weight=np.ones(30)),
    lambda: fd.DistilledKernelRidge(kernel="rbf").fit(X, y).predict(X),
    lambda: fd.DistilledRidgeClassifier().fit(X, y > 0).predict(X),
    lambda: fd.SelfDistiller(fd.DistilledRidge()).fit(X, y),
    lambda: fd.Spectrum.from_design(X).path(y, np.logspace(-3, 3, 20), 1.0, n_steps=3).gcv,
    lambda: fd.DistilledRidgeCV().fit(X, y).predict(X),
    lambda: fd.DistilledRidgeCV(scoring="gcv", n_steps=0).fit(X, y),
):
    fit()
    assert "numba" not in sys.modules, f"line {fit.__code__.co_firstlineno}"
"""


def test_fits_by_a_factor_and_small_ones_never_wait_for_the_compiler():
    assert "numba" not in loaded_by(FITS)
    assert "numba" in loaded_by("import fastdistill as fd; fd.multistep_filter(range(9000), 1.0, [0.5])")


def test_the_estimators_are_listed_before_they_are_loaded():
    statement = "from fastdistill import estimators as room; assert {*room.__all__} <= {*dir(room)}"
    assert "numba" not in loaded_by(statement)
    with pytest.raises(AttributeError, match=r"module 'fastdistill\.estimators' has no attribute 'Ridge'"):
        _ = estimators.Ridge


@pytest.mark.parametrize("name", estimators.__all__)
def test_an_estimator_is_one_class_by_whatever_name(name):
    cls = getattr(estimators, name)
    assert cls is getattr(fd, name)
    assert pickle.loads(pickle.dumps(cls)) is cls


def test_a_fitted_estimator_is_unpickled_without_the_compiler():
    model = pickle.dumps(fd.DistilledRidge().fit([[0.0], [1.0]], [0.0, 1.0]))
    assert "numba" not in loaded_by(f"import pickle; pickle.loads({model!r}).predict([[2.0]])")


@pytest.mark.parametrize("name", fd.__all__)
def test_public_names_resolve_and_are_listed(name):
    assert getattr(fd, name) is not None
    assert name in dir(fd)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Spectrums'"):
        _ = fd.Spectrums
