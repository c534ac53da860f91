"""Retries a computation that ran out of memory once, with half of the token budget; then the pass ends.

It also returns unused memory to the operating system after a pass.
"""

import ctypes
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


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


def release_memory() -> None:
    """Return unused heap memory to the operating system: otherwise a process grows a little with every pass.

    With glibc; elsewhere it does nothing.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _is_out_of_memory(fault: RuntimeError) -> bool:
    return isinstance(fault, torch.OutOfMemoryError) or "not enough memory" in str(fault)  # the latter on CPU
