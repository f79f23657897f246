"""Stochastic gradient descent with a teacher: the loop over epochs around the kernels.

::

    x ← C( x − γ (∇f_B(x) − κ ∇f_B(θ) + κ g) ),     f(x) = (1/N) Σ_n ℓ(⟨a_n, x⟩, b_n) + (l2 / 2) ‖x‖²

=================  =======  ======================  ==============================================
variant            κ        g                       θ
=================  =======  ======================  ==============================================
plain SGD          0        0
``kd``             weight   0                       the teacher
``kd_unbiased``    weight   ∇f(θ)                   the teacher
``svrg``           1        ∇f(θ)                   the student, every `teacher_every` epochs
``repeated``       weight   0                       the student, every `teacher_every` epochs
``soft_labels``    weight   0                       the teacher, its outputs at a temperature
=================  =======  ======================  ==============================================

===========================  =========================================================
S (Safaryan et al. 2023)     here
===========================  =========================================================
λ, γ, τ                      ``kd_weight``, ``step_size``, ``batch_size``
θ, x*                        ``teacher``, ``reference``
C, ω                         ``compressor``, ``compressor.omega(p)``
===========================  =========================================================

Cost: O(N p C) an epoch for all variants, the same with a teacher as without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastdistill import _status as status
from fastdistill import _validation as validation
from fastdistill import kernels
from fastdistill.linear_losses import LARGEST_HESSIAN, optimal_kd_weight
from fastdistill.sgd.compressors import Compressor
from fastdistill.sgd.optimum import minimiser
from fastdistill.sgd.problem import Model, Problem, Teacher, TeacherOutputs, linear_model
from fastdistill.sgd.schedules import read_schedule
from fastdistill.sgd.steps import Stepper, Visits, is_bounded
from fastdistill.sgd.trace import Recorder

VARIANTS = ("kd", "kd_unbiased", "svrg", "soft_labels", "repeated")
REFRESHED = ("svrg", "repeated")
ORDERS = ("shuffle", "replace", "sequential")


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
        ``epoch``, ``loss``, ``grad_norm``, ``distance`` (NaN without a reference), ``kd_cosine`` (NaN without a
        teacher), from the starting point on; empty with ``record_every=0``.
    n_epochs : int
        Epochs begun and completed.
    status : str or ndarray of str
        "finished", "stopped" (by the callback), "interrupted" (Ctrl-C) or "diverged".
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


def run_sgd(
    X: Any,
    y: Any,
    loss: str = "squared",
    *,
    teacher: Any = None,
    kd_weight: Any = 0.0,
    variant: str = "kd",
    step_size: Any,
    n_epochs: int = 10,
    batch_size: int = 1,
    order: str = "shuffle",
    fit_intercept: bool = False,
    momentum: float = 0.0,
    l2: float = 0.0,
    average: bool = False,
    temperature: float = 1.0,
    compressor: Compressor | None = None,
    teacher_every: int | None = None,
    sample_weight: Any = None,
    coef_init: Any = None,
    random_state: Any = None,
    record_every: int = 1,
    reference: Any = None,
    callback: Callable[[int, np.ndarray, Any], Any] | None = None,
    n_jobs: int | None = None,
) -> SGDRun:
    """Distillation SGD, x ← C(x − γ (∇f_B(x) − κ ∇f_B(θ) + κ g)), at the price of plain SGD.

    Parameters
    ----------
    X : array-like or scipy.sparse (n, p)
        float32 (all arithmetic of the steps is then float32) or float64; anything else becomes float64. C-ordered
        arrays and memory maps are read in place, CSR too (64-bit indices that fit 32 are copied); column indices
        must be ascending in every row.
    y : array-like (n,) or (n, C)
        Numbers for ``squared``, several outputs allowed; labels 0/1 or −1/1 for ``logistic``; class numbers 0…C−1 or
        probabilities (n, C) for ``softmax``.
    loss : {"squared", "logistic", "softmax"}
        ½ (z − b)², log(1 + eᶻ) − b z, or the cross-entropy, of scores z = ⟨a_n, x⟩.
    teacher : array-like (p,) or (p, C), (coef, intercept), fitted linear estimator, SGDRun or TeacherOutputs, optional
        θ. With an intercept an array may have it as an additional last row.
    kd_weight : float, array-like (Q,), schedule or "optimal"
        κ, at least 0. "optimal" is `optimal_kd_weight` at the `reference`, or at the minimiser, found
        first. ``svrg`` reads 0 as 1.
    variant : {"kd", "kd_unbiased", "svrg", "soft_labels", "repeated"}
        See the table above. ``soft_labels`` is (1 − κ) ℓ(z, b) + κ T² KL(teacher ‖ student), both at the temperature T.
    step_size : float, array-like (Q,) or schedule
        γ, above 0. `InverseTime` and `Geometric` are schedules, for weights too.
    n_epochs : int
        Passes over the data, n visits each.
    batch_size : int
        Rows averaged in a step; the last batch of an epoch may be shorter.
    order : {"shuffle", "replace", "sequential"}
        A new permutation every epoch, n independent draws, or the rows as they are.
    fit_intercept : bool
        An unpenalised intercept, stepped like a coefficient of a constant feature.
    momentum : float
        m in [0, 1): v ← m v + gradient, x ← x − γ v. On CSR data a step then costs O(p).
    l2 : float
        Penalty (l2 / 2) ‖x‖², part of every f_n and so of the teacher's gradients; a teacher known only by its outputs
        leaves it to the student.
    average : bool
        Return, and trace, the mean of all iterates.
    temperature : float
        T of ``soft_labels``, above 0; the classification losses only.
    compressor : Compressor, optional
        `RandK`, `TopK`, `Bernoulli`, `Mask` or `RandomRounding`, applied to the iterate after each step. On CSR data a
        step then costs O(p).
    teacher_every : int, optional
        Epochs between updates of θ for ``svrg`` and ``repeated``; 1 by default.
    sample_weight : array-like (n,), optional
        Weights of the samples' losses; scaled to the mean 1.
    coef_init : optional
        Starting point, in any form a teacher may have, or a run of as many configurations; zeros by default.
    random_state : int, Generator, RandomState, array-like (Q,) of ints, optional
        Seeds of orders and compressors.
    record_every : int
        Epochs between records of the trace; 0 records nothing.
    reference : optional
        x*, in any form a teacher may have, for the distance of the trace and the optimal weight.
    callback : callable, optional
        ``callback(epoch, coef, intercept)`` after each epoch; a true result stops the run.
    n_jobs : int, optional
        Threads over configurations; all available ones by default. Results do not depend on it.

    Returns
    -------
    SGDRun
        1-D `kd_weight`, `step_size` or `random_state` of length Q run Q configurations in one pass over the data, and
        give each result a leading axis. (Different seeds mean different orders, hence a pass each.)

    Warns
    -----
    ConvergenceWarning
        A run diverged or was interrupted; its last finite state, that before the epoch, is returned.

    Raises
    ------
    ValueError
        NaN or inf, labels that are not integers, a class without samples, wrong shapes, negative weights or steps, a
        compressor that keeps more than p, CSR indices out of range or not ascending.
    TypeError
        Arguments of the wrong kind.

    Notes
    -----
    Weights of the squared loss with one start and a fixed teacher cost two runs, however many they are: iterates are
    affine in κ, and those between the smallest and the largest weight follow. (Not with `TopK` or `RandomRounding`.)

    The distillation of Safaryan, Peste and Alistarh 2023 (arXiv:2305.17581): a teacher near the optimum removes
    gradient noise, and adds the bias κ (θ − x*) to the mean iterate. `fastdistill.theory` has the constants, bounds and
    exact stationary moments. A plain step size up to 1 / max_n L_n is stable, L_n = ‖a_n‖² + l2 for the squared loss.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((1000, 5))
    >>> y = X @ [1.0, 2.0, 0.0, 0.0, -1.0] + rng.standard_normal(1000)
    >>> best = np.linalg.lstsq(X, y, rcond=None)[0]
    >>> run = fd.run_sgd(X, y, teacher=best + 0.01, kd_weight=[0.0, 0.9], step_size=0.01, n_epochs=20, reference=best,
    ...                  random_state=0)
    >>> run.trace["distance"][:, -1].round(2)  # without and with the teacher
    array([0.14, 0.02])
    """
    variant = validation.choice(variant, "variant", VARIANTS)
    order = validation.choice(order, "order", ORDERS)
    shared: Any = (loss, l2, fit_intercept, sample_weight)
    problem = _problem(X, y, shared, (teacher, coef_init, reference))
    best = None if reference is None else _model(problem, "reference", reference)
    source = _teacher_source(problem, teacher)
    batch_size = _batch_size(batch_size, problem.n)
    temperature = _temperature(temperature, variant, problem.loss)
    every = _teacher_every(teacher_every, variant)
    steps, step_factor = read_schedule(step_size, "step_size", positive=True)
    if isinstance(kd_weight, str):
        if sample_weight is not None:
            raise ValueError('kd_weight="optimal" is of equal sample weights; give the weight as a number.')
        kd_weight = _optimal_weight(problem, y, source, best, kd_weight, steps, batch_size, variant)
    weights, weight_factor = read_schedule(kd_weight, "kd_weight", positive=False)
    if variant == "svrg" and not weights.any():
        weights = np.ones_like(weights)
    if source is None and variant not in REFRESHED and weights.any():
        raise ValueError(f"kd_weight={kd_weight!r} needs a teacher; pass teacher=, or kd_weight=0 for plain SGD.")
    seeds = _seeds(random_state)
    count = _configurations(steps, weights, random_state)
    stepper = Stepper(
        problem,
        _settings(problem, count or 1, steps, weights, temperature, momentum, compressor),
        average=validation.boolean(average, "average"),
        compressor=compressor,
        n_threads=validation.thread_count(n_jobs, "n_jobs"),
    )
    loop = _Loop(stepper, variant, source, weight_factor, step_factor, every, temperature, order, batch_size, seeds)
    loop.start(0.0 if coef_init is None else _starting_point(problem, coef_init, count))
    record_every = validation.integer(record_every, "record_every", minimum=0)
    recorder = Recorder(problem, best.stacked(problem.width) if best else None) if record_every else None
    loop.run(validation.integer(n_epochs, "n_epochs", minimum=0), recorder, record_every, callback, count is None)
    return loop.result(recorder, count is None)


class _Loop:
    """Epochs of Q configurations: teachers, orders, divergence, records."""

    def __init__(
        self,
        stepper: Stepper,
        variant: str,
        source: Model | np.ndarray | None,
        weight_factor: Callable,
        step_factor: Callable,
        teacher_every: int,
        temperature: float,
        order: str,
        batch_size: int,
        seeds: list[np.random.SeedSequence | np.random.Generator],
    ) -> None:
        self.stepper, self.problem = stepper, stepper.problem
        self.variant, self.source, self.temperature = variant, source, temperature
        self.weight_factor, self.step_factor = weight_factor, step_factor
        self.teacher_every, self.order, self.batch_size = teacher_every, order, batch_size
        self.rngs = [np.random.default_rng(seed) for seed in seeds]
        self.n_configurations = len(stepper.settings)
        self.status = np.full(self.n_configurations, status.FINISHED, dtype="<U11")
        self.iterates = np.zeros(self.n_configurations)  # behind the running mean
        self.n_epochs = 0
        self.teachers: list[np.ndarray] = []

    @property
    def alive(self) -> np.ndarray:
        return self.status != status.DIVERGED

    def start(self, init: np.ndarray | float) -> None:
        """The first iterate, (C, p or p + 1) or one for each configuration, and the first teacher."""
        self.stepper.start(init)
        if self.source is not None:
            self._teach([self.problem.teach(self.source, self.variant, self.temperature)])
        else:
            self.stepper.teach([self.problem.samples(self.problem.no_teacher())])

    def _teach(self, teachers: list[Teacher]) -> None:
        self.stepper.teach([self.problem.samples(teacher) for teacher in teachers])
        self.stepper.state[:, kernels.PUSH] = np.stack([teacher.push for teacher in teachers])
        self.teachers = [teacher.outputs for teacher in teachers]

    def _refresh(self, epoch: int) -> None:
        """θ ← x where the variant asks for it: SVRG from the start, repeated distillation once there is a student."""
        is_first = epoch == 0 and (self.source is not None or self.variant == "repeated")
        if self.variant not in REFRESHED or epoch % self.teacher_every or is_first:
            return
        p = self.problem.p
        teachers = []
        for coef in self.stepper.state[:, kernels.COEF].astype(np.float64):
            intercept = coef[:, p] if coef.shape[1] > p else np.zeros(len(coef))
            teachers.append(self.problem.teach(Model(coef[:, :p], intercept), self.variant, self.temperature))
        self._teach(teachers)

    def run(self, n_epochs: int, recorder: Recorder | None, every: int, callback: Any, is_single: bool) -> None:
        """All epochs, until the callback, Ctrl-C or divergence ends them."""
        for epoch in range(n_epochs):
            before = self._saved()
            try:
                self._refresh(epoch)
                if epoch == 0 and recorder:
                    recorder.add(0, self.coefficients(), self.teachers)
                self._epoch(epoch)
                self._check_finite(epoch, before)
                if not self.alive.any():
                    break
                self.n_epochs = epoch + 1
                if recorder and (epoch + 1) % every == 0:
                    recorder.add(epoch + 1, self.coefficients(), self.teachers)
                if callback is not None and callback(epoch + 1, *self._public(is_single)):
                    self.status[self.alive] = status.STOPPED
                    break
            except KeyboardInterrupt:
                if self.n_epochs == epoch:  # not completed
                    self._restore(before, slice(None))
                self.status[self.alive] = status.INTERRUPTED
                status.warn_interrupted(self.n_epochs)
                break
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
        factor = _factors(self.weight_factor(epoch), (), "kd_weight", epoch) if self.teachers else 0.0
        self.stepper.settings[:, kernels.WEIGHT] = self.stepper.weights * factor
        visits = self._visits()
        n_steps = len(visits[0].order)
        progress = self.step_factor(epoch + np.arange(n_steps) / n_steps)
        scale = _factors(progress, (n_steps,), "step_size", epoch)
        self.stepper.epoch(visits, scale)
        self.iterates[self.alive] += n_steps

    def _visits(self) -> list[Visits]:
        """The rows of the next epoch, for every seed: (steps, batch), −1 where the last batch is shorter."""
        n, visits = self.problem.n, []
        for i, rng in enumerate(self.rngs):
            if self.order == "shuffle":
                rows = rng.permutation(n)
            else:
                rows = rng.integers(0, n, n) if self.order == "replace" else np.arange(n)
            if n % self.batch_size:
                rows = np.concatenate([rows, np.full(-n % self.batch_size, -1)])
            rows = rows.astype(np.intp, copy=False)
            which = np.arange(self.n_configurations) if len(self.rngs) == 1 else np.array([i])
            visits.append(Visits(which[self.alive[which]], rows.reshape(-1, self.batch_size), self._draw_seed(rng)))
        return visits

    def _draw_seed(self, rng: np.random.Generator) -> int:
        return int(rng.integers(2**63)) if self.stepper.compressor is not None else 0

    def _check_finite(self, epoch: int, before: list[np.ndarray]) -> None:
        """Configurations whose loss left the finite numbers go back to where they were, and stop."""
        lost = self.alive & ~is_bounded(self.stepper.state)
        if not lost.any():
            return
        self._restore(before, lost)
        self.status[lost] = status.DIVERGED
        which = "" if self.n_configurations == 1 else f" (configurations {np.flatnonzero(lost).tolist()})"
        step = self.stepper.settings[lost, kernels.STEP].min() * float(self.step_factor(epoch))
        safe = self.problem.largest_safe_step() * (1.0 - self.stepper.settings[0, kernels.MOMENTUM])
        status.warn_diverged(step, epoch, safe, which)

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

    def _public(self, is_single: bool, coef: np.ndarray | None = None) -> tuple[np.ndarray, Any]:
        """Coefficients (Q, p[, C]) and intercepts (Q[, C]); no Q axis for a single configuration."""
        coef, p = self.coefficients() if coef is None else coef, self.problem.p
        intercept = coef[:, :, p] if coef.shape[2] > p else np.zeros(coef.shape[:2], coef.dtype)
        coef = np.ascontiguousarray(coef[:, :, :p].transpose(0, 2, 1))
        if self.problem.is_single:
            coef, intercept = coef[:, :, 0], intercept[:, 0]
        return (coef[0], intercept[0]) if is_single else (coef, intercept)

    def result(self, recorder: Recorder | None, is_single: bool) -> SGDRun:
        """The run as its user sees it."""
        trace = {} if recorder is None else recorder.result()
        coef, intercept = self._public(is_single)
        iterate = self._public(is_single, self.stepper.state[:, kernels.COEF].copy())
        steps = self.stepper.settings[:, kernels.STEP]
        weights = self.stepper.weights
        if is_single:
            trace = {name: values[0] for name, values in trace.items()}
            outcome, weight, step = str(self.status[0]), float(weights[0]), float(steps[0])
            return SGDRun(coef, intercept, trace, self.n_epochs, outcome, weight, step, iterate)
        return SGDRun(coef, intercept, trace, self.n_epochs, self.status, weights.copy(), steps.copy(), iterate)


def _factors(values: Any, shape: tuple[int, ...], name: str, epoch: int) -> np.ndarray:
    """Checked factors of a schedule, which may be one of the user's own."""
    factors = np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), shape))
    if not (factors.min() >= 0.0 and factors.max() < np.inf):
        raise ValueError(
            f"The schedule of {name} gave the factor {factors.min():.6g} in epoch {epoch + 1}; factors must be finite "
            f"and at least 0."
        )
    return factors


def _problem(X: Any, y: Any, shared: tuple, models: tuple) -> Problem:
    loss, l2, fit_intercept, weight = shared
    n_classes = None
    for model in models if loss == "softmax" else ():
        coef = getattr(model, "coef_", getattr(model, "coef", model[0] if isinstance(model, tuple) else model))
        if coef is not None and not isinstance(coef, TeacherOutputs) and np.ndim(coef) == 2:
            n_classes = np.shape(coef)[0 if hasattr(model, "coef_") else 1]
            break
    return Problem(X, y, loss, l2, fit_intercept, weight, n_classes)


def _model(problem: Problem, name: str, value: Any) -> Model:
    shape = (problem.p,) if problem.is_single else (problem.p, problem.n_outputs)
    model = linear_model(value, name, shape, problem.fit_intercept)
    if name != "teacher" and model.intercept.any() and not problem.fit_intercept:
        raise ValueError(f"{name} has an intercept, but the run has none; pass fit_intercept=True.")
    return model


def _starting_point(problem: Problem, value: Any, count: int | None) -> np.ndarray:
    """Coefficients (C, p or p + 1), or (Q, C, p or p + 1) from a run of as many configurations."""
    if not isinstance(value, SGDRun) or value.coef.ndim == (1 if problem.is_single else 2):
        return _model(problem, "coef_init", value).stacked(problem.width)
    if len(value.coef) != count:
        raise ValueError(f"coef_init is a run of {len(value.coef)} configurations, but this one has {count or 1}.")
    pairs = zip(value.coef, value.intercept, strict=True)
    return np.stack([_model(problem, "coef_init", pair).stacked(problem.width) for pair in pairs])


def _teacher_source(problem: Problem, teacher: Any) -> Model | np.ndarray | None:
    if teacher is None:
        return None
    if isinstance(teacher, TeacherOutputs):
        return problem.checked_outputs(teacher.values)
    return _model(problem, "teacher", teacher)


def _batch_size(value: Any, n: int) -> int:
    size = validation.integer(value, "batch_size", minimum=1)
    if size > n:
        raise ValueError(f"batch_size={size} is more than the {n} samples of an epoch.")
    return size


def _temperature(value: Any, variant: str, loss: str) -> float:
    temperature = validation.scalar(value, "temperature", minimum=0.0, strict=True)
    if temperature != 1.0 and (variant != "soft_labels" or loss == "squared"):
        raise ValueError(
            'temperature is of variant="soft_labels" with the logistic or the softmax loss; leave it at 1.'
        )
    return temperature


def _teacher_every(value: Any, variant: str) -> int:
    if value is None:
        return 1
    if variant not in REFRESHED:
        raise ValueError(f'teacher_every is of the variants "svrg" and "repeated"; {variant!r} keeps its teacher.')
    return validation.integer(value, "teacher_every", minimum=1)


def _optimal_weight(
    problem: Problem,
    y: Any,
    source: Any,
    reference: Model | None,
    name: str,
    steps: np.ndarray,
    batch_size: int,
    variant: str,
) -> Any:
    """`optimal_kd_weight` for every step size, at the reference or, without one, at the optimum itself."""
    validation.choice(name, "kd_weight", ("optimal",))
    if not isinstance(source, Model):
        raise ValueError('kd_weight="optimal" needs the coefficients of a teacher.')
    if variant in REFRESHED:
        raise ValueError(f'kd_weight="optimal" is of a fixed teacher; {variant!r} moves it.')
    if source.intercept.any() and not problem.fit_intercept:
        raise ValueError('kd_weight="optimal" is of models alike: the teacher has an intercept, the run has none.')
    width = problem.width
    # the Hessian of a large problem is not formed; the penalty bounds its eigenvalues from below
    curvature = problem.l2 if width * problem.n_outputs > LARGEST_HESSIAN and problem.l2 else None
    points = [model.stacked(width).T for model in (source, reference or minimiser(problem))]
    teacher, best = (point[:, 0] if problem.is_single else point for point in points)
    values = [
        optimal_kd_weight(
            problem.X,
            y,
            teacher,
            best,
            loss=problem.loss,
            step_size=float(step),
            l2=problem.l2,
            batch_size=batch_size,
            fit_intercept=problem.fit_intercept,
            variant="kd_unbiased" if variant == "kd_unbiased" else "kd",
            curvature=curvature,
        )
        for step in np.atleast_1d(steps)
    ]
    return max(0.0, values[0]) if steps.ndim == 0 else np.maximum(values, 0.0)


def _settings(
    problem: Problem,
    count: int,
    steps: np.ndarray,
    weights: np.ndarray,
    temperature: float,
    momentum: Any,
    compressor: Any,
) -> np.ndarray:
    """What the kernels read of each configuration (Q, 6); a schedule of the weight multiplies it epoch by epoch."""
    settings = np.zeros((count, kernels.PARAMETER + 1))
    settings[:, kernels.STEP], settings[:, kernels.WEIGHT], settings[:, kernels.PENALTY] = steps, weights, problem.l2
    settings[:, kernels.TEMPERATURE] = temperature
    settings[:, kernels.MOMENTUM] = validation.scalar(momentum, "momentum", minimum=0.0)
    if settings[0, kernels.MOMENTUM] >= 1.0:
        raise ValueError(f"momentum must be below 1, got {momentum:g}.")
    if compressor is not None:
        if not isinstance(compressor, Compressor):
            raise TypeError(f"compressor must be RandK, TopK, Bernoulli, Mask or RandomRounding, got {compressor!r}.")
        compressor.check(problem.p)
        settings[:, kernels.PARAMETER] = compressor.parameter
    return settings


def _seeds(random_state: Any) -> list[Any]:
    """One generator's seed, or one for each configuration."""
    if random_state is None or isinstance(random_state, np.random.Generator | np.random.SeedSequence):
        return [random_state]
    if isinstance(random_state, np.random.RandomState):
        return [int(random_state.randint(2**31))]
    array = np.asarray(random_state)
    if array.dtype.kind not in "iu" or array.ndim > 1 or array.size == 0:
        raise TypeError(
            f"random_state must be an int, a Generator, a RandomState, or a list of ints, got {random_state!r}."
        )
    if array.min() < 0:
        raise ValueError(f"random_state must be at least 0, got {array.min()}.")
    return [int(seed) for seed in array.ravel()] if array.ndim else [int(array)]


def _configurations(steps: np.ndarray, weights: np.ndarray, random_state: Any) -> int | None:
    """Q, or None for a single configuration without an axis."""
    lengths = {
        name: len(values)
        for name, values in (("step_size", steps), ("kd_weight", weights), ("random_state", random_state))
        if np.ndim(values)
    }
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Configurations need arrays of one length, got {lengths}.")
    return next(iter(lengths.values()), None)
