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

import numbers
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdistill.base import validation
from fastdistill.selection.evidence import Evidence, weigh_evidence
from fastdistill.selection.mixtures import MixtureProblem, Solution, useful_steps, xi_from_mixture
from fastdistill.selection.paired import grouped_folds, relative_gain, squared_errors, squares
from fastdistill.spectral.leave_one_out import leave_one_out_factors
from fastdistill.spectral.path import FilteredStudents, of_same_targets
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.spectrum import Spectrum

if TYPE_CHECKING:
    from fastdistill.spectral.path import DistillationPath

PENALTIES = np.logspace(-4, 5, 40)  # the default grid, on which the strategy "safe" was measured
FOLDS = 5  # in which the strategy "safe" must hold


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


@dataclass(frozen=True, eq=False)
class Tuned:
    """What `tune` chose.

    Attributes
    ----------
    lam : float
    n_steps : int
        Steps of the student that was chosen; with ``n_steps=None`` 0 (ridge) or the rank.
    xi : ndarray (k,) or None
        None where the student is given by its filter alone: ``n_steps=None``, accepted.
    mixture : ndarray (k+1,) or None
        Weights of the pure steps 0..k; None where `xi` is.
    score : float
        The criterion at the choice, averaged over targets; lower is better. With ``n_steps=None`` that of ridge,
        which the evidence is weighed against.
    scores : ndarray (L, k+1)
        The best score with 0..k steps at each penalty; "safe": of the students it would use.
    path : DistillationPath or FilteredStudents
        The students of the choice: the first is ridge of the penalty `lam`, the last the one that was chosen.
    evidence : Evidence or None
        Of the strategy "safe" under "loo" and "gcv".
    """

    lam: float
    n_steps: int
    xi: np.ndarray | None
    mixture: np.ndarray | None
    score: float
    scores: np.ndarray
    path: DistillationPath | FilteredStudents
    evidence: Evidence | None = None


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
    lam_grid : float or array-like (L,)
        Penalties to choose from.
    n_steps : int or None
        k; 0 chooses the penalty of plain ridge. None ("safe" only, without a holdout) allows as many steps as the
        rank, with which any filter can be reached. Weights of more steps than that are those of the rank's, after steps
        of ξ = 0 ("greedy" and `bounds` tune all k).
    criterion : {"loo", "gcv"} or Holdout
        Exact leave-one-out, generalised cross-validation, or the error on held-out samples; report on other samples
        than these.
    strategy : {"safe", "joint", "greedy"}
        "safe": distils only on evidence that ridge of any penalty is the wrong filter (`selection.evidence`), and
        then takes the student of k steps closest to the filter that the evidence supports. On a holdout: the joint
        weights of as many steps as pay for their freedom, kept if the paired gain exceeds two standard errors.
        Otherwise plain ridge, all ξ = 0.
        "joint": all k weights at once, unguarded, the global
        minimum (Pareek, Du and Oh 2024). "greedy": ξ_1 first, then ξ_2 with ξ_1 kept, ..., each in closed form (Borup
        and Andersen 2021); at every penalty, so the chosen penalty may differ.
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
    Per penalty O(n r k) for "loo", O(r k) for "gcv", O(q r k) for q held-out samples; with `cv` one decomposition a
    fold, of rows in the coordinates that the spectrum has. Weights tuned on few samples are
    optimistic: on i.i.d. data with a well-tuned penalty, freely tuned weights make test errors *larger*.

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
    grid = np.atleast_1d(validation.penalties(lam_grid, "lam_grid"))
    validation.choice(strategy, "strategy", ("safe", "joint", "greedy"))
    if not isinstance(criterion, Holdout):
        validation.choice(criterion, "criterion", tuple(CRITERIA))
    if n_steps is None and (strategy != "safe" or isinstance(criterion, Holdout) or bounds is not None):
        raise ValueError('n_steps=None needs strategy="safe", a criterion "loo" or "gcv" and no bounds; pass a number.')
    k = 0 if n_steps is None else validation.integer(n_steps, "n_steps", minimum=0)
    limits = None if bounds is None else checked_bounds(bounds)
    _, scale = validation.in_units(validation.targets(y, spectrum.n_samples)[0])
    if scale != 1.0:  # squares of the targets would leave float64: choose for targets of unit size
        held_out, unit = criterion, np.asarray(y, dtype=np.float64) / scale
        if isinstance(criterion, Holdout):
            held_out = Holdout(criterion.queries, validation.real_array(criterion.yq, "yq") / scale)
        options: dict[str, Any] = {"criterion": held_out, "strategy": strategy, "bounds": bounds, "cv": cv}
        return times(tune(spectrum, unit, grid, n_steps, **options), scale)
    pure = spectrum.path(y, grid, np.ones(useful_steps(spectrum.rank, k, strategy, limits)))
    if cv is not None:
        if criterion != "loo":
            raise ValueError(
                f"cv and criterion={criterion!r} exclude each other: with cv the held-out error is scored."
            )
        return choose(pure, y, _cross_validated(pure, y, cv), n_steps, strategy, limits)
    if not isinstance(criterion, Holdout):
        return choose(pure, y, list(CRITERIA[criterion](pure)), n_steps, strategy, limits)
    problems = _held_out(pure, criterion)
    if strategy == "safe":
        paid = _if_it_pays(pure, y, problems, criterion, limits)
        return _lengthened(paid, y, k, paid.n_steps)
    return choose(pure, y, problems, n_steps, strategy, limits)


def times(tuned: Tuned, scale: float) -> Tuned:
    """The same choice for targets `scale` times as large."""
    scores = validation.held(tuned.scores, "scores", np.dtype(np.float64), scale, 2, validation.ROUNDING)
    return replace(tuned, score=tuned.score * scale * scale, scores=scores, path=tuned.path.times(scale))


def choose(
    pure: DistillationPath,
    y: Any,
    problems: list[MixtureProblem],
    n_steps: int | None,
    strategy: str,
    limits: tuple[float, float] | None,
) -> Tuned:
    """The student of one problem per penalty of a path of pure steps; `tune` and the estimators' splitters end here."""
    if strategy == "safe":
        chosen = _on_evidence(pure, y, problems, n_steps, limits)
        return chosen if n_steps is None else _lengthened(chosen, y, n_steps, n_steps if chosen.n_steps else 0)
    solutions = [problem.solutions(strategy, limits) for problem in problems]
    k = n_steps or 0
    return _lengthened(_of_steps(pure, y, solutions, pure.n_steps), y, k, k)


def tune_jointly(spectrum: Spectrum, y: Any, grid: np.ndarray, n_steps: int) -> list[Tuned]:
    """What `tune` chooses for 0, 1, ..., k steps with the strategy "joint" under leave-one-out, for the price of k."""
    pure = spectrum.path(y, grid, np.ones(useful_steps(spectrum.rank, n_steps, "joint", None)))
    solutions = [problem.solutions("joint", None) for problem in _leave_one_out(pure)]
    found = [_of_steps(pure, y, solutions, steps) for steps in range(pure.n_steps + 1)]
    return found + [_lengthened(found[-1], y, steps, steps) for steps in range(pure.n_steps + 1, n_steps + 1)]


def _of_steps(pure: DistillationPath, y: Any, solutions: list[list[Solution]], steps: int) -> Tuned:
    """The best of the students of so many steps at each penalty."""
    scores = _scores(solutions)[:, : steps + 1]
    best = int(scores[:, steps].argmin())
    return _tuned(pure, y, pure.lam[best], solutions[best][steps], scores, steps)


def _lengthened(tuned: Tuned, y: Any, k: int, n_steps: int) -> Tuned:
    """The same student with k weights where fewer reach any filter, ξ = 0 first; it reports `n_steps` steps."""
    if tuned.xi is None or len(tuned.xi) == k:
        return tuned
    extra = k - len(tuned.xi)
    xi = np.append(np.zeros(extra), tuned.xi)
    mixture = None if tuned.mixture is None else np.append(tuned.mixture, np.zeros(extra))
    scores = np.pad(tuned.scores, ((0, 0), (0, extra)), mode="edge")
    path = of_same_targets(tuned.path, tuned.lam, xi)
    return replace(tuned, n_steps=n_steps, xi=xi, mixture=mixture, scores=scores, path=path)


def _scores(solutions: list[list[Solution]]) -> np.ndarray:
    return np.array([[solution.score for solution in at_penalty] for at_penalty in solutions])


def _tuned(
    pure: DistillationPath,
    y: Any,
    lam: float,
    solution: Solution,
    scores: np.ndarray,
    steps: int,
    evidence: Evidence | None = None,
) -> Tuned:
    if not np.isfinite(solution.score):
        raise ValueError(
            "The criterion is defined at no penalty (dof = n, nothing is left to predict from, or the scorer gave NaN)."
        )
    path = of_same_targets(pure, lam, solution.xi)
    return Tuned(float(lam), steps, solution.xi, solution.mixture, solution.score, scores, path, evidence)


def _on_evidence(
    pure: DistillationPath,
    y: Any,
    problems: list[MixtureProblem],
    n_steps: int | None,
    limits: tuple[float, float] | None,
) -> Tuned:
    """Ridge, or on evidence that also holds in folds the student closest to the filter that the evidence supports."""
    found = _supported(pure, y, problems, n_steps, limits)
    evidence = found.evidence
    if not found.n_steps or evidence is None:
        return found
    ridge = of_same_targets(pure, _best_penalty(pure, problems), ())
    plain, student = squared_errors(ridge, y, fixed_filter=False), squared_errors(found.path, y, fixed_filter=True)
    evidence = replace(evidence, loo_gain=relative_gain(plain, student, pure.spectrum.frame.each_weight))
    if evidence.is_worth_folds:
        evidence = replace(evidence, held_out_gain=_gain_in_folds(pure, y, ridge, n_steps, limits))
    return replace(found, evidence=evidence) if evidence.accepted else _plain(pure, y, problems, evidence)


def _best_penalty(pure: DistillationPath, problems: list[MixtureProblem]) -> float:
    """The penalty of the best ridge."""
    return float(pure.lam[int(np.argmin([problem.score(np.ones(1)) for problem in problems]))])


def _supported(
    pure: DistillationPath,
    y: Any,
    problems: list[MixtureProblem],
    n_steps: int | None,
    limits: tuple[float, float] | None,
) -> Tuned:
    """Ridge, or the student that likelihood ratio and Stein's estimate support."""
    spectrum, targets = pure.spectrum, pure.rotated
    plain, lam = _plain(pure, y, problems, None), _best_penalty(pure, problems)
    d, degrees = spectrum.coordinates.d, spectrum.frame.degrees
    evidence = weigh_evidence(d, targets.z, targets.outside, degrees, lam, pure.lam)
    found = plain
    if evidence.speaks_for_filter and n_steps is None:
        path = FilteredStudents(spectrum, pure.targets, lam, evidence.filter)
        path.rotated = targets
        found = Tuned(lam, len(d), None, None, plain.score, plain.scores, path)
    elif evidence.speaks_for_filter and pure.n_steps:
        found = _closest(pure, y, problems, evidence, limits) or plain
    return replace(found, evidence=evidence)


def _plain(pure: DistillationPath, y: Any, problems: list[MixtureProblem], evidence: Evidence | None) -> Tuned:
    """The best ridge, as a student of no steps."""
    ridge = np.array([problem.score(np.ones(1)) for problem in problems])
    best = int(ridge.argmin())
    scores = np.repeat(ridge[:, None], pure.n_steps + 1, axis=1)
    plain = Solution(np.ones(1), float(ridge[best])).longer(pure.n_steps)
    return _tuned(pure, y, pure.lam[best], plain, scores, 0, evidence)


def _closest(
    pure: DistillationPath,
    y: Any,
    problems: list[MixtureProblem],
    evidence: Evidence,
    limits: tuple[float, float] | None,
) -> Tuned | None:
    """The student of k steps that comes closest to the filter without passing its bound; None if ridge is closer."""
    k = pure.n_steps
    found = [
        [
            _within(problem, pair, filters, evidence.bound)
            for pair in zip(problem.solutions("joint", limits), problem.solutions("joint", (0.0, 1.0)), strict=True)
        ]
        for problem, filters in _towards(pure, evidence.filter)
    ]
    # what each student loses, in the posterior mean, beyond the filter itself
    lost = np.array([[solution.score for solution in at_penalty] for at_penalty in found])
    if lost[:, k].min() >= lost[pure.lam == _best_penalty(pure, problems), 0].min():
        return None
    scores = np.array([[p.score(s.mixture) for s in at] for p, at in zip(problems, found, strict=True)])
    chosen = int(lost[:, k].argmin())
    return _tuned(pure, y, pure.lam[chosen], found[chosen][k]._replace(score=float(scores[chosen, k])), scores, k)


def _towards(pure: DistillationPath, filter_: np.ndarray) -> Iterator[tuple[MixtureProblem, np.ndarray]]:
    """‖(F_w − F) z‖² of the mixtures w at each penalty, and the filters (k+1, r) of the pure steps."""
    from fastdistill import kernels

    z = pure.rotated.z
    steps = pure.n_steps + 1
    wanted = (filter_[:, None] * z).ravel()
    for start in range(0, pure.n_students, steps):
        filters = pure.spectral_multipliers(kernels.FILTER, start, start + steps)[:, 0]
        problem = MixtureProblem(pure.n_steps, wanted.size)
        problem.add((filters[:, :, None] * z).reshape(steps, -1), wanted)
        yield problem, filters


def _within(
    problem: MixtureProblem, pair: tuple[Solution, Solution], filters: np.ndarray, bound: np.ndarray
) -> Solution:
    """The best mixture if its filter lies between 0 and the bound (r,), else the last one that does on the way there
    from the best convex mixture; of infinite score where none does. `filters` (k+1, r) are those of the pure steps.
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
    room = np.where(step > 0, bound + slack - start, start + slack)
    share = float(np.min(room / np.where(step == 0, np.inf, np.abs(step)), initial=1.0, where=step != 0))
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
        part, queries = _refitted(pure.spectrum, rows, train, test)
        inner = part.path(values[train], pure.lam, np.ones(pure.n_steps))
        problems = list(_leave_one_out(inner))
        found = _supported(inner, values[train], problems, n_steps, limits)
        best = of_same_targets(inner, _best_penalty(inner, problems), ())
        plain[test] = squares(values[test] - best.predict(queries)[0])
        student[test] = plain[test]
        if found.n_steps:
            student[test] = squares(values[test] - found.path.predict(queries)[-1])
    return relative_gain(plain, student, weight)


def _if_it_pays(
    pure: DistillationPath,
    y: Any,
    problems: list[MixtureProblem],
    criterion: Holdout,
    limits: tuple[float, float] | None,
) -> Tuned:
    """Joint weights of as many steps as pay on the holdout, else ridge.

    k tuned weights are charged with Akaike's final prediction error, (q + k) / (q − k) times the error of q samples;
    the gain over ridge that remains must exceed two standard errors.
    """
    solutions = [problem.solutions("joint", limits) for problem in problems]
    scores = _scores(solutions)
    queries, wanted = pure.check_labelled_queries(criterion.queries, criterion.yq)
    q, k, best = len(wanted), pure.n_steps, scores.argmin(axis=0)
    squares = []
    for steps in range(k + 1 if q > k + 2 else 1):
        path = of_same_targets(pure, pure.lam[best[steps]], solutions[best[steps]][steps].xi)
        left = path.query_map(queries)(steps, steps + 1)[0] - wanted
        squares.append(np.square(left).mean(axis=1))
    charged = [error.mean() * (q + steps) / (q - steps) for steps, error in enumerate(squares)]
    steps = int(np.argmin(charged))
    if steps and charged[0] - charged[steps] <= 2 * (squares[0] - squares[steps]).std(ddof=1) / np.sqrt(q):
        steps = 0
    return _tuned(pure, y, pure.lam[best[steps]], solutions[best[steps]][steps].longer(k), scores, steps)


def checked_bounds(bounds: Any) -> tuple[float, float]:
    """(low, high) of finite numbers, low at most high."""
    low, high = validation.parameter(bounds, "bounds", ndim=1) if np.size(bounds) == 2 else (1.0, 0.0)
    if low > high:
        raise ValueError(f"bounds must be None or (low, high) with low <= high, got {validation.shown(bounds)}.")
    return float(low), float(high)


def _held_out(pure: DistillationPath, criterion: Holdout) -> list[MixtureProblem]:
    """One problem per penalty of a path of pure steps (L, k+1)."""
    problems = [MixtureProblem(pure.n_steps, 0.0) for _ in pure.lam]
    add_held_out(problems, pure, criterion.queries, criterion.yq, None)
    return problems


def add_held_out(
    problems: list[MixtureProblem], pure: DistillationPath, queries: Any, yq: Any, weight: np.ndarray | None
) -> None:
    """Add the squared errors of held-out samples of the weights (q,) to one problem per penalty of the path."""
    queries, wanted = pure.check_labelled_queries(queries, yq)
    root = np.ones(len(wanted)) if weight is None else np.sqrt(weight)
    predict, steps = pure.query_map(queries), pure.n_steps + 1
    for i, problem in enumerate(problems):
        rows = predict(i * steps, (i + 1) * steps) * root[:, None]
        problem.add(rows.reshape(steps, -1), (wanted * root[:, None]).ravel())
        problem.total += float(root @ root) * wanted.shape[1]


def _cross_validated(pure: DistillationPath, y: Any, cv: Any) -> list[MixtureProblem]:
    """One problem per penalty over all folds."""
    spectrum = pure.spectrum
    values, weight, rows = np.asarray(y), spectrum.frame.weight, spectrum.coordinates.samples()
    problems = [MixtureProblem(pure.n_steps, 0.0) for _ in pure.lam]
    for train, test in _splits(cv, rows, values):
        fold, queries = _refitted(spectrum, rows, train, test)
        path = fold.path(values[train], pure.lam, np.ones(pure.n_steps))
        add_held_out(problems, path, queries, values[test], None if weight is None else weight[test])
    if not problems[0].total:
        raise ValueError("cv gives no held-out sample of positive weight; use other splits.")
    return problems


def _refitted(spectrum: Decomposed, rows: np.ndarray, train: Any, test: Any) -> tuple[Spectrum, np.ndarray]:
    """The spectrum of some of the samples alone, and others as queries of it."""
    part, weight = rows[train], None if spectrum.frame.weight is None else spectrum.frame.weight[train]
    if spectrum.is_kernel:
        return Spectrum.from_kernel(part @ part.T, spectrum.frame.fit_intercept, weight), rows[test] @ part.T
    return Spectrum.from_design(part, spectrum.frame.fit_intercept, weight), rows[test]


def _splits(cv: Any, rows: np.ndarray, y: np.ndarray) -> Any:
    """Pairs of index arrays (train, test)."""
    if hasattr(cv, "split"):
        return cv.split(rows, y)
    if not isinstance(cv, numbers.Integral):
        return cv
    folds = validation.integer(cv, "cv", minimum=2)
    if folds > len(y):
        raise ValueError(f"cv={folds} folds of {len(y)} samples leave some empty; use at most {len(y)}.")
    samples = np.arange(len(y))
    return [(np.setdiff1d(samples, test), test) for test in np.array_split(samples, folds)]


def _leave_one_out(pure: DistillationPath) -> Iterator[MixtureProblem]:
    total = pure.targets.count * pure.spectrum.frame.total_weight
    for factor in leave_one_out_factors(pure.spectrum.coordinates, pure.rotated, pure.lam, pure.family_weights):
        yield MixtureProblem(pure.n_steps, total, factor)


def _generalised(pure: DistillationPath) -> Iterator[MixtureProblem]:
    """Residuals in the rotated coordinates: (1 − f) z, and what no student reaches, the same for all."""
    frame, targets = pure.spectrum.frame, pure.rotated
    steps = pure.n_steps + 1
    unreached = np.sqrt(targets.outside)
    for start in range(0, pure.n_students, steps):
        lost, left = pure.complements(start, start + steps)
        correction = frame.n_effective / np.where(left > 0, left, np.nan)
        residuals = np.concatenate([lost[:, 0, :, None] * targets.z, np.tile(unreached, (steps, 1, 1))], axis=1)
        problem = MixtureProblem(pure.n_steps, targets.z.shape[1] * frame.total_weight)
        problem.add(-(residuals * correction[:, :, None]).reshape(steps, -1), np.zeros(residuals[0].size))
        yield problem


# one problem per penalty of a path of pure steps
CRITERIA = {"loo": _leave_one_out, "gcv": _generalised}
