"""Measures the machine under a benchmark: its fastest matrix product, and memory used."""

import resource
import time
from pathlib import Path

import psutil
import torch

from engine.calibration import synchronize

# rows, inner, columns
_PRODUCTS = {
    "cpu": ((1024, 1024, 1024), (2048, 256, 768), (2048, 1024, 3072)),
    "cuda": ((8192, 8192, 8192), (16384, 2560, 9728)),
}


def gemm_peak(dtype: torch.dtype, device: torch.device) -> float:
    """The fastest of some matrix products on this device just now, in FLOP/s."""
    best = 0.0
    for rows, inner, columns in _PRODUCTS[device.type]:
        left = torch.randn(rows, inner, dtype=dtype, device=device)
        right = torch.randn(inner, columns, dtype=dtype, device=device)
        for _ in range(12):
            synchronize(device)
            start = time.perf_counter()
            torch.mm(left, right)
            synchronize(device)
            best = max(best, 2.0 * rows * inner * columns / (time.perf_counter() - start))
    return best


def forget_peak_memory(device: torch.device) -> None:
    """Reset the highest memory use so far, on Linux and for CUDA; elsewhere peaks only grow."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def peak_memory_mib() -> float:
    """The highest resident memory since `forget_peak_memory`; outside of Linux since the start."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak_device_mib(device: torch.device) -> float:
    """The highest GPU memory of tensors since `forget_peak_memory`; 0 without a GPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


def resident_memory_mib() -> float:
    """The resident memory now."""
    return float(psutil.Process().memory_info().rss) / 2**20
