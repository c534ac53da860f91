"""A step that runs out of memory is tried once more with half the budget, and leaves no half gradient."""

import pytest
import torch

from engine.base_model import PackedBatch
from engine.memory import OutOfMemory
from engine.objective import read_references
from engine.packer import PackingOptions
from engine.step import add_step
from tests.unit.engine.tiny_engine import (
    RECIPE,
    LimitedBase,
    TinyEngine,
    build_demonstrations,
    relative_distance,
)

PACKING = PackingOptions(token_budget=256, mix_below_tokens=512)


def build_work() -> tuple[TinyEngine, list]:
    engine = TinyEngine(recipes=[RECIPE, RECIPE])
    return engine, [
        (tenant, engine.portions(tenant, build_demonstrations("ab"[n], 4), supervised=1.0))
        for n, tenant in enumerate(engine.tenants)
    ]


def test_half_the_budget_is_tried_once_and_kept():
    engine, work = build_work()
    engine.run(work)
    whole = engine.base.arena.grad.clone()
    engine.base.arena.grad.zero_()
    _, packing = add_step(LimitedBase(engine.base, tokens_max=129), work, PACKING)
    assert packing.token_budget == 128
    assert relative_distance(engine.base.arena.grad, whole) <= 1e-5


def test_if_half_does_not_fit_either_no_gradient_is_left():
    engine, work = build_work()
    with pytest.raises(OutOfMemory, match="128 tokens"):
        add_step(LimitedBase(engine.base, tokens_max=60), work, PACKING)
    assert not engine.base.arena.grad.any()


def test_another_error_is_not_taken_for_out_of_memory():
    engine, work = build_work()

    class Broken(LimitedBase):
        def hidden(self, packed: PackedBatch) -> torch.Tensor:
            raise RuntimeError("a kernel is missing")

    with pytest.raises(RuntimeError, match="kernel"):
        add_step(Broken(engine.base, tokens_max=1), work, PACKING)


def test_reading_references_is_retried_too():
    engine, work = build_work()
    tenant, portions = work[0]
    samples = [portion.sample for portion in portions]

    def read(base):
        references = read_references(
            base, tenant, samples, token_budget=256, hidden_too=[False] * len(samples)
        )
        return torch.cat([reference.logprob_N for (reference,) in references])

    torch.testing.assert_close(read(LimitedBase(engine.base, tokens_max=129)), read(engine.base))
    with pytest.raises(OutOfMemory):
        read(LimitedBase(engine.base, tokens_max=20))
