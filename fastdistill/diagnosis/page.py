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

from fastdistill.diagnosis.diagnosis import HELD_OUT, OPTIMISTIC, Diagnosis, Row
from fastdistill.diagnosis.table import counted
from fastdistill.pages import figures, files
from fastdistill.pages.parts import PageText, Picture, Report, Table, grid_data
from fastdistill.plot.choices import TuningDisplay
from fastdistill.plot.spectra import SpectrumDisplay

PAGE = "diagnosis.html"
SHOWN_DIRECTIONS = 10
SHOWN_COLUMNS = 3
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
    display = TuningDisplay(diagnosis.penalties, diagnosis.scores, _all(diagnosis), quantity="mean squared error")
    display.plot(left)
    left.set_title("Leave-one-out error, the best weights at each penalty", fontsize=10.5)
    display.plot(right, kind="gains", legend=False)
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


def _spectrum(diagnosis: Diagnosis) -> SpectrumDisplay:
    rows = _all(diagnosis) if diagnosis.safe.n_steps else diagnosis.steps
    return SpectrumDisplay(
        diagnosis.d,
        diagnosis.share,
        filters=[row.filter for row in rows],
        names=[row.name for row in rows],
        noise=None if diagnosis.noise is None else diagnosis.noise / diagnosis.total,
        wanted=diagnosis.wanted,
    )


def _columns(display: SpectrumDisplay, *names: str) -> dict[str, Any]:
    """Those columns of the display that are known."""
    return {name: values for name, values in display.columns().items() if name in names}


def _signal(diagnosis: Diagnosis) -> Picture:
    figure, (left, right) = figures.panels(1, 2, 11.0, 4.2)
    display = _spectrum(diagnosis)
    display.plot(left, kind="signal")
    display.plot(right, kind="cumulated")
    return Picture(
        "signal",
        "Where the signal sits",
        "",
        f"{diagnosis.where} Distillation has something to offer where a few directions carry the signal and others of "
        "similar or larger eigenvalue do not: ridge cannot keep the first and drop the others.",
        figure,
        _columns(display, "direction", "eigenvalue", "share_of_x", "share_of_y", "noise"),
    )


def _filters(diagnosis: Diagnosis) -> Picture:
    figure, (ax,) = figures.panels(1, 1, 9.0, 4.2)
    display = _spectrum(diagnosis)
    styles: list[dict[str, Any]] = [{} for _ in display.names]
    if diagnosis.safe.n_steps:
        styles[-1] = {"linestyle": "--", "linewidth": 2.2}
    display.plot(ax, kind="filters", styles=styles, legend=False)
    figures.legend_below(figure, ax, min(len(display.names) + 1, 6))
    return Picture(
        "filters",
        "What is kept of each direction" + ("" if diagnosis.wanted is None else ", and what would be wanted"),
        "",
        "Filters of ridge fall from left to right, whatever its penalty; those of students need not. "
        + (WANTED_UNKNOWN if diagnosis.wanted is None else WANTED),
        figure,
        _columns(display, "direction", "wanted", *display.names),
    )
