"""Adapters are copied to and from slots bit for bit, for any slot and any rank that fits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.adapter_weights import AdapterRefused, read_adapter, write_adapter
from engine.optimizer import StepSizes, step
from engine.recipe import Recipe
from engine.slots import Slots
from tests.unit.engine import tiny_base
from tests.unit.engine.tiny_engine import RECIPE, TinyEngine, build_demonstrations

SIZES = StepSizes(learning_rate=1e-2, beta1=0.9, beta2=0.99, weight_decay=0.1, clip_norm=1.0)


def train_steps(engine: TinyEngine, number: int, steps: int) -> None:
    for count in range(steps):
        tenant = engine.tenants[number]
        engine.run([(tenant, engine.portions(tenant, build_demonstrations("a", 2 + count), supervised=1.0))])
        step(engine.base.arena, tenant.slot, SIZES)


def test_moving_to_another_slot_through_the_store_changes_no_bit_of_the_next_step(tmp_path: Path):
    engine = TinyEngine(recipes=[RECIPE, RECIPE, RECIPE])
    train_steps(engine, 0, 3)
    write_adapter(engine.slots.copy(0, RECIPE), tmp_path)
    engine.slots.detach(2)
    slot = engine.slots.load(read_adapter(tmp_path), moments_too=True)
    assert slot == 2
    arena = engine.base.arena
    for whole in (arena.weight, arena.first, arena.second):
        assert torch.equal(whole[0], whole[2])
    train_steps(engine, 0, 2)
    train_steps(engine, 2, 2)
    for whole in (arena.weight, arena.first, arena.second):
        assert torch.equal(whole[0], whole[2])
    assert int(arena.steps[0]) == int(arena.steps[2]) == 5


@pytest.mark.parametrize("rank", [8, 16])
def test_rank_four_in_a_larger_arena_learns_what_it_would_in_its_own(rank: int):
    recipe = Recipe(rank=4, alpha=8.0)
    own, larger = TinyEngine(recipes=[recipe], rank=4), TinyEngine(recipes=[recipe], rank=rank)
    for engine in (own, larger):
        train_steps(engine, 0, 3)
    for (a, b), (a_large, b_large) in zip(
        own.slots.copy(0, recipe).weights.values(), larger.slots.copy(0, recipe).weights.values(), strict=True
    ):
        torch.testing.assert_close(a_large, a, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(b_large, b, rtol=1e-4, atol=1e-6)
    padding = larger.base.arena.matrices(larger.base.arena.weight, "model.layers.0.mlp.up_proj")
    assert not padding[0][0][4:].any()
    assert not padding[1][0][:, 4:].any()


def test_a_version_can_be_restored_exactly(tmp_path: Path):
    engine = TinyEngine(recipes=[RECIPE, RECIPE])
    train_steps(engine, 0, 2)
    champion = engine.slots.copy(0, RECIPE)
    write_adapter(champion, tmp_path)
    train_steps(engine, 0, 2)
    engine.slots.detach(0)
    assert engine.slots.load(read_adapter(tmp_path), moments_too=True) == 0
    again = engine.slots.copy(0, RECIPE)
    for name, (a, b) in champion.weights.items():
        assert torch.equal(a, again.weights[name][0])
        assert torch.equal(b, again.weights[name][1])
    assert again.steps == 2


def test_a_free_slot_holds_nothing_of_its_last_tenant():
    engine = TinyEngine(recipes=[RECIPE, RECIPE])
    train_steps(engine, 1, 1)
    engine.slots.detach(1)
    arena = engine.base.arena
    assert not any(whole[1].any() for whole in (arena.weight, arena.grad, arena.first, arena.second))


def test_a_new_agents_adapter_is_pefts_initialisation_and_the_same_for_a_seed():
    engine = TinyEngine(recipes=[RECIPE, RECIPE])
    for slot in (0, 1):
        engine.slots.detach(slot)
    first, second = (
        engine.slots.attach(tiny_base.with_recipe(tiny_base.build_lesson(), rank=8)) for _ in range(2)
    )
    arena = engine.base.arena
    assert torch.equal(arena.weight[first], arena.weight[second])
    a, b = arena.matrices(arena.weight, "model.layers.1.mlp.down_proj")
    assert not b[0].any()
    assert 0.9 * 48**-0.5 < float(a[0].abs().max()) <= 48**-0.5


def test_an_adapter_that_does_not_fit_is_refused_by_name(tmp_path: Path):
    engine = TinyEngine(recipes=[RECIPE])
    write_adapter(engine.slots.copy(0, RECIPE), tmp_path / "v1")
    engine.slots.detach(0)
    attach = engine.slots.attach
    with pytest.raises(AdapterRefused, match="rank 32 is above"):
        attach(tiny_base.with_recipe(tiny_base.build_lesson(), rank=32))
    with pytest.raises(AdapterRefused, match="router"):
        attach(tiny_base.with_recipe(tiny_base.build_lesson(), targets=("q_proj", "router")))
    with pytest.raises(AdapterRefused, match="the recipe says"):
        attach(tiny_base.with_recipe(tiny_base.build_lesson(parent=tmp_path / "v1"), rank=4))
    write_adapter(replace(engine.adapters[0], base_hash="elsewhere"), tmp_path / "v2")
    with pytest.raises(AdapterRefused, match="base elsewhere, this is base b"):
        attach(tiny_base.with_recipe(tiny_base.build_lesson(parent=tmp_path / "v2"), rank=8, alpha=16.0))


def test_one_parsed_version_per_agent_stays_in_memory_and_the_least_recently_used_is_dropped(tmp_path: Path):
    engine = TinyEngine(recipes=[RECIPE])
    adapter = engine.slots.copy(0, RECIPE)
    versions = [tmp_path / agent / version for agent in "abc" for version in ("v1", "v2")]
    for version in versions:
        write_adapter(adapter, version)
    parsed = read_adapter(versions[0]).bytes
    slots = Slots(engine.base.arena, base_hash="b", parsed_bytes_max=2 * parsed)
    a1, a2, b1, _, c1, _ = versions
    newer = [slots.read(version) for version in (a1, a2)][1]
    assert slots.read(a2) is newer
    assert slots.parsed_bytes == parsed
    version_of_b = slots.read(b1)
    slots.read(a2)
    slots.read(c1)
    assert slots.parsed_bytes == 2 * parsed
    assert slots.read(a2) is newer
    assert slots.read(b1) is not version_of_b
