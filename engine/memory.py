"""Retries a computation that ran out of memory once, with half of the token budget; then the pass ends.

In a pass the process keeps freed memory for the next step, and returns it to the operating system afterwards.
"""

import ctypes
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES_MAX = (1 << 31) - 1  # a C int
_HEAP_BLOCK_BYTES_MAX = 1 << 25  # glibc takes no more; larger blocks always come from the kernel


class OutOfMemory(Exception):
    """Half of the token budget did not fit either. The pass ends; its lessons are not learned."""


def within_memory(
    compute: Callable[[int], Result], *, token_budget: int, undo: Callable[[], None] = lambda: None
) -> tuple[Result, int]:
    """The result of `compute`, and the token budget that fitted, with which the caller should continue.

    `undo` removes what a failed try left behind. Raises `OutOfMemory` after the second failed try.
    """
    try:
        return compute(token_budget), token_budget
    except RuntimeError as fault:
        if not _is_out_of_memory(fault):
            raise
    smaller = max(1, token_budget // 2)  # outside the except block: the exception keeps activations alive
    undo()
    try:
        return compute(smaller), smaller
    except RuntimeError as fault:
        if not _is_out_of_memory(fault):
            raise
        undo()
        raise OutOfMemory(f"a step does not fit into memory at {smaller} tokens") from fault


def keep_freed_memory() -> None:
    """Keep up to 2 GiB of freed memory in the process, until `release_memory`.

    Every step allocates its activations anew. If the process returns them each time, the kernel must fill
    every page with zeros again: measured on SmolLM2, a twelfth of a step. With glibc; elsewhere it does
    nothing. Source of the parameters: mallopt(3).
    """
    if set_parameter := getattr(ctypes.CDLL(None), "mallopt", None):
        set_parameter(_M_TRIM_THRESHOLD, _KEPT_BYTES_MAX)
        set_parameter(
            _M_MMAP_THRESHOLD, _HEAP_BLOCK_BYTES_MAX
        )  # else setting the other one fixes it at 128 KiB


def release_memory() -> None:
    """Return unused heap memory to the operating system: otherwise a process grows a little with every pass.

    With glibc; elsewhere it does nothing.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _is_out_of_memory(fault: RuntimeError) -> bool:
    return isinstance(fault, torch.OutOfMemoryError) or "not enough memory" in str(fault)  # the latter on CPU
