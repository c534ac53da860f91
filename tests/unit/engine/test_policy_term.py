"""The policy term of the recipe `grpo` against a plain reference in float64, and the clip on both sides."""

from dataclasses import replace

import pytest
import torch

from engine.losses import policy_loss
from engine.objective import read_references
from engine.packer import Portion
from engine.recipe import Recipe, Term, recipe_from
from engine.schedule import draw
from rewards.episode import Episode
from tests.unit.engine import peft_reference, tiny_base
from tests.unit.engine.machines import on_every_fp32_machine
from tests.unit.engine.tiny_engine import TOKENS, TinyEngine, relative_distance

GRPO = replace(recipe_from({"preset": "grpo"}), rank=8, alpha=16.0)
REPLIES = {"yes": 0.75, "certainly not": -0.25, "no": -0.25, "perhaps": -0.25}
"""A group of four replies of different lengths: the first succeeded."""


def build_group(prompt: str, *, logprob: float) -> list[Episode]:
    return [
        tiny_base.build_episode(
            prompt, reply, advantage=advantage, sampled=tiny_base.build_sampled_tokens(reply, logprob)
        )
        for reply, advantage in REPLIES.items()
    ]


def build_portions(engine: TinyEngine, recipe: Recipe, episodes: list[Episode]) -> list[Portion]:
    """The portions of the first step, as a lesson draws them."""
    samples = [TOKENS.sample(episode, tokens_max=512) for episode in episodes]
    references = read_references(
        engine.base, engine.tenants[0], samples, token_budget=512, hidden_too=[False] * len(samples)
    )
    return [
        Portion(
            sample=samples[drawn.index],
            references=references[drawn.index],
            coefficients=drawn.coefficients,
        )
        for drawn in next(draw(samples, recipe, 1))
    ]


def reference_gradients(
    engine: TinyEngine, portions: list[Portion]
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The gradient of the written-out objective in float64, and the ratios of the tokens.

    J = 1/T Σ_i Σ_t min(π_champion/μ, 2) · min(ρ A_i, clip(ρ, 0.8, 1.28) A_i), ρ = π/π_champion, over all T
    tokens of the step (GRPO with DAPO's clip and its mean over tokens).
    """
    model = peft_reference.build_peft_model(tiny_base.build_model(engine.family), engine.adapters[0])
    model = model.double()
    tokens = sum(len(portion.sample.reply.token_ids) for portion in portions)
    loss, ratios = torch.zeros((), dtype=torch.float64), []
    for portion in portions:
        sample = portion.sample
        ids = torch.tensor([[*sample.prompt_ids, *sample.reply.token_ids]])
        rows = model(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1].log_softmax(-1)
        now = rows.gather(1, torch.tensor(sample.reply.token_ids)[:, None])[:, 0]
        champion = portion.references[0].logprob_N.double().cpu()
        for token in range(len(now)):
            weight = min(float((champion[token] - sample.reply.sampled_logprobs[token]).exp()), 2.0)
            ratio = (now[token] - champion[token]).exp()
            clipped = ratio.clamp(0.8, 1.28)
            loss = (
                loss - weight * torch.minimum(ratio * sample.advantage, clipped * sample.advantage) / tokens
            )
            ratios.append(float(ratio.detach()))
    loss.backward()
    return {
        name.removeprefix("base_model.model.").removesuffix(".default.weight"): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }, ratios


@on_every_fp32_machine
@pytest.mark.parametrize("logprob", [-4.0, -8.0])  # of the behaviour: below and above the bound of weights
def test_the_gradient_of_grpo_equals_the_written_out_objective_in_float64(machine, logprob: float) -> None:
    engine = TinyEngine(recipes=[GRPO], machine=machine)
    portions = build_portions(
        engine, GRPO, [*build_group("sure?", logprob=logprob), *build_group("why?", logprob=logprob)]
    )
    assert all(set(portion.coefficients) == {Term.POLICY} for portion in portions)
    engine.drift()
    engine.run([(engine.tenants[0], portions)])
    expected, ratios = reference_gradients(engine, portions)
    assert min(ratios) < 0.8
    assert max(ratios) > 1.28
    actual = engine.base.arena.read(
        engine.base.arena.grad, engine.tenants[0].slot, rank=GRPO.rank, names=engine.slots.names(GRPO)
    )
    by_name = {
        f"{name}.lora_{letter}": matrix
        for name, ab in actual.items()
        for letter, matrix in zip("AB", ab, strict=True)
    }
    assert by_name.keys() == expected.keys()
    whole = [
        torch.cat([gradients[name].double().cpu().flatten() for name in sorted(expected)])
        for gradients in (by_name, expected)
    ]
    assert relative_distance(*whole) <= 2e-5


@pytest.mark.parametrize(
    ("ratio", "advantage", "clipped"),
    [
        (1.2, 1.0, False),
        (1.3, 1.0, True),  # more likely already than the clip allows
        (0.5, 1.0, False),  # less likely although better: the whole gradient
        (0.9, -1.0, False),
        (0.7, -1.0, True),  # less likely already than the clip allows
        (1.5, -1.0, False),  # more likely although worse: the whole gradient
    ],
)
def test_the_clip_ends_at_other_bounds_upwards_than_downwards(
    ratio: float, advantage: float, clipped: bool
) -> None:
    now = torch.tensor([ratio]).log().requires_grad_()
    loss, marks = policy_loss(
        now,
        torch.zeros(1),
        torch.ones(1),
        torch.tensor([advantage]),
        torch.ones(1),
        clip_low=GRPO.policy_clip_low,
        clip_high=GRPO.policy_clip_high,
    )
    loss.backward()
    assert now.grad is not None
    assert marks.tolist() == [clipped]
    assert now.grad.tolist() == pytest.approx([0.0 if clipped else -ratio * advantage])
