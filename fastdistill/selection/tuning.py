"""Choosing the penalty and the imitation weights: `tune`.

Every student of one penalty is a mixture of pure steps (ξ = 1) with weights w, Σ w = 1. With the values p_i of the pure
steps and the wanted values v of a criterion (`fastdistill.selection.criteria`), the score of a student is quadratic in
w, ‖Σ_i w_i p_i − v‖² / total, and is minimised by `fastdistill.selection.mixtures`.

"gcv" corrects each pure step for its own degrees of freedom before mixing; for one step this is D's one-shot tuning
(Dang, Patil, Rinaldo 2026), for ridge itself it is generalised cross-validation.

Cost: that of the criterion, no refit. Plain ridge is scored first; mixtures only where their weights are tuned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdistill.base import validation
from fastdistill.selection.averaging import Averages
from fastdistill.selection.criteria import (
    CRITERIA,
    Holdout,
    Scores,
    cross_validated,
    held_out,
    leave_one_out,
    refitted,
    scores_of,
)
from fastdistill.selection.evidence import Evidence, weigh_evidence
from fastdistill.selection.grids import is_dof, penalties_of
from fastdistill.selection.mixtures import MixtureProblem, Solution, useful_steps, xi_from_mixture
from fastdistill.selection.paired import grouped_folds, relative_gain, squared_errors, squares
from fastdistill.spectral.compiled import FILTER
from fastdistill.spectral.path import FilteredStudents, MeanRidges, of_same_targets
from fastdistill.spectral.spectrum import Spectrum

if TYPE_CHECKING:
    from fastdistill.spectral.path import DistillationPath

PENALTIES = np.logspace(-4, 5, 40)  # the default grid, on which the strategy "safe" was measured
FOLDS = 5  # in which the strategy "safe" must hold
UNDEFINED = "The criterion is defined at no penalty (dof = n, nothing is left to predict from, or the scorer gave NaN)."


@dataclass(frozen=True, eq=False)
class Tuned:
    """What `tune` chose.

    Attributes
    ----------
    lam : float
    n_steps : int
        Steps of the student that was chosen; with ``n_steps=None`` 0 (ridge, also averaged) or the rank.
    xi : ndarray (k,) or None
        None where the student is given by its filter alone: ``n_steps=None``, and it is distilled or averaged.
    mixture : ndarray (k+1,) or None
        Weights of the pure steps 0..k; None where `xi` is.
    score : float
        The criterion at the choice, averaged over targets; lower is better. With ``n_steps=None`` that of ridge.
    scores : ndarray (L, k+1)
        The best score with 0..k steps at each penalty; with "safe" those of the students closest to its filter.
    path : DistillationPath, FilteredStudents or MeanRidges
        The students of the choice: the first is ridge of the penalty `lam`, the last the one that was chosen.
    evidence : Evidence or None
        Of the strategy "safe" under "loo" and "gcv"; None otherwise, and with ``n_steps=0``, which cannot use it.
    shares : ndarray (L,) or None
        The weight of each penalty, where the filter is a mean of those of ridge; None where it is not.
    penalty_gain : (float, float) or None
        Share of ridge's leave-one-out error that this mean removes, and its standard error.
    """

    lam: float
    n_steps: int
    xi: np.ndarray | None
    mixture: np.ndarray | None
    score: float
    scores: np.ndarray
    path: DistillationPath | FilteredStudents | MeanRidges
    evidence: Evidence | None = None
    shares: np.ndarray | None = None
    penalty_gain: tuple[float, float] | None = None


def tune(
    spectrum: Spectrum,
    y: Any,
    lam_grid: Any,
    n_steps: int | None = 2,
    *,
    criterion: Holdout | str = "loo",
    strategy: str = "safe",
    bounds: tuple[float, float] | None = None,
    cv: Any = None,
) -> Tuned:
    """The penalty and the k imitation weights with the best score, min_{λ, w} ‖Σ_i w_i p_i(λ) − v‖² / total.

    Parameters
    ----------
    spectrum : Spectrum
        Of the training samples.
    y : array-like (n,) or (n, m)
        Training targets; several targets share the penalty and the weights.
    lam_grid : float, array-like (L,) or "dof"
        Penalties to choose from; "dof" stands for 40 spaced in effective degrees of freedom, from next to none to
        nearly the rank (`fastdistill.selection.grids`).
    n_steps : int or None
        k; 0 chooses the penalty of plain ridge. None ("safe" only, without a holdout) allows as many steps as the
        rank, which give any filter. Where k is above the rank, only as many weights as the rank are tuned, after steps
        of ξ = 0 ("greedy" and `bounds` tune all k).
    criterion : {"loo", "gcv"} or Holdout
        Exact leave-one-out, generalised cross-validation, or the error on held-out samples; report on other samples
        than these.
    strategy : {"safe", "joint", "greedy"}
        "safe": distils only on evidence that ridge of any penalty is the wrong filter
        (`fastdistill.selection.evidence`), and then takes the student of k steps closest to the filter that the
        evidence supports. Without it, and with ``n_steps=None`` and leave-one-out, ridge averaged over the penalties
        among which the samples do not decide (`fastdistill.selection.averaging`); otherwise plain ridge, all ξ = 0. On
        a holdout: the joint weights of the number of steps with the smallest error, corrected for the number of tuned
        weights, if their paired gain exceeds two standard errors.
        "joint": all k weights at once, the global minimum of the score (Pareek, Du and Oh 2024), with no check that
        they help on new samples. "greedy": ξ_1 first, then ξ_2 with ξ_1 fixed, ..., each in closed form (Borup and
        Andersen 2021); at every penalty, so the chosen penalty may differ.
    bounds : (float, float), optional
        Every ξ within [low, high]. (0, 1) makes the students convex mixtures: the joint problem stays convex and is
        solved exactly. Other bounds make it a multilinear problem, solved by coordinate descent from several starts:
        a stationary point, never worse than "greedy".
    cv : splitter, iterable or int, optional
        Instead of a criterion the mean squared error on held-out folds, pooled and weighted: anything with
        ``split(X, y)``, pairs of index arrays (train, test), or a number of folds of neighbouring samples.

    Returns
    -------
    Tuned

    Raises
    ------
    ValueError
        Bad penalties, bounds or shapes; ``n_steps=None`` where a number is needed.

    Notes
    -----
    Per penalty O(n r k) for "loo", O(r k) for "gcv", O(q r k) for q held-out samples; with `cv` as `path.cv`, no refit.
    Weights tuned on few samples are optimistic: on i.i.d. data with a well-tuned penalty, freely tuned weights make
    test errors *larger*.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 30))
    >>> X[:, 0] *= 4.0  # the direction of largest variance
    >>> S, penalties = fd.Spectrum.from_design(X), np.logspace(-2, 4, 13)
    >>> noise = 2.0 * rng.standard_normal(200)
    >>> fd.tune(S, X @ rng.standard_normal(30) + noise, penalties).xi  # nothing to gain: plain ridge
    array([0., 0.])
    >>> fd.tune(S, X[:, 0] + noise, penalties).n_steps
    2
    """
    if not isinstance(spectrum, Spectrum):
        raise TypeError(f"spectrum must be a Spectrum (Spectrum.from_design(X)), got {type(spectrum).__name__}.")
    spaced_in_dof = is_dof(lam_grid, "lam_grid")
    grid = penalties_of(spectrum) if spaced_in_dof else np.atleast_1d(validation.penalties(lam_grid, "lam_grid"))
    validation.choice(strategy, "strategy", ("safe", "joint", "greedy"))
    if not isinstance(criterion, Holdout):
        validation.choice(criterion, "criterion", tuple(CRITERIA))
    if n_steps is None and (strategy != "safe" or isinstance(criterion, Holdout) or bounds is not None):
        raise ValueError('n_steps=None needs strategy="safe", a criterion "loo" or "gcv" and no bounds; pass a number.')
    k = 0 if n_steps is None else validation.integer(n_steps, "n_steps", minimum=0)
    limits = None if bounds is None else checked_bounds(bounds)
    _, scale = validation.in_units(validation.targets(y, spectrum.n_samples)[0])
    if scale != 1.0:  # squares of the targets would leave float64: choose for targets of unit size
        scaled, unit = criterion, np.asarray(y, dtype=np.float64) / scale
        if isinstance(criterion, Holdout):
            scaled = Holdout(criterion.queries, validation.real_array(criterion.yq, "yq") / scale)
        options: dict[str, Any] = {"criterion": scaled, "strategy": strategy, "bounds": bounds, "cv": cv}
        return times(tune(spectrum, unit, grid, n_steps, **options), scale)
    pure = spectrum.path(y, grid, np.ones(useful_steps(spectrum.rank, k, strategy, limits)))
    if cv is not None:
        if criterion != "loo":
            raise ValueError(
                f"cv and criterion={criterion!r} exclude each other: with cv the held-out error is scored."
            )
        return choose(pure, y, Scores(lambda: cross_validated(pure, cv)), n_steps, strategy, limits)
    if not isinstance(criterion, Holdout):
        scores = scores_of(criterion, pure, averaged=strategy == "safe" and n_steps is None)
        return choose(pure, y, scores, n_steps, strategy, limits)
    problems = held_out(pure, criterion)
    if strategy == "safe":
        chosen = _safe_on_holdout(pure, problems, criterion, limits)
        return _lengthened(chosen, k, chosen.n_steps)
    return choose(pure, y, Scores(lambda: problems), n_steps, strategy, limits)


def times(tuned: Tuned, scale: float) -> Tuned:
    """The same choice for targets `scale` times as large."""
    scores = validation.held(tuned.scores, "scores", np.dtype(np.float64), scale, 2, validation.ROUNDING)
    return replace(tuned, score=tuned.score * scale * scale, scores=scores, path=tuned.path.times(scale))


def choose(
    pure: DistillationPath,
    y: Any,
    scores: Scores,
    n_steps: int | None,
    strategy: str,
    limits: tuple[float, float] | None,
) -> Tuned:
    """The best student of `pure`, the path of pure steps (L, k+1), as scored; without steps no evidence is weighed."""
    k = n_steps or 0
    if strategy == "safe" and n_steps != 0:
        chosen = _on_evidence(pure, y, scores, n_steps, limits)
        if scores.left_out is not None and not chosen.n_steps:
            chosen = _averaged(pure, chosen, scores.left_out.averages())
        return chosen if n_steps is None else _lengthened(chosen, k, k if chosen.n_steps else 0)
    if not pure.n_steps:
        return _lengthened(_plain(pure, scores, None), k, k)
    solutions = [problem.solutions(strategy, limits) for problem in scores.problems]
    return _lengthened(_of_steps(pure, solutions, pure.n_steps), k, k)


def tune_jointly(spectrum: Spectrum, y: Any, grid: np.ndarray, n_steps: int) -> list[Tuned]:
    """What `tune` chooses for 0, 1, ..., k steps with the strategy "joint" under leave-one-out, at the cost of k."""
    pure = spectrum.path(y, grid, np.ones(useful_steps(spectrum.rank, n_steps, "joint", None)))
    solutions = [problem.solutions("joint", None) for problem in leave_one_out(pure)]
    found = [_of_steps(pure, solutions, steps) for steps in range(pure.n_steps + 1)]
    return found + [_lengthened(found[-1], steps, steps) for steps in range(pure.n_steps + 1, n_steps + 1)]


def _of_steps(pure: DistillationPath, solutions: list[list[Solution]], steps: int) -> Tuned:
    """The best of the students of so many steps at each penalty."""
    scores = _scores(solutions)[:, : steps + 1]
    best = int(scores[:, steps].argmin())
    return _tuned(pure, pure.lam[best], solutions[best][steps], scores, steps)


def _lengthened(tuned: Tuned, k: int, n_steps: int) -> Tuned:
    """The same student with k weights, ξ = 0 in the added steps, which come first; it reports `n_steps` steps."""
    if tuned.xi is None or len(tuned.xi) == k:
        return tuned
    extra = k - len(tuned.xi)
    xi = np.append(np.zeros(extra), tuned.xi)
    mixture = None if tuned.mixture is None else np.append(tuned.mixture, np.zeros(extra))
    scores = np.pad(tuned.scores, ((0, 0), (0, extra)), mode="edge")
    path = of_same_targets(tuned.path, tuned.lam, xi)
    return replace(tuned, n_steps=n_steps, xi=xi, mixture=mixture, scores=scores, path=path)


def _scores(solutions: list[list[Solution]]) -> np.ndarray:
    """The scores (L, k+1)."""
    return np.array([[solution.score for solution in at_penalty] for at_penalty in solutions])


def _tuned(
    pure: DistillationPath,
    lam: float,
    solution: Solution,
    scores: np.ndarray,
    steps: int,
    evidence: Evidence | None = None,
) -> Tuned:
    """The choice of a solution at a penalty, which must have a finite score."""
    if not np.isfinite(solution.score):
        raise ValueError(UNDEFINED)
    path = of_same_targets(pure, lam, solution.xi)
    return Tuned(float(lam), steps, solution.xi, solution.mixture, solution.score, scores, path, evidence)


def _on_evidence(
    pure: DistillationPath,
    y: Any,
    scores: Scores,
    n_steps: int | None,
    limits: tuple[float, float] | None,
) -> Tuned:
    """Ridge, or the student closest to the filter that the evidence supports, where all its conditions hold."""
    found = _supported(pure, scores, n_steps, limits)
    evidence = found.evidence
    if not found.n_steps or evidence is None:
        return found
    ridge = of_same_targets(pure, _best_penalty(pure, scores), ())
    plain, student = squared_errors(ridge, y, fixed_filter=False), squared_errors(found.path, y, fixed_filter=True)
    evidence = replace(evidence, loo_gain=relative_gain(plain, student, pure.spectrum.frame.each_weight))
    if evidence.passes_leave_one_out:
        evidence = replace(evidence, held_out_gain=_gain_in_folds(pure, y, ridge, n_steps, limits))
    return replace(found, evidence=evidence) if evidence.accepted else _plain(pure, scores, evidence)


def _best_penalty(pure: DistillationPath, scores: Scores) -> float:
    """The penalty of the best ridge."""
    return float(pure.lam[int(scores.ridge.argmin())])


def _supported(
    pure: DistillationPath,
    scores: Scores,
    n_steps: int | None,
    limits: tuple[float, float] | None,
) -> Tuned:
    """Ridge, or the student that the likelihood ratio and Stein's estimate of the risk support."""
    spectrum, targets = pure.spectrum, pure.rotated
    plain, lam = _plain(pure, scores, None), _best_penalty(pure, scores)
    d, degrees = spectrum.coordinates.d, spectrum.frame.degrees
    evidence = weigh_evidence(d, targets.z, targets.outside, degrees, lam, pure.lam)
    found = plain
    if evidence.supports_filter and n_steps is None:
        path = FilteredStudents(spectrum, pure.targets, lam, evidence.filter)
        path.rotated = targets
        found = Tuned(lam, len(d), None, None, plain.score, plain.scores, path)
    elif evidence.supports_filter and pure.n_steps:
        found = _closest(pure, scores, evidence, limits) or plain
    return replace(found, evidence=evidence)


def _plain(pure: DistillationPath, scores: Scores, evidence: Evidence | None) -> Tuned:
    """The best ridge, as a student of no steps."""
    ridge = scores.ridge
    best = int(ridge.argmin())
    repeated = np.repeat(ridge[:, None], pure.n_steps + 1, axis=1)
    plain = Solution(np.ones(1), float(ridge[best])).longer(pure.n_steps)
    return _tuned(pure, pure.lam[best], plain, repeated, 0, evidence)


def _averaged(pure: DistillationPath, plain: Tuned, averages: Averages) -> Tuned:
    """The mean of ridges instead of the best one, if it has more than one penalty."""
    found = averages.mean(0)
    if not found:
        return plain
    shares, gain = found
    best = np.eye(len(shares))[int(averages.scores[:, 0].argmin())]
    path = MeanRidges(pure.spectrum, pure.targets, pure.lam, np.stack([best, shares])[:, None], (2,))
    path.rotated = pure.rotated
    return replace(plain, xi=None, mixture=None, path=path, shares=shares, penalty_gain=gain)


def _closest(
    pure: DistillationPath,
    scored: Scores,
    evidence: Evidence,
    limits: tuple[float, float] | None,
) -> Tuned | None:
    """The student of k steps closest to the filter F of the evidence, within its bound; None if ridge is as close."""
    k = pure.n_steps
    found = [
        [
            _within(problem, pair, filters, evidence.bound)
            for pair in zip(problem.solutions("joint", limits), problem.solutions("joint", (0.0, 1.0)), strict=True)
        ]
        for problem, filters in _towards(pure, evidence.filter)
    ]
    # ‖(F_w − F) z‖²: the posterior mean of the loss of a student less that of the filter itself
    distances = _scores(found)
    if distances[:, k].min() >= distances[pure.lam == _best_penalty(pure, scored), 0].min():
        return None
    scores = np.array([[p.score(s.mixture) for s in at] for p, at in zip(scored.problems, found, strict=True)])
    chosen = int(distances[:, k].argmin())
    return _tuned(pure, pure.lam[chosen], found[chosen][k]._replace(score=float(scores[chosen, k])), scores, k)


def _towards(pure: DistillationPath, filter_: np.ndarray) -> Iterator[tuple[MixtureProblem, np.ndarray]]:
    """The problem min ‖(F_w − F) z‖² over mixtures w, at each penalty, and the filters (k+1, r) of the pure steps."""
    z = pure.rotated.z
    steps = pure.n_steps + 1
    wanted = (filter_[:, None] * z).ravel()
    for start in range(0, pure.n_students, steps):
        filters = pure.spectral_multipliers(FILTER, start, start + steps)[:, 0]
        problem = MixtureProblem(pure.n_steps, wanted.size)
        problem.add((filters[:, :, None] * z).reshape(steps, -1), wanted)
        yield problem, filters


def _within(
    problem: MixtureProblem, pair: tuple[Solution, Solution], filters: np.ndarray, bound: np.ndarray
) -> Solution:
    """The best mixture whose filter lies between 0 and the bound (r,).

    `pair` holds the best mixture and the best convex one, `filters` (k+1, r) are those of the pure steps. The first of
    the pair if it is within the bound, otherwise the last mixture that is, on the line to it from the second; with an
    infinite score if the second is not.
    """
    slack = 1e-9 * bound
    inside = [
        np.all((f >= -slack) & (f <= bound + slack)) for f in (s.mixture @ filters[: len(s.mixture)] for s in pair)
    ]
    best, convex = pair
    if inside[0]:
        return best
    if not inside[1]:
        return best._replace(score=np.inf)
    start, end = (s.mixture @ filters[: len(s.mixture)] for s in (convex, best))
    step = end - start
    margin = np.where(step > 0, bound + slack - start, start + slack)
    share = float(np.min(margin / np.where(step == 0, np.inf, np.abs(step)), initial=1.0, where=step != 0))
    mixture = convex.mixture + share * (best.mixture - convex.mixture)
    try:
        return Solution(mixture, problem.score(mixture), xi_from_mixture(mixture))
    except ValueError:  # no finite weights give it
        return convex


def _gain_in_folds(
    pure: DistillationPath, y: Any, ridge: DistillationPath, n_steps: int | None, limits: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Share of the error of tuned ridge that the student removes in samples held out, and its standard error.

    In each fold penalty, evidence and student are chosen anew from the other samples, by leave-one-out. None where the
    samples are too few, or too much alike, for as many folds.
    """
    rows, values = pure.spectrum.coordinates.samples(), np.asarray(y, dtype=np.float64)
    weight = pure.spectrum.frame.each_weight
    used = np.flatnonzero(weight)
    fits = np.reshape(ridge.fitted[0], (len(values), -1)) - pure.targets.mean * pure.targets.unit
    fold_of = grouped_folds(rows[used], fits[used], FOLDS)
    if fold_of.max() < FOLDS - 1:
        return None
    plain, student = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for fold in range(FOLDS):
        test, train = used[fold_of == fold], used[fold_of != fold]
        part, queries = refitted(pure.spectrum, rows, train, test)
        inner = part.path(values[train], pure.lam, np.ones(pure.n_steps))
        scores = scores_of("loo", inner)
        found = _supported(inner, scores, n_steps, limits)
        best = of_same_targets(inner, _best_penalty(inner, scores), ())
        plain[test] = squares(values[test] - best.predict(queries)[0])
        student[test] = plain[test]
        if found.n_steps:
            student[test] = squares(values[test] - found.path.predict(queries)[-1])
    return relative_gain(plain, student, weight)


def _safe_on_holdout(
    pure: DistillationPath,
    problems: list[MixtureProblem],
    criterion: Holdout,
    limits: tuple[float, float] | None,
) -> Tuned:
    """Joint weights of the number of steps that is best on the holdout, or ridge.

    Akaike's final prediction error, (q + k) / (q − k) times the error of q samples, corrects for k tuned weights. The
    corrected gain over ridge must exceed two standard errors.
    """
    solutions = [problem.solutions("joint", limits) for problem in problems]
    scores = _scores(solutions)
    queries, wanted = pure.check_labelled_queries(criterion.queries, criterion.yq)
    q, k, best = len(wanted), pure.n_steps, scores.argmin(axis=0)
    squares = []
    for steps in range(k + 1 if q > k + 2 else 1):
        path = of_same_targets(pure, pure.lam[best[steps]], solutions[best[steps]][steps].xi)
        residual = path.query_map(queries)(steps, steps + 1)[0] - wanted
        squares.append(np.square(residual).mean(axis=1))
    corrected = [error.mean() * (q + steps) / (q - steps) for steps, error in enumerate(squares)]
    steps = int(np.argmin(corrected))
    if steps and corrected[0] - corrected[steps] <= 2 * (squares[0] - squares[steps]).std(ddof=1) / np.sqrt(q):
        steps = 0
    return _tuned(pure, pure.lam[best[steps]], solutions[best[steps]][steps].longer(k), scores, steps)


def checked_bounds(bounds: Any) -> tuple[float, float]:
    """(low, high) of finite numbers, low at most high."""
    low, high = validation.parameter(bounds, "bounds", ndim=1) if np.size(bounds) == 2 else (1.0, 0.0)
    if low > high:
        raise ValueError(f"bounds must be None or (low, high) with low <= high, got {validation.shown(bounds)}.")
    return float(low), float(high)
