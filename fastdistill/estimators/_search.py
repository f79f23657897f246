"""How the tuned estimators choose penalty and imitation weights: on leave-one-out predictions or on folds.

For each penalty a criterion gives values p_i of the pure steps and wanted values v (`fastdistill.selection.tuning`)::

    min over λ, w of ‖Σ_i w_i p_i(λ) − v‖² / total,   Σ w = 1

"loo" and "gcv" are those of `fastdistill.tune`. With a splitter p_i are the predictions of held-out samples, v their
targets, both times sqrt(w), and the rows of all folds are pooled into one problem per penalty. A scorer judges the same
predictions: the weights of each penalty still have the smallest squared error, the scorer chooses among the penalties.

Cost: one decomposition (one more per fold), then O(n r k) per penalty; a scorer keeps n (k + 1) predictions of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import get_scorer

from fastdistill.base import validation
from fastdistill.selection.mixtures import MixtureProblem, Solution, useful_steps
from fastdistill.selection.tuning import PENALTIES, Tuned, add_held_out, checked_bounds, choose, tune
from fastdistill.selection.verdict import verdict
from fastdistill.spectral.path import DistillationPath
from fastdistill.spectral.spectrum import Spectrum

Scorer = Callable[..., float]
SQUARED = ("loo", "gcv")  # criteria of squared errors


@dataclass(frozen=True)
class Fold:
    """A part of the samples to train on and a part to score, (indices), and the latter as queries of the former."""

    spectrum: Spectrum
    train: np.ndarray
    test: np.ndarray
    queries: Any


class HeldOut(RegressorMixin, BaseEstimator):
    """What a scorer is called with: an estimator whose predictions are the samples it is given."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The predictions X themselves."""
        return X


class ScoredProblem(MixtureProblem):
    """A problem of one penalty whose mixtures have the least squared error, but are compared by a scorer."""

    def __init__(self, n_steps: int, scorer: Scorer) -> None:
        super().__init__(n_steps, 0.0)
        self.scorer = scorer
        self.parts: list[tuple[np.ndarray, np.ndarray, dict[str, Any]]] = []

    def add_part(self, predictions: np.ndarray, wanted: np.ndarray, weight: np.ndarray | None) -> None:
        """Predictions (k+1, q[, m]) of the pure steps and targets (q[, m]), to be scored together."""
        self.parts.append((predictions, wanted, {} if weight is None else {"sample_weight": weight}))

    def solutions(self, strategy: str, limits: tuple[float, float] | None) -> list[Solution]:
        """Students of 0..k steps of least squared error, judged by the scorer."""
        return [found._replace(score=self.score(found.mixture)) for found in super().solutions(strategy, limits)]

    def score(self, mixture: np.ndarray) -> float:
        """Minus the mean score of the parts, infinite where it is NaN."""
        if not self.is_defined:
            return np.inf
        scores = [
            self.scorer(HeldOut(), np.tensordot(mixture, predictions[: len(mixture)], 1), wanted, **options)
            for predictions, wanted, options in self.parts
        ]
        mean = float(np.mean(scores))
        return np.inf if np.isnan(mean) else -mean


def checked_scoring(scoring: Any) -> str | Scorer:
    """ "loo", "gcv" or a scorer."""
    if scoring is None or (isinstance(scoring, str) and scoring in SQUARED):
        return scoring or "loo"
    if isinstance(scoring, str):
        try:
            return get_scorer(scoring)
        except ValueError as err:
            raise ValueError(f"scoring must be None, 'loo', 'gcv', a scorer or the name of one. {err}") from None
    if not callable(scoring):
        raise TypeError(f"scoring must be None, 'loo', 'gcv', a scorer or the name of one, got {scoring!r}.")
    return scoring


@dataclass(frozen=True)
class Search:
    """How the penalty and the weights are chosen; the checked parameters that the tuned estimators share."""

    penalties: np.ndarray
    n_steps: int | None
    strategy: str
    scoring: str | Scorer
    bounds: tuple[float, float] | None
    alpha_per_target: bool
    store: bool

    @classmethod
    def of(cls, model: Any) -> Search:
        """From the parameters of an estimator."""
        for name in ("fit_intercept", "alpha_per_target", "store_cv_results"):
            validation.boolean(getattr(model, name), name)
        grid = PENALTIES if model.alphas is None else np.atleast_1d(validation.penalties(model.alphas, "alphas"))
        strategy = validation.choice(model.strategy, "strategy", ("safe", "ridge", "joint", "greedy"))
        scoring = checked_scoring(model.scoring)
        n_steps = None if model.n_steps is None else validation.integer(model.n_steps, "n_steps", minimum=0)
        bounds = None if model.bounds is None else checked_bounds(model.bounds)
        if strategy == "ridge":
            n_steps, bounds = 0, None
        if n_steps is None and (strategy != "safe" or bounds is not None):
            raise ValueError('n_steps=None needs strategy="safe" and no bounds; pass a number of steps.')
        if model.cv is not None and scoring == "gcv":
            raise ValueError(
                f"cv and scoring={validation.shown(scoring)} exclude each other: with cv the held-out error is scored."
            )
        if model.store_cv_results and model.cv is not None:
            raise ValueError("cv!=None and store_cv_results=True are incompatible: it is leave-one-out that is stored.")
        if model.store_cv_results and scoring == "gcv":
            raise ValueError("store_cv_results=True stores leave-one-out, which scoring='gcv' does not form.")
        return cls(grid, n_steps, strategy, scoring, bounds, model.alpha_per_target, model.store_cv_results)

    def in_units(self, y: np.ndarray) -> tuple[np.ndarray, float]:
        """Targets whose squares float64 can hold and their unit, as `validation.in_units`; a scorer's is not known."""
        if not isinstance(self.scoring, str):
            return validation.sized(y, "y", validation.LARGEST_TARGET), 1.0
        return validation.in_units(y)

    def separates(self, y: np.ndarray) -> bool:
        """Whether the targets y (n,) or (n, m) are chosen for one by one."""
        return bool(self.alpha_per_target and y.ndim == 2 and y.shape[1] > 1)

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
        parts = list(y.T) if separate else [y]
        stored = self._leave_one_out(spectrum, parts, y, weight) if self.store else None
        return Choices(self, parts, self._tuned(spectrum, parts, weight, folds), separate, stored)

    def _tuned(
        self, spectrum: Spectrum, parts: list[np.ndarray], weight: Any, folds: Iterable[Fold] | None
    ) -> list[Tuned]:
        if folds is None and isinstance(self.scoring, str):
            strategy = "joint" if self.strategy == "ridge" else self.strategy
            options: dict[str, Any] = {"criterion": self.scoring, "strategy": strategy, "bounds": self.bounds}
            return [tune(spectrum, part, self.penalties, self.n_steps, **options) for part in parts]
        steps = useful_steps(spectrum.rank, self.n_steps or 0, self.strategy, self.bounds)
        if folds is not None:
            problems = self._held_out(parts, weight, folds, steps)
        else:
            problems = [self._scored(spectrum, part, weight, steps) for part in parts]
        return [self._choose(spectrum, part, of_part, steps) for part, of_part in zip(parts, problems, strict=True)]

    def _choose(self, spectrum: Spectrum, y: np.ndarray, problems: list[Any], steps: int) -> Tuned:
        pure = spectrum.path(y, self.penalties, np.ones(steps))
        return choose(
            pure, y, problems, self.n_steps, "joint" if self.strategy == "ridge" else self.strategy, self.bounds
        )

    def _problem(self, steps: int) -> Any:
        return MixtureProblem(steps, 0.0) if isinstance(self.scoring, str) else ScoredProblem(steps, self.scoring)

    def _scored(self, spectrum: Spectrum, y: np.ndarray, weight: np.ndarray | None, steps: int) -> list[Any]:
        """One problem per penalty, of leave-one-out predictions (k+1, n[, m])."""
        problems = []
        root = np.ones(len(y)) if weight is None else np.sqrt(weight)
        root = root.reshape(-1, *(1,) * (y.ndim - 1))
        for penalty in self.penalties:
            problem, predictions = self._problem(steps), spectrum.path(y, penalty, np.ones(steps)).loo
            problem.add((predictions * root).reshape(len(predictions), -1), (y * root).ravel())
            problem.total = spectrum.total_weight * y[0].size
            problem.add_part(predictions, y, weight)
            problems.append(problem)
        return problems

    def _held_out(self, parts: list[np.ndarray], weight: Any, folds: Iterable[Fold], steps: int) -> list[list[Any]]:
        """For each part and penalty the held-out predictions of the pure steps, all folds in one problem."""
        pooled = [[self._problem(steps) for _ in self.penalties] for _ in parts]
        for fold in folds:
            held = None if weight is None else weight[fold.test]
            for y, problems in zip(parts, pooled, strict=True):
                pure = fold.spectrum.path(y[fold.train], self.penalties, np.ones(steps))
                add_held_out(problems, pure, fold.queries, y[fold.test], held)
                if not isinstance(self.scoring, str):
                    _add_scored(problems, pure.predict(fold.queries), y[fold.test], held)
        if pooled[0][0].total == 0.0:
            raise ValueError("cv gives no held-out sample of positive sample_weight; use other splits.")
        return pooled

    def _leave_one_out(self, spectrum: Spectrum, parts: list[np.ndarray], y: np.ndarray, weight: Any) -> np.ndarray:
        """What `store_cv_results` asks for, (n[, m], L): weighted squared errors or, for a scorer, predictions.

        Of the student that each penalty has on its own; of ridge where distillation needs evidence.
        """
        alone = replace(self, strategy="ridge", n_steps=0) if self.strategy == "safe" else self
        columns = []
        for penalty in self.penalties:
            tuned = replace(alone, penalties=np.array([penalty]))._tuned(spectrum, parts, weight, None)
            predictions = [_exact_leave_one_out(student) for student in tuned]
            columns.append(np.stack([values.reshape(len(y), -1) for values in predictions], axis=1))
        values = np.stack(columns, axis=-1).reshape(*y.shape, len(columns))
        if not isinstance(self.scoring, str):
            return values
        squares = np.square(y[..., np.newaxis] - values, dtype=values.dtype)
        return squares if weight is None else (squares.T * weight).T.astype(squares.dtype)


def _exact_leave_one_out(student: Tuned) -> np.ndarray:
    """Predictions (n[, m]) of a student that has weights: a filter alone has no leave-one-out."""
    assert isinstance(student.path, DistillationPath)
    return student.path.loo[-1]


def _add_scored(problems: list[Any], predictions: np.ndarray, wanted: np.ndarray, weight: np.ndarray | None) -> None:
    """Held-out predictions (L, k+1, q[, m]) of a fold, scored by itself; samples of zero weight are left out."""
    used = slice(None) if weight is None else weight > 0
    if len(wanted[used]):
        for problem, of_penalty in zip(problems, predictions, strict=True):
            problem.add_part(of_penalty[:, used], wanted[used], None if weight is None else weight[used])


@dataclass(frozen=True)
class Choices:
    """What was chosen for each part of the targets: for all of them together, or for each on its own."""

    search: Search
    parts: list[np.ndarray]
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
        """Squared errors are Σ w e² / Σ w, those of `RidgeCV` Σ w e² / n; a scorer has a scale of its own."""
        frame = self.tuned[0].path.spectrum.frame
        return frame.total_weight / frame.n_samples if isinstance(self.search.scoring, str) else 1.0

    def of_student(self, name: str) -> Any:
        """An attribute of the chosen students, targets on the last axis; a copy, as a view would keep all students."""
        return self._each([getattr(tuned.path, name)[-1].copy() for tuned in self.tuned])

    def record(self, model: Any) -> None:
        """Set the fitted attributes that say what was chosen."""
        penalties = self.search.penalties
        verdicts = [verdict(tuned, penalties, y) for tuned, y in zip(self.tuned, self.parts, strict=True)]
        model.alpha_ = self._each([tuned.lam for tuned in self.tuned])
        model.n_steps_ = self._each([tuned.n_steps for tuned in self.tuned])
        model.best_score_ = self._each([float(-tuned.score * self._scale) for tuned in self.tuned])
        lists: dict[str, list[Any]] = {
            name: [getattr(tuned, name) for tuned in self.tuned] for name in ("xi", "mixture", "evidence")
        }
        lists["verdict"] = verdicts
        for name, values in lists.items():
            setattr(model, f"{name}_", values if self.separate else values[0])
        model.cv_results_ = {"alpha": penalties.copy(), "scores": self.scores} if self.stored is None else self.stored

    def _each(self, values: list[Any]) -> Any:
        return np.stack(values, axis=-1) if self.separate else values[0]
