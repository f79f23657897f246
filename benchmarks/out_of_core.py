"""Sums of a design larger than memory, from a memory map: 10 million × 100 (8 GB on the disk of the temporary folder).

==============================  ===============================================  =========================  ======
track_*                         ours                                             limit                      target
==============================  ===============================================  =========================  ======
MemoryMap.…_ratio_gram          `GramAccumulator.partial_fit`                    ``X.T @ X`` in blocks      1.3
MemoryMap.…_peak                MiB that a process grows by in that call                                    1000
MemoryMap.…_speedup             seconds of one process / of two, half each       2                          1.6
==============================  ===============================================  =========================  ======

One thread a process. Each pass opens the file anew, as pages that a process has already mapped cost no time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import REDUCED
from benchmarks.limits import interleaved_ratio
from benchmarks.processes import run

ROWS, COLUMNS = (20_000 if REDUCED else 10_000_000), 100
BLOCK = 2**16 // COLUMNS  # rows of the block in which the product is fastest here

WHOLE, HALVES = slice(0, ROWS), (slice(0, ROWS // 2), slice(ROWS // 2, ROWS))

SUMS = """
import numpy as np
import fastdistill as fd
X, y = (np.load(path, mmap_mode="r")[{part}] for path in {paths})
fd.GramAccumulator().partial_fit(X, y)
"""

PEAK = """
import numpy as np
import fastdistill as fd
X, y = (np.load(path, mmap_mode="r") for path in {paths})
fd.GramAccumulator().partial_fit(X[:2], y[:2])

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

before = peak()
fd.GramAccumulator().partial_fit(X, y)
print(peak() - before)
"""


def write_design(folder: Path) -> tuple[str, str]:
    """Paths of a design (n, p) and targets (n,), written block by block."""
    rng, paths = np.random.default_rng(0), (str(folder / "X.npy"), str(folder / "y.npy"))
    X, y = (
        np.lib.format.open_memmap(path, "w+", np.float64, shape)
        for path, shape in zip(paths, ((ROWS, COLUMNS), (ROWS,)), strict=True)
    )
    for start in range(0, ROWS, 10_000):
        block = rng.random((10_000, COLUMNS))
        X[start : start + 10_000], y[start : start + 10_000] = block, block[:, 0] + rng.standard_normal(10_000)
    return paths


def sums(paths: tuple[str, str], part: slice) -> Any:
    """The sums of some of the rows."""
    import fastdistill as fd

    X, y = (np.load(path, mmap_mode="r")[part] for path in paths)
    return fd.GramAccumulator().partial_fit(X, y)


def gram(path: str) -> np.ndarray:
    """``X.T @ X`` in blocks."""
    X, total = np.load(path, mmap_mode="r"), np.zeros((COLUMNS, COLUMNS))
    for start in range(0, ROWS, BLOCK):
        rows = X[start : start + BLOCK]
        total += rows.T @ rows
    return total


class MemoryMap:
    """Row 15: little more than the product itself, in little memory, and in half the time on two cores."""

    timeout = 3600

    def setup_cache(self) -> tuple[str, str]:
        return write_design(Path.cwd())  # a folder of asv's, which removes it

    def setup(self, paths: tuple[str, str]) -> None:
        sums(paths, slice(0, 100))
        threadpool_limits(1)

    def track_ratio_gram(self, paths: tuple[str, str]) -> float:
        return interleaved_ratio(lambda: sums(paths, slice(None)), lambda: gram(paths[0]), rounds=3)

    def track_peak(self, paths: tuple[str, str]) -> float:
        return float(run(PEAK.format(paths=paths), "."))

    def track_speedup(self, paths: tuple[str, str]) -> float:
        def together() -> None:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda part: run(SUMS.format(paths=paths, part=part), "."), HALVES))

        return interleaved_ratio(lambda: run(SUMS.format(paths=paths, part=WHOLE), "."), together, rounds=3)
