"""Computes one step's gradients of all agents: packs micro-batches and sums their gradients in the arena."""

from collections.abc import Sequence
from dataclasses import replace

from engine.base_model import BaseModel
from engine.memory import within_memory
from engine.objective import Signals, add_gradients
from engine.packer import PackingOptions, Portion, Tenant, pack

Work = Sequence[tuple[Tenant, Sequence[Portion]]]


def add_step(
    base: BaseModel, work: Work, packing: PackingOptions
) -> tuple[dict[int, Signals], PackingOptions]:
    """Compute the gradients of a step into the arena, which held none before.

    Returns the signals by slot, and the packing that fitted into memory, with which the caller should
    continue. Raises `OutOfMemory`.
    """
    signals, tokens_fitting = within_memory(
        lambda tokens: _add(base, work, replace(packing, token_budget=tokens)),
        token_budget=packing.token_budget,
        undo=lambda: _clear_gradients(base, work),
    )
    return signals, replace(packing, token_budget=tokens_fitting)


def _add(base: BaseModel, work: Work, packing: PackingOptions) -> dict[int, Signals]:
    signals = {tenant.slot: Signals() for tenant, _ in work if tenant.slot is not None}
    for batch in pack(work, packing, base.device):
        for slot, batch_signals in add_gradients(base, batch).items():
            signals[slot].join(batch_signals)
    return signals


def _clear_gradients(base: BaseModel, work: Work) -> None:
    """Remove the gradients of a step that did not finish."""
    for tenant, _ in work:
        if tenant.slot is not None:
            base.arena.grad[tenant.slot].zero_()
