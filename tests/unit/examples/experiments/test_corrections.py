"""The environment *corrections*: whom people correct, what they approve, and what is only measured."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

from examples.experiments.corrections import AGENTS, Corrections
from examples.experiments.orders import RolloutOrder
from examples.experiments.playing import check_order, play_order
from examples.experiments.sums import Sums
from examples.house_rules.world import Task
from tests.unit.examples.experiments.fake_agent import FakeAgent, RecordingProducer

ORDER = RolloutOrder(
    experiment="usual",
    agent="solver",
    version="v1-aaaaaa",
    step=1,
    groups=12,
    samples=1,
    task_prefix="s1.0-",
    seed=7,
    learns_from="corrections",
    measured=6,
)
WORLD = Corrections()


def wanted(order: RolloutOrder) -> Mapping[str, Task]:
    """Every prompt of an order, by its text."""
    tasks = [*WORLD.tasks(order), *(task for _, task in WORLD.measured(order))]
    return {task.prompt: task for task in tasks}


def play(order: RolloutOrder, *, right: bool) -> tuple[FakeAgent, RecordingProducer]:
    """The order with an agent that is always right, or never."""
    tasks = wanted(order)

    def reply(messages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {"content": tasks[messages[-1]["content"]].wanted if right else "no idea"}

    fake, producer = FakeAgent(reply), RecordingProducer()
    counts = asyncio.run(fake.run(lambda client: play_order(WORLD, order, client, producer)))
    assert counts == (order.groups * order.samples + order.measured, 0)
    return fake, producer


def kinds(producer: RecordingProducer) -> dict[str, list[str]]:
    """What was sent under each key, in order."""
    by_key = sorted(producer.events, key=lambda event: event[0])  # stable
    return {key: [kind for _, kind, _ in events] for key, events in groupby(by_key, key=lambda one: one[0])}


def test_wrong_answers_are_corrected_before_their_outcome_is_sent() -> None:
    fake, producer = play(ORDER, right=False)
    sent = kinds(producer)
    assert sorted(map(tuple, sent.values())) == [("correction", "outcome")] * 12 + [("outcome",)] * 6
    corrections = [data for _, kind, data in producer.events if kind == "correction"]
    prompts = {f"i{place}": body["messages"][-1]["content"] for place, (body, _) in enumerate(fake.asked, 1)}
    for data in corrections:
        assert data["corrected"] == wanted(ORDER)[prompts[data["interaction"]]].reply
    assert {event["value"] for event in producer.sent} == {0.0}
    assert {body["temperature"] for body, _ in fake.asked} == {0.0}


def test_right_answers_are_approved_where_people_do() -> None:
    _, producer = play(ORDER, right=True)
    assert list(kinds(producer).values()).count(["intervention", "outcome"]) == 12
    _, silent = play(replace(ORDER, options={"approves": False}), right=True)
    assert {kind for _, kind, _ in silent.events} == {"outcome"}


def test_people_who_correct_a_part_correct_the_same_part_again() -> None:
    order = replace(ORDER, groups=60, measured=0, options={"corrected_share": 0.3})
    first, second = (
        [key for key, kind, _ in play(order, right=False)[1].events if kind == "correction"] for _ in range(2)
    )
    assert set(first) == set(second)
    assert 8 <= len(first) <= 28


def test_what_is_measured_is_held_out_the_same_in_each_step_and_never_corrected() -> None:
    _, producer = play(ORDER, right=False)
    measured = [event for event in producer.sent if event["task"].startswith("measure:")]
    assert sorted({event["task"].split(":")[1] for event in measured}) == ["near", "wave-1"]
    exam = [task.prompt for _, task in WORLD.measured(ORDER)]
    assert exam == [task.prompt for _, task in WORLD.measured(replace(ORDER, step=2, seed=8))]
    taught = {task.prompt for step in range(1, 9) for task in WORLD.tasks(replace(ORDER, step=step))}
    assert taught.isdisjoint(exam)


def test_a_second_wave_is_announced_after_its_steps() -> None:
    order = replace(ORDER, step=3, options={"wave_steps": 2})
    assert {name for name, _ in WORLD.measured(order)} == {"wave-1", "wave-2", "near"}
    assert {name for name, _ in WORLD.measured(replace(order, step=2))} == {"wave-1", "near"}


def test_where_outcomes_teach_nobody_corrects() -> None:
    _, producer = play(replace(ORDER, learns_from="outcomes", measured=0), right=False)
    assert {kind for _, kind, _ in producer.events} == {"outcome"}


@pytest.mark.parametrize("agent", AGENTS)
def test_each_agent_can_be_asked(agent: str) -> None:
    order = replace(ORDER, options={"agent": agent, "wave_steps": 1}, step=2)
    check_order(WORLD, order)
    assert len(WORLD.tasks(order)) == 12
    assert not any(task.tools for task in wanted(order).values())


@pytest.mark.parametrize(
    "options",
    [{"agent": "desk"}, {"wave_steps": -1}, {"wave_steps": 1.5}, {"corrected_share": 0.0}, {"speed": 1}],
)
def test_options_that_cannot_be_played_are_refused(options: Mapping[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=r"agent|wave_steps|corrected_share|speed"):
        check_order(WORLD, replace(ORDER, options=options))


def test_an_environment_that_corrects_nothing_refuses_to_teach_by_corrections() -> None:
    with pytest.raises(ValueError, match="Sums corrects nothing"):
        check_order(Sums(), ORDER)
    check_order(Sums(), replace(ORDER, learns_from="outcomes"))
