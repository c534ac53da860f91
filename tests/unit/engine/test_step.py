"""Out of memory costs one retry at half the budget, then the pass; never half a gradient."""

import pytest
import torch

from engine.base_model import PackedBatch
from engine.memory import OutOfMemory
from engine.objective import read_references
from engine.packer import Form
from engine.step import add_step
from tests.unit.engine.tiny_engine import (
    RECIPE,
    LimitedBase,
    TinyEngine,
    build_demonstrations,
    relative_distance,
)

FORM = Form(token_budget=256, mix_below_tokens=512)


def given() -> tuple[TinyEngine, list]:
    engine = TinyEngine(recipes=[RECIPE, RECIPE])
    return engine, [
        (tenant, engine.portions(tenant, build_demonstrations("ab"[n], 4), supervised=1.0))
        for n, tenant in enumerate(engine.tenants)
    ]


def test_half_the_budget_is_tried_once_and_kept():
    engine, work = given()
    engine.run(work)
    whole = engine.base.arena.grad.clone()
    engine.base.arena.grad.zero_()
    _, fitting = add_step(LimitedBase(engine.base, tokens_max=129), work, FORM)
    assert fitting.token_budget == 128
    assert relative_distance(engine.base.arena.grad, whole) <= 1e-5


def test_when_half_is_too_much_as_well_nothing_is_left_behind():
    engine, work = given()
    with pytest.raises(OutOfMemory, match="128 tokens"):
        add_step(LimitedBase(engine.base, tokens_max=60), work, FORM)
    assert not engine.base.arena.grad.any()


def test_another_fault_is_not_taken_for_memory():
    engine, work = given()

    class Broken(LimitedBase):
        def hidden(self, packed: PackedBatch) -> torch.Tensor:
            raise RuntimeError("a kernel is missing")

    with pytest.raises(RuntimeError, match="kernel"):
        add_step(Broken(engine.base, tokens_max=1), work, FORM)


def test_reading_what_the_champion_makes_of_samples_is_retried_as_well():
    engine, work = given()
    tenant, portions = work[0]
    samples = [portion.sample for portion in portions]

    def read(base):
        found = read_references(base, tenant, samples, token_budget=256, hidden_too=[False] * len(samples))
        return torch.cat([one.logprob_N for (one,) in found])

    torch.testing.assert_close(read(LimitedBase(engine.base, tokens_max=129)), read(engine.base))
    with pytest.raises(OutOfMemory):
        read(LimitedBase(engine.base, tokens_max=20))
