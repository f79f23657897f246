"""Random small tables through `diagnose`: each is used or refused with a reason, and no number is read wrong.

``python tests/fuzz_tables.py --count 700 --seed 0`` makes tables of 1 to 60 rows and 0 to 15 columns, of wild scales,
written with the marks, signs and separators that people use, with gaps, text, constant columns and repeated rows. It
reads each file, compares every number with the one that was written, and diagnoses the table with warnings as errors.
Right values come from the generator: a cell is written from digits that it knows.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastdistill.diagnosis import page as diagnosis_page
from fastdistill.diagnosis import table
from fastdistill.diagnosis.cells import TableError
from fastdistill.diagnosis.diagnosis import diagnose_columns
from fastdistill.diagnosis.read_table import read_table

GAPS = ("", "NA", "n/a", "NaN", "null", "?")
STRAY = ("-", "--", ".", "missing", "#N/A", "oops", "<5")
MINUS = ("-", "−", "–")


@dataclass
class Made:
    """A table as text, and what its columns hold: numbers (NaN where missing), or None for text."""

    content: bytes
    truth: dict[str, np.ndarray | None] = field(default_factory=dict)
    target: str = "y"
    delimiter: str = ","


class Locale:
    """How one table writes its numbers."""

    def __init__(self, rng: np.random.Generator, delimiter: str) -> None:
        self.decimal = rng.choice([".", "."] if delimiter == "," else [".", ","]).item()
        other = "," if self.decimal == "." else "."
        self.thousands = rng.choice(["", "", "", other, " ", "\u202f", "\u00a0", "'", "’"]).item()
        self.minus = rng.choice(MINUS, p=[0.7, 0.15, 0.15]).item()
        self.brackets = rng.random() < 0.1
        self.before, self.after = "", ""
        if rng.random() < 0.15:
            self.before, self.after = [("$", ""), ("€ ", ""), ("", " EUR"), ("USD ", ""), ("", "%")][rng.integers(5)]

    def write(self, cents: int, decimals: int, fixed: bool) -> str:
        """The number cents / 10**decimals, with all decimals or without zeros at their end."""
        whole, part = divmod(abs(cents), 10**decimals)
        digits = f"{part:0{decimals}d}" if decimals else ""
        digits = digits if fixed else digits.rstrip("0")
        text = f"{whole:,}".replace(",", self.thousands) + (self.decimal + digits if digits else "")
        text = f"{self.before}{text}{self.after}"
        if cents >= 0:
            return text
        return f"({text})" if self.brackets else self.minus + text


def numbers(rng: np.random.Generator, n: int, locale: Locale) -> tuple[list[str], np.ndarray]:
    """Cells of numbers and their values."""
    kind = rng.choice(["small", "large", "wild", "constant", "whole", "near"])
    if kind == "wild" and not locale.before + locale.after:
        values = rng.standard_normal(n) * 10.0 ** rng.integers(-12, 16)
        return [repr(v).replace(".", locale.decimal) for v in values.tolist()], values
    decimals = 0 if kind == "whole" else int(rng.integers(0, 5))
    size = {"small": 10, "large": 10**5, "near": 10}.get(kind, 1000) * 10**decimals
    cents = rng.integers(-size if rng.random() < 0.5 else 0, size, n)
    if kind == "constant":
        cents[:] = cents[0]
    if kind == "near":
        cents = 10**6 * 10**decimals + cents % 5
    fixed = bool(rng.random() < 0.5)
    cells = [locale.write(int(c), decimals, fixed) for c in cents]
    return cells, np.array([float(f"{int(c)}e-{decimals}") for c in cents])


def texts(rng: np.random.Generator, n: int) -> list[str]:
    levels = [["low", "mid", "high"], ["yes", "no"], [f"id {i}" for i in range(n)], ["a,b", 'say "a"', "c;d"]]
    chosen = levels[rng.integers(len(levels))]
    return [chosen[i % len(chosen)] for i in rng.permutation(n)]


def make(rng: np.random.Generator) -> Made:
    """One random table."""
    n, p = int(rng.integers(1, 61)), int(rng.integers(0, 16))
    delimiter = rng.choice([",", ";", "\t", "|"], p=[0.4, 0.3, 0.2, 0.1]).item()
    locale, truth, columns = Locale(rng, delimiter), {}, {}
    for name in [f"x{j}" for j in range(p)] + ["y"]:
        if name != "y" and rng.random() < 0.15:
            columns[name], truth[name] = texts(rng, n), None
            continue
        columns[name], truth[name] = numbers(rng, n, locale)
        share = rng.choice([0.0, 0.05, 0.3, 0.7], p=[0.6, 0.2, 0.15, 0.05])
        for i in np.flatnonzero(rng.random(n) < share):
            columns[name][i], truth[name][i] = rng.choice(GAPS).item(), np.nan
        if rng.random() < 0.04:  # to be refused; or text, where there is little else
            columns[name][rng.integers(n)], truth[name] = rng.choice(STRAY).item(), None
    if rng.random() < 0.2:  # rows that repeat
        rows = rng.integers(0, n, n)
        columns = {name: [cells[i] for i in rows] for name, cells in columns.items()}
        truth = {name: None if values is None else values[rows] for name, values in truth.items()}
    filled = np.array([any(row) for row in zip(*columns.values(), strict=True)])  # others are blank lines
    truth = {name: None if values is None else values[filled] for name, values in truth.items()}
    if rng.random() < 0.1 and filled.all():
        columns = {"": [str(i) for i in range(n)], **columns}
    return Made(encoded(rng, columns, delimiter), truth, delimiter=delimiter)


def encoded(rng: np.random.Generator, columns: dict[str, list[str]], delimiter: str) -> bytes:
    """The bytes of a file of these columns."""
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if rng.random() < 0.2 else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=rng.choice(["\n", "\r\n"]).item())
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    text = out.getvalue()
    if rng.random() < 0.05:
        text = f"sep={delimiter}\n{text}"
    data = text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"], p=[0.8, 0.1, 0.1]).item())
    return gzip.compress(data) if rng.random() < 0.05 else data


def put_through(made: Made, folder: Path, page: bool) -> str:
    """What became of a table: "used", "read, but refused" or "refused"; an AssertionError where a number is wrong."""
    file = folder / "table.csv"
    file.write_bytes(made.content)
    try:
        columns, notes = read_table(file)
    except TableError:
        return "refused"
    for column in columns:
        truth = made.truth[column.name]
        if truth is None or column.lossy:
            continue
        assert not column.is_text, f"{column.name} was taken for text: {column.values[:5]}"
        np.testing.assert_allclose(column.values, truth, rtol=1e-15, atol=0, err_msg=column.name)
    try:
        target, others = table.take(columns, made.target)
        found = diagnose_columns(others, target, n_steps=1, folds=2, notes=notes, penalties=[0.1, 1.0, 10.0])
    except TableError:
        return "read, but refused"
    str(found)
    if page:
        diagnosis_page.write(found, folder / "out")
    return "used"


def fuzz(count: int, seed: int, pages: int = 0, say: Callable[[str], None] = lambda line: None) -> Counter[str]:
    """How many tables were used and refused; raises with the table at the first that fails otherwise."""
    found: Counter[str] = Counter()
    for k in range(count):
        made = make(np.random.default_rng([seed, k]))
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                found[put_through(made, Path(folder), page=k < pages)] += 1
            except Exception as err:
                data = gzip.decompress(made.content) if made.content[:2] == b"\x1f\x8b" else made.content
                err.add_note(f"table {k} of seed {seed}:\n{data[:2000]!r}")
                raise
        if (k + 1) % 100 == 0:
            say(f"{k + 1} tables: {dict(found)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pages", type=int, default=10, help="tables that are also written as a page")
    arguments = parser.parse_args()
    found = fuzz(arguments.count, arguments.seed, arguments.pages, print)
    print(f"{sum(found.values())} tables, no number read wrong, no other exception: {dict(found)}")


if __name__ == "__main__":
    main()
