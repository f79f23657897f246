"""Criteria: how students are scored, plain ridge of many targets at once, and all mixtures where weights are tuned.

For each penalty a criterion gives the values p_i of the pure steps (ξ = 1) and the wanted values v; the score of a
student of weights w is ‖Σ_i w_i p_i − v‖² / total::

    Holdout    p_i: predictions of held-out samples                    v: their targets
    "loo"      p_i: exact leave-one-out predictions                    v: y
    "gcv"      p_i: −residual_i / (1 − dof_i / n)                      v: 0

The marginal likelihood of a Gaussian process (`fastdistill.spectral.gaussian_process`) scores plain ridge only.

Plain ridge needs no problem of mixtures, only the sums of squares of every penalty and target, which are matrix
products: 20 penalties of 1000 targets and 2000 samples of rank 100 take 0.3 s, target by target 5 s. Targets that share
penalty and weights are merged into r + 1 first (`Rotated.merged`): 0.06 s.

Cost per penalty: O(n r m) for plain ridge by "loo", O(r m) by "gcv"; with k steps O(N k²) for N values. Nothing of size
(N, penalties, steps) is formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdistill.base import validation
from fastdistill.selection.averaging import LeftOut
from fastdistill.selection.mixtures import MixtureProblem
from fastdistill.spectral.gaussian_process import log_marginal_likelihood
from fastdistill.spectral.leave_one_out import leave_one_out_factors, ridge_left_out_squares
from fastdistill.spectral.path import of_same_targets
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.spectrum import Spectrum

if TYPE_CHECKING:
    from fastdistill.spectral.path import DistillationPath


NONE_HELD_OUT = "cv gives no held-out sample of positive sample_weight; use other splits."


@dataclass(frozen=True, eq=False)
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


class Scores:
    """How a criterion scores the students of a path of pure steps (L, k+1): lower is better.

    Parameters
    ----------
    problems : callable
        Forms one problem of all mixtures per penalty; called only where weights are tuned.
    ridge : callable, optional
        The scores (L,) of plain ridge, where these cost less than the problems.
    left_out : LeftOut, optional
        Its leave-one-out errors sample by sample, where penalties may be averaged.
    """

    def __init__(
        self,
        problems: Callable[[], Iterable[MixtureProblem]],
        ridge: Callable[[], np.ndarray] | None = None,
        left_out: LeftOut | None = None,
    ) -> None:
        self._problems, self._ridge, self.left_out = problems, ridge, left_out

    @cached_property
    def problems(self) -> list[MixtureProblem]:
        """One problem per penalty."""
        return list(self._problems())

    @cached_property
    def ridge(self) -> np.ndarray:
        """The score (L,) of plain ridge at each penalty; infinite where it is not defined."""
        if self.left_out is not None:
            return self.left_out.scores
        if self._ridge is not None:
            return self._ridge()
        return np.array([problem.score(np.ones(1)) for problem in self.problems])


def scores_of(criterion: str, pure: DistillationPath, *, averaged: bool = False) -> Scores:
    """Those of "loo" or "gcv" for all targets of a path, which share penalty and weights, or a mean of penalties."""
    of_ridge, problems = CRITERIA[criterion]
    if averaged and criterion == "loo":
        return Scores(lambda: problems(pure), left_out=LeftOut(pure))
    return Scores(lambda: problems(pure), lambda: mean_score(of_ridge(pure, together=True), pure))


def likelihood_scores(pure: DistillationPath) -> Scores:
    """Minus the log marginal likelihood of plain ridge, summed over the targets, each with a noise of its own.

    Distilled students are no posterior means of the same process, so that there are no problems of mixtures.
    """
    frame, targets = pure.spectrum.frame, pure.targets
    # of the unscaled targets, of which each weighted value has a rounding error
    resolved = frame.total_weight * (4 * validation.EPS * targets.largest) ** 2

    def of_ridge() -> np.ndarray:
        values = log_marginal_likelihood(
            pure.spectrum.coordinates, pure.rotated, pure.lam, np.full(targets.count, resolved)
        )
        return -values.sum(axis=1)

    return Scores(list, of_ridge)


def mean_score(sums: np.ndarray, pure: DistillationPath) -> np.ndarray:
    """The score (L,) of all targets together from weighted sums of squares (L, m)."""
    return _defined(sums.sum(axis=1) / (pure.targets.count * pure.spectrum.frame.total_weight))


def each_score(criterion: str, pure: DistillationPath) -> np.ndarray:
    """The score (L, m) of plain ridge at each penalty for each target of a path alone."""
    return _defined(CRITERIA[criterion][0](pure, together=False) / pure.spectrum.frame.total_weight)


def _defined(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(scores), scores, np.inf)


def held_out(pure: DistillationPath, criterion: Holdout) -> list[MixtureProblem]:
    """One problem per penalty of a path of pure steps (L, k+1)."""
    problems = [MixtureProblem(pure.n_steps, 0.0) for _ in pure.lam]
    add_held_out(problems, pure, criterion.queries, criterion.yq, None)
    return problems


def add_held_out(
    problems: list[MixtureProblem], pure: DistillationPath, queries: Any, yq: Any, weight: np.ndarray | None
) -> None:
    """Add the squared errors on held-out samples, of weights `weight` (q,), to one problem per penalty of the path."""
    queries, wanted = pure.check_labelled_queries(queries, yq)
    root = np.ones(len(wanted)) if weight is None else np.sqrt(weight)
    predict, steps = pure.query_map(queries), pure.n_steps + 1
    for i, problem in enumerate(problems):
        rows = predict(i * steps, (i + 1) * steps) * root[:, None]
        problem.add(rows.reshape(steps, -1), (wanted * root[:, None]).ravel())
        problem.total += float(root @ root) * wanted.shape[1]


def cross_validated(pure: DistillationPath, cv: Any) -> list[MixtureProblem]:
    """One problem per penalty over all folds, whose samples are left out exactly, without a refit."""
    problems = [MixtureProblem(pure.n_steps, 0.0) for _ in pure.lam]
    for wanted, predictions, weight in _left_out_in_folds(pure, cv):
        for problem, rows in zip(problems, predictions, strict=True):
            problem.add(rows.reshape(len(rows), -1), wanted.ravel())
            problem.total += weight * wanted.shape[1]
    return problems


def ridge_cross_validated(ridge: DistillationPath, cv: Any) -> np.ndarray:
    """The mean squared error (L, m) of a path without steps over all folds, for each target alone."""
    squares, total = np.zeros((len(ridge.lam), ridge.targets.count)), 0.0
    for wanted, predictions, weight in _left_out_in_folds(ridge, cv):
        errors = predictions[:, 0] - wanted
        squares += np.einsum("lqm,lqm->lm", errors, errors)
        total += weight
    return _defined(squares / total)


def _left_out_in_folds(pure: DistillationPath, cv: Any) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Of each fold targets (q, m) and predictions (L, k+1, q, m), both times √w, and Σ w; at least one is not empty."""
    frame, unit, total = pure.spectrum.frame, pure.targets.unit, 0.0
    y = frame.unscaled(pure.targets.scaled)
    for test, predictions in pure.held_out(cv, "cv"):
        used = frame.each_weight[test] > 0
        if not used.any():
            continue
        weight = frame.each_weight[test[used]]
        root = unit * np.sqrt(weight)[:, None]
        total += float(weight.sum())
        yield y[test[used]] * root, predictions[:, :, used] * root, float(weight.sum())
    if not total:
        raise ValueError(NONE_HELD_OUT)


def refitted(spectrum: Decomposed, rows: np.ndarray, train: Any, test: Any) -> tuple[Spectrum, np.ndarray]:
    """The spectrum of the samples `train` alone, from their rows (n, r), and the samples `test` as its queries."""
    part, weight = rows[train], None if spectrum.frame.weight is None else spectrum.frame.weight[train]
    if spectrum.is_kernel:
        return Spectrum.from_kernel(part @ part.T, spectrum.frame.fit_intercept, weight), rows[test] @ part.T
    return Spectrum.from_design(part, spectrum.frame.fit_intercept, weight), rows[test]


def leave_one_out(pure: DistillationPath) -> Iterator[MixtureProblem]:
    """p_i the leave-one-out predictions of pure step i, v = y, both times √w."""
    total, targets = pure.targets.count * pure.spectrum.frame.total_weight, pure.rotated.merged()
    for factor in leave_one_out_factors(pure.spectrum.coordinates, targets, pure.lam, pure.family_weights):
        yield MixtureProblem(pure.n_steps, total, factor)


def _ridge_left_out(pure: DistillationPath, *, together: bool) -> np.ndarray:
    """Σ w e² (L, m) of the leave-one-out errors of plain ridge; of fewer targets with the same sum if `together`."""
    targets = pure.rotated.merged() if together else pure.rotated
    return ridge_left_out_squares(pure.spectrum.coordinates, targets, pure.lam)


def _generalised(pure: DistillationPath) -> Iterator[MixtureProblem]:
    """p_i the residuals of pure step i, divided by 1 − dof_i / n: (1 − f) z, and the norm outside the span of U."""
    frame, targets = pure.spectrum.frame, pure.rotated
    steps = pure.n_steps + 1
    outside_norm = np.sqrt(targets.outside)
    for start in range(0, pure.n_students, steps):
        complement, correction = _corrected(pure, start, start + steps)
        residuals = np.concatenate([complement[:, :, None] * targets.z, np.tile(outside_norm, (steps, 1, 1))], axis=1)
        problem = MixtureProblem(pure.n_steps, targets.z.shape[1] * frame.total_weight)
        problem.add(-(residuals * correction[:, :, None]).reshape(steps, -1), np.zeros(residuals[0].size))
        yield problem


def _ridge_generalised(pure: DistillationPath, *, together: bool) -> np.ndarray:
    """(Σ (1 − a)² z² + outside) / (1 − dof / n)² (L, m) of plain ridge."""
    complement, correction = _corrected(of_same_targets(pure, pure.lam, ()), 0, len(pure.lam))
    return np.square(correction) * (np.square(complement) @ np.square(pure.rotated.z) + pure.rotated.outside)


def _corrected(pure: DistillationPath, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """1 − f (students, r), and 1 / (1 − dof / n) (students, 1), NaN where nothing is left."""
    complement, degrees_left = pure.complements(start, stop)
    return complement[:, 0], pure.spectrum.frame.n_effective / np.where(degrees_left > 0, degrees_left, np.nan)


# of plain ridge, weighted sums of squares (L, m); and one problem per penalty of a path of pure steps
CRITERIA = {"loo": (_ridge_left_out, leave_one_out), "gcv": (_ridge_generalised, _generalised)}
