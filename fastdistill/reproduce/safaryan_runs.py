"""The runs behind [S]: images as softmax and least-squares problems, teachers of three qualities, plateaus measured.

    x ← x − γ (∇f_B(x) − λ ∇f_B(θ) [+ λ ∇f(θ)]),    plateau(λ) = mean of ‖x − x*‖², or of f(x) − f*, over late epochs

Batches are drawn with replacement, so that they are independent as in the theory; the penalty makes f strongly convex.
The minimiser x* is found by L-BFGS, and ‖∇f(x*)‖ / μ bounds its distance to the true one.

A second-order prediction stands beside the bounds. On least squares the covariance of a run scales with (1 − λ)² and
its mean moves by λ (θ − x*), whatever the teacher (`fastdistill.theory.kd_stationary`), so that for both plateaus, with
P = plateau(0) and T the teacher's own ‖θ − x*‖² or f(θ) − f*,

    plateau(λ) = (1 − λ)² P + λ² T,    λ° = P / (P + T),    plateau(λ°) / P = 1 − λ°.

=============================  =====================================================
paper [S]                      here
=============================  =====================================================
x*, f*                         `Problem.best`, `Problem.least`
θ                              `Teacher.coef`
λ, γ                           ``weights``, `Plan.step_size`
N(λ), ρ, β                     `fastdistill.theory.kd_neighbourhood`
=============================  =====================================================

Cost: O(N p C) for an epoch of a configuration; all weights of a teacher share the passes over the data.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

import fastdistill as fd
from fastdistill.pages.parts import Progress
from fastdistill.reproduce.data import Images

BATCH, PENALTY, SEED = 10, 0.02, 2023
WEIGHTS = (0.0, 0.25, 0.5, 0.7, 0.9, 1.0)
UNBIASED = (0.5, 1.0)
QUALITIES = ("poor", "medium", "good")
FROM_PLATEAU = (10.0, 1.0, 0.1)  # ‖θ − x*‖² of the least-squares teachers, in plateaus of plain SGD
COARSE = 4  # images of 4 × 4 means for least squares: the exact covariance is a system of p⁴/4 numbers
SPARSITIES = (0.5, 0.75, 0.9)
PUBLISHED_WEIGHT = 0.7  # of the authors' scripts
DEEP_WEIGHTS = (0.3, PUBLISHED_WEIGHT, 1.0)
WIDTH = 32  # of the hidden layers of deep linear students


class Plan(NamedTuple):
    """Step size, epochs of each part, and batches of the deep students."""

    step_size: float
    n_epochs: int
    teacher_epochs: tuple[int, int, int]
    squares_epochs: int
    compressed_epochs: int
    deep_epochs: int
    deep_batch: int = BATCH


DIGITS = Plan(0.05, 70, (1, 10, 100), 240, 25, 10)
MNIST = Plan(0.025, 12, (1, 4, 16), 60, 4, 3, deep_batch=50)


class Problem(NamedTuple):
    """Multinomial logistic regression on pixels and a constant, with its minimiser."""

    X: np.ndarray  # (n, p)
    y: np.ndarray  # (n,)
    step_size: float
    best: np.ndarray  # (p, C) x*
    least: float  # f*
    accuracy: float  # of x* on the training rows
    error: float  # bound on the distance of `best` to the minimiser
    constants: Any  # of `fastdistill.theory.smoothness`


class Teacher(NamedTuple):
    """Plain SGD stopped after some epochs."""

    quality: str
    epochs: int
    coef: np.ndarray
    distance: float  # ‖θ − x*‖²
    gap: float  # f(θ) − f*
    accuracy: float


class Runs(NamedTuple):
    """Configurations of one variant: traces (Q, records) and plateaus (Q,)."""

    weights: np.ndarray
    epochs: np.ndarray
    distance: np.ndarray  # ‖x − x*‖²
    gap: np.ndarray  # f(x) − f*

    @property
    def plateaus(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of distance and gap over the later half of the epochs."""
        late = 2 * self.epochs > self.epochs[-1]
        return self.distance[:, late].mean(axis=1), self.gap[:, late].mean(axis=1)


class Lesson(NamedTuple):
    """One teacher: predictions and runs at several weights."""

    teacher: Teacher
    around: tuple[Any, Any]  # neighbourhoods of the bounds on distance (κ = μ) and loss (κ = L)
    unbiased: Any  # neighbourhood without the bias
    second_order: tuple[float, float]  # λ° of distance and loss
    kd: Runs  # at WEIGHTS, then the two best weights of the bounds, then the two λ°
    kd_unbiased: Runs  # at UNBIASED, then the best weight of the bound


def softmax_problem(images: Images, step_size: float) -> Problem:
    """Pixels and a constant feature (penalised, so that f is strongly convex) against class numbers."""
    X = with_constant(images.pixels.reshape(len(images.labels), -1))
    best, error = minimiser(X, images.labels)
    value, _ = objective(best, X, images.labels)
    constants = fd.theory.smoothness(X, loss="softmax", l2=PENALTY, batch_size=BATCH, replace=True)
    return Problem(X, images.labels, step_size, best, value, accuracy(X, images.labels, best), error, constants)


def with_constant(X: np.ndarray) -> np.ndarray:
    """X and a column of ones."""
    return np.column_stack([X, np.ones(len(X), dtype=X.dtype)])


def accuracy(X: np.ndarray, y: np.ndarray, coef: np.ndarray) -> float:
    """Share of the rows whose class has the largest score."""
    return float(np.mean((X @ coef).argmax(axis=1) == y))


def objective(coef: np.ndarray, X: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy plus penalty, and the gradient (p, C)."""
    n = len(y)
    z = X @ coef
    value = 0.5 * PENALTY * np.vdot(coef, coef) - log_softmax(z, axis=1)[np.arange(n), y].mean()
    r = softmax(z, axis=1)
    r[np.arange(n), y] -= 1.0
    return float(value), X.T @ r / n + PENALTY * coef


def minimiser(X: np.ndarray, y: np.ndarray, start: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """x* (p, C) by L-BFGS, and ‖∇f(x*)‖ / μ."""
    X = X.astype(np.float64)
    start = np.zeros((X.shape[1], int(y.max()) + 1)) if start is None else start
    shape = start.shape

    def raveled(coef: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(coef.reshape(shape), X, y)
        return value, gradient.ravel()

    options = {"maxiter": 2000, "ftol": 0.0, "gtol": 1e-9, "maxcor": 30}
    found = minimize(raveled, start.ravel(), jac=True, method="L-BFGS-B", options=options).x
    return found.reshape(shape), float(np.linalg.norm(raveled(found)[1])) / PENALTY


def teachers(problem: Problem, plan: Plan) -> list[Teacher]:
    """Plain shuffled SGD, stopped early, later and late."""
    kept = {}

    def keep(epoch: int, coef: np.ndarray, intercept: Any) -> None:
        if epoch in plan.teacher_epochs:
            kept[epoch] = coef.astype(np.float64)

    _sgd(problem, plan.teacher_epochs[-1], order="shuffle", callback=keep, record_every=0)
    found = []
    for quality, (epochs, coef) in zip(QUALITIES, kept.items(), strict=True):
        gap = objective(coef, problem.X, problem.y)[0] - problem.least
        distance = float(np.square(coef - problem.best).sum())
        found.append(Teacher(quality, epochs, coef, distance, gap, accuracy(problem.X, problem.y, coef)))
    return found


def _sgd(problem: Problem, n_epochs: int, **options: Any) -> Any:
    """`run_sgd` on the problem, with independent batches and a fixed seed unless said otherwise."""
    chosen: dict[str, Any] = {"order": "replace", "reference": problem.best, "random_state": SEED} | options
    with warnings.catch_warnings():
        if "compressor" in options:  # the tables show how far compression beyond the theorem drives a run
            warnings.simplefilter("ignore", fd.ConvergenceWarning)
        return fd.run_sgd(
            problem.X,
            problem.y,
            "softmax",
            step_size=problem.step_size,
            n_epochs=n_epochs,
            batch_size=BATCH,
            l2=PENALTY,
            **chosen,
        )


def runs(problem: Problem, n_epochs: int, weights: Any, **options: Any) -> Runs:
    """Runs at several weights, all with the same batches."""
    found = _sgd(problem, n_epochs, kd_weight=np.asarray(weights, dtype=np.float64), **options)
    trace = found.trace
    return Runs(found.kd_weight, trace["epoch"][0], np.square(trace["distance"]), trace["loss"] - problem.least)


def plain_and_svrg(problem: Problem, plan: Plan) -> tuple[Runs, Runs, Runs]:
    """SGD, SVRG with a new reference point every epoch, and `kd` with the perfect teacher x* at weight 1."""
    return (
        runs(problem, plan.n_epochs, [0.0]),
        runs(problem, plan.n_epochs, [1.0], variant="svrg"),
        runs(problem, plan.n_epochs, [1.0], teacher=problem.best),
    )


def lesson(problem: Problem, teacher: Teacher, plain: Runs, plan: Plan) -> Lesson:
    """Predictions for one teacher, and runs at fixed and at the predicted weights."""
    c = problem.constants
    around = neighbourhood(problem, teacher, c.strong_convexity), neighbourhood(problem, teacher, c.lipschitz)
    unbiased = neighbourhood(problem, teacher, None, "kd_unbiased")
    plateaus = (float(each[0]) for each in plain.plateaus)
    second = tuple(P / (P + T) for P, T in zip(plateaus, (teacher.distance, teacher.gap), strict=True))
    best = [max(0.0, each.best_weight) for each in (*around, unbiased)]
    kd = runs(problem, plan.n_epochs, [*WEIGHTS, *best[:2], *second], teacher=teacher.coef)
    without_bias = runs(problem, plan.n_epochs, [*UNBIASED, best[2]], teacher=teacher.coef, variant="kd_unbiased")
    return Lesson(teacher, around, unbiased, (second[0], second[1]), kd, without_bias)


def neighbourhood(problem: Problem, teacher: Teacher, curvature: float | None, variant: str = "kd") -> Any:
    """N of the theorems, with κ = `curvature` in the price of the bias."""
    return fd.theory.kd_neighbourhood(
        problem.X,
        problem.y,
        teacher.coef,
        problem.best,
        step_size=problem.step_size,
        loss="softmax",
        l2=PENALTY,
        batch_size=BATCH,
        variant=variant,
        curvature=curvature,
    )


def bound(problem: Problem, found: Runs, noise: np.ndarray, variant: str) -> np.ndarray:
    """The theorem's bound (Q,) on the plateaus of the distance: the larger of those at its first and last epoch."""
    steps = -(-len(problem.y) // BATCH) * np.array([[found.epochs[-1] // 2], [found.epochs[-1]]])
    initial = float(np.vdot(problem.best, problem.best))
    return fd.theory.kd_distance_bound(
        noise, problem.constants, step_size=problem.step_size, n_steps=steps, initial=initial, variant=variant
    ).max(axis=0)


# --- least squares: the exact law ---


class Squares(NamedTuple):
    """Least squares with a teacher: plateaus of the squared distance (Q,), measured and exact."""

    share: float  # ‖θ − x*‖² in plateaus of plain SGD
    weights: np.ndarray
    measured: tuple[np.ndarray, np.ndarray]  # of `kd` and `kd_unbiased`
    exact: tuple[np.ndarray, np.ndarray]
    around: Any
    best_weight: float  # exact, of `kd`


def least_squares(images: Images, plan: Plan) -> Iterator[Squares]:
    """Even digits against odd ones from 4 × 4 means, single samples; teachers at three distances, one direction."""
    X = with_constant(block_means(images.pixels).reshape(len(images.labels), -1))
    y = np.where(images.labels % 2 == 0, 1.0, -1.0)
    step = 0.5 / fd.theory.smoothness(X, l2=PENALTY).expected
    shared: dict[str, Any] = {"l2": PENALTY}
    plain = fd.theory.kd_stationary(X, y, np.zeros(X.shape[1]), step, 0.0, **shared)
    best = plain.optimum
    direction = np.random.default_rng(SEED).standard_normal(X.shape[1])
    direction *= np.sqrt(plain.distance / np.square(direction).sum())
    weights = np.linspace(0.0, 1.0, 9)
    for share in FROM_PLATEAU:
        teacher = best + np.sqrt(share) * direction
        run: dict[str, Any] = {"step_size": step, "n_epochs": plan.squares_epochs, "order": "replace", **shared}
        measured, exact = [], []
        for variant in ("kd", "kd_unbiased"):
            found = fd.run_sgd(
                X,
                y,
                teacher=teacher,
                kd_weight=weights,
                variant=variant,
                coef_init=best,
                reference=best,
                random_state=SEED,
                **run,
            )
            late = found.trace["distance"][:, plan.squares_epochs // 4 :]
            measured.append(np.square(late).mean(axis=1))
            at = [fd.theory.kd_stationary(X, y, teacher, step, x, variant=variant, **shared) for x in (0.5, 1.0)]
            exact.append(parabola(weights, plain.distance, *(each.distance for each in at)))
        around = fd.theory.kd_neighbourhood(X, y, teacher, best, step_size=step, **shared)
        weight = fd.theory.kd_stationary_weight(X, y, teacher, step, **shared)
        yield Squares(share, weights, (measured[0], measured[1]), (exact[0], exact[1]), around, weight)


def parabola(x: np.ndarray, at_0: float, at_half: float, at_1: float) -> np.ndarray:
    """The parabola through three values: in λ the stationary distance is one."""
    return at_0 * (1 - x) * (1 - 2 * x) + 4 * at_half * x * (1 - x) + at_1 * x * (2 * x - 1)


def block_means(pixels: np.ndarray) -> np.ndarray:
    """Images (n, s, s) as means over blocks, (n, 4, 4)."""
    n, side = pixels.shape[:2]
    block = side // COARSE
    return pixels.astype(np.float64).reshape(n, COARSE, block, COARSE, block).mean(axis=(2, 4))


# --- compressed students ---


class Compressed(NamedTuple):
    """A compressed student without and with a teacher; plateaus above the optimum that it can reach."""

    name: str
    sparsity: float
    gap: np.ndarray  # (2,) f(x) minus the least value under a mask, or minus f*
    distance: np.ndarray  # (2,) ‖x − x*‖²
    least: float  # what the gap is measured from, minus f*
    omega: float
    bound: float | None  # of the theorem on compressed iterates, with the teacher


def sparse_students(problem: Problem, teacher: Teacher, plan: Plan) -> Iterator[Compressed]:
    """Fixed masks (random features; the teacher's largest features) and the k largest coefficients after each step."""
    p = problem.X.shape[1]
    yield _compressed(problem, teacher, plan, "none", None, 0.0, problem.best)
    order = np.random.default_rng(SEED).permutation(p)
    largest = np.argsort(-np.square(teacher.coef).sum(axis=1), kind="stable")
    for sparsity in SPARSITIES:
        k = max(1, round((1.0 - sparsity) * p))
        for name, ranking in (("random mask", order), ("mask of the teacher's largest", largest)):
            mask = np.zeros(p)
            mask[ranking[:k]] = 1.0
            best = np.zeros_like(problem.best)
            best[mask > 0], _ = minimiser(problem.X[:, mask > 0], problem.y, problem.best[mask > 0])
            yield _compressed(problem, teacher, plan, name, fd.Mask(mask), sparsity, best)
        yield _compressed(problem, teacher, plan, "k largest (TopK)", fd.TopK(k), sparsity, problem.best)


def unbiased_compressors(problem: Problem, teacher: Teacher, plan: Plan) -> Iterator[Compressed]:
    """Compressors within the theorem, ω at half of what it allows, and random sparsification beyond it."""
    p = problem.X.shape[1]
    half = 0.5 * allowed_omega(problem)
    levels = int(np.ceil(np.sqrt(p / half)))
    within = (("random rounding", fd.RandomRounding(levels)), ("Bernoulli", fd.Bernoulli(1.0 / (1.0 + half))))
    for name, compressor in (*within, ("RandK", fd.RandK(p - 1))):
        sparsity = 0.0 if name == "random rounding" else 1.0 - 1.0 / (1.0 + compressor.omega(p))
        yield _compressed(problem, teacher, plan, name, compressor, sparsity, problem.best)


def allowed_omega(problem: Problem) -> float:
    """γμ / (1 − γμ), below which the theorem on compressed iterates contracts."""
    rate = problem.step_size * problem.constants.strong_convexity
    return rate / (1.0 - rate)


def _compressed(
    problem: Problem, teacher: Teacher, plan: Plan, name: str, compressor: Any, sparsity: float, best: np.ndarray
) -> Compressed:
    found = runs(
        problem,
        plan.compressed_epochs,
        [0.0, PUBLISHED_WEIGHT],
        teacher=teacher.coef,
        compressor=compressor,
        coef_init=best,
    )
    distance, gap = found.plateaus
    least = objective(best, problem.X, problem.y)[0] - problem.least
    omega = 0.0 if compressor is None else compressor.omega(problem.X.shape[1])
    limit = None
    if compressor is not None and compressor.unbiased and omega < allowed_omega(problem):
        around = neighbourhood(problem, teacher, problem.constants.strong_convexity)
        limit = float(
            fd.theory.compressed_distance_bound(
                around.at(PUBLISHED_WEIGHT),
                problem.constants,
                step_size=problem.step_size,
                n_steps=10**9,
                initial=0.0,
                omega=omega,
                reference_norm=float(np.square(problem.best).sum()),
            )
        )
    return Compressed(name, sparsity, gap - least, distance, least, omega, limit)


# --- deep linear students ---


class Deep(NamedTuple):
    """A deep linear student with a teacher of its shape."""

    depth: int
    weight: float
    trace: dict[str, np.ndarray]


def deep_students(problem: Problem, plan: Plan) -> Iterator[Deep]:
    """Students of 1, 2 and 3 layers that follow the true distillation gradient; teachers trained from another start."""
    p, n_classes = problem.best.shape
    for depth, weights in ((1, (PUBLISHED_WEIGHT,)), (2, DEEP_WEIGHTS), (3, DEEP_WEIGHTS)):
        sizes = [p, *[WIDTH] * (depth - 1), n_classes]
        shapes = [np.zeros((b, a)) for a, b in pairwise(sizes)]
        shared: dict[str, Any] = {"loss": "softmax", "step_size": problem.step_size, "batch_size": plan.deep_batch}
        teacher = fd.deep_linear_distillation(
            problem.X, problem.y, shapes, kd_weight=0.0, n_epochs=plan.deep_epochs, random_state=SEED, **shared
        ).weights
        for weight in weights:
            found = fd.deep_linear_distillation(
                problem.X,
                problem.y,
                teacher,
                kd_weight=weight,
                n_epochs=plan.deep_epochs,
                random_state=SEED + 1,
                **shared,
            )
            yield Deep(depth, weight, found.trace)


# --- all of it ---


class Study(NamedTuple):
    """Everything that was run on one set of images."""

    title: str
    problem: Problem
    plain: Runs
    svrg: Runs
    perfect: Runs  # the teacher is x*, the weight 1
    lessons: tuple[Lesson, ...]
    squares: tuple[Squares, ...]
    sparse: tuple[Compressed, ...]
    compressors: tuple[Compressed, ...]
    deep: tuple[Deep, ...]

    @property
    def plateau(self) -> tuple[float, float]:
        """Plateaus of plain SGD: distance and loss."""
        distance, gap = self.plain.plateaus
        return float(distance[0]), float(gap[0])

    def least(self) -> list[tuple[float, float]]:
        """For each teacher the least plateau of the distance, in plateaus of SGD, over the weights tried, and its λ."""
        out = []
        for lesson in self.lessons:
            shares = lesson.kd.plateaus[0] / self.plateau[0]
            i = int(shares.argmin())
            out.append((float(shares[i]), float(lesson.kd.weights[i])))
        return out


def study(images: Images, plan: Plan, progress: Progress) -> Study:
    """All runs."""
    progress(f"safaryan: {images.title}, {len(images.labels)} images: minimiser and teachers")
    problem = softmax_problem(images, plan.step_size)
    chosen = teachers(problem, plan)
    progress("safaryan: SGD, SVRG")
    plain, svrg, perfect = plain_and_svrg(problem, plan)
    lessons = []
    for teacher in chosen:
        progress(f"safaryan: {teacher.quality} teacher")
        lessons.append(lesson(problem, teacher, plain, plan))
    progress("safaryan: least squares")
    squares = tuple(least_squares(images, plan))
    progress("safaryan: compressed students")
    sparse = tuple(sparse_students(problem, chosen[-1], plan))
    compressors = tuple(unbiased_compressors(problem, chosen[-1], plan))
    progress("safaryan: deep linear students")
    deep = tuple(deep_students(problem, plan))
    return Study(images.title, problem, plain, svrg, perfect, tuple(lessons), squares, sparse, compressors, deep)
