"""Tables as people have them, made into numbers: CSV files and data frames with gaps, text and useless columns.

Every treatment is stated in a note, everything else is an error that says where and what to do:

=====================================  ============================================================================
found                                  done
=====================================  ============================================================================
row without a target                   left out
column more than half missing          left out
text of at most 10 levels              a 0/1 column for each level (one for two levels); missing is a level
text of more levels                    left out
numbers missing in up to 1/5 of rows   those rows left out
numbers missing in more rows           filled with the column's median
numbers and a little text, infinity    error
text as target                         error
=====================================  ============================================================================

Missing are empty cells, NA, N/A, NaN, NaT, null, None and ?, whatever their case, and marks the user names. Numbers
have a decimal point; where the separator is no comma, a decimal comma will do.

Cost: one pass over the cells in Python, about half a microsecond each.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MISSING = frozenset({"", "na", "n/a", "nan", "nat", "null", "none", "?", "<na>"})
DELIMITERS = (",", ";", "\t", "|")
MAX_LEVELS = 10
MOSTLY_MISSING = 0.5  # share of its rows above which a column is left out
FEW_ROWS = 0.2  # share up to which rows with a gap are left out
STRAY_TEXT = 0.1  # share of its cells up to which text among numbers is a mistake
SHOWN_NAMES = 6


class TableError(ValueError):
    """A table that cannot be used as it is; the message says where and what to do."""


@dataclass(frozen=True, eq=False)
class Column:
    """One column: float64 with NaN where missing, or, as text, objects: str or None."""

    name: str
    values: np.ndarray

    @property
    def is_text(self) -> bool:
        return self.values.dtype == object

    @property
    def missing(self) -> np.ndarray:
        """Which rows (n,) have no value."""
        return np.array([v is None for v in self.values], dtype=bool) if self.is_text else np.isnan(self.values)

    def at(self, rows: np.ndarray) -> Column:
        """The column at some rows."""
        return Column(self.name, self.values[rows])


class Numbers(NamedTuple):
    """A treated table: X (n, p), y (n,), names of the columns, indices of the rows kept (n,), what was done."""

    X: np.ndarray
    y: np.ndarray
    names: list[str]
    rows: np.ndarray
    notes: list[str]


# -- Reading ---------------------------------------------------------------------------------------


def read_csv(file: Path, delimiter: str | None = None, missing: Iterable[str] = ()) -> tuple[list[Column], list[str]]:
    """Columns of a CSV file with a header line, and notes.

    Parameters
    ----------
    file : Path
        UTF-8, with or without a byte order mark.
    delimiter : str, optional
        One character; by default that of comma, semicolon, tab and bar which splits the header into most names.
    missing : iterable of str
        More marks of a missing value, beside those in `MISSING`.

    Raises
    ------
    TableError
        No such file, no text, no header, names that repeat, rows of another length than the header, cells that are
        neither numbers nor consistently text; with the number of the line.
    """
    text = _text(file)
    if delimiter is None:
        header = io.StringIO(text.lstrip(), newline="").readline()
        delimiter = max(DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))
    names, records, lines = _records(text, delimiter, str(file))
    marks = MISSING | {mark.strip().lower() for mark in missing}
    comma = delimiter != ","
    columns, notes, unnamed = [], [], 0
    for j, name in enumerate(names):
        values = _parse(name, [record[j] for record in records], marks, comma, lambda i: f"line {lines[i]}")
        if not name:  # what a separator at the end of every line makes
            unnamed += 1
            if not Column(name, values).missing.all():
                raise TableError(f"{file}: column {j + 1} of {len(names)} has values but no name in the first line.")
            continue
        columns.append(Column(name, values))
    if unnamed:
        notes.append(f"{counted(unnamed, 'empty column')} without a name left out.")
    return columns, notes


def _text(file: Path) -> str:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as err:
        raise TableError(f"{file} cannot be read: {err.strerror}.") from None
    except UnicodeDecodeError as err:
        raise TableError(
            f"{file} is not UTF-8 text (byte {err.object[err.start]:#x} at {err.start}); save it as CSV in UTF-8."
        ) from None
    if not text.strip():
        raise TableError(f"{file} is empty; a header line with names and rows of numbers are needed.")
    return text


def _records(text: str, delimiter: str, file: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Names, rows that are not blank, and the line each row ends in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as err:
        raise TableError(f"{file}, line {reader.line_num}: {err}.") from None
    names = [name.strip() for name in rows[0][1]]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise TableError(f"{file}: names that repeat in the first line: {_listed(repeated)}; rename the columns.")
    if all(_number(name, delimiter != ",") is not None for name in names):
        raise TableError(f"{file}: the first line holds numbers where the names of the columns should be; add them.")
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise TableError(
                f"{file}, line {line}: {counted(len(row), 'cell')} where the first line names "
                f"{counted(len(names), 'column')} (separator {delimiter!r}; --delimiter names another)."
            )
    if len(rows) == 1:
        raise TableError(f"{file} has names in its first line, but no rows.")
    return names, [row for _, row in rows[1:]], [line for line, _ in rows[1:]]


def columns_of(X: Any, names: Sequence[str] | None = None) -> list[Column]:
    """Columns of a data frame or of anything that makes a 2-D array."""
    if hasattr(X, "toarray"):
        raise TypeError("X is sparse, but a table is needed here; pass X.toarray().")
    if hasattr(X, "iloc"):  # column by column, each keeps its kind
        parts = [X.iloc[:, j] for j in range(X.shape[1])]
    else:
        table = _array(X)
        if table.ndim != 2:
            raise ValueError(f"X must be 2-D, got shape {table.shape}.")
        parts = list(table.T)
    found = [str(name) for name in getattr(X, "columns", [f"x{j}" for j in range(len(parts))])]
    if names is not None:
        if len(names) != len(parts):
            raise ValueError(f"feature_names has {len(names)} entries, but X has {len(parts)} columns.")
        found = [str(name) for name in names]
    repeated = sorted({name for name in found if found.count(name) > 1})
    if repeated:
        raise TableError(f"Names of columns that repeat: {_listed(repeated)}; rename them.")
    return [column_of(name, part) for name, part in zip(found, parts, strict=True)]


def column_of(name: str, values: Any) -> Column:
    """A column from anything that makes a 1-D array."""
    array = _array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} must be 1-D (one target at a time), got shape {array.shape}.")
    if array.dtype.kind in "fiub":
        numbers = array.astype(np.float64)
        _check_finite(name, numbers, lambda i: f"row {i}")
        return Column(name, numbers)
    cells = ["" if cell is None else str(cell) for cell in array]
    return Column(name, _parse(name, cells, MISSING, False, lambda i: f"row {i}"))


def _array(values: Any) -> np.ndarray:
    """An array of real numbers or of objects; what is masked is missing."""
    try:
        array = np.asarray(np.ma.filled(values.astype(float), np.nan) if np.ma.isMaskedArray(values) else values)
    except ValueError as err:
        raise ValueError(f"Not a table of rows of equal length: {err}") from None
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported, got dtype {array.dtype}; pass the real part.")
    return array


def _parse(name: str, cells: list[str], marks: frozenset[str], comma: bool, where: Callable[[int], str]) -> np.ndarray:
    """Cells as float64 with NaN, or as str with None where they are text."""
    numbers, texts = np.full(len(cells), np.nan), []
    marked = {_number(mark, comma) for mark in marks} - {None}  # −200 is meant where −200.0 stands
    for i, cell in enumerate(cells):
        number = _number(cell, comma)
        if cell.strip().lower() in marks or number in marked:
            continue
        if number is None:
            texts.append(i)
        else:
            numbers[i] = number
    if not texts:
        _check_finite(name, numbers, where)
        return numbers
    n_numbers = int((~np.isnan(numbers)).sum())
    if len(texts) <= STRAY_TEXT * (n_numbers + len(texts)):
        raise TableError(
            f"column {name!r} holds numbers, but {cells[texts[0]]!r} in {where(texts[0])} "
            f"({counted(len(texts), 'such cell')}); correct it, or mark it as missing (NaN; a CSV file: --missing)."
        )
    return np.array([None if c.strip().lower() in marks else c.strip() for c in cells], dtype=object)


def _number(cell: str, comma: bool) -> float | None:
    """What a cell stands for, None for text; Python's 1_000 is text."""
    if comma and "." not in cell:
        cell = cell.replace(",", ".", 1)
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _check_finite(name: str, numbers: np.ndarray, where: Callable[[int], str]) -> None:
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise TableError(
            f"column {name!r} is infinite in {where(int(infinite[0]))}; correct it, or mark it as missing (NaN; a CSV "
            f"file: --missing)."
        )


# -- Treatment -------------------------------------------------------------------------------------


def take(columns: list[Column], name: str, use: str = "be the target") -> tuple[Column, list[Column]]:
    """The column called `name`, and the others."""
    found = [column for column in columns if column.name == name]
    if found:
        return found[0], [column for column in columns if column.name != name]
    names = [column.name for column in columns]
    lower = {other.lower(): other for other in reversed(names)}
    close = [lower[other] for other in get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"the columns are {_listed(names, 30)}."
    raise TableError(f"There is no column {name!r} to {use}; {hint}")


def treat(columns: list[Column], target: Column) -> Numbers:
    """Numbers without gaps, as the table above says."""
    n = len(target.values)
    if target.is_text:
        text = next(value for value in target.values if value is not None)
        raise TableError(f"The target {target.name!r} is text ({text!r}); code it as numbers, such as 0 and 1.")
    rows = np.flatnonzero(~target.missing)
    notes = [] if len(rows) == n else [f"{counted(n - len(rows), 'row')} of {n} without a target left out."]
    if not len(rows):
        raise TableError(f"The target {target.name!r} has no value in any of {counted(n, 'row')}.")
    columns = [column.at(rows) for column in columns]
    empty = {c.name for c in columns if c.missing.mean() > MOSTLY_MISSING}
    note(notes, "Left out, more than half missing", empty)
    columns = [column for column in columns if column.name not in empty]
    levels = {c.name: _levels(c) for c in columns if c.is_text}
    many = {name: found for name, found in levels.items() if len(found) > MAX_LEVELS}
    note(notes, f"Left out, text of more than {MAX_LEVELS} levels", many)
    note(notes, "Text, made a 0/1 column for each level (one where there are two)", levels.keys() - many.keys())
    numbers: list[Column] = []
    for column in columns:
        if not column.is_text:
            numbers.append(column)
        elif column.name not in many:
            numbers.extend(_indicators(column, levels[column.name]))
    if not numbers:
        raise TableError("No column of numbers is left to explain the target with.")
    X = np.column_stack([column.values for column in numbers])
    kept = _fill(X, [column.name for column in numbers], notes)
    rows = rows[kept]
    return Numbers(X[kept], target.values[rows], [column.name for column in numbers], rows, notes)


def _fill(X: np.ndarray, names: list[str], notes: list[str]) -> np.ndarray:
    """Which rows of X (n, p) to keep; where they would be too few, gaps in X are filled instead."""
    gaps = np.isnan(X)
    with_gap = gaps.any(axis=1)
    if not with_gap.any():
        return ~with_gap
    where = [name for name, gap in zip(names, gaps.any(axis=0), strict=True) if gap]
    if with_gap.mean() <= FEW_ROWS:
        notes.append(f"{counted(int(with_gap.sum()), 'row')} with a missing number left out (in {_listed(where)}).")
        return ~with_gap
    median = np.nanmedian(X, axis=0)
    X[gaps] = np.broadcast_to(median, X.shape)[gaps]
    notes.append(
        f"{counted(int(gaps.sum()), 'missing number')} in {counted(int(with_gap.sum()), 'row')} filled with the "
        f"median of the column ({_listed(where)}); leaving the rows out would have cost {with_gap.mean():.0%} of them."
    )
    return np.ones(len(X), dtype=bool)


def _levels(column: Column) -> list[str]:
    return sorted({"(missing)" if value is None else value for value in column.values})


def _indicators(column: Column, levels: list[str]) -> list[Column]:
    """One 0/1 column for each level; of two the second, of one none but a constant."""
    cells = np.array(["(missing)" if value is None else value for value in column.values], dtype=object)
    shown = levels[1:] if len(levels) == 2 else levels
    return [Column(f"{column.name}={level}", (cells == level).astype(np.float64)) for level in shown]


def note(notes: list[str], what: str, names: Iterable[str]) -> None:
    """Append what was done to the columns of these names, if there are any."""
    found = sorted(names)
    if found:
        notes.append(f"{what} ({counted(len(found), 'column')}): {_listed(found)}.")


def _listed(names: Sequence[str], shown: int = SHOWN_NAMES) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(repr, names[:shown])) + more


def counted(count: int, noun: str) -> str:
    """'1 row', '2 rows'."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
