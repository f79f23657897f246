"""Epochs through the kernels: which of them serves which run, threads over configurations, pieces that fit a cache.

====================================================================  ==============================================
run                                                                   kernel
====================================================================  ==============================================
dense, one output, batches of one                                     ``dense_rows``
the same, several configurations with one order and one teacher       ``dense_lanes``: sixteen to a group
squared loss, runs that differ in the weight alone (see `affine`)     those of the smallest and the largest weight
dense with batches, outputs, momentum, compression or averaging       ``dense_batches``
CSR, one output, batches of one                                       ``csr_rows``
CSR with batches, outputs or averaging                                ``csr_batches``
CSR with momentum or compression, which touch every coefficient       ``dense_batches`` on blocks of rows made dense
====================================================================  ==============================================

Several configurations of one order visit the data together: each in turn takes the steps of a piece of the epoch while
its rows are in cache. No task reads what another writes, so results are the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fastdistill import kernels
from fastdistill.sgd.affine import SMALLEST_LINE, between, lines
from fastdistill.sgd.plan import Plan
from fastdistill.sgd.problem import LOSS_CODES, Problem

# Of the rows that configurations visit in turn: few enough for a cache, enough to outweigh the calls. An epoch of two
# configurations, 20 000 × 784, on one and on two threads: 22.4 and 21.0 ms with 2**18, 14.5 and 11.4 with 2**21; eight
# in batches, 100 000 × 100: 52, 54 and, without pieces, 85 ms.
PIECE_BYTES = 2**21
DRAW_ENTRIES = 2**20  # random numbers of compressors at a time
SUMMED_STEPS = 2**12  # iterates summed in the precision of X; what is summed beyond them is float64
LEAST_THREADED = 2**21  # products below which threads take longer to start than to work: about half a millisecond
LARGEST_ROOT = {np.dtype(kind): float(np.sqrt(np.finfo(kind).max)) for kind in (np.float32, np.float64)}
FEWEST_LANES = 4  # configurations below which lanes would be mostly empty


@dataclass
class Visits:
    """The rows that some configurations visit in an epoch: order (steps, batch), and the seed of compressors' draws."""

    configurations: np.ndarray
    order: np.ndarray
    seed: int


class Stepper:
    """Runs epochs on `state` (Q, 3 or 4, C, p or p + 1): coefficients, push, velocity and, for averaging, the sum."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        compressor, average = plan.compressor, plan.average
        self.problem, self.compressor, self.n_threads = problem, compressor, plan.n_threads
        self.settings = settings = plan.settings.copy()  # weights change from epoch to epoch
        self.weights = settings[:, kernels.WEIGHT].copy()  # before the factor of an epoch
        self.average = average
        rows = kernels.TOTAL + 1 if average else kernels.TOTAL
        self.state = np.zeros((len(settings), rows, problem.n_outputs, problem.width), problem.dtype)
        self.total = np.zeros((len(settings), problem.n_outputs, problem.width)) if average else None
        self.samples: list[np.ndarray] = []  # one for all configurations, or one each
        self._mixed: dict[int, tuple[float, np.ndarray]] = {}
        self._lines: list[np.ndarray] = []
        touches_all = compressor is not None or settings[0, kernels.MOMENTUM] != 0.0
        self._is_plain = not average and not touches_all and problem.n_outputs == 1
        self._is_densified = problem.is_sparse and touches_all
        self._loss = LOSS_CODES[problem.loss]

    def start(self, init: np.ndarray | float) -> None:
        """The first iterate, (C, p or p + 1) or one for each configuration: those between weights may lie between."""
        coef = self.state[:, kernels.COEF]
        coef[:] = init
        if self.problem.loss == "squared" and (self.compressor is None or self.compressor.kind == "SCALED"):
            for line in lines(self.settings):
                if np.array_equal(coef[line[1:-1]], between(coef, line, self.weights).astype(coef.dtype)):
                    self._lines.append(line)

    def teach(self, samples: list[np.ndarray]) -> None:
        """What the next steps read of each sample: (n, 3 C + 1), one for all configurations or one each."""
        self.samples, self._mixed = samples, {}

    def epoch(self, visits: list[Visits], scale: np.ndarray) -> None:
        """Every configuration takes the steps of its visits; `scale` (steps,) multiplies the step size."""
        led = [line for visit in visits for line in self._led(visit.configurations)]
        if not led:
            self._take_steps([visit for visit in visits if len(visit.configurations)], scale)
            return
        stepping = np.ones(len(self.settings), dtype=bool)
        for line in led:
            stepping[line[1:-1]] = False
        self._take_steps(_only(visits, stepping), scale)
        stepping[:] = False
        for line in led:
            if is_bounded(self.state[line[[0, -1]]]).all():
                for values in [self.state] if self.total is None else [self.state, self.total]:
                    values[line[1:-1]] = between(values, line, self.weights)
            else:  # those between may not diverge, or later
                stepping[line[1:-1]] = True
        self._take_steps(_only(visits, stepping), scale)

    def _led(self, which: np.ndarray) -> list[np.ndarray]:
        """Lines of the configurations that only the ends need to step: those of one teacher."""
        if len(self.samples) > 1 or not self._lines:
            return []
        visiting = np.zeros(len(self.settings), dtype=bool)
        visiting[which] = True
        rest = [line[visiting[line]] for line in self._lines]
        return [line for line in rest if len(line) >= SMALLEST_LINE]

    def _take_steps(self, visits: list[Visits], scale: np.ndarray) -> None:
        tasks = [task for visit in visits for task in self._tasks(visit, scale)]
        problem = self.problem
        work = problem.n * problem.p * problem.n_outputs * sum(len(visit.configurations) for visit in visits)
        with np.errstate(all="ignore"):  # without the compiler, a diverging run would warn before it is stopped
            if len(tasks) <= 1 or self.n_threads == 1 or work < LEAST_THREADED:
                for task in tasks:
                    task()
                return
        with ThreadPoolExecutor(min(self.n_threads, len(tasks))) as pool:
            try:
                for done in [pool.submit(_quietly, task) for task in tasks]:
                    done.result()
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                raise

    def _tasks(self, visit: Visits, scale: np.ndarray) -> Iterator[Callable[[], None]]:
        which = visit.configurations
        is_simple = self._is_plain and visit.order.shape[1] == 1 and not self.problem.is_sparse
        if is_simple and len(self.samples) == 1 and len(which) >= FEWEST_LANES:
            for part in _parts(which, self.n_threads, kernels.LANES):
                yield partial(self._lanes, part, visit, scale)
        else:
            for part in _parts(which, self.n_threads, 1):
                yield partial(self._in_turn, part, visit, scale)

    def _lanes(self, which: np.ndarray, visit: Visits, scale: np.ndarray) -> None:
        problem, lanes = self.problem, kernels.LANES
        filling = np.repeat(which[-1:], -len(which) % lanes)  # of the same group for any number of threads
        padded = np.concatenate([which, filling])
        groups = (len(padded) // lanes, lanes)
        coef = self.state[padded, kernels.COEF, 0].reshape(*groups, -1).transpose(0, 2, 1).copy()
        settings = self.settings[padded].reshape(*groups, -1).transpose(0, 2, 1).copy()
        push = self.state[which[0], kernels.PUSH, 0]
        order = np.ascontiguousarray(visit.order[:, 0])
        kernels.dense_lanes(problem.X, order, self.samples[0], self._loss, settings, scale, coef, push)
        self.state[which, kernels.COEF, 0] = coef.transpose(0, 2, 1).reshape(len(padded), -1)[: len(which)]

    def _in_turn(self, which: np.ndarray, visit: Visits, scale: np.ndarray) -> None:
        problem, steps = self.problem, len(visit.order)
        rng = np.random.default_rng(visit.seed) if self.compressor is not None else None
        size = steps
        if len(visit.configurations) > 1 or self._is_densified:  # not those of this thread: pieces leave their rounding
            row_bytes = (
                problem.X.data.nbytes / problem.n if problem.is_sparse and not self._is_densified else 8 * problem.p
            )
            size = int(PIECE_BYTES / max(1.0, row_bytes * visit.order.shape[1]))
        if self.average:
            size = min(size, SUMMED_STEPS)
        if self.compressor is not None:
            size = min(size, DRAW_ENTRIES // (problem.n_outputs * problem.p))
        size = max(1, size)
        for start in range(0, steps, size):
            order, factors = visit.order[start : start + size], scale[start : start + size]
            draws = None
            if self.compressor is not None and rng is not None:
                draws = self.compressor.draws(rng, (len(order), problem.n_outputs, problem.p))
            dense = self._densified(order) if self._is_densified else None
            for q in which:
                self._piece(q, order, factors, draws, dense)

    def _piece(self, q: int, order: np.ndarray, scale: np.ndarray, draws: np.ndarray | None, dense: Any) -> None:
        """Configuration q takes the steps of `order` (steps, batch)."""
        problem, state, setting = self.problem, self.state[q], self.settings[q]
        if problem.is_sparse and dense is None:
            self._sparse_piece(q, order, scale)
        elif self._is_plain and order.shape[1] == 1 and dense is None:
            coef, push = state[kernels.COEF, 0], state[kernels.PUSH, 0]
            kernels.dense_rows(problem.X, order.ravel(), self._records(q), self._loss, setting, scale, coef, push)
        else:
            code = kernels.UNCOMPRESSED if self.compressor is None else getattr(kernels, self.compressor.kind)
            X, rows, order = (problem.X, slice(None), order) if dense is None else dense
            samples = self._records(q, with_push=False)[rows]
            kernels.dense_batches(X, order, samples, self._loss, setting, scale, state, code, draws)
            if self.total is not None:
                self.total[q] += state[kernels.TOTAL]
                state[kernels.TOTAL] = 0.0

    def _samples(self, q: int) -> np.ndarray:
        return self.samples[q if len(self.samples) > 1 else 0]

    def _records(self, q: int, *, with_push: bool = True) -> np.ndarray:
        """The samples of configuration q in an epoch: mixed targets, and ⟨a_n, push⟩ where it is asked for and used.

        Rows come in random order, and what is read beside them then costs a line of the cache each: of an epoch of
        100 000 × 100, 12.8 ms with all four numbers, 10.7 with one. Weights and a temperature need them all.
        """
        kappa, samples, n_outputs = self.settings[q, kernels.WEIGHT], self._samples(q), self.problem.n_outputs
        if self.settings[q, kernels.TEMPERATURE] != 1.0 or not self.problem.is_uniform:
            return samples
        if q not in self._mixed or self._mixed[q][0] != kappa:
            labels, outputs, pushes = (
                samples[:, start : start + n_outputs] for start in (0, n_outputs, 2 * n_outputs + 1)
            )
            mixed = labels if kappa == 0.0 else (1.0 - kappa) * labels + kappa * outputs
            is_pushed = with_push and kappa != 0.0 and pushes.any()
            self._mixed[q] = kappa, np.concatenate([mixed, pushes] if is_pushed else [mixed], axis=1)
        return self._mixed[q][1]

    def _sparse_piece(self, q: int, order: np.ndarray, scale: np.ndarray) -> None:
        X, state, setting = self.problem.X, self.state[q], self.settings[q]
        used = [kernels.COEF, kernels.PUSH]
        lazy = np.zeros((4 if self.average else 2, self.problem.width, self.problem.n_outputs), state.dtype)
        lazy[:2] = state[used].transpose(0, 2, 1)
        settings = np.append(setting, self.problem.p)
        arrays = (X.data, X.indices, X.indptr)
        if self._is_plain and order.shape[1] == 1:
            kernels.csr_rows(*arrays, order.ravel(), self._records(q), self._loss, settings, scale, lazy)
        else:
            kernels.csr_batches(*arrays, order, self._samples(q), self._loss, settings, scale, lazy)
        state[kernels.COEF] = lazy[0].T
        if self.total is not None:
            self.total[q] += lazy[2].T

    def _densified(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows of `order` as a dense block, their numbers, and the order within the block."""
        valid = order >= 0
        rows = order[valid]
        local = np.full(order.shape, -1, dtype=np.intp)
        local[valid] = np.arange(len(rows))
        block = self.problem.X[rows].toarray()
        block.flags.writeable = False
        return block, rows, local


def is_bounded(state: np.ndarray) -> np.ndarray:
    """Of states (Q, …), whether their squares are finite."""
    if np.isfinite(np.vdot(state, state)):  # the usual one, in a fifth of the time
        return np.ones(len(state), dtype=bool)
    return (np.abs(state).reshape(len(state), -1) < LARGEST_ROOT[state.dtype]).all(axis=1)


def _only(visits: list[Visits], wanted: np.ndarray) -> list[Visits]:
    """The visits of the configurations that are wanted, a mask (Q,)."""
    kept = [visit.configurations[wanted[visit.configurations]] for visit in visits]
    return [replace(visit, configurations=which) for visit, which in zip(visits, kept, strict=True) if len(which)]


def _quietly(task: Callable[[], None]) -> None:
    with np.errstate(all="ignore"):
        task()


def _parts(which: np.ndarray, n_threads: int, multiple: int) -> list[np.ndarray]:
    """Configurations for each thread, in multiples of a group."""
    n_groups = -(-len(which) // multiple)
    if min(n_threads, n_groups) == 1:
        return [which]
    bounds = np.unique(np.linspace(0, n_groups, min(n_threads, n_groups) + 1).astype(int)) * multiple
    return [which[start:stop] for start, stop in pairwise(bounds)]
