"""The files of a page: CSV of every table and picture, PNG of every picture, and the page; all of them, or none.

=============================  ================================================================
step                           here
=============================  ================================================================
a folder to write into         `staged`: nothing is in place before everything is written
its files                      `write`
=============================  ================================================================

Cost: about a quarter of a second for each picture, in matplotlib.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastdistill.pages.errors import InputError
from fastdistill.pages.html import page_of
from fastdistill.pages.parts import PageText, Progress, Report

DOTS_PER_INCH = 130


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A hidden folder to write into; its files move to `out` at the end, and on any failure nothing is left of it.

    Raises
    ------
    InputError
        `out` is a file, or cannot be written to; before any work is done.
    """
    existing = out
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"--out {out}: {existing} is a file, not a folder; name another folder.")
    hidden: Path | None = None
    try:
        with _uninterrupted():  # a folder that is made and not yet known could not be removed
            hidden = _hidden_folder(existing, out)
        files = hidden / "files"
        files.mkdir()
        yield files
        _move(files, out)
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)


def _hidden_folder(existing: Path, out: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=".fastdistill-", dir=existing))
    except OSError as err:
        raise InputError(f"--out {out}: cannot write to {existing} ({err.strerror}); name another folder.") from None


def _move(files: Path, out: Path) -> None:
    """All of `files` into `out`: one rename where `out` does not exist yet, otherwise one for each file."""
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        files.rename(out)
        return
    for file in files.iterdir():
        if (out / file.name).is_dir():
            raise InputError(f"--out {out}: {out / file.name} is a folder, but a file of that name is to be written.")
    with _uninterrupted():
        for file in files.iterdir():
            os.replace(file, out / file.name)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end, so that what is done inside is done as a whole."""
    if threading.current_thread() is not threading.main_thread():  # only there do signals arrive
        yield
        return
    waiting: list[int] = []
    stops = (signal.SIGINT, signal.SIGTERM)
    before = {stop: signal.signal(stop, lambda number, frame: waiting.append(number)) for stop in stops}
    try:
        yield
    finally:
        for stop, handler in before.items():
            signal.signal(stop, handler)
    for number in waiting[:1]:
        signal.raise_signal(number)


def write(
    reports: Sequence[Report],
    page: str,
    folder: Path,
    text: PageText,
    progress: Progress = lambda stage: None,
) -> None:
    """CSV of every table, CSV and PNG of every picture, and one self-contained HTML page, into `folder`."""
    images: dict[str, bytes] = {}
    for report in reports:
        for table in report.tables:
            _write_csv(folder / f"{report.name}-{table.name}.csv", table.columns, table.rows)
        for picture in report.pictures:
            progress(f"{report.name}: drawing {picture.name}")
            stem = f"{report.name}-{picture.name}"
            columns = [np.asarray(column).tolist() for column in picture.data.values()]
            _write_csv(folder / f"{stem}.csv", tuple(picture.data), list(zip(*columns, strict=True)))
            picture.figure.savefig(folder / f"{stem}.png", dpi=DOTS_PER_INCH)
            images[stem] = (folder / f"{stem}.png").read_bytes()
    (folder / page).write_text(page_of(reports, images, text), encoding="utf-8")


def _write_csv(file: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(rows)
