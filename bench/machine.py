"""What the machine under a benchmark can do and how much memory it took."""

import resource
import time
from pathlib import Path

import torch

_PRODUCTS = ((1024, 1024, 1024), (2048, 256, 768), (2048, 1024, 3072))  # rows, inner, columns


def gemm_peak(dtype: torch.dtype) -> float:
    """The fastest matrix product this machine was seen to make just now, in FLOP/s."""
    best = 0.0
    for rows, inner, columns in _PRODUCTS:
        left, right = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, columns, dtype=dtype)
        for _ in range(12):
            start = time.perf_counter()
            torch.mm(left, right)
            best = max(best, 2.0 * rows * inner * columns / (time.perf_counter() - start))
    return best


def forget_peak_memory() -> None:
    """Linux forgets the highest memory so far; elsewhere peaks only ever grow."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def peak_memory_mib() -> float:
    """The most resident memory since it was last forgotten."""
    return _status_mib("VmHWM")


def resident_memory_mib() -> float:
    """The memory resident now; where only a peak can be had, that."""
    return _status_mib("VmRSS")


def _status_mib(field: str) -> float:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
