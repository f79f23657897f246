"""Distillation SGD against a stream over its data and against scikit-learn, measured in the same process in turn.

===========================  =============================================  ===================  =========
track_ratio_*                ours                                           limit or yardstick   target
===========================  =============================================  ===================  =========
Epoch.…_stream               a shuffled epoch, 100 000 × 100, 20 000 × 784  ``X.sum()``          1.3, 1.7
Epoch.…_teacher, …_unbiased  the same with a teacher                        the same without     1.05
Epoch.…_sklearn              the same epochs with a teacher                 ``SGDRegressor``     0.25
Epoch.…_setup, …_unbiased    what such a run takes before its epochs        ``X.sum()``          as few as can be
Kernel.…                     epochs of the kernel alone                     as above             as above
Configurations.…_stream      32 weights or 32 step sizes, 1 or 2 threads    ``X.sum()``          12, 7
Configurations.…_separate    the same                                       32 separate runs     0.33
Softmax.…_stream             10 000 × 784 × 10, float32, batches of ten     ``X.sum()``          5
Sparse.…_sklearn             200 000 × 10 000, 1 % stored, with a teacher   ``SGDRegressor``     0.33
Sparse.…_kernel              the same, the kernel alone                     ``SGDRegressor``     0.33
===========================  =============================================  ===================  =========

An epoch is a run of `EPOCHS` without a trace divided by their number: orders are drawn, the data checked once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import REDUCED
from benchmarks.limits import interleaved_ratio
from benchmarks.sgd_comparisons import SGD_TASKS, WEIGHT, dense_problem, sgd_sklearn, softmax_problem, sparse_problem

SIZE = "small" if REDUCED else "full"
SHAPES = ["60x7"] if REDUCED else ["100000x100", "20000x784", "100000x20"]
EPOCHS = 10
ROUNDS = 3 if REDUCED else 7


def regression(shape: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X (n, p), a teacher (p,) and noisy targets (n,) of a shape "n x p"."""
    n, p = map(int, shape.split("x"))
    rng = np.random.default_rng(n)
    X, teacher = rng.standard_normal((n, p)), rng.standard_normal(p)
    return X, teacher, X @ teacher + rng.standard_normal(n)


class Epoch:
    """Rows 5, 6 and 7: one configuration, batches of one, squared loss."""

    timeout = 600
    params = (SHAPES,)
    param_names = ("shape",)

    def setup(self, shape: str) -> None:
        self.X, self.teacher, self.y = regression(shape)
        self.run("kd")()
        threadpool_limits(1)

    def run(self, variant: str, weight: float = WEIGHT, n_epochs: int = EPOCHS) -> Callable[[], Any]:
        import fastdistill as fd

        options: dict[str, Any] = {"step_size": 0.05 / self.X.shape[1], "n_epochs": n_epochs, "record_every": 0}
        taught: dict[str, Any] = {"teacher": self.teacher, "kd_weight": weight, "variant": variant} if weight else {}
        return lambda: fd.run_sgd(self.X, self.y, random_state=0, **taught, **options)

    def track_ratio_stream(self, shape: str) -> float:
        return interleaved_ratio(self.run("kd", 0.0), lambda: self.X.sum(), ROUNDS).per(EPOCHS)

    def track_ratio_teacher(self, shape: str) -> float:
        return interleaved_ratio(self.run("kd"), self.run("kd", 0.0), ROUNDS)

    def track_ratio_unbiased(self, shape: str) -> float:
        return interleaved_ratio(self.run("kd_unbiased"), self.run("kd", 0.0), ROUNDS)

    def track_ratio_setup(self, shape: str) -> float:
        return interleaved_ratio(self.run("kd", n_epochs=0), lambda: self.X.sum(), 5 * ROUNDS)

    def track_ratio_setup_unbiased(self, shape: str) -> float:
        return interleaved_ratio(self.run("kd_unbiased", n_epochs=0), lambda: self.X.sum(), 5 * ROUNDS)

    def track_ratio_sklearn(self, shape: str) -> float:
        step = 0.05 / self.X.shape[1]
        return interleaved_ratio(self.run("kd"), lambda: sgd_sklearn(self.X, self.y, step, EPOCHS, shuffle=True), 3)


class Kernel:
    """Rows 5 and 6 without what a run does once: samples mixed and orders drawn before."""

    timeout = 600
    params = (SHAPES,)
    param_names = ("shape",)

    def setup(self, shape: str) -> None:
        self.X, teacher, y = regression(shape)
        self.order, self.mixed = np.random.default_rng(0).permutation(len(y)), y[:, None]
        self.push = teacher / len(y)
        self.pushed = np.column_stack([self.mixed, self.X @ self.push])
        threadpool_limits(1)

    def epoch(self, samples: np.ndarray, weight: float) -> Callable[[], None]:
        from fastdistill import kernels

        setting, scale = np.zeros(6), np.ones(len(self.order))
        setting[[kernels.STEP, kernels.WEIGHT, kernels.TEMPERATURE]] = 0.05 / len(self.push), weight, 1.0
        push = self.push if samples.shape[1] > 1 else np.zeros_like(self.push)
        arguments = (self.X, self.order, samples, kernels.SQUARED, setting, scale)
        return lambda: kernels.dense_rows(*arguments, np.zeros_like(self.push), push)

    def track_ratio_stream(self, shape: str) -> float:
        return interleaved_ratio(self.epoch(self.mixed, 0.0), lambda: self.X.sum(), 5 * ROUNDS)

    def track_ratio_teacher(self, shape: str) -> float:
        return interleaved_ratio(self.epoch(self.mixed, WEIGHT), self.epoch(self.mixed, 0.0), 5 * ROUNDS)

    def track_ratio_unbiased(self, shape: str) -> float:
        return interleaved_ratio(self.epoch(self.pushed, WEIGHT), self.epoch(self.mixed, 0.0), 5 * ROUNDS)


class Configurations:
    """Row 8: 32 weights of one teacher, which two runs serve, or 32 step sizes, in one pass."""

    timeout = 600
    params = ([1, 2], ["weights", "steps"])
    param_names = ("threads", "kind")

    def setup(self, threads: int, kind: str) -> None:
        X, y, teacher, step, _ = dense_problem(SIZE)
        self.X, self.run = X, self.runner(X, y, teacher, threads)
        weights = np.linspace(0.0, 1.0, 32) if kind == "weights" else np.full(32, WEIGHT)
        steps = np.full(32, step) if kind == "weights" else np.geomspace(step / 10, step, 32)
        self.together, self.pairs = (weights, steps), list(zip(weights.tolist(), steps.tolist(), strict=True))
        self.run(*self.together)
        threadpool_limits(1)

    @staticmethod
    def runner(X: np.ndarray, y: np.ndarray, teacher: np.ndarray, threads: int) -> Callable[[Any, Any], Any]:
        import fastdistill as fd

        options: dict[str, Any] = {"teacher": teacher, "n_epochs": EPOCHS, "record_every": 0, "random_state": 0}
        return lambda weight, step: fd.run_sgd(X, y, kd_weight=weight, step_size=step, n_jobs=threads, **options)

    def track_ratio_stream(self, threads: int, kind: str) -> float:
        return interleaved_ratio(lambda: self.run(*self.together), lambda: self.X.sum(), ROUNDS).per(EPOCHS)

    def track_ratio_separate(self, threads: int, kind: str) -> float:
        return interleaved_ratio(lambda: self.run(*self.together), lambda: [self.run(*pair) for pair in self.pairs], 3)


class Softmax:
    """Row 9: ten classes, batches of ten, float32."""

    timeout = 600

    def setup(self) -> None:
        import fastdistill as fd

        X, y, teacher, step, _ = softmax_problem(SIZE, np.float32)
        options: dict[str, Any] = {"step_size": step, "n_epochs": EPOCHS, "record_every": 0, "batch_size": 10}
        self.X = X
        self.run = lambda: fd.run_sgd(X, y, "softmax", teacher=teacher, kd_weight=WEIGHT, random_state=0, **options)
        self.run()
        threadpool_limits(1)

    def track_ratio_stream(self) -> float:
        return interleaved_ratio(self.run, lambda: self.X.sum(), ROUNDS).per(EPOCHS)


class Sparse:
    """Row 10: CSR, a teacher, the rows as they are on both sides."""

    timeout = 600

    def setup(self) -> None:
        SGD_TASKS["sgd_sparse"]["fastdistill"](SIZE)()
        self.problem = sparse_problem(SIZE)
        threadpool_limits(1)

    def track_ratio_sklearn(self) -> float:
        import fastdistill as fd

        X, y, teacher, step, epochs = self.problem
        options: dict[str, Any] = {"step_size": step, "n_epochs": epochs, "record_every": 0, "random_state": 0}

        def ours() -> Any:
            return fd.run_sgd(X, y, teacher=teacher, kd_weight=WEIGHT, **options)

        return interleaved_ratio(ours, lambda: sgd_sklearn(X, y, step, epochs, shuffle=True), 3)

    def track_ratio_kernel(self) -> float:
        from fastdistill import kernels

        X, y, _, step, epochs = self.problem
        n, p = X.shape
        setting, scale = np.zeros(kernels.PARAMETER + 2), np.ones(n)
        setting[[kernels.STEP, kernels.WEIGHT, kernels.TEMPERATURE, -1]] = step, WEIGHT, 1.0, p
        order, arrays = np.random.default_rng(0).permutation(n), (X.data, X.indices, X.indptr)

        def ours() -> None:
            state = np.zeros((2, p, 1))
            for _ in range(epochs):
                kernels.csr_rows(*arrays, order, y[:, None], kernels.SQUARED, setting, scale, state)

        return interleaved_ratio(ours, lambda: sgd_sklearn(X, y, step, epochs, shuffle=True), 3)
