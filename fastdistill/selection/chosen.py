"""What was chosen, as arrays: for all targets together, or for each target alone.

Where every target has a penalty of its own, all of them are scored, weighed and fitted together, one matrix product for
all: the best penalty is an argmin, the evidence a kernel over targets, and the coefficients are V (M ∘ Z) with a column
of multipliers M for each target. Only targets whose evidence supports a student are taken up one by one, as in `tune`.

Cost: O(r m) for m targets beside their scores, and O(r m p) for their coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.selection.averaging import Averages
from fastdistill.selection.criteria import CRITERIA, Scores, scores_of
from fastdistill.selection.evidence import Evidence, weigh_each
from fastdistill.selection.mixtures import useful_steps
from fastdistill.selection.tuning import UNDEFINED, Tuned, choose, times
from fastdistill.selection.verdict import Verdict, verdict, verdict_on_ridge
from fastdistill.spectral.compiled import FILTER
from fastdistill.spectral.gaussian_process import noise_variance
from fastdistill.spectral.path import DistillationPath, MeanRidges
from fastdistill.spectral.spectrum import Spectrum
from fastdistill.spectral.students import Students


@dataclass(frozen=True, eq=False)
class Chosen:
    """The choices for g groups of targets: one of all targets, or one of each.

    Attributes
    ----------
    lam, n_steps, score : ndarray (g,)
    scores : ndarray (L, k+1, g)
    filter : ndarray (r, g)
    dof : ndarray (g,)
        Effective degrees of freedom, the intercept counted.
    xi, mixture, evidence, verdict : list of length g
    coefficients : ndarray (p or n, m)
        Primal or dual.
    intercept, noise : ndarray (m,)
        `noise` is the variance at the maximum of the likelihood of ridge of the penalty `lam`.
    """

    lam: np.ndarray
    n_steps: np.ndarray
    score: np.ndarray
    scores: np.ndarray
    filter: np.ndarray
    dof: np.ndarray
    xi: list[np.ndarray | None]
    mixture: list[np.ndarray | None]
    evidence: list[Evidence | None]
    verdict: list[Verdict | None]
    coefficients: np.ndarray
    intercept: np.ndarray
    noise: np.ndarray

    def replace(self, j: int, other: Chosen) -> None:
        """Put the choice for one target in the place of target j."""
        for mine, its in zip(self.arrays(), other.arrays(), strict=True):
            mine[..., j] = its[..., 0]
        for entries, its_entries in zip(self.lists(), other.lists(), strict=True):
            entries[j] = its_entries[0]

    def ordered(self, order: np.ndarray) -> Chosen:
        """The same choices in another order of the targets."""
        arrays = [array[..., order] for array in self.arrays()]
        return _of_parts(arrays, [[values[j] for j in order] for values in self.lists()])

    def arrays(self) -> list[np.ndarray]:
        """With groups, or targets, on the last axis."""
        models = [self.filter, self.dof, self.coefficients, self.intercept, self.noise]
        return [self.lam, self.n_steps, self.score, self.scores, *models]

    def lists(self) -> list[list[Any]]:
        """With an entry for each group."""
        return [self.xi, self.mixture, self.evidence, self.verdict]


def joined(parts: list[Chosen]) -> Chosen:
    """The choices for the groups of all parts."""
    if len(parts) == 1:
        return parts[0]
    arrays = [np.concatenate(part, axis=-1) for part in zip(*(chosen.arrays() for chosen in parts), strict=True)]
    lists = [list(chain(*part)) for part in zip(*(chosen.lists() for chosen in parts), strict=True)]
    return _of_parts(arrays, lists)


def _of_parts(arrays: list[np.ndarray], lists: list[list[Any]]) -> Chosen:
    """From `Chosen.arrays` and `Chosen.lists`."""
    lam, n_steps, score, scores, filters, dof, coefficients, intercept, noise = arrays
    xi, mixture, evidence, verdicts = lists
    models = (coefficients, intercept, noise)
    return Chosen(lam, n_steps, score, scores, filters, dof, xi, mixture, evidence, verdicts, *models)


def of_tuned(tuned: Tuned, penalties: np.ndarray, y: Any) -> Chosen:
    """One choice among `penalties` (L,) for the targets y (n,) or (n, m); None where only sums were kept."""
    coefficients, intercept = _linear_model(tuned.path)
    of_student = np.array(tuned.path.filters[-1], dtype=np.float64)
    return Chosen(
        np.array([tuned.lam]),
        np.array([tuned.n_steps]),
        np.array([tuned.score]),
        tuned.scores[:, :, None],
        of_student[:, None],
        np.array([of_student.sum() + tuned.path.spectrum.frame.fit_intercept]),
        [tuned.xi],
        [tuned.mixture],
        [tuned.evidence],
        [None if y is None and tuned.n_steps else verdict(tuned, penalties, y)],
        coefficients[-1].reshape(coefficients.shape[1], -1).copy(),  # a view would hold the arrays of all students
        intercept[-1].reshape(-1).copy(),
        _noise(tuned.path, np.array([tuned.lam])),
    )


def of_each(
    spectrum: Spectrum,
    ridge: DistillationPath,
    y: np.ndarray,
    unit: float,
    scores: np.ndarray | Averages,
    how: tuple[str, int | None, str, tuple[float, float] | None],
) -> Chosen:
    """The choice for each of the targets y (n, m), which were divided by `unit`.

    `ridge` is their path of `spectrum` without steps at all penalties, with its scores (L, m), or means of it. `how`:
    criterion, number of steps, strategy and bounds, as of `tune`; the strategy "ridge" weighs no evidence.
    """
    criterion, n_steps, strategy, limits = how
    m, is_averaged = y.shape[1], isinstance(scores, Averages)
    averages = scores if isinstance(scores, Averages) else _of_the_best(scores)
    scores = averages.scores
    best = scores.argmin(axis=0)
    lam, score = ridge.lam[best], scores[best, np.arange(m)]
    if not np.isfinite(score).all():
        raise ValueError(UNDEFINED)
    evidence: list[Evidence | None] = [None] * m
    if strategy == "safe" and n_steps != 0:
        d, rotated = spectrum.coordinates.d, ridge.rotated
        evidence = [*weigh_each(d, rotated.z, rotated.outside, spectrum.frame.degrees, lam, ridge.lam)]
    students = MeanRidges(spectrum, ridge.targets, ridge.lam, averages.shares[None], (1,))
    students.rotated = ridge.rotated
    coefficients, intercept = _linear_model(students.times(unit) if unit != 1.0 else students)
    k, filters = n_steps or 0, students.spectral_multipliers(FILTER, 0, 1)[0]
    means = [averages.mean(j) for j in range(m)]
    chosen = Chosen(
        lam,
        np.zeros(m, dtype=np.intp),
        _in_units(score, unit),
        _in_units(np.repeat(scores[:, None], k + 1, axis=1), unit),
        filters.T.copy(),
        filters.sum(axis=1) + spectrum.frame.fit_intercept,
        [None if mean else np.zeros(k) for mean in means],
        [None if mean else np.eye(1, k + 1)[0] for mean in means],
        evidence,
        [verdict_on_ridge(found, ridge.lam, *mean) for found, mean in zip(evidence, means, strict=True)],
        coefficients[0],
        intercept[0],
        _in_units(_noise(ridge, lam), unit),
    )
    for j in (j for j, found in enumerate(evidence) if found is not None and found.supports_filter):
        steps = useful_steps(len(spectrum.coordinates.d), k, strategy, limits)
        # rotated anew, for the same digits as a fit of it alone
        pure = spectrum.path(y[:, j], ridge.lam, np.ones(steps))
        tuned = choose(
            pure, y[:, j], _scores_of_one(criterion, pure, scores[:, j], is_averaged), n_steps, strategy, limits
        )
        chosen.replace(j, of_tuned(times(tuned, unit) if unit != 1.0 else tuned, ridge.lam, y[:, j]))
    return chosen


def _of_the_best(scores: np.ndarray) -> Averages:
    """One penalty for each target, from scores (L, m)."""
    n_penalties, m = scores.shape
    return Averages(scores, np.eye(n_penalties)[scores.argmin(axis=0)], np.zeros((m, 2)))


def _scores_of_one(criterion: str, pure: DistillationPath, ridge: np.ndarray, is_averaged: bool) -> Scores:
    if is_averaged:
        return scores_of(criterion, pure, averaged=True)
    return Scores(lambda: CRITERIA[criterion][1](pure), lambda: ridge)


def _in_units(errors: np.ndarray, unit: float) -> np.ndarray:
    """Squared errors of targets `unit` times as large."""
    return validation.held(errors, "scores", np.dtype(np.float64), unit, 2, validation.ROUNDING)


def _noise(students: Students, lam: np.ndarray) -> np.ndarray:
    """The noise variance (m,) of each target of the students, at one penalty lam (1,) or its own (m,)."""
    variance = noise_variance(students.spectrum.coordinates, students.rotated, lam)
    return _in_units(variance, students.targets.unit)


def _linear_model(students: Students) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients, primal or dual, and intercepts of all students of a path."""
    return students.dual_coef if students.spectrum.is_kernel else students.coef, students.intercept
