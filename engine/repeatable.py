"""The same bits each time: what torch has to be told for it.

A GPU's matrix products need a fixed workspace, chosen before the first of them; flash attention's backward
pass adds in a fixed order only where an operation without such an order would be an error, not a warning.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def fix_workspaces() -> None:
    """cuBLAS repeats itself, unless told otherwise; without effect once it has computed something."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def repeatable() -> Iterator[None]:
    """Within, torch takes the algorithms that give the same bits each time; raises `RuntimeError` at an
    operation that has none."""
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
