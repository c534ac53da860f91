"""The engine's bench on a pretrained base: its batches and its ratios. No base is loaded."""

from itertools import pairwise
from typing import Any

import pytest

from bench.real_batches import conversation, real_episodes
from bench.real_engine import FULL, QUICK, RealRow, ratios_to_peft
from rewards.episode import Part, text_of


def build_row(variant: str, ms: float, **changes: Any) -> RealRow:
    values = {
        "regime": "episodes",
        "n": 1,
        "dtype": "float32",
        "variant": variant,
        "tokens": 100,
        "computed_tokens": None,
        "ms_min": ms,
        "ms_median": ms,
        "cpu_s_min": ms / 500,
        "tokens_per_s": 1.0,
        "memory_mib": 1.0,
        "repetitions": 1,
    }
    return RealRow(**{**values, **changes})


def test_ratios_say_how_many_times_more_peft_costs_and_what_sharing_saves() -> None:
    rows = [build_row("auto", 10.0), build_row("unshared", 20.0), build_row("peft", 50.0)]
    assert ratios_to_peft(rows, "ms_min", "") == {
        "episodes_n1_vs_peft": 5.0,
        "episodes_n1_vs_unshared": 2.0,
        "episodes_n1_unshared_vs_peft": 2.5,
    }
    assert ratios_to_peft(rows, "cpu_s_min", "_by_cpu")["episodes_n1_vs_peft_by_cpu"] == pytest.approx(5.0)


def test_bf16_has_ratios_of_its_own() -> None:
    rows = [build_row(variant, 10.0, dtype="bfloat16") for variant in ("auto", "peft")]
    assert ratios_to_peft(rows, "ms_min", "") == {"episodes_n1_bf16_vs_peft": 1.0}


def test_the_time_is_divided_over_all_setups_and_each_has_a_variant_of_peft() -> None:
    for plan in (FULL, QUICK):
        assert sum(setup.share for setup in plan) == pytest.approx(1.0)
        for setup in plan:
            assert "auto" in setup.variants
            assert any(variant.startswith("peft") for variant in setup.variants)


def test_each_turn_of_a_conversation_contains_the_turns_before_it() -> None:
    turns = conversation(0, lambda text: len(text.split()))
    assert len(turns) == 8
    for (messages, reply), (later, _) in pairwise(turns):
        assert later[: len(messages)] == messages
        assert text_of(later[len(messages)]) == reply


def test_a_turn_has_as_many_corrections_and_anchors_as_asked_for() -> None:
    episodes = real_episodes("support", corrections=32, anchors=43)
    assert [episode.part for episode in episodes] == [Part.NEW] * 32 + [Part.ANCHOR] * 43
