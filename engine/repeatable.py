"""Sets torch up so that the same computation gives the same bits each time.

A GPU's matrix products need a fixed workspace, which must be set before the first product. The backward pass
of flash attention adds in a fixed order only if operations without such an order are errors, not warnings.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def fix_workspaces() -> None:
    """Give cuBLAS a fixed workspace, unless the environment sets one. No effect after its first product."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def repeatable() -> Iterator[None]:
    """In the block, torch uses algorithms that give the same bits each time.

    An operation without such an algorithm raises `RuntimeError`.
    """
    memory: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # it only costs time: nothing reads unwritten memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        memory.fill_uninitialized_memory = filled
