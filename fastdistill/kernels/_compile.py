"""The one compiler decorator of the package: nopython, GIL released, cached on disk where a folder is writable.

`numba.njit(cache=True)` raises at decoration time when neither the package folder nor the user's cache folder is
writable (read-only installs, no HOME). Then the kernel is compiled in memory instead, once per process.
`FASTDISTILL_CACHE=0` never caches; `FASTDISTILL_CACHE=1` insists and raises where it cannot.

numba trusts what it finds in the cache: a file cut short raises from inside a call, a flipped bit runs as machine code.
Each file therefore ends in a digest of its content, and one that does not match is compiled anew. (A pickle ends where
it says so, and numba reads over what follows.)
"""

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile


class _DigestFile(IndexDataCacheFile):
    """Files of the cache that end in a digest of what stands before it."""

    def _dump(self, obj: Any) -> bytes:
        content = super()._dump(obj)
        return content + hashlib.sha256(content).digest()

    def _load_data(self, name: str) -> Any:
        with open(self._data_path(name), "rb") as file:
            data = file.read()
        content, digest = data[:-32], data[-32:]
        if hashlib.sha256(content).digest() != digest:
            raise pickle.UnpicklingError(f"{name} is damaged")
        return pickle.loads(content)


class _Cache(FunctionCache):
    """A cache in which a damaged file is one that is not there."""

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        file = self._cache_file
        self._cache_file = _DigestFile(self._cache_path, self._impl.filename_base, file._source_stamp)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(signature, target_context)
        except Exception:  # damaged bytes can raise anything when they are unpickled
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except Exception:  # a full disk, a damaged index that cannot be replaced: the kernel itself is there
            if os.environ.get("FASTDISTILL_CACHE") == "1":
                raise


def jit(function: Callable) -> Any:
    """Compile `function` on first call; division by zero follows IEEE, no fast-math."""
    return _compiled(function)


def jit_sums(function: Callable) -> Any:
    """The same for innermost loops whose sums may be added in any order, so that they use vector instructions."""
    return _compiled(function, fastmath={"contract", "reassoc"})


def jit_fused(function: Callable) -> Any:
    """The same where a product and a sum may become one instruction, and the order of the sums matters."""
    return _compiled(function, fastmath={"contract"})


def _compiled(function: Callable, **extra: Any) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **extra}
    setting = os.environ.get("FASTDISTILL_CACHE", "")
    if setting == "0":
        return njit(**options)(function)
    kernel = njit(**options)(function)
    try:
        if hasattr(kernel, "_cache"):  # not where numba is switched off
            kernel._cache = _Cache(function)
    except RuntimeError:
        if setting == "1":
            raise
    return kernel
