"""Ours / limit or yardstick on the same inputs, measured in the same process, round by round in turn.

==========================  ====================================================  =============================  ======
track_ratio_*               ours                                                  limit or yardstick             target
==========================  ====================================================  =============================  ======
KernelPath.…_eigh           filters, fits, dof, GCV of 50 penalties × 20 steps,   one ``numpy.linalg.eigh(K)``      1.1
                            n = 2000
KernelLeaveOneOut.…_eigh    the same and exact leave-one-out of each              one ``numpy.linalg.eigh(K)``      1.5
KernelFolds.…_eigh          exact predictions of 10 folds, 50 penalties × 3       one ``numpy.linalg.eigh(K)``      2.0
                            steps, n = 2000
TuneLeaveOneOut.…_ridge_cv  50 penalties, two tuned weights, n = 100 000, p = 50  ``RidgeCV`` of 50 alphas         0.02
TuneLeaveOneOut.…_floor     the same                                              XᵀX, leverages of each         2
ManyProblems.…_ridge        100 000 problems 64 × 8, k = 3; time for one of them  one ``Ridge().fit``              0.01
StudentFilters.…_copy       the filters of 50 penalties × 20 steps, r = 2000      a copy of an array of that size
==========================  ====================================================  =============================  ======

Both sides run on the number of threads in the parameter; the median of the rounds' ratios stays comparable across
machines where times do not.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import REDUCED
from benchmarks.comparisons import TASKS, batch_problem, disagreement, filter_problem, kernel_problem, loo_problem

SIZE = "small" if REDUCED else "full"
ROUNDS = 3 if REDUCED else 7


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    start = perf_counter()
    call()
    return perf_counter() - start


class Ratio(float):
    """Ours / limit, with the median seconds of both."""

    ours: float
    limit: float

    def __new__(cls, ratio: float, ours: float, limit: float) -> Ratio:
        self = super().__new__(cls, ratio)
        self.ours, self.limit = ours, limit
        return self

    def per(self, count: float) -> Ratio:
        """Of one of the `count` equal parts of ours."""
        return Ratio(self / count, self.ours / count, self.limit)


def interleaved_ratio(ours: Callable[[], Any], limit: Callable[[], Any], rounds: int = ROUNDS) -> Ratio:
    """Median of ours / limit over rounds in which both run once, first one first and then the other."""
    ours()
    limit()
    spent = np.empty((rounds, 2))
    for i in range(rounds):
        for j in (1, 0) if i % 2 else (0, 1):
            spent[i, j] = seconds((ours, limit)[j])
    return Ratio(median(spent[:, 0] / spent[:, 1]), *np.median(spent, axis=0).tolist())


class _AgainstYardstick:
    """A task on one and on two threads, warm."""

    timeout = 600
    params = ([1, 2],)
    param_names = ("threads",)
    task: str
    twin_size = "small"  # the size at which the last twin answers in seconds

    def setup(self, threads: int) -> None:
        TASKS[self.task]["fastdistill"]("small")()
        threadpool_limits(threads)  # after the first answer: it reaches only the libraries that are loaded by now
        self.answer = TASKS[self.task]["fastdistill"](SIZE)

    def track_error(self, threads: int) -> float:
        """Disagreement with the last twin, on a smaller problem of the same kind."""
        size = "small" if REDUCED else self.twin_size
        ours, *_, twin = TASKS[self.task].values()
        return disagreement(ours(size)(), twin(size)())

    def time_answer(self, threads: int) -> None:
        self.answer()


class KernelPath(_AgainstYardstick):
    """Row 1: every student of 50 penalties and 20 steps for the price of one eigendecomposition."""

    task, twin_size = "kernel_path", "medium"

    def track_ratio_eigh(self, threads: int) -> float:
        K = kernel_problem(SIZE)[0]
        return interleaved_ratio(self.answer, lambda: np.linalg.eigh(K))


class KernelLeaveOneOut(KernelPath):
    """Row 2: and exact leave-one-out of each of them for half of one more."""

    task, twin_size = "kernel_loo", "small"


class KernelFolds(KernelPath):
    """Row 24: every student refitted without each of ten folds, for the price of one eigendecomposition more."""

    task, twin_size = "kernel_folds", "small"


class TuneLeaveOneOut(_AgainstYardstick):
    """Row 4: penalty and weights under exact leave-one-out, against the penalty alone."""

    task, twin_size = "tune_loo", "medium"

    def track_ratio_ridge_cv(self, threads: int) -> float:
        from sklearn.linear_model import RidgeCV

        X, y, lam = loo_problem(SIZE)
        return interleaved_ratio(self.answer, lambda: RidgeCV(lam).fit(X, y), rounds=3)

    def track_ratio_floor(self, threads: int) -> float:
        X, _, lam = loo_problem(SIZE)
        d, vectors = np.linalg.eigh(X.T @ X)
        filters, height = d[:, None] / (d[:, None] + lam), 2**16 // X.shape[1]

        def floor() -> None:
            X.T @ X
            for start in range(0, len(X), height):
                np.square(X[start : start + height] @ vectors) @ filters

        return interleaved_ratio(self.answer, floor)


class ManyProblems(_AgainstYardstick):
    """Row 11: all students of one small problem, in a batch, against one fit of an estimator."""

    task, twin_size = "many_problems", "medium"

    def track_ratio_ridge(self, threads: int) -> float:
        from sklearn.linear_model import Ridge

        import fastdistill as fd

        X, y, lam, xi = batch_problem(SIZE)
        once = min(len(X), 1000)

        def fit_each() -> None:
            for rows, goals in zip(X[:once], y[:once], strict=True):
                Ridge().fit(rows, goals)

        batch = interleaved_ratio(
            lambda: fd.batched_path(X, y, lam, xi, fit_intercept=True, n_threads=threads), fit_each
        )
        return batch.per(len(X) / once)


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
