"""One step's gradients of all agents: packed, computed micro-batch by micro-batch, summed in the arena."""

from collections.abc import Sequence
from dataclasses import replace

from engine.base_model import BaseModel
from engine.memory import within_memory
from engine.objective import Signals, add_gradients
from engine.packer import Form, Portion, Tenant, pack

Work = Sequence[tuple[Tenant, Sequence[Portion]]]


def add_step(base: BaseModel, work: Work, form: Form) -> tuple[dict[int, Signals], Form]:
    """The gradients of a step are in the arena, which held none before. Returns signals by slot, and the form
    that fitted into memory: go on with that. Raises `OutOfMemory`."""
    signals, fitting = within_memory(
        lambda tokens: _add(base, work, replace(form, token_budget=tokens)),
        token_budget=form.token_budget,
        forget=lambda: _forget(base, work),
    )
    return signals, replace(form, token_budget=fitting)


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
