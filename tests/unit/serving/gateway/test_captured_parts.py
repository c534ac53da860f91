"""What a capture keeps of a request and its answer, whole or in chunks."""

from typing import Any

import pytest

from serving.gateway.captured_parts import (
    CHOICES_MAX,
    CapturedAnswer,
    CapturedReply,
    choice_name,
    request_of,
    restrictions_of,
    sampling_of,
)
from serving.gateway.edge.answer_bytes import AnswersTooLarge

CALL = {"id": "c1", "type": "function", "function": {"name": "stock", "arguments": '{"item": "bolts"}'}}
SECOND = {"id": "c2", "type": "function", "function": {"name": "price", "arguments": "{}"}}


def answer(message: dict[str, Any], finish_reason: str | None = "tool_calls", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], **more}


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more}


def build_answer(*answers: dict[str, Any]) -> CapturedAnswer:
    captured = CapturedAnswer()
    for part in answers:
        captured.add(part)
    return captured


def collected(*answers: dict[str, Any]) -> CapturedReply:
    [reply] = build_answer(*answers).replies.values()
    return reply


def part(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return {"index": index, "function": function, **more}


def test_a_text_alone_is_no_message() -> None:
    reply = collected(answer({"role": "assistant", "content": "hi"}, "stop"))
    assert (reply.text, reply.message, reply.flaw) == ("hi", None, None)


def test_calls_and_reasoning_are_kept_as_they_are() -> None:
    message = {"role": "assistant", "content": None, "reasoning": "look", "tool_calls": [CALL, SECOND]}
    reply = collected(answer(message, prompt_token_ids=b"[5,6]"))
    assert reply.message == message
    assert (reply.flaw, reply.prompt_ids) == (None, b"[5,6]")


def test_streamed_calls_are_put_together_by_their_index() -> None:
    reply = collected(
        chunk({"role": "assistant", "content": ""}, prompt_token_ids=b"[5,6]"),
        chunk({"content": "wait "}),
        chunk({"tool_calls": [part(1, "", id="c2", type="function", name="price")]}),
        chunk({"tool_calls": [part(0, '{"item": ', id="c1", type="function", name="stock")]}),
        chunk({"tool_calls": [part(1, "{}"), part(0, '"bolts"}')]}),
        chunk({}, "tool_calls"),
    )
    assert reply.message == {"role": "assistant", "content": "wait ", "tool_calls": [CALL, SECOND]}
    assert (reply.flaw, reply.prompt_ids) == (None, b"[5,6]")


def test_choices_of_one_stream_are_put_together_each_for_itself() -> None:
    def of(index: int, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}

    answer = build_answer(
        {**of(0, {"role": "assistant", "content": ""}), "prompt_token_ids": b"[5,6]"},
        of(1, {"content": "no"}),
        of(0, {"tool_calls": [part(0, '{"item": ', id="c1", name="stock")]}),
        of(1, {"content": " bolts"}, "stop"),
        of(0, {"tool_calls": [part(0, '"bolts"}')]}, "tool_calls"),
        of(2, {"content": "cut"}),
    )
    first, second, third = (answer.replies[index] for index in range(3))
    assert first.message == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert (second.text, second.message, second.flaw) == ("no bolts", None, None)
    assert third.flaw == "unfinished"
    assert [reply.prompt_ids for reply in answer.replies.values()] == [b"[5,6]"] * 3


def test_of_very_many_choices_the_first_are_captured_and_the_others_counted() -> None:
    choices = [{"index": index, "message": {"content": "x"}} for index in range(CHOICES_MAX + 3)]
    answer = build_answer({"choices": choices}, {"choices": choices[-1:]})
    assert (len(answer.replies), answer.choices_left_out) == (CHOICES_MAX, 3)


def test_a_choice_has_a_name_of_its_own() -> None:
    assert [choice_name("abc", index) for index in range(3)] == ["abc", "abc.1", "abc.2"]


def test_a_name_or_an_id_that_a_server_repeats_in_each_chunk_is_taken_once() -> None:
    first = part(0, '{"item": ', id="c1", name="stock")
    reply = collected(
        chunk({"tool_calls": [first]}),
        chunk({"tool_calls": [part(0, '"bolts"}', id="c1", name="stock")]}, "tool_calls"),
    )
    assert reply.message is not None
    assert reply.message["tool_calls"] == [CALL]


@pytest.mark.parametrize("finish_reason", [None, "content_filter", "error"])
def test_half_a_stream_is_unfinished(finish_reason: str | None) -> None:
    begun = chunk({"tool_calls": [part(0, '{"item"', id="c1", name="stock")]}, finish_reason)
    assert collected(begun).flaw == "unfinished"


@pytest.mark.parametrize(
    "calls",
    [
        "stock",
        {"name": "stock"},
        [None],
        [{"index": "0", "function": {"name": "f", "arguments": ""}}],
        [{"index": 0}],
        [{"index": 0, "function": {"arguments": "{}"}}],
        [{"index": 0, "function": {"name": "f", "arguments": {"item": "bolts"}}}],
        [{"index": 0, "function": {"name": ["f"], "arguments": "{}"}}],
        [{"index": 0, "id": 7, "function": {"name": "f", "arguments": "{}"}}],
        [CALL | {"index": 0}, SECOND | {"index": 0}],
    ],
    ids=[
        *("text", "object", "null", "index no number", "no function", "no name"),
        *("arguments no text", "name no text", "id no text", "two calls in one place"),
    ],
)
def test_calls_in_another_form_are_not_captured(calls: Any) -> None:
    assert collected(chunk({"tool_calls": calls}, "tool_calls")).flaw == "unreadable_calls"


def test_calls_that_follow_each_other_without_an_index_are_not_taken_for_one() -> None:
    chunks = [chunk({"tool_calls": [call]}) for call in (CALL, SECOND)]
    assert collected(*chunks, chunk({}, "tool_calls")).flaw == "unreadable_calls"


def test_an_id_that_changes_with_each_chunk_of_one_call_is_the_first() -> None:
    first, second = part(0, '{"item": ', id="c1", name="stock"), part(0, '"bolts"}', id="other")
    reply = collected(chunk({"tool_calls": [first]}), chunk({"tool_calls": [second]}, "tool_calls"))
    assert reply.message is not None
    assert (reply.flaw, reply.message["tool_calls"]) == (None, [CALL])


def test_a_function_call_of_the_older_api_is_not_captured() -> None:
    message = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    assert collected(answer(message, "function_call")).flaw == "unreadable_calls"


def test_what_made_the_prompt_is_kept_of_the_request() -> None:
    tools = [{"type": "function", "function": {"name": "stock"}}]
    body = {
        "model": "billing",
        "messages": [],
        "tools": tools,
        "tool_choice": "auto",
        "chat_template_kwargs": {"enable_thinking": False},
        "reasoning_effort": "low",
        "temperature": 0.5,
        "user": "u",
    }
    assert request_of(body) == {
        "tools": tools,
        "tool_choice": "auto",
        "chat_template_kwargs": {"enable_thinking": False},
        "rendering": {"reasoning_effort": "low"},
    }
    assert sampling_of(body) == {"temperature": 0.5}
    assert request_of({"messages": []}) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "stock"}}),
        ("response_format", {"type": "json_object"}),
        ("structured_outputs", {"choice": ["a"]}),
        ("top_k", 20),
        ("top_p", 0.9),
        ("min_p", 0.1),
        ("presence_penalty", 1),
        ("frequency_penalty", -0.5),
        ("repetition_penalty", 1.1),
        ("logit_bias", {"5": -100}),
        ("min_tokens", 3),
        ("allowed_token_ids", [1]),
        ("bad_words", ["no"]),
        ("ignore_eos", True),
    ],
)
def test_a_field_that_keeps_tokens_from_being_sampled_is_named(field: str, value: Any) -> None:
    assert restrictions_of({"temperature": 0.2, "seed": 1, field: value}) == [field]


def test_values_that_change_nothing_restrict_nothing() -> None:
    body = {
        "top_k": -1,
        "top_p": 1.0,
        "min_p": 0.0,
        "presence_penalty": 0,
        "repetition_penalty": 1.0,
        "logit_bias": {},
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "ignore_eos": False,
        "stop": ["x"],
    }
    assert restrictions_of(body) == []


def test_a_stream_that_there_is_no_room_for_is_not_captured() -> None:
    held: list[int] = []

    def hold(total: int) -> None:
        held.append(total)
        if total > 1000:
            raise AnswersTooLarge

    answer = CapturedAnswer()
    choice = {"index": 0, "delta": {"content": "word"}, "token_ids": [1]}
    for _ in range(20):
        answer.add_part({"choices": [choice]}, hold)
    assert held == [104 * count for count in range(1, 11)]
    assert (answer.has_room, answer.replies) == (False, {})
