"""Whether a run ended above where it began: the objective its steps descend, at the start and at the end.

A step's mean is the gradient, up to a constant, of::

    J(x) = (1/N) Σ_n w_n [(1 − κ) ℓ(z_n, b_n) + κ T² ℓ(z_n / T, s_n)] + (l2 / 2) ‖x‖² + κ ⟨push, x⟩

with z_n = ⟨a_n, x⟩, the teacher's outputs s_n and the `push` of `problem`; κ = 0 for the variants whose teacher moves
or is unbiased, which minimise the loss of the labels. A run has gone wrong if J(end) > J(start), up to noise: steps of
size γ on batches of τ hover above the optimum by about γ / τ times the mean square of a sample's gradient. So with x₁
the best point along the gradient at the start, an upper bound of the optimum, a run has risen if::

    J(end) > max( J(start), J(x₁) + NOISE γ' Σ_n w_n² ‖∇ℓ_n(x₁)‖² / N ),     γ' = min(γ / τ, 1 / max_n L_n)

While all visits V together are too few to tell the gradient from the noise, V ‖∇J(start)‖² < EARLY² times the mean
square, steps are a random walk, and J(start) stands for J(x₁). A compressor adds its own noise, NOISE ω / 2 times the
curvature at x₁, and may undo what the start knows: J(0) is then no rise. Where the weight of the teacher has a
schedule, J must have risen at its first and at its last weight; where the teacher is later the student, at both, too.

Cost: at most two products of the measured rows with X, none at a start of zero, and three more where J has risen. Of
large data `MEASURED` numbers are read, rows picked in proportion to their weights, and the rise must then be beyond
three standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastdistill.base.linear_losses import loss_values, residuals
from fastdistill.sgd.problem import CURVATURE, Problem, Teacher

MEASURED = 2**18  # numbers of X that are read, times outputs and configurations
FEWEST_ROWS = 256
# Single steps as large as is safe lift a one-dimensional fit by half the square of a normal number times the noise of a
# sample: 5 times it in one run of 600.
NOISE = 5.0
EARLY = 3.0  # standard errors of the noise below which steps that add up along the gradient are not seen


class Rows:
    """The rows of a problem that are measured: all of them with their weights, or some of equal weight."""

    def __init__(self, problem: Problem, teacher: Teacher | None, n_configurations: int) -> None:
        self.problem = problem
        n, most = problem.n, max(FEWEST_ROWS, MEASURED // (problem.p * problem.n_outputs * n_configurations))
        self.is_all = n <= most
        self.picked: Any = slice(None)
        self.weight = problem.weight
        if not self.is_all:
            places = (np.arange(most) + 0.5) * (n / most)
            rows = places if problem.is_uniform else np.searchsorted(np.cumsum(problem.weight), places)
            self.picked = np.minimum(rows.astype(np.intp), n - 1)
            self.weight = np.ones(most)
        self.X = problem.X[self.picked]
        self.labels = problem.targets[self.picked]
        self.outputs = self.labels if teacher is None else teacher.outputs[self.picked]
        self.push = np.zeros((problem.n_outputs, problem.width)) if teacher is None else teacher.push

    def scores(self, states: np.ndarray) -> np.ndarray:
        """(Q, rows, C) of states (Q, C, p or p + 1)."""
        q, c, width = states.shape
        p = self.problem.p
        if not states.any():
            return np.zeros((q, *self.labels.shape))
        z = self.X @ states[:, :, :p].reshape(q * c, p).T.astype(self.X.dtype)
        z = z.astype(np.float64) + (states[:, :, p].ravel() if width > p else 0.0)
        return z.reshape(-1, q, c).transpose(1, 0, 2)

    def mean(self, values: np.ndarray) -> float:
        """The weighted mean of numbers (rows,)."""
        return float(self.weight @ values) / len(values)

    def pulled_back(self, r: np.ndarray) -> np.ndarray:
        """(1 / rows) Σ w_n r_n ⊗ (a_n, 1), (C, p or p + 1)."""
        weighted = self.weight[:, None] * r / len(r)
        gradient = (self.X.T @ weighted.astype(self.X.dtype)).T.astype(np.float64)
        return np.column_stack([gradient, weighted.sum(axis=0)]) if self.problem.fit_intercept else gradient


@dataclass(frozen=True)
class Pace:
    """The steps of a configuration: size over the samples of a batch, visits, weight of the teacher, compression ω."""

    step: float
    visits: int
    weight: float
    omega: float | None


@dataclass(frozen=True, eq=False)
class Objective:
    """J at one weight and temperature of the teacher."""

    rows: Rows
    weight: float
    temperature: float

    @property
    def loss(self) -> str:
        return self.rows.problem.loss

    @property
    def l2(self) -> float:
        return self.rows.problem.l2

    @property
    def p(self) -> int:
        return self.rows.problem.p

    def losses(self, z: np.ndarray) -> np.ndarray:
        """The distilled loss of each row (rows,) at scores z (rows, C)."""
        values, kappa, t = self._losses(z, self.rows.labels), self.weight, self.temperature
        return (1.0 - kappa) * values + kappa * t**2 * self._losses(z / t, self.rows.outputs) if kappa else values

    def _losses(self, z: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return loss_values(self.loss, *((z[:, 0], targets[:, 0]) if self.loss == "logistic" else (z, targets)))

    def residuals(self, z: np.ndarray) -> np.ndarray:
        """Their derivatives by the scores, (rows, C)."""
        values, kappa, t = residuals(self.loss, z, self.rows.labels), self.weight, self.temperature
        return (1.0 - kappa) * values + kappa * t * residuals(self.loss, z / t, self.rows.outputs) if kappa else values

    def rest(self, state: np.ndarray) -> float:
        """What J has beside the losses."""
        coef, rest = state[:, : self.p], 0.0
        if self.l2 != 0.0:
            rest += 0.5 * self.l2 * float(np.vdot(coef, coef))
        return rest + self.weight * float(np.vdot(self.rows.push, state)) if self.weight != 0.0 else rest

    def rise(self, start: np.ndarray, z_start: np.ndarray, end: np.ndarray, z_end: np.ndarray) -> float:
        """J(end) − J(start), less three standard errors where only some rows are measured; NaN beyond numbers."""
        rows = self.rows
        difference = self.losses(z_end) - self.losses(z_start)
        error = 0.0 if rows.is_all else 3.0 * float(difference.std()) / np.sqrt(len(difference))
        return rows.mean(difference) + self.rest(end) - self.rest(start) - error

    def margin(self, start: np.ndarray, z: np.ndarray, pace: Pace) -> float:
        """What J may lie above J(start) by noise and rounding alone."""
        rows = self.rows
        g = rows.pulled_back(self.residuals(z)) + self.weight * rows.push
        g[:, : self.p] += self.l2 * start[:, : self.p]
        size = self._best_size(g, along := rows.scores(g[None])[0])
        best, z_best = start - size * g, z - size * along
        lowered = rows.mean(self.losses(z) - self.losses(z_best)) + self.rest(start) - self.rest(best)
        step = min(pace.step, rows.problem.largest_safe_step())
        lifted = NOISE * step * self._variance(z_best, pace.weight)
        is_early = pace.visits * float(np.vdot(g, g)) < EARLY**2 * self._variance(z, pace.weight)
        z_zero = np.zeros_like(z)
        rounding = float(np.finfo(rows.problem.dtype).eps) * abs(rows.mean(self.losses(z_zero)))
        if pace.omega is None:
            return max(0.0, lifted if is_early else lifted - lowered) + rounding
        squares = rows.X.multiply(rows.X) if rows.problem.is_sparse else np.square(rows.X)
        curvature = CURVATURE[self.loss] * rows.mean((squares @ np.square(best[:, : self.p]).T).sum(axis=1))
        kept = 0.5 * NOISE * pace.omega * curvature
        zero = rows.mean(self.losses(z_zero) - self.losses(z)) - self.rest(start)
        return max(0.0, zero, lifted + kept) + rounding

    def _best_size(self, g: np.ndarray, along: np.ndarray) -> float:
        """The step along −g at which the quadratic above J is least; `along` are the scores of g."""
        penalised = g[:, : self.p]
        bent = CURVATURE[self.loss] * self.rows.mean(np.square(along).sum(axis=1))
        bent += self.l2 * float(np.vdot(penalised, penalised))
        return float(np.vdot(g, g)) / bent if bent > 0.0 else 0.0

    def _variance(self, z: np.ndarray, weight: float) -> float:
        """Mean of w_n² ‖∇‖² over the gradients that single samples contribute to steps."""
        rows = self.rows
        share = rows.weight * rows.problem.squared_norms[rows.picked]
        taken = replace(self, weight=weight).residuals(z)
        return rows.mean(share * np.square(taken).sum(axis=1))


def risen(
    rows: Rows, temperature: float, weights: np.ndarray, paces: list[Pace], start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Whether J rose: a mask (Q,); weights (Q, 2) in J at the start and at the end, states (Q, C, p or p + 1)."""
    found = np.zeros(len(end), dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):  # of states on their way to divergence
        before, after = rows.scores(start), rows.scores(end)
        for q, pace in enumerate(paces):
            measures = [Objective(rows, float(kappa), temperature) for kappa in sorted(set(weights[q].tolist()))]
            rises = [one.rise(start[q], before[q], end[q], after[q]) for one in measures]
            if not min(rises) <= 0.0:
                pairs = zip(measures, rises, strict=True)
                found[q] = not any(rise <= one.margin(start[q], before[q], pace) for one, rise in pairs)
    return found
