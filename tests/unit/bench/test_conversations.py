"""Figures about conversations: rules that are followed, broken, or applied where they do not hold."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bench import conversations
from bench.conversations import exam, summarise
from examples.base_model.conversations import ActingSkill, Conversation, Message
from examples.house_rules.conversation_tasks import ruled
from examples.house_rules.world import World


class ScriptedAgent:
    """An agent that holds each conversation as it is told."""

    def __init__(self, acts: Callable[[Conversation], Conversation]) -> None:
        self._acts = acts

    def play(self, skill: ActingSkill, asked: Sequence[Conversation]) -> list[list[Message]]:
        return [skill.messages(self._acts(conversation)) for conversation in asked]


def examined(
    world: World, acts: Callable[[Conversation], Conversation], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setattr(conversations, "HELD", 6)
    assert world.acting is not None
    agent: Any = ScriptedAgent(acts)
    return exam(world, world.acting, agent, 2)


def test_an_agent_that_follows_every_rule_ends_all_as_wanted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = examined(world, lambda asked: world.wanted(asked, world.announced("desk", 2)), monkeypatch)
    assert result["ended_as_wanted"] == {"1": 1.0, "2": 1.0}
    assert (result["near_misses_fired"], result["others_ended_as_wanted"]) == (0.0, 1.0)


def test_the_base_alone_ends_none_as_wanted_and_fires_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = examined(world, lambda asked: asked, monkeypatch)
    assert result["ended_as_wanted"] == {"1": 0.0, "2": 0.0}
    assert (result["near_misses_fired"], result["others_ended_as_wanted"]) == (0.0, 1.0)


def test_a_rule_that_is_applied_everywhere_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [rule] = world.of_wave("desk", 1)

    def always(asked: Conversation) -> Conversation:
        return ruled(asked, rule.reply, rule.ends) if asked.looks_up else asked

    result = examined(world, always, monkeypatch)
    assert result["ended_as_wanted"]["1"] == 1.0
    assert result["near_misses_fired"] >= 0.3
    assert result["others_ended_as_wanted"] < 1.0


def test_what_a_later_wave_costs_an_earlier_one_is_told_in_points() -> None:
    def taken(first: float, second: float | None, near: float) -> dict[str, Any]:
        ended = {"1": first} | ({} if second is None else {"2": second})
        return {"ended_as_wanted": ended, "near_misses_fired": near, "others_ended_as_wanted": 1.0}

    exams = [taken(0.0, 0.0, 0.01), taken(1.0, None, 0.0), taken(0.9, 1.0, 0.03)]
    figures = summarise([{"verdicts": ["promote", "refuse"], "exams": exams}])
    assert figures["bwt_pp"] == pytest.approx(-10.0)
    assert figures["near_miss_over_base_pp"] == pytest.approx(2.0)
    assert figures["ended_as_wanted"] == pytest.approx(0.95)
    assert (figures["promoted"], figures["candidates"]) == (1, 2)
