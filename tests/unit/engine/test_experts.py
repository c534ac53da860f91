"""A base with experts: its logits, tenants apart from each other, repeats, and adapters of its attention."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from engine.adapter_weights import AdapterRefused, read_adapter, write_adapter
from engine.base_model import BaseModel, load_base
from engine.experts import expert_by_expert, experts_in_one_launch
from engine.lesson import Learned, NotLearned
from engine.repeatable import repeatable
from engine.warm_engine import WarmEngine
from tests.unit.engine import tiny_base
from tests.unit.engine.machines import MACHINES, Machine, on_every_machine
from tests.unit.engine.tiny_engine import (
    RECIPE,
    TinyEngine,
    assert_same_logprobs,
    build_demonstrations,
    build_outcomes,
    relative_distance,
)

MOE = "qwen3_moe"
ATTENTION = ("k_proj", "o_proj", "q_proj", "v_proj")


def build_engine_with_work(machine: Machine = MACHINES[0], agents: int = 3) -> tuple[TinyEngine, list]:
    """Agents with different adapters and different numbers of tokens."""
    engine = TinyEngine(MOE, recipes=[RECIPE] * agents, machine=machine)
    work = [
        (tenant, engine.portions(tenant, build_demonstrations("abc"[n] * (1 + 9 * n), 3), supervised=1.0))
        for n, tenant in enumerate(engine.tenants)
    ]
    return engine, work


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_topk_prob": False},
        {"num_experts_per_tok": 1},
        {"num_experts_per_tok": 6},
        {"mlp_only_layers": [0]},
        {"mlp_only_layers": [1]},
        {"decoder_sparse_step": 2},
        {"attention_bias": True},
        {"tie_word_embeddings": True},
    ],
)
@torch.no_grad()
def test_logits_equal_those_of_the_modelling_code_for_each_form_of_the_configuration(changes: dict) -> None:
    model = tiny_base.build_model(MOE, **changes)
    ids = torch.randint(288, (2, 21), generator=torch.Generator().manual_seed(0))
    expected = model(input_ids=ids).logits.flatten(0, 1)
    base = BaseModel(model, rank=4, slots=2)
    assert {name.rsplit(".", 1)[-1] for name in base.arena.places} == set(ATTENTION)
    logits = base.hidden(tiny_base.build_packed_rows(ids)) @ base.head_VD.t()
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("product", [expert_by_expert, experts_in_one_launch])
def test_each_expert_multiplies_its_own_rows_and_one_without_rows_none(product: Callable) -> None:
    rows, matrices = torch.randn(7, 8), torch.randn(5, 8, 16)
    counts = [0, 3, 0, 4, 0]
    ends = torch.tensor(counts, dtype=torch.int32).cumsum(0, dtype=torch.int32)
    expert_of_row = torch.arange(5).repeat_interleave(torch.tensor(counts))
    expected = torch.einsum("ri,rio->ro", rows, matrices[expert_of_row])
    torch.testing.assert_close(product(rows, matrices, ends), expected)


@on_every_machine
def test_gradients_through_shared_prompts_equal_peft(machine: Machine) -> None:
    engine = TinyEngine(MOE, recipes=[RECIPE, RECIPE], machine=machine)
    work = [
        (tenant, engine.portions(tenant, build_outcomes(name, 4), policy=1.0))
        for tenant, name in zip(engine.tenants, ("ann", "bo"), strict=True)
    ]
    engine.run(work)
    for number, (_, portions) in enumerate(work):
        engine.assert_like_peft(number, portions)


@on_every_machine
def test_without_mixing_co_tenants_change_no_bit_of_a_gradient(machine: Machine) -> None:
    engine, work = build_engine_with_work(machine)
    engine.run(work, mixed=False)
    together = engine.base.arena.grad.clone()
    for tenant, portions in work:
        engine.run([(tenant, portions)], mixed=False)
        assert torch.equal(together[tenant.slot], engine.base.arena.grad[tenant.slot])


@on_every_machine
def test_tenants_whose_rows_meet_at_experts_change_only_round_off(machine: Machine) -> None:
    engine, work = build_engine_with_work(machine)
    assert engine.run(work, token_budget=4096) == 1
    together = engine.base.arena.grad.clone()
    for tenant, portions in work:
        engine.run([(tenant, portions)])
        alone = engine.base.arena.grad[tenant.slot]
        assert relative_distance(together[tenant.slot], alone) <= machine.tolerance


@on_every_machine
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_not_a_number_in_one_tenant_reaches_no_other_one_through_an_expert(
    machine: Machine, dtype: torch.dtype
) -> None:
    engine, work = build_engine_with_work(replace(machine, dtype=dtype))
    engine.base.arena.weight[1].fill_(float("nan"))
    engine.base.arena.refresh(1)
    assert engine.run(work, token_budget=4096) == 1
    grad = engine.base.arena.grad
    assert not torch.isfinite(grad[1]).all()
    assert torch.isfinite(grad[[0, 2]]).all()
    assert grad[[0, 2]].abs().amax(1).min() > 0.0


@on_every_machine
def test_a_repeated_step_gives_the_same_bits(machine: Machine) -> None:
    engine, work = build_engine_with_work(machine)
    gradients = []
    for _ in range(2):
        with repeatable():
            engine.run(work)
        gradients.append(engine.base.arena.grad.clone())
    assert torch.equal(*gradients)


def test_a_pass_is_replayed_bit_for_bit_from_its_record(base_of: Callable[[str], Path]) -> None:
    lessons = [tiny_base.build_lesson("a"), tiny_base.build_lesson("bb", seed=2)]
    form = None
    states = []
    for _ in range(2):
        engine = WarmEngine.load(base_of(MOE), slots=4, rank=8, threads=1, token_budget=512)
        form = form or {**engine.form(), "mix_below_tokens": 128}
        results = engine.learn(lessons, form=form)
        assert all(isinstance(result, Learned) for result in results)
        assert all(result.metrics.loss_last_nats < result.metrics.loss_first_nats for result in results)
        states.append([result.state.weights for result in results])
    for first, second in zip(*states, strict=True):
        assert all(torch.equal(a, second[name][0]) for name, (a, _) in first.items())
        assert all(torch.equal(b, second[name][1]) for name, (_, b) in first.items())


def test_the_default_recipe_adapts_the_attention_and_peft_gives_the_same_logprobs(tmp_path: Path) -> None:
    engine = TinyEngine(MOE, recipes=[RECIPE])
    write_adapter(engine.slots.copy(0, RECIPE), tmp_path)
    assert read_adapter(tmp_path).targets == ATTENTION
    model = PeftModel.from_pretrained(tiny_base.build_model(MOE), tmp_path).eval()
    assert_same_logprobs(engine, model)


def test_a_lesson_goes_on_from_a_version_that_the_default_recipe_made(
    base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    engine = WarmEngine.load(base_of(MOE), slots=2, rank=8, threads=1, token_budget=512, mixing="never")
    (first,) = engine.learn([tiny_base.build_lesson("a")])
    engine.save(first, tmp_path / "v1")
    (second,) = engine.learn([tiny_base.build_lesson("a", parent=tmp_path / "v1")])
    assert isinstance(second, Learned), second


def test_a_recipe_that_adapts_experts_alone_is_refused_by_name(base_of: Callable[[str], Path]) -> None:
    engine = WarmEngine.load(base_of(MOE), slots=2, rank=8, threads=1, token_budget=512, mixing="never")
    lesson = tiny_base.with_recipe(tiny_base.build_lesson("a"), targets=("up_proj", "down_proj"))
    (result,) = engine.learn([lesson])
    assert isinstance(result, NotLearned)
    assert "up_proj, down_proj" in result.reason
    assert "experts" in result.reason


def test_an_adapter_of_experts_from_elsewhere_is_refused_by_name() -> None:
    engine = TinyEngine(MOE, recipes=[RECIPE])
    weights = {"model.layers.0.mlp.experts.0.down_proj": (torch.zeros(8, 16), torch.zeros(32, 8))}
    with pytest.raises(AdapterRefused, match=r"experts\.0\.down_proj"):
        engine.slots.load(tiny_base.build_adapter(RECIPE, weights), moments_too=False)


def test_a_router_whose_bf16_products_leak_between_tenants_is_refused_on_a_cpu(tmp_path: Path) -> None:
    base = tiny_base.build_base_directory(tmp_path, MOE, num_experts=72)
    with pytest.raises(ValueError, match=r"multiples of 32.*72"):
        load_base(base, device="cpu", dtype="bfloat16", rank=4, slots=2)
