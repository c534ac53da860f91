"""Signs of faults in one answer, whole or in chunks."""

import json
from typing import Any

import pytest

from ledger.events import Signal
from serving.gateway.answer_signs import AnswerSigns
from serving.gateway.forms.chat import TextForm

TOOLS = [{"type": "function", "function": {"name": "refund"}}]


def signals(*choices: dict[str, Any], **body: Any) -> list[Signal]:
    signs = AnswerSigns()
    for choice in choices:
        signs.add([choice])
    return signs.signals(body)


def build_answer(text: str | None, *, reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"content": text, **message}, "finish_reason": reason}


def build_call(arguments: str, name: str = "refund") -> list[dict[str, Any]]:
    return [{"index": 0, "type": "function", "function": {"name": name, "arguments": arguments}}]


def test_a_good_answer_shows_nothing() -> None:
    assert signals(build_answer("It is cancelled.")) == []
    completion = {"choices": [{"index": 0, "text": "It is cancelled.", "finish_reason": "stop"}]}
    assert signals(*TextForm().read_answer(json.dumps(completion).encode()).choices) == []
    assert (
        signals(build_answer(None, reason="tool_calls", tool_calls=build_call('{"order": 1}')), tools=TOOLS)
        == []
    )


def test_an_answer_cut_short_or_empty_has_the_wrong_length() -> None:
    assert signals(build_answer("It is", reason="length")) == [Signal.LENGTH]
    assert signals(build_answer("")) == [Signal.LENGTH]
    assert signals(build_answer(None)) == [Signal.LENGTH]


@pytest.mark.parametrize("arguments", ['{"order": ', "[1]", "order 1"])
def test_arguments_that_are_no_object_are_an_invalid_tool_call(arguments: str) -> None:
    answer = build_answer(None, reason="tool_calls", tool_calls=build_call(arguments))
    assert signals(answer, tools=TOOLS) == [Signal.INVALID_TOOL_CALL]


def test_arguments_that_a_server_gives_as_an_object_are_a_valid_call() -> None:
    call = {"index": 0, "function": {"name": "refund", "arguments": {"order": 1}}}
    assert signals(build_answer(None, reason="tool_calls", tool_calls=[call]), tools=TOOLS) == []


def test_a_tool_that_was_not_offered_is_an_invalid_tool_call() -> None:
    answer = build_answer(None, reason="tool_calls", tool_calls=build_call("{}", name="delete_all"))
    assert signals(answer, tools=TOOLS) == [Signal.INVALID_TOOL_CALL]


def test_a_call_that_was_cut_is_counted_as_cut() -> None:
    answer = build_answer(None, reason="length", tool_calls=build_call('{"order": '))
    assert signals(answer, tools=TOOLS) == [Signal.LENGTH]


def test_a_tool_call_is_put_together_from_its_chunks() -> None:
    first = {"index": 0, "delta": {"tool_calls": build_call('{"order"')}}
    second = {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}}
    last = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    assert signals(first, second, last, tools=TOOLS) == []
    assert signals(first, last, tools=TOOLS) == [Signal.INVALID_TOOL_CALL]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this request.",
        "Sorry, I can’t comply.",
    ],
)
def test_a_refusal_is_told_by_how_it_opens(text: str) -> None:
    assert signals(build_answer(text)) == [Signal.REFUSAL]
    chunks = [{"index": 0, "delta": {"content": text[:9]}}, {"index": 0, "delta": {"content": text[9:]}}]
    assert signals(*chunks) == [Signal.REFUSAL]


@pytest.mark.parametrize(
    "text", ["I can help with that.", "Sorry for the delay, it is cancelled.", "I cannot find it."]
)
def test_other_openings_are_no_refusal(text: str) -> None:
    assert signals(build_answer(text)) == []


def test_the_interfaces_own_field_and_its_filter_are_refusals() -> None:
    assert Signal.REFUSAL in signals(build_answer("", refusal="No."))
    assert Signal.REFUSAL in signals(build_answer("It", reason="content_filter"))


@pytest.mark.parametrize("calls", [7, ["x"], [{"function": 7}], [{"function": {"arguments": 5}}]])
def test_calls_in_another_form_break_nothing(calls: Any) -> None:
    signals(build_answer("text", tool_calls=calls), tools=[{"function": 3}, 4])
