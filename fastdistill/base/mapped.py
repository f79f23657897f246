"""Pages of a memory-mapped file that were read, given back while the rest of the file is read.

Pages stay in a process until the system needs them elsewhere: one pass over 8 GB makes a process of 8 GB, and a memory
limit, or a user who looks, counts them. Given back block by block, they remain in the system's file cache only.

Cost: one system call per block; 1 % of the time of `fastdistill.GramAccumulator.partial_fit`.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

SHARED = ("r", "r+", "w+")  # modes whose changes are the file's; "c" would lose its own with the pages


class MappedPages:
    """The pages that an array has of a file; of other arrays it does nothing."""

    def __init__(self, array: Any) -> None:
        self._file = _file_of(array)
        self._start = 0
        if self._file is not None:
            self._start = _address(np.frombuffer(self._file, dtype=np.uint8))

    def release(self, part: Any) -> None:
        """Give back the pages of a part of the array."""
        if self._file is None:
            return
        reach = sum((size - 1) * stride for size, stride in zip(part.shape, part.strides, strict=True))
        first = _address(part) - self._start
        start = first - first % mmap.PAGESIZE
        self._file.madvise(mmap.MADV_DONTNEED, start, first + reach + part.itemsize - start)


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _file_of(array: Any) -> mmap.mmap | None:
    """The map of which an array is a view, where its pages can be given back and read again."""
    is_shared = False
    if any(stride < 0 for stride in getattr(array, "strides", ())) or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    while isinstance(array, np.ndarray):
        is_shared = is_shared or (isinstance(array, np.memmap) and array.mode in SHARED)
        array = array.base
    return array if is_shared and isinstance(array, mmap.mmap) else None
