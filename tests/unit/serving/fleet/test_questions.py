"""Questions about agents that call tools: asked as they were served, and answered by calls."""

import json
from contextlib import closing
from typing import Any

import pytest

from ledger.events import Role
from ledger.learning import event_queries
from serving.fleet.questions import questions_of
from serving.fleet.replica import Replica
from serving.scoring.scorers import score
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, keep
from tests.unit.serving.serving_environment import ServingEnvironment

TOOLS = [{"type": "function", "function": {"name": "stock"}}]
ASKED = ({"role": "user", "content": "bolts?"},)


def build_message(*arguments: Any, name: str = "stock", content: str | None = None) -> dict[str, Any]:
    calls = [
        {"id": f"c{place}", "type": "function", "function": {"name": name, "arguments": given}}
        for place, given in enumerate(arguments)
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def text_of(environment: ServingEnvironment, message: dict[str, Any], **request: Any) -> str:
    """What the gate compares where a replica answers with this message."""
    fake = environment.replica()
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    fake.faults.raw_answer = json.dumps({"choices": [choice]}).encode()
    with closing(Replica(fake.url)) as replica:
        answer = replica.answer("base", ASKED, 16, request=request)
    asked = [body for path, body in fake.requests if "chat" in path][-1]
    own = {"model": "base", "messages": list(ASKED), "max_tokens": 16, "temperature": 0.0}
    assert asked == {**request, **own}
    return answer.text


def test_a_question_has_the_tools_and_arguments_of_its_request(environment: ServingEnvironment) -> None:
    environment.agent("billing", capture=True)
    request = {"tools": TOOLS, "chat_template_kwargs": {"enable_thinking": False}}
    captured = build_interaction(
        "i1", messages=ASKED, completion="", reply=build_message('{"item": "nuts"}'), request=request
    )
    keep(environment.database, captured, partition=INTERACTIONS)
    wanted = build_message('{"item": "bolts"}')
    keep(
        environment.database, build_event("1", role=Role.TRAIN, interaction="i1", data={"corrected": wanted})
    )
    with environment.database.read() as connection:
        [question] = questions_of(connection, event_queries.event_by_uid(connection, "dev#1"))
    assert (question.messages, question.request) == (ASKED, request)
    assert question.wanted == '[{"name": "stock", "arguments": {"item": "bolts"}}]'


@pytest.mark.parametrize("scorer", ["auto", "exact", "json", "similarity"])
def test_calls_are_right_by_names_in_order_and_arguments_as_json(
    environment: ServingEnvironment, scorer: str
) -> None:
    wanted = '[{"name": "stock", "arguments": {"a": 1, "b": 2}}]'
    right = build_message({"b": 2, "a": 1}, content="One moment.")
    assert score(scorer, text_of(environment, right, tools=TOOLS), wanted) == 1.0
    for wrong in (
        build_message('{"a": 1}'),
        build_message('{"a": 1, "b": 2}', name="order"),
        build_message('{"a": 1, "b": 2}', "{}"),
        build_message('{"a": 1, "b": '),
        {"role": "assistant", "content": "Which?"},
        {"role": "assistant", "content": wanted},  # it spells the call and makes none
    ):
        assert score(scorer, text_of(environment, wrong), wanted) == 0.0


def test_a_text_that_spells_calls_is_right_where_such_a_text_is_wanted(
    environment: ServingEnvironment,
) -> None:
    """Agents whose vLLM parses no calls say them as a text, in any spelling of JSON."""
    spelled = '[{"name": "stock", "arguments": {"a": 1, "b": 2}}]'
    environment.agent("billing")
    data = {"messages": list(ASKED), "rejected": "no", "corrected": spelled}
    keep(environment.database, build_event("1", role=Role.TRAIN, data=data))
    with environment.database.read() as connection:
        [question] = questions_of(connection, event_queries.event_by_uid(connection, "dev#1"))
    other_spelling = '[ {"arguments": {"b": 2, "a": 1}, "name": "stock"} ]'
    said = text_of(environment, {"role": "assistant", "content": other_spelling})
    assert score("json", said, question.wanted) == 1.0
    called = text_of(environment, build_message({"a": 1, "b": 2}), tools=TOOLS)
    assert score("json", called, question.wanted) == 0.0
