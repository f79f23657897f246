"""The training loop of the SGD estimators: batches, the step "auto", when to stop, and which iterate is the model.

::

    L = s λ_max(Aᵀ W A / n) + l2,   L_n = s w_n ‖a_n‖² + l2,   ℒ(τ) = c(τ) max_n L_n + (1 − c(τ)) L,   γ = 1 / ℒ(τ)

with s = 1 (squared), ¼ (logistic), ½ (softmax) and c(τ) the share of a single sample in a batch of τ: 1 for τ = 1, 0
for all samples at once.

===========================  =================================================
S (Safaryan et al. 2023)     here
===========================  =================================================
ℒ, τ, γ                      expected smoothness, ``batch_size``, `auto_step`
λ, θ                         ``kd_weight``, ``teacher``
===========================  =================================================

Cost: 2 `POWER_STEPS` products with X for the step, one product an epoch for the loss curve.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from fastdistill.base import status, validation
from fastdistill.base.linear_losses import loss_values, residuals, single_share
from fastdistill.estimators._common import affine
from fastdistill.estimators._scaling import FAR, VISIBLE, Features, improved
from fastdistill.estimators._teachers import Data
from fastdistill.sgd.loop import SGDRun
from fastdistill.sgd.problem import CURVATURE, Model, Problem
from fastdistill.sgd.run import run_sgd

DATA: dict[str, Any] = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}  # for `validate_data`

LARGEST_BATCH = 64
POWER_STEPS = 8  # give λ_max to 0.5 % on data of scikit-learn, to 7 % on white noise; a step is stable up to 2 / ℒ
CUT = 4.0  # of the step, where the objective has stopped to fall
EXACT = 1e-3  # of the first objective: below, progress is no longer relative, so that exact fits end
SELF_TAUGHT = ("svrg", "repeated")  # variants whose teacher is the student itself


def auto_batch(n: int) -> int:
    """At most `LARGEST_BATCH` samples, so many that the last batch of an epoch is as full as can be."""
    if n <= LARGEST_BATCH:
        return n
    return max(range(LARGEST_BATCH // 2 + 1, LARGEST_BATCH + 1), key=lambda size: (shortest_batch(n, size), size))


def shortest_batch(n: int, batch_size: int) -> int:
    """Samples in the last batch of an epoch."""
    return n % batch_size or batch_size


def auto_step(problem: Problem, batch_size: int, *, replace: bool) -> float:
    """1 / ℒ of the shortest batch of an epoch."""
    shortest = batch_size if replace else shortest_batch(problem.n, batch_size)
    share = single_share(problem.n, shortest, replace=replace)
    expected = share / problem.largest_safe_step()
    if share < 1.0:
        expected += (1.0 - share) * (CURVATURE[problem.loss] * _largest_eigenvalue(problem) + problem.l2)
    return 1.0 / max(expected, 1e-300)


def _largest_eigenvalue(problem: Problem) -> float:
    """λ_max(Aᵀ W A / n), A with the constant feature of an intercept: the power method, from below."""
    v = np.random.default_rng(0).standard_normal(problem.width)
    value = 0.0
    for _ in range(POWER_STEPS):
        v /= np.linalg.norm(v) or 1.0
        intercept = v[problem.p :].sum()
        scores = problem.scores(Model(v[None, : problem.p], np.array([intercept])))
        value = float(problem.weight @ np.square(scores[:, 0])) / problem.n
        weighted = problem.weight * scores[:, 0] / problem.n
        v = np.append(
            sum(X.T @ weighted[rows] for rows, X in problem.blocks()), [weighted.sum()] * problem.fit_intercept
        )
    return value


@dataclass(eq=False)
class Rate:
    """A step size or a weight as `run_sgd` reads it: a number that can be cut, or a schedule begun before."""

    initial: float
    schedule: Any = None
    offset: int = 0
    multiplier: float = 1.0
    is_auto: bool = False

    def factor(self, t: Any) -> np.ndarray:
        """The multiple of the initial value t epochs from now."""
        values = np.full(np.shape(t), self.multiplier)
        return values if self.schedule is None else values * self.schedule.factor(np.asarray(t) + self.offset)


def rate(value: Any, name: str, offset: int, *, strict: bool) -> Rate:
    """The rate that a number or a schedule stands for."""
    schedule = value if is_schedule(value) else None
    initial = validation.scalar(value if schedule is None else schedule.initial, name, minimum=0.0, strict=strict)
    return Rate(initial, schedule, offset)


def is_schedule(value: Any) -> bool:
    """Whether `run_sgd` reads a value as a schedule."""
    return hasattr(value, "initial") and hasattr(value, "factor")


@dataclass(eq=False)
class Plan:
    """What an epoch goes by."""

    problem: Problem
    step: Rate
    batch_size: int
    offset: int  # epochs that schedules are ahead

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.problem.n // self.batch_size)


# -- What is watched -------------------------------------------------------------------------------


@dataclass(eq=False)
class Objective:
    """Mean distilled loss (1 − κ) ℓ(z, b) + κ T² ℓ(z / T, s) and its penalty; with κ = 0 that of the labels."""

    problem: Problem
    weight: float = 0.0
    source: Any = None
    temperature: float = 1.0
    soft: np.ndarray | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.weight:
            self.soft = self.problem.teach(self.source, "soft_labels", self.temperature).outputs

    def __call__(self, coef: np.ndarray, intercept: Any) -> float:
        problem, kappa = self.problem, self.weight
        model = model_of(coef, intercept)
        with np.errstate(over="ignore", invalid="ignore"):  # of a state on its way to divergence
            z = problem.scores(model)
            value = (1.0 - kappa) * self._mean(z, problem.targets)
            penalty = (model.coef**2).sum()
            if self.soft is not None:
                value += kappa * self.temperature**2 * self._mean(z / self.temperature, self.soft)
                if isinstance(self.source, Model):  # the penalty is part of the loss at the teacher, too
                    penalty = (1.0 - kappa) * penalty + kappa * ((model.coef - self.source.coef) ** 2).sum()
            return float(value + 0.5 * problem.l2 * penalty)

    def at(self, state: np.ndarray) -> float:
        """The objective of a state (C, p or p + 1)."""
        p = self.problem.p
        return self(state[:, :p].T, state[:, p] if state.shape[1] > p else np.zeros(len(state)))

    def gradient(self, state: np.ndarray) -> np.ndarray:
        """Its gradient (C, p or p + 1)."""
        problem, kappa, p = self.problem, self.weight, self.problem.p
        z = problem.scores(model_of(state[:, :p].T, state[:, p] if state.shape[1] > p else np.zeros(len(state))))
        r = (1.0 - kappa) * residuals(problem.loss, z, problem.targets)
        if self.soft is not None:
            r += kappa * self.temperature * residuals(problem.loss, z / self.temperature, self.soft)
        out = problem.mean_gradient(r)
        out[:, :p] += problem.l2 * state[:, :p]
        if isinstance(self.source, Model):
            out[:, :p] -= kappa * problem.l2 * self.source.coef
        return out

    def best_constant(self) -> np.ndarray:
        """The best state without features, (C, p or p + 1): zero but for an intercept; at a temperature about it."""
        problem = self.problem
        out = np.zeros((problem.n_outputs, problem.width))
        if problem.fit_intercept:
            mean = problem.weight @ problem.targets / problem.n
            if self.soft is not None:
                mean = (1.0 - self.weight) * mean + self.weight * (problem.weight @ self.soft / problem.n)
            if problem.loss != "squared":
                mean = np.log(np.clip(mean, EXACT, None)) - np.log(np.clip(1.0 - mean, EXACT, None)) * (len(out) == 1)
            out[:, -1] = mean
        return out

    def _mean(self, z: np.ndarray, targets: np.ndarray) -> float:
        flat = (z[:, 0], targets[:, 0]) if self.problem.loss == "logistic" else (z, targets)
        return float(self.problem.weight @ loss_values(self.problem.loss, *flat)) / self.problem.n


def model_of(coef: np.ndarray, intercept: Any) -> Model:
    """Coefficients (p,) or (p, C) and their intercepts as a `Model`."""
    return Model(np.atleast_2d(coef.T).astype(np.float64), np.atleast_1d(intercept).astype(np.float64))


class Watch:
    """Callback of `run_sgd`: keeps the curves and the best epoch, cuts the step "auto", and says when to stop.

    An epoch counts as progress if it beats the last one that counted by `tol`: relative to it for the squared loss,
    absolute for the others and for validation scores. After `patience` epochs in a row without progress the fit stalls:
    a step "auto" is cut, and the fit ends where the step is not "auto", or where the last cut has gained nothing.
    """

    def __init__(self, objective: Objective, score: Callable | None, tol: float | None, patience: int, step: Rate):
        self.objective, self.score, self.tol, self.patience, self.step = objective, score, tol, patience, step
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.best: tuple[np.ndarray, Any] | None = None
        self.best_epoch = 0
        self.reference = self.at_cut = np.inf
        self.waited = 0

    def __call__(self, epoch: int, coef: np.ndarray, intercept: Any) -> bool:
        self.losses.append(self.objective(coef, intercept))
        value = self.losses[-1]
        if self.score is not None:
            self.scores.append(self.score(coef, intercept))
            value = -self.scores[-1]
            if self.scores[-1] > max(self.scores[:-1], default=-np.inf):
                self.best, self.best_epoch = (coef, intercept), epoch
        if self._beats(value, self.reference):
            self.reference, self.waited = value, 0
            return False
        self.waited += 1
        return self.waited >= self.patience and self._stalled()

    def _beats(self, value: float, reference: float) -> bool:
        is_relative = self.score is None and self.objective.problem.loss == "squared"
        scale = max(abs(reference), EXACT * self.losses[0]) if is_relative else 1.0
        return value < reference - (self.tol or 0.0) * scale if np.isfinite(reference) else value < reference

    def _stalled(self) -> bool:
        is_over = not self.step.is_auto or not self._beats(self.reference, self.at_cut)
        if self.tol is not None and is_over:
            return True
        if self.step.is_auto:
            self.step.multiplier /= CUT
        self.at_cut, self.waited = self.reference, 0
        return False


# -- The estimators' base ---------------------------------------------------------------------------


class KDSGD(BaseEstimator):
    """Base of the estimators: everything but the targets."""

    _loss = "squared"

    if TYPE_CHECKING:  # parameters and methods of the estimators
        teacher: Any
        kd_weight: Any
        variant: Any
        step_size: Any
        max_iter: Any
        tol: Any
        n_iter_no_change: Any
        early_stopping: Any
        validation_fraction: Any
        batch_size: Any
        order: Any
        momentum: Any
        l2: Any
        average: Any
        teacher_every: Any
        fit_intercept: Any
        compressor: Any
        random_state: Any
        warm_start: Any

        def _keep(self, coef: np.ndarray, intercept: Any) -> None: ...

        def _model(self) -> tuple[np.ndarray, Any]: ...

        def _score(self, targets: np.ndarray, z: np.ndarray, weight: np.ndarray | None) -> float: ...

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _fit(self, data: Data, strata: np.ndarray | None) -> None:
        """All epochs on checked data, from zero, or with `warm_start` from where the last fit ended."""
        max_iter = validation.integer(self.max_iter, "max_iter", minimum=1)
        tol = None if self.tol is None else validation.scalar(self.tol, "tol", minimum=0.0)
        patience = validation.integer(self.n_iter_no_change, "n_iter_no_change", minimum=1)
        train, held_out = data, None
        if validation.boolean(self.early_stopping, "early_stopping"):
            train, held_out = self._split(data, strata)
        start = getattr(self, "_iterate", None) if validation.boolean(self.warm_start, "warm_start") else None
        plan = self._plan(train)
        score = None if held_out is None else partial(self._held_out_score, held_out)
        watch = Watch(self._objective(plan.problem, train), score, tol, patience, plan.step)
        rng = self._generator()
        if start is None:  # forget an earlier fit, which this one may be kept from replacing
            for name in ("coef_", "_iterate"):
                self.__dict__.pop(name, None)
        try:
            run = self._run(train, start, plan, max_iter, rng, watch)
        except KeyboardInterrupt as interrupt:
            begun = getattr(interrupt, "run", None)
            if begun is not None and begun.n_epochs:
                self._settle(begun, watch, plan, rng)
            raise
        self._settle(run, watch, plan, rng)
        if tol is not None and run.status == status.FINISHED:
            warnings.warn(
                f"Stopped after max_iter={max_iter} epochs before convergence: {patience} epochs without progress by "
                f"tol={tol:g} end a fit. Raise max_iter or tol, or standardise the features (StandardScaler).",
                status.ConvergenceWarning,
                stacklevel=3,
            )
        elif plan.step.is_auto and run.status != status.DIVERGED and self.compressor is None:
            self._check_scales(watch.objective)

    def _settle(self, run: SGDRun, watch: Watch, plan: Plan, rng: np.random.Generator) -> None:
        """Keep what a run has come to."""
        model, iterate, n_epochs = (run.coef, run.intercept), run.iterate, run.n_epochs
        if watch.best is not None:
            model, iterate, n_epochs = watch.best, watch.best, watch.best_epoch
        self._rng, self._iterate, self._n_averaged = rng, iterate, n_epochs * plan.steps
        self._keep(*model)
        self.n_iter_, self.step_size_, self.loss_curve_ = run.n_epochs, plan.step.initial, watch.losses
        self.validation_scores_ = None if watch.score is None else watch.scores

    def _check_scales(self, objective: Objective) -> None:
        """Tell where the step "auto" has stalled far from the optimum because features are on different scales."""
        problem = objective.problem
        features = Features(problem)
        if features.are_alike:
            return
        found = model_of(*self._model()).stacked(problem.width)
        better = improved(problem, features, found, objective.gradient(found))
        values = [objective.at(state) for state in (found, better, objective.best_constant())]
        gain = values[0] - values[1]
        if gain > FAR * abs(values[0]) and gain > VISIBLE * abs(values[2]):
            warnings.warn(
                f'The step "auto" made no more progress, but far from the optimum: the objective is {values[0]:.4g}, '
                f"and {values[1]:.4g} or less could be reached. The features are on different scales: standardise them "
                f"(StandardScaler).",
                status.ConvergenceWarning,
                stacklevel=4,
            )

    def _partial_fit(self, data: Data) -> None:
        """One epoch more, on the samples of one call, whose weights count as they are."""
        if not hasattr(self, "coef_"):
            start, known, rng, n_iter, n_averaged, losses = None, None, self._generator(), 0, 0, []
        else:
            start, known, rng, n_iter = self._iterate, self.step_size_, self._rng, self.n_iter_
            n_averaged, losses = self._n_averaged, self.loss_curve_
        mean = 1.0 if data.weight is None else float(data.weight.mean())
        plan = self._plan(data, mean, known, n_iter)
        if self.variant == "repeated" and start is not None:
            data = replace(data, teacher=start)
        run = self._run(data, start, plan, 1, rng, None)
        steps, model = run.n_epochs * plan.steps, (run.coef, run.intercept)
        if self.average and n_averaged:
            share = steps / (n_averaged + steps)
            old_coef, old_intercept = self._model()
            model = old_coef + share * (run.coef - old_coef), old_intercept + share * (run.intercept - old_intercept)
        losses = [*losses, self._objective(plan.problem, data)(*model)]
        self._rng, self._iterate, self._n_averaged = rng, run.iterate, n_averaged + steps
        self._keep(*model)
        self.n_iter_, self.step_size_, self.loss_curve_ = n_iter + run.n_epochs, plan.step.initial / mean, losses

    def _plan(self, data: Data, mean: float = 1.0, known: float | None = None, offset: int = 0) -> Plan:
        """Problem, step and batches, for weights of a mean that `Problem` scales to 1, and a step that may be known.

        x − γ (w̄ ∇ℓ + l2 x) is the step γ w̄ with the penalty l2 / w̄.
        """
        l2 = validation.scalar(self.l2, "l2", minimum=0.0) / mean
        n_classes = data.targets.shape[1] if self._loss == "softmax" else None
        problem = Problem(data.X, data.targets, self._loss, l2, self.fit_intercept, data.weight, n_classes)
        if isinstance(self.batch_size, str):
            validation.choice(self.batch_size, "batch_size", ("auto",))
            batch_size = auto_batch(problem.n)
        else:
            batch_size = min(validation.integer(self.batch_size, "batch_size", minimum=1), problem.n)
        if not isinstance(self.step_size, str):
            step = rate(self.step_size, "step_size", offset, strict=True)
        else:
            validation.choice(self.step_size, "step_size", ("auto",))
            step = Rate(known or self._auto_step(problem, batch_size) / mean, is_auto=True)
        step.initial *= mean
        return Plan(problem, step, batch_size, offset)

    def _auto_step(self, problem: Problem, batch_size: int) -> float:
        momentum = validation.scalar(self.momentum, "momentum", minimum=0.0)
        if momentum >= 1.0:
            raise ValueError(f"momentum must be below 1, got {momentum:g}.")
        return (1.0 - momentum) * auto_step(problem, batch_size, replace=self.order == "replace")

    def _objective(self, problem: Problem, data: Data) -> Objective:
        """The objective that the variant minimises: that of the labels where its steps have that mean, or move on."""
        if data.teacher is None or self.variant not in ("kd", "soft_labels") or is_schedule(self.kd_weight):
            return Objective(problem)
        weight = validation.scalar(self.kd_weight, "kd_weight", minimum=0.0)
        if isinstance(data.teacher, np.ndarray):
            return Objective(problem, weight, problem.checked_outputs(data.teacher), self._temperature)
        coef, intercept = data.teacher
        return Objective(problem, weight, model_of(coef, intercept), self._temperature)

    def _run(self, data: Data, start: Any, plan: Plan, n_epochs: int, rng: Any, watch: Watch | None) -> SGDRun:
        problem, shape = plan.problem, (plan.problem.p, *data.targets.shape[1:])
        if start is not None and np.shape(start[0]) != shape:
            raise ValueError(
                f"The model to go on from has coefficients of shape {np.shape(start[0])}, but these data need {shape}; "
                f"set warm_start=False, or fit a new estimator."
            )
        is_taught = data.teacher is not None or self.variant in SELF_TAUGHT
        return run_sgd(
            data.X,
            data.targets,
            self._loss,
            teacher=data.run_teacher,
            kd_weight=rate(self.kd_weight, "kd_weight", plan.offset, strict=False) if is_taught else 0.0,
            variant=self.variant,
            step_size=plan.step,
            n_epochs=n_epochs,
            batch_size=plan.batch_size,
            order=self.order,
            fit_intercept=self.fit_intercept,
            momentum=self.momentum,
            l2=problem.l2,
            average=self.average,
            temperature=self._temperature,
            compressor=self.compressor,
            teacher_every=self.teacher_every,
            sample_weight=data.weight,
            coef_init=start,
            random_state=rng,
            record_every=0,
            callback=watch,
        )

    @property
    def _temperature(self) -> Any:
        return getattr(self, "temperature", 1.0)

    def _generator(self) -> np.random.Generator:
        """The generator of all orders; that of `run_sgd` for the same integer."""
        state = check_random_state(self.random_state)
        is_seed = isinstance(self.random_state, Integral)
        return np.random.default_rng(int(self.random_state) if is_seed else state.randint(2**31 - 1))

    def _split(self, data: Data, strata: np.ndarray | None) -> tuple[Data, Data]:
        """Training and validation samples."""
        share = validation.scalar(self.validation_fraction, "validation_fraction", minimum=0.0, maximum=1.0)
        n = data.X.shape[0]
        size = max(ceil(share * n), 2 if strata is None else int(strata.max()) + 1)
        if size >= n:
            raise ValueError(
                f"Early stopping would hold out {size} samples, but n_samples = {n}; lower validation_fraction, or set "
                f"early_stopping=False."
            )
        named = None if strata is None else self.classes_[strata]  # for the message of a class too small to be split
        rows = train_test_split(np.arange(n), test_size=size, stratify=named, random_state=self.random_state)
        return data.at(rows[0]), data.at(rows[1])

    def _held_out_score(self, held_out: Data, coef: np.ndarray, intercept: Any) -> float:
        with np.errstate(over="ignore", invalid="ignore"):  # of a state on its way to divergence
            z = affine(held_out.X, coef, intercept, np.float64)
        return self._score(held_out.targets, z, held_out.weight) if np.isfinite(z).all() else -np.inf
