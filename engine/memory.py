"""Out of memory costs one retry with half of the token budget; a second time ends the pass.

And what a pass took goes back to the system when it is over.
"""

import ctypes
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


class OutOfMemory(Exception):
    """Half of the token budget was too much as well. The pass ends; its lessons are not learned."""


def within_memory(
    compute: Callable[[int], Result], *, token_budget: int, forget: Callable[[], None] = lambda: None
) -> tuple[Result, int]:
    """What `compute` makes of a token budget, and the budget that fitted: go on with that.

    `forget` undoes what a failed try left behind; raises `OutOfMemory` after the second.
    """
    try:
        return compute(token_budget), token_budget
    except RuntimeError as fault:
        if not _is_out_of_memory(fault):
            raise
    smaller = max(1, token_budget // 2)  # out here, where the fault no longer holds on to activations
    forget()
    try:
        return compute(smaller), smaller
    except RuntimeError as fault:
        if not _is_out_of_memory(fault):
            raise
        forget()
        raise OutOfMemory(f"a step does not fit into memory at {smaller} tokens") from fault


def give_back() -> None:
    """What the heap holds and nobody uses is the system's again: a process that learns for weeks would keep a
    little more after every pass. With glibc; elsewhere nothing happens."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _is_out_of_memory(fault: RuntimeError) -> bool:
    return isinstance(fault, torch.OutOfMemoryError) or "not enough memory" in str(fault)  # the latter on CPU
