"""Importing the package costs next to nothing, and every public name is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastdistill as fd

HEAVY = ("numba", "llvmlite", "scipy", "sklearn", "matplotlib", "dask", "pandas")


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
        ("import fastdistill as fd; fd.DistilledRidge", {"matplotlib"}),
    ],
)
def test_rooms_load_only_what_they_need(statement, unwanted):
    assert loaded_by(statement) & {*unwanted, "dask"} == set()


@pytest.mark.parametrize("name", fd.__all__)
def test_public_names_resolve_and_are_listed(name):
    assert getattr(fd, name) is not None
    assert name in dir(fd)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Spectrums'"):
        _ = fd.Spectrums
