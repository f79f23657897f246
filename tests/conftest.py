"""Fixtures: a seeded generator, and the folder of the real data sets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

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
