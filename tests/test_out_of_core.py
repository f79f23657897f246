"""Memory maps in bounded memory, and progress that is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastdistill as fd
from fastdistill.base import progress as progress_module

LAM, XI = [0.1, 2.0], [0.5, 1.0]

# A sparse file of 640 MB: zeros that take no space on the disk, but pages once they are read.
PEAK = """
import sys
import numpy as np
import fastdistill as fd

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

X = np.memmap(sys.argv[1], np.float64, "w+", shape=(800_000, 100))
X[::100_000] = np.random.default_rng(0).standard_normal((8, 100))
y = np.random.default_rng(1).standard_normal(800_000)
fd.GramAccumulator().partial_fit(X[:2], y[:2]).loo_mse([(X[:2], y[:2])], 1.0, [0.5])
before = peak()
acc = fd.GramAccumulator().partial_fit(X, y)
print(peak() - before)
acc.loo_mse([(X, y)], 1.0, [])
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_a_memory_map_is_read_in_bounded_memory(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(fd.__file__).parents[1])}
    command = [sys.executable, "-c", PEAK, str(tmp_path / "X")]
    grown = subprocess.check_output(command, text=True, env=environment).split()
    assert max(map(float, grown)) < 200, "MiB, of a file of 610"


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_maps_of_every_kind_keep_what_they_hold(mode, order, dtype, tmp_path, rng, monkeypatch):
    monkeypatch.setattr("fastdistill.spectral.summed_path.BLOCK_ENTRIES", 2**12)
    X, y = rng.standard_normal((4000, 3)).astype(dtype), rng.standard_normal(4000)
    np.save(tmp_path / "X.npy", np.asarray(X, order=order))
    mapped = np.load(tmp_path / "X.npy", mmap_mode=mode)
    if mode != "r":
        mapped[:2000] = X[:2000] = 7.0 + X[:2000]  # pages that differ from those of the file
    whole = fd.Spectrum.from_design(X.astype(float), True).path(y, LAM, XI)
    rtol = 1e-6 if dtype is np.float32 else 1e-11
    for rows, kept in ((mapped, slice(None)), (np.asarray(mapped), slice(None)), (mapped[::-1], slice(None, None, -1))):
        acc = fd.GramAccumulator().partial_fit(rows, y[kept])
        np.testing.assert_allclose(acc.path(LAM, XI).coef, whole.coef, rtol=rtol)
        np.testing.assert_allclose(acc.loo_mse([(rows, y[kept])], LAM, XI), whole.loo_mse, rtol=rtol)
        np.testing.assert_array_equal(mapped, X)
    rows, goals = slice(100, 3000, 3), y[100:3000:3]
    part, other = (fd.GramAccumulator().partial_fit(values[rows, 1:], goals) for values in (mapped, X))
    np.testing.assert_allclose(part.path(LAM, XI).coef, other.path(LAM, XI).coef, rtol=rtol)
    np.testing.assert_array_equal(mapped, X)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr("fastdistill.spectral.summed_path.BLOCK_ENTRIES", 64)
    monkeypatch.setattr("fastdistill.spectral.summed_path.MOST_ENTRIES", 64)


def test_a_function_is_told_the_rows(small_pieces, rng, monkeypatch):
    monkeypatch.setattr(progress_module, "CALLED_AFTER", 0.0)
    X, y = rng.standard_normal((100, 3)), rng.standard_normal(100)
    told: list[tuple[int, int]] = []
    acc = fd.GramAccumulator().partial_fit(X, y, progress=lambda *counts: told.append(counts))
    assert told == [(21, 100), (42, 100), (63, 100), (84, 100), (100, 100)]
    told.clear()
    acc.loo_mse([(X[:50], y[:50]), (X[50:], y[50:])], LAM, XI, progress=lambda *counts: told.append(counts))
    assert told == [(21, 100), (42, 100), (50, 100), (71, 100), (92, 100), (100, 100)]
    np.testing.assert_array_equal(acc.path(LAM, XI).coef, fd.GramAccumulator().partial_fit(X, y).path(LAM, XI).coef)


def test_a_function_is_called_at_the_end_however_short(rng):
    told: list[tuple[int, int]] = []
    fd.GramAccumulator().partial_fit(np.eye(3), np.ones(3), progress=lambda *counts: told.append(counts))
    assert told == [(3, 3)]


def test_a_function_that_raises_ends_the_sum_and_changes_nothing(small_pieces, rng, monkeypatch):
    monkeypatch.setattr(progress_module, "CALLED_AFTER", 0.0)

    def interrupt(done: int, total: int) -> None:
        if done > 50:
            raise KeyboardInterrupt

    acc = fd.GramAccumulator().partial_fit(np.eye(3), np.ones(3))
    with pytest.raises(KeyboardInterrupt):
        acc.partial_fit(rng.standard_normal((100, 3)), np.ones(100), progress=interrupt)
    assert acc.n_samples == 3


def test_a_bar_of_tqdm(small_pieces, rng, monkeypatch, capsys):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    X, y = rng.standard_normal((100, 3)), rng.standard_normal(100)
    fd.GramAccumulator().partial_fit(X, y, progress=True)
    assert capsys.readouterr().err == "", "too short to be seen"
    monkeypatch.setattr(progress_module, "SHOWN_AFTER", 0.0)
    fd.GramAccumulator().partial_fit(X, y, progress=True)
    shown = capsys.readouterr().err
    assert "GramAccumulator.partial_fit: 100%" in shown
    assert "100/100" in shown


def test_lines_of_text_without_tqdm(small_pieces, rng, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    X, y = rng.standard_normal((100, 3)), rng.standard_normal(100)
    fd.GramAccumulator().partial_fit(X, y, progress=True)
    assert capsys.readouterr().err == "", "too short to be seen"
    monkeypatch.setattr(progress_module, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(progress_module, "CALLED_AFTER", 0.0)
    fd.GramAccumulator().partial_fit(X, y, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "GramAccumulator.partial_fit: 21%, 21 of 100 rows in 0 s"
    assert lines[-1] == "GramAccumulator.partial_fit: 100%, 100 of 100 rows in 0 s"


def test_anything_else_is_an_error():
    for wrong in (1, "yes", None):
        with pytest.raises(TypeError, match="progress must be False, True or a function"):
            fd.GramAccumulator().partial_fit(np.eye(3), np.ones(3), progress=wrong)
