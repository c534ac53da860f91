"""Anthropic's Messages API in front of fake replicas, asked by its official client."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from serving.gateway.forms.anthropic_messages import MessagesForm
from serving.gateway.openai_form import UnreadableReply
from tests.meters import metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import ASK, RunningGateway, wait_until
from tests.unit.serving.serving_environment import ServingEnvironment

FATES = "clorad.gateway.interactions"
FORM = MessagesForm()


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="none", max_retries=0, timeout=20.0) as official:
        yield official


def test_an_agent_answers_and_the_answer_is_stamped(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(model="billing", messages=ASK, max_tokens=40)  # type: ignore[arg-type]
    answer = raw.parse()
    [block] = answer.content
    assert block.type == "text"
    assert block.text == raw.headers["x-clorad-version"]
    assert answer.model == raw.headers["x-clorad-agent"] == "billing"
    assert len(raw.headers["x-clorad-interaction"]) == 32


def test_a_stream_is_passed_on_with_the_agent_as_its_model(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="billing", messages=ASK, max_tokens=40) as stream:  # type: ignore[arg-type]
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text.startswith("v1-")
    assert (final.model, final.stop_reason) == ("billing", "end_turn")


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    assert client.messages.count_tokens(model="billing", messages=ASK).input_tokens > 0  # type: ignore[arg-type]


def test_errors_have_anthropics_form(
    client: anthropic.Anthropic, gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="nobody", messages=ASK, max_tokens=4)  # type: ignore[arg-type]
    assert unknown.value.type == "not_found_error"
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        for body in (b"{not json", {"model": "billing", "messages": "ask", "max_tokens": 4}):
            answer = gateway.send(path, body)
            assert answer.status_code == 400
            assert answer.json()["type"] == "error"
            assert answer.json()["error"]["type"] == "invalid_request_error"
            assert answer.json()["error"]["message"]
        refused = gateway.get(path)
        assert (refused.status_code, refused.json()["type"]) == (405, "error")
    for fake in two_replicas.replicas:
        fake.faults.failures_left = 2
    with pytest.raises(anthropic.InternalServerError) as failed:
        client.messages.create(model="billing", messages=ASK, max_tokens=4)  # type: ignore[arg-type]
    assert failed.value.type == "api_error"


def test_a_stream_that_breaks_off_ends_with_an_error(
    client: anthropic.Anthropic, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.hang_up_after_chunks = 4
    with (
        pytest.raises(anthropic.APIStatusError, match="broke off"),
        client.messages.stream(model="billing", messages=ASK, max_tokens=40) as stream,  # type: ignore[arg-type]
    ):
        stream.until_done()


@pytest.mark.parametrize("stream", [False, True])
def test_an_exchange_of_texts_is_captured_as_a_chat(gateway: RunningGateway, stream: bool) -> None:
    cached = {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}
    said = [
        {"role": "user", "content": "ask 1"},
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    body = {"model": "billing", "system": [cached], "messages": said, "max_tokens": 40, "stream": stream}
    answer = gateway.send("/v1/messages", {**body, "stop_sequences": ["\n"]})
    wait_until(lambda: gateway.sends.data("clorad.interactions"))
    [data] = gateway.sends.data("clorad.interactions")
    assert data["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ask 1"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    assert data["completion"] == data["version"] == answer.headers["x-clorad-version"]
    assert data["sampling"] == {"max_tokens": 40, "stop": ["\n"]}
    assert data["finish_reason"] == "stop"


TOOL = {"name": "f", "description": "d", "input_schema": {"properties": {}}, "cache_control": {"type": "x"}}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "\u00e4"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": w} for w in "ab"]}
TEXT = {"type": "text", "text": "yes"}


def test_thoughts_uses_and_results_of_tools_are_the_messages_that_the_replica_makes_of_them() -> None:
    said = [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, TEXT, USE],
        },
        {"role": "user", "content": [TEXT, RESULT, RESULT | {"tool_use_id": "t2", "content": None}]},
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [RESULT]},
    ]
    chat = FORM.as_chat({"model": "billing", "max_tokens": 4, "messages": said})
    assert chat is not None
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": "\\u00e4"}'}}
    assert chat["messages"] == [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "yes", "reasoning": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "t2", "content": ""},
        {"role": "user", "content": "yes"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": "a\nb"},
    ]


@pytest.mark.parametrize(
    ("choice", "translated"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tools_are_those_of_the_chat(choice: Any, translated: Any) -> None:
    chat = FORM.as_chat({"model": "billing", "messages": ASK, "tools": [TOOL], "tool_choice": choice})
    assert chat is not None
    schema = {"properties": {}, "type": "object"}
    function = {"name": "f", "description": "d", "parameters": schema}
    assert chat["tools"] == [{"type": "function", "function": function}]
    assert list(chat["tools"][0]["function"]["parameters"]) == list(schema)
    assert chat["tool_choice"] == translated


def said_by(role: str, *blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("asked", "fate"),
    [
        ({"messages": [{"role": "system", "content": "be brief"}, *ASK]}, "not_text"),
        ({"messages": ASK, "system": "x-anthropic-billing-header: a"}, "not_text"),
        (said_by("user"), "not_text"),
        (said_by("user", {"type": "image", "source": {}}), "not_text"),
        (said_by("user", USE), "not_text"),
        (said_by("assistant", RESULT), "not_text"),
        (said_by("assistant", {"type": "redacted_thinking", "data": "x"}), "not_text"),
        (said_by("assistant", USE | {"input": None}), "not_text"),
        (said_by("user", RESULT | {"content": [{"type": "image", "source": {}}]}), "not_text"),
        (said_by("user", RESULT | {"tool_use_id": None}), "not_text"),
        ({"messages": ASK, "tools": [TOOL | {"defer_loading": True}]}, "other_tools"),
        ({"messages": ASK, "tools": [TOOL | {"input_schema": None}]}, "other_tools"),
        ({"messages": ASK, "tools": [TOOL], "tool_choice": {"type": "other"}}, "other_tools"),
        ({"messages": ASK, "thinking": {"type": "adaptive"}}, "other_fields"),
        ({"messages": ASK, "output_config": {"effort": "low"}}, "other_fields"),
    ],
)
def test_what_no_chat_would_ask_alike_is_counted_by_its_reason(asked: dict[str, Any], fate: str) -> None:
    assert FORM.flaw({"model": "billing", "max_tokens": 40, **asked}) == fate


@pytest.mark.parametrize("stream", [False, True])
def test_an_exchange_with_tools_is_captured(gateway: RunningGateway, stream: bool) -> None:
    said = [*ASK, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}]
    body = {"model": "billing", "max_tokens": 40, "messages": said, "tools": [TOOL], "stream": stream}
    gateway.send("/v1/messages", body)
    wait_until(lambda: gateway.sends.data("clorad.interactions"))
    [data] = gateway.sends.data("clorad.interactions")
    assert [message["role"] for message in data["messages"]][-2:] == ["assistant", "tool"]
    assert data["tools"][0]["function"]["name"] == "f"
    assert data["completion"] == data["version"]


def test_what_is_not_captured_is_answered_and_counted(gateway: RunningGateway) -> None:
    before = metric_values(FATES)
    body = {"model": "billing", "max_tokens": 40, "messages": ASK, "thinking": {"type": "adaptive"}}
    assert gateway.send("/v1/messages", body).status_code == 200
    assert metric_increases(before, FATES) == {(("fate", "other_fields"),): 1}


def test_calls_and_thoughts_of_a_stream_add_up_as_in_a_whole_answer() -> None:
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "f"}},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": "{}"},
        },
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "ping"},
    ]
    parts = [FORM.read_event(json.dumps(event).encode()) for event in events]
    deltas = [choice["delta"] for part in parts if part is not None for choice in part.choices]
    assert [delta.get("reasoning") for delta in deltas[:2]] == [None, "hm"]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call["index"] for call in calls] == [1, 1]
    assert "".join(call["function"]["arguments"] for call in calls) == "{}"
    assert parts[4] is not None
    assert parts[4].choices[0]["finish_reason"] == "tool_calls"
    whole = {
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "name": "f", "input": {}}]
    }
    [choice] = FORM.read_answer(json.dumps(whole).encode()).choices
    assert choice["message"]["reasoning"] == "hm"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"[]",
        b"{}",
        b'{"content": "x"}',
        b'{"content": [7]}',
        b'{"content": [{"type": "text", "text": 7}]}',
        b'{"content": [], "stop_reason": 7}',
    ],
)
def test_an_answer_in_another_form_is_unreadable(words: bytes) -> None:
    with pytest.raises(UnreadableReply):
        FORM.read_answer(words)


@pytest.mark.parametrize(
    "words",
    [
        b'{"type": 7}',
        b'{"type": "content_block_delta", "delta": 7}',
        b'{"type": "message_delta", "delta": []}',
    ],
)
def test_an_event_in_another_form_is_unreadable(words: bytes) -> None:
    with pytest.raises(UnreadableReply):
        FORM.read_event(words)
