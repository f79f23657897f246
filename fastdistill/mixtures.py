"""Mixtures of pure steps: their weights, and the best ones for a quadratic criterion.

Every k-step student of one penalty is an affine mixture of pure steps (ξ ≡ 1), whose filters are powers of
a = d / (d + λ)::

    F = Σ_i w_i a^(i+1),  Σ w = 1,   w_i = (1 − ξ_{k−i}) Π_{l > k−i} ξ_l  (ξ_0 = 0)

so every squared error ‖Σ_i w_i p_i − v‖², the p_i being predictions of the pure steps on held-out samples, under
leave-one-out or corrected for their degrees of freedom, is quadratic in w. The columns p_i are nearly collinear
(weights of 1e7 are normal on real data). They are reduced to their R factor, and the joint weights are solved for in
the Bernstein basis of the same students,

    F = a + Σ_{i=1..k} c_i a^i (1 − a)^(k+1−i),

in which Σ w = 1 holds of itself and scaled columns stay apart where all a crowd at 0 or at 1.

===============================  ============================================
paper                            here
===============================  ============================================
P: ξ̄_i, i >= 1                   ``mixture[i]``
P: imitation parameter ξ_t       ``xi[t - 1]``
B: ground-truth weight α_t       ``1 − xi[t - 1]``
===============================  ============================================

Cost: O(N k²) once for N values, then O(k⁴) for the joint weights of 0..k steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from scipy.special import comb

from fastdistill import _validation as validation

# The recursion turns weights into predictions with an error of eps Σ |w|: weights larger than this buy nothing.
LARGEST_WEIGHTS = 1e9
# Sweeps of coordinate descent for bounds other than (0, 1); each is O(k³) on a (k+1) × (k+1) problem.
BOUNDED_SWEEPS = 500

EPS = float(np.finfo(np.float64).eps)


class Solution(NamedTuple):
    """A student of up to k steps and its mean squared error."""

    mixture: np.ndarray  # (k+1,)
    score: float
    found_xi: np.ndarray | None = None  # (k,), where the search was over ξ

    @property
    def xi(self) -> np.ndarray:
        """Imitation weights (k,); raises ValueError where the mixture has no finite ones."""
        return xi_from_mixture(self.mixture) if self.found_xi is None else self.found_xi

    def longer(self, k: int) -> Solution:
        """The same student as one of k steps, of which the first ones ignore their teacher."""
        extra = k + 1 - len(self.mixture)
        xi = None if self.found_xi is None else np.concatenate([np.zeros(extra), self.found_xi])
        return Solution(np.append(self.mixture, np.zeros(extra)), self.score, xi)


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
        `xi` not 1-D or not finite.

    Notes
    -----
    O(k²). Pareek, Du and Oh 2024 write ξ̄_i for w_i, i ≥ 1.

    Examples
    --------
    >>> import fastdistill as fd
    >>> fd.mixture_from_xi([0.5, 2.0])
    array([-1.,  1.,  1.])
    """
    from fastdistill import kernels

    values = np.array(validation.real_array(xi, "xi", ndim=1))
    w = np.empty(len(values) + 1)
    kernels.mixture_from_xi(values, w)
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
    from fastdistill import kernels

    weights = np.array(validation.real_array(w, "w", ndim=1))
    if weights.size == 0:
        raise ValueError("w is empty; the weight of plain ridge, w[0], is needed at least.")
    total = weights.sum()
    if abs(total - 1.0) > 1e-8 * np.abs(weights).sum():
        raise ValueError(f"The weights of a mixture must sum to 1, got {total:.9g}.")
    xi = np.empty(len(weights) - 1)
    step = kernels.xi_from_mixture(weights, xi)
    if step:
        raise ValueError(
            f"No finite xi gives this mixture: xi[{step}] would be 0 (the weights from w[{len(xi) - step}] on sum to "
            f"0) and cut off weight that earlier steps still owe. Change w slightly, or use fewer steps."
        )
    return xi


class MixtureProblem:
    """min over mixtures w of ‖P w − v‖² / total, P (N, k+1) the pure steps' values and v (N,) the wanted ones.

    Only the (k+2, k+2) R factor of [P v] is kept, so that rows can come in blocks.
    """

    def __init__(self, n_steps: int, total: float, factor: np.ndarray | None = None) -> None:
        self.n_steps = n_steps
        self.total = total
        self._factor = np.zeros((n_steps + 2, n_steps + 2)) if factor is None else factor

    def add(self, pure: np.ndarray, wanted: np.ndarray) -> None:
        """Append rows: pure (k+1, N), wanted (N,)."""
        from fastdistill import kernels

        kernels.append_rows(np.ascontiguousarray(np.vstack([pure, wanted])), self._factor)

    @property
    def pure(self) -> np.ndarray:
        return self._factor[:, :-1]

    @property
    def wanted(self) -> np.ndarray:
        return self._factor[:, -1]

    @property
    def is_defined(self) -> bool:
        """False where the criterion says nothing, such as GCV of an interpolating student."""
        return bool(np.isfinite(self._factor).all())

    def solutions(self, strategy: str, limits: tuple[float, float] | None) -> list[Solution]:
        """Students of 0..k steps by "joint" or "greedy" weights; of infinite score where nothing is defined."""
        if not self.is_defined:
            return [Solution(np.ones(1), np.inf).longer(steps) for steps in range(self.n_steps + 1)]
        if strategy == "greedy":
            return self.greedy(limits)
        return self.joint() if limits is None else self.bounded(limits)

    def score(self, mixture: np.ndarray) -> float:
        """Mean squared error of a mixture of up to k steps."""
        if not self.is_defined:
            return np.inf
        left = self.pure[:, : len(mixture)] @ mixture - self.wanted
        return float(left @ left) / self.total

    def joint(self) -> list[Solution]:
        """Best mixtures of 0..k steps, by truncated least squares in the Bernstein basis."""
        solutions = [self._scored(np.ones(1))]
        for steps in range(1, self.n_steps + 1):
            best = self._scored(self._free(steps))
            solutions.append(best if best.score < solutions[-1].score else solutions[-1].longer(steps))
        return solutions

    def _scored(self, mixture: np.ndarray) -> Solution:
        return Solution(mixture, self.score(mixture))

    def _scored_xi(self, xi: np.ndarray) -> Solution:
        mixture = mixture_from_xi(xi)
        return Solution(mixture, self.score(mixture), xi)

    def _free(self, steps: int) -> np.ndarray:
        """The least-squares mixture of `steps` steps, of the largest rank that keeps the weights usable."""
        to_mixture = _mixture_of_bernstein(steps)
        basis = self.pure[:, : steps + 1] @ to_mixture
        size = np.linalg.norm(basis, axis=0)
        size[size <= EPS * np.linalg.norm(self.pure[:, 0])] = np.inf
        u, s, vt = np.linalg.svd(basis / size, full_matrices=False)
        coordinates = u.T @ (self.wanted - self.pure[:, 0])
        mixture = np.eye(1, steps + 1)[0]
        for rank in range(int(np.count_nonzero(s > EPS * steps * s[0])), 0, -1):
            change = to_mixture @ (vt[:rank].T @ (coordinates[:rank] / s[:rank]) / size)
            if np.abs(change).sum() <= LARGEST_WEIGHTS:
                return mixture + change
        return mixture

    def greedy(self, limits: tuple[float, float] | None) -> list[Solution]:
        """ξ_1, then ξ_2 given ξ_1, ...: a step is f(0) + ξ (f(1) − f(0)), and f(0) is always plain ridge."""
        error = self.wanted - self.pure[:, 0]
        xi: list[float] = []
        solutions = [self._scored_xi(np.empty(0))]
        for t in range(self.n_steps):
            # in differences of neighbouring steps, f(1) − f(0) = Σ_i w_i (p_{i+1} − p_0) loses nothing to large weights
            change = (self.pure[:, 1 : t + 2] - self.pure[:, :1]) @ solutions[-1].mixture
            size = float(change @ change)
            best = float(error @ change) / size if size > 0 else 0.0
            xi.append(best if limits is None else float(np.clip(best, *limits)))
            solutions.append(self._scored_xi(np.array(xi)))
        return solutions

    def bounded(self, limits: tuple[float, float]) -> list[Solution]:
        """Best mixtures of 0..k steps with every ξ within the limits."""
        if limits == (0.0, 1.0):
            return [self._convex(steps) for steps in range(self.n_steps + 1)]
        greedy, joint = self.greedy(limits), self.joint()
        solutions = greedy[:1]
        for steps in range(1, self.n_steps + 1):
            longer = np.concatenate([[np.clip(0.0, *limits)], solutions[-1].xi])
            starts = (greedy[steps].xi, _clipped_xi(joint[steps], limits), longer)
            found = [self._descend(xi, limits) for xi in starts]
            solutions.append(min(found, key=lambda solution: solution.score))
        return solutions

    def _convex(self, steps: int) -> Solution:
        """The minimum over the simplex, which is ξ in [0, 1]^k by stick breaking.

        With C = P − v 1ᵀ it is the point of the simplex with the shortest C w, and scaling that point gives the
        solution of the non-negative least squares ‖C w‖² + (Σ w − 1)²: for w = τ v the minimum over τ grows with ‖C
        v‖."""
        distance = self.pure[:, : steps + 1] - self.wanted[:, None]
        scale = np.linalg.norm(distance)
        system = np.vstack([distance / scale if scale else distance, np.ones(steps + 1)])
        goal = np.zeros(len(system))
        goal[-1] = 1.0
        w, _ = scipy.optimize.nnls(system, goal)
        return self._scored(w / w.sum())

    def _descend(self, xi: np.ndarray, limits: tuple[float, float]) -> Solution:
        """Coordinate descent, each ξ_t exactly (w is affine in it), until no coordinate moves."""
        xi = xi.copy()
        pure = self.pure[:, : len(xi) + 1]
        for _ in range(BOUNDED_SWEEPS):
            before = xi.copy()
            for t in range(len(xi)):
                ends = []
                for value in (0.0, 1.0):
                    xi[t] = value
                    ends.append(pure @ mixture_from_xi(xi))
                change = ends[1] - ends[0]
                size = change @ change
                xi[t] = np.clip((self.wanted - ends[0]) @ change / size, *limits) if size > 0 else before[t]
            if np.allclose(xi, before, rtol=1e-12, atol=1e-14):
                break
        return self._scored_xi(xi)


def _clipped_xi(solution: Solution, limits: tuple[float, float]) -> np.ndarray:
    try:
        return np.clip(solution.xi, *limits)
    except ValueError:  # no finite ξ: start from pure steps
        return np.full(len(solution.mixture) - 1, np.clip(1.0, *limits))


def _mixture_of_bernstein(k: int) -> np.ndarray:
    """Column i − 1 holds the mixture weights of a^i (1 − a)^(k+1−i) = Σ_j (−1)^j C(k+1−i, j) a^(i+j): (k+1, k)."""
    weights = np.zeros((k + 1, k))
    for i in range(1, k + 1):
        j = np.arange(k + 2 - i)
        weights[i - 1 + j, i - 1] = (-1.0) ** j * comb(k + 1 - i, j)
    return weights
