"""Fixtures: a seeded generator, the folder of the real data sets, and reports without the work of drawing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite runs in a process for each core (240 s, not 450, on two); a part of it, or ``-n0``, in one."""
    options, is_worker = config.option, "PYTEST_XDIST_WORKER" in os.environ  # must not start workers
    undecided = hasattr(options, "numprocesses") and options.numprocesses is None and not options.benchmark_enable
    if undecided and not is_worker and not options.usepdb and config.args_source is not config.ArgsSource.ARGS:
        options.numprocesses = "auto"
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # more threads than cores would only wait for each other


settings.register_profile("seeded", derandomize=True, deadline=None, database=None, max_examples=30)
settings.load_profile("seeded")


@pytest.fixture
def rng() -> np.random.Generator:
    """A fresh generator with the same seed in every test."""
    return np.random.default_rng(20240601)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder named by FASTDISTILL_DATA, or `shared/data` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FASTDISTILL_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; set FASTDISTILL_DATA to the folder with the UCI files")
    return folder


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """Files of pictures are written, but not drawn: that takes most of the time of a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda _, file, **options: Path(file).write_bytes(b"\x89PNG"))
        yield


@pytest.fixture
def blank_pictures() -> Iterator[None]:
    """For tests of what is written or computed; every kind of picture is drawn once in ``test_reproduce.py``."""
    with nothing_drawn():
        yield


@pytest.fixture(scope="module")
def blank_pictures_of_a_module() -> Iterator[None]:
    """As `blank_pictures`, for a report that the tests of a module share."""
    with nothing_drawn():
        yield
