"""Columns of cells: numbers with gaps, or text; the rule by which decimal and thousands marks are told apart.

**Which mark is which.** `.` and `,` may mark decimals or group thousands. One rule decides, column by column and from
all cells of the column; the first line that applies counts:

1. What the caller says (``decimal``, ``thousands``; ``--decimal``, ``--thousands`` on the command line).
2. The only reading that fits every cell. A group of thousands has three digits before the next mark (India's two), the
   first group one to three without a leading zero, and one kind of mark; so 0.567, 1.5, 1234.567, 1.234e5 and -12.3456
   prove decimals, 1.234.567 and 1.234,5 prove thousands.
3. The only reading that a writer of numbers makes. Decimals are written either with a fixed number of them or without
   trailing zeros: beside 850, the cell 1.050 is no decimal number. Thousands are grouped in all cells or in none:
   beside 12500, the cell 1.055 is no thousand.
4. The reading that every column decided by the cells of the same table has; a note says so.
5. Otherwise the column is refused, with the line and both readings.

Spaces (also those that do not break) and apostrophes can only group thousands.

**Numbers or text.** Marks such as `-` or `missing` among numbers, a little other text (at most a tenth), and more text
than that among yet more numbers are errors, unless the column has at most 10 levels, each four times on average: that
is text, as 1, 2, 3+ are.

Cost: half a microsecond for a plain cell, some three for others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

import numpy as np

from fastdistill.diagnosis.cells import (
    GROUPS,
    PERCENT,
    Column,
    Marks,
    TableError,
    Token,
    is_missing,
    looks_missing,
    token_of,
    value_of,
)

MAX_LEVELS = 10
REPEATED = 4  # times that each level of a text among numbers is there, on average
STRAY_TEXT = 0.1  # share of its cells up to which text among numbers is a mistake
EXACT = 2.0**53  # from here on float64 skips whole numbers
TOLD_APART = 1e-12  # of their size, which whole numbers must differ by to be told apart after arithmetic
DECIMALS = {".": "a decimal point", ",": "a decimal comma"}
PLAIN_BUT_OPEN = re.compile(r"\s*[-+]?[1-9]\d{0,2}\.\d{3}\s*")  # 1.050: float() reads it, but may be wrong
WITH_UNIT = re.compile(r"[-+]?[^\w\s]?\d[\d.,' ]*\s*(?P<unit>[^\d\s.,]\D{0,11})")
MAGNITUDES = frozenset(["k", "K", "m", "M", "b", "B", "G", "T", "mn", "bn", "Mio", "Mrd"])


@dataclass(eq=False)
class Draft:
    """A column on its way: decided where ``readings`` holds one array, of which ``marks`` are the marks."""

    name: str
    cells: Sequence[Any]
    where: Callable[[int], str]
    readings: list[np.ndarray] = field(default_factory=list)
    marks: list[tuple[str, str]] = field(default_factory=list)
    tokens: dict[int, Token] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    text: np.ndarray | None = None

    @property
    def decimal(self) -> str | None:
        """The decimal mark that the cells prove, if they do."""
        used = {mark for token in self.tokens.values() for mark in ".," if mark in token.core}
        return self.marks[0][0] if used and len(self.readings) == 1 else None

    def choose(self, index: int, why: str) -> None:
        """Keep one of the readings."""
        self.readings, self.marks = [self.readings[index]], [self.marks[index]]
        self._say(why)

    def say_marks(self) -> None:
        """Remarks on marks, units and signs of a decided column, where these are not plain."""
        if self.tokens and len(self.readings) == 1:
            self._say("")

    def _say(self, why: str) -> None:
        decimal, thousands = self.marks[0]
        cores = [token.core for token in self.tokens.values()]
        parts = []
        if any(decimal in core for core in cores) and (decimal == "," or why):
            parts.append(DECIMALS[decimal])
        if thousands and any(thousands in core for core in cores):
            parts.append(f"{GROUPS[thousands]} between thousands")
        if parts:
            self.remarks.append(" ".join(filter(None, ["Read with", " and ".join(parts), why])))

    def finished(self, missing: frozenset[str]) -> Column:
        """The column, or the error of what is in it."""
        if self.text is not None:
            return Column(self.name, self.text)
        numbers = self.readings[0]
        check_finite(self.name, numbers, self.where)
        return Column(self.name, numbers, tuple(self.remarks), self._lossy(numbers))

    def _lossy(self, numbers: np.ndarray) -> bool:
        if not (np.abs(numbers) >= EXACT).any():
            return False
        thousands = self.marks[0][1] if self.marks else ""
        whole = []
        for i in np.flatnonzero(~np.isnan(numbers)).tolist():
            cell = self.cells[i]
            token = self.tokens.get(i)
            digits = str(cell) if token is None else token.core.replace(thousands, "") if thousands else token.core
            if re.fullmatch(r"\s*[-+]?\d+\s*", digits) is None or (token is not None and token.power):
                return False
            whole.append(int(digits))
        return are_lossy(whole)


def are_lossy(whole: list[int]) -> bool:
    """Whether whole numbers that differ are one to float64, or cannot be told from a constant."""
    distinct = set(whole)
    if len(distinct) < 2:
        return False
    return len({float(i) for i in distinct}) < len(distinct) or max(distinct) - min(distinct) <= TOLD_APART * max(
        map(abs, distinct)
    )


def read_columns(
    columns: Sequence[tuple[str, Sequence[Any]]], marks: Marks, where: Callable[[int], str]
) -> list[Column]:
    """Columns of names and cells, read as the rule above says.

    Parameters
    ----------
    columns : sequence of (name, cells)
        Cells are str, or numbers whose value is known, or None where missing.
    marks : Marks
    where : callable
        What to call row i in messages, such as "line 12".

    Raises
    ------
    TableError
        A column that is neither numbers nor text, or whose marks stay ambiguous.
    """
    drafts = [_draft(name, cells, marks, where) for name, cells in columns]
    _decide_by_the_table(drafts)
    return [draft.finished(marks.missing) for draft in drafts]


def _draft(name: str, cells: Sequence[Any], marks: Marks, where: Callable[[int], str]) -> Draft:
    draft = Draft(name, cells, where)
    numbers = _plain(cells, marks)
    if numbers is not None:
        draft.readings, draft.marks = [numbers], [(".", "")]
        dotted = next((i for i, cell in enumerate(cells) if isinstance(cell, str) and "." in cell), None)
        if dotted is not None:
            draft.tokens[dotted] = Token(cells[dotted], "", False, "", "")
        return draft
    texts, known = _tokens(draft, marks)
    if texts and _is_text(draft, texts, len(known), marks):
        draft.text = np.array([None if is_missing(c, marks) else str(c).strip() for c in cells], dtype=object)
        return draft
    _check_units(draft)
    _read(draft, known, marks)
    return draft


def _plain(cells: Sequence[Any], marks: Marks) -> np.ndarray | None:
    """Numbers as Python reads them, where nothing speaks against that; None where the cells need a closer look."""
    if marks.decimal == "," or marks.thousands == ".":
        return None
    numbers = np.full(len(cells), np.nan)
    dots = proof = False
    for i, cell in enumerate(cells):
        if not isinstance(cell, str):
            return None
        try:
            numbers[i] = float(cell)
        except ValueError:
            if not is_missing(cell, marks):
                return None
            continue
        if "_" in cell:
            return None
        if not proof and "." in cell:
            dots, proof = True, PLAIN_BUT_OPEN.fullmatch(cell) is None
    if dots and not proof and marks.decimal is None and marks.thousands != ",":
        return None
    numbers[np.isin(numbers, marks.numbers)] = np.nan
    return numbers


def _tokens(draft: Draft, marks: Marks) -> tuple[list[int], dict[int, float]]:
    """Fill in the numbers among the cells; indices of texts, and values that were numbers before."""
    texts, known = [], {}
    for i, cell in enumerate(draft.cells):
        if is_missing(cell, marks):
            continue
        if not isinstance(cell, str):
            known[i] = float(cell)
            continue
        token = token_of(cell)
        if token is None:
            texts.append(i)
        else:
            draft.tokens[i] = token
    return texts, known


def _is_text(draft: Draft, texts: list[int], n_known: int, marks: Marks) -> bool:
    """Whether a column that holds texts is text; an error where it is numbers, spoilt."""
    shown = [str(draft.cells[i]).strip() for i in texts]
    n_numbers = len(draft.tokens) + n_known
    n = n_numbers + len(texts)
    levels = {str(cell).strip() for cell in draft.cells if not is_missing(cell, marks)}
    only_marks = bool(n_numbers) and all(map(looks_missing, set(shown)))
    few_levels = len(levels) <= MAX_LEVELS and n >= REPEATED * len(levels)
    mostly_numbers = n_numbers >= len(texts) and not few_levels
    if only_marks or len(texts) <= STRAY_TEXT * n or mostly_numbers:
        cell, line = draft.cells[texts[0]], draft.where(texts[0])
        raise TableError(
            f"column {draft.name!r} holds numbers, but {cell!r} in {line} "
            f"({len(texts)} such cell{'s' * (len(texts) > 1)}); correct it, or mark it as missing (NaN; a file: "
            f"--missing={quote(cell.strip())}), or leave the column out (a file: --drop)."
        )
    units = {found["unit"].strip() for found in map(WITH_UNIT.fullmatch, shown) if found}
    alike = len(units) == 1 or (units and units <= MAGNITUDES)
    if len(levels) > MAX_LEVELS and alike and all(map(WITH_UNIT.fullmatch, shown)):
        raise TableError(
            f"column {draft.name!r} holds numbers with something behind them, such as {shown[0]!r} in "
            f"{draft.where(texts[0])}; leave only the numbers, or leave the column out (a file: --drop)."
        )
    return True


def _check_units(draft: Draft) -> None:
    """One currency in a column, percent in all cells or in none; a remark for each thing around the numbers."""
    first: dict[str, int] = {}
    for i, token in draft.tokens.items():
        if token.unit or token.core.strip("0.,"):  # 0 is 0 in every unit
            first.setdefault(token.unit, i)
    units = [unit for unit in first if unit]
    if len(units) > 1 or (len(first) > 1 and PERCENT & set(units)):
        a, b = [i for unit, i in first.items() if unit or len(units) == 1][:2]
        raise TableError(
            f"column {draft.name!r} mixes units: {draft.cells[a]!r} in {draft.where(a)}, {draft.cells[b]!r} in "
            f"{draft.where(b)}; write all in one of them."
        )
    if units:
        draft.remarks.append(f"Read 5{units[0]} as 5" if units[0] in PERCENT else f"Read without {units[0]!r}")
    draft.remarks.extend(f"Read {remark}" for remark in sorted({t.remark for t in draft.tokens.values()} - {""}))


def _read(draft: Draft, known: dict[int, float], marks: Marks) -> None:
    """Every reading that fits all cells; one is left where the cells decide."""
    cores = [token.core for token in draft.tokens.values()]
    used = {mark for mark in ",. '" if any(mark in core for core in cores)} | {""}
    allowed = [pair for pair in marks.conventions if pair[1] in used]
    found: dict[bytes, tuple[np.ndarray, tuple[str, str]]] = {}
    for pair in allowed:
        values = {i: value_of(token, *pair) for i, token in draft.tokens.items()}
        if None in values.values():
            continue
        numbers = np.full(len(draft.cells), np.nan)
        for i, value in {**values, **known}.items():
            numbers[i] = value
        numbers[np.isin(numbers, marks.numbers)] = np.nan
        found.setdefault(numbers.tobytes(), (numbers, pair))
    if not found:
        raise _no_reading(draft, allowed, marks)
    draft.readings, draft.marks = [list(part) for part in zip(*found.values(), strict=True)]
    if len(found) == 1:
        draft.say_marks()
    else:
        _decide_by_the_writer(draft)


def _no_reading(draft: Draft, allowed: list[tuple[str, str]], marks: Marks) -> TableError:
    """Why no pair of marks reads all cells: one cell fits none, or two cells contradict each other."""
    fits = {i: {pair for pair in allowed if value_of(t, *pair) is not None} for i, t in draft.tokens.items()}
    alone = next((i for i, pairs in fits.items() if not pairs), None)
    if alone is not None:
        said = [
            f"{word} {mark!r}" for word, mark in (("decimal", marks.decimal), ("thousands", marks.thousands)) if mark
        ]
        return TableError(
            f"column {draft.name!r}: {draft.cells[alone]!r} in {draft.where(alone)} does not fit {' and '.join(said)} "
            f"as the options say; correct it, or drop the column."
        )
    left, first = set(allowed), next(iter(fits))
    for i, pairs in fits.items():
        if not left & pairs:
            break
        if left & pairs != left:
            first = i
        left &= pairs
    return TableError(
        f"column {draft.name!r} marks decimals or thousands in more than one way: {draft.cells[first]!r} in "
        f"{draft.where(first)}, {draft.cells[i]!r} in {draft.where(i)}; write all cells alike."
    )


def _decide_by_the_writer(draft: Draft) -> None:
    """Step 3 of the rule: a reading that makes the writer inconsistent goes."""
    cores = [token.core for token in draft.tokens.values()]
    marked = {mark for mark in ".," if any(mark in core for core in cores)}
    if len(marked) != 1:
        return
    (mark,) = marked
    with_mark = [core for core in cores if mark in core]
    whole = [token.core.lstrip("0") for token in draft.tokens.values() if not token.power]
    bare = [core for core in whole if core.isdigit()]
    no_decimal = next((c for c in with_mark if c.endswith("0")), None) if bare else None
    shortest = min(len(core) for core in with_mark) - 1
    ungrouped = next((core for core in bare if len(core) >= max(shortest, 4)), None)
    if (no_decimal is None) == (ungrouped is None):
        return
    is_decimal = ungrouped is not None
    index = next(k for k, pair in enumerate(draft.marks) if (pair[0] == mark) == is_decimal)
    if is_decimal:
        draft.choose(index, f"as {ungrouped} is written without groups")
    else:
        draft.choose(index, f"as {bare[0]} is written without decimals, and {no_decimal} ends in 0")


def _decide_by_the_table(drafts: list[Draft]) -> None:
    """Steps 4 and 5 of the rule."""
    proofs: dict[str, Draft] = {}
    for draft in drafts:
        if draft.decimal is not None:
            proofs.setdefault(draft.decimal, draft)
    for draft in drafts:
        if len(draft.readings) < 2:
            continue
        if len(proofs) != 1:
            raise _undecided(draft)
        ((decimal, proof),) = proofs.items()
        index = next(k for k, pair in enumerate(draft.marks) if pair[0] == decimal)
        draft.choose(index, f"as in {proof.name!r}, though the cells alone fit two readings")


def _undecided(draft: Draft) -> TableError:
    i = next(i for i in draft.tokens if len({float(values[i]) for values in draft.readings}) > 1)
    mark = "." if "." in draft.tokens[i].core else ","
    k = next(k for k, pair in enumerate(draft.marks) if pair[0] == mark)
    decimal, thousands = (float(draft.readings[j][i]) for j in (k, 1 - k))
    return TableError(
        f"column {draft.name!r}: {draft.cells[i]!r} in {draft.where(i)} is {decimal:.15g} if {mark!r} marks decimals, "
        f"{thousands:.15g} if it groups thousands, and nothing in the table tells which; say it (a file: --decimal "
        f"{mark} or --thousands {mark}), or pass numbers."
    )


def check_finite(name: str, numbers: np.ndarray, where: Callable[[int], str]) -> None:
    """Raise where a number is infinite."""
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise TableError(
            f"column {name!r} is infinite in {where(int(infinite[0]))}; correct it, mark it as missing (NaN; a file: "
            f"--missing), or leave the column out (a file: --drop)."
        )
