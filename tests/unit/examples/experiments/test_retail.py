"""The environment *retail*: its tasks, its scripted customer, and the reward for how the database ends."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from examples.base_model.slots import read_words
from examples.experiments.orders import RolloutOrder
from examples.experiments.playing import play_order
from examples.experiments.retail import ANSWERS_MAX, TASKS, Retail, RetailOptions, RetailTask, draw_tasks
from examples.experiments.shop import STATUSES
from tests.unit.examples.experiments.fake_agent import FakeAgent, RecordingProducer, Reply

ORDER = RolloutOrder(
    experiment="retail",
    agent="solver",
    version="v1-aaaaaa",
    step=1,
    groups=12,
    samples=2,
    task_prefix="s1-",
    seed=7,
    options={"kinds": ["cancel"]},
)


def play(order: RolloutOrder, reply: Reply) -> tuple[FakeAgent, RecordingProducer]:
    fake, producer = FakeAgent(reply), RecordingProducer()
    counts = asyncio.run(fake.run(lambda client: play_order(Retail(), order, client, producer)))
    assert counts == (order.groups * order.samples, 0)
    return fake, producer


def call(name: str, **arguments: Any) -> Mapping[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"content": "", "tool_calls": [{"id": "c1", "type": "function", "function": function}]}


def cancelling(messages: Sequence[Mapping[str, Any]], *, notify: bool) -> Mapping[str, Any]:
    """What an agent says that looks up and cancels, except what is sent."""
    [asked] = [message for message in messages if message["role"] == "user"]
    order = next(int(word) for word in asked["content"].split() if word.isdigit())
    match len(messages):
        case 2:
            return call("lookup", order=order)
        case 4 if '"sent"' not in messages[-1]["content"]:
            return call("cancel", order=order, notify=notify)
        case _:
            return {"content": f"order {order} is seen to"}


def status_of(task: RetailTask) -> str:
    """The status of the order that the first wish is about."""
    return next(order.status for number, order in task.shop.orders.items() if str(number) in task.wishes[0])


def test_an_agent_that_follows_the_policy_has_every_conversation_rewarded() -> None:
    fake, producer = play(ORDER, lambda messages: cancelling(messages, notify=True))
    assert {event["value"] for event in producer.sent} == {1.0}
    assert {event["scope"] for event in producer.sent} == {"all"}
    body, headers = fake.asked[0]
    assert [tool["function"]["name"] for tool in body["tools"]] == list(RetailOptions().tools)
    assert headers["x-clorad-turn"] == "0"


def test_an_agent_with_other_habits_is_rewarded_only_where_nothing_is_to_be_done() -> None:
    _, producer = play(ORDER, lambda messages: cancelling(messages, notify=False))
    rewarded = {event["task"] for event in producer.sent if event["value"] == 1.0}
    unchanged = [task.shop == task.wanted for task in Retail().tasks(ORDER)]
    assert rewarded == {f"s1-{place}" for place, is_unchanged in enumerate(unchanged) if is_unchanged}
    assert 0 < len(rewarded) < 12


def test_conversations_do_not_see_what_others_changed() -> None:
    task = Retail().tasks(ORDER)[0]
    before = task.shop.copy()
    play(ORDER, lambda messages: cancelling(messages, notify=True))
    assert Retail().tasks(ORDER)[0].shop == before


def test_the_agent_reads_the_whole_conversation_also_with_a_second_wish() -> None:
    order = replace(ORDER, groups=1, samples=1, options={"kinds": ["where"], "wishes": 2})
    fake, producer = play(order, lambda _: {"content": "soon"})
    [first, second] = [body["messages"] for body, _ in fake.asked]
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert second[:2] == first
    assert [event["value"] for event in producer.sent] == [1.0]


@pytest.mark.parametrize("arguments", ["{", "[1]", '{"order": "1"}', '{"order": 1}'])
def test_a_call_that_cannot_be_done_is_answered_and_the_conversation_goes_on(arguments: str) -> None:
    order = replace(ORDER, groups=1, samples=1)
    broken = {
        "content": "",
        "tool_calls": [{"id": "c", "function": {"name": "cancel", "arguments": arguments}}],
    }
    fake, _ = play(order, lambda messages: broken if len(messages) == 2 else {"content": "sorry"})
    [_, (body, _)] = fake.asked
    assert "error" in body["messages"][-1]["content"]


def test_a_tool_that_is_not_offered_changes_nothing() -> None:
    order = replace(ORDER, options={"kinds": ["where"], "tools": ["lookup"]}, groups=1, samples=1)
    number = int(Retail().tasks(order)[0].wishes[0].split()[-1])
    _, producer = play(
        order, lambda messages: call("cancel", order=number) if len(messages) == 2 else {"content": ""}
    )
    assert [event["value"] for event in producer.sent] == [1.0]


def test_an_agent_that_calls_tools_forever_is_stopped() -> None:
    fake, _ = play(replace(ORDER, groups=1, samples=1), lambda _: call("lookup", order=1))
    assert len(fake.asked) == ANSWERS_MAX


def test_the_same_seed_gives_the_same_tasks_and_steps_go_through_all_of_them() -> None:
    options = RetailOptions(kinds=["cancel"])
    tasks = draw_tasks(7, options, held_out=False)
    assert tasks == draw_tasks(7, options, held_out=False)
    assert tasks != draw_tasks(8, options, held_out=False)
    played = [task for step in (1, 2) for task in Retail().tasks(replace(ORDER, step=step, groups=40))]
    assert played == [*tasks, *tasks[: 80 - TASKS]]


def test_wishes_of_each_kind_meet_orders_of_every_status_equally_often() -> None:
    tasks = Retail().tasks(replace(ORDER, options={"kinds": ["cancel", "address"]}))
    asked = [("cancel" in task.wishes[0] or "want" in task.wishes[0], status_of(task)) for task in tasks]
    assert Counter(asked) == {(is_cancel, status): 2 for is_cancel in (True, False) for status in STATUSES}


def test_tasks_held_out_have_names_cities_and_numbers_of_their_own() -> None:
    everyday, held_out = (draw_tasks(7, RetailOptions(), held_out=is_out)[0].shop for is_out in (False, True))
    assert not everyday.customers.keys() & held_out.customers.keys()
    assert not everyday.orders.keys() & held_out.orders.keys()
    assert {order.city for order in held_out.orders.values()} <= set(read_words().held_out_cities)


def test_the_policy_is_told_only_to_a_base_that_reads_it() -> None:
    systems = set()
    for tells_policy in (False, True):
        order = replace(ORDER, groups=1, samples=1, options={"tells_policy": tells_policy})
        fake, _ = play(order, lambda _: {"content": ""})
        systems.add(fake.asked[0][0]["messages"][0]["content"])
    assert len(systems) == 2
    assert "desk agent" in systems


@pytest.mark.parametrize(
    "options",
    [
        {"tool_s": -1.0},
        {"tool_s": 61},
        {"kinds": []},
        {"kinds": ["complaint"]},
        {"kinds": ["exchange"]},
        {"tools": ["refund"]},
        {"tools": ["lookup", "delete"]},
        {"wishes": 0},
    ],
)
def test_options_that_cannot_be_played_are_refused(options: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"tool_s|kinds|tools|wishes"):
        Retail().check(options)
