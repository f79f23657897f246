"""Choosing penalties and imitation weights: mixtures of pure steps, and their best weights under a criterion.

Every k-step student of one penalty is an affine mixture of pure steps (ξ ≡ 1), whose filters are powers of
a = d / (d + λ)::

    F = Σ_i w_i a^(i+1),  Σ w = 1,   w_i = (1 − ξ_{k−i}) Π_{l > k−i} ξ_l  (ξ_0 = 0)

so its squared error against reference values v is quadratic in w: least squares. The powers are nearly collinear
(weights of 1e7 are normal on real data), so the joint weights are solved for in the Bernstein basis of
the same students,

    F = a + Σ_{i=1..k} c_i a^i (1 − a)^(k+1−i),   1 − a = λ / (d + λ),

in which Σ w = 1 holds of itself, every column is exact to rounding for the smallest and the largest penalties alike,
and scaled columns stay apart where all a crowd at 0 or at 1.

===============================  ============================================
paper                            here
===============================  ============================================
P: ξ̄_i, i >= 1                   ``mixture[i]``
P: imitation parameter ξ_t       ``xi[t - 1]``
B: ground-truth weight α_t       ``1 − xi[t - 1]``
===============================  ============================================

Cost per penalty: O(q r k²) for q reference values, no refit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.optimize
from scipy.special import comb

from fastdistill import _validation as validation

if TYPE_CHECKING:
    from fastdistill.path import DistillationPath
    from fastdistill.spectrum import Spectrum

# The recursion turns weights into predictions with an error of eps Σ |w|: weights larger than this buy nothing.
LARGEST_WEIGHTS = 1e9
# Sweeps of coordinate descent for bounds other than (0, 1); each is O(k³) on a (k+1) × (k+1) problem.
BOUNDED_SWEEPS = 500

EPS = float(np.finfo(np.float64).eps)


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

    values = np.ascontiguousarray(validation.real_array(xi, "xi", ndim=1))
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

    weights = np.ascontiguousarray(validation.real_array(w, "w", ndim=1))
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


@dataclass(frozen=True)
class Holdout:
    """Criterion: mean squared error on held-out samples.

    Parameters
    ----------
    queries : array-like
        Xq (q, p) for a design, Kq (q, n) = kernel(query, train) for a kernel.
    yq : array-like (q,) or (q, m)
    """

    queries: Any
    yq: Any


@dataclass(frozen=True)
class Tuned:
    """What `tune` chose.

    Attributes
    ----------
    lam : float
    xi : ndarray (k,)
    mixture : ndarray (k+1,)
        Weights of the pure steps 0..k.
    score : float
        The criterion at the choice, averaged over targets; lower is better.
    scores : ndarray (L, k+1)
        The best score with 0..k steps at each penalty.
    path : DistillationPath
        The path of the chosen penalty and weights.
    """

    lam: float
    xi: np.ndarray
    mixture: np.ndarray
    score: float
    scores: np.ndarray
    path: DistillationPath


def tune(
    spectrum: Spectrum,
    y: Any,
    lam_grid: Any,
    n_steps: int = 2,
    *,
    criterion: Holdout,
    strategy: str = "joint",
    bounds: tuple[float, float] | None = None,
) -> Tuned:
    """The penalty and the k imitation weights with the smallest held-out error, min_{λ, w} ‖v − Σ_i w_i p_i(λ)‖².

    Parameters
    ----------
    spectrum : Spectrum
        Of the training samples.
    y : array-like (n,) or (n, m)
        Training targets; several targets share the penalty and the weights.
    lam_grid : float or array-like (L,)
        Penalties to choose from.
    n_steps : int
        k; 0 chooses the penalty of plain ridge.
    criterion : Holdout
        Held-out samples; use others than those on which the result will be reported.
    strategy : {"joint", "greedy"}
        "joint": all k weights at once, the global minimum (Pareek, Du and Oh 2024). "greedy": ξ_1 first, then ξ_2
        with ξ_1 kept, ..., each in closed form (Borup and Andersen 2021); at every penalty, so the chosen penalty may
        differ.
    bounds : (float, float), optional
        Every ξ within [low, high]. (0, 1) makes the students convex mixtures: the joint problem stays convex and is
        solved exactly. Other bounds make it a multilinear problem, solved by coordinate descent from several starts:
        a stationary point, never worse than "greedy".

    Returns
    -------
    Tuned

    Raises
    ------
    ValueError
        Bad penalties, bounds or shapes; or, an accident of measure zero, a best mixture without finite ξ.

    Notes
    -----
    O(q w r) once for queries with w columns, then O(q r k²) per penalty. Weights tuned on few samples are optimistic:
    on i.i.d. data with a well-tuned penalty, freely tuned weights make test errors *larger*; report on untouched data.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X, Xq = rng.standard_normal((2, 40, 5)) * [4, 3, 2, 1, 0.5]
    >>> y, yq = X[:, 0] + rng.standard_normal(40), Xq[:, 0] + rng.standard_normal(40)
    >>> t = fd.tune(fd.Spectrum.from_design(X), y, np.logspace(-2, 4, 13), n_steps=1, criterion=fd.Holdout(Xq, yq))
    >>> bool(t.score <= t.scores[:, 0].min()), t.xi.shape
    (True, (1,))
    """
    grid = np.atleast_1d(validation.penalties(lam_grid, "lam_grid"))
    k = validation.integer(n_steps, "n_steps", minimum=0)
    if not isinstance(criterion, Holdout):
        raise TypeError(f"criterion must be a Holdout(queries, targets), got {type(criterion).__name__}.")
    validation.choice(strategy, "strategy", ("joint", "greedy"))
    limits = None if bounds is None else _checked_bounds(bounds)
    columns = _HeldOutColumns(spectrum, y, criterion)
    scores = np.empty((len(grid), k + 1))
    mixtures = []
    for i, penalty in enumerate(grid):
        at_penalty = columns.at(penalty)
        if strategy == "greedy":
            solutions = _greedy(at_penalty, k, limits)
        elif limits is None:
            solutions = _joint(at_penalty, k)
        else:
            solutions = _joint_bounded(at_penalty, k, limits)
        scores[i] = [score for _, score in solutions]
        mixtures.append(solutions[k][0])
    best = int(scores[:, k].argmin())
    xi = xi_from_mixture(mixtures[best])
    return Tuned(
        lam=float(grid[best]),
        xi=xi,
        mixture=mixtures[best],
        score=float(scores[best, k]),
        scores=scores,
        path=spectrum.path(y, grid[best], xi),
    )


def _checked_bounds(bounds: Any) -> tuple[float, float]:
    low, high = validation.real_array(bounds, "bounds", ndim=1) if np.size(bounds) == 2 else (1.0, 0.0)
    if low > high:
        raise ValueError(f"bounds must be None or (low, high) with low <= high, got {bounds!r}.")
    return float(low), float(high)


class _HeldOutColumns:
    """Held-out predictions of any filter that is a times a polynomial, as columns of a least-squares problem."""

    def __init__(self, spectrum: Spectrum, y: Any, criterion: Holdout) -> None:
        from fastdistill.path import Targets

        targets = Targets(spectrum, y)
        queries = spectrum._check_queries(criterion.queries)
        wanted, _ = validation.targets(criterion.yq, queries.shape[0], "yq")
        if wanted.shape[1] != len(targets.mean):
            raise ValueError(f"yq has {wanted.shape[1]} targets, but y has {len(targets.mean)}.")
        self.coordinates = spectrum._query_coordinates(queries)
        self.wanted = (wanted - targets.mean).ravel()
        self.z = targets.z
        self.d = np.append(spectrum._d, 0.0)  # the last entry is all that K does not reach
        self.scale = np.ones_like(self.d) if spectrum.is_kernel else np.sqrt(self.d)
        null = targets.null_at(queries, spectrum)
        self.null = np.zeros(wanted.shape) if null is None else null

    def at(self, penalty: float) -> _Columns:
        shrunk = self.d + penalty
        if penalty == 0.0:
            shrunk[-1] = np.inf  # the least-norm solution leaves it alone
        return _Columns(self, self.d / shrunk, penalty / shrunk, self.scale / shrunk)


@dataclass(frozen=True)
class _Columns:
    source: _HeldOutColumns
    kept: np.ndarray  # a = d / (d + λ)
    lost: np.ndarray  # 1 − a = λ / (d + λ), without subtraction
    unit: np.ndarray  # multiplier of the filter a itself

    @property
    def wanted(self) -> np.ndarray:
        return self.source.wanted

    def predict(self, polynomials: np.ndarray) -> np.ndarray:
        """Centred predictions of the filters a · polynomial: (c, r + 1) -> (q m, c)."""
        multipliers = self.unit * polynomials
        rotated = multipliers[:, :-1, None] * self.source.z
        predictions = np.matmul(self.source.coordinates, rotated) + multipliers[:, -1:, None] * self.source.null
        return predictions.reshape(len(polynomials), -1).T

    def pure(self, k: int) -> np.ndarray:
        """Predictions of the pure steps 0..k: (q m, k+1)."""
        return self.predict(self.kept ** np.arange(k + 1)[:, None])


def _joint(columns: _Columns, k: int) -> list[tuple[np.ndarray, float]]:
    """Best mixtures of 0..k steps and their mean squared errors, by truncated least squares in the Bernstein basis."""
    error = columns.wanted - columns.predict(np.ones((1, len(columns.kept))))[:, 0]
    solutions = [(np.ones(1), float(error @ error) / len(error))]
    for steps in range(1, k + 1):
        fewer, score = solutions[-1]
        solutions.append((np.append(fewer, 0.0), score))
        i = np.arange(1, steps + 1)[:, None]
        basis = columns.predict(columns.kept ** (i - 1) * columns.lost ** (steps + 1 - i))
        size = np.linalg.norm(basis, axis=0)
        size[size < np.finfo(np.float64).tiny] = np.inf
        u, s, vt = np.linalg.svd(basis / size, full_matrices=False)
        for rank in range(int(np.count_nonzero(s > EPS * steps * s[0])), 0, -1):
            weights = vt[:rank].T @ (u[:, :rank].T @ error / s[:rank]) / size
            mixture = _mixture_of_bernstein(steps) @ weights
            mixture[0] += 1.0
            if np.abs(mixture).sum() <= LARGEST_WEIGHTS:
                left = error - basis @ weights
                if left @ left < score * len(left):
                    solutions[-1] = mixture, float(left @ left) / len(left)
                break
    return solutions


def _mixture_of_bernstein(k: int) -> np.ndarray:
    """Column i − 1 holds the mixture weights of a^i (1 − a)^(k+1−i) = Σ_j (−1)^j C(k+1−i, j) a^(i+j): (k+1, k)."""
    weights = np.zeros((k + 1, k))
    for i in range(1, k + 1):
        j = np.arange(k + 2 - i)
        weights[i - 1 + j, i - 1] = (-1.0) ** j * comb(k + 1 - i, j)
    return weights


def _greedy(columns: _Columns, k: int, limits: tuple[float, float] | None) -> list[tuple[np.ndarray, float]]:
    """ξ_1, then ξ_2 given ξ_1, ...: the step's prediction is f(0) + ξ (f(1) − f(0)), and f(0) is always plain ridge."""
    error = columns.wanted - columns.predict(np.ones((1, len(columns.kept))))[:, 0]
    lost = columns.lost  # 1 − f of the teacher, which is also how far the pure step falls short of ridge
    xi: list[float] = []
    solutions = [(np.ones(1), float(error @ error) / len(error))]
    for _ in range(k):
        change = -columns.predict(lost[None])[:, 0]
        size = float(change @ change)
        best = float(error @ change) / size if size > 0 else 0.0
        xi.append(best if limits is None else float(np.clip(best, *limits)))
        lost = columns.lost + columns.kept * xi[-1] * lost
        left = error - xi[-1] * change
        solutions.append((mixture_from_xi(xi), float(left @ left) / len(left)))
    return solutions


def _joint_bounded(columns: _Columns, k: int, limits: tuple[float, float]) -> list[tuple[np.ndarray, float]]:
    """Best mixtures with every ξ within the limits, for 0..k steps."""
    pure = columns.pure(k)
    if limits == (0.0, 1.0):
        return [_convex_mixture(pure[:, : steps + 1], columns.wanted) for steps in range(k + 1)]
    starts, joint = _greedy(columns, k, limits), _joint(columns, k)
    solutions = starts[:1]
    for steps in range(1, k + 1):
        free = _clipped_xi(joint[steps][0], limits)
        longer = np.concatenate([[np.clip(0.0, *limits)], xi_from_mixture(solutions[-1][0])])
        problem = _SmallProblem(pure[:, : steps + 1], columns.wanted)
        found = [problem.descend(xi, limits) for xi in (xi_from_mixture(starts[steps][0]), free, longer)]
        solutions.append(min(found, key=lambda solution: solution[1]))
    return solutions


def _clipped_xi(mixture: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    try:
        return np.clip(xi_from_mixture(mixture), *limits)
    except ValueError:
        return np.full(len(mixture) - 1, np.clip(1.0, *limits))


def _convex_mixture(pure: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, float]:
    """min ‖P w − v‖² over the simplex, which is ξ in [0, 1]^k by stick breaking.

    With C = P − v 1ᵀ it is the point of the simplex with the shortest C w, and scaling that point gives the solution
    of the non-negative least squares ‖C w‖² + (Σ w − 1)²: for w = τ v the minimum over τ grows with ‖C v‖.
    """
    distance = pure - wanted[:, None]
    scale = np.linalg.norm(distance)
    system = np.vstack([distance / scale if scale else distance, np.ones(pure.shape[1])])
    goal = np.zeros(len(system))
    goal[-1] = 1.0
    w, _ = scipy.optimize.nnls(system, goal)
    w /= w.sum()
    left = distance @ w
    return w, float(left @ left) / len(left)


class _SmallProblem:
    """min ‖P w(ξ) − v‖² reduced to its R factor; w is affine in each ξ_t alone."""

    def __init__(self, pure: np.ndarray, wanted: np.ndarray) -> None:
        self.pure, self.wanted = pure, wanted
        q, self.r = np.linalg.qr(pure)
        self.goal = q.T @ wanted

    def descend(self, xi: np.ndarray, limits: tuple[float, float]) -> tuple[np.ndarray, float]:
        """Coordinate descent, each ξ_t exactly, until no coordinate moves."""
        xi = xi.copy()
        for _ in range(BOUNDED_SWEEPS):
            before = xi.copy()
            for t in range(len(xi)):
                ends = []
                for value in (0.0, 1.0):
                    xi[t] = value
                    ends.append(self.r @ mixture_from_xi(xi))
                change = ends[1] - ends[0]
                size = change @ change
                xi[t] = np.clip((self.goal - ends[0]) @ change / size, *limits) if size > 0 else before[t]
            if np.allclose(xi, before, rtol=1e-12, atol=1e-14):
                break
        mixture = mixture_from_xi(xi)
        left = self.pure @ mixture - self.wanted
        return mixture, float(left @ left) / len(left)
