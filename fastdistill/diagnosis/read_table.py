"""Files made into columns: delimited text (CSV, TSV, also compressed by gzip) and Parquet.

===========================================  ======================================================================
found                                        done
===========================================  ======================================================================
UTF-8, with or without a byte order mark     read
UTF-16, with or without one                  read, with a note
any other encoding, NUL bytes                error
Ctrl-Z at the end, first line ``sep=;``      obeyed, with a note
first column without a name                  row names, left out with a note: `to_csv` of pandas and R's `write.csv`
header of one name less than every row       the same: R's `write.table`, if they look it; a separator at the end of
                                             every row is left out
index of pandas in a Parquet file            the same
column named by ``drop``                     not read at all
rows of other lengths, names that repeat     error
===========================================  ======================================================================

The separator is the one of comma, semicolon, tab and bar that cuts the header and the first rows into equally many
cells; of several the one that leaves most numbers, then most names; a space, where none of those is there. Numbers are
read as `fastdistill.diagnosis.columns` says.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from fastdistill.diagnosis import table
from fastdistill.diagnosis.cells import Column, Marks, TableError, is_missing, is_number, marks_of
from fastdistill.diagnosis.columns import read_columns
from fastdistill.diagnosis.table import check_name, counted, note, refuse_repeated

DELIMITERS = (",", ";", "\t", "|")
LOOKED_AT = 20  # rows by which separators are judged
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive or a workbook of Excel or LibreOffice; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old workbook of Excel; save the sheet as CSV",
    b"BZh": "compressed by bzip2; uncompress it",
    b"\xfd7zXZ": "compressed by xz; uncompress it",
    b"(\xb5/\xfd": "compressed by zstd; uncompress it",
    b"ARROW1": "a Feather file; save it as Parquet or CSV",
    b"\x89HDF": "an HDF5 file; save the table as Parquet or CSV",
    b"SQLite format 3": "a database of SQLite; export the table as CSV",
    b"%PDF": "a PDF; export the table as CSV",
}
ROW_NAMES = re.compile(r"|Unnamed: 0(\.\d+)?|row\.?names")  # as pandas and R call them, the first time and again
PANDAS_INDEX = re.compile(r"__index_level_\d+__")


class Records(NamedTuple):
    """Text cut into cells: names, the rows that are not blank, the line each of them ends in."""

    names: list[str]
    rows: list[list[str]]
    lines: list[int]


def read_table(
    file: Path,
    *,
    delimiter: str | None = None,
    missing: Iterable[str] = (),
    decimal: str | None = None,
    thousands: str | None = None,
    drop: Iterable[str] = (),
) -> tuple[list[Column], list[str]]:
    """Columns of a file, and notes on how it was read.

    Parameters
    ----------
    file : Path
        Delimited text with names in its first line, or Parquet (needs pyarrow); told apart by their content.
    delimiter : str, optional
        One character; found in the file by default.
    missing : iterable of str
        Marks of missing values, beside those in `fastdistill.diagnosis.cells.MISSING`.
    decimal, thousands : str, optional
        ``.`` or ``,``; as thousands mark also a space or an apostrophe. By default decided for each column.
    drop : iterable of str
        Names of columns that are left out before anything is read in them.

    Raises
    ------
    TableError
        A file that cannot be opened or is no table, columns that cannot be read; with the number of the line.
    ModuleNotFoundError
        A Parquet file, but no pyarrow.
    """
    file, marks = Path(file), marks_of(missing, decimal, thousands)
    notes: list[str] = []
    drop = [drop] if isinstance(drop, str) else list(drop)
    data = _bytes(file)
    if data.startswith(PARQUET):
        return _parquet(file, data, marks, drop)
    text = _text(file, data, notes)
    records = _records(file, text, delimiter, notes)
    names, kept = records.names, _kept(file, records, marks, drop, notes)
    cells = [(names[j], [row[j] for row in records.rows]) for j in kept]
    return read_columns(cells, marks, lambda i: f"line {records.lines[i]}"), notes


# -- Bytes and text --------------------------------------------------------------------------------


def _bytes(file: Path) -> bytes:
    """The content, uncompressed."""
    try:
        data = file.read_bytes()
    except (OSError, ValueError) as err:  # the second for a name with a NUL byte
        raise TableError(f"{file} cannot be read: {getattr(err, 'strerror', None) or err}.") from None
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as err:
            raise TableError(f"{file} is damaged: gzip says {str(err).rstrip('.')}; fetch or make it again.") from None
    for start, kind in OTHER_KINDS.items():
        if data.startswith(start):
            raise TableError(f"{file} is {kind}.")
    return data


def _text(file: Path, data: bytes, notes: list[str]) -> str:
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as err:
        if encoding != "utf-8-sig":
            raise TableError(f"{file} looks like {encoding.upper()}, but is damaged at byte {err.start}.") from None
        byte, line = data[err.start], data.count(b"\n", 0, err.start) + 1
        likely = bytes([byte]).decode("cp1252", "replace")
        raise TableError(
            f"{file} is not UTF-8 text (byte {byte:#x} at {err.start}, line {line}; {likely!r} in Windows-1252, also "
            f"called ANSI or Latin-1): save it as UTF-8, or convert it with: iconv -f WINDOWS-1252 -t UTF-8"
        ) from None
    if encoding != "utf-8-sig":
        notes.append(f"Read as {encoding.upper()} text.")
    text = text.removeprefix("\ufeff")
    if text.rstrip().endswith("\x1a"):
        text = text.rstrip("\x1a \t\r\n") + "\n"
        notes.append("Ctrl-Z, DOS's mark of the end of a file, left out.")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise TableError(
            f"{file} holds NUL bytes (the first in line {line}): it is no text, or damaged; make it again."
        )
    if not text.strip():
        raise TableError(f"{file} is empty; a header line with names and rows of numbers are needed.")
    if re.match(r"\s*<(!doctype|html|\?xml)", text, re.IGNORECASE):
        raise TableError(f"{file} is a web page or XML, no table; fetch or export the table as CSV.")
    return text


def _encoding(data: bytes) -> str:
    """By the mark at the start, or by where the zeros are that UTF-16 puts beside every ASCII character."""
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")):
        if data.startswith(mark):
            return encoding
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    sample = data[:4096]
    even, odd = (2 * sample[k::2].count(0) / max(len(sample), 1) for k in (0, 1))
    if max(even, odd) > 0.5 and min(even, odd) < 0.1:
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8-sig"


# -- Lines and cells -------------------------------------------------------------------------------


def _records(file: Path, text: str, delimiter: str | None, notes: list[str]) -> Records:
    told = re.match(r'\s*"?sep=(?P<mark>[^\r\n])"?[^\S\t]*(?:\r\n|\r|\n)', text, re.IGNORECASE)
    offset = 0
    if told:
        text, offset = text[told.end() :], text.count("\n", 0, told.end()) or 1
        if delimiter is None:
            delimiter = told["mark"]
            notes.append(f"Separator {delimiter!r}, as the first line says.")
    delimiter = delimiter or _delimiter(text, file)
    reader = _reader(text, delimiter, strict=True)
    try:
        found = [(reader.line_num + offset, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as err:
        raise TableError(f"{file}, line {reader.line_num + offset}: {err}.") from None
    if not found:
        raise TableError(f"{file} is empty; a header line with names and rows of numbers are needed.")
    names = [name.strip() for name in found[0][1]]
    rows, lines = [row for _, row in found[1:]], [line for line, _ in found[1:]]
    if all(map(is_number, filter(None, names))):
        raise TableError(f"{file}: the first line holds numbers where the names of the columns should be; add them.")
    if not rows:
        raise TableError(f"{file} has names in its first line, but no rows.")
    if {len(row) for row in rows} == {len(names) + 1} and len(names) > 1:
        if not any(row[-1].strip() for row in rows):
            names = [*names, ""]
        elif _are_row_names([row[0].strip() for row in rows]):
            names = ["", *names]
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(names):
            raise TableError(
                f"{file}, line {line}: {counted(len(row), 'cell')} where the first line names "
                f"{counted(len(names), 'column')} (separator {delimiter!r}; --delimiter names another)."
            )
    return Records(names, rows, lines)


def _are_row_names(cells: list[str]) -> bool:
    """Whether cells that no name stands above are R's row names: all different, and no numbers but ascending ones."""
    numbers = [cell for cell in cells if is_number(cell)]
    ascending = all(map(str.isdecimal, numbers)) and numbers == sorted(numbers, key=int)
    return len(set(cells)) == len(cells) and ascending


def _reader(text: str, delimiter: str, strict: bool) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=strict)


def _delimiter(text: str, file: Path) -> str:
    """The separator that cuts header and first rows alike, leaves most numbers, and makes most names, in this order."""

    def score(mark: str) -> tuple[bool, float, int]:
        try:
            rows = [row for row in islice(_reader(text, mark, strict=False), LOOKED_AT) if any(map(str.strip, row))]
        except csv.Error:
            return False, 0.0, 0
        n_names = len(rows[0]) if rows else 0
        if n_names <= 1 or {len(row) for row in rows[1:]} not in ({n_names}, {n_names + 1}):
            return False, 0.0, n_names
        cells = [cell for row in rows[1:] for cell in row if cell.strip()]
        return True, sum(map(is_number, cells)) / max(len(cells), 1), n_names

    if file.suffix.lower() in {".tsv", ".tab"} and score("\t")[2] > 1:
        return "\t"
    best = max(DELIMITERS, key=score)
    return " " if score(best)[2] <= 1 and score(" ")[0] else best


def _kept(file: Path, records: Records, marks: Marks, drop: Sequence[str], notes: list[str]) -> list[int]:
    """Which columns to read: not those dropped, row names, or columns without a name and without values."""
    names = records.names
    for name in drop:
        check_name([other for other in names if other], name, "leave out")
    left = [j for j, name in enumerate(names) if name not in drop or not name]
    empty = [j for j in left if not names[j] and all(is_missing(row[j], marks) for row in records.rows)]
    left = [j for j in left if j not in empty]
    while left and ROW_NAMES.fullmatch(names[left[0]]) and left[0] <= 1:
        j = left.pop(0)
        called = f" ({names[j]!r})" if names[j] else ""
        notes.append(f"The first column{called} holds row names: left out.")
    nameless = next((j for j in left if not names[j]), None)
    if nameless is not None:
        raise TableError(f"{file}: column {nameless + 1} of {len(names)} has values but no name in the first line.")
    refuse_repeated([names[j] for j in left], f"{file}: names that repeat in the first line")
    if empty:
        notes.append(f"{counted(len(empty), 'empty column')} without a name left out.")
    return left


# -- Parquet ---------------------------------------------------------------------------------------


def _parquet(file: Path, data: bytes, marks: Marks, drop: Sequence[str]) -> tuple[list[Column], list[str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        source = parquet.ParquetFile(io.BytesIO(data))
        names = source.schema_arrow.names
        for name in drop:
            check_name(names, name, "leave out")
        kept = [name for name in names if name not in drop and not PANDAS_INDEX.fullmatch(name)]
        refuse_repeated(kept, f"{file}: names of columns that repeat")
        found = source.read(columns=kept)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as err:
        raise TableError(f"{file} is damaged, or no Parquet file that pyarrow can read: {err}") from None
    notes: list[str] = []
    note(notes, "Row names left out", [name for name in names if PANDAS_INDEX.fullmatch(name)])
    return table.columns_of(found, marks=marks), notes
