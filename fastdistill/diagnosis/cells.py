"""One cell of a table: a number, however it is written, a mark of a missing value, or text.

**What may stand around a number**: one minus (ASCII or typographic, also behind the number), parentheses for negative
numbers, a currency sign or code, a percent sign (5 % is read as 5), the ``,-`` of prices. A column keeps to one
currency, and to percent in all of its cells (zero aside) or in none.

What `.` and `,` mean cannot be told from one cell: `fastdistill.diagnosis.columns` decides that, and `value_of` reads
accordingly.

Cost: some three microseconds for a cell.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

MISSING = frozenset({"", "na", "n/a", "nan", "nat", "null", "none", "?", "<na>"})
CONVENTIONS = tuple(
    (decimal, thousands) for decimal in ".," for thousands in ("", ",", ".", " ", "'") if decimal != thousands
)
GROUPS = {",": "commas", ".": "dots", " ": "spaces", "'": "apostrophes"}

# Marks of missing values that are not taken for granted: the user is asked.
MARK_WORDS = frozenset(
    """missing, unknown, unavailable, undefined, void, nil, blank, empty, tba, tbd, nd, n.d., n/d, n.a., n.a, n / a,
    not available, not applicable, not known, no data, nodata, no value, error""".replace("\n   ", "").split(", ")
)
CURRENCIES = frozenset(
    """USD, EUR, GBP, JPY, CNY, RMB, CHF, AUD, CAD, NZD, SEK, NOK, DKK, ISK, PLN, CZK, HUF, RON, BGN, TRY, RUB, UAH,
    INR, PKR, BDT, LKR, IDR, MYR, PHP, SGD, HKD, TWD, THB, KRW, VND, ILS, AED, SAR, QAR, KWD, EGP, MAD, NGN, KES, GHS,
    ZAR, BRL, MXN, ARS, CLP, COP, PEN, UYU, kr, Kč, zł, Ft, Rs, Fr, SFr, руб, лв""".replace("\n   ", "").split(", ")
)
PERCENT = frozenset("%‰")
_ONE_FORM = str.maketrans(
    {
        **dict.fromkeys("\u00a0\u2007\u2008\u2009\u200a\u202f\u3000", " "),
        **dict.fromkeys("’‘ʼ`´′", "'"),
        **dict.fromkeys("−–—‒‐‑﹣－", "-"),
        **dict.fromkeys("\u200b\u200e\u200f\u2060\ufeff", ""),
    }
)
_PRICE = re.compile(r"(?<=\d)([.,])-{1,2}(?!\d)")
_PARTS = re.compile(
    r"(?P<head>[^\d.,]*(?:(?<=[a-zр])\.\s*)?)(?P<core>[\d.,](?:[\d.,' ]*[\d.,])?)(?P<power>[eE][-+]?\d+)?(?P<tail>\D*)"
)


class TableError(ValueError):
    """A table that cannot be used as it is; the message says where and what to do."""


class Marks(NamedTuple):
    """What the user says of the cells: marks of missing values in lower case, the decimal and the thousands mark."""

    missing: frozenset[str] = MISSING
    decimal: str | None = None
    thousands: str | None = None

    @property
    def conventions(self) -> list[tuple[str, str]]:
        """The pairs of decimal and thousands mark that are allowed."""
        decimals = {self.decimal or ".", self.decimal or ","} - {self.thousands}
        thousands = {self.thousands, ""} if self.thousands else {*GROUPS, ""}
        return [(d, t) for d, t in CONVENTIONS if d in decimals and t in thousands]

    @property
    def numbers(self) -> list[float]:
        """Plain numbers that mark missing values: -200 is meant where -200.0 stands."""
        return [value for mark in self.missing - MISSING if (value := plain_number(mark)) is not None]


@dataclass(frozen=True, eq=False)
class Column:
    """One column: float64 with NaN where missing, or, as text, objects: str or None.

    ``remarks`` say how its cells were read, where that is not plain; ``lossy`` marks whole numbers, such as long
    identifiers, which float64 cannot tell apart.
    """

    name: str
    values: np.ndarray
    remarks: tuple[str, ...] = ()
    lossy: bool = False

    @property
    def is_text(self) -> bool:
        return self.values.dtype == object

    @property
    def missing(self) -> np.ndarray:
        """Which rows (n,) have no value."""
        return np.array([v is None for v in self.values], dtype=bool) if self.is_text else np.isnan(self.values)


PLAIN = Marks()


def marks_of(missing: Iterable[str] = (), decimal: str | None = None, thousands: str | None = None) -> Marks:
    """Checked `Marks`; the missing ones are added to `MISSING`."""
    if decimal not in {None, ".", ","}:
        raise TableError(f"The decimal mark must be '.' or ',', got {decimal!r}.")
    thousands = None if thousands is None else thousands.translate(_ONE_FORM)
    if thousands not in {None, ".", ",", " ", "'"}:
        raise TableError(f"The thousands mark must be '.', ',', a space or an apostrophe, got {thousands!r}.")
    if decimal is not None and decimal == thousands:
        raise TableError(f"{decimal!r} cannot mark both decimals and thousands.")
    if isinstance(missing, str):
        missing = [missing]
    return Marks(MISSING | {_mark(mark) for mark in missing}, decimal, thousands)


def _mark(cell: str) -> str:
    return cell.strip().lower()


def is_number(cell: str) -> bool:
    """Whether a cell can be read as a number."""
    return token_of(cell) is not None


def is_missing(cell: Any, marks: Marks = PLAIN) -> bool:
    """Whether a cell has no value."""
    return cell is None or (_mark(cell) in marks.missing if isinstance(cell, str) else cell != cell)


def looks_missing(text: str) -> bool:
    """Whether a text among numbers is there because a number is not."""
    return text.lower() in MARK_WORDS or text.startswith("#") or not any(map(str.isalnum, text))


class Token(NamedTuple):
    """A number taken apart: digits with marks, a power of ten, what stands around it."""

    core: str
    power: str
    negative: bool
    unit: str
    remark: str


@lru_cache(maxsize=64)
def _pattern(decimal: str, thousands: str, power: bool) -> re.Pattern[str]:
    """Numbers with these marks; a group before a power of ten is no number that anyone writes."""
    d, t, whole = re.escape(decimal), re.escape(thousands), r"\d+"
    if thousands and not power:
        whole = rf"(?:\d+|[1-9]\d{{0,2}}(?:{t}\d{{3}})+|[1-9]\d?(?:{t}\d\d)+{t}\d{{3}})"
    return re.compile(rf"{whole}(?:{d}\d*)?|{d}\d+")


def token_of(cell: str) -> Token | None:
    """The parts of a number; None for what no convention reads."""
    text = cell.translate(_ONE_FORM).strip()
    number = plain_number(text)
    if number is not None and not np.isfinite(number):
        return Token("inf", "", number < 0, "", "")
    found = _PARTS.fullmatch(_PRICE.sub(r"\g<1>0", text))
    if not found:
        return None
    around = _around(found["head"], found["tail"])
    core, power = found["core"], found["power"] or ""
    if around is None or not any(_pattern(*marks, bool(power)).fullmatch(core) for marks in CONVENTIONS):
        return None
    return Token(core, power, *around)


@lru_cache(maxsize=1024)
def _around(head: str, tail: str) -> tuple[bool, str, str] | None:
    """Whether the number is negative, its unit, and what a note should say; None where this is not around numbers."""
    both = head + tail
    signs, closed = both.count("-") + head.count("+"), head.count("(")
    if signs + closed > 1 or closed != tail.count(")") or "(" in tail or ")" in head:
        return None
    units = [part for part in (re.sub(r"[-+(\s]", "", head), re.sub(r"[-)\s]", "", tail)) if part]
    units = [unit.rstrip(".") for unit in units]
    if not all(unit in PERCENT or _is_currency(unit) for unit in units) or (len(units) > 1 and PERCENT & set(units)):
        return None
    remark = "parentheses as a minus" if closed else "a minus behind the number" if "-" in tail else ""
    return bool(closed) or "-" in both, " ".join(units), remark


def _is_currency(unit: str) -> bool:
    if not unit:
        return False
    sign = unicodedata.category(unit[-1]) == "Sc" and (unit[:-1] == "" or (len(unit) <= 4 and unit[:-1].isupper()))
    return unit in CURRENCIES or sign


def plain_number(cell: str) -> float | None:
    """Python's reading of a plain number; its 1_000 is text."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def value_of(token: Token, decimal: str, thousands: str) -> float | None:
    """The number, None where the marks do not fit."""
    if token.core == "inf":
        size = np.inf
    elif _pattern(decimal, thousands, bool(token.power)).fullmatch(token.core):
        core = token.core.replace(thousands, "") if thousands else token.core
        size = float(core.replace(decimal, ".") + token.power)
    else:
        return None
    return -size if token.negative else size
