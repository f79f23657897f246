"""What a call costs where there is next to nothing to compute: 64 × 8, one thread, everything warm.

==================  ============================================================  ==========================  ======
track_ratio_*       ours                                                          yardstick                   target
==================  ============================================================  ==========================  ======
Path.…_eigh         design → path of three steps → coefficients                   ``eigh`` of an 8 × 8 array  7
Fit.…_ridge         ``DistilledRidge().fit``                                      ``Ridge().fit``             1
Epoch.…_eigh        ``run_sgd`` of one epoch, with its trace                      ``eigh`` of an 8 × 8 array  18
Embedded.…_batched  problems one by one by ``kernels.ridge_students``, from       ``kernels.                  1
                    compiled code                                                 batched_students`` of all
==================  ============================================================  ==========================  ======

Each side of a round is the fastest of several short bursts of calls: what else the machine does only adds to a call.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import REDUCED
from benchmarks.limits import Ratio

N, P, LAM, XI = 64, 8, 1.0, 0.5
BURSTS, CALLS = (3, 2) if REDUCED else (500, 2)
PROBLEMS = 10 if REDUCED else 200


def fastest(calls: list[Callable[[], Any]]) -> list[float]:
    """Seconds of one call of each, from bursts in turn."""
    best = [np.inf] * len(calls)
    for _ in range(BURSTS):
        for i, call in enumerate(calls):
            start = perf_counter()
            for _ in range(CALLS):
                call()
            best[i] = min(best[i], (perf_counter() - start) / CALLS)
    return best


def ratio(ours: Callable[[], Any], yardstick: Callable[[], Any]) -> Ratio:
    """Ours / the yardstick, both warm."""
    ours()
    yardstick()
    one, other = fastest([ours, yardstick])
    return Ratio(one / other, one, other)


class _Small:
    timeout = 300

    def setup(self) -> None:
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((N, P))
        self.y = self.X @ rng.standard_normal(P) + rng.standard_normal(N)
        self.gram = self.X.T @ self.X
        threadpool_limits(1)

    def eigh(self) -> Any:
        return np.linalg.eigh(self.gram)


class Path(_Small):
    """Row 23."""

    def track_ratio_eigh(self) -> float:
        import fastdistill as fd

        return ratio(lambda: fd.Spectrum.from_design(self.X).path(self.y, LAM, XI, n_steps=3).coef, self.eigh)


class Fit(_Small):
    """An estimator beside the one it replaces."""

    def track_ratio_ridge(self) -> float:
        from sklearn.linear_model import Ridge

        import fastdistill as fd

        return ratio(lambda: fd.DistilledRidge().fit(self.X, self.y), lambda: Ridge().fit(self.X, self.y))


class Epoch(_Small):
    """Row 23."""

    def track_ratio_eigh(self) -> float:
        import fastdistill as fd

        return ratio(lambda: fd.run_sgd(self.X, self.y, step_size=0.01, n_epochs=1, random_state=0), self.eigh)


class Embedded:
    """The kernel for one's own loop."""

    timeout = 300

    def track_ratio_batched(self) -> float:
        import numba

        from fastdistill import kernels

        one = kernels.ridge_students
        rng, xi = np.random.default_rng(0), np.array([1.0, 0.5, -0.5])
        X, y = rng.standard_normal((PROBLEMS, N, P)), rng.standard_normal((PROBLEMS, N))

        @numba.njit
        def loop(X: Any, y: Any, weight: Any, coef: Any, intercept: Any, work: Any) -> None:
            for i in range(X.shape[0]):
                one(X[i], y[i], weight, LAM, xi, True, coef, intercept, work)

        memory = np.empty((4, P)), np.empty(4), np.empty(kernels.ridge_workspace(P))
        settings = np.ones((1, N)), np.full(PROBLEMS, LAM), xi[None], True
        out = np.empty((PROBLEMS, 4, P, 1)), np.empty((PROBLEMS, 4, 1)), np.empty(PROBLEMS)
        goals = y[:, :, None]
        return ratio(
            lambda: loop(X, y, np.empty(0), *memory), lambda: kernels.batched_students(X, goals, *settings, *out)
        )
