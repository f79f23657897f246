"""A diagnosis as a page: the table of students, the directions of the spectrum, and three pictures.

======================  ==================================================================================
picture                 what it shows
======================  ==================================================================================
``error``               leave-one-out error of 0..k steps against λ; gains, leave-one-out and held out
``signal``              z_j² / ‖y − ȳ‖² of each direction beside the noise γ²; cumulated beside d_j / Σ d
``filters``             filters of the best ridge and of the students beside those wanted, (1 − γ² / z_j²)₊
======================  ==================================================================================

Cost: about a quarter of a second for each picture, in matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastdistill.diagnosis.diagnosis import ABOVE_NOISE, HELD_OUT, OPTIMISTIC, Diagnosis, Row
from fastdistill.diagnosis.table import counted
from fastdistill.pages import figures, files
from fastdistill.pages.parts import PageText, Picture, Report, Table, grid_data

PAGE = "diagnosis.html"
SHOWN_DIRECTIONS = 10
SHOWN_COLUMNS = 3
LEAST_GAIN = 0.5  # %, which the axis of gains shows at least: smaller ones are to look small
BY_EIGENVALUE = "direction j, largest eigenvalue first"
COLOURS = ("black", figures.BLUE, figures.ORANGE, figures.GREEN, figures.PINK, figures.SKY, figures.YELLOW)
WANTED = (
    "The wanted filter of a direction is estimated from that direction alone, so small points are mostly noise: it is "
    "the picture that distillation would have to match, not one that can be trusted point by point."
)
WANTED_UNKNOWN = "Which filter would be wanted cannot be said: the noise of y cannot be told from its signal here."
FOOTER = "Every table and the data of every picture lie beside this page as CSV."


def write(diagnosis: Diagnosis, out: Path) -> Path:
    """Page, CSV and PNG files of a diagnosis into the folder `out`, all or nothing; the path of the page."""
    text = PageText(
        f"Would self-distillation help to predict {diagnosis.target}?",
        f"{diagnosis.advice} Why: {diagnosis.verdict}",
        "How to read this, and what was done to the table",
        FOOTER,
    )
    with files.staged(out) as folder:
        files.write([_report(diagnosis)], PAGE, folder, text)
    return out / PAGE


def _report(diagnosis: Diagnosis) -> Report:
    n, p = counted(len(diagnosis.rows), "sample"), counted(len(diagnosis.feature_names), "column")
    return Report(
        name="diagnosis",
        title="Ridge beside its distilled students",
        reference=f"{n}, {p}, rank {len(diagnosis.d)}.",
        summary=diagnosis.where,
        assumptions=(OPTIMISTIC, HELD_OUT, *diagnosis.notes),
        tables=(_students(diagnosis), _directions(diagnosis)),
        pictures=(_errors(diagnosis), _signal(diagnosis), _filters(diagnosis)),
    )


def _all(diagnosis: Diagnosis) -> list[Row]:
    return [*diagnosis.steps, diagnosis.safe]


def _students(diagnosis: Diagnosis) -> Table:
    measured = ("loo_error", "loo_error_se", "gain", "gain_se", "held_out_gain", "held_out_gain_se")
    heads, *shown = diagnosis.table()
    rows = []
    for row in _all(diagnosis):
        xi = None if row.xi is None else " ".join(map(repr, row.xi.tolist()))
        numbers = (row.error, row.error_se, row.gain, row.gain_se, row.held_out_gain, row.held_out_gain_se)
        rows.append((row.name, row.n_steps, row.penalty, xi, *numbers))
    columns = ("student", "n_steps", "penalty", "xi", *measured)
    return Table("students", "Ridge and its students", columns, rows, shown, heads=heads)


def _directions(diagnosis: Diagnosis) -> Table:
    """Every direction, of which those with most signal are shown."""
    share_of_x, ridge, known = diagnosis.d / diagnosis.d.sum(), diagnosis.steps[0].filter, diagnosis.wanted
    rows: list[tuple[Any, ...]] = []
    for j, direction in enumerate(diagnosis.directions.T):
        largest = np.argsort(-np.abs(direction))[:SHOWN_COLUMNS]
        made_of = ", ".join(f"{direction[i]:+.2f} {diagnosis.feature_names[i]}" for i in largest)
        numbers = (diagnosis.d[j], share_of_x[j], diagnosis.share[j], ridge[j])
        wanted = None if known is None else float(known[j])
        rows.append((j + 1, *map(float, numbers), wanted, made_of))
    strongest = sorted(np.argsort(-diagnosis.signal)[:SHOWN_DIRECTIONS])
    shown: list[tuple[str, ...]] = [
        (
            str(j),
            f"{d:.4g}",
            f"{of_x:.1%}",
            f"{of_y:.2%}",
            f"{kept:.3f}",
            "–" if wanted is None else f"{wanted:.3f}",
            made_of,
        )
        for j, d, of_x, of_y, kept, wanted, made_of in (rows[i] for i in strongest)
    ]
    return Table(
        "directions",
        f"The {len(shown)} directions with most of the signal",
        ("direction", "eigenvalue", "share_of_x", "share_of_y", "ridge_filter", "wanted_filter", "mostly"),
        rows,
        shown,
        ("The target grows along each direction. A filter of 1 keeps it, one of 0 removes it.",),
        ("j", "eigenvalue", "of the variance of X", "of that of y", "ridge keeps", "wanted", "mostly made of"),
    )


def _errors(diagnosis: Diagnosis) -> Picture:
    inches = max(4.4, 2.0 + 0.2 * len(diagnosis.steps))  # a line of text for every student
    figure, (left, right) = figures.panels(1, 2, 11.0, inches, width_ratios=[1.5, 1.0])
    ridge = diagnosis.steps[0]
    left.axhspan(ridge.error - ridge.error_se, ridge.error + ridge.error_se, color="#ededed", zorder=0)
    for t, row in enumerate(diagnosis.steps):
        colour = COLOURS[t % len(COLOURS)]
        left.semilogx(diagnosis.penalties, diagnosis.scores[:, t], color=colour, label=row.name, linewidth=1.6)
        left.plot(row.penalty, row.error, "o", color=colour, markersize=max(9.5 - 1.5 * t, 4))
    finite = diagnosis.scores[np.isfinite(diagnosis.scores)]
    low, high = min(finite.min(), ridge.error - 1.5 * ridge.error_se), ridge.error + 1.5 * ridge.error_se
    left.set_ylim(low - 0.05 * (high - low), max(high, min(finite.max(), ridge.error + 6 * (ridge.error - low))))
    figures.label(left, "Leave-one-out error, the best weights at each penalty", "penalty λ", "mean squared error")
    left.legend(frameon=False, fontsize=9, ncols=1 + len(diagnosis.steps) // 12)
    rows = _all(diagnosis)[1:]
    for shift, name, mark, pick in (
        (0.12, "leave-one-out", "o", lambda row: (row.gain, row.gain_se)),
        (-0.12, "held out, all chosen anew", "s", lambda row: (row.held_out_gain, row.held_out_gain_se)),
    ):
        gain, error = 100 * np.array([pick(row) for row in rows]).T
        height = -np.arange(len(rows)) + shift
        filled = figures.BLUE if mark == "o" else "white"
        right.errorbar(
            gain, height, xerr=2 * error, fmt=mark, color=figures.BLUE, markerfacecolor=filled, capsize=3, label=name
        )
    right.axvline(0.0, color="black", linewidth=1.0)
    right.set_yticks(-np.arange(len(rows)), [row.name for row in rows])
    right.set_ylim(0.6 - len(rows), 0.6)
    left_end, right_end = right.get_xlim()
    right.set_xlim(min(left_end, -LEAST_GAIN), max(right_end, LEAST_GAIN))
    right.xaxis.get_major_locator().set_params(nbins=6)
    figures.label(right, "Gain over the best ridge, ± 2 standard errors", "% of its error")
    figures.legend_below(figure, right, 2)
    return Picture(
        "error",
        "Errors against the penalty, and what the students gain",
        "",
        "Left: dots mark the smallest error, the band is one standard error around that of the best ridge. More steps "
        "lie lower by construction: their weights are tuned to these very samples. Right: gains compared sample by "
        "sample, so that they can be told more finely than the band; hollow squares are the honest ones.",
        figure,
        grid_data(
            {"lam": diagnosis.penalties, "student": [row.name for row in diagnosis.steps]},
            {"loo_error": diagnosis.scores},
        ),
    )


def _signal(diagnosis: Diagnosis) -> Picture:
    figure, (left, right) = figures.panels(1, 2, 11.0, 4.2)
    j, share = np.arange(1, len(diagnosis.d) + 1), diagnosis.share
    noise = 0.0 if diagnosis.noise is None else diagnosis.noise / diagnosis.total
    floor = max(0.01 * noise, 1e-9 * share.max())
    above = np.full(len(j), False) if diagnosis.noise is None else share > ABOVE_NOISE * noise
    for chosen, colour, name in (
        (above, figures.ORANGE, "above the noise"),
        (~above, figures.GREY, "not told from noise"),
    ):
        if not chosen.any():
            continue
        left.vlines(j[chosen], floor, np.maximum(share[chosen], floor), color=colour, linewidth=1.0, alpha=0.6)
        left.plot(j[chosen], np.maximum(share[chosen], floor), "o", color=colour, markersize=4.5, label=name)
    left.set_yscale("log")
    if noise > 0:
        left.axhline(noise, color=figures.BLUE, linestyle="--", linewidth=1.3, label="noise γ²")
    figures.label(left, "Signal along each direction", BY_EIGENVALUE, "share of the variance of y")
    left.legend(frameon=False, fontsize=9)
    of_x = diagnosis.d / diagnosis.d.sum()
    for part, colour, name in ((of_x, figures.GREY, "variance of X"), (share, figures.ORANGE, "variance of y")):
        right.plot(np.append(0, j), np.append(0, np.cumsum(part)), color=colour, label=name)
    right.set_ylim(0, 1.02)
    figures.label(right, "Cumulated share of the first j directions", "j")
    right.legend(frameon=False, fontsize=9)
    left.set_xlim(0.5 - 0.02 * len(j), 0.5 + 1.02 * len(j))
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
    return Picture(
        "signal",
        "Where the signal sits",
        "",
        f"{diagnosis.where} Distillation has something to offer where a few directions carry the signal and others of "
        "similar or larger eigenvalue do not: ridge cannot keep the first and drop the others.",
        figure,
        {
            "direction": j,
            "eigenvalue": diagnosis.d,
            "share_of_x": of_x,
            "share_of_y": share,
            **({} if diagnosis.noise is None else {"noise": np.full(len(j), noise)}),
        },
    )


def _filters(diagnosis: Diagnosis) -> Picture:
    figure, (ax,) = figures.panels(1, 1, 9.0, 4.2)
    j = np.arange(1, len(diagnosis.d) + 1)
    wanted = diagnosis.wanted
    if diagnosis.noise is not None and wanted is not None:
        told = np.maximum(diagnosis.signal - diagnosis.noise, 0.0)
        size = 12 + 160 * told / max(told.max(), np.finfo(float).tiny)
        ax.scatter(j, wanted, s=size, color=figures.YELLOW, alpha=0.75, linewidths=0, label="wanted (area: signal)")
    of_wanted = {} if wanted is None else {"wanted": wanted}
    rows = _all(diagnosis) if diagnosis.safe.n_steps else diagnosis.steps
    for t, row in enumerate(rows):
        style = {"linestyle": "--", "linewidth": 2.2} if row is diagnosis.safe else {"linewidth": 1.4}
        mark = "." if len(j) <= 150 else None
        ax.plot(j, row.filter, color=COLOURS[t % len(COLOURS)], marker=mark, label=row.name, **style)
    drawn = np.concatenate([row.filter for row in rows])
    ax.set_ylim(max(-0.6, drawn.min() - 0.05) if drawn.min() < 0 else -0.05, max(1.05, min(1.6, drawn.max() + 0.05)))
    ax.xaxis.get_major_locator().set_params(integer=True)
    figures.label(ax, "Spectral filters", BY_EIGENVALUE, "share kept")
    figures.legend_below(figure, ax, min(len(rows) + 1, 6))
    return Picture(
        "filters",
        "What is kept of each direction" + ("" if wanted is None else ", and what would be wanted"),
        "",
        "Filters of ridge fall from left to right, whatever its penalty; those of students need not. "
        + (WANTED_UNKNOWN if wanted is None else WANTED),
        figure,
        {"direction": j, **of_wanted, **{row.name: row.filter for row in rows}},
    )
