"""Stochastic gradient descent with a teacher: `run_sgd`, its variants and what it makes of its arguments.

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
from typing import Any

import numpy as np

from fastdistill import kernels
from fastdistill.base import validation
from fastdistill.base.linear_losses import LARGEST_HESSIAN, optimal_kd_weight
from fastdistill.sgd.compressors import Compressor
from fastdistill.sgd.loop import REFRESHED, Loop, SGDRun
from fastdistill.sgd.optimum import minimiser
from fastdistill.sgd.plan import Plan
from fastdistill.sgd.problem import Model, Problem, TeacherOutputs, linear_model
from fastdistill.sgd.schedules import read_schedule
from fastdistill.sgd.trace import Recorder

VARIANTS = ("kd", "kd_unbiased", "svrg", "soft_labels", "repeated")
ORDERS = ("shuffle", "replace", "sequential")


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
        ``kd``: g = 0 above; ``kd_unbiased``: g = ∇f(θ), which undoes the bias; ``svrg`` is that with κ = 1 and
        ``repeated`` is ``kd``, both with the student of every `teacher_every` epochs as the teacher. ``soft_labels`` is
        (1 − κ) ℓ(z, b) + κ T² KL(teacher ‖ student), both at the temperature T.
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
        A run diverged: it left the finite numbers (its state before that epoch is returned), or the objective that its
        steps minimise ended above that of the start by more than the noise of such steps (see Notes).

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C. In an epoch or in the callback its attribute ``run`` is the SGDRun of the complete epochs, from which
        ``coef_init`` goes on.
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

    A run has ended above its start where J(end) > max(J(start), J(x₁) + 5 γ' mean w_n² ‖∇ℓ_n(x₁)‖²), with J the mean
    loss, distilled where the teacher is fixed and biased, x₁ the best point along its gradient at the start, and γ' the
    step over the batch size, at most 1 / max_n L_n: a run from near the optimum that hovers about it does not count.
    Of more than 2¹⁸ numbers in X a part is measured, and the rise must be beyond three standard errors.

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
    n_classes = _n_classes(teacher, coef_init, reference) if loss == "softmax" else None
    problem = Problem(X, y, loss, l2, fit_intercept, sample_weight, n_classes)
    best = None if reference is None else _model(problem, "reference", reference)
    source = _teacher_source(problem, teacher)
    batch_size = _batch_size(batch_size, problem.n)
    temperature = _temperature(temperature, variant, problem.loss)
    every = _teacher_every(teacher_every, variant)
    steps, step_factor = read_schedule(step_size, "step_size", positive=True)
    if isinstance(kd_weight, str):
        if sample_weight is not None:
            raise ValueError('kd_weight="optimal" applies only to equal sample weights; give the weight as a number.')
        kd_weight = _optimal_weight(problem, y, source, best, kd_weight, steps, batch_size, variant)
    weights, weight_factor = _weights(kd_weight, variant, has_teacher=source is not None)
    seeds = _seeds(random_state)
    count = _configurations(steps, weights, random_state)
    settings = np.zeros((count or 1, kernels.PARAMETER + 1))
    settings[:, kernels.STEP], settings[:, kernels.WEIGHT], settings[:, kernels.PENALTY] = steps, weights, problem.l2
    settings[:, kernels.TEMPERATURE], settings[:, kernels.MOMENTUM] = temperature, _momentum(momentum)
    settings[:, kernels.PARAMETER] = _compressor_parameter(compressor, problem.p)
    plan = Plan(
        variant=variant,
        order=order,
        batch_size=batch_size,
        temperature=temperature,
        teacher_every=every,
        average=validation.boolean(average, "average"),
        compressor=compressor,
        n_epochs=validation.integer(n_epochs, "n_epochs", minimum=0),
        record_every=validation.integer(record_every, "record_every", minimum=0),
        callback=callback,
        settings=settings,
        step_factor=step_factor,
        weight_factor=weight_factor,
        seeds=seeds,
        n_threads=validation.thread_count(n_jobs, "n_jobs"),
        is_single=count is None,
    )
    loop = Loop(problem, plan, source)
    loop.start(0.0 if coef_init is None else _starting_point(problem, coef_init, count))
    recorder = Recorder(problem, best.stacked(problem.width) if best else None) if plan.record_every else None
    loop.run(recorder)
    loop.check_progress()
    run = loop.result(recorder)
    if loop.interrupt is not None:
        loop.interrupt.__dict__["run"] = run
        raise loop.interrupt
    return run


def _n_classes(*models: Any) -> int | None:
    """The number of classes that the first model with coefficients has."""
    for model in models:
        coef = getattr(model, "coef_", getattr(model, "coef", model[0] if isinstance(model, tuple) else model))
        if coef is not None and not isinstance(coef, TeacherOutputs) and np.ndim(coef) == 2:
            return np.shape(coef)[0 if hasattr(model, "coef_") else 1]
    return None


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
            'temperature applies only to variant="soft_labels" with the logistic or the softmax loss; leave it at 1.'
        )
    return temperature


def _teacher_every(value: Any, variant: str) -> int:
    if value is None:
        return 1
    if variant not in REFRESHED:
        raise ValueError(
            f'teacher_every applies only to variant="svrg" or "repeated"; the teacher of {variant!r} is fixed.'
        )
    return validation.integer(value, "teacher_every", minimum=1)


def _weights(kd_weight: Any, variant: str, *, has_teacher: bool) -> tuple[np.ndarray, Any]:
    """Weights of the teacher, one a configuration, and their factor in each epoch."""
    weights, factor = read_schedule(kd_weight, "kd_weight", positive=False)
    if variant == "svrg" and not weights.any():
        weights = np.ones_like(weights)
    if not has_teacher and variant not in REFRESHED and weights.any():
        raise ValueError(
            f"kd_weight={validation.shown(kd_weight)} needs a teacher; pass teacher=, or kd_weight=0 for plain SGD."
        )
    return weights, factor


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
        raise ValueError(f'kd_weight="optimal" applies only to a fixed teacher; {variant!r} moves it.')
    if source.intercept.any() and not problem.fit_intercept:
        raise ValueError(
            'kd_weight="optimal" applies only to a teacher without an intercept where the run has none; pass '
            "fit_intercept=True."
        )
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


def _momentum(value: Any) -> float:
    momentum = validation.scalar(value, "momentum", minimum=0.0)
    if momentum >= 1.0:
        raise ValueError(f"momentum must be below 1, got {momentum:g}.")
    return momentum


def _compressor_parameter(compressor: Any, p: int) -> float:
    """The number of it that the kernels need; 0 without one."""
    if compressor is None:
        return 0.0
    if not isinstance(compressor, Compressor):
        raise TypeError(
            f"compressor must be RandK, TopK, Bernoulli, Mask or RandomRounding, got {validation.shown(compressor)}."
        )
    compressor.check(p)
    return compressor.parameter


def _seeds(random_state: Any) -> list[Any]:
    """One generator's seed, or one for each configuration."""
    if type(random_state) is int and random_state >= 0:  # the usual one, in a tenth of the time of an array
        return [random_state]
    if random_state is None or isinstance(random_state, np.random.Generator | np.random.SeedSequence):
        return [random_state]
    if isinstance(random_state, np.random.RandomState):
        return [int(random_state.randint(2**31))]
    array = np.asarray(random_state)
    if array.dtype.kind not in "iu" or array.ndim > 1 or array.size == 0:
        raise TypeError(
            f"random_state must be an int, a Generator, a RandomState, or a list of ints, got "
            f"{validation.shown(random_state)}."
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
