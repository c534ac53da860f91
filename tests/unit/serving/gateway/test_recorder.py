"""Which answers are captured, and what a capture contains."""

import json
import random
import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.envelope import VALUE_BYTES_MAX, parse
from feedback.producer import KafkaRecord, NotAcknowledged, Sent
from feedback.redaction import RedactionCounts, Redactor
from feedback.redaction_process import NotRedacted
from feedback.token_ids import from_text, unpack
from serving.gateway.captured_parts import CapturedReply
from serving.gateway.recorder import Capture, Recorder
from tests.meters import Labels, metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import (
    ASK,
    LOOPBACK,
    RecordedSends,
    RunningGateway,
    ask_agent,
    build_error_event,
    wait_until,
)
from tests.unit.serving.serving_environment import ServingEnvironment

TOOLS = [{"type": "function", "function": {"name": "stock", "parameters": {"type": "object"}}}]
FATES = "clorad.gateway.interactions"


class HeldSends:
    """A `send` whose records Kafka has not acknowledged yet."""

    def __init__(self) -> None:
        self.held: list[Future[Sent]] = []

    def __call__(self, record: KafkaRecord) -> Future[Sent]:
        self.held.append(Future())
        return self.held[-1]


def test_an_answer_of_a_capturing_agent_is_captured_with_its_tokens(gateway: RunningGateway) -> None:
    raw = gateway.client(default_headers={"x-clorad-conversation": "c1", "x-clorad-turn": "3"})
    answer = raw.chat.completions.with_raw_response.create(
        model="billing", messages=ASK, temperature=0.5, max_tokens=40
    )
    wait_until(lambda: gateway.sends.records)
    [record] = gateway.sends.records
    [data] = gateway.sends.data("clorad.interactions")
    headers = dict(record.headers)
    assert headers["ce_type"] == b"clorad.interaction.v1"
    assert headers["ce_id"].decode() == answer.headers["x-clorad-interaction"]
    assert data["messages"] == ASK
    assert data["completion"] == answer.parse().choices[0].message.content
    assert data["version"] == answer.headers["x-clorad-version"]
    assert (data["conversation"], data["turn"]) == ("c1", 3)
    assert data["sampling"] == {"temperature": 0.5, "max_tokens": 40}
    assert len(data["token_ids"]) == len(data["logprobs"]) > 0
    assert unpack(from_text(data["prompt_token_ids"]))
    assert data["finish_reason"] == "stop"


@pytest.mark.parametrize("sent", ["café 7".encode(), "café 7".encode("latin-1")])
def test_a_conversation_is_captured_under_the_name_that_its_client_wrote(
    gateway: RunningGateway, sent: bytes
) -> None:
    body = json.dumps({"model": "billing", "messages": ASK}).encode()
    headers = [(b"content-type", b"application/json"), (b"x-clorad-conversation", sent)]
    httpx.post(gateway.url + "/v1/chat/completions", content=body, headers=headers, **LOOPBACK)
    wait_until(lambda: gateway.sends.data("clorad.interactions"))
    assert [data["conversation"] for data in gateway.sends.data("clorad.interactions")] == ["café 7"]


def test_a_streamed_answer_is_captured_the_same_way(gateway: RunningGateway) -> None:
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    )
    wait_until(lambda: gateway.sends.records)
    [data] = gateway.sends.data("clorad.interactions")
    assert data["completion"] == text
    assert len(data["token_ids"]) == len(data["logprobs"]) == len(text) + 1


@pytest.mark.parametrize("capture", ["off", "OFF"])
def test_traffic_marked_as_off_is_not_captured(
    gateway: RunningGateway, two_replicas: ServingEnvironment, capture: str
) -> None:
    client = gateway.client(default_headers={"x-clorad-capture": capture})
    client.chat.completions.create(model="billing", messages=ASK)
    ask_agent(gateway, "sql")
    time.sleep(0.5)
    types = {dict(record.headers)["ce_type"] for record in gateway.sends.records}
    assert types <= {b"clorad.live.v1"}, "counts of live signals have no texts"
    bodies = [body for fake in two_replicas.replicas for path, body in fake.requests if "chat" in path]
    assert not any("return_token_ids" in body for body in bodies)


def test_a_secret_is_removed_from_a_capture_together_with_the_tokens(gateway: RunningGateway) -> None:
    secret = [{"role": "user", "content": "my card is 4111 1111 1111 1111, thanks"}]
    gateway.client().chat.completions.create(model="billing", messages=secret)
    wait_until(lambda: gateway.sends.records)
    [data] = gateway.sends.data("clorad.interactions")
    assert "4111" not in json.dumps(data)
    assert "token_ids" not in data
    assert "logprobs" not in data
    assert (data["ids_left_out"], "prompt_token_ids" in data) == ("redacted", False)


def test_an_answer_with_tool_calls_is_captured_whole(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "stock", "arguments": '{"item": "bolts"}'}}
    message = {"role": "assistant", "content": None, "reasoning": None, "tool_calls": [call]}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "tool_calls",
        "token_ids": [7, 8],
        "logprobs": {"content": [{"logprob": -0.5}, {"logprob": 0.0}]},
    }
    for fake in two_replicas.replicas:
        fake.faults.raw_answer = json.dumps(
            {"choices": [choice], "prompt_token_ids": [1, 70_000, 3]}
        ).encode()
    asked = {"tools": TOOLS, "tool_choice": "required", "chat_template_kwargs": {"enable_thinking": False}}
    shown = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK, **asked}).json()
    assert shown["choices"][0]["message"] == message
    wait_until(lambda: gateway.sends.records)
    [data] = gateway.sends.data("clorad.interactions")
    assert {name: data[name] for name in asked} == asked
    assert data["reply"] == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert (data["completion"], data["token_ids"]) == ("", [7, 8])
    assert data["restrictions"] == ["tool_choice"]
    assert unpack(from_text(data["prompt_token_ids"])) == (1, 70_000, 3)
    assert "ids_left_out" not in data


def test_a_stream_of_tool_calls_is_captured_as_one_message(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    def event(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return json.dumps({"choices": [choice], **more})

    begun = {"index": 0, "id": "c1", "type": "function", "function": {"name": "stock", "arguments": ""}}
    stream = [
        event({"role": "assistant", "content": ""}, prompt_token_ids=[1, 2]),
        event({"tool_calls": [begun]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": '{"item": '}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": '"bolts"}'}}]}, "tool_calls"),
        "[DONE]",
    ]
    for fake in two_replicas.replicas:
        fake.faults.raw_answer = "\n\ndata: ".join(stream).encode()
    body = {"model": "billing", "messages": ASK, "tools": TOOLS, "stream": True}
    gateway.send("/v1/chat/completions", body)
    wait_until(lambda: gateway.sends.records)
    [data] = gateway.sends.data("clorad.interactions")
    function = {"name": "stock", "arguments": '{"item": "bolts"}'}
    assert data["reply"]["tool_calls"] == [{"id": "c1", "type": "function", "function": function}]
    assert unpack(from_text(data["prompt_token_ids"])) == (1, 2)


def test_a_prompt_whose_ids_do_not_fit_is_captured_without_them_and_says_so() -> None:
    sends, stopping = RecordedSends(), threading.Event()
    recorder = Recorder(sends, Redactor(lambda _: "f"), share=1.0, bytes_max=10**9)
    chance = random.Random(0)
    prompt_ids = [chance.randrange(150_000) for _ in range(40_000)]
    reply = CapturedReply(text="fine", finish_reason="stop", prompt_ids=json.dumps(prompt_ids).encode())
    recorder.put(build_capture("x" * 160_000, reply=reply))
    stopping.set()
    recorder.run(stopping)
    [data] = sends.data("clorad.interactions")
    assert (data["ids_left_out"], "prompt_token_ids" in data) == ("too_large", False)


def test_an_interaction_too_large_for_an_event_is_answered_and_not_captured(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.context_tokens_max = 10**6
    long = [{"role": "user", "content": "x" * 300_000}]
    assert gateway.send("/v1/chat/completions", {"model": "billing", "messages": long}).status_code == 200
    ask_agent(gateway)
    wait_until(lambda: gateway.sends.records)
    assert [data["messages"] for data in gateway.sends.data("clorad.interactions")] == [ASK]


def test_an_unreachable_kafka_costs_captures_and_no_answer(gateway: RunningGateway) -> None:
    gateway.sends.fault = "full"
    assert all(ask_agent(gateway).startswith("v1-") for _ in range(5))


def test_an_answer_that_ends_in_an_error_is_not_captured(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.raw_answer, fake.faults.raw_event_at = (
            build_error_event(500),
            len(fake.reply_function(*fake.adapters.values(), None)) + 2,
        )
    stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    ends = []
    with pytest.raises(openai.APIError, match="broke off"):
        ends.extend(chunk.choices[0].finish_reason for chunk in stream)
    assert "stop" in ends
    time.sleep(0.3)
    types = {dict(record.headers)["ce_type"] for record in gateway.sends.records}
    assert types <= {b"clorad.live.v1"}, "an error is not an answer"


def deep(levels: int) -> bytes:
    """The body of a request whose message nests objects."""
    extra = b'{"a":' * levels + b"1" + b"}" * levels
    return b'{"model":"billing","messages":[{"role":"user","content":"hi","x":' + extra + b"}]}"


def fates_since(before: Mapping[Labels, float]) -> dict[str, float]:
    return {dict(labels)["fate"]: count for labels, count in metric_increases(before, FATES).items()}


def test_no_depth_of_a_request_ends_the_gateway(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for levels in (340, 1000, 100_000):
        assert gateway.send("/v1/chat/completions", deep(levels)).status_code == 400
    assert ask_agent(gateway).startswith("v1-")
    wait_until(lambda: len(gateway.sends.records) == 1)
    assert all("x" not in str(body) for fake in two_replicas.replicas for _, body in fake.requests[:-1])


@pytest.mark.parametrize(
    ("body", "fate"),
    [
        (deep(40), "too_deep"),
        (b'{"model":"billing","messages":[{"role":"user","content":"a\\u0000b"}]}', "invalid_json"),
    ],
)
def test_what_intake_would_refuse_is_not_captured_and_counted_by_its_reason(
    gateway: RunningGateway, body: bytes, fate: str
) -> None:
    before = metric_values(FATES)
    assert gateway.send("/v1/chat/completions", body).status_code == 200
    wait_until(lambda: fates_since(before) == {fate: 1})
    ask_agent(gateway)
    wait_until(lambda: fates_since(before) == {fate: 1, "kept": 1})
    assert len(gateway.sends.records) == 1


def test_every_interaction_that_is_not_captured_is_counted_by_what_it_is(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    before, client = metric_values(FATES), gateway.client()
    client.completions.create(model="billing", prompt=[7, 8], max_tokens=2)
    client.completions.create(model="billing", prompt=["one", "two"], max_tokens=2)
    client.completions.create(model="billing", prompt="ask", echo=True)
    client.chat.completions.create(model="billing", messages=ASK, n=17, max_tokens=1)
    call = {"id": "1", "type": "function", "function": {"arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    for fake in two_replicas.replicas:
        fake.faults.raw_answer = json.dumps(
            {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        ).encode()
    client.chat.completions.create(model="billing", messages=ASK)
    for fake in two_replicas.replicas:
        answer = {"index": 0, "message": {"content": "x"}, "finish_reason": "content_filter"}
        fake.faults.raw_answer = json.dumps({"choices": [answer]}).encode()
    client.chat.completions.create(model="billing", messages=ASK)
    expected = {"token_prompt": 1, "several_prompts": 1, "echo": 1, "unreadable_calls": 1, "unfinished": 1}
    expected |= {"kept": 16, "too_many_choices": 1}
    wait_until(lambda: fates_since(before) == expected)


def without_nulls(shown: str) -> str:
    return re.sub(r'"\w+": ?null', "", shown)


@pytest.mark.parametrize("stream", [False, True])
def test_each_choice_is_an_interaction_of_its_own_with_the_same_prompt(
    gateway: RunningGateway, stream: bool
) -> None:
    answer = gateway.client().chat.completions.with_raw_response.create(
        model="billing", messages=ASK, n=3, stream=stream
    )
    shown = answer.http_response.read().decode()
    assert "token_ids" not in without_nulls(shown)
    wait_until(lambda: len(gateway.sends.data("clorad.interactions")) == 3)
    interactions = gateway.sends.data("clorad.interactions")
    name = answer.headers["x-clorad-interaction"]
    names = [dict(record.headers)["ce_id"].decode() for record in gateway.sends.records]
    assert {name, f"{name}.1", f"{name}.2"} <= set(names)
    assert [data["sampling"]["n"] for data in interactions] == [3, 3, 3]
    for data in interactions:
        assert len(data["token_ids"]) == len(data["logprobs"]) > 0
        assert unpack(from_text(data["prompt_token_ids"]))
        assert data["messages"] == ASK


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", ["ask", ["ask"]])
def test_a_text_completion_is_captured_with_its_prompt_and_tokens(
    gateway: RunningGateway, prompt: Any, stream: bool
) -> None:
    body = {"model": "billing", "prompt": prompt, "max_tokens": 40, "stream": stream}
    shown = gateway.send("/v1/completions", body).text
    assert "token_ids" not in without_nulls(shown)
    assert '"token_logprobs"' not in shown
    wait_until(lambda: gateway.sends.records)
    [data] = gateway.sends.data("clorad.interactions")
    assert data["messages"] == [{"role": "user", "content": "ask"}]
    assert data["rendering"] == {"plain_text": True}
    assert data["completion"].startswith("v1-")
    assert len(data["token_ids"]) == len(data["logprobs"]) == len(data["completion"]) + 1
    assert unpack(from_text(data["prompt_token_ids"]))


def test_log_probabilities_of_a_text_completion_reach_the_client_that_asks_for_none_beside_the_sampled(
    gateway: RunningGateway,
) -> None:
    body = {"model": "billing", "prompt": "ask", "logprobs": 0}
    assert '"token_logprobs"' in gateway.send("/v1/completions", body).text


def test_a_share_that_is_not_sampled_is_counted() -> None:
    before = metric_values(FATES)
    recorder = Recorder(RecordedSends(), Redactor(lambda _: "f"), share=0.0, bytes_max=1000)
    assert not recorder.samples_next()
    assert fates_since(before) == {"not_sampled": 1}


def build_capture(text: str, **changed: Any) -> Capture:
    reply = CapturedReply(text="fine", finish_reason="stop")
    known = {"id": "i", "agent": "billing", "version": "v0", "conversation": None, "turn": None}
    messages = [{"role": "user", "content": text}]
    size = len(json.dumps(messages).encode())
    return Capture(
        **{
            **known,
            "messages": messages,
            "messages_bytes_max": size,
            "sampling": {},
            "reply": reply,
            **changed,
        }
    )


def test_captures_are_bounded_in_bytes_until_kafka_has_them() -> None:
    before, sends = metric_values(FATES), HeldSends()
    recorder = Recorder(sends, Redactor(lambda _: "f"), share=1.0, bytes_max=500_000)
    stopping = threading.Event()
    thread = threading.Thread(target=recorder.run, args=(stopping,))
    thread.start()
    for _ in range(100):
        recorder.put(build_capture("x" * 10_000))
    wait_until(lambda: len(sends.held) == 12)
    assert fates_since(before) == {"no_room": 88}
    for future in sends.held:
        future.set_result(Sent(topic="t", partition=0, offset=1))
    recorder.put(build_capture("x" * 10_000))
    wait_until(lambda: len(sends.held) == 13)
    sends.held[-1].set_exception(NotAcknowledged("x"))
    stopping.set()
    thread.join(timeout=10.0)
    assert fates_since(before) == {"no_room": 88, "kept": 12, "not_acknowledged": 1}


@pytest.mark.parametrize("field", ["messages", "tools"])
def test_a_request_that_fits_no_event_is_counted_and_its_tokens_are_not_asked_for(
    gateway: RunningGateway, two_replicas: ServingEnvironment, field: str
) -> None:
    for fake in two_replicas.replicas:
        fake.context_tokens_max = 10**6
    before, long = metric_values(FATES), "x" * 300_000
    body: dict[str, Any] = {"model": "billing", "messages": ASK}
    if field == "tools":
        body["tools"] = [{"type": "function", "function": {"name": "stock", "description": long}}]
    else:
        body["messages"] = [{"role": "user", "content": long}]
    assert gateway.send("/v1/chat/completions", body).status_code == 200
    assert fates_since(before) == {"too_large": 1}
    asked = [body for fake in two_replicas.replicas for path, body in fake.requests if "chat" in path]
    assert not any("return_token_ids" in body for body in asked)


def test_a_request_that_escapes_make_long_is_captured(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.context_tokens_max = 10**6
    words = [{"role": "user", "content": "\u00e4" * 60_000}]
    raw = json.dumps({"model": "billing", "messages": words}).encode()
    assert len(raw) > VALUE_BYTES_MAX
    gateway.send("/v1/chat/completions", raw)
    wait_until(lambda: gateway.sends.data("clorad.interactions"))
    assert gateway.sends.data("clorad.interactions")[0]["messages"] == words


@pytest.mark.parametrize(
    "messages", [[7], [None], [{"role": "user", "content": object()}], {"a": 1}, ["x" * 10], [[[]]]]
)
def test_messages_of_another_form_are_counted_as_invalid(messages: Any) -> None:
    before, sends = metric_values(FATES), RecordedSends()
    recorder = Recorder(sends, Redactor(lambda _: "f"), share=1.0, bytes_max=10**9)
    recorder.put(build_capture("x", messages=messages))
    recorder.put(build_capture("x"))
    stopping = threading.Event()
    stopping.set()
    recorder.run(stopping)
    assert fates_since(before) == {"invalid": 1, "kept": 1}


class FailingOnce(Redactor):
    """The process that redacts ends with the first event."""

    failed = False

    def event_data(self, data: Mapping[str, Any], counts: RedactionCounts) -> dict[str, Any]:
        """The same as `Redactor.event_data`, the second time."""
        if not self.failed:
            self.failed = True
            raise NotRedacted
        return super().event_data(data, counts)


def test_a_capture_that_is_not_redacted_is_counted_and_not_sent() -> None:
    before, sends, stopping = metric_values(FATES), RecordedSends(), threading.Event()
    recorder = Recorder(sends, FailingOnce(lambda _: "f"), share=1.0, bytes_max=10**9)
    for identity in ("i-1", "i-2"):
        recorder.put(build_capture("ask jane@example.com", id=identity))
    stopping.set()
    recorder.run(stopping)
    assert fates_since(before) == {"not_redacted": 1, "kept": 1}
    assert sends.data("clorad.interactions")[0]["messages"] == [{"role": "user", "content": "ask [email]"}]


ODD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(messages=st.lists(ODD_JSON, max_size=4), levels=st.sampled_from([1, 31, 32, 330, 5000]))
@settings(max_examples=60, deadline=None)
def test_no_capture_ends_the_recorder(messages: list[Any], levels: int) -> None:
    deep: Any = "x"
    for _ in range(levels):
        deep = {"a": deep}
    sends, stopping = RecordedSends(), threading.Event()
    recorder = Recorder(sends, Redactor(lambda _: "0"), share=1.0, bytes_max=10**9)
    for content in ([*messages, deep], ASK):
        recorder.put(build_capture("x", id=uuid4().hex, messages=content))
    stopping.set()
    recorder.run(stopping)  # ends because both captures were looked at, not by an exception
    assert sends.data("clorad.interactions")[-1]["messages"] == ASK
    for record in sends.records:
        parse(record.value)  # intake takes every capture that is sent
