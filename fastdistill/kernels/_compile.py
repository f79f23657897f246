"""The one compiler decorator of the package: nopython, GIL released, cached on disk where a folder is writable.

`numba.njit(cache=True)` raises at decoration time when neither the package folder nor the user's cache folder is
writable (read-only installs, no HOME). Then the kernel is compiled in memory instead, once per process.
`FASTDISTILL_CACHE=0` never caches; `FASTDISTILL_CACHE=1` insists and raises where it cannot.
"""

import os
from collections.abc import Callable
from typing import Any

from numba import njit


def jit(function: Callable) -> Any:
    """Compile `function` on first call; division by zero follows IEEE, no fast-math."""
    return _compiled(function)


def jit_sums(function: Callable) -> Any:
    """The same for innermost loops whose sums may be added in any order, so that they use vector instructions."""
    return _compiled(function, fastmath={"contract", "reassoc"})


def _compiled(function: Callable, **extra: Any) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **extra}
    setting = os.environ.get("FASTDISTILL_CACHE", "")
    if setting == "0":
        return njit(**options)(function)
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        if setting == "1":
            raise
        return njit(**options)(function)
