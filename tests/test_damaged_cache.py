"""Kernels whose file in numba's cache is damaged are compiled anew: no error, no wrong machine code."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

SOURCE = """
from fastdistill.kernels._compile import jit

@jit
def thrice(x):
    return 3.0 * x
"""


def load(file: Path):
    """The kernel of a module that is imported anew."""
    spec = importlib.util.spec_from_file_location("kernel_on_disk", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module.thrice, "stats"):
        pytest.skip("numba is switched off by NUMBA_DISABLE_JIT")
    return module.thrice


def flip(content: bytes) -> bytes:
    """One bit in the middle: unpickling would not notice, the processor would."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "cut short": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "other bytes": lambda content: b"no pickle at all",
    "one bit": flip,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
def test_a_damaged_file_is_made_again(damage, ending, tmp_path, monkeypatch):
    monkeypatch.delenv("FASTDISTILL_CACHE", raising=False)
    file = tmp_path / "kernel_on_disk.py"
    file.write_text(SOURCE)
    first = load(file)
    assert first(2.0) == 6.0
    (cached,) = Path(first.stats.cache_path).glob(f"kernel_on_disk.thrice*{ending}")
    cached.write_bytes(DAMAGES[damage](cached.read_bytes()))
    again = load(file)
    assert again(2.0) == 6.0
    if (damage, ending) != ("one bit", ".nbi"):  # a changed index need not lead to this kernel, nor to another
        assert again.stats.cache_misses
    third = load(file)
    assert third(2.0) == 6.0
    assert third.stats.cache_hits


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes where it may not")
def test_a_cache_that_cannot_be_written_any_more_does_not_stop_a_kernel(tmp_path, monkeypatch):
    monkeypatch.delenv("FASTDISTILL_CACHE", raising=False)
    file = tmp_path / "kernel_on_disk.py"
    file.write_text(SOURCE)
    kernel = load(file)
    folder = Path(kernel.stats.cache_path)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o500)
    try:
        assert kernel(2.0) == 6.0
    finally:
        folder.chmod(0o700)
