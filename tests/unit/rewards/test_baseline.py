"""What outcomes are compared with: the agent's recent ones, or those of their group in one turn."""

from collections.abc import Sequence
from typing import Any

import pytest

from ledger.events import KeptEvent, Kind
from rewards.baseline import (
    ALIKE,
    NO_BASELINES,
    Baselines,
    baselines_from_json,
    baselines_to_json,
    recent_baselines,
    turn_baselines,
)
from rewards.episode import Episode, Part
from rewards.exchange import History
from rewards.labelling import Settled, episodes_of_turn, settle_for_planning
from tests.unit.rewards.events import build_interaction, build_kept_event, build_outcome

RECENT = Baselines(usual=0.25, groups={"p": 0.9})


def build_group(group: str, *values: float, first: int, **more: Any) -> list[KeptEvent]:
    """One outcome for each value, about interactions `i1`, `i2`, … from the number `first` on."""
    return [
        build_outcome(seq, value, interaction=f"i{seq}", prompt_group=group, **more)
        for seq, value in enumerate(values, start=first)
    ]


def build_task_outcome(seq: int, value: float, task: str, **more: Any) -> KeptEvent:
    data = {"value": value, "scope": "final", "task": task}
    return build_kept_event(seq, Kind.OUTCOME, data, interaction=f"i{seq}", **more)


def planned(outcomes: Sequence[KeptEvent]) -> tuple[dict[int, float | None], Settled]:
    """The advantage of each outcome that teaches, as training gets it from the turn's row, and the others."""
    history = History(
        interactions={f"i{n}": build_interaction(f"i{n}", f"ask {n}", f"say {n}") for n in range(40)},
        conversations={},
    )
    baselines = turn_baselines(outcomes, RECENT)
    settled = settle_for_planning(outcomes, history=history, baselines=baselines)
    stored = baselines_from_json(baselines_to_json(baselines))
    members = [kept for kept in outcomes if kept.seq not in settled.barren.keys() | settled.deferred.keys()]
    episodes: tuple[Episode, ...] = episodes_of_turn(
        members, part=Part.NEW, history=history, baselines=stored
    )
    numbers = [int(episode.events[0].removeprefix("t#e")) for episode in episodes]
    return dict(zip(numbers, (episode.advantage for episode in episodes), strict=True)), settled


def test_recent_baselines_are_means_of_the_last_outcomes_for_the_agent_and_for_repeated_prompts() -> None:
    outcomes = [
        build_outcome(1, -1.0, prompt_group="p", occurred_s=50.0),
        build_outcome(2, 1.0, prompt_group="p", occurred_s=60.0),
        build_outcome(3, 0.5, prompt_group="q", occurred_s=70.0),
        build_outcome(4, -1.0, prompt_group="q", occurred_s=10.0),
        build_outcome(5, -1.0, amends="k", occurred_s=80.0),
    ]
    assert recent_baselines(outcomes, last=3) == Baselines(usual=pytest.approx(0.5 / 3), groups={"p": 0.0})
    assert recent_baselines([], last=3) == Baselines()


@pytest.mark.parametrize("of_turn", [False, True])
def test_baselines_come_back_from_the_turn_row_as_they_went_in(of_turn: bool) -> None:
    baselines = Baselines(usual=0.25, groups={"p": -0.5}, of_turn=of_turn)
    assert baselines_from_json(baselines_to_json(baselines)) == baselines


def test_a_row_that_was_written_before_there_were_groups_of_turns_is_read() -> None:
    stored = baselines_from_json({"usual": 0.25, "groups": {"p": -0.5}})
    assert stored == Baselines(usual=0.25, groups={"p": -0.5}, of_turn=False)


# ── groups of a turn (the advantage table of GRPO without division by the spread) ──────────────────


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1.0, 0.0), (0.5, -0.5)),
        ((1.0, 0.0, 0.0, 0.0), (0.75, -0.25, -0.25, -0.25)),
        ((1.0, -1.0, -1.0, -1.0), (1.5, -0.5, -0.5, -0.5)),  # above 1: the advantages still sum to zero
        ((0.2, 0.8, 0.8), (-0.4, 0.2, 0.2)),
        ((-1.0, 0.0, 1.0), (-1.0, None, 1.0)),  # an outcome at its group's mean teaches nothing
    ],
)
def test_an_advantage_is_the_difference_from_the_groups_mean(
    values: tuple[float, ...], expected: tuple[float | None, ...]
) -> None:
    earned, settled = planned(build_group("g", *values, first=1))
    wanted = {seq: pytest.approx(value) for seq, value in enumerate(expected, start=1) if value is not None}
    assert earned == wanted
    assert sum(value or 0.0 for value in earned.values()) == pytest.approx(0.0)
    assert settled.barren == {
        seq: "as good as usual" for seq, value in enumerate(expected, start=1) if value is None
    }


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -0.7])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_group_without_spread_teaches_nothing_and_says_so(value: float, count: int) -> None:
    earned, settled = planned(build_group("g", *[value] * count, first=1))
    assert earned == {}
    assert settled.barren == dict.fromkeys(range(1, count + 1), ALIKE)


def test_an_outcome_that_is_alone_in_its_group_is_compared_with_the_agents_recent_ones() -> None:
    earned, _ = planned([*build_group("g", 1.0, first=1), *build_group("p", 0.0, first=2)])
    assert earned == {1: 0.75, 2: -0.25}


def test_outcomes_of_one_task_are_a_group_whatever_their_prompts() -> None:
    outcomes = [
        build_task_outcome(1, 1.0, "t", prompt_group="p"),
        build_task_outcome(2, 0.0, "t", prompt_group="q"),
        build_task_outcome(3, 1.0, "u", prompt_group="p"),
        build_task_outcome(4, 1.0, "u", prompt_group="q"),
    ]
    earned, settled = planned(outcomes)
    assert earned == {1: 0.5, 2: -0.5}
    assert settled.barren == {3: ALIKE, 4: ALIKE}


def test_a_task_is_another_group_than_a_prompt_of_its_name() -> None:
    earned, _ = planned([build_task_outcome(1, 1.0, "g"), *build_group("g", 0.0, 0.5, first=2)])
    assert earned == {1: 0.75, 2: -0.25, 3: 0.25}


# ── staleness ─────────────────────────────────────────────────────────────────────────────────────


def test_what_a_stale_version_sampled_teaches_nothing_by_name() -> None:
    versions = ("v1-aaaaaa", "v9-bbbbbb")
    captures = {name: build_interaction(name, "ask", "said", version=name) for name in versions}
    history = History(interactions=captures, conversations={}, stale={"v1-aaaaaa": "too old"})
    outcomes = [build_outcome(seq, 1.0, interaction=name) for seq, name in enumerate(versions, start=1)]
    settled = settle_for_planning(outcomes, history=history, baselines=NO_BASELINES)
    assert settled.barren == {1: "too old"}
    episodes = episodes_of_turn(outcomes, part=Part.NEW, history=history, baselines=NO_BASELINES)
    assert [episode.sampled and episode.sampled.version for episode in episodes] == ["v9-bbbbbb"]


def test_of_a_conversation_only_the_turns_of_stale_versions_are_left_out() -> None:
    talk = [
        build_interaction(
            f"talk/{turn}", f"ask {turn}", f"say {turn}", conversation="talk", turn=turn, version=version
        )
        for turn, version in enumerate(("v1-aaaaaa", "v9-bbbbbb", "v9-bbbbbb"))
    ]
    history = History(
        interactions={capture.id: capture for capture in talk},
        conversations={"talk": talk},
        stale={"v1-aaaaaa": "too old"},
    )
    event = build_outcome(1, 1.0, scope="all", conversation="talk", turn=2)
    episodes = episodes_of_turn([event], part=Part.NEW, history=history, baselines=NO_BASELINES)
    assert sorted(episode.reply.text for episode in episodes) == ["say 1", "say 2"]


def test_a_demonstration_is_as_good_whatever_version_was_corrected() -> None:
    capture = build_interaction("i", "ask", "wrong", version="v1-aaaaaa")
    history = History(interactions={"i": capture}, conversations={}, stale={"v1-aaaaaa": "too old"})
    event = build_kept_event(1, Kind.CORRECTION, {"corrected": "right"}, interaction="i")
    assert settle_for_planning([event], history=history, baselines=NO_BASELINES).barren == {}
