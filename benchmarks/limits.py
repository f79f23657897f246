"""Ours / limit: what LAPACK or memory allow on the same inputs, measured in the same process, round by round in turn.

==========================  ============================================================  =============================
track_ratio_*               ours                                                          limit
==========================  ============================================================  =============================
KernelPath.…_eigh           filters, fits, dof, GCV of 50 penalties × 20 steps, n = 2000  one ``numpy.linalg.eigh(K)``
StudentFilters.…_copy       the filters of 50 penalties × 20 steps, r = 2000              copying an array of that size
==========================  ============================================================  =============================

Both sides run on the number of threads in the parameter; the median of the rounds' ratios stays comparable across
machines where times do not. The target of the first row is 1.1.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import REDUCED
from benchmarks.comparisons import TASKS, disagreement, filter_problem, kernel_problem

SIZE = "small" if REDUCED else "full"
ROUNDS = 3 if REDUCED else 7


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    start = perf_counter()
    call()
    return perf_counter() - start


def interleaved_ratio(ours: Callable[[], Any], limit: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median of ours / limit over rounds in which both run once, first one first and then the other."""
    ours()
    limit()
    ratios = []
    for i in range(rounds):
        first, second = (limit, ours) if i % 2 else (ours, limit)
        spent = {first: seconds(first), second: seconds(second)}
        ratios.append(spent[ours] / spent[limit])
    return median(ratios)


class KernelPath:
    """Row 1: every student of 50 penalties and 20 steps for the price of one eigendecomposition."""

    timeout = 600
    params = ([1, 2],)
    param_names = ("threads",)

    def setup(self, threads: int) -> None:
        TASKS["kernel_path"]["fastdistill"]("small")()
        threadpool_limits(threads)  # after the first answer: it reaches only the libraries that are loaded by now
        self.K = kernel_problem(SIZE)[0]
        self.answer = TASKS["kernel_path"]["fastdistill"](SIZE)

    def track_ratio_eigh(self, threads: int) -> float:
        return interleaved_ratio(self.answer, lambda: np.linalg.eigh(self.K))

    def track_error(self, threads: int) -> float:
        """Disagreement with smoothers refitted from scratch, on a smaller problem of the same kind."""
        size = "small" if REDUCED else "medium"
        return disagreement(TASKS["kernel_path"]["fastdistill"](size)(), TASKS["kernel_path"]["numpy"](size)())

    def time_answer(self, threads: int) -> None:
        self.answer()


class StudentFilters:
    """The recursion against the memory it writes."""

    timeout = 300

    def setup(self) -> None:
        self.answer = TASKS["student_filters"]["fastdistill"](SIZE)
        self.answer()
        threadpool_limits(1)
        d, lam, xi = filter_problem(SIZE)
        self.source = np.ones((len(lam), len(xi) + 1, len(d)))

    def track_ratio_copy(self) -> float:
        return interleaved_ratio(self.answer, self.source.copy, rounds=5 * ROUNDS)

    def track_error(self) -> float:
        return disagreement(self.answer(), TASKS["student_filters"]["numpy"](SIZE)())
