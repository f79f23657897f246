"""What a page is made of: tables, pictures with their data, and reports that hold both.

Cost: nothing beside the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Progress = Callable[[str], None]


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


class PageText(NamedTuple):
    """What stands around the reports of a page; `remarks` heads the list of their assumptions."""

    heading: str
    warning: str
    remarks: str
    footer: str


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


def plain_table(
    name: str, title: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]], notes: tuple[str, ...] = ()
) -> Table:
    """A table without a published column."""
    return Table(name, title, columns, list(rows), [tuple(map(cell, row)) for row in rows], notes)


def cell(value: Any) -> str:
    """A value as a table shows it."""
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


def _text_of(table: Table) -> str:
    head = table.headings
    widths = [max(map(len, column)) for column in zip(head, *table.shown, strict=True)]
    lines = [table.title]
    for row in (head, tuple("-" * width for width in widths), *table.shown):
        lines.append("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    lines.extend(f"  * {note}" for note in table.notes)
    return "\n".join([*lines, ""])
