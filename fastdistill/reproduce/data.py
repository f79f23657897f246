"""Data for the protocols of [P], [D] and [S]: UCI data sets and MNIST from a folder, or what scikit-learn has.

==========================  =======================  ===============================================================
data set                    file                     rows and columns used
==========================  =======================  ===============================================================
Air Quality (UCI 360)       air_quality.csv          eight inputs, target NO2(GT); [P]: rows without the mark −200
                                                     outside NMHC(GT); [D]: rows without it in the columns used
Airfoil (UCI 291)           airfoil_self_noise.csv   all rows, all five inputs; target the sound pressure
Appliances energy, AEP      appliances_energy.csv    all rows, 24 inputs (no `lights`, no random ones); log target
(UCI 374)
Communities and Crime       communities_crime.csv    all rows, the 99 inputs without a missing value
(UCI 183)
MNIST, its test part        mnist_10k_images.idx3    all 10 000 images and labels, gzipped IDX files under these names
                            mnist_10k_labels.idx1    (with .gz) or their original ones (t10k-…-ubyte.gz)
==========================  =======================  ===============================================================

Rows keep the order of the file, which for Air Quality and Appliances energy is time. Cost: one pass over each file.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import numpy as np
from sklearn import datasets as bundled_datasets

from fastdistill.pages.errors import InputError
from fastdistill.reproduce.papers import PAPERS


class Regression(NamedTuple):
    """Inputs X (n, d), target y (n,), and where they come from."""

    key: str
    title: str
    X: np.ndarray
    y: np.ndarray
    origin: str


class Images(NamedTuple):
    """Grey values (n, s, s) in [0, 1], class numbers (n,), and where they come from."""

    title: str
    pixels: np.ndarray
    labels: np.ndarray
    origin: str


@dataclass(frozen=True)
class Source:
    """One UCI data set as a file in the user's folder, and as it is downloaded."""

    file: str
    title: str
    number: int  # of the data set in the UCI repository
    inputs: tuple[str, ...]  # none: every column of the file but the target and the excluded ones
    target: str
    excluded: tuple[str, ...] = ()
    mark: float | None = None  # of a missing value: rows with it are left out
    complete: tuple[str, ...] = ()  # more columns in which a row must not carry the mark
    renamed: dict[str, str] = field(default_factory=dict)  # UCI's name -> the name in the file, where they differ
    log_target: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that must be there."""
        return (*self.inputs, self.target, *self.excluded, *self.complete)

    def inputs_in(self, header: list[str]) -> tuple[str, ...]:
        """The inputs in a file of this header."""
        return self.inputs or tuple(name for name in header if name not in (self.target, *self.excluded))

    @property
    def page(self) -> str:
        """Where a person finds the data set."""
        return f"https://archive.ics.uci.edu/dataset/{self.number}"

    @property
    def url(self) -> str:
        """The data set as CSV, rows in the order of the original file."""
        return f"https://archive.ics.uci.edu/static/public/{self.number}/data.csv"


_ROOMS = tuple(name for room in range(1, 10) for name in (f"T{room}", f"RH_{room}"))

# columns of Communities and Crime that say where a row is from, and those in which values are missing
_NO_PREDICTORS = ("state", "county", "community", "communityname", "fold")
_WITH_MISSING = (
    *("OtherPerCap", "LemasSwornFT", "LemasSwFTPerPop", "LemasSwFTFieldOps", "LemasSwFTFieldPerPop", "LemasTotalReq"),
    *("LemasTotReqPerPop", "PolicReqPerOffic", "PolicPerPop", "RacialMatchCommPol", "PctPolicWhite", "PctPolicBlack"),
    *("PctPolicHisp", "PctPolicAsian", "PctPolicMinor", "OfficAssgnDrugUnits", "NumKindsDrugsSeiz"),
    *("PolicAveOTWorked", "PolicCars", "PolicOperBudg", "LemasPctPolicOnPatr", "LemasGangUnitDeploy"),
    "PolicBudgPerPop",
)

UCI = {
    "air_quality": Source(
        "air_quality.csv",
        "Air Quality",
        360,
        ("PT08.S1(CO)", "PT08.S2(NMHC)", "PT08.S3(NOx)", "PT08.S4(NO2)", "PT08.S5(O3)", "T", "RH", "AH"),
        "NO2(GT)",
        mark=-200.0,
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
    "communities_crime": Source(
        "communities_crime.csv",
        "Communities and Crime",
        183,
        (),
        "ViolentCrimesPerPop",
        excluded=(*_NO_PREDICTORS, *_WITH_MISSING),
    ),
}

# parts of MNIST: name in the folder, original name, dimensions of the IDX file
IDX = (
    ("mnist_10k_images.idx3.gz", "t10k-images-idx3-ubyte.gz", 3),
    ("mnist_10k_labels.idx1.gz", "t10k-labels-idx1-ubyte.gz", 1),
)
SHA256 = {
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
IDX_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"


def check(keys: Iterable[str], folder: Path) -> None:
    """Raise `InputError` unless every file is there with every column that is read; looks at headers only."""
    keys = list(keys)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"--data {folder} {what}; {_wanted(keys)}")
    for source in _uci(keys):
        file = folder / source.file
        if not file.is_file():
            raise InputError(f"--data {folder}: {source.file} is missing. {_where(source)}")
        with _opened(file) as handle:
            _require(next(csv.reader(handle), []), source.columns, file.name, source)
    if "mnist" in keys:
        for part in IDX:
            _idx_file(folder, part)


def _uci(keys: Iterable[str]) -> Iterator[Source]:
    return (UCI[key] for key in keys if key in UCI)


def _wanted(keys: list[str]) -> str:
    idx = [name for name, _, _ in IDX] if "mnist" in keys else []
    files = ", ".join([*(source.file for source in _uci(keys)), *idx])
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
    """The three UCI data sets of [P] from a folder, or three that scikit-learn bundles where there is no folder."""
    if folder is None:
        yield from _bundled()
    else:
        for key in PAPERS["pareek"].datasets:
            yield from_file(key, folder)


def from_file(key: str, folder: Path, *, only_used: bool = False, without: tuple[str, ...] = ()) -> Regression:
    """A data set of `UCI`, some inputs left out; `only_used`: other columns than inputs and target may lack values."""
    source = replace(UCI[key], complete=()) if only_used else UCI[key]
    if without:
        source = replace(source, inputs=tuple(name for name in source.inputs if name not in without))
    file = folder / source.file
    values, d = _read(file, source)
    values = values if source.mark is None else values[~np.any(values == source.mark, axis=1)]
    X, y = values[:, :d], values[:, d]
    if source.log_target:
        if y.min() <= 0:
            raise InputError(f"{file.name}: {source.target} must be positive for its logarithm, got {y.min():g}.")
        y = np.log(y)
    if d == 0 or len(y) < 10 * d:
        raise InputError(f"{file.name} holds only {len(y)} complete rows for {d} inputs; it seems to be cut short.")
    return Regression(key, source.title, X, y, f"UCI {source.number}")


def _read(file: Path, source: Source) -> tuple[np.ndarray, int]:
    """Inputs, target and further columns (n, c) of a CSV file, numbers only; and how many are inputs."""
    with _opened(file) as handle:
        reader = csv.reader(handle)
        header = next(reader, [])
        _require(header, source.columns, file.name, source)
        inputs = source.inputs_in(header)
        where = [header.index(name) for name in (*inputs, source.target, *source.complete)]
        rows = [_numbers(row, where, header, f"{file.name}, line {reader.line_num}") for row in reader if row]
    return np.array(rows).reshape(-1, len(where)), len(inputs)


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


def diabetes() -> Regression:
    """The regression data that scikit-learn bundles."""
    bunch = bundled_datasets.load_diabetes()
    return Regression("diabetes", "Diabetes", bunch.data, bunch.target, "scikit-learn, load_diabetes")


def digits() -> Images:
    """The 8 × 8 digits that scikit-learn bundles."""
    bunch = bundled_datasets.load_digits()
    return Images("Digits (8 × 8)", bunch.images / 16.0, bunch.target, "scikit-learn, load_digits")


def mnist(folder: Path) -> Images:
    """The 10 000 test images of MNIST, in single precision."""
    images, labels = (_read_idx(_idx_file(folder, part), part[2]) for part in IDX)
    if len(images) != len(labels) or images.shape[1] != images.shape[2]:
        raise InputError(f"{folder}: the MNIST files hold images {images.shape} and labels {labels.shape}.")
    return Images("MNIST (28 × 28)", images.astype(np.float32) / 255, labels.astype(np.intp), "MNIST, test part")


def _idx_file(folder: Path, part: tuple[str, str, int]) -> Path:
    for name in part[:2]:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"--data {folder}: {part[0]} is missing. It is {part[1]} of MNIST ({IDX_MIRROR}{part[1]}): save it there under "
        "either name, or add --download to have it fetched."
    )


def _read_idx(file: Path, n_dimensions: int) -> np.ndarray:
    """The unsigned bytes of a gzipped IDX file: 0 0 8 d, then d big-endian sizes, then the values."""
    try:
        raw = gzip.decompress(file.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raw = b""
    start = 4 + 4 * n_dimensions
    shape = np.frombuffer(raw[4:start], dtype=">u4").astype(int) if raw[:4] == bytes([0, 0, 8, n_dimensions]) else ()
    if len(shape) != n_dimensions or len(raw) != start + np.prod(shape):
        raise InputError(
            f"{file.name} is no complete gzipped IDX file of bytes in {n_dimensions} dimension"
            f"{'s' if n_dimensions > 1 else ''}; fetch it again from {IDX_MIRROR}."
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def _bundled() -> Iterator[Regression]:
    """Bundled regression data; where the set is meant for classification, its last column from all the others."""
    yield diabetes()
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
    """Fetch the files missing in `folder`, each checked before it is put in place.

    Raises
    ------
    InputError
        The folder cannot be written to, the repository does not answer, or its file lacks a column.
    """
    keys = list(keys)
    for source in _uci(keys):
        file = folder / source.file
        if file.exists():
            continue
        progress(f"downloading {source.url}")
        content = _fetched(source.url, file, source.page)
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig", errors="replace"))))
        header = [source.renamed.get(name, name) for name in rows[0]] if rows else []
        _require(header, source.columns, source.url, source)
        out = io.StringIO()
        csv.writer(out).writerows([header, *rows[1:]])
        _put(file, out.getvalue().encode("utf-8"))
    for name, original, _ in IDX if "mnist" in keys else ():
        if not ((folder / name).exists() or (folder / original).exists()):
            progress(f"downloading {IDX_MIRROR}{original}")
            content = _fetched(IDX_MIRROR + original, folder / name, IDX_MIRROR + original)
            if hashlib.sha256(content).hexdigest() != SHA256[original]:
                raise InputError(
                    f"{IDX_MIRROR}{original} is not the file of MNIST any more, by its SHA-256; look for {original} "
                    f"elsewhere."
                )
            _put(folder / name, content)


def _fetched(url: str, file: Path, page: str) -> bytes:
    try:
        return fetch(url)
    except (OSError, HTTPException) as err:
        raise InputError(
            f"could not download {url} ({err}). Save {page} as {file} by hand, or leave --data and --download out."
        ) from None


def _put(file: Path, content: bytes) -> None:
    """Write a file beside its name, then rename: never half a file."""
    partial = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, file)
    except OSError as err:
        raise InputError(f"--data {file.parent}: cannot write {file.name} ({err.strerror}).") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
