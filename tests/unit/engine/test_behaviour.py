"""What the engine gives sampled tokens is compared with what the replica reported."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.behaviour import BehaviourMeasures, measure_behaviour
from engine.lesson import Learned, Lesson
from engine.packer import Reference
from engine.recipe import recipe_from
from engine.tokens import Sample
from engine.warm_engine import WarmEngine
from rewards.episode import SampledTokens
from tests.unit.engine import peft_reference, tiny_base
from tests.unit.engine.tiny_engine import TOKENS

GRPO = replace(recipe_from({"preset": "grpo"}), rank=4, alpha=8.0)


def build_sample(reply: str, logprob: float, **sampled: object) -> Sample:
    tokens = replace(tiny_base.build_sampled_tokens(reply, logprob), **sampled)
    return TOKENS.sample(tiny_base.build_episode("p", reply, advantage=1.0, sampled=tokens), tokens_max=512)


def measured(*pairs: tuple[Sample, float]) -> BehaviourMeasures:
    """The measures where the champion v1 gives every token of a sample the number beside it."""
    references = [
        (
            sample,
            Reference(
                logprob_N=torch.full((len(sample.reply.token_ids),), logprob), top_N=torch.tensor([False])
            ),
        )
        for sample, logprob in pairs
    ]
    return measure_behaviour(references, champion="v1", importance_max=2.0)


def test_the_gap_is_the_mean_over_tokens_that_the_champion_sampled() -> None:
    gap = measured(
        (build_sample("yes", -1.0, version="v1"), -1.5),  # four tokens with the end of the turn
        (build_sample("certain", -1.0, version="v1"), -0.7),  # eight
        (build_sample("no", -1.0, version="v0"), -9.0),
        (build_sample("no", -1.0), -9.0),
    ).gap_nats
    assert gap == pytest.approx((4 * 0.5 + 8 * 0.3) / 12)


@pytest.mark.parametrize(("temperature", "has_gap"), [(1.0, True), (0.0, True), (0.7, False), (1.3, False)])
def test_only_log_probabilities_at_temperature_one_are_compared(temperature: float, has_gap: bool) -> None:
    """vLLM reports those of greedy answers at 1 too (0.32, `v1/sample/sampler.py`)."""
    sample = build_sample("yes", -1.0, version="v1", temperature=temperature)
    assert (measured((sample, -1.5)).gap_nats is not None) is has_gap


def test_weights_that_are_cut_off_are_counted_whoever_sampled() -> None:
    share = measured(
        (build_sample("yes", -2.0, version="v0"), -1.0), (build_sample("certain", -2.0), -1.5)
    ).truncated_share
    assert share == pytest.approx(4 / 12)


def test_without_sampled_tokens_there_is_nothing_to_compare() -> None:
    assert measured() == BehaviourMeasures(gap_nats=None, truncated_share=None)


@pytest.mark.parametrize("gap_nats", [0.0, 0.25])
def test_a_lesson_measures_the_gap_to_the_version_that_it_starts_from(
    warm: Callable[..., WarmEngine], tmp_path: Path, gap_nats: float
) -> None:
    engine = warm()
    first = replace(tiny_base.build_lesson("a"), parent=None)
    [taught] = engine.learn([first])
    assert isinstance(taught, Learned)
    engine.save(taught, tmp_path / "v1-abc")
    model = peft_reference.build_peft_model(tiny_base.build_model(), taught.state)
    episodes = []
    for reply, advantage in (("yes", 0.5), ("no", -0.5)):
        plain = tiny_base.build_episode("p", reply, advantage=advantage)
        sampled = tiny_base.build_sampled_tokens(reply)
        sample = TOKENS.sample(replace(plain, sampled=sampled), tokens_max=512)
        with torch.no_grad():
            logprobs = peft_reference.answer_logprobs(model, sample.prompt_ids, sample.reply.token_ids)
        reported = tuple((logprobs - gap_nats).tolist())
        behaviour = SampledTokens(token_ids=sampled.token_ids, logprobs=reported, version="v1-abc")
        episodes.append(replace(plain, sampled=behaviour))
    lesson = Lesson(agent="a", parent=tmp_path / "v1-abc", recipe=GRPO, seed=1, episodes=tuple(episodes))
    [learned] = engine.learn([lesson])
    assert isinstance(learned, Learned)
    assert learned.metrics.gap_nats == pytest.approx(gap_nats, abs=1e-5)
    assert learned.metrics.truncated_share == 0.0
    assert learned.metrics.clipped_share is not None
