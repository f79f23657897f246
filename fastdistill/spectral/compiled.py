"""The compiled kernels, loaded late: numba takes longer to import than NumPy."""

from __future__ import annotations

from typing import Any


def compiled_kernels() -> Any:
    """The package `fastdistill.kernels`, imported when the first number is needed."""
    from fastdistill import kernels

    return kernels
