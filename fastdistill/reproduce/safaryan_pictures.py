"""Pictures of [S]: curves of the runs, plateaus against the weight, exact moments, sparse and deep students.

Measured values stand as marks or solid curves over predictions, relative to plain SGD where plateaus are compared:

    plateau(λ) / plateau(0)    beside    N(λ) / N(0)    and    (1 − λ)² + λ² ‖θ − x*‖² / plateau(0)

====================  ====================================
paper [S]             here
====================  ====================================
N(λ), unbiased N(λ)   `Lesson.around`, `Lesson.unbiased`
====================  ====================================

Cost: about half a second for each picture, in matplotlib.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastdistill as fd
from fastdistill.pages import figures
from fastdistill.pages.parts import Picture, grid_data, stacked_data
from fastdistill.reproduce import safaryan_runs as work

KINDS = ("distance", "loss")
ABSTRACT = (
    "its abstract says that distillation can reduce the stochastic gradient noise, but may not eliminate it "
    "completely, depending on the properties of the teacher"
)


def of(found: work.Study) -> tuple[Picture, ...]:
    """All pictures of a study."""
    return _curves(found), _weights(found), _squares(found), _sparse(found), _deep(found)


def _curves(found: work.Study) -> Picture:
    figure, axes = figures.panels(2, 3, 12.0, 7.0, sharex=True)
    names = ("SGD", "KD, λ = 0.5", "KD, λ = 0.9", "KD, λ°", "unbiased KD, λ*", "SVRG")
    colours = (figures.GREY, figures.SKY, figures.ORANGE, figures.GREEN, figures.BLUE, figures.PINK)
    lines = ("-", "-", "-", "--", "-", ":")
    styles = [{"color": colour, "linestyle": line} for colour, line in zip(colours, lines, strict=True)]
    values = np.empty((3, len(names), 2, len(found.plain.epochs)))
    for j, lesson in enumerate(found.lessons):
        chosen = [(lesson.kd, work.WEIGHTS.index(weight)) for weight in (0.5, 0.9)]
        chosen += [(lesson.kd, len(work.WEIGHTS) + 2), (lesson.kd_unbiased, -1)]
        for i, (runs, q) in enumerate([(found.plain, 0), *chosen, (found.svrg, 0)]):
            values[j, i] = runs.gap[q], runs.distance[q]
        display = fd.plot.TraceDisplay(
            found.plain.epochs, {"gap": values[j, :, 0], "distance": values[j, :, 1]}, names=names
        )
        for row, quantity in enumerate(("gap", "distance")):
            display.plot(axes[3 * row + j], quantity=quantity, log=True, styles=styles, legend=False)
        figures.label(axes[j], f"{lesson.teacher.quality} teacher", "", "f(x) − f*" if j == 0 else "")
        figures.label(axes[3 + j], "", "epoch", "‖x − x*‖²" if j == 0 else "")
        for ax, level in zip((axes[3 + j], axes[j]), found.plateau, strict=True):
            ax.set_ylim(bottom=level * 1e-4)  # SVRG goes on falling; nothing else is below
    figures.legend_below(figure, axes[0], 6)
    qualities = [lesson.teacher.quality for lesson in found.lessons]
    grid = {"data": qualities, "method": list(names), "quantity": ["loss", "distance"], "epoch": found.plain.epochs}
    least = ", ".join(f"{share:.3f}" for share, _ in found.least())
    return Picture(
        "curves",
        f"{found.title}: training loss and distance to the minimiser",
        f"{ABSTRACT}.",
        "plain SGD stops falling at a plateau. KD falls to a lower one, or, where the teacher is poor and the weight "
        f"large, stays above: the best weights tried leave {least} of the plateau of the distance for the three "
        "teachers. Unbiased KD lowers it with every teacher; SVRG, whose teacher is its own last epoch, goes on "
        "falling (cut off below).",
        figure,
        grid_data(grid, {"value": values}),
    )


def _weights(found: work.Study) -> Picture:
    figure, axes = figures.panels(2, 3, 12.0, 7.0, sharex=True)
    fine, parts = np.linspace(0.0, 1.0, 101), []

    def add(ax: Any, j: int, k: int, name: str, weights: np.ndarray, share: np.ndarray, style: dict[str, Any]) -> None:
        ax.semilogy(weights, share, label=name, **style)
        words = {"data": found.lessons[j].teacher.quality, "method": name, "quantity": KINDS[k]}
        parts.append({key: [word] * len(share) for key, word in words.items()} | {"weight": weights, "share": share})

    for j, lesson in enumerate(found.lessons):
        own = (lesson.teacher.distance, lesson.teacher.gap)
        for k, kind in enumerate(KINDS):
            ax, plain = axes[3 * k + j], found.plateau[k]
            law = (1 - fine) ** 2 + fine**2 * own[k] / plain
            N, unbiased = (each.at(fine) / each.at(0.0) for each in (lesson.around[k], lesson.unbiased))
            add(ax, j, k, "KD, second-order law", fine, law, {"color": figures.GREEN, "linewidth": 2})
            add(ax, j, k, "KD, N(λ) / N(0)", fine, N, {"color": figures.ORANGE, "linestyle": "--", "linewidth": 1.8})
            dots: dict[str, Any] = {"color": figures.BLUE, "linestyle": ":", "linewidth": 2}
            add(ax, j, k, "unbiased KD, N(λ) / N(0)", fine, unbiased, dots)
            for runs, mark, colour, name in (
                (lesson.kd, "o", "black", "KD, measured"),
                (lesson.kd_unbiased, "s", figures.BLUE, "unbiased KD, measured"),
            ):
                marks: dict[str, Any] = {"color": colour, "marker": mark, "linestyle": "", "markersize": 5}
                add(ax, j, k, name, runs.weights, runs.plateaus[k] / plain, marks)
            ax.axhline(1.0, color="black", linewidth=0.8)
            title = f"{lesson.teacher.quality} teacher: {kind}"
            figures.label(ax, title, "weight λ" if k else "", "plateau / plateau of SGD" if j == 0 else "")
    figures.legend_below(figure, axes[0], 5)
    return Picture(
        "weights",
        f"{found.title}: plateau against the weight, measured and predicted",
        f"{ABSTRACT}, and it puts emphasis on the weighting of the distillation loss.",
        "measured plateaus of KD lie on the second-order law: the noise shrinks by 1 − λ, the mean moves by "
        "λ (θ − x*). The ratio of bounds N(λ) / N(0) can lie on either side of them for the distance, and lies below "
        "for the loss. Without the bias N is sharp.",
        figure,
        stacked_data(parts),
    )


def _squares(found: work.Study) -> Picture:
    figure, axes = figures.panels(1, 3, 12.0, 4.2)
    fine, parts = np.linspace(0.0, 1.0, 101), []
    styles = (("KD", figures.GREEN, "o", "-"), ("unbiased KD", figures.BLUE, "s", ":"))
    for ax, each in zip(axes, found.squares, strict=True):
        plain, size = each.exact[0][0], len(each.weights)
        N = each.around.at(each.weights) / each.around.at(0.0)
        for (name, colour, mark, line), measured, exact in zip(styles, each.measured, each.exact, strict=True):
            curve = work.parabola(fine, exact[0], exact[size // 2], exact[-1]) / plain
            ax.semilogy(fine, curve, color=colour, linestyle=line, linewidth=2, label=f"{name}, exact")
            ax.semilogy(each.weights, measured / plain, mark, color=colour, markersize=5, label=f"{name}, measured")
            head = {"method": [name] * size, "share": [each.share] * size, "weight": each.weights}
            parts.append(head | {"exact": exact / plain, "measured": measured / plain, "bound_of_kd": N})
        bound = each.around.at(fine) / each.around.at(0.0)
        ax.semilogy(fine, bound, color=figures.ORANGE, linestyle="--", linewidth=1.6, label="KD, N(λ) / N(0)")
        ax.axhline(1.0, color="black", linewidth=0.8)
        figures.label(ax, f"‖θ − x*‖² = {each.share:g} × plateau of SGD", "weight λ")
    axes[0].set_ylabel("plateau / plateau of SGD")
    figures.legend_below(figure, axes[0], 5)
    return Picture(
        "squares",
        f"{found.title}, least squares: exact stationary distance, and measured",
        "theorems that bound this distance; the exact values go beyond it.",
        "runs settle where the exact moments say. With the plateau P of plain SGD the best weight is "
        "P / (P + ‖θ − x*‖²), and leaves 1 minus that: a teacher as far from the minimiser as SGD itself halves the "
        "plateau.",
        figure,
        stacked_data(parts),
    )


def _sparse(found: work.Study) -> Picture:
    figure, (left, right) = figures.panels(1, 2, 11.0, 4.4)
    names = list(dict.fromkeys(each.name for each in found.sparse if each.sparsity > 0))
    dense = next(each for each in found.sparse if each.sparsity == 0)
    zeros = (0.0, *work.SPARSITIES)
    values = np.array([[dense.gap, *(each.gap for each in found.sparse if each.name == name)] for name in names])
    for name, gap, colour in zip(names, values, (figures.ORANGE, figures.GREEN, figures.BLUE), strict=True):
        left.semilogy(zeros, gap[:, 0], "o-", color=colour, label=f"{name}, SGD")
        left.semilogy(zeros, gap[:, 1], "s--", color=colour, label=f"{name}, KD")
        right.plot(zeros, gap[:, 1] / gap[:, 0], "o-", color=colour)
    right.axhline(1.0, color="black", linewidth=0.9)
    figures.label(left, "Plateau of the loss above the least possible", "share of zeros", "f(x) − least")
    figures.label(right, f"KD (λ = {work.PUBLISHED_WEIGHT:g}) / SGD", "share of zeros")
    figures.legend_below(figure, left, 3)
    grid = {"method": names, "zeros": zeros, "student": ["SGD", "KD"]}
    return Picture(
        "sparse",
        f"{found.title}: sparse students of the good teacher",
        "a theorem on compressed iterates; the authors' scripts also train students under fixed masks.",
        "the teacher lowers the plateau of moderately sparse students, and does less the sparser they are: the noise "
        "of the dense teacher is no longer theirs.",
        figure,
        grid_data(grid, {"plateau": values}),
    )


def _deep(found: work.Study) -> Picture:
    figure, (left, right) = figures.panels(1, 2, 11.0, 4.4)
    colours = {1: figures.GREY, 2: figures.BLUE, 3: figures.ORANGE}
    lines = dict(zip(work.DEEP_WEIGHTS, ("-", "--", ":"), strict=True))
    parts = []
    for each in found.deep:
        trace = {key: values[1:] for key, values in each.trace.items()}  # no steps before the start
        name = f"{each.depth} layer{'s' if each.depth > 1 else ''}, λ = {each.weight:g}"
        values = {key: trace[key] for key in ("step_cosine", "prediction_error")}
        display = fd.plot.TraceDisplay(trace["epoch"], values, names=[name])
        styles = [{"color": colours[each.depth], "linestyle": lines[each.weight]}]
        for ax, (quantity, log) in zip(
            (left, right), (("step_cosine", False), ("prediction_error", True)), strict=True
        ):
            display.plot(ax, quantity=quantity, log=log, styles=styles)
        size = len(trace["epoch"])
        head = {"layers": [each.depth] * size, "weight": [each.weight] * size}
        shown = ("epoch", "step_cosine", "step_cosine_min", "prediction_error", "loss")
        parts.append(head | {key: trace[key] for key in shown})
    left.set_ylim(top=1.03)
    figures.label(left, "Mean cosine of the two gradients", "epoch", "cosine")
    figures.label(right, "Distance of predictions from the teacher's", "epoch", "mean square")
    figures.legend_below(figure, left, 4)
    return Picture(
        "deep",
        f"{found.title}: deep linear students",
        "theory for deep linear networks in terms of ∇f(x) − λ ∇f(θ); the authors' scripts track its cosine with the "
        "true distillation gradient.",
        "with one layer the two are the same. With more they point the same way on most batches, the less so the "
        "larger the weight and the longer the training: where the student predicts what the teacher does, the true "
        "gradient of λ = 1 vanishes and the other need not.",
        figure,
        stacked_data(parts),
    )
