"""Mixtures of pure steps: their weights, and the best ones for a quadratic criterion.

Every k-step student of one penalty is an affine mixture of pure steps (ξ ≡ 1), whose filters are powers of
a = d / (d + λ)::

    F = Σ_i w_i a^(i+1),  Σ w = 1,   w_i = (1 − ξ_{k−i}) Π_{l > k−i} ξ_l  (ξ_0 = 0)

Let p_i be predictions of pure step i, on held-out samples, under leave-one-out, or corrected for degrees of freedom,
and v the wanted values. The squared error ‖Σ_i w_i p_i − v‖² is quadratic in w. It is minimised over the tail sums of
w, for which Σ w = 1 always holds, and whose ratios are the imitation weights::

    S_i = Σ_{l ≥ i} w_l,   F = a + Σ_{i=1..k} S_i (a^(i+1) − a^i),   ξ_{k−i+1} = S_i / S_{i−1},  S_0 = 1

The columns p_i − p_{i−1} are nearly collinear, so that the unrestricted minimum may have weights of 1e30, with which
no student can be computed: the recursion that turns ξ into a filter has an error of eps Σ |S_i| ‖p_{i−1}‖. Only
students are compared for which this sum is at most `LARGEST_WEIGHTS` times the size of the values, so that their
predictions have seven digits. Truncated least squares finds the best of them to the same precision.

No more steps than the rank are ever needed: as many give every filter of the eigenvalues (`useful_steps`).

===============================  ============================================
paper                            here
===============================  ============================================
P: ξ̄_i, i >= 1                   ``mixture[i]``
P: imitation parameter ξ_t       ``xi[t - 1]``
B: ground-truth weight α_t       ``1 − xi[t - 1]``
===============================  ============================================

Cost: O(N k²) once for N values, then O(k³) for the joint weights of 0..k steps (O(k²) beyond the 20 or so steps that
double precision can tell apart).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize

from fastdistill.base import validation
from fastdistill.spectral.compiled import compiled_kernels

# The recursion turns weights into predictions with an error of eps times the weights: larger ones are not used.
LARGEST_WEIGHTS = 1e9
# Powers of a smaller than this part of a itself get no weight, which could overflow.
SMALLEST_POWER = 1e-100
# Coordinate descent for bounds other than (0, 1): a sweep is O(k²), and longer schedules get fewer of them.
BOUNDED_SWEEPS, BOUNDED_WORK, LEAST_SWEEPS = 500, 50_000, 5

EPS = float(np.finfo(np.float64).eps)
# A step that changes the values by less than this part of their size changes only their rounding errors.
ROUNDING = 32 * EPS


class Solution(NamedTuple):
    """A student of up to k steps and its mean squared error."""

    mixture: np.ndarray  # (k+1,) weights of the pure steps
    score: float
    xi: np.ndarray = np.empty(0)  # (k,) imitation weights

    def longer(self, k: int) -> Solution:
        """The same student as one of k steps: ξ = 0 in the added steps, which come first."""
        xi, mixture = np.zeros(k), np.zeros(k + 1)
        xi[k - len(self.xi) :], mixture[: len(self.mixture)] = self.xi, self.mixture
        return Solution(mixture, self.score, xi)


def useful_steps(rank: int, n_steps: int, strategy: str, limits: tuple[float, float] | None) -> int:
    """How many of `n_steps` to tune: no more than the rank, as many as give every filter of the eigenvalues.

    All of them within limits on ξ, or with weights found one after the other ("greedy"), where more can still help.
    """
    return n_steps if strategy == "greedy" or limits is not None else min(n_steps, rank)


def mixture_from_xi(xi: Any) -> np.ndarray:
    """Weights of the pure steps of a student: w_i = (1 − ξ_{k−i}) Π_{l=k−i+1..k} ξ_l, with ξ_0 = 0.

    Parameters
    ----------
    xi : array-like (k,)
        Imitation weights ξ_1..ξ_k, any real numbers.

    Returns
    -------
    ndarray (k+1,)
        w_0 (plain ridge) to w_k (k pure steps); they sum to one.

    Raises
    ------
    ValueError
        `xi` not 1-D or not finite; weights beyond the range of floating-point numbers.

    Notes
    -----
    O(k). Weights below 1e-308 become 0. Pareek, Du and Oh 2024 write ξ̄_i for w_i, i ≥ 1.

    Examples
    --------
    >>> import fastdistill as fd
    >>> fd.mixture_from_xi([0.5, 2.0])
    array([-1.,  1.,  1.])
    """
    values = np.array(validation.real_array(xi, "xi", ndim=1))
    w = np.empty(len(values) + 1)
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        compiled_kernels().mixture_from_xi(values, w)
    if not np.isfinite(w).all():
        raise ValueError(
            f"The weights of these {len(values)} steps overflow: the largest |xi| is {np.abs(values).max():.6g}, and "
            f"weights are products of xi. Use fewer steps or smaller xi, or the student itself (Spectrum.path)."
        )
    return w


def xi_from_mixture(w: Any) -> np.ndarray:
    """Imitation weights of a mixture: ξ_{k−i+1} = S_i / S_{i−1} with the tail sums S_i = Σ_{l ≥ i} w_l.

    Parameters
    ----------
    w : array-like (k+1,)
        Weights of the pure steps 0..k, summing to one.

    Returns
    -------
    ndarray (k,)

    Raises
    ------
    ValueError
        The weights do not sum to one, or no finite ξ gives them: some tail sum is zero while later weights are not.

    Notes
    -----
    O(k). The inverse of `mixture_from_xi`.

    Examples
    --------
    >>> import fastdistill as fd
    >>> fd.xi_from_mixture([-1.0, 1.0, 1.0])
    array([0.5, 2. ])
    """
    weights = np.array(validation.real_array(w, "w", ndim=1))
    if weights.size == 0:
        raise ValueError("w is empty; the weight of plain ridge, w[0], is needed at least.")
    total = weights.sum()
    if abs(total - 1.0) > 1e-8 * np.abs(weights).sum():
        raise ValueError(f"The weights of a mixture must sum to 1, got {total:.9g}.")
    xi = np.empty(len(weights) - 1)
    step = compiled_kernels().xi_from_mixture(weights, xi)
    if step:
        raise ValueError(
            f"No finite xi gives this mixture: xi[{step}] would be 0 (the weights from w[{len(xi) - step}] on sum to "
            f"0) and cut off weight that earlier steps still owe. Change w slightly, or use fewer steps."
        )
    return xi


class MixtureProblem:
    """min over mixtures w of ‖P w − v‖² / total, P (N, k+1) the values of the pure steps and v (N,) the wanted ones.

    Only R (k+2, k+2) of the QR factorisation of [P v] is stored, so that rows can come in blocks.
    """

    def __init__(self, n_steps: int, total: float, factor: np.ndarray | None = None) -> None:
        self.n_steps = n_steps
        self.total = total
        self._factor = np.zeros((n_steps + 2, n_steps + 2)) if factor is None else factor

    def add(self, pure: np.ndarray, wanted: np.ndarray) -> None:
        """Append N rows of [P v]: pure (k+1, N), wanted (N,)."""
        compiled_kernels().append_rows(np.ascontiguousarray(np.vstack([pure, wanted])), self._factor)

    @property
    def pure(self) -> np.ndarray:
        """The columns (k+2, k+1) of R that stand for P."""
        return self._factor[:, :-1]

    @property
    def wanted(self) -> np.ndarray:
        """The column (k+2,) of R that stands for v."""
        return self._factor[:, -1]

    @property
    def is_defined(self) -> bool:
        """False where the criterion is not defined, such as GCV of an interpolating student."""
        return bool(np.isfinite(self._factor).all())

    def solutions(self, strategy: str, limits: tuple[float, float] | None) -> list[Solution]:
        """Students of 0..k steps with "joint" or "greedy" weights; of infinite score where it is not defined."""
        if not self.is_defined:
            return [Solution(np.ones(1), np.inf).longer(steps) for steps in range(self.n_steps + 1)]
        columns = _Columns(self.pure, self.wanted, self.total)
        if strategy == "greedy":
            return columns.greedy(limits)
        return columns.joint() if limits is None else columns.bounded(limits)

    def score(self, mixture: np.ndarray) -> float:
        """Mean squared error of a mixture of up to k steps."""
        if not self.is_defined:
            return np.inf
        residual = self.pure[:, : len(mixture)] @ mixture - self.wanted
        return float(residual @ residual) / self.total


class _Columns:
    """The problem in tail sums S (k,): min ‖E S − e‖², e = v − p_0, with E holding the columns p_i − p_{i−1}."""

    def __init__(self, pure: np.ndarray, wanted: np.ndarray, total: float) -> None:
        self.pure, self.wanted, self.total = pure, wanted, total
        self.error = wanted - pure[:, 0]
        self.changes = pure[:, 1:] - pure[:, :-1]
        self.size = np.sqrt(np.square(pure).sum(axis=0))
        self.limit = LARGEST_WEIGHTS * max(math.sqrt(wanted @ wanted), float(self.size[0]))

    @cached_property
    def _directions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The c directions of E, its columns divided by ‖p_{i−1}‖, above rounding errors: s (c,), Vᵀ (c, t), Uᵀ e (c,).

        t is the number of powers of a that are not too small to be weighted.
        """
        steps = self.changes.shape[1]
        small = np.flatnonzero(~(self.size[:steps] > SMALLEST_POWER * self.size[0]))
        usable = int(small[0]) if len(small) else steps
        u, s, vt = np.linalg.svd(self.changes[:, :usable] / self.size[:usable], full_matrices=False)
        significant = s > ROUNDING
        return s[significant], vt[significant], (u.T @ self.error)[significant]

    @cached_property
    def _independent(self) -> tuple[np.ndarray, np.ndarray]:
        """E (c, t) and e (c,) in these directions."""
        s, vt, goal = self._directions
        return vt * s[:, None], goal

    def joint(self) -> list[Solution]:
        """Best mixtures of 0..k steps that the recursion can compute, each at least as good as those of fewer steps."""
        solutions = [self._of_xi(np.empty(0))]
        for t in range(1, self.changes.shape[1] + 1):
            solutions.append(solutions[-1].longer(t))
            if t <= self._directions[1].shape[1]:
                found = self._of_tails(self._shortest(t) / self.size[:t])
                solutions[-1] = min(solutions[-1], found, key=lambda solution: solution.score)
        return solutions

    def _shortest(self, t: int) -> np.ndarray:
        """The shortest least-squares solution within the limit for the first t columns, divided by ‖p_{i−1}‖."""
        if t == self._directions[1].shape[1]:
            return _truncated(*self._directions, self.limit)
        columns, goal = self._independent
        if t == 1:  # its SVD, for less
            size = math.sqrt(columns[:, 0] @ columns[:, 0])
            along = columns[:, :1].T @ goal / (size or 1.0)
            return _truncated(np.array([size]), np.ones((1, 1)), along, self.limit)
        u, s, vt = np.linalg.svd(columns[:, :t], full_matrices=False)
        return _truncated(s, vt, u.T @ goal, self.limit)

    def _of_tails(self, tails: np.ndarray) -> Solution:
        """The student of tail sums S_1..S_t.

        Where S_i = 0 but later ones are not, no finite ξ exists. Such an S_i is changed by no more than the rounding
        error of the student.
        """
        nonzero = np.flatnonzero(tails)
        used = int(nonzero[-1]) + 1 if len(nonzero) else 0
        before, size = tails[: max(used - 1, 0)], self.size[: max(used - 1, 0)]
        if used > 1:
            floor = EPS * float(np.abs(tails) @ self.size[: len(tails)])
            before[:] = np.where(np.abs(before) * size < floor, np.copysign(floor / size, before), before)
        xi = np.zeros(len(tails))
        ratios = tails[:used].copy()
        ratios[1:] /= before
        xi[len(tails) - used :] = ratios[::-1]
        return self._solution(tails, xi)

    def _of_xi(self, xi: np.ndarray) -> Solution:
        return self._solution(np.cumprod(xi[::-1]), xi)

    def _solution(self, tails: np.ndarray, xi: np.ndarray) -> Solution:
        residual = self.changes[:, : len(tails)] @ tails - self.error
        mixture = np.ones(len(tails) + 1)
        mixture[1:] = tails
        mixture[:-1] *= 1.0 - xi[::-1]
        return Solution(mixture, float(residual @ residual) / self.total, xi)

    def greedy(self, limits: tuple[float, float] | None) -> list[Solution]:
        """ξ_1, then ξ_2 given ξ_1, ...: a step is f(0) + ξ (f(1) − f(0)), and f(0) is always plain ridge."""
        tails, xi = np.ones(1), np.empty(0)  # S_0..S_t; one more step of ξ has 1, ξ S_0, ..., ξ S_t
        solutions = [self._of_xi(xi)]
        for t in range(self.changes.shape[1]):
            change = self.changes[:, : t + 1] @ tails
            square, size = float(change @ change), float(np.abs(tails) @ self.size[: t + 1])
            best = float(self.error @ change) / square if square > (ROUNDING * size) ** 2 else 0.0
            largest = min(self.limit / size if size > 0 else np.inf, 1.0 / (SMALLEST_POWER * np.abs(tails).max()))
            best = best if abs(best) <= largest else 0.0
            xi = np.append(xi, best if limits is None else np.clip(best, *limits))
            tails = np.append(1.0, xi[-1] * tails)
            solutions.append(self._of_xi(xi))
        return solutions

    def bounded(self, limits: tuple[float, float]) -> list[Solution]:
        """Best mixtures of 0..k steps with every ξ within the limits."""
        if limits == (0.0, 1.0):
            return self._convex()
        greedy, joint = self.greedy(limits), self.joint()
        solutions = greedy[:1]
        for steps in range(1, len(greedy)):
            longer = self._of_xi(np.append(np.clip(0.0, *limits), solutions[-1].xi))
            starts = [greedy[steps], longer, self._of_xi(np.clip(joint[steps].xi, *limits))]
            found = starts + [self._descended(start.xi, limits) for start in starts]
            computable = [solution for solution in found if self._weight_size(solution.xi) <= self.limit]
            solutions.append(min(computable or found, key=lambda solution: solution.score))
        return solutions

    def _weight_size(self, xi: np.ndarray) -> float:
        """Σ |S_i| ‖p_{i−1}‖: eps times this is the error of the recursion."""
        return float(np.abs(np.cumprod(xi[::-1])) @ self.size[: len(xi)])

    def _convex(self) -> list[Solution]:
        """The minima over the simplex w ≥ 0, Σ w = 1, which is ξ in [0, 1]^k.

        With C = P − v 1ᵀ it is the point of the simplex with the shortest C w. The solution of the non-negative least
        squares ‖C w‖² + (Σ w − 1)² is a multiple of that point: for w = τ u with u in the simplex, the minimum over τ
        grows with ‖C u‖. A column along which that sum does not fall does not change the solution.
        """
        distance = self.pure - self.wanted[:, None]
        scale = np.linalg.norm(distance)
        system = np.vstack([distance / scale if scale else distance, np.ones(distance.shape[1])])
        goal = np.zeros(len(system))
        goal[-1] = 1.0
        w, solutions = np.ones(1), []
        for steps in range(distance.shape[1]):
            if not steps or system[:, steps] @ (goal - system[:, :steps] @ w) > 0.0:
                w, _ = scipy.optimize.nnls(system[:, : steps + 1], goal)
            else:
                w = np.append(w, 0.0)
            solutions.append(self._of_convex(w / w.sum()))
        return solutions

    def _of_convex(self, w: np.ndarray) -> Solution:
        """The student of weights w >= 0, Σ w = 1."""
        tails = np.minimum(np.cumsum(w[:0:-1])[::-1], 1.0)
        before = np.append(1.0, tails[:-1])[: len(tails)]
        xi = np.divide(tails, before, out=np.zeros(len(tails)), where=before > 0)
        return self._solution(tails, xi[::-1].copy())

    def _descended(self, xi: np.ndarray, limits: tuple[float, float]) -> Solution:
        """Coordinate descent, each ξ_t exactly (the student is affine in it), until no coordinate moves."""
        xi, steps = xi.copy(), len(xi)
        columns, goal = self._independent
        if steps > columns.shape[1]:
            return self._of_xi(xi)
        sweeps = max(LEAST_SWEEPS, min(BOUNDED_SWEEPS, BOUNDED_WORK // steps**2))
        changes = np.ascontiguousarray((columns[:, :steps] * self.size[:steps]).T)
        compiled_kernels().descend_weights(changes, goal, *limits, sweeps, xi)
        return self._of_xi(xi)


def _truncated(s: np.ndarray, vt: np.ndarray, goal: np.ndarray, limit: float) -> np.ndarray:
    """The least-squares solution of the largest rank whose entries sum to at most `limit` in absolute value."""
    rank = int(np.count_nonzero(s > EPS * s[:1]))
    parts = vt[:rank] * (goal[:rank] / s[:rank])[:, None]
    whole: np.ndarray = parts.sum(axis=0)
    if rank and np.abs(whole).sum() <= limit:
        return whole
    by_rank = np.cumsum(parts, axis=0)
    allowed = np.flatnonzero(np.abs(by_rank).sum(axis=1) <= limit)
    return by_rank[allowed[-1]] if len(allowed) else np.zeros(vt.shape[1])
