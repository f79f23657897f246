"""Choosing the penalty and the imitation weights: criteria and `tune`.

For each penalty a criterion gives the values p_i of the pure steps and the wanted values v, of which every student's
score is the quadratic ‖Σ_i w_i p_i − v‖² / total of ``mixtures.py``::

    Holdout    p_i: predictions of held-out samples                    v: their targets
    "loo"      p_i: exact leave-one-out predictions                    v: y
    "gcv"      p_i: −residual_i / (1 − dof_i / n)                      v: 0

"gcv" corrects each pure step for its own degrees of freedom before mixing; for one step this is D's one-shot tuning
(Dang, Patil, Rinaldo 2026), for ridge itself it is generalised cross-validation.

Cost per penalty: O(N k²) for N values, no refit; nothing of size (N, penalties, steps) is formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdistill import _validation as validation
from fastdistill.mixtures import MixtureProblem, xi_from_mixture

if TYPE_CHECKING:
    from fastdistill.path import DistillationPath
    from fastdistill.spectrum import Spectrum


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
    criterion: Holdout | str = "loo",
    strategy: str = "joint",
    bounds: tuple[float, float] | None = None,
) -> Tuned:
    """The penalty and the k imitation weights with the best score, min_{λ, w} ‖Σ_i w_i p_i(λ) − v‖² / total.

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
    criterion : {"loo", "gcv"} or Holdout
        Exact leave-one-out, generalised cross-validation, or the error on held-out samples; report on other samples
        than these.
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

    Notes ----- Per penalty O(n r k) for "loo", O(r k) for "gcv", O(q r k) for q held-out samples. Weights tuned on
    few samples are optimistic: on i.i.d. data with a well-tuned penalty, freely tuned weights make test errors
    *larger*; report on untouched data.

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
        validation.choice(criterion, "criterion", ("loo", "gcv"))
    validation.choice(strategy, "strategy", ("joint", "greedy"))
    limits = None if bounds is None else _checked_bounds(bounds)
    pure = spectrum.path(y, grid, np.ones(k))
    problems = list(_held_out(pure, criterion) if isinstance(criterion, Holdout) else _CRITERIA[criterion](pure))
    scores = np.empty((len(grid), k + 1))
    mixtures = []
    for i, problem in enumerate(problems):
        if strategy == "greedy":
            solutions = problem.greedy(limits)
        else:
            solutions = problem.joint() if limits is None else problem.bounded(limits)
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


def _held_out(pure: DistillationPath, criterion: Holdout) -> Iterator[MixtureProblem]:
    """One problem per penalty of a path of pure steps (L, k+1)."""
    queries, wanted = pure._check_scored(criterion.queries, criterion.yq)
    predict = pure._query_map(queries)
    steps = pure.n_steps + 1
    for start in range(0, pure._n_students, steps):
        problem = MixtureProblem(pure.n_steps, wanted.size)
        problem.add(predict(start, start + steps).reshape(steps, -1), wanted.ravel())
        yield problem


def _leave_one_out(pure: DistillationPath) -> list[MixtureProblem]:
    m = len(pure._targets.mean)
    problems = [MixtureProblem(pure.n_steps, m * pure.spectrum.total_weight) for _ in pure.lam]
    for family, rows, block in pure._leave_one_out():
        root = np.sqrt(rows.weight)[:, None]
        problems[family].add((block * root).reshape(len(block), -1), (rows.y * root).ravel())
    return problems


def _generalised(pure: DistillationPath) -> Iterator[MixtureProblem]:
    """Residuals in the rotated coordinates: (1 − f) z, and what no student reaches, the same for all."""
    spectrum, targets = pure.spectrum, pure._targets
    steps = pure.n_steps + 1
    unreached = np.sqrt(targets.outside)
    for start in range(0, pure._n_students, steps):
        lost, left = pure._lost(start, start + steps)
        with np.errstate(divide="ignore"):
            correction = spectrum.n_effective / left
        residuals = np.concatenate([lost[:, 0, :, None] * targets.z, np.tile(unreached, (steps, 1, 1))], axis=1)
        problem = MixtureProblem(pure.n_steps, targets.z.shape[1] * spectrum.total_weight)
        problem.add(-(residuals * correction[:, :, None]).reshape(steps, -1), np.zeros(residuals[0].size))
        yield problem


_CRITERIA = {"loo": _leave_one_out, "gcv": _generalised}
