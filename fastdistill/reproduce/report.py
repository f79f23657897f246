"""What the papers share: tables *paper | ours | difference*, and what stands around their page.

A published number is kept as the string that was printed: "0.0627" has the unit u = 10⁻⁴ in its last place, and ours
agrees to the printed digits where

    |ours − paper| ≤ u / 2.

Cost: nothing beside the tables; pages are written by `fastdistill.pages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastdistill.pages.parts import PageText, Table, cell

NO_FREE_LUNCH = (
    "Self-distillation is no free lunch. For ridge and kernel ridge every student is a spectral filter of the "
    "same data: distillation adds no information, it only widens the choice of filters. That pays where a "
    "single penalty cannot make the right filter (a strong signal in few directions, with distinct singular "
    "values, and weights that are known or tuned on plenty of held-out data). Elsewhere a well-tuned ridge is "
    "as good, more rounds only shrink the fit towards zero, and weights tuned on few samples make test errors "
    "larger."
)

ABOUT = PageText(
    "Published results of self-distillation, reproduced",
    NO_FREE_LUNCH,
    "Assumptions",
    "In every table a difference of 0 means that ours agrees with the paper to the digits printed there. Every table "
    "and the data of every picture lie beside this page as CSV.",
)


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
    shown = [(row.what, row.paper or "–", *_ours_and_difference(row), *map(cell, row.more)) for row in rows]
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
