"""One step's gradients of all agents: packed, computed micro-batch by micro-batch, summed in the arena.

Out of memory halves the token budget and computes the step once more; a second time ends the pass.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from engine.base_model import BaseModel
from engine.objective import Signals, add_gradients
from engine.packer import Form, Portion, Tenant, pack

Work = Sequence[tuple[Tenant, Sequence[Portion]]]


class OutOfMemory(Exception):
    """Half of the token budget was too much as well. The pass ends; its lessons are not learned."""


def add_step(base: BaseModel, work: Work, form: Form) -> tuple[dict[int, Signals], Form]:
    """The gradients of a step are in the arena, which held none before. Returns signals by slot, and the form
    that fitted into memory: go on with that."""
    try:
        return _add(base, work, form), form
    except RuntimeError as fault:
        if not _is_out_of_memory(fault):
            raise
    smaller = replace(form, token_budget=max(1, form.token_budget // 2))
    _forget(base, work)
    try:
        return _add(base, work, smaller), smaller
    except RuntimeError as fault:
        if not _is_out_of_memory(fault):
            raise
        _forget(base, work)
        raise OutOfMemory(f"a step does not fit into memory at {smaller.token_budget} tokens") from fault


def _add(base: BaseModel, work: Work, form: Form) -> dict[int, Signals]:
    signals = {tenant.slot: Signals() for tenant, _ in work if tenant.slot is not None}
    for batch in pack(work, form, base.device):
        for slot, heard in add_gradients(base, batch).items():
            signals[slot].join(heard)
    return signals


def _forget(base: BaseModel, work: Work) -> None:
    """No half of a step is left in the arena."""
    for tenant, _ in work:
        if tenant.slot is not None:
            base.arena.grad[tenant.slot].zero_()


def _is_out_of_memory(fault: RuntimeError) -> bool:
    return isinstance(fault, torch.OutOfMemoryError) or "not enough memory" in str(fault)  # the latter on CPU
