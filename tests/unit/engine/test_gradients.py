"""The gradients that a packed batch adds to the arena equal PEFT's, one adapter at a time."""

from dataclasses import replace

import pytest
import torch

from engine.recipe import Recipe
from rewards.episode import Span, Weighted
from tests.unit.engine import tiny_base
from tests.unit.engine.machines import PLAIN_CPU, on_every_fp32_machine, on_every_machine
from tests.unit.engine.tiny_engine import (
    RECIPE,
    TinyEngine,
    build_conversation,
    build_demonstrations,
    build_outcomes,
    build_pairs,
    relative_distance,
)


@on_every_machine
@pytest.mark.parametrize("family", sorted(tiny_base.FAMILIES))
def test_packed_gradients_equal_peft_one_at_a_time(family, machine):
    engine = TinyEngine(family, recipes=[RECIPE, RECIPE], machine=machine)
    work = [
        (tenant, engine.portions(tenant, build_demonstrations(name, 3), supervised=1.0))
        for tenant, name in zip(engine.tenants, ("ann", "bo"), strict=True)
    ]
    assert engine.run(work) == 1
    for number, (_, portions) in enumerate(work):
        engine.assert_like_peft(number, portions)


@on_every_machine
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_ranks_scales_and_targets_of_their_own_equal_peft(machine, order):
    """Tenants in another order than their slots, some of which adapt other linears than their neighbours."""
    recipes = [
        Recipe(rank=8, alpha=16.0),
        Recipe(rank=4, alpha=4.0, rslora=True),
        Recipe(rank=2, alpha=2.0, targets=("q_proj", "v_proj")),
        Recipe(rank=8, alpha=8.0, targets=("q_proj", "down_proj")),
    ]
    engine = TinyEngine(recipes=recipes, rank=16, machine=machine)
    of_slots = [
        (tenant, engine.portions(tenant, build_demonstrations("abcd"[n], 2), supervised=1.0))
        for n, tenant in enumerate(engine.tenants)
    ]
    work = [of_slots[slot] for slot in order]
    engine.run(work)
    for number, (_, portions) in enumerate(of_slots):
        engine.assert_like_peft(number, portions)


@on_every_fp32_machine
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize(
    ("episodes", "coefficients"),
    [
        (build_pairs, {"supervised": 1.0, "preference": 2.0}),
        (build_outcomes, {"policy": 1.0}),
        (build_demonstrations, {"supervised": 1.0, "kl": 0.5}),
    ],
)
def test_every_term_equals_its_written_out_form(episodes, coefficients, share, machine):
    engine = TinyEngine(recipes=[RECIPE, RECIPE], machine=machine)
    work = [
        (tenant, engine.portions(tenant, episodes(name, 4), **coefficients))
        for tenant, name in zip(engine.tenants, ("ann", "bo"), strict=True)
    ]
    engine.drift()
    engine.run(work, share=share)
    for number, (_, portions) in enumerate(work):
        engine.assert_like_peft(number, portions)


def test_character_weights_reach_the_gradient():
    engine = TinyEngine(recipes=[RECIPE])
    reply = Weighted(text="delete from t", spans=(Span(start=0, end=6, weight=2.0),))
    episode = replace(build_demonstrations("a", 1)[0], reply=reply)
    work = [(engine.tenants[0], engine.portions(engine.tenants[0], [episode], supervised=1.0))]
    engine.run(work)
    engine.assert_like_peft(0, work[0][1])


def test_splitting_a_step_into_micro_batches_changes_nothing_but_round_off():
    engine = TinyEngine(recipes=[RECIPE, RECIPE])
    work = [
        (tenant, engine.portions(tenant, build_demonstrations("ab"[n], 5), supervised=1.0))
        for n, tenant in enumerate(engine.tenants)
    ]
    assert engine.run(work) == 1
    whole = engine.base.arena.grad.clone()
    assert engine.run(work, token_budget=64) > 3
    assert relative_distance(engine.base.arena.grad, whole) <= 1e-5


@on_every_machine
def test_shared_prompts_change_nothing_but_round_off(machine):
    engine = TinyEngine(recipes=[RECIPE], machine=machine)
    work = [(engine.tenants[0], engine.portions(engine.tenants[0], build_outcomes("a", 6), policy=1.0))]
    engine.run(work, share=False)
    apart = engine.base.arena.grad.clone()
    engine.run(work, share=True)
    assert relative_distance(engine.base.arena.grad, apart) <= machine.tolerance


@on_every_machine
def test_turns_of_a_conversation_share_what_was_said_before_and_change_nothing_but_round_off(machine):
    """The reply of one turn is a target there, and context of the turns after it."""
    engine = TinyEngine(recipes=[RECIPE], machine=machine)
    portions = engine.portions(engine.tenants[0], build_conversation("a", 5), supervised=1.0)
    work = [(engine.tenants[0], portions)]
    engine.run(work, share=False)
    apart = engine.base.arena.grad.clone()
    engine.run(work, share=True)
    assert relative_distance(engine.base.arena.grad, apart) <= machine.tolerance
    engine.assert_like_peft(0, portions)


@on_every_machine
def test_gradients_on_a_bf16_base_are_near_those_on_an_fp32_base(machine):
    grads = []
    for machine_of_base in (PLAIN_CPU, replace(machine, dtype=torch.bfloat16)):
        engine = TinyEngine(recipes=[RECIPE, RECIPE], machine=machine_of_base)
        work = [
            (tenant, engine.portions(tenant, build_demonstrations("ab"[n], 3), supervised=1.0))
            for n, tenant in enumerate(engine.tenants)
        ]
        engine.run(work)
        assert engine.base.arena.grad.dtype == torch.float32
        grads.append(engine.base.arena.grad.cpu())
    assert relative_distance(grads[1], grads[0]) <= 4e-2
