"""What a user waits for before the first number: each figure from fresh processes, median of several.

========================  =======================================================  ======
track_*                   seconds of                                               target
========================  =======================================================  ======
Import.…_beyond_numpy     ``import fastdistill`` after ``import numpy``            0.05
FirstFit.…_beyond_second  a first fit with a warm disk cache − the same fit again  0.5
FirstCall.…_cold          a first call, its imports and compilation, no cache      4, 5
FirstCall.…_warm          the same, with a warm disk cache
ColdCompile.…_warmup      ``fastdistill warmup`` on an empty ``NUMBA_CACHE_DIR``   60
Reproduce.…_all           ``fastdistill reproduce all``, compiled from nothing     60
========================  =======================================================  ======

FirstCall begins after ``import sklearn``; its targets are those of ``DistilledRidgeCV().fit`` and of a softmax run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from statistics import median
from time import perf_counter

from benchmarks import REDUCED

ROUNDS = 1 if REDUCED else 7

IMPORT = """
import time
import numpy
start = time.perf_counter()
import fastdistill
print(time.perf_counter() - start)
"""

FIRST_FIT = """
import time
import numpy as np
import fastdistill as fd
rng = np.random.default_rng(0)
X, y = rng.standard_normal((200, 5)), rng.standard_normal(200)
spent = []
for _ in range(2):
    start = time.perf_counter()
    path = fd.Spectrum.from_design(X, fit_intercept=True).path(y, np.logspace(-3, 3, 20), 1.0, n_steps=3)
    path.coef, path.intercept, path.gcv
    spent.append(time.perf_counter() - start)
print(spent[0] - spent[1])
"""

FIRST_CALL = """
import time
import numpy as np
import sklearn
rng = np.random.default_rng(0)
X, y = rng.standard_normal((200, 5)), rng.standard_normal(200)
start = time.perf_counter()
import fastdistill as fd
{call}
print(time.perf_counter() - start)
"""
FIRST_CALLS = {
    "DistilledRidge": "fd.DistilledRidge().fit(X, y)",
    "DistilledRidgeCV": "fd.DistilledRidgeCV().fit(X, y)",
    "run_sgd": "fd.run_sgd(X, y, step_size=0.01, n_epochs=1)",
    "run_sgd_softmax": "fd.run_sgd(X, np.digitize(y, [-0.5, 0.5]), loss='softmax', step_size=0.01, n_epochs=1)",
}


def run(code: str, cache: str) -> str:
    """What a fresh interpreter prints, on one thread and with the compiler's disk cache in the folder `cache`."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "NUMBA_CACHE_DIR": cache}
    # -P: the installed package, whatever lies in the current folder
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def command_seconds(arguments: str, cache: str) -> float:
    """Seconds of one call of the command line."""
    start = perf_counter()
    run(f"from fastdistill.cli import main; raise SystemExit(main({arguments.split()}))", cache)
    return perf_counter() - start


class _FreshProcess:
    timeout = 600
    unit = "seconds"

    def setup(self, *parameters: str) -> None:
        self.cache = tempfile.TemporaryDirectory(prefix="fastdistill-benchmark-")

    def teardown(self, *parameters: str) -> None:
        self.cache.cleanup()


class Import(_FreshProcess):
    """Nothing heavy is imported before it is needed."""

    def track_import_beyond_numpy(self) -> float:
        run(IMPORT, self.cache.name)
        return median(float(run(IMPORT, self.cache.name)) for _ in range(ROUNDS))


class FirstFit(_FreshProcess):
    """Importing the compiler and reading its disk cache."""

    def track_first_fit_beyond_second(self) -> float:
        run(FIRST_FIT, self.cache.name)
        return median(float(run(FIRST_FIT, self.cache.name)) for _ in range(ROUNDS))


class FirstCall(_FreshProcess):
    """What a user waits for after ``import sklearn``: the imports, the compiler or its cache, and the call itself."""

    params = tuple(FIRST_CALLS)
    param_names = ("call",)

    def track_cold(self, call: str) -> float:
        def seconds() -> float:
            with tempfile.TemporaryDirectory(dir=self.cache.name) as cache:
                return float(run(FIRST_CALL.format(call=FIRST_CALLS[call]), cache))

        return median(seconds() for _ in range(min(ROUNDS, 3)))

    def track_warm(self, call: str) -> float:
        code = FIRST_CALL.format(call=FIRST_CALLS[call])
        run(code, self.cache.name)
        return median(float(run(code, self.cache.name)) for _ in range(ROUNDS))


class ColdCompile(_FreshProcess):
    """Everything compiled from nothing, once."""

    def track_warmup(self) -> float:
        return command_seconds("warmup", self.cache.name)


class Reproduce(_FreshProcess):
    """The main job: three papers, compiled from nothing (the first of them alone where benchmarks are reduced)."""

    def track_all(self) -> float:
        papers = "mobahi" if REDUCED else "all"
        return command_seconds(f"reproduce {papers} --out {self.cache.name}/report", self.cache.name)
