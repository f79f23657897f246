"""The loop over epochs: teachers, orders, schedules, divergence, interruption and records of Q configurations.

In an epoch every alive configuration visits the rows of its order; `steps` calls the kernels for it. A configuration
whose iterate leaves the finite numbers goes back to where the epoch began, and stops. Cost beside the steps: one
permutation of the samples for every seed, and a copy of the states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastdistill import kernels
from fastdistill.base import status
from fastdistill.sgd.outcome import Pace, Rows, risen
from fastdistill.sgd.plan import Plan
from fastdistill.sgd.problem import UNBIASED, Model, Problem, Teacher
from fastdistill.sgd.schedules import constant
from fastdistill.sgd.steps import Stepper, Visits, is_bounded
from fastdistill.sgd.trace import Recorder

REFRESHED = ("svrg", "repeated")  # variants whose teacher is the student itself, every so many epochs


@dataclass(eq=False)
class SGDRun:
    """What `run_sgd` returns. Q configurations give every array a leading axis.

    Attributes
    ----------
    coef : ndarray (p,) or (p, C)
        The last iterate, or the mean of all with ``average=True``.
    intercept : float or ndarray (C,)
        0 without an intercept.
    trace : dict of ndarray (n_records,)
        ``epoch``, ``loss`` f(x), ``grad_norm`` ‖∇f(x)‖, ``distance`` ‖x − x*‖, not squared as in the bounds of
        `fastdistill.theory` (NaN without a reference), and ``kd_cosine`` (NaN without a teacher), which is
        Σ ⟨∇ℓ_n(x), ∇ℓ_n(θ)⟩ / √(Σ ‖∇ℓ_n(x)‖² Σ ‖∇ℓ_n(θ)‖²), from the starting point on; empty with ``record_every=0``.
    n_epochs : int
        Epochs begun and completed.
    status : str or ndarray of str
        "finished", "stopped" (by the callback), "interrupted" (the ``run`` of a KeyboardInterrupt) or "diverged": it
        left the finite numbers, or its objective ended above that of the start.
    kd_weight, step_size : float or ndarray (Q,)
        Those at the start, also where ``kd_weight="optimal"`` found them.
    iterate : (coef, intercept)
        The last iterate: the start from which a run goes on, also with ``average=True``.
    """

    coef: np.ndarray
    intercept: Any
    trace: dict[str, np.ndarray] = field(repr=False)
    n_epochs: int
    status: Any
    kd_weight: Any
    step_size: Any
    iterate: Any = field(default=None, repr=False)


class Loop:
    """Epochs of Q configurations: teachers, orders, divergence, records."""

    def __init__(self, problem: Problem, plan: Plan, source: Model | np.ndarray | None) -> None:
        self.problem, self.plan, self.source = problem, plan, source
        self.stepper = Stepper(problem, plan)
        self.rngs = [np.random.default_rng(seed) for seed in plan.seeds]
        self.n_configurations = len(plan.settings)
        self.status = np.full(self.n_configurations, status.FINISHED, dtype="<U11")
        self.diverged = np.zeros(self.n_configurations, dtype=bool)
        self.iterates = np.zeros(self.n_configurations)  # behind the running mean
        self.scale = np.empty(0)  # factors of the step size, one a step
        self.n_epochs = 0
        self.teachers: list[np.ndarray] = []
        self.interrupt: KeyboardInterrupt | None = None
        self.fixed: Teacher | None = None

    @property
    def alive(self) -> np.ndarray:
        return ~self.diverged

    def start(self, init: np.ndarray | float) -> None:
        """The first iterate, (C, p or p + 1) or one for each configuration, and the first teacher."""
        self.stepper.start(init)
        self.first = self.stepper.state[:, kernels.COEF].copy()
        if self.source is not None:
            teacher = self.problem.teach(self.source, self.plan.variant, self.plan.temperature)
            self._teach([teacher])
            self.fixed = teacher
        else:
            self.stepper.teach([self.problem.samples(self.problem.no_teacher())])

    def _teach(self, teachers: list[Teacher]) -> None:
        self.stepper.teach([self.problem.samples(teacher) for teacher in teachers])
        self.stepper.state[:, kernels.PUSH] = np.stack([teacher.push for teacher in teachers])
        self.teachers = [teacher.outputs for teacher in teachers]

    def _refresh(self, epoch: int) -> None:
        """θ ← x where the variant asks for it: SVRG from the start, repeated distillation once there is a student."""
        is_first = epoch == 0 and (self.source is not None or self.plan.variant == "repeated")
        if self.plan.variant not in REFRESHED or epoch % self.plan.teacher_every or is_first:
            return
        p = self.problem.p
        teachers = []
        for coef in self.stepper.state[:, kernels.COEF].astype(np.float64):
            intercept = coef[:, p] if coef.shape[1] > p else np.zeros(len(coef))
            teachers.append(self.problem.teach(Model(coef[:, :p], intercept), self.plan.variant, self.plan.temperature))
        self._teach(teachers)

    def run(self, recorder: Recorder | None) -> None:
        """All epochs, until the callback, Ctrl-C or divergence ends them; `interrupt` then holds the Ctrl-C."""
        callback = self.plan.callback
        begun: tuple[int, list[np.ndarray]] = (-1, [])
        try:
            for epoch in range(self.plan.n_epochs):
                begun = (epoch, self._saved())  # in one assignment, so that an interrupt finds both or neither
                self._refresh(epoch)
                if epoch == 0 and recorder:
                    recorder.add(0, self.coefficients(), self.teachers)
                self._epoch(epoch)
                self._check_finite(*begun)
                if not self.alive.any():
                    break
                self.n_epochs = epoch + 1
                if recorder and (epoch + 1) % self.plan.record_every == 0:
                    recorder.add(epoch + 1, self.coefficients(), self.teachers)
                if callback is not None and callback(epoch + 1, *self._public()):
                    self.status[self.alive] = status.STOPPED
                    break
        except KeyboardInterrupt as interrupt:
            if self.n_epochs == begun[0]:  # not completed
                self._restore(begun[1], slice(None))
            self.status[self.alive] = status.INTERRUPTED
            self.interrupt = interrupt
        if recorder and recorder.is_empty:
            recorder.add(0, self.coefficients(), self.teachers)

    def _saved(self) -> list[np.ndarray]:
        """Copies of all that an epoch changes."""
        return [array.copy() for array in self._changing()]

    def _restore(self, saved: list[np.ndarray], which: Any) -> None:
        for array, before in zip(self._changing(), saved, strict=True):
            array[which] = before[which]

    def _changing(self) -> list[np.ndarray]:
        total = self.stepper.total
        return [self.stepper.state, self.iterates, *([] if total is None else [total])]

    def _epoch(self, epoch: int) -> None:
        factor = _factors(self.plan.weight_factor(epoch), (), "kd_weight", epoch) if self.teachers else 0.0
        np.multiply(self.stepper.weights, factor, out=self.stepper.settings[:, kernels.WEIGHT])
        visits = self._visits()
        n_steps = len(visits[0].order)
        if self.plan.step_factor is not constant:
            progress = self.plan.step_factor(epoch + np.arange(n_steps) / n_steps)
            self.scale = _factors(progress, (n_steps,), "step_size", epoch)
        elif len(self.scale) != n_steps:
            self.scale = np.ones(n_steps)  # once: fresh memory of an epoch's size costs more than its steps
        self.stepper.epoch(visits, self.scale)
        self.iterates[self.alive] += n_steps

    def _visits(self) -> list[Visits]:
        """The rows of the next epoch, for every seed: (steps, batch), −1 where the last batch is shorter."""
        n, visits = self.problem.n, []
        for i, rng in enumerate(self.rngs):
            if self.plan.order == "shuffle":
                rows = rng.permutation(n)
            else:
                rows = rng.integers(0, n, n) if self.plan.order == "replace" else np.arange(n)
            if n % self.plan.batch_size:
                rows = np.concatenate([rows, np.full(-n % self.plan.batch_size, -1)])
            rows = rows.astype(np.intp, copy=False)
            which = np.arange(self.n_configurations) if len(self.rngs) == 1 else np.array([i])
            visits.append(
                Visits(which[self.alive[which]], rows.reshape(-1, self.plan.batch_size), self._draw_seed(rng))
            )
        return visits

    def _draw_seed(self, rng: np.random.Generator) -> int:
        return int(rng.integers(2**63)) if self.stepper.compressor is not None else 0

    def _check_finite(self, epoch: int, before: list[np.ndarray]) -> None:
        """Configurations whose loss left the finite numbers go back to where they were, and stop."""
        bounded = is_bounded(self.stepper.state)
        if bounded.all():
            return
        diverged = self.alive & ~bounded
        if not diverged.any():
            return
        self._restore(before, diverged)
        self.diverged |= diverged
        self.status[diverged] = status.DIVERGED
        self._tell(status.warn_diverged, diverged, epoch)

    def check_progress(self) -> None:
        """Configurations whose objective ended above that of the start have diverged, too."""
        last = self.n_epochs - 1
        if last < 0 or self.interrupt is not None or self.diverged.all():
            return
        settings, problem, compressor = self.stepper.settings, self.problem, self.stepper.compressor
        factors = [float(self.plan.weight_factor(epoch)) if self.fixed else 0.0 for epoch in (0, last)]
        scale = max(float(self.plan.step_factor(epoch)) for epoch in (0.0, float(last)))
        steps = settings[:, kernels.STEP] * scale / ((1.0 - settings[:, kernels.MOMENTUM]) * self.plan.batch_size)
        omega = None if compressor is None else compressor.omega(problem.p)
        noisy = self.stepper.weights * max(factors)
        visits = self.n_epochs * problem.n
        paces = [Pace(float(step), visits, float(kappa), omega) for step, kappa in zip(steps, noisy, strict=True)]
        if self.plan.variant in UNBIASED:
            factors = [0.0, 0.0]
        elif self.plan.variant in REFRESHED:
            factors[1] = 0.0
        weights = self.stepper.weights[:, None] * factors
        first, last_ones = self.first.astype(np.float64), self.coefficients().astype(np.float64)
        rows = Rows(problem, self.fixed, self.n_configurations)
        rose = self.alive & risen(rows, self.plan.temperature, weights, paces, first, last_ones)
        if rose.any():
            self.diverged |= rose
            self.status[rose] = status.DIVERGED
            self._tell(status.warn_risen, rose, last)

    def _tell(self, warn: Callable, which: np.ndarray, epoch: int) -> None:
        """Warn of configurations, a mask (Q,), with the step of an epoch and the largest that is safe."""
        named = "" if self.n_configurations == 1 else f" (configurations {np.flatnonzero(which).tolist()})"
        step = self.stepper.settings[which, kernels.STEP].min() * float(self.plan.step_factor(epoch))
        safe = self.problem.largest_safe_step() * (1.0 - self.stepper.settings[0, kernels.MOMENTUM])
        warn(step, epoch, safe, named)

    def coefficients(self) -> np.ndarray:
        """(Q, C, p or p + 1): the iterates, or their means."""
        state = self.stepper.state
        if not self.stepper.average:
            return state[:, kernels.COEF].copy()
        seen = self.iterates > 0
        mean = state[:, kernels.COEF].copy()
        if self.stepper.total is not None:
            mean[seen] = self.stepper.total[seen] / self.iterates[seen, None, None]
        return mean

    def _public(self, coef: np.ndarray | None = None) -> tuple[np.ndarray, Any]:
        """Coefficients (Q, p[, C]) and intercepts (Q[, C]); no Q axis for a single configuration."""
        coef, p = self.coefficients() if coef is None else coef, self.problem.p
        intercept = coef[:, :, p] if coef.shape[2] > p else np.zeros(coef.shape[:2], coef.dtype)
        coef = np.ascontiguousarray(coef[:, :, :p].transpose(0, 2, 1))
        if self.problem.is_single:
            coef, intercept = coef[:, :, 0], intercept[:, 0]
        return (coef[0], intercept[0]) if self.plan.is_single else (coef, intercept)

    def result(self, recorder: Recorder | None) -> SGDRun:
        """The run as its user sees it."""
        trace = {} if recorder is None else recorder.result()
        coef, intercept = self._public()
        last = self._public(self.stepper.state[:, kernels.COEF]) if self.stepper.average else (coef, intercept)
        iterate = last[0].copy(), last[1].copy()
        steps = self.stepper.settings[:, kernels.STEP]
        weights = self.stepper.weights
        if self.plan.is_single:
            trace = {name: values[0] for name, values in trace.items()}
            outcome, weight, step = str(self.status[0]), float(weights[0]), float(steps[0])
            return SGDRun(coef, intercept, trace, self.n_epochs, outcome, weight, step, iterate)
        return SGDRun(coef, intercept, trace, self.n_epochs, self.status, weights.copy(), steps.copy(), iterate)


def _factors(values: Any, shape: tuple[int, ...], name: str, epoch: int) -> np.ndarray:
    """Checked factors of a schedule, which may be one of the user's own."""
    factors = np.empty(shape)
    factors[...] = values
    if not (factors.min() >= 0.0 and factors.max() < np.inf):
        raise ValueError(
            f"The schedule of {name} gave the factor {factors.min():.6g} in epoch {epoch + 1}; factors must be finite "
            f"and at least 0."
        )
    return factors
