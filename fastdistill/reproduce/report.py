"""What a reproduction hands over: tables *paper | ours | difference*, pictures, and one page that holds them all.

A published number is kept as the string that was printed: "0.0627" has the unit u = 10⁻⁴ in its last place, and ours
agrees to the printed digits where

    |ours − paper| ≤ u / 2.

=============================  ================================================================
on the page                    here
=============================  ================================================================
table *paper, ours, ...*       `Table`, made by `comparison` from `Row`
figure and its data            `Picture`: one PNG, and the numbers drawn in it as a CSV
paper                          `Report`: tables, pictures, assumptions
folder                         `staged`: nothing is in place before everything is written
=============================  ================================================================

Cost: about a quarter of a second for each picture, in matplotlib.
"""

from __future__ import annotations

import base64
import csv
import html
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fastdistill.reproduce import InputError

Progress = Callable[[str], None]

# Okabe and Ito's colours, distinct for every common kind of colour vision
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GREY = "#767676"
DOTS_PER_INCH = 130
READABLE = 64  # pixels on the screen for an inch of a picture, so that letters of 9 points have 8 pixels

NO_FREE_LUNCH = (
    "Self-distillation is no free lunch. For ridge and kernel ridge every student is a spectral filter of the "
    "same data: distillation adds no information, it only widens the choice of filters. That pays where a "
    "single penalty cannot make the right filter (a strong signal in few directions, with distinct singular "
    "values, and weights that are known or tuned on plenty of held-out data). Elsewhere a well-tuned ridge is "
    "as good, more rounds only shrink the fit towards zero, and weights tuned on few samples make test errors "
    "larger."
)


@dataclass(frozen=True)
class Table:
    """Rows under named columns; `shown` holds the same rows as they are printed, `notes` what follows them."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    shown: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()  # of `shown`, where they are not the first of `columns`

    @property
    def headings(self) -> tuple[str, ...]:
        """What stands above `shown`."""
        return self.heads or self.columns[: len(self.shown[0])]


@dataclass(frozen=True)
class Picture:
    """A figure with its caption (what the paper's shows, if there is one, and what ours does) and its data, columns."""

    name: str
    title: str
    in_paper: str
    we_see: str
    figure: Figure
    data: dict[str, Any]


class Frame(NamedTuple):
    """What stands around the reports of a page; `remarks` heads the list of their assumptions."""

    heading: str
    warning: str
    remarks: str
    footer: str


REPRODUCED = Frame(
    "Published results of self-distillation, reproduced",
    NO_FREE_LUNCH,
    "Assumptions",
    "In every table a difference of 0 means that ours agrees with the paper to the digits printed there. Every table "
    "and the data of every picture lie beside this page as CSV.",
)


@dataclass(frozen=True)
class Report:
    """One paper: `name` starts every file name."""

    name: str
    title: str
    reference: str
    summary: str
    assumptions: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]

    def as_text(self) -> str:
        """Title and tables for a terminal."""
        return "\n".join([self.title, self.reference, "", *map(_text_of, self.tables)])


class Row(NamedTuple):
    """A published number (the string that was printed, None where there is none) and ours."""

    what: str
    paper: str | None
    ours: float
    note: str = ""
    more: tuple[Any, ...] = ()


def comparison(
    name: str, title: str, rows: Sequence[Row], more: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> Table:
    """The table *paper | ours | difference*; a difference of 0 means agreement to the printed digits."""
    columns = ("row", "paper", "ours", "difference", *more)
    shown = [(row.what, row.paper or "–", *_ours_and_difference(row), *map(_cell, row.more)) for row in rows]
    full = []
    for row in rows:
        published = None if row.paper is None else float(row.paper)
        difference = None if published is None else row.ours - published
        agrees = None if row.paper is None else "yes" if _agrees(row.ours, row.paper) else "no"
        full.append((row.what, row.paper, row.ours, difference, *row.more, agrees, row.note))
    about: dict[str, list[str]] = {}
    for row in rows:
        about.setdefault(row.note, []).append(row.what)
    remarks = [f"{'; '.join(names)}: {note}" for note, names in about.items() if note]
    return Table(name, title, (*columns, "agrees to printed digits", "note"), full, shown, (*remarks, *notes))


def plain_table(
    name: str, title: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]], notes: tuple[str, ...] = ()
) -> Table:
    """A table without a published column."""
    return Table(name, title, columns, list(rows), [tuple(map(_cell, row)) for row in rows], notes)


def _last_place(printed: str) -> tuple[int, float]:
    """Digits after the point of a printed number, and the unit in its last place."""
    mantissa, _, exponent = printed.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return digits, 10.0 ** (int(exponent or 0) - digits)


def _agrees(ours: float, printed: str) -> bool:
    _, unit = _last_place(printed)
    return abs(ours - float(printed)) <= 0.5 * unit * (1 + 1e-9)  # a tie in decimal is none in binary


def _ours_and_difference(row: Row) -> tuple[str, str]:
    """Ours with two digits more than were printed, and the difference."""
    if row.paper is None:
        return f"{row.ours:.4f}", "–"
    digits, _ = _last_place(row.paper)
    if "e" in row.paper:
        shown = f"{row.ours:.{digits + 2}e}"
    else:
        shown = f"{row.ours:.{digits + 2}f}" if digits else f"{row.ours:g}"
    return shown, "0" if _agrees(row.ours, row.paper) else f"{row.ours - float(row.paper):+.2g}"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def grid_data(axes: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Arrays over a grid as columns, one row a point: axes of lengths (A, B, ...), values of shape (A, B, ...)."""
    columns = np.meshgrid(*(np.asarray(axis) for axis in axes.values()), indexing="ij")
    named = dict(zip(axes, (column.ravel() for column in columns), strict=True))
    return named | {name: np.asarray(value).ravel() for name, value in values.items()}


def stacked_data(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Columns of several parts with the same names, one below the other."""
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def panels(rows: int, columns: int, width: float, height: float, **shared: Any) -> tuple[Figure, np.ndarray]:
    """A figure without pyplot and its axes (rows · columns,), inches; quiet frames, light grid."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e4e4e4", linewidth=0.7)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=9)
    return figure, axes


def label(ax: Axes, title: str, x: str, y: str = "") -> None:
    """Title and axis labels of one panel."""
    ax.set_title(title, fontsize=10.5)
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def legend_below(figure: Figure, source: Axes, columns: int) -> None:
    """One legend for the figure, outside the axes where it cannot cover data."""
    handles, names = source.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def shades(count: int) -> list[Any]:
    """Ordered colours from dark blue to yellow, readable in grey and for every common kind of colour vision."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, count)))


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A hidden folder to write into; its files move to `out` at the end, and on any failure nothing is left of it.

    Raises
    ------
    InputError
        `out` is a file, or cannot be written to; before any work is done.
    """
    existing = out
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"--out {out}: {existing} is a file, not a folder; name another folder.")
    try:
        hidden = Path(tempfile.mkdtemp(prefix=".fastdistill-", dir=existing))
    except OSError as err:
        raise InputError(f"--out {out}: cannot write to {existing} ({err.strerror}); name another folder.") from None
    try:
        files = hidden / "files"
        files.mkdir()
        yield files
        _move(files, out)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _move(files: Path, out: Path) -> None:
    """All of `files` into `out`: one rename where `out` does not exist yet, otherwise one for each file."""
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        files.rename(out)
        return
    for file in files.iterdir():
        if (out / file.name).is_dir():
            raise InputError(f"--out {out}: {out / file.name} is a folder, but a file of that name is to be written.")
    with _uninterrupted():
        for file in files.iterdir():
            os.replace(file, out / file.name)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the end: old and new files are not to be mixed."""
    if threading.current_thread() is not threading.main_thread():  # only there do signals arrive
        yield
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        raise KeyboardInterrupt


def write(
    reports: Sequence[Report],
    page: str,
    folder: Path,
    progress: Progress = lambda stage: None,
    frame: Frame = REPRODUCED,
) -> None:
    """CSV of every table, CSV and PNG of every picture, and one self-contained HTML page, into `folder`."""
    images: dict[str, bytes] = {}
    for report in reports:
        for table in report.tables:
            _write_csv(folder / f"{report.name}-{table.name}.csv", table.columns, table.rows)
        for picture in report.pictures:
            progress(f"{report.name}: drawing {picture.name}")
            stem = f"{report.name}-{picture.name}"
            columns = [np.asarray(column).tolist() for column in picture.data.values()]
            _write_csv(folder / f"{stem}.csv", tuple(picture.data), list(zip(*columns, strict=True)))
            picture.figure.savefig(folder / f"{stem}.png", dpi=DOTS_PER_INCH)
            images[stem] = (folder / f"{stem}.png").read_bytes()
    (folder / page).write_text(_page(reports, images, frame), encoding="utf-8")


def _write_csv(file: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(rows)


def _text_of(table: Table) -> str:
    head = table.headings
    widths = [max(map(len, column)) for column in zip(head, *table.shown, strict=True)]
    lines = [table.title]
    for row in (head, tuple("-" * width for width in widths), *table.shown):
        lines.append("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    lines.extend(f"  * {note}" for note in table.notes)
    return "\n".join([*lines, ""])


_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2430; background: #fff; margin: 0 auto; max-width: 58rem;
  padding: 0 1rem 4rem; overflow-wrap: break-word; }
h1 { line-height: 1.25; margin-top: 2rem; } h2 { line-height: 1.3; margin-top: 3rem; border-top: 2px solid #0072b2;
  padding-top: 1rem; } h3 { margin: 2rem 0 .5rem; font-size: 1.05rem; }
.plain { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .6rem 1rem; margin: 1.2rem 0; }
.reference, figcaption, .notes, footer { color: #4a5361; font-size: .92rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .8rem .28rem 0; text-align: left; border-bottom: 1px solid #e2e5ea; white-space: nowrap; }
th { border-bottom: 2px solid #aab2bf; } figure { margin: 1.5rem 0 2.2rem; }
figure img { width: 100%; height: auto; display: block; }
figcaption { margin-top: .5rem; }
""".strip()


def _page(reports: Sequence[Report], images: dict[str, bytes], frame: Frame) -> str:
    from fastdistill import __version__

    heading = html.escape(frame.heading)
    links = "".join(f'<li><a href="#{report.name}">{html.escape(report.title)}</a></li>' for report in reports)
    contents = f"<nav><ul>{links}</ul></nav>" if len(reports) > 1 else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{heading}</title>\n<style>\n{_STYLE}\n</style></head>\n<body>\n<h1>{heading}</h1>\n"
        f'<p class="plain">{html.escape(frame.warning)}</p>\n{contents}\n'
        + "\n".join(_section(report, images, frame.remarks) for report in reports)
        + f"\n<footer>fastdistill {__version__}. {html.escape(frame.footer)}</footer>\n</body></html>\n"
    )


def _section(report: Report, images: dict[str, bytes], remarks: str) -> str:
    parts = [
        f'<section id="{report.name}"><h2>{html.escape(report.title)}</h2>',
        f'<p class="reference">{html.escape(report.reference)}</p><p>{html.escape(report.summary)}</p>',
        f"<h3>{html.escape(remarks)}</h3>" + _list(report.assumptions),
        *(_html_table(table) for table in report.tables),
        *(_html_picture(picture, f"{report.name}-{picture.name}", images) for picture in report.pictures),
        "</section>",
    ]
    return "\n".join(parts)


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.headings)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.shown)
    notes = f'<div class="notes">{_list(table.notes)}</div>' if table.notes else ""
    return (
        f'<h3>{html.escape(table.title)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>{notes}"
    )


def _html_picture(picture: Picture, stem: str, images: dict[str, bytes]) -> str:
    """A figure that scrolls rather than shrink beyond reading, and opens in full size."""
    encoded = base64.b64encode(images[stem]).decode("ascii")
    title, caption = html.escape(picture.title), html.escape(picture.we_see)
    if picture.in_paper:
        caption = f"<b>In the paper:</b> {html.escape(picture.in_paper)}<br><b>What we see:</b> {caption}"
    least = round(READABLE * float(picture.figure.get_size_inches()[0]))
    return (
        f'<figure><h3>{title}</h3><div class="scroll"><a href="{stem}.png"><img alt="{title}" '
        f'style="min-width: {least}px" src="data:image/png;base64,{encoded}"></a></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
