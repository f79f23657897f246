"""Students whose penalty changes from step to step: a teacher that shrinks more, or less, than its student.

The recursion is that of `fastdistill.spectral.path` with a penalty for each step, and so are filters, fits,
coefficients, degrees of freedom and GCV::

    f_0 = a_0,    f_t = a_t ((1 − ξ_t) + ξ_t f_{t−1}),    a_t = d / (d + λ_t)

Leave-one-out: without sample i, choose its target at every step so that it equals the prediction there; the sample then
has no influence. With u_t = (1 − ξ_t) y + ξ_t f_{t−1}, f_{t−1} the whole vector of the step before without i, and the
smoother H_t = U a_t Uᵀ of the step::

    δ_t = ([H_t u_t]_i − u_{t,i}) / (1 − h_{t,i}),    f_t = H_t (u_t + e_i δ_t),    [f_t]_i = u_{t,i} + δ_t

Cost: O(r) per step for filters; O(n r) per step, schedule and target for leave-one-out. Folds are refitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from fastdistill.spectral import gaussian_process
from fastdistill.spectral.coordinates import Coordinates, Rotated
from fastdistill.spectral.influence import Influence
from fastdistill.spectral.leave_one_out import complements, leverage_complements
from fastdistill.spectral.path import DistillationPath, step_families

BLOCK_ENTRIES = 2**20  # entries of a working array (8 MiB)


class PerStepPath(DistillationPath):
    """Every student from step 0 to step k, each of a penalty of its own; see `Spectrum.path` with ``per_step=True``.

    Axes of every result, each present only if the input had it: (Q,) schedules, (k+1,) steps, then the result's own,
    then (m,) targets.

    Attributes
    ----------
    lam : ndarray (k+1,)
        The penalty of each step.
    xi : ndarray (k,) or (Q, k)
    n_steps : int
    """

    _families = staticmethod(step_families)

    @cached_property
    def loo(self) -> np.ndarray:
        """Exact leave-one-out predictions (..., n[, m]): each student and all its teachers refitted without the sample.

        NaN where nothing is left to fit.
        """
        frame, (n, m) = self.spectrum.frame, self.rotated.scaled.shape
        predictions = np.empty((*self.family_penalties.shape, n, m))
        for family, block in enumerate(self._each_left_out()):
            for step, scaled in enumerate(block):
                predictions[family, step] = frame.unscaled(scaled) + self.targets.mean
        out = self._result(predictions.reshape(self.n_students, n, m), "leave-one-out predictions", power=1)
        if len(frame.light):  # samples without influence
            shape = (*self._shape, n, m)
            out.reshape(shape)[..., frame.light, :] = self.fitted.reshape(shape)[..., frame.light, :]
        return out

    @cached_property
    def loo_mse(self) -> np.ndarray:
        """Leave-one-out error Σ w (y − loo)² / Σ w, (...[, m])."""
        squares = [np.square(block - self.rotated.scaled).sum(axis=1) for block in self._each_left_out()]
        return self._mean_left_out(np.array(squares))

    def _each_left_out(self) -> Iterator[np.ndarray]:
        """Scaled, centred predictions (k+1, n, m) of each schedule."""
        for penalties, weights in zip(self.family_penalties, self.family_weights, strict=True):
            yield left_out(self.spectrum.coordinates, self.rotated, penalties, weights)

    def predict_std(self, queries: Any, kernel_diag: Any = None) -> np.ndarray:
        """Predictive standard deviations of each step, as `DistillationPath.predict_std` of the penalty of that step.

        Parameters
        ----------
        queries, kernel_diag
            As there.
        """
        checked = self.queries.check(queries)
        std = gaussian_process.predict_std(self.spectrum.coordinates, self.lam, checked, kernel_diag)
        std = np.tile(std, (self.n_students // len(self.lam), 1))
        return self._result(np.repeat(std[:, :, None], self.targets.count, axis=2), "standard deviations")

    def loo_std(self, noise: Any = None) -> np.ndarray:
        """Not for penalties that change; raises ValueError."""
        raise ValueError("Penalties that change from step to step have no loo_std; use a path of one penalty.")

    def influence(self) -> Influence:
        """Not for penalties that change; raises ValueError."""
        raise ValueError("Penalties that change from step to step have no influence(); use a path of one penalty.")

    def held_out(self, splits: Any, name: str = "splits") -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each test part and its predictions (P, k+1, q, m) by refits without the fold, centred."""
        every = np.ones(len(self.family_penalties), dtype=bool)
        steps, m = self.family_penalties.shape[1], self.targets.count
        for train, test in self._splits(splits, name):
            predictions = np.empty((len(every), steps, len(test), m))
            predictions[...] = self._refitted(train, test, every)
            yield test, predictions


def left_out(coordinates: Coordinates, rotated: Rotated, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """Scaled, centred leave-one-out predictions (k+1, n, m) of penalties (k+1,) and weights (k,).

    Residuals and 1 − h are formed from 1 − a, without a subtraction: near interpolation that would leave no digits.
    Without a penalty, at a sample that a fit passes through, both vanish; their ratio is that of their parts linear in
    λ_t, as of the least-norm fit.
    """
    frame, d, (n, m) = coordinates.frame, coordinates.d, rotated.scaled.shape
    remainders = complements(d, lam)
    unreached = leverage_complements(coordinates, rotated, np.zeros((1, len(d))))[0]
    share = leverage_complements(coordinates, rotated, remainders)
    share[lam == 0.0] = np.where(unreached > 0.0, unreached, share[lam == 0.0])
    # the intercept's direction comes last: no penalty shrinks it, and centred targets have no part in it
    extra = int(frame.fit_intercept)
    filters = np.concatenate([d / (d + lam[:, None]), np.ones((len(lam), extra))], axis=1)
    remainders = np.concatenate([remainders, np.zeros((len(lam), extra))], axis=1)
    z = np.concatenate([rotated.z, np.zeros((extra, m))]).T
    outside = np.where(unreached[:, None] > 0.0, rotated.outside_part, 0.0)
    root = np.sqrt(frame.intercept_share)
    out = np.empty((len(lam), n, m))
    height = max(1, BLOCK_ENTRIES // max(1, z.shape[1]))
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        u = np.concatenate([coordinates.row_block(rows.start, rows.stop), root[rows, None][:, :extra]], axis=1)
        for j in range(m):
            carried = np.zeros_like(u)
            for step, (a, b) in enumerate(zip(filters, remainders, strict=True)):
                weight, left = xi[step - 1] if step else 0.0, share[step, rows]
                carried = (1.0 - weight) * z[j] + weight * carried
                residual = np.einsum("ir,r,ir->i", u, b, carried)
                if lam[step] == 0.0:
                    residual[unreached[rows] > 0.0] = 0.0
                residual += (1.0 - weight) * outside[rows, j]
                moved = np.divide(-residual, left, out=np.full(len(u), np.nan), where=left > 0.0)
                carried = a * (carried + moved[:, None] * u)
                out[step, rows, j] = np.einsum("ir,ir->i", u, carried)
    return out
