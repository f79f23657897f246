"""[S] A teacher takes away part of the noise of stochastic gradient descent: predicted, and measured on digits.

    x ← x − γ (∇f_B(x) − λ ∇f_B(θ)),    N(λ*) / N(0) = 1 − ρ² / (1 + β)

Multinomial logistic regression on images of digits, batches of 10, no momentum, as in the authors' scripts; a small
penalty, which they do not have, so that there is one minimiser x* to measure distances from. Teachers are plain SGD of
the same model stopped early, later and late. Beside it: least squares, where the stationary distance is known exactly;
compressed students; deep linear students.

==================================  ================================================
paper [S]                           here
==================================  ================================================
λ*, N(λ*) / N(0), ρ, β              `fastdistill.theory.kd_neighbourhood`
bound on E‖x − x*‖²                 `fastdistill.theory.kd_distance_bound`
plateau, x*, teachers               `fastdistill.reproduce.safaryan_runs`
==================================  ================================================

Cost: thousands of epochs over the digits, hundreds over MNIST; seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastdistill.pages.parts import Progress, Report, Table, plain_table
from fastdistill.reproduce import safaryan_pictures as pictures
from fastdistill.reproduce import safaryan_runs as work
from fastdistill.reproduce.data import digits, mnist

YES = {True: "yes", False: "NO"}


def reproduce(folder: Path | None, progress: Progress) -> Report:
    """Tables and pictures of [S]: on MNIST from a folder, without one on the digits that scikit-learn bundles."""
    images, plan = (digits(), work.DIGITS) if folder is None else (mnist(folder), work.MNIST)
    return report_of(work.study(images, plan, progress), plan, bundled=folder is None)


def report_of(found: work.Study, plan: work.Plan, bundled: bool) -> Report:
    """The report of a study."""
    p, n_classes = found.problem.best.shape
    c = found.problem.constants
    source = "which scikit-learn bundles (not the paper's data)" if bundled else "the 10 000 images of its test part"
    return Report(
        name="safaryan",
        title="Knowledge distillation performs partial variance reduction",
        reference="Safaryan, Peste, Alistarh 2023, arXiv:2305.17581",
        summary=(
            "On linear models the gradient of the distillation loss is that of the plain loss minus λ times the "
            "teacher's gradient on the same batch. A good teacher has the same gradient noise as the student near the "
            "minimiser, and takes that part away; its own error remains as a bias. How much noise goes, which weight "
            f"is best and what bias it costs is predicted and measured here. Run on {found.title}, {source}."
        ),
        assumptions=(
            f"Multinomial logistic regression, {len(found.problem.y)} images, {p} features with the constant one, "
            f"{n_classes} classes, grey values in [0, 1]; batches of {work.BATCH}, step {plan.step_size:g}, no "
            "momentum. The authors' published scripts have batches of 10, no momentum, step 0.05, weight 0.7, 100 "
            f"epochs on 60 000 standardised images; ours keep below the largest step of the theory, "
            f"1/ℒ = {1 / c.expected:.3g}.",
            f"A penalty l2 = {work.PENALTY:g}, part of every f_n, which the scripts do not have: without one there is "
            "no minimiser to measure distances from. Batches are drawn with replacement, as the theory has it.",
            f"x* by L-BFGS, at most {found.problem.error:.1g} from the minimiser (norm of the gradient over μ), with "
            f"f* = {found.problem.least:.5f} and {found.problem.accuracy:.1%} of the training images right.",
            f"Teachers: plain SGD after {plan.teacher_epochs[0]}, {plan.teacher_epochs[1]} and "
            f"{plan.teacher_epochs[2]} epochs. Plateaus: means over the later half of {plan.n_epochs} epochs; all "
            "weights see the same batches.",
            "The figures of the paper were not at hand, only its abstract, its theorems and the authors' scripts: no "
            "published number is compared.",
        ),
        tables=(
            _predictions(found),
            _claims(found),
            _plateaus(found),
            _squares_table(found),
            _sparse_table(found),
            _compressor_table(found),
            _deep_table(found),
        ),
        pictures=pictures.of(found),
    )


# --- measured against predicted ---


class Prediction(NamedTuple):
    """A weight that minimises a prediction, the share of the plateau it should leave, and the share it leaves."""

    weight: float
    predicted: float
    measured: float


def bounds_and_law(
    found: work.Study, lesson: work.Lesson
) -> tuple[list[Prediction], list[Prediction], list[Prediction]]:
    """For distance and loss: of the bound N, of the second-order law, and of N without the bias."""
    of_bound, of_law, unbiased = [], [], []
    for k, plain in enumerate(found.plateau):
        kd, without = lesson.kd.plateaus[k] / plain, lesson.kd_unbiased.plateaus[k] / plain
        first = len(work.WEIGHTS)
        of_bound.append(Prediction(lesson.kd.weights[first + k], lesson.around[k].reduction, kd[first + k]))
        of_law.append(Prediction(lesson.kd.weights[first + 2 + k], 1 - lesson.second_order[k], kd[first + 2 + k]))
        unbiased.append(Prediction(lesson.kd_unbiased.weights[-1], lesson.unbiased.reduction, without[-1]))
    return of_bound, of_law, unbiased


def _predictions(found: work.Study) -> Table:
    rows: list[tuple[Any, ...]] = []
    for lesson in found.lessons:
        teacher, shown = lesson.teacher, bounds_and_law(found, lesson)
        own = (teacher.distance / found.plateau[0], teacher.gap / found.plateau[1])
        for k, kind in enumerate(pictures.KINDS):
            name = f"{teacher.quality}, {teacher.epochs} epoch{'s' if teacher.epochs > 1 else ''}: {kind}"
            around = lesson.around[k]
            bound, law, unbiased = (tuple(map(float, each[k])) for each in shown)
            rows.append(
                (name, f"{teacher.accuracy:.1%}", own[k], around.correlation, around.beta, *bound, *law, *unbiased)
            )
    columns = (
        *("teacher", "right", "its own error", "ρ", "β"),
        *("λ*", "N(λ*) / N(0)", "measured"),
        *("λ°", "1 − λ°", "measured at λ°"),
        *("unbiased λ*", "N(λ*) / N(0), unbiased", "measured, unbiased"),
    )
    return plain_table(
        "predictions",
        "Share of the plateau of plain SGD that the best weight leaves: predicted and measured",
        columns,
        rows,
        (
            "Its own error: ‖θ − x*‖² or f(θ) − f*, in plateaus of plain SGD. Plateaus: of ‖x − x*‖² (distance) or "
            "f(x) − f* (loss).",
            "N(λ*) / N(0) = 1 − ρ² / (1 + β) is the ratio of two bounds, not a bound on the ratio. Noise and bias are "
            "both charged at the worst curvature there is, and not by the same factor. For the distance (κ = μ) the "
            "bias is charged too much where θ − x* lies in steep directions, which makes λ* too small, and too "
            "little beside the noise where it lies in flat ones; for the loss (κ = L) the noise is charged about L/μ "
            "times too much, which makes λ* too large.",
            "λ° minimises the second-order law (1 − λ)² + λ² (its own error), exact for least squares (below): the "
            "noise shrinks by 1 − λ, the mean moves by λ (θ − x*).",
            "Unbiased: the step adds λ ∇f(θ), and there is no bias to charge (β = 0); then N is sharp.",
        ),
    )


def _plateaus(found: work.Study) -> Table:
    rows: list[tuple[Any, ...]] = []
    c, plateau = found.problem.constants, found.plateau

    def add(teacher: str, method: str, runs: work.Runs, noise: np.ndarray | None, variant: str = "kd") -> None:
        limits = None if noise is None else work.bound(found.problem, runs, noise, variant)
        distance, gap = runs.plateaus
        for i, weight in enumerate(runs.weights):
            relative = float(distance[i] / plateau[0])
            limit = None if limits is None else float(limits[i])
            last = float(runs.gap[i, -1] + found.problem.least)
            rows.append((teacher, method, f"{weight:.3g}", last, float(gap[i]), float(distance[i]), relative, limit))

    sigma = np.array([found.lessons[0].around[0].moments.noise])
    add("–", "SGD", found.plain, sigma)
    add("–", "SVRG", found.svrg, None)
    add("x* itself", "KD", found.perfect, np.zeros(1))
    for lesson in found.lessons:
        name, kd, unbiased = lesson.teacher.quality, lesson.kd, lesson.kd_unbiased
        picked = np.argsort(kd.weights, kind="stable")[1:]  # weight 0 is SGD
        ordered = work.Runs(kd.weights[picked], kd.epochs, kd.distance[picked], kd.gap[picked])
        add(name, "KD", ordered, lesson.around[0].at(ordered.weights))
        add(name, "unbiased KD", unbiased, lesson.unbiased.at(unbiased.weights), "kd_unbiased")
    columns = ("teacher", "method", "λ", "last training loss", "plateau of f(x) − f*", "plateau of ‖x − x*‖²")
    return plain_table(
        "plateaus",
        f"SGD, KD, unbiased KD and SVRG after {found.plain.epochs[-1]} epochs",
        (*columns, "in plateaus of SGD", "bound"),
        rows,
        (
            f"Bound: of the theorem on strongly convex f, μ = {c.strong_convexity:g}, ℒ = {c.expected:.3g}. It holds "
            "for the worst case of both curvature and noise, hence far above what is measured. SVRG takes a new "
            "reference point every epoch.",
            f"The theorem on the loss needs a step below μ / (Lℒ) = {c.pl / (c.lipschitz * c.expected):.2g}; ours is "
            f"{found.problem.step_size:g}, so that it says nothing here.",
        ),
    )


def _squares_table(found: work.Study) -> Table:
    rows = []
    for each in found.squares:
        deviation = (float(np.abs(m / e - 1).max()) for m, e in zip(each.measured, each.exact, strict=True))
        law = 1 / (1 + each.share)
        of_bound = float((1 - each.around.best_weight) ** 2 + each.share * each.around.best_weight**2)
        rows.append(
            (
                f"{each.share:g}",
                each.best_weight,
                law,
                1 - each.best_weight,
                float(each.around.best_weight),
                float(each.around.reduction),
                of_bound,
                *deviation,
            )
        )
    return plain_table(
        "squares",
        "Least squares (even digits against odd ones, 4 × 4 means): exact stationary distance against measured",
        (
            "‖θ − x*‖² / plateau of SGD",
            "exact best weight",
            "1 / (1 + that)",
            "it leaves",
            "λ* of the bound",
            "N(λ*) / N(0)",
            "λ* leaves, exactly",
            "KD: largest |measured / exact − 1|",
            "unbiased KD",
        ),
        rows,
        (
            "Exact: fastdistill.theory.kd_stationary. Its closed form, (1 − λ)² P + λ² ‖θ − x*‖² with the plateau P of "
            "plain SGD, goes beyond the paper. Measured values carry the error of one run of finite length, with the "
            "same samples for all weights.",
            "λ* of the bound can be too large, even so that the ratio is above 1, or too small: it depends on how "
            "steep the direction of the teacher is, here one drawn at random.",
        ),
    )


# --- claims ---


def _claims(found: work.Study) -> Table:
    rows = [*_variance_rows(found), *_theory_rows(found), *_student_rows(found)]
    return plain_table(
        "claims",
        "What the paper claims, and what we find",
        ("claim", "ours", "holds"),
        rows,
        ("Claims are those of the abstract and of the theorems; what counts as close is our choice, and is stated.",),
    )


def _variance_rows(found: work.Study) -> Iterator[tuple[str, str, str]]:
    least = found.least()
    names = [lesson.teacher.quality for lesson in found.lessons]
    shares = [share for share, _ in least]
    text = ", ".join(f"{name} {share:.3f} at λ = {w:.2g}" for name, (share, w) in zip(names, least, strict=True))
    yield "distillation reduces the noise: plateau of the distance in plateaus of SGD", text, YES[max(shares) < 1]
    yield "but does not eliminate it", f"least share {min(shares):.3f}", YES[min(shares) > 0.01]
    better = all(a > b for a, b in pairwise(shares))
    yield "how much depends on the teacher: better teachers leave less", "the shares above fall", YES[better]
    worst = [float(lesson.kd.plateaus[0][len(work.WEIGHTS) - 1]) / found.plateau[0] for lesson in found.lessons]
    at_1 = ", ".join(f"{name} {value:.3g}" for name, value in zip(names, worst, strict=True))
    yield "the weight must be chosen with care: λ = 1 can be far worse than SGD", at_1, YES[max(worst) > 2]
    unbiased = [lesson.kd_unbiased.plateaus[0] / found.plateau[0] for lesson in found.lessons]
    text = ", ".join(f"{name} {each.min():.2g}" for name, each in zip(names, unbiased, strict=True))
    yield "without the bias every teacher helps", text, YES[max(each.min() for each in unbiased) < 1]
    ends = (found.perfect.distance[0, -1], found.svrg.distance[0, -1])
    for name, end in zip(("x* as the teacher, λ = 1", "SVRG"), ends, strict=True):
        yield f"{name}: no plateau", f"‖x − x*‖² = {end:.1g} at the end", YES[bool(end < 1e-3 * found.plateau[0])]


def _theory_rows(found: work.Study) -> Iterator[tuple[str, str, str]]:
    sharpest = 0.0
    for lesson in found.lessons:
        for runs, around, variant in (
            (lesson.kd, lesson.around[0], "kd"),
            (lesson.kd_unbiased, lesson.unbiased, "kd_unbiased"),
        ):
            limits = work.bound(found.problem, runs, around.at(runs.weights), variant)
            sharpest = max(sharpest, float((runs.plateaus[0] / limits).max()))
    yield (
        "the bound of the strongly convex theorem holds",
        f"measured / bound at most {sharpest:.2g}",
        YES[sharpest <= 1],
    )
    kinds: dict[str, list[Prediction]] = {}
    for lesson in found.lessons:
        of_bound, of_law, unbiased = bounds_and_law(found, lesson)
        kinds.setdefault("N(λ*) / N(0) predicts the distance", []).append(of_bound[0])
        kinds.setdefault("N(λ*) / N(0) predicts the loss", []).append(of_bound[1])
        kinds.setdefault("N(λ*) / N(0) predicts the distance of unbiased KD", []).append(unbiased[0])
        kinds.setdefault("beyond the paper: 1 − λ° predicts the distance", []).append(of_law[0])
    for name, pairs in kinds.items():
        ratios = [pair.measured / pair.predicted for pair in pairs]
        text = "measured / predicted " + ", ".join(f"{ratio:.2f}" for ratio in ratios)
        yield f"{name} (within a factor of 2)", text, YES[all(0.5 < ratio < 2 for ratio in ratios)]
    missed = [best[0] / pair.measured for best, pair in zip(found.least(), kinds[next(iter(kinds))], strict=True)]
    text = "best of the weights tried leaves " + ", ".join(f"{x:.2f}" for x in missed) + " of what λ* leaves"
    yield "λ* of the bound on the distance is nearly best (within 25 %)", text, YES[min(missed) > 0.8]


def _student_rows(found: work.Study) -> Iterator[tuple[str, str, str]]:
    masks = [each for each in found.sparse if "mask" in each.name]
    gains = [float(each.gap[1] / each.gap[0]) for each in masks]
    text = f"at {sum(g < 1 for g in gains)} of {len(gains)} masks, shares {min(gains):.2f} to {max(gains):.2f}"
    yield "a teacher lowers the plateau of compressed students (fixed masks, weight 0.7)", text, YES[max(gains) < 1]
    within = [each for each in found.compressors if each.bound is not None]
    worst = max(float(each.distance[1] / each.bound) for each in within if each.bound)
    yield "the bound on compressed iterates holds", f"measured / bound at most {worst:.2g}", YES[worst <= 1]
    shallow = min(float(each.trace["kd_cosine"].min()) for each in found.deep if each.depth == 1)
    yield "one layer: the two gradients are equal", f"cosine at least {shallow:.6f}", YES[shallow > 1 - 1e-9]
    for depth in (2, 3):
        cosines = {each.weight: float(each.trace["step_cosine"][-1]) for each in found.deep if each.depth == depth}
        text = ", ".join(f"{value:.2f} at λ = {weight:g}" for weight, value in cosines.items())
        close = min(cosines.values()) > 0.5
        yield f"{depth} layers: the theory's gradient stays close to the true one (mean cosine > 0.5)", text, YES[close]


# --- compressed and deep students ---


def _sparse_table(found: work.Study) -> Table:
    rows = [
        (each.name, f"{each.sparsity:.0%}", each.least, *map(float, each.gap), float(each.gap[1] / each.gap[0]))
        for each in found.sparse
    ]
    columns = ("compressor", "zeros", "least possible f − f*", "SGD above it", "KD above it", "KD / SGD")
    return plain_table(
        "sparse",
        f"Sparse students, with and without the good teacher (weight {work.PUBLISHED_WEIGHT:g})",
        columns,
        rows,
        (
            "Masks keep whole features; the least possible value is the minimum under the mask. The teacher is dense, "
            "as in the authors' scripts: the fewer features the student has, the less its gradients resemble the "
            "teacher's, and the less a weight of 0.7 helps.",
            "TopK keeps the k largest coefficients of every class after each step. Where it has to drop coefficients "
            "that matter, the loss is that of the dropping, and no teacher changes it; f* stands for its least value.",
        ),
    )


def _compressor_table(found: work.Study) -> Table:
    rows = [
        (each.name, each.omega, float(each.distance[0]), float(each.distance[1]), each.bound)
        for each in found.compressors
    ]
    return plain_table(
        "compressors",
        "Unbiased compressors of the iterates, x ← C(x − γ g)",
        ("compressor", "ω", "SGD: ‖x − x*‖²", "KD: ‖x − x*‖²", "bound, KD"),
        rows,
        (
            f"The theorem contracts for ω below γμ / (1 − γμ) = {work.allowed_omega(found.problem):.2g}: that is fine "
            "rounding, or less than one coefficient dropped at a time; RandK that drops a single coefficient is beyond "
            "it. Compression adds noise in proportion to ‖x*‖² in every step, which no teacher removes.",
        ),
    )


def _deep_table(found: work.Study) -> Table:
    rows = []
    for each in found.deep:
        trace = each.trace
        cosine = (float(trace["step_cosine"][1]), float(trace["step_cosine"][-1]), float(trace["step_cosine_min"][-1]))
        rows.append((each.depth, f"{each.weight:g}", *cosine, float(trace["kd_cosine"][-1]), float(trace["loss"][-1])))
    columns = ("layers", "λ", "mean cosine, first epoch", "last epoch", "least, last epoch", "on all data, at the end")
    return plain_table(
        "deep",
        "Deep linear students: cosine of the true distillation gradient and ∇f(x) − λ ∇f(θ), on each batch",
        (*columns, "training loss at the end"),
        rows,
        (
            f"Hidden layers of {work.WIDTH}; students follow the true gradient, from another random start than the "
            "teacher, so that the layers of the two are not aligned.",
        ),
    )
