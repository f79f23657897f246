"""Regression data for [P]'s protocol: three UCI data sets from a folder of CSV files, or what scikit-learn bundles.

==========================  =======================  ===============================================================
data set of [P]             file                     rows and columns used
==========================  =======================  ===============================================================
Air Quality (UCI 360)       air_quality.csv          rows without the mark −200 outside NMHC(GT); target NO2(GT)
Airfoil (UCI 291)           airfoil_self_noise.csv   all rows, all five inputs; target the sound pressure
Appliances energy, AEP      appliances_energy.csv    all rows, 24 inputs (no `lights`, no random ones); log target
(UCI 374)
==========================  =======================  ===============================================================

Rows keep the order of the file, which for two of the three is time. Cost: one pass over each file.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import numpy as np
from sklearn import datasets as bundled_datasets

from fastdistill.reproduce import InputError

MISSING = -200.0  # Air Quality's mark


class Regression(NamedTuple):
    """Inputs X (n, d), target y (n,), and where they come from."""

    key: str
    title: str
    X: np.ndarray
    y: np.ndarray
    origin: str


@dataclass(frozen=True)
class Source:
    """One UCI data set as a file in the user's folder, and as it is downloaded."""

    file: str
    title: str
    number: int  # of the data set in the UCI repository
    inputs: tuple[str, ...]
    target: str
    complete: tuple[str, ...] = ()  # more columns in which a row must not carry the mark of a missing value
    renamed: dict[str, str] = field(default_factory=dict)  # UCI's name -> the name in the file, where they differ
    log_target: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        return (*self.inputs, self.target, *self.complete)

    @property
    def page(self) -> str:
        """Where a person finds the data set."""
        return f"https://archive.ics.uci.edu/dataset/{self.number}"

    @property
    def url(self) -> str:
        """The data set as CSV, rows in the order of the original file."""
        return f"https://archive.ics.uci.edu/static/public/{self.number}/data.csv"


_ROOMS = tuple(name for room in range(1, 10) for name in (f"T{room}", f"RH_{room}"))

UCI = {
    "air_quality": Source(
        "air_quality.csv",
        "Air Quality",
        360,
        ("PT08.S1(CO)", "PT08.S2(NMHC)", "PT08.S3(NOx)", "PT08.S4(NO2)", "PT08.S5(O3)", "T", "RH", "AH"),
        "NO2(GT)",
        complete=("CO(GT)", "C6H6(GT)", "NOx(GT)"),
    ),
    "airfoil": Source(
        "airfoil_self_noise.csv",
        "Airfoil",
        291,
        (
            "frequency_hz",
            "angle_of_attack_deg",
            "chord_length_m",
            "free_stream_velocity_m_s",
            "displacement_thickness_m",
        ),
        "sound_pressure_db",
        renamed={
            "frequency": "frequency_hz",
            "attack-angle": "angle_of_attack_deg",
            "chord-length": "chord_length_m",
            "free-stream-velocity": "free_stream_velocity_m_s",
            "suction-side-displacement-thickness": "displacement_thickness_m",
            "scaled-sound-pressure": "sound_pressure_db",
        },
    ),
    "appliances_energy": Source(
        "appliances_energy.csv",
        "Appliances energy",
        374,
        (*_ROOMS, "T_out", "Press_mm_hg", "RH_out", "Windspeed", "Visibility", "Tdewpoint"),
        "Appliances",
        log_target=True,
    ),
}


def check(keys: Iterable[str], folder: Path) -> None:
    """Raise `InputError` unless every file is there with every column that is read; looks at headers only."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"--data {folder} {what}; {_wanted(keys)}")
    for source in (UCI[key] for key in keys):
        file = folder / source.file
        if not file.is_file():
            raise InputError(f"--data {folder}: {source.file} is missing. {_where(source)}")
        with _opened(file) as handle:
            _require(next(csv.reader(handle), []), source.columns, file.name, source)


def _wanted(keys: Iterable[str]) -> str:
    files = ", ".join(UCI[key].file for key in keys)
    return f"name the folder that holds {files}." if files else "name an existing folder, or leave --data out."


def _where(source: Source) -> str:
    return (
        f"It is UCI data set {source.number} ({source.page}): save it there under that name, or add --download "
        "to have it fetched."
    )


def _require(header: list[str], columns: Iterable[str], file: str, source: Source) -> None:
    absent = [name for name in columns if name not in header]
    if absent:
        many = "s" if len(absent) > 1 else ""
        raise InputError(
            f"{file} has no column{many} {', '.join(absent)} (its header: {', '.join(header)[:200]}); it "
            f"should be UCI data set {source.number} ({source.page}) as a comma-separated file."
        )


def _opened(file: Path) -> io.TextIOWrapper:
    return file.open(newline="", encoding="utf-8-sig", errors="replace")


def load(folder: Path | None) -> Iterator[Regression]:
    """The three UCI data sets from a folder, or three that scikit-learn bundles where there is no folder."""
    if folder is None:
        yield from _bundled()
    else:
        for key, source in UCI.items():
            yield _from_file(key, source, folder / source.file)


def _from_file(key: str, source: Source, file: Path) -> Regression:
    values = _read(file, source)
    values = values[~np.any(values == MISSING, axis=1)] if source.complete else values
    d = len(source.inputs)
    X, y = values[:, :d], values[:, d]
    if source.log_target:
        if y.min() <= 0:
            raise InputError(f"{file.name}: {source.target} must be positive for its logarithm, got {y.min():g}.")
        y = np.log(y)
    if len(y) < 10 * d:
        raise InputError(f"{file.name} holds only {len(y)} complete rows for {d} inputs; it seems to be cut short.")
    return Regression(key, source.title, X, y, f"UCI {source.number}")


def _read(file: Path, source: Source) -> np.ndarray:
    """The wanted columns (n, c) of a CSV file, numbers only."""
    with _opened(file) as handle:
        reader = csv.reader(handle)
        header = next(reader, [])
        _require(header, source.columns, file.name, source)
        where = [header.index(name) for name in source.columns]
        rows = [_numbers(row, where, header, f"{file.name}, line {reader.line_num}") for row in reader if row]
    return np.array(rows).reshape(-1, len(where))


def _numbers(row: list[str], where: list[int], header: list[str], place: str) -> list[float]:
    if len(row) <= max(where):
        raise InputError(f"{place}: {len(row)} fields where the header has {len(header)}.")
    try:
        numbers = [float(row[i]) for i in where]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise InputError(f"{place}: a number is missing in {', '.join(_bad_fields(row, where, header))}.")
    return numbers


def _bad_fields(row: list[str], where: list[int], header: list[str]) -> Iterator[str]:
    for i in where:
        try:
            good = np.isfinite(float(row[i]))
        except ValueError:
            good = False
        if not good:
            yield f"column {header[i]} (it says {row[i]!r})"


def _bundled() -> Iterator[Regression]:
    """Bundled regression data; where the set is meant for classification, its last column from all the others."""
    diabetes = bundled_datasets.load_diabetes()
    yield Regression("diabetes", "Diabetes", diabetes.data, diabetes.target, "scikit-learn, load_diabetes")
    for key, title, bunch in (
        ("wine", "Wine (proline)", bundled_datasets.load_wine()),
        ("breast_cancer", "Breast cancer (worst fractal dimension)", bundled_datasets.load_breast_cancer()),
    ):
        yield Regression(key, title, bunch.data[:, :-1], bunch.data[:, -1], f"scikit-learn, load_{key}")


def fetch(url: str) -> bytes:
    """The bytes behind a URL; the one place that touches the network."""
    with urlopen(url, timeout=60) as answer:
        return answer.read()


def download(keys: Iterable[str], folder: Path, progress: Callable[[str], None]) -> None:
    """Fetch the files missing in `folder` from the UCI repository, each checked before it is put in place.

    Raises
    ------
    InputError
        The folder cannot be written to, the repository does not answer, or its file lacks a column.
    """
    for source in (UCI[key] for key in keys):
        file = folder / source.file
        if file.exists():
            continue
        progress(f"downloading {source.url}")
        try:
            text = fetch(source.url).decode("utf-8-sig")
        except (OSError, HTTPException, UnicodeDecodeError) as err:
            raise InputError(
                f"could not download {source.url} ({err}). Save {source.page} as {file} by hand, or leave "
                "--data and --download out."
            ) from None
        rows = list(csv.reader(io.StringIO(text)))
        header = [source.renamed.get(name, name) for name in rows[0]] if rows else []
        _require(header, source.columns, source.url, source)
        _put(file, [header, *rows[1:]])


def _put(file: Path, rows: list[list[str]]) -> None:
    """Write a CSV file beside its name, then rename: never half a file."""
    partial = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows(rows)
        os.replace(partial, file)
    except OSError as err:
        raise InputError(f"--data {file.parent}: cannot write {file.name} ({err.strerror}).") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
