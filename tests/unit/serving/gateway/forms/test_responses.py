"""OpenAI's Responses API in front of fake replicas: routed, stamped, streamed, captured where it is text."""

import json
from typing import Any

import openai
import pytest

from serving.gateway.forms.responses import ResponsesForm
from serving.gateway.openai_form import UnreadableReply
from tests.meters import metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import RunningGateway, wait_until
from tests.unit.serving.serving_environment import ServingEnvironment

FATES = "clorad.gateway.interactions"
FORM = ResponsesForm()


def test_an_agent_answers_and_the_answer_is_stamped(gateway: RunningGateway) -> None:
    raw = gateway.client().responses.with_raw_response.create(model="billing", input="ask 1")
    answer = raw.parse()
    assert answer.output_text == raw.headers["x-clorad-version"]
    assert answer.model == raw.headers["x-clorad-agent"] == "billing"
    assert len(raw.headers["x-clorad-interaction"]) == 32


def test_a_stream_is_passed_on_with_the_agent_as_its_model(gateway: RunningGateway) -> None:
    with gateway.client().responses.stream(model="billing", input="ask 1") as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(texts) == final.output_text
    assert final.output_text.startswith("v1-")
    assert final.model == "billing"


def test_a_stream_that_breaks_off_ends_with_an_error(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.hang_up_after_chunks = 4
    events = list(gateway.client().responses.create(model="billing", input="ask 1", stream=True))
    assert events[-1].type == "error"
    assert events[-1].code == "broken_stream"


def test_an_unknown_agent_is_the_404_that_clients_expect(gateway: RunningGateway) -> None:
    with pytest.raises(openai.NotFoundError) as refusal:
        gateway.client().responses.create(model="nobody", input="ask")
    assert refusal.value.body["code"] == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_an_exchange_of_texts_is_captured_as_a_chat(gateway: RunningGateway, stream: bool) -> None:
    said = [
        {"role": "user", "content": "ask 1"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
        },
    ]
    body = {"model": "billing", "instructions": "be brief", "input": said, "max_output_tokens": 40}
    answer = gateway.send("/v1/responses", {**body, "temperature": 0.5, "stream": stream})
    wait_until(lambda: gateway.sends.data("clorad.interactions"))
    [data] = gateway.sends.data("clorad.interactions")
    assert data["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ask 1"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    assert data["completion"] == data["version"] == answer.headers["x-clorad-version"]
    assert data["sampling"] == {"temperature": 0.5, "max_tokens": 40}
    assert data["finish_reason"] == "stop"


FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "7"}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "hm"}],
}
ANSWER = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def test_thoughts_texts_and_calls_are_the_messages_that_the_replica_makes_of_them() -> None:
    said = [{"role": "user", "content": "x"}, THOUGHT, CALL, ANSWER, CALL | {"call_id": "c2"}, OUTPUT, ANSWER]
    chat = FORM.as_chat({"model": "billing", "input": [*said, ANSWER]})
    assert chat is not None
    assert chat["messages"] == [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": "yes",
            "reasoning": "hm",
            "tool_calls": [CHAT_CALL, CHAT_CALL | {"id": "c2"}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
        {"role": "assistant", "content": "yes"},
        {"role": "assistant", "content": "yes"},
    ]


@pytest.mark.parametrize(
    ("choice", "translated"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_functions_are_the_tools_of_the_chat(choice: Any, translated: Any) -> None:
    asked = {"input": "x", "tools": [FUNCTION], "tool_choice": choice, "parallel_tool_calls": False}
    chat = FORM.as_chat({"model": "billing", **asked})
    assert chat is not None
    function = {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert chat["tools"] == [{"type": "function", "function": function}]
    assert chat["tool_choice"] == translated


@pytest.mark.parametrize(
    ("asked", "fate"),
    [
        ({"input": []}, "not_text"),
        ({"input": [7]}, "not_text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]},
            "not_text",
        ),
        ({"input": [{"role": "assistant", "content": ANSWER["content"] * 2}]}, "not_text"),
        ({"input": [ANSWER | {"status": "incomplete"}]}, "not_text"),
        ({"input": [OUTPUT | {"output": [{"type": "input_text", "text": "7"}]}]}, "not_text"),
        ({"input": [THOUGHT | {"encrypted_content": "x"}]}, "not_text"),
        ({"input": [THOUGHT | {"content": None}]}, "not_text"),
        ({"input": [CALL | {"arguments": {}}]}, "not_text"),
        ({"input": [{"type": "item_reference", "id": "1"}]}, "not_text"),
        ({"input": [CALL | {"namespace": "n"}]}, "other_tools"),
        ({"input": "x", "tools": [{"type": "custom", "name": "f"}]}, "other_tools"),
        ({"input": "x", "tools": [FUNCTION | {"defer_loading": True}]}, "other_tools"),
        ({"input": "x", "tools": [FUNCTION], "tool_choice": {"type": "allowed_tools"}}, "other_tools"),
        ({"input": "x", "text": {"format": {"type": "json_object"}}}, "other_fields"),
        ({"input": "x", "reasoning": {"effort": "low"}}, "other_fields"),
        ({"input": "x", "chat_template_kwargs": {"enable_thinking": False}}, "other_fields"),
    ],
)
def test_what_no_chat_would_ask_alike_is_counted_by_its_reason(asked: dict[str, Any], fate: str) -> None:
    assert FORM.flaw({"model": "billing", **asked}) == fate
    assert FORM.as_chat({"model": "billing", **asked}) is None


@pytest.mark.parametrize("stream", [False, True])
def test_an_exchange_with_tools_is_captured(gateway: RunningGateway, stream: bool) -> None:
    body = {"model": "billing", "input": [{"role": "user", "content": "ask 1"}, CALL, OUTPUT]}
    gateway.send("/v1/responses", {**body, "tools": [FUNCTION], "stream": stream})
    wait_until(lambda: gateway.sends.data("clorad.interactions"))
    [data] = gateway.sends.data("clorad.interactions")
    assert [message["role"] for message in data["messages"]] == ["user", "assistant", "tool"]
    assert data["tools"][0]["function"]["name"] == "f"
    assert data["completion"] == data["version"]


def test_what_is_not_captured_is_answered_and_counted(gateway: RunningGateway) -> None:
    before = metric_values(FATES)
    body = {"model": "billing", "input": "x", "reasoning": {"effort": "low"}}
    assert gateway.send("/v1/responses", body).status_code == 200
    assert metric_increases(before, FATES) == {(("fate", "other_fields"),): 1}


def test_calls_and_cut_answers_are_told_apart() -> None:
    call = {"type": "function_call", "name": "f", "arguments": '{"a":1}'}
    [choice] = FORM.read_answer(json.dumps({"output": [call], "status": "completed"}).encode()).choices
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    cut = {"output": [], "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    [choice] = FORM.read_answer(json.dumps(cut).encode()).choices
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"[]",
        b"{}",
        b'{"output": 7}',
        b'{"output": [7]}',
        b'{"output": [{"type": 7}]}',
        b'{"output": [{"type": "message", "content": [{"text": 7}]}]}',
        b'{"output": [{"type": "function_call", "name": []}]}',
        b'{"output": [], "status": "incomplete", "incomplete_details": []}',
    ],
)
def test_an_answer_in_another_form_is_unreadable(words: bytes) -> None:
    with pytest.raises(UnreadableReply):
        FORM.read_answer(words)
