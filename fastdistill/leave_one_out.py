"""Exact leave-one-out predictions of every student, its teachers refitted without the point too, and no refit done.

With h = diag(H), H = U a Uᵀ (an intercept adds the direction sqrt(w) with filter 1), u_t the targets of step t, and
G_{t,s} = Π_{s<r≤t} ξ_r a^(t−s+1), for each point i::

    δ_t = ( [H u_t]_i − u_{t,i} + ξ_t Σ_{s<t} δ_s ([H G_{t−1,s}]_ii − [G_{t−1,s}]_ii) ) / (1 − h_i)
    loo_t = [H u_t]_i + Σ_{s≤t} δ_s [G_{t,s}]_ii

Every difference is formed without subtraction, from 1 − a = λ / (d + λ): the result is as exact at λ = 1e-14 as at 1.
Where a point has the leverage one it alone fixes a direction; numerator and 1 − h then vanish together with λ, and the
ratio of their parts linear in λ is the least-norm refit.

None of the four papers has this formula; for one step of ridge it is Allen's PRESS.

Cost: four products with the (n, r) rows of U per penalty and step, and O(n k²); working arrays hold a block of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fastdistill.spectrum import Spectrum
    from fastdistill.students import Targets

ROWS = 512  # rows of U in one working block
EPS = float(np.finfo(np.float64).eps)


def leave_one_out_blocks(
    spectrum: Spectrum, targets: Targets, lam: np.ndarray, xi: np.ndarray
) -> Iterator[tuple[int, _Rows, np.ndarray]]:
    """(family, rows, centred predictions (k+1, rows, m)) for families of penalties lam (P,) and weights xi (P, k)."""
    for start in range(0, spectrum.n_samples, ROWS):
        rows = _Rows(spectrum, targets, slice(start, min(start + ROWS, spectrum.n_samples)))
        for penalty in np.unique(lam):
            leverages = _Leverages(rows, penalty, xi.shape[1] + 1)
            for family in np.flatnonzero(lam == penalty):
                yield int(family), rows, leverages.predictions(xi[family])


class _Rows:
    """A block of rows of U and what leave-one-out needs of them; coordinates are of the centred, unscaled targets."""

    def __init__(self, spectrum: Spectrum, targets: Targets, index: slice) -> None:
        self.index, self.d, self.z = index, spectrum._d, targets.z
        self.weight = np.ones(index.stop - index.start) if spectrum._weight is None else spectrum._weight[index]
        u = spectrum._row_block(index.start, index.stop)
        self.u2 = np.square(u)
        self.fixed = self.weight / spectrum.total_weight * spectrum.fit_intercept
        # the part of a point's unit vector that no fit reaches; exactly 0 where rounding could have made all of it
        self.null = 1.0 - self.fixed - self.u2.sum(axis=1)
        if spectrum.rank == spectrum.n_effective - spectrum.fit_intercept:
            self.null[self.weight > 0] = 0.0
        self.null[self.null < 16 * EPS * max(1, spectrum.rank) ** 0.5] = 0.0
        self.expand, self.unreached = spectrum._unscaled(index, u, targets.unreached[index])
        self.unreached[self.null == 0.0] = 0.0

    @property
    def y(self) -> np.ndarray:
        """The centred targets (rows, m); meaningless at zero weight."""
        return self.expand @ self.z + self.unreached


class _Leverages:
    """At one penalty: kept_j = Σ_r U² a^(j+1) + the intercept's share, lost_j = Σ_r U² (1 − a) a^j, left = 1 − h."""

    def __init__(self, rows: _Rows, penalty: float, steps: int) -> None:
        self.rows, self.penalty = rows, penalty
        d = rows.d
        self.a = d / (d + penalty)
        self.complement = np.ones_like(d) if np.isinf(penalty) else penalty / (d + penalty)
        self.linear = np.ones(len(rows.null))  # what `lost` and the residuals are multiplied by
        if penalty == 0.0:
            self.complement = 1.0 / d  # the part of 1 − a that is linear in λ
            self.linear = (rows.null == 0.0).astype(np.float64)
        powers = self.a ** np.arange(steps)[:, None]
        self.kept = (powers * self.a) @ rows.u2.T + rows.fixed
        self.lost = (powers * self.complement) @ rows.u2.T * self.linear
        self.left = self.lost[0] + rows.null

    def predictions(self, xi: np.ndarray) -> np.ndarray:
        """Centred leave-one-out predictions (k+1, rows, m) of one schedule (k,)."""
        from fastdistill import kernels

        rows, steps = self.rows, len(xi) + 1
        filters = np.empty((steps, len(rows.d)))
        penalties = np.full(steps, self.penalty)
        kernels.multistep_filter(rows.d, penalties, xi, filters)
        truth = np.concatenate([[1.0], 1.0 - xi])  # the share of y in each step's targets
        carried = truth[:, None] + np.concatenate([[0.0], xi])[:, None] * np.vstack([filters[:1], filters[:-1]])
        out = np.empty((steps, len(rows.null), rows.z.shape[1]))
        for j in range(rows.z.shape[1]):
            fit = (filters * rows.z[:, j]) @ rows.expand.T
            residual = -(carried * self.complement * rows.z[:, j]) @ rows.expand.T * self.linear
            residual -= truth[:, None] * rows.unreached[:, j]
            column = np.empty_like(fit)
            kernels.leave_one_out(xi, self.left, self.kept, self.lost, fit, residual, column)
            out[:, :, j] = column
        return out
