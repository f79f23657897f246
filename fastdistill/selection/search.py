"""The search of the tuned estimators for penalty and imitation weights: on leave-one-out predictions or on folds.

For each penalty a criterion gives values p_i of the pure steps and wanted values v (`fastdistill.selection.tuning`)::

    min over λ, w of ‖Σ_i w_i p_i(λ) − v‖² / total,   Σ w = 1

"loo" and "gcv" are those of `fastdistill.tune`. With a splitter p_i are the predictions of held-out samples, v their
targets, both times sqrt(w), and the rows of all folds are pooled into one problem per penalty; the folds are left out
exactly, as by `path.cv`. With a function that
scores predictions, the weights at each penalty still have the smallest squared error of these predictions; the function
chooses the penalty. The marginal likelihood chooses the penalty, and the kernel, of plain ridge.

Targets that each have a penalty of their own are taken in blocks, whose working arrays hold a few MiB; one by one only
where weights are tuned for each ("joint", "greedy", a number of steps on folds) or a function scores predictions.

Cost: one decomposition and one rotation of y (one more of each per fold), then O(n r k) per penalty; a score stores
n (k + 1) predictions of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.selection.averaging import Averages, averages_of_each
from fastdistill.selection.chosen import Chosen, joined, of_each, of_tuned
from fastdistill.selection.criteria import (
    NONE_HELD_OUT,
    Scores,
    add_held_out,
    cross_validated,
    each_score,
    likelihood_scores,
    ridge_cross_validated,
    scores_of,
)
from fastdistill.selection.grids import penalties_of
from fastdistill.selection.mixtures import MixtureProblem, Solution, useful_steps
from fastdistill.selection.tuning import Tuned, choose, times
from fastdistill.spectral.frame import Frame
from fastdistill.spectral.path import DistillationPath, of_same_targets
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.spectrum import Spectrum
from fastdistill.spectral.summed_path import NoRowsError

BLOCK_ENTRIES = 2**21  # entries of a block of targets (16 MiB)
LIKELIHOOD = "marginal_likelihood"
SQUARED = ("loo", "gcv")  # criteria of squared errors
TOO_FEW = "Choosing a penalty needs at least 2 samples of positive weight, got n_samples = 1."
# of predictions (q[, m]), targets and sample weights (q,) or None; larger is better
Score = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]


@dataclass(frozen=True)
class Fold:
    """Indices of samples to train on, with their spectrum, and of samples to score, with them as its queries."""

    spectrum: Spectrum
    train: np.ndarray
    test: np.ndarray
    queries: Any


@dataclass(frozen=True)
class Folds:
    """Pairs (train, test) of index arrays, and each refitted, for a function that scores predictions."""

    splits: list[tuple[np.ndarray, np.ndarray]]
    refitted: Callable[[], Iterable[Fold]]


@dataclass(frozen=True, eq=False)
class TargetGroup:
    """Targets that share a penalty and weights, and `pure`, their students of pure steps (L, k+1).

    y (n,) or (n, m) is divided by `unit`, a power of two, where float64 could not hold its squares; 1 otherwise. It is
    None where only sums were kept.
    """

    y: Any
    unit: float
    pure: DistillationPath

    def at(self, penalties: Any, steps: int) -> DistillationPath:
        """Students of pure steps at other penalties; the rotated targets are computed once."""
        return of_same_targets(self.pure, penalties, np.ones(steps))


class ScoredProblem(MixtureProblem):
    """A problem of one penalty: mixtures have the least squared error, but are compared by a score of predictions."""

    def __init__(self, n_steps: int, score_of: Score) -> None:
        super().__init__(n_steps, 0.0)
        self.score_of = score_of
        self.scored: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]] = []

    def add_scored(self, predictions: np.ndarray, wanted: np.ndarray, weight: np.ndarray | None) -> None:
        """Add predictions (k+1, q[, m]) of the pure steps and targets (q[, m]) that get one score together."""
        self.scored.append((predictions, wanted, weight))

    def solutions(self, strategy: str, limits: tuple[float, float] | None) -> list[Solution]:
        """Students of 0..k steps of least squared error, with their scores."""
        return [found._replace(score=self.score(found.mixture)) for found in super().solutions(strategy, limits)]

    def score(self, mixture: np.ndarray) -> float:
        """Minus the mean of the scores; infinite where it is NaN."""
        if not self.is_defined:
            return np.inf
        scores = [
            self.score_of(np.tensordot(mixture, predictions[: len(mixture)], 1), wanted, weight)
            for predictions, wanted, weight in self.scored
        ]
        mean = float(np.mean(scores))
        return np.inf if np.isnan(mean) else -mean


@dataclass(frozen=True)
class Search:
    """How the penalty and the weights are chosen; checked parameters.

    Attributes
    ----------
    penalties : ndarray (L,)
        Empty until `on` has taken them from a spectrum, where `spaced_in_dof`.
    n_steps : int or None
        k; None with "safe" only: as many as the rank.
    strategy : {"safe", "ridge", "joint", "greedy"}
        "ridge" distils nothing and has ``n_steps=0``.
    criterion : {"loo", "gcv", "marginal_likelihood"} or Score
        Squared errors, with folds of their samples; the likelihood of plain ridge as a Gaussian process; or a function
        that scores predictions.
    bounds : (float, float) or None
        Every ξ within [low, high].
    per_target : bool
        Whether every target has its own penalty and weights.
    store : bool
        Whether leave-one-out of every sample at every penalty is stored.
    spaced_in_dof : bool
        Whether the penalties are spaced in degrees of freedom, and so are those of a spectrum.
    """

    penalties: np.ndarray
    n_steps: int | None
    strategy: str
    criterion: str | Score
    bounds: tuple[float, float] | None
    per_target: bool
    store: bool
    spaced_in_dof: bool = False

    def on(self, spectrum: Decomposed) -> Search:
        """The search over the penalties of this spectrum: itself where they are given."""
        return replace(self, penalties=penalties_of(spectrum)) if self.spaced_in_dof else self

    @property
    def is_of_squares(self) -> bool:
        """Whether scores are squared errors, in the units of y squared."""
        return self.criterion in SQUARED

    def in_units(self, y: np.ndarray) -> tuple[np.ndarray, float]:
        """Targets whose squares float64 can hold, and their unit as of `validation.in_units`.

        With a score that is no squared error, whose units are not known, the unit is 1, and huge targets are an error.
        """
        if not self.is_of_squares:
            return validation.sized(y, "y", validation.LARGEST_TARGET), 1.0
        return validation.in_units(y)

    @property
    def averages(self) -> bool:
        """Whether ridge may be averaged over penalties: where any filter is allowed, by leave-one-out."""
        return self.strategy == "safe" and self.n_steps is None and self.criterion == "loo"

    def separates(self, y: np.ndarray) -> bool:
        """Whether each of the targets y (n,) or (n, m) gets its own penalty and weights."""
        return bool(self.per_target and y.ndim == 2 and y.shape[1] > 1)

    def no_scores(self, y: np.ndarray) -> np.ndarray:
        """Scores (L, k+1[, m]) of an indefinite kernel for which every penalty is too small: all −inf."""
        targets = y.shape[1:] if self.separates(y) else ()
        return np.full((len(self.penalties), (self.n_steps or 0) + 1, *targets), -np.inf)

    def within(self, admitted: np.ndarray, indefinite: bool) -> Search:
        """The search over the penalties `admitted`; of ridge for an indefinite kernel, which has no evidence."""
        if indefinite and self.strategy == "safe":
            return replace(self, penalties=self.penalties[admitted], strategy="ridge", n_steps=0)
        return replace(self, penalties=self.penalties[admitted])

    def run(self, spectrum: Spectrum, y: np.ndarray, weight: np.ndarray | None, folds: Folds | None) -> Choices:
        """The choice for the targets y (n,) or (n, m), scored on `folds` or, if None, by leave-one-out or GCV."""
        if spectrum.n_effective < 2:
            raise ValueError(TOO_FEW)
        if self.separates(y) and self._tunes_no_weights(folds is not None):
            return self._run_each(spectrum, y, weight, folds)
        columns = list(y.T) if self.separates(y) else [y]
        groups = [self._group(spectrum, column) for column in columns]
        stored = self._leave_one_out(groups, y, weight) if self.store else None
        return self._choices(spectrum.frame, columns, self._tuned(groups, weight, folds), stored)

    def _choices(self, frame: Frame, y: list[Any], tuned: list[Tuned], stored: np.ndarray | None) -> Choices:
        parts = [of_tuned(found, self.penalties, column) for found, column in zip(tuned, y, strict=True)]
        separate = len(y) > 1
        is_single = not separate and tuned[0].path.targets.is_single
        return Choices(self, frame, joined(parts), separate, is_single, stored)

    def _tunes_no_weights(self, on_folds: bool) -> bool:
        """Whether plain ridge is chosen, for each target, unless there is evidence against it."""
        if not self.is_of_squares:
            return False
        return self.n_steps == 0 or (self.strategy == "safe" and (self.n_steps is None or not on_folds))

    def _run_each(self, spectrum: Spectrum, y: np.ndarray, weight: np.ndarray | None, folds: Folds | None) -> Choices:
        """The choice for each of the targets y (n, m) alone, block by block."""
        assert isinstance(self.criterion, str)
        _ = spectrum.coordinates  # before any path of one penalty is solved without them
        blocks = _blocks(y, BLOCK_ENTRIES // (1 if folds is None else len(self.penalties)))
        parts, stored = [], []
        how = (self.criterion, self.n_steps, self.strategy, self.bounds)
        for index, unit in blocks:
            values = y[:, index] if unit == 1.0 else y[:, index] / unit
            ridge = spectrum.path(values, self.penalties, ())
            scores: np.ndarray | Averages
            if folds is not None:
                scores = ridge_cross_validated(ridge, folds.splits)
            elif self.averages:
                scores = averages_of_each(ridge)
            else:
                scores = each_score(self.criterion, ridge)
            parts.append(of_each(spectrum, ridge, values, unit, scores, how))
            if self.store:
                stored.append(_errors_left_out(values, ridge, weight) * unit * unit)
        order = np.argsort(np.concatenate([np.arange(y.shape[1])[index] for index, _ in blocks]))
        chosen = joined(parts) if len(parts) == 1 else joined(parts).ordered(order)
        all_stored = np.concatenate(stored, axis=1)[:, order] if self.store else None
        return Choices(self, spectrum.frame, chosen, True, False, all_stored)

    def run_summed(self, ridge: DistillationPath) -> Choices:
        """The choice by GCV for the targets of a path of plain ridge without rows, as of a `GramAccumulator`."""
        if ridge.spectrum.frame.n_effective < 2:
            raise ValueError(TOO_FEW)
        unit = ridge.targets.unit
        group = TargetGroup(None, unit, ridge.times(1.0 / unit))
        group = replace(group, pure=group.at(self.penalties, self._steps(ridge.spectrum)))
        try:
            tuned = self._tuned([group], None, None)
        except NoRowsError:
            raise ValueError(
                'The evidence supports distillation, and the strategy "safe" would now try it by leave-one-out and in '
                "five folds, which need the rows that sums do not hold. Fit a sample of the rows, or choose "
                'strategy="ridge", or "joint" with a number of steps.'
            ) from None
        return self._choices(ridge.spectrum.frame, [None], tuned, None)

    def _group(self, spectrum: Spectrum, y: np.ndarray) -> TargetGroup:
        y, unit = validation.in_units(y) if self.is_of_squares else (y, 1.0)
        return TargetGroup(y, unit, spectrum.path(y, self.penalties, np.ones(self._steps(spectrum))))

    def _steps(self, spectrum: Decomposed) -> int:
        return useful_steps(spectrum.coordinates.rank, self.n_steps or 0, self.strategy, self.bounds)

    def _tuned(self, groups: list[TargetGroup], weight: Any, folds: Folds | None) -> list[Tuned]:
        """What is chosen for each group."""
        if folds is not None:
            scores = self._held_out(groups, weight, folds)
        elif self.criterion == LIKELIHOOD:
            scores = [likelihood_scores(group.pure) for group in groups]
        elif isinstance(self.criterion, str):
            scores = [scores_of(self.criterion, group.pure, averaged=self.averages) for group in groups]
        else:
            scores = [Scores(partial(self._scored, group, weight)) for group in groups]
        strategy = "joint" if self.strategy == "ridge" else self.strategy
        found = [
            choose(group.pure, group.y, of_group, self.n_steps, strategy, self.bounds)
            for group, of_group in zip(groups, scores, strict=True)
        ]
        return [
            tuned if group.unit == 1.0 else times(tuned, group.unit) for tuned, group in zip(found, groups, strict=True)
        ]

    def _problem(self, steps: int) -> Any:
        return MixtureProblem(steps, 0.0) if isinstance(self.criterion, str) else ScoredProblem(steps, self.criterion)

    def _scored(self, group: TargetGroup, weight: np.ndarray | None) -> list[Any]:
        """One problem per penalty, of leave-one-out predictions (k+1, n[, m])."""
        problems, y, steps = [], group.y, group.pure.n_steps
        root = np.ones(len(y)) if weight is None else np.sqrt(weight)
        root = root.reshape(-1, *(1,) * (y.ndim - 1))
        for penalty in self.penalties:
            problem, predictions = self._problem(steps), group.at(penalty, steps).loo
            problem.add((predictions * root).reshape(len(predictions), -1), (y * root).ravel())
            problem.total = group.pure.spectrum.frame.total_weight * y[0].size
            problem.add_scored(predictions, y, weight)
            problems.append(problem)
        return problems

    def _held_out(self, groups: list[TargetGroup], weight: Any, folds: Folds) -> list[Scores]:
        """Of each group, from the predictions of the pure steps for the samples held out in all folds."""
        if isinstance(self.criterion, str):
            return [Scores(partial(cross_validated, group.pure, folds.splits)) for group in groups]
        steps = groups[0].pure.n_steps
        pooled = [[self._problem(steps) for _ in self.penalties] for _ in groups]
        for fold in folds.refitted():
            test_weight = None if weight is None else weight[fold.test]
            for group, problems in zip(groups, pooled, strict=True):
                pure = fold.spectrum.path(group.y[fold.train], self.penalties, np.ones(steps))
                add_held_out(problems, pure, fold.queries, group.y[fold.test], test_weight)
                _add_scored(problems, pure.predict(fold.queries), group.y[fold.test], test_weight)
        if pooled[0][0].total == 0.0:
            raise ValueError(NONE_HELD_OUT)
        return [Scores(partial(list, problems)) for problems in pooled]

    def _leave_one_out(self, groups: list[TargetGroup], y: np.ndarray, weight: Any) -> np.ndarray:
        """Leave-one-out at each penalty (n[, m], L): weighted squared errors or, for a score, predictions.

        Of the student with the weights that are best at that penalty; of ridge with the strategy "safe".
        """
        alone = replace(self, strategy="ridge", n_steps=0) if self.strategy == "safe" else self
        steps, columns = alone._steps(groups[0].pure.spectrum), []
        for penalty in self.penalties[:, np.newaxis]:
            at_penalty = [replace(group, pure=group.at(penalty, steps)) for group in groups]
            tuned = replace(alone, penalties=penalty)._tuned(at_penalty, weight, None)
            predictions = [_exact_leave_one_out(student) for student in tuned]
            columns.append(np.stack([values.reshape(len(y), -1) for values in predictions], axis=1))
        values = np.stack(columns, axis=-1).reshape(*y.shape, len(columns))
        return _weighted_errors(y, values, weight) if isinstance(self.criterion, str) else values


def _blocks(y: np.ndarray, entries: int) -> list[tuple[Any, float]]:
    """Which targets of y (n, m) are taken together, so many entries, and their unit: extreme ones are alone."""
    n, m = y.shape
    sizes = np.maximum(y.max(axis=0), -y.min(axis=0))
    extreme = (sizes > validation.LARGEST_TARGET) | ((sizes < 1.0 / validation.LARGEST_TARGET) & (sizes > 0.0))
    ordinary, width = np.flatnonzero(~extreme), max(1, entries // n)
    several: list[Any] = [ordinary[start : start + width] for start in range(0, len(ordinary), width)]
    if len(ordinary) == m:  # slices, which copy nothing
        several = [slice(part[0], part[-1] + 1) for part in several]
    return [(part, 1.0) for part in several] + [([j], validation.unit_size(y[:, j])) for j in np.flatnonzero(extreme)]


def _errors_left_out(y: np.ndarray, ridge: DistillationPath, weight: np.ndarray | None) -> np.ndarray:
    """Weighted squared leave-one-out errors (n, m, L) of a path without steps."""
    return _weighted_errors(y, np.moveaxis(ridge.loo[:, 0], 0, -1), weight)


def _weighted_errors(y: np.ndarray, predictions: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """w (y − predictions)² (n[, m], L)."""
    squares = np.square(y[..., np.newaxis] - predictions, dtype=predictions.dtype)
    return squares if weight is None else (squares.T * weight).T.astype(squares.dtype)


def _exact_leave_one_out(student: Tuned) -> np.ndarray:
    """Leave-one-out predictions (n[, m]) of a student given by weights; one given by a filter has none."""
    assert isinstance(student.path, DistillationPath)
    return student.path.loo[-1]


def _add_scored(problems: list[Any], predictions: np.ndarray, wanted: np.ndarray, weight: np.ndarray | None) -> None:
    """Add the held-out predictions (L, k+1, q[, m]) of a fold, which gets its own score; without zero weights."""
    used = slice(None) if weight is None else weight > 0
    if len(wanted[used]):
        for problem, of_penalty in zip(problems, predictions, strict=True):
            problem.add_scored(of_penalty[:, used], wanted[used], None if weight is None else weight[used])


@dataclass(frozen=True, eq=False)
class Choices:
    """The choices: one for all targets together or, if `separate`, one for each. `stored` as of `Search.store`."""

    search: Search
    frame: Frame
    chosen: Chosen
    separate: bool
    is_single: bool
    stored: np.ndarray | None

    @property
    def scores(self) -> np.ndarray:
        """Scores (L, k+1[, m]), larger is better; the last axis only if `separate`."""
        return -self._each(self.chosen.scores * self._scale)

    @property
    def error(self) -> float:
        """The best error, by which kernels are compared; that of plain ridge with the strategy "safe"."""
        if self.search.strategy == "safe":
            return float(self.chosen.scores[:, 0].min(axis=0).sum())
        return float(self.chosen.score.sum())

    @property
    def _scale(self) -> float:
        """Σ w / n: our squared errors are Σ w e² / Σ w, those of scikit-learn Σ w e² / n. 1 for other scores."""
        return self.frame.total_weight / self.frame.n_samples if self.search.is_of_squares else 1.0

    @property
    def coefficients(self) -> np.ndarray:
        """Primal or dual coefficients (p or n[, m]) of the chosen students."""
        return self.chosen.coefficients[:, 0] if self.is_single else self.chosen.coefficients

    @property
    def intercept(self) -> Any:
        """Intercepts ([m,]) of the chosen students."""
        return self.chosen.intercept[0] if self.is_single else self.chosen.intercept

    @property
    def noise(self) -> Any:
        """Noise variance ([m]) of each target."""
        return self.chosen.noise[0].item() if self.is_single else self.chosen.noise.copy()

    def values(self) -> dict[str, Any]:
        """What was chosen, by scikit-learn's names of fitted attributes, without their underscore."""
        chosen, penalties = self.chosen, self.search.penalties
        numbers = {"alpha": chosen.lam, "n_steps": chosen.n_steps, "best_score": -chosen.score * self._scale}
        lists = {name: getattr(chosen, name) for name in ("xi", "mixture", "evidence", "verdict")}
        numbers["dof"] = chosen.dof
        return {
            "alphas": penalties.copy(),
            "noise_variance": self.noise,
            "filter": chosen.filter.T.copy() if self.separate else chosen.filter[:, 0],
            **{name: values if self.separate else values[0].item() for name, values in numbers.items()},
            **{name: values if self.separate else values[0] for name, values in lists.items()},
            "cv_results": {"alpha": penalties.copy(), "scores": self.scores} if self.stored is None else self.stored,
        }

    def _each(self, values: np.ndarray) -> np.ndarray:
        return values if self.separate else values[..., 0]
