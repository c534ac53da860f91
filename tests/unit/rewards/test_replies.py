"""Replies are compared by what they say: names and arguments of calls, not the spelling of JSON."""

from typing import Any

import pytest

from rewards.replies import (
    calls_of,
    compared_text,
    is_same_reply,
    is_text,
    message_of,
    reply_text,
    uncallable,
)


def build_call(arguments: Any, name: str = "stock", id: str = "c1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def build_message(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **({"tool_calls": list(calls)} if calls else {}), **more}


def test_a_text_in_a_message_is_that_text() -> None:
    assert reply_text(build_message(content="hi")) == reply_text("hi") == "hi"
    assert is_text(build_message(content="hi"))
    assert is_same_reply(build_message(content="hi"), "hi")
    assert message_of("hi") == build_message(content="hi")


def test_calls_are_compared_by_names_and_arguments() -> None:
    said = build_message(build_call('{"b": 2, "a": 1}'), build_call("", "price", "c2"), content="wait")
    again = build_message(
        build_call({"a": 1, "b": 2}, id="x"), build_call("{}", "price", "y"), content="wait"
    )
    assert reply_text(said) == reply_text(again)
    assert reply_text(said) == (
        '[{"name": "stock", "arguments": {"a": 1, "b": 2}}, {"name": "price", "arguments": {}}]'
    )
    assert is_same_reply(said, again)
    assert not is_text(said)


@pytest.mark.parametrize(
    "other",
    [
        build_message(build_call('{"a": 2}')),
        build_message(build_call('{"a": 1}', "price")),
        build_message(build_call('{"a": 1}'), build_call('{"a": 1}')),
        build_message(build_call('{"a": 1}'), content="wait"),
        "stock",
    ],
)
def test_another_call_is_another_reply(other: Any) -> None:
    assert not is_same_reply(build_message(build_call('{"a": 1}')), other)


def test_a_thought_that_a_client_does_not_send_back_makes_no_other_reply() -> None:
    thought = build_message(content="no", reasoning="it is theirs")
    assert is_same_reply(thought, "no")
    assert not is_same_reply(thought, build_message(content="no", reasoning="it is ours"))
    assert not is_text(thought)
    assert reply_text(thought) == "no"


def test_arguments_that_are_no_json_object_stay_what_they_are() -> None:
    assert calls_of(build_message(build_call('{"a": '), build_call("[1]"))) == [
        ("stock", '{"a": '),
        ("stock", "[1]"),
    ]


@pytest.mark.parametrize("arguments", ['{"a": NaN}', '{"a": 1e400}', '{"a":' * 600 + "1" + "}" * 600])
def test_what_json_does_not_know_is_no_argument(arguments: str) -> None:
    said = build_message(build_call(arguments))
    assert calls_of(said) == [("stock", arguments)]
    tools = [{"type": "function", "function": {"name": "stock"}}]
    assert uncallable(said, {"tools": tools}) == "calls a tool with arguments that are no JSON object"


@pytest.mark.parametrize("function", [{}, {"name": None}, {"name": []}, None, "None"])
def test_a_tool_without_a_name_offers_nothing(function: Any) -> None:
    called = build_message(build_call("{}", "None"))
    assert uncallable(called, {"tools": [{"type": "function", "function": function}]}) == (
        "calls a tool that was not offered"
    )


@pytest.mark.parametrize("calls", [None, "stock", [None], [{}], [{"function": "stock"}]])
def test_calls_in_another_form_end_nothing(calls: Any) -> None:
    assert isinstance(reply_text({"role": "assistant", "content": None, "tool_calls": calls}), str)


def test_a_text_that_spells_a_call_is_compared_as_another_reply() -> None:
    call = build_message(build_call('{"a": 1}'))
    spelled = reply_text(call)
    for text in (spelled, f"  {spelled}", build_message(content=spelled)):
        assert compared_text(call) != compared_text(text)
        assert compared_text(text) == f'{{"text": {reply_text(text)}}}'
    assert reply_text(spelled) == spelled, "what is trained on stays as it is"


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "[1]", '[{"name": "stock"}]', '{"name": "a", "arguments": {}}']
)
def test_other_texts_are_compared_as_they_are(text: str) -> None:
    assert compared_text(text) == text
