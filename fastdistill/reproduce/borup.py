"""[B] Rounds that keep a share of the ground truth: two loss tables, and a limit that is one ridge.

The eleven points of [M], the kernel exp(−80 (x − z)²) and the penalty λ = 0.2. Step t is trained on
α y + (1 − α) ŷ_{t−1}:

    B_0 = A,   B_t = A (α I + (1 − α) B_{t−1}),   A = d / (d + λ),   B_∞ = d / (d + λ/α).

==================================  ============================================
paper [B]                           here
==================================  ============================================
α, weight of the ground truth       ``1 − xi``
τ, number of the step               index of the step axis of ``S.path``
B_τ                                 ``path.filters``
infinite-step solution              ``S.limit``
==================================  ============================================

Cost: one 11 × 11 decomposition; the rest is drawing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import fastdistill as fd
from fastdistill.pages import figures
from fastdistill.pages.parts import Picture, Progress, Report, Table, grid_data, plain_table, stacked_data
from fastdistill.reproduce.mobahi import X, Y, gaussian, truth
from fastdistill.reproduce.report import Row, comparison

PENALTY = 0.2
STEPS = 5
FINE = np.linspace(0.0, 1.0, 101)  # the paper's grid for the loss
LOSSES = {
    0.0: (("0.16477", "0.15076", "0.14915", "0.15561", "0.16735", "0.18251"), "0.49505"),
    0.25: (("0.16477", "0.15309", "0.14958", "0.14903", "0.14946", "0.15011"), "0.15250"),
    0.35: (("0.16477", "0.15424", "0.15089", "0.14983", "0.14954", "0.14948"), "0.14959"),
}
DRAWN = (0.0, 0.25)  # in the pictures
LABELS = (
    "This is the second column of the authors' README. Its label differs between versions of that file, 0.35 or 0.25; "
    "the numbers are those of α = 0.35, to the last digit."
)


def reproduce(folder: Path | None, progress: Progress) -> Report:
    """Tables and pictures of [B]; needs no data folder."""
    progress("borup: steps with and without ground truth")
    spectrum = fd.Spectrum.from_kernel(gaussian(X, X))
    return Report(
        name="borup",
        title="Even your teacher needs guidance: ground-truth targets dampen self-distillation",
        reference="Borup, Andersen 2021, arXiv:2102.13088",
        summary=(
            "Kernel ridge on eleven noisy values of sin 2πx, distilled with the weight α on the ground truth. "
            "Without it (α = 0) the steps shrink to zero; with α = 0.25 they converge to one kernel ridge of "
            "the penalty λ/α, and the loss stays near its best."
        ),
        assumptions=(
            "The eleven points of Mobahi et al.; Gaussian kernel exp(−80 (x − z)²); λ = 0.2 against the sum "
            "of squared residuals.",
            "λ and α are the same in every step.",
            "Loss: mean squared error to the noiseless sin 2πx at x = 0, 0.01, …, 1. In practice the truth is "
            "not known: the best step can be read off this table, but not off the data.",
        ),
        tables=(*(_losses(spectrum, alpha) for alpha in LOSSES), _theorems(spectrum)),
        pictures=(_curves(spectrum), _bars(spectrum), _ratios(spectrum), _loss_over_steps(spectrum)),
    )


def _losses(spectrum: Any, alpha: float) -> Table:
    queries, wanted = gaussian(FINE, X), truth(FINE)
    printed, limit = LOSSES[alpha]
    ours = spectrum.path(Y, PENALTY, 1 - alpha, STEPS).mse(queries, wanted)
    rows = [Row(f"step {t}", p, float(loss)) for t, (p, loss) in enumerate(zip(printed, ours, strict=True))]
    rows.append(Row("limit", limit, float(spectrum.limit(Y, PENALTY, 1 - alpha).mse(queries, wanted))))
    kind = "without ground truth" if alpha == 0 else "with ground truth"
    notes = (LABELS,) if alpha == 0.35 else ()
    return comparison(f"loss-alpha-{alpha:g}", f"Loss, α = {alpha:g} ({kind})", rows, notes=notes)


def _theorems(spectrum: Any) -> Table:
    """The limit and its rate, checked on the filters themselves."""
    alpha, steps = 0.25, 60
    path, limit = spectrum.path(Y, PENALTY, 1 - alpha, steps), spectrum.limit(Y, PENALTY, 1 - alpha)
    ridge = spectrum.path(Y, fd.theory.limit_penalty(PENALTY, 1 - alpha), [])
    distance = np.abs(path.filters - limit.filters).max(axis=1)
    rate = float(fd.theory.convergence_rate(spectrum.d, PENALTY, 1 - alpha))
    same = float(np.abs(limit.fitted - ridge.fitted[0]).max())
    bound = rate**steps * distance[0]
    rows = [
        ("limit minus ridge of the penalty λ/α, largest |difference|", "0", same, "yes" if same < 1e-12 else "NO"),
        (
            f"distance of the filter of step {steps} from its limit",
            f"≤ {bound:.3g}",
            float(distance[-1]),
            "yes" if distance[-1] <= bound + 1e-14 else "NO",
        ),
    ]
    return plain_table(
        "theorems",
        "What the theorems promise, α = 0.25",
        ("quantity", "promised", "ours", "holds"),
        rows,
        (f"The distance shrinks by the factor (1 − α) max d/(d + λ) = {rate:.4f} with every step.",),
    )


def _curves(spectrum: Any) -> Picture:
    queries = gaussian(FINE, X)
    figure, axes = figures.panels(1, 2, 10.0, 4.4, sharey=True)
    data = [
        _curve("", "truth", FINE, truth(FINE)),
        _curve("", "data", X, Y),
    ]
    for ax, alpha in zip(axes, DRAWN, strict=True):
        curves = spectrum.path(Y, PENALTY, 1 - alpha, STEPS).predict(queries)
        limit = spectrum.limit(Y, PENALTY, 1 - alpha).predict(queries)
        ax.plot(FINE, truth(FINE), color="black", linestyle="--", linewidth=1.2, label="truth sin 2πx")
        ax.plot(X, Y, "o", color=figures.GREY, markersize=6, label="data y")
        for t, (curve, colour) in enumerate(zip(curves, figures.shades(len(curves)), strict=True)):
            ax.plot(FINE, curve, color=colour, linewidth=1.8, label=f"step {t}")
        ax.plot(FINE, limit, color=figures.ORANGE, linestyle="-.", linewidth=2, label="limit")
        figures.label(ax, f"α = {alpha:g}", "x", "f(x)" if alpha == 0 else "")
        for name, values in [*((f"step {t}", curve) for t, curve in enumerate(curves)), ("limit", limit)]:
            data.append(_curve(f"{alpha:g}", name, FINE, values))
    figures.legend_below(figure, axes[0], 5)
    return Picture(
        "curves",
        "Steps with and without ground truth",
        "six fits without ground truth, which flatten out towards zero, beside six with α = 0.25, which stay together.",
        "the same. The limit is the zero function on the left, and a kernel ridge of the penalty 0.8 on the right.",
        figure,
        stacked_data(data),
    )


def _curve(alpha: str, name: str, x: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    return {"alpha": np.full(x.shape, alpha), "curve": np.full(x.shape, name), "x": x, "value": values}


def _bars(spectrum: Any) -> Picture:
    k, steps = np.arange(1, spectrum.rank + 1), np.arange(STEPS + 1)
    filters = np.array([spectrum.path(Y, PENALTY, 1 - alpha, STEPS).filters for alpha in DRAWN])
    figure, axes = figures.panels(2, 1, 9.5, 5.6, sharex=True)
    names = [f"step {t}" for t in steps]
    for ax, alpha, rows in zip(axes, DRAWN, filters, strict=True):
        display = fd.plot.SpectrumDisplay(spectrum.d, filters=rows, names=names)
        display.plot(ax, kind="filters", bars=True, legend=False)
        ax.set_xticks(k)
        figures.label(ax, f"α = {alpha:g}", "k, largest eigenvalue first" if alpha else "", "[B]ₖₖ")
    figures.legend_below(figure, axes[0], 6)
    return Picture(
        "bars",
        "Diagonal of B for every step",
        "the diagonal entries fall with every step, the small ones faster; ground truth stops the fall.",
        "with α = 0 the last entries are nearly gone after five steps; with α = 0.25 all settle well above zero.",
        figure,
        grid_data({"alpha": list(DRAWN), "step": steps, "k": k}, {"filter": filters}),
    )


def _ratios(spectrum: Any) -> Picture:
    steps, k = np.arange(26), np.arange(1, spectrum.rank)
    figure, axes = figures.panels(1, 2, 10.0, 4.3)
    ratios = []
    for ax, alpha in zip(axes, DRAWN, strict=True):
        ratio = fd.theory.filter_ratios(spectrum.path(Y, PENALTY, 1 - alpha, len(steps) - 1).filters)
        ratios.append(ratio)
        limits = fd.theory.filter_ratios(spectrum.limit(Y, PENALTY, 1 - alpha).filters) if alpha else None
        for j, colour in enumerate(figures.shades(len(k))):
            ax.plot(steps, ratio[:, j], color=colour, linewidth=1.8, label=f"k = {j + 1}")
            if limits is not None:
                ax.axhline(limits[j], color=colour, linestyle=":", linewidth=1.2)
        figures.label(ax, f"α = {alpha:g}" + ("; dotted: limits" if alpha else ""), "step", "B[k] / B[k+1]")
    axes[0].set_yscale("log")
    axes[1].set_ylabel("")
    figures.legend_below(figure, axes[0], 5)
    return Picture(
        "ratios",
        "Ratios of neighbouring diagonal entries",
        "the theorem: without ground truth every ratio grows without bound, so B becomes sparse; with it the "
        "ratios converge.",
        "straight lines on the logarithmic axis on the left, which is geometric growth; on the right, on a "
        "linear axis, limits that are reached in about ten steps.",
        figure,
        grid_data({"alpha": list(DRAWN), "step": steps, "k": k}, {"ratio": np.array(ratios)}),
    )


def _loss_over_steps(spectrum: Any) -> Picture:
    queries, wanted = gaussian(FINE, X), truth(FINE)
    steps, alphas = np.arange(61), (0.0, 0.1, 0.25, 0.5, 1.0)
    losses = np.array([spectrum.path(Y, PENALTY, 1 - alpha, len(steps) - 1).mse(queries, wanted) for alpha in alphas])
    limits = np.array([float(spectrum.limit(Y, PENALTY, 1 - alpha).mse(queries, wanted)) for alpha in alphas])
    figure, axes = figures.panels(1, 2, 10.0, 4.2)
    colours = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.PINK, figures.GREY)
    for ax in axes:
        for alpha, loss, limit, colour, mark in zip(alphas, losses, limits, colours, "osD^v", strict=True):
            ax.plot(
                steps, loss, color=colour, linewidth=1.8, marker=mark, markersize=4, markevery=3, label=f"α = {alpha:g}"
            )
            ax.axhline(limit, color=colour, linestyle=":", linewidth=1.3)
    axes[1].set_xlim(-0.5, 20)
    axes[1].set_xticks(range(0, 21, 5))
    axes[1].set_ylim(0.147, 0.172)
    figures.label(
        axes[0], "Loss over the steps; dotted: limits", "step (0 is kernel ridge)", "mean squared error to sin 2πx"
    )
    figures.label(axes[1], "The same, enlarged", "step (0 is kernel ridge)")
    figures.legend_below(figure, axes[0], 5)
    return Picture(
        "loss",
        "Loss over the steps, with its limit",
        "its tables: a loss that falls for two or three steps, then rises without ground truth, and levels "
        "off with it.",
        "α = 0 rises to 0.495, the mean square of the truth itself; α = 0.1 settles higher than ridge alone, "
        "α = 0.25 and 0.5 lower. α = 1 is ridge at every step.",
        figure,
        stacked_data(
            [
                grid_data({"alpha": alphas, "step": steps.astype(float)}, {"loss": losses}),
                grid_data({"alpha": alphas, "step": [np.inf]}, {"loss": limits[:, None]}),
            ]
        ),
    )
