"""Freed memory stays in the process during a pass, and goes back to the operating system afterwards."""

import ctypes

import psutil
import pytest

from engine.memory import keep_freed_memory, release_memory

_BLOCK_BYTES, _BLOCKS = 8 << 20, 32


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="about glibc")
def test_freed_memory_is_kept_until_it_is_released() -> None:
    release_memory()
    before = resident_bytes()
    keep_freed_memory()
    blocks = [bytearray(b"x") * _BLOCK_BYTES for _ in range(_BLOCKS)]
    used = resident_bytes() - before
    assert used > _BLOCKS * _BLOCK_BYTES * 0.9
    blocks.clear()
    assert resident_bytes() - before > used * 0.9
    release_memory()
    assert resident_bytes() - before < used * 0.1
