"""Tables as people have them, made into numbers: columns with gaps, text and nothing to say.

How cells are read is told by `fastdistill.diagnosis.columns`, how files are by `fastdistill.diagnosis.read_table`.
Every treatment is stated in a note, everything else is an error that says where and what to do:

=====================================  ============================================================================
found                                  done
=====================================  ============================================================================
row without a target                   left out
column more than half missing          left out
text of at most 10 levels              a 0/1 column for each level (one for two levels); missing is a level
text of more levels, dates             left out
whole numbers that float64 confounds   left out, as long identifiers are
numbers missing in up to 1/5 of rows   those rows left out
numbers missing in more rows           filled with the column's median
numbers and a little text, infinity    error
text as target                         error
=====================================  ============================================================================

Categorical columns of data frames are text, whatever their labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from numbers import Complex, Number, Real
from typing import Any, NamedTuple

import numpy as np

from fastdistill.diagnosis.cells import PLAIN, Column, Marks, TableError, is_missing
from fastdistill.diagnosis.columns import EXACT, MAX_LEVELS, are_lossy, check_finite, read_columns

MOSTLY_MISSING = 0.5  # share of its rows above which a column is left out
FEW_ROWS = 0.2  # share up to which rows with a gap are left out
SHOWN_NAMES = 6
LABELS = ("category", "categorical", "enum", "dictionary")  # how pandas, polars and Arrow call types of labels


class Numbers(NamedTuple):
    """A treated table: X (n, p), y (n,), names of the columns, indices of the rows kept (n,), what was done."""

    X: np.ndarray
    y: np.ndarray
    names: list[str]
    rows: np.ndarray
    notes: list[str]


# -- Data frames and arrays ------------------------------------------------------------------------


def columns_of(X: Any, names: Sequence[str] | None = None, marks: Marks = PLAIN) -> list[Column]:
    """Columns of a data frame (pandas, polars, Arrow) or of anything that makes a 2-D array."""
    if hasattr(X, "toarray"):
        raise TypeError("X is sparse, but a table is needed here; pass X.toarray().")
    if hasattr(X, "iloc"):  # column by column, each keeps its kind
        parts, found = [X.iloc[:, j] for j in range(X.shape[1])], list(X.columns)
    elif hasattr(X, "get_columns") or hasattr(X, "itercolumns"):  # polars, Arrow
        parts = list(X.get_columns() if hasattr(X, "get_columns") else X.itercolumns())
        found = list(getattr(X, "column_names", X.columns))
    else:
        table = _array(X)
        if table.ndim != 2:
            raise ValueError(f"X must be 2-D, got shape {table.shape}.")
        parts, found = list(table.T), [f"x{j}" for j in range(table.shape[1])]
    if names is not None:
        if len(names) != len(parts):
            raise ValueError(f"feature_names has {len(names)} entries, but X has {len(parts)} columns.")
        found = list(names)
    found = [str(name) for name in found]
    refuse_repeated(found, "Names of columns that repeat")
    return _columns(list(zip(found, parts, strict=True)), marks)


def column_of(name: str, values: Any) -> Column:
    """A column from anything that makes a 1-D array."""
    return _columns([(name, values)], PLAIN)[0]


def _columns(parts: Sequence[tuple[str, Any]], marks: Marks) -> list[Column]:
    """Columns of arrays; those of strings are read together, for one may tell how to read another."""
    found = {name: _known(name, part, marks) for name, part in parts}
    unread = [(name, cells) for name, cells in found.items() if not isinstance(cells, Column)]
    found |= {column.name: column for column in read_columns(unread, marks, "row {}".format)}
    return [found[name] for name, _ in parts]


def _known(name: str, values: Any, marks: Marks) -> Any:
    """A column whose numbers or labels need no reading; otherwise its cells: numbers, str and None."""
    kind = str(getattr(values, "dtype", getattr(values, "type", ""))).lower()
    array = _array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} must be 1-D (one target at a time), got shape {array.shape}.")
    if kind.startswith(LABELS):
        cells = [None if cell is None or is_missing(str(cell), marks) else str(cell) for cell in array]
        return Column(name, np.array(cells, dtype=object))
    if array.dtype.kind not in "fiub":
        return [_cell(cell) for cell in array]
    numbers = array.astype(np.float64)
    numbers[np.isin(numbers, marks.numbers)] = np.nan
    check_finite(name, numbers, "row {}".format)
    large = array.dtype.kind in "iu" and bool((np.abs(numbers) >= EXACT).any())
    return Column(name, numbers, lossy=large and are_lossy(array.tolist()))


def _array(values: Any) -> np.ndarray:
    """An array of real numbers or of objects; what is masked is missing."""
    if isinstance(values, np.ma.MaskedArray):
        is_real = values.dtype.kind in "fiub"
        plain = values.astype(np.float64 if is_real else object)
        values = np.ma.filled(plain, np.nan if is_real else None)
    try:
        array = np.asarray(values)
        if array.dtype.kind in "US" and not hasattr(values, "dtype"):  # numbers keep what they are beside strings
            array = np.asarray(values, dtype=object)
    except ValueError as err:
        raise ValueError(f"Not a table of rows of equal length: {err}") from None
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported, got dtype {array.dtype}; pass the real part.")
    return array


def _cell(cell: Any) -> Any:
    """What `fastdistill.diagnosis.columns` expects: a number whose value is known, a str, or None."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, Number):
        return str(cell)
    if isinstance(cell, Complex) and not isinstance(cell, Real):
        raise ValueError(f"Complex data not supported, got {cell}; pass the real part.")
    real: Any = cell  # Number promises nothing; every real number and Decimal can do what follows
    try:
        number = float(real)
        return int(real) if abs(number) >= EXACT and real == int(real) else number
    except OverflowError:  # infinite, or a whole number beyond float64
        return np.inf if real > 0 else -np.inf
    except ValueError:  # the NaN of Decimal that signals
        return None


# -- Treatment -------------------------------------------------------------------------------------


def take(columns: list[Column], name: str, use: str = "be the target") -> tuple[Column, list[Column]]:
    """The column called `name`, and the others."""
    names = [column.name for column in columns]
    check_name(names, name, use)
    return columns[names.index(name)], [column for column in columns if column.name != name]


def weights_of(column: Column) -> np.ndarray:
    """Sample weights (n,) from a column of a table."""
    if column.is_text or column.missing.any():
        where = "text" if column.is_text else f"no value in {counted(int(column.missing.sum()), 'row')}"
        raise TableError(f"The column {column.name!r} is to hold the weights of the rows, but it has {where}.")
    return np.asarray(column.values, dtype=np.float64)


def check_name(names: Sequence[str], name: str, use: str) -> None:
    """Raise with the names that come close where `name` is not among the columns."""
    if name in names:
        return
    lower = {other.lower(): other for other in reversed(names)}
    close = [lower[other] for other in get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"the columns are {listed(names, 30)}."
    raise TableError(f"There is no column {name!r} to {use}; {hint}")


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """Raise where names stand for several columns."""
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise TableError(f"{where}: {listed(repeated)}; rename the columns.")


def treat(columns: list[Column], target: Column) -> Numbers:
    """Numbers without gaps, as the table above says."""
    n = len(target.values)
    _check_target(target)
    notes: list[str] = []
    for remark in sorted({remark for column in (target, *columns) for remark in column.remarks}):
        note(notes, remark, [c.name for c in (target, *columns) if remark in c.remarks])
    rows = np.flatnonzero(~target.missing)
    if len(rows) < n:
        notes.append(f"{counted(n - len(rows), 'row')} of {n} without a target left out.")
    if not len(rows):
        raise TableError(f"The target {target.name!r} has no value in any of {counted(n, 'row')}.")
    note(notes, "Left out, whole numbers of more digits than float64 holds", [c.name for c in columns if c.lossy])
    columns = [replace(column, values=column.values[rows]) for column in columns if not column.lossy]
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


def _check_target(target: Column) -> None:
    if target.is_text:
        text = next((value for value in target.values if value is not None), None)
        if text is not None:
            raise TableError(f"The target {target.name!r} is text ({text!r}); code it as numbers, such as 0 and 1.")
    if target.lossy:
        raise TableError(
            f"The target {target.name!r} holds whole numbers that differ only in digits beyond those of float64; is it "
            f"an identifier? Name another column, or subtract a constant."
        )


def _fill(X: np.ndarray, names: list[str], notes: list[str]) -> np.ndarray:
    """Which rows of X (n, p) to keep; where they would be too few, gaps in X are filled instead."""
    gaps = np.isnan(X)
    with_gap = gaps.any(axis=1)
    if not with_gap.any():
        return ~with_gap
    where = [name for name, gap in zip(names, gaps.any(axis=0), strict=True) if gap]
    if with_gap.mean() <= FEW_ROWS:
        notes.append(f"{counted(int(with_gap.sum()), 'row')} with a missing number left out (in {listed(where)}).")
        return ~with_gap
    median = np.nanmedian(X, axis=0)
    X[gaps] = np.broadcast_to(median, X.shape)[gaps]
    notes.append(
        f"{counted(int(gaps.sum()), 'missing number')} in {counted(int(with_gap.sum()), 'row')} filled with the "
        f"median of the column ({listed(where)}); leaving the rows out would have cost {with_gap.mean():.0%} of them."
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
        notes.append(f"{what} ({counted(len(found), 'column')}): {listed(found)}.")


def listed(names: Sequence[str], shown: int = SHOWN_NAMES) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(repr, names[:shown])) + more


def counted(count: int, noun: str) -> str:
    """'1 row', '2 rows'."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
