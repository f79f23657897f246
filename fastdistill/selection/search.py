"""The search of the tuned estimators for penalty and imitation weights: on leave-one-out predictions or on folds.

For each penalty a criterion gives values p_i of the pure steps and wanted values v (`fastdistill.selection.tuning`)::

    min over λ, w of ‖Σ_i w_i p_i(λ) − v‖² / total,   Σ w = 1

"loo" and "gcv" are those of `fastdistill.tune`. With a splitter p_i are the predictions of held-out samples, v their
targets, both times sqrt(w), and the rows of all folds are pooled into one problem per penalty. A function that scores
predictions judges the same ones: the weights of each penalty still have the smallest squared error, the score chooses
among the penalties.

Cost: one decomposition and one rotation of y (one more of each per fold), then O(n r k) per penalty; a score keeps
n (k + 1) predictions of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.selection.mixtures import MixtureProblem, Solution, useful_steps
from fastdistill.selection.tuning import CRITERIA, Tuned, add_held_out, choose, times
from fastdistill.selection.verdict import verdict
from fastdistill.spectral.path import DistillationPath, of_same_targets
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.spectrum import Spectrum

# of predictions (q[, m]), targets and sample weights (q,) or None; larger is better
Score = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]


@dataclass(frozen=True)
class Fold:
    """A part of the samples to train on and a part to score, (indices), and the latter as queries of the former."""

    spectrum: Spectrum
    train: np.ndarray
    test: np.ndarray
    queries: Any


@dataclass(frozen=True, eq=False)
class Part:
    """Targets that are chosen for together, and their students of pure steps (L, k+1): rotated once, used everywhere.

    y (n,) or (n, m) is in units of `unit`, a power of two, where float64 could not hold its squares; 1 for all others.
    """

    y: np.ndarray
    unit: float
    pure: DistillationPath

    def at(self, penalties: Any, steps: int) -> DistillationPath:
        """Students of pure steps at other penalties."""
        return of_same_targets(self.pure, penalties, np.ones(steps))


class ScoredProblem(MixtureProblem):
    """A problem of one penalty whose mixtures have the least squared error, but are compared by a score."""

    def __init__(self, n_steps: int, score_of: Score) -> None:
        super().__init__(n_steps, 0.0)
        self.score_of = score_of
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]] = []

    def add_part(self, predictions: np.ndarray, wanted: np.ndarray, weight: np.ndarray | None) -> None:
        """Predictions (k+1, q[, m]) of the pure steps and targets (q[, m]), to be scored together."""
        self.parts.append((predictions, wanted, weight))

    def solutions(self, strategy: str, limits: tuple[float, float] | None) -> list[Solution]:
        """Students of 0..k steps of least squared error, judged by the score."""
        return [found._replace(score=self.score(found.mixture)) for found in super().solutions(strategy, limits)]

    def score(self, mixture: np.ndarray) -> float:
        """Minus the mean score of the parts, infinite where it is NaN."""
        if not self.is_defined:
            return np.inf
        scores = [
            self.score_of(np.tensordot(mixture, predictions[: len(mixture)], 1), wanted, weight)
            for predictions, wanted, weight in self.parts
        ]
        mean = float(np.mean(scores))
        return np.inf if np.isnan(mean) else -mean


@dataclass(frozen=True)
class Search:
    """How the penalty and the weights are chosen; checked parameters.

    Attributes
    ----------
    penalties : ndarray (L,)
    n_steps : int or None
        k; None with "safe" only: as many as the rank.
    strategy : {"safe", "ridge", "joint", "greedy"}
        "ridge" distils nothing and has ``n_steps=0``.
    criterion : {"loo", "gcv"} or Score
        Squared errors, with folds of their samples, or a function that scores predictions.
    bounds : (float, float) or None
        Every ξ within [low, high].
    per_target : bool
        Whether every target has its own penalty and weights.
    store : bool
        Whether leave-one-out of every sample at every penalty is stored.
    """

    penalties: np.ndarray
    n_steps: int | None
    strategy: str
    criterion: str | Score
    bounds: tuple[float, float] | None
    per_target: bool
    store: bool

    def in_units(self, y: np.ndarray) -> tuple[np.ndarray, float]:
        """Targets whose squares float64 can hold and their unit, as `validation.in_units`; a score's is not known."""
        if not isinstance(self.criterion, str):
            return validation.sized(y, "y", validation.LARGEST_TARGET), 1.0
        return validation.in_units(y)

    def separates(self, y: np.ndarray) -> bool:
        """Whether the targets y (n,) or (n, m) are chosen for one by one."""
        return bool(self.per_target and y.ndim == 2 and y.shape[1] > 1)

    def no_scores(self, y: np.ndarray) -> np.ndarray:
        """Scores (L, k+1[, m]) of a kernel that admits none of the penalties."""
        targets = y.shape[1:] if self.separates(y) else ()
        return np.full((len(self.penalties), (self.n_steps or 0) + 1, *targets), -np.inf)

    def within(self, admitted: np.ndarray, indefinite: bool) -> Search:
        """The search over some of the penalties; evidence is not defined for an indefinite kernel."""
        if indefinite and self.strategy == "safe":
            return replace(self, penalties=self.penalties[admitted], strategy="ridge", n_steps=0)
        return replace(self, penalties=self.penalties[admitted])

    def run(
        self, spectrum: Spectrum, y: np.ndarray, weight: np.ndarray | None, folds: Iterable[Fold] | None
    ) -> Choices:
        """The choice for the targets y (n,) or (n, m), judged on `folds` or, without, by leave-one-out or GCV."""
        if spectrum.n_effective < 2:
            raise ValueError("Choosing a penalty needs at least 2 samples of positive weight, got n_samples = 1.")
        separate = self.separates(y)
        columns = list(y.T) if separate else [y]
        parts = [self._part(spectrum, column) for column in columns]
        stored = self._leave_one_out(parts, y, weight) if self.store else None
        return Choices(self, columns, self._tuned(parts, weight, folds), separate, stored)

    def _part(self, spectrum: Spectrum, y: np.ndarray) -> Part:
        y, unit = validation.in_units(y) if isinstance(self.criterion, str) else (y, 1.0)
        return Part(y, unit, spectrum.path(y, self.penalties, np.ones(self._steps(spectrum))))

    def _steps(self, spectrum: Decomposed) -> int:
        return useful_steps(spectrum.coordinates.rank, self.n_steps or 0, self.strategy, self.bounds)

    def _tuned(self, parts: list[Part], weight: Any, folds: Iterable[Fold] | None) -> list[Tuned]:
        if folds is not None:
            problems = self._held_out(parts, weight, folds)
        elif isinstance(self.criterion, str):
            problems = [list(CRITERIA[self.criterion](part.pure)) for part in parts]
        else:
            problems = [self._scored(part, weight) for part in parts]
        strategy = "joint" if self.strategy == "ridge" else self.strategy
        found = [
            choose(part.pure, part.y, of_part, self.n_steps, strategy, self.bounds)
            for part, of_part in zip(parts, problems, strict=True)
        ]
        return [
            tuned if part.unit == 1.0 else times(tuned, part.unit) for tuned, part in zip(found, parts, strict=True)
        ]

    def _problem(self, steps: int) -> Any:
        return MixtureProblem(steps, 0.0) if isinstance(self.criterion, str) else ScoredProblem(steps, self.criterion)

    def _scored(self, part: Part, weight: np.ndarray | None) -> list[Any]:
        """One problem per penalty, of leave-one-out predictions (k+1, n[, m])."""
        problems, y, steps = [], part.y, part.pure.n_steps
        root = np.ones(len(y)) if weight is None else np.sqrt(weight)
        root = root.reshape(-1, *(1,) * (y.ndim - 1))
        for penalty in self.penalties:
            problem, predictions = self._problem(steps), part.at(penalty, steps).loo
            problem.add((predictions * root).reshape(len(predictions), -1), (y * root).ravel())
            problem.total = part.pure.spectrum.frame.total_weight * y[0].size
            problem.add_part(predictions, y, weight)
            problems.append(problem)
        return problems

    def _held_out(self, parts: list[Part], weight: Any, folds: Iterable[Fold]) -> list[list[Any]]:
        """For each part and penalty the held-out predictions of the pure steps, all folds in one problem."""
        steps = parts[0].pure.n_steps
        pooled = [[self._problem(steps) for _ in self.penalties] for _ in parts]
        for fold in folds:
            held = None if weight is None else weight[fold.test]
            for part, problems in zip(parts, pooled, strict=True):
                pure = fold.spectrum.path(part.y[fold.train], self.penalties, np.ones(steps))
                add_held_out(problems, pure, fold.queries, part.y[fold.test], held)
                if not isinstance(self.criterion, str):
                    _add_scored(problems, pure.predict(fold.queries), part.y[fold.test], held)
        if pooled[0][0].total == 0.0:
            raise ValueError("cv gives no held-out sample of positive sample_weight; use other splits.")
        return pooled

    def _leave_one_out(self, parts: list[Part], y: np.ndarray, weight: Any) -> np.ndarray:
        """What is stored of leave-one-out, (n[, m], L): weighted squared errors or, for a score, predictions.

        Of the student that each penalty has on its own; of ridge where distillation needs evidence.
        """
        alone = replace(self, strategy="ridge", n_steps=0) if self.strategy == "safe" else self
        steps, columns = alone._steps(parts[0].pure.spectrum), []
        for penalty in self.penalties[:, np.newaxis]:
            at_penalty = [replace(part, pure=part.at(penalty, steps)) for part in parts]
            tuned = replace(alone, penalties=penalty)._tuned(at_penalty, weight, None)
            predictions = [_exact_leave_one_out(student) for student in tuned]
            columns.append(np.stack([values.reshape(len(y), -1) for values in predictions], axis=1))
        values = np.stack(columns, axis=-1).reshape(*y.shape, len(columns))
        if not isinstance(self.criterion, str):
            return values
        squares = np.square(y[..., np.newaxis] - values, dtype=values.dtype)
        return squares if weight is None else (squares.T * weight).T.astype(squares.dtype)


def _exact_leave_one_out(student: Tuned) -> np.ndarray:
    """Predictions (n[, m]) of a student that has weights: a filter alone has no leave-one-out."""
    assert isinstance(student.path, DistillationPath)
    return student.path.loo[-1]


def _add_scored(problems: list[Any], predictions: np.ndarray, wanted: np.ndarray, weight: np.ndarray | None) -> None:
    """Held-out predictions (L, k+1, q[, m]) of a fold, scored on its own; samples of zero weight are left out."""
    used = slice(None) if weight is None else weight > 0
    if len(wanted[used]):
        for problem, of_penalty in zip(problems, predictions, strict=True):
            problem.add_part(of_penalty[:, used], wanted[used], None if weight is None else weight[used])


@dataclass(frozen=True)
class Choices:
    """What was chosen for each of `targets`: for all of them together, or for each on its own."""

    search: Search
    targets: list[np.ndarray]
    tuned: list[Tuned]
    separate: bool
    stored: np.ndarray | None

    @property
    def scores(self) -> np.ndarray:
        """Larger is better: (L, k+1), and a last axis for targets on their own."""
        return -self._each([tuned.scores * self._scale for tuned in self.tuned])

    @property
    def error(self) -> float:
        """What kernels are compared by: the best error, that of plain ridge where distillation needs evidence."""
        if self.search.strategy == "safe":
            return sum(float(tuned.scores[:, 0].min()) for tuned in self.tuned)
        return sum(tuned.score for tuned in self.tuned)

    @property
    def _scale(self) -> float:
        """Squared errors are Σ w e² / Σ w, those of scikit-learn Σ w e² / n; a score has a scale of its own."""
        frame = self.tuned[0].path.spectrum.frame
        return frame.total_weight / frame.n_samples if isinstance(self.search.criterion, str) else 1.0

    def of_student(self, name: str) -> Any:
        """An attribute of the chosen students, targets on the last axis; a copy, as a view would keep all students."""
        return self._each([getattr(tuned.path, name)[-1].copy() for tuned in self.tuned])

    def values(self) -> dict[str, Any]:
        """What was chosen, by the names of scikit-learn's fitted attributes without their underscore."""
        penalties = self.search.penalties
        verdicts = [verdict(tuned, penalties, y) for tuned, y in zip(self.tuned, self.targets, strict=True)]
        lists: dict[str, list[Any]] = {
            name: [getattr(tuned, name) for tuned in self.tuned] for name in ("xi", "mixture", "evidence")
        }
        lists["verdict"] = verdicts
        return {
            "alpha": self._each([tuned.lam for tuned in self.tuned]),
            "n_steps": self._each([tuned.n_steps for tuned in self.tuned]),
            "best_score": self._each([float(-tuned.score * self._scale) for tuned in self.tuned]),
            "cv_results": {"alpha": penalties.copy(), "scores": self.scores} if self.stored is None else self.stored,
            **{name: values if self.separate else values[0] for name, values in lists.items()},
        }

    def _each(self, values: list[Any]) -> Any:
        return np.stack(values, axis=-1) if self.separate else values[0]
