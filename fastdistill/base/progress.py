"""Progress of a long computation: a bar, lines of text, or a function of the caller.

``progress=True`` shows a bar of tqdm, or lines of text on standard error where tqdm is not installed, of what lasts
more than two seconds. A function is called as ``progress(done, total)``, at most ten times a second and at the end.
What it raises ends the computation.

Cost: a look at the clock per block of rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

SHOWN_AFTER = 2.0  # seconds; also those between two lines of text
CALLED_AFTER = 0.1

Advance = Callable[[int], object]  # of what was done since the last call


def nothing(count: int) -> None:
    """Progress that nobody wants to see."""


def checked(progress: Any) -> Any:
    """False, True or a function.

    Raises
    ------
    TypeError
        For anything else.
    """
    if not (isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress must be False, True or a function (done, total), got {type(progress).__name__}.")
    return progress


@contextmanager
def reporting(progress: Any, total: int, unit: str, what: str) -> Iterator[Advance]:
    """A function to be called with the number of units done since its last call.

    Parameters
    ----------
    progress : bool or callable
    total : int
        Units in all.
    unit, what : str
        "rows", and what is computed with them.
    """
    if checked(progress) is False:
        yield nothing
        return
    if progress is True:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            progress = _lines(unit, what)
        else:
            with tqdm(total=total, unit=f" {unit}", desc=what, delay=SHOWN_AFTER, unit_scale=total > 1000) as bar:
                yield bar.update
            return
    steps = _Steps(progress, total)
    yield steps.advance
    steps.finish()


class _Steps:
    """Calls of a function (done, total), not more often than can be seen."""

    def __init__(self, call: Callable[[int, int], object], total: int) -> None:
        self._call, self._total = call, total
        self._done, self._called, self._last = 0, -1, perf_counter()

    def advance(self, count: int) -> None:
        self._done += count
        now = perf_counter()
        if now - self._last >= CALLED_AFTER:
            self._last = now
            self.finish()

    def finish(self) -> None:
        if self._called != self._done:
            self._called = self._done
            self._call(self._done, self._total)


def _lines(unit: str, what: str) -> Callable[[int, int], None]:
    """A function that writes a line every two seconds."""
    start = last = perf_counter()

    def write(done: int, total: int) -> None:
        nonlocal last
        now = perf_counter()
        if now - last >= SHOWN_AFTER:
            last = now
            share = done / max(1, total)
            print(f"{what}: {share:.0%}, {done:,} of {total:,} {unit} in {now - start:.0f} s", file=sys.stderr)

    return write
