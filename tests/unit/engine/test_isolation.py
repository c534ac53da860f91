"""No tenant changes another one: neither its training, nor NaN in its weights, nor its presence."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.lesson import Learned
from engine.optimizer import StepSizes, step
from engine.recipe import Recipe
from tests.unit.engine import tiny_base
from tests.unit.engine.machines import Machine, on_every_machine
from tests.unit.engine.tiny_engine import RECIPE, TinyEngine, build_demonstrations, relative_distance

pytestmark = pytest.mark.slow

SIZES = StepSizes(learning_rate=1e-2, beta1=0.9, beta2=0.99, weight_decay=0.1, clip_norm=1.0)
TENANTS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from([2, 4, 8]), st.integers(0, 40)), min_size=2, max_size=5
)


def rows(engine: TinyEngine, slot: int) -> list[torch.Tensor]:
    arena = engine.base.arena
    return [whole[slot].clone() for whole in (arena.weight, arena.grad, arena.first, arena.second)] + [
        arena.steps[slot].clone()
    ]


def busy_and_idle(tenants: list[tuple[int, int, int]], machine: Machine) -> tuple[TinyEngine, list, int]:
    """Work for tenants of (samples, rank, length), and the slot of one more tenant that is idle."""
    recipes = [Recipe(rank=rank, alpha=2.0 * rank) for _, rank, _ in tenants]
    engine = TinyEngine(recipes=[*recipes, RECIPE], machine=machine)
    idle = engine.tenants[-1].slot
    for moments in (engine.base.arena.first, engine.base.arena.second):
        moments[idle].uniform_(1e-4, 1e-3)
    engine.base.arena.steps[idle].fill_(3)
    work = [
        (tenant, engine.portions(tenant, build_demonstrations("z" * (1 + length), count), supervised=1.0))
        for tenant, (count, _, length) in zip(engine.tenants, tenants, strict=False)
    ]
    return engine, work, idle


@on_every_machine
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 16, 33, 50])
def test_not_a_number_in_one_tenant_leaves_the_others_finite(machine, dtype, length):
    engine = TinyEngine(recipes=[RECIPE] * 3, machine=replace(machine, dtype=dtype))
    work = [
        (tenant, engine.portions(tenant, build_demonstrations(name * length, 3), supervised=1.0))
        for tenant, name in zip(engine.tenants, "abc", strict=True)
    ]
    assert engine.run(work, token_budget=4096) == 1
    healthy = engine.base.arena.grad.clone()
    engine.base.arena.weight[1].fill_(float("nan"))
    engine.base.arena.refresh(1)
    engine.run(work, token_budget=4096)
    grad = engine.base.arena.grad
    assert not torch.isfinite(grad[1]).all()
    for slot in (0, 2):
        assert relative_distance(grad[slot], healthy[slot]) <= 1e-5


@on_every_machine
def test_a_tenant_that_does_not_step_stays_bit_identical_with_weight_decay_on(machine):
    engine = TinyEngine(recipes=[RECIPE] * 3, machine=machine)
    work = [
        (tenant, engine.portions(tenant, build_demonstrations("abc"[n], 3), supervised=1.0))
        for n, tenant in enumerate(engine.tenants)
    ]
    before = rows(engine, 1)
    for _ in range(3):
        engine.run([work[0], work[2]])
        for slot in (0, 2):
            step(engine.base.arena, slot, SIZES)
    assert all(
        torch.equal(before_row, after_row)
        for before_row, after_row in zip(before, rows(engine, 1), strict=True)
    )


def test_a_skipped_step_changes_nothing_but_clears_the_gradient():
    engine = TinyEngine(recipes=[RECIPE])
    before = rows(engine, 0)
    engine.base.arena.grad[0, 3] = float("inf")
    assert step(engine.base.arena, 0, SIZES) == float("inf")
    assert all(
        torch.equal(before_row, after_row)
        for before_row, after_row in zip(before, rows(engine, 0), strict=True)
    )


@on_every_machine
@pytest.mark.timeout(120)
@given(threads=st.sampled_from([1, 2]), tenants=TENANTS, token_budget=st.sampled_from([48, 128, 4096]))
@settings(max_examples=8, deadline=None)
def test_co_batched_equals_alone_to_round_off(machine, threads, tenants, token_budget):
    torch.set_num_threads(threads)
    engine, work, idle = busy_and_idle(tenants, machine)
    before = rows(engine, idle)
    engine.run(work, token_budget=token_budget)
    together = engine.base.arena.grad.clone()
    for tenant, _ in work:
        step(engine.base.arena, tenant.slot, replace(SIZES, learning_rate=1e-30))
    assert all(
        torch.equal(before_row, after_row)
        for before_row, after_row in zip(before, rows(engine, idle), strict=True)
    )
    for tenant, portions in work:
        engine.run([(tenant, portions)])
        assert (
            relative_distance(together[tenant.slot], engine.base.arena.grad[tenant.slot]) <= machine.tolerance
        )


@on_every_machine
@given(threads=st.sampled_from([1, 2]), tenants=TENANTS, token_budget=st.sampled_from([48, 128, 4096]))
@settings(max_examples=8, deadline=None)
def test_without_mixing_co_tenants_change_no_bit(machine, threads, tenants, token_budget):
    torch.set_num_threads(threads)
    engine, work, idle = busy_and_idle(tenants, machine)
    before = rows(engine, idle)
    engine.run(work, token_budget=token_budget, mixed=False)
    together = engine.base.arena.grad.clone()
    for tenant, portions in work:
        engine.run([(tenant, portions)], token_budget=token_budget, mixed=False)
        assert torch.equal(together[tenant.slot], engine.base.arena.grad[tenant.slot])
    assert all(
        torch.equal(before_row, after_row)
        for before_row, after_row in zip(before, rows(engine, idle), strict=True)
    )


def state_of(learned: object) -> dict[str, torch.Tensor]:
    assert isinstance(learned, Learned)
    return {name: torch.cat([a.flatten(), b.flatten()]) for name, (a, b) in learned.state.weights.items()}


def test_whole_lessons_without_mixing_are_bitwise_independent_of_co_tenants(warm):
    engine = warm(mixing="never", token_budget=200)
    lessons = [
        tiny_base.build_lesson("a"),
        tiny_base.build_lesson("bbb", seed=2),
        tiny_base.with_recipe(tiny_base.build_lesson("cc"), rank=8, steps=6),
    ]
    together = engine.learn(lessons)
    for lesson, learned in zip(lessons, together, strict=True):
        (alone,) = engine.learn([lesson])
        assert all(torch.equal(value, state_of(alone)[name]) for name, value in state_of(learned).items())


def test_a_lesson_that_breaks_is_reported_with_its_events_and_the_others_go_on(warm):
    """The third tenant's learning rate is far too high: its weights become NaN, the others stay finite."""
    engine = warm()
    calm = [tiny_base.build_lesson("a"), tiny_base.build_lesson("b")]
    wild = tiny_base.with_recipe(
        tiny_base.build_lesson("c"), learning_rate=0.99, clip_norm=1e30, steps=12, beta2=0.0, beta1=0.0
    )
    wild = replace(wild, recipe=replace(wild.recipe, alpha=1e30))
    results = engine.learn([*calm, wild])
    broken = results[2]
    assert broken.skipped
    assert broken.skipped[0].reason.startswith("non-finite gradient")
    assert set(broken.skipped[0].events) <= {event for episode in wild.episodes for event in episode.events}
    for lesson, learned in zip(calm, results[:2], strict=True):
        (alone,) = engine.learn([lesson])
        for name, value in state_of(learned).items():
            assert relative_distance(value, state_of(alone)[name]) <= 1e-3
        assert not learned.skipped
