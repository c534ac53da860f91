"""The environment *sums*: what it asks, what it accepts as a call, what it rewards."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from examples.base_model.skills import read_skills
from examples.base_model.slots import fill
from examples.experiments.agent_client import AgentAway
from examples.experiments.calculator import calculate, called_expression
from examples.experiments.orders import RolloutOrder
from examples.experiments.playing import play_order
from examples.experiments.sums import FAMILIES, SKILL, Sums, SumsOptions
from tests.unit.examples.experiments.fake_agent import FakeAgent, RecordingProducer

ORDER = RolloutOrder(
    experiment="sum",
    agent="solver",
    version="v1-aaaaaa",
    step=3,
    groups=3,
    samples=4,
    task_prefix="s3-",
    seed=7,
    options={"family": "sum"},
)
SIGNS = "0123456789+-*/(). e_x,'\"[]{}\\\n"
Reply = Callable[[str], Mapping[str, Any]]  # to the last message


def right_call(order: RolloutOrder) -> dict[str, str]:
    """The right call for each problem of the order, by its text."""
    intents = read_skills().agents[SKILL].intents
    return {
        problem.prompt: fill(intents[problem.intent].reply, problem.values)
        for task in Sums().tasks(order)
        for problem in task
    }


def play(
    order: RolloutOrder, reply: Reply, **agent: Any
) -> tuple[FakeAgent, RecordingProducer, tuple[int, int]]:
    fake = FakeAgent(lambda messages: reply(messages[-1]["content"]), **agent)
    producer = RecordingProducer()
    counts = asyncio.run(fake.run(lambda client: play_order(Sums(), order, client, producer)))
    return fake, producer, counts


def test_each_conversation_of_a_step_has_one_outcome_in_the_group_of_its_task() -> None:
    right = right_call(ORDER)
    fake, producer, counts = play(ORDER, lambda prompt: {"content": right[prompt]})
    assert counts == (12, 0)
    assert sorted(event["task"] for event in producer.sent) == sorted(["s3-0", "s3-1", "s3-2"] * 4)
    assert {event["value"] for event in producer.sent} == {1.0}
    assert len({event["interaction"] for event in producer.sent}) == 12
    body, headers = fake.asked[0]
    assert body["temperature"] == 1.0
    assert body["tools"][0]["function"]["name"] == "calc"
    assert headers["x-clorad-turn"] == "0"


def test_a_call_is_read_as_clients_read_calls_and_wrong_values_get_nothing() -> None:
    right = right_call(ORDER)

    def reply(prompt: str) -> Mapping[str, Any]:
        expression = str(called_expression(right[prompt]))
        if prompt == sorted(right)[0]:
            return {"content": f"the answer is {expression}"}
        arguments = json.dumps({"expression": expression})
        return {"content": "", "tool_calls": [{"function": {"name": "calc", "arguments": arguments}}]}

    _, producer, _ = play(ORDER, reply)
    assert sorted(event["value"] for event in producer.sent) == [0.0] * 4 + [1.0] * 8


def test_an_outcome_about_several_turns_says_so() -> None:
    order = replace(ORDER, groups=1, samples=1, options={"turns": 2})
    right = right_call(order)
    answers = iter(["no idea", right[Sums().tasks(order)[0][1].prompt]])
    fake, producer, _ = play(order, lambda _: {"content": next(answers)})
    [event] = producer.sent
    assert (event["value"], event["scope"], event["interaction"]) == (0.5, "all", "i2")
    assert [headers["x-clorad-turn"] for _, headers in fake.asked] == ["0", "1"]


def test_no_conversation_begins_before_the_ordered_version_is_routed() -> None:
    fake, _, _ = play(ORDER, lambda _: {"content": ""}, versions=("v0", "v0", "v1-aaaaaa"))
    assert len(fake.asked) == 12


def test_a_version_that_is_never_routed_fails_its_own_order_only() -> None:
    fake, producer = FakeAgent(lambda _: {}, versions=("v0",)), RecordingProducer()
    counts = asyncio.run(
        fake.run(lambda client: play_order(Sums(), ORDER, client, producer, routed_s_max=0.1))
    )
    assert (counts, fake.asked, producer.sent) == ((0, 12), [], [])


def test_a_gateway_that_is_away_for_a_moment_costs_no_conversation() -> None:
    fake, _, counts = play(replace(ORDER, groups=1, samples=2), lambda _: {"content": ""}, refusals=1)
    assert counts == (2, 0)
    assert len(fake.asked) == 2


def test_a_request_that_is_refused_is_a_failed_conversation() -> None:
    class Refusing(FakeAgent):
        async def chat(self, request: web.Request) -> web.Response:
            return web.json_response({"error": "no such agent"}, status=404)

    fake, producer = Refusing(lambda _: {}), RecordingProducer()
    order = replace(ORDER, groups=1, samples=2)
    counts = asyncio.run(fake.run(lambda client: play_order(Sums(), order, client, producer)))
    assert (counts, producer.sent) == ((0, 2), [])


def test_the_same_seed_gives_the_same_tasks_and_each_step_others() -> None:
    assert Sums().tasks(ORDER) == Sums().tasks(ORDER)
    assert Sums().tasks(ORDER) != Sums().tasks(replace(ORDER, step=4))


def test_every_family_is_a_skill_of_the_base() -> None:
    assert set(FAMILIES) == read_skills().agents[SKILL].intents.keys()


@pytest.mark.parametrize("options", [{"family": "algebra"}, {"turns": 0}, {"tool_s": -1.0}, {"tool_s": 61}])
def test_options_that_cannot_be_played_are_refused(options: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"family|turns"):
        SumsOptions(**options)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("37+58", 95.0),
        ("(1+2)*3/2-1", 3.5),
        ("1/0", None),
        ("2**9", None),
        ("__import__('os')", None),
        ("True+1", None),
        ("1" * 61, None),
        ("(", None),
        ("", None),
    ],
)
def test_the_calculator_knows_arithmetic_only(expression: str, value: float | None) -> None:
    assert calculate(expression) == value


def test_nothing_that_an_agent_writes_breaks_the_calculator() -> None:
    chance = random.Random(1)
    for _ in range(300):
        value = calculate("".join(chance.choices(SIGNS, k=chance.randrange(80))))
        assert value is None or isinstance(value, float)


def test_an_agent_that_stays_away_is_named() -> None:
    fake = FakeAgent(lambda _: {}, versions=("v9-000000",))
    with pytest.raises(AgentAway, match="v9-000000"):
        asyncio.run(fake.run(lambda client: client.wait_for("solver", "v1-aaaaaa", wait_s_max=0.1)))


def test_requests_without_tools_have_no_list_of_them() -> None:
    order = replace(ORDER, groups=1, samples=1, options={"offers_tool": False})
    fake, _, counts = play(order, lambda _: {"content": ""})
    assert counts == (1, 0), "vLLM refuses an empty list"
    assert "tools" not in fake.asked[0][0]
