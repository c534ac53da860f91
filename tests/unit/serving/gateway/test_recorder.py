"""Which answers are captured, and with what in them."""

import json
import threading
import time
from typing import Any
from uuid import uuid4

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.envelope import parse
from feedback.redaction import Redactor
from serving.gateway.openai_form import CapturedReply
from serving.gateway.recorder import Capture, Recorder
from tests.unit.serving.gateway.gateway_builder import (
    ASK,
    RecordedSends,
    RunningGateway,
    ask_agent,
    build_error_event,
    wait_until,
)
from tests.unit.serving.scene import Scene


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
    assert data["finish_reason"] == "stop"


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
def test_traffic_marked_as_off_is_not_captured(gateway: RunningGateway, world: Scene, capture: str) -> None:
    client = gateway.client(default_headers={"x-clorad-capture": capture})
    client.chat.completions.create(model="billing", messages=ASK)
    ask_agent(gateway, "sql")
    time.sleep(0.5)
    assert gateway.sends.records == []
    bodies = [body for fake in world.replicas for path, body in fake.asked if "chat" in path]
    assert not any("return_token_ids" in body for body in bodies)


def test_a_secret_is_removed_from_a_capture_together_with_the_tokens(gateway: RunningGateway) -> None:
    secret = [{"role": "user", "content": "my card is 4111 1111 1111 1111, thanks"}]
    gateway.client().chat.completions.create(model="billing", messages=secret)
    wait_until(lambda: gateway.sends.records)
    [data] = gateway.sends.data("clorad.interactions")
    assert "4111" not in json.dumps(data)
    assert "token_ids" not in data
    assert "logprobs" not in data


def test_an_interaction_too_large_for_an_event_is_answered_and_not_captured(
    gateway: RunningGateway, world: Scene
) -> None:
    for fake in world.replicas:
        fake.context_tokens_max = 10**6
    long = [{"role": "user", "content": "x" * 300_000}]
    assert gateway.send("/v1/chat/completions", {"model": "billing", "messages": long}).status_code == 200
    ask_agent(gateway)
    wait_until(lambda: gateway.sends.records)
    assert [data["messages"] for data in gateway.sends.data("clorad.interactions")] == [ASK]


def test_an_unreachable_kafka_costs_captures_and_no_answer(gateway: RunningGateway) -> None:
    gateway.sends.trouble = "full"
    assert all(ask_agent(gateway).startswith("v1-") for _ in range(5))


def test_an_answer_that_ends_in_an_error_is_not_captured(gateway: RunningGateway, world: Scene) -> None:
    for fake in world.replicas:
        fake.trouble.says, fake.trouble.says_at = (
            build_error_event(500),
            len(fake.brain(*fake.adapters.values(), None)) + 2,
        )
    stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    ends = []
    with pytest.raises(openai.APIError, match="broke off"):
        ends.extend(chunk.choices[0].finish_reason for chunk in stream)
    assert "stop" in ends
    time.sleep(0.3)
    assert gateway.sends.records == [], "who tells of an error has not answered"


DEEP = '{"a":' * 40 + "1" + "}" * 40
MESSAGES_THAT_INTAKE_REFUSES = {
    "too_deep": f'[{{"role":"user","content":"hi","x":{DEEP}}}]',
    "invalid_json": '[{"role":"user","content":"a\\u0000b"}]',
}


@pytest.mark.parametrize("messages", MESSAGES_THAT_INTAKE_REFUSES.values(), ids=MESSAGES_THAT_INTAKE_REFUSES)
def test_a_capture_that_intake_would_refuse_is_not_sent_and_the_next_one_is(
    gateway: RunningGateway, messages: str
) -> None:
    body = f'{{"model":"billing","messages":{messages}}}'
    assert gateway.send("/v1/chat/completions", body.encode()).status_code == 200
    ask_agent(gateway)
    wait_until(lambda: gateway.sends.records)
    assert [data["messages"] for data in gateway.sends.data("clorad.interactions")] == [ASK]


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
    recorder = Recorder(sends, Redactor(lambda _: "0"), share=1.0)
    for content in ([*messages, deep], ASK):
        reply = CapturedReply(text="yes", finish_reason="stop")
        recorder.put(
            Capture(
                id=uuid4().hex,
                agent="billing",
                version="v0",
                conversation=None,
                turn=None,
                messages=content,
                sampling={},
                reply=reply,
            )
        )
    stopping.set()
    recorder.run(stopping)  # ends because both captures were looked at, not by an exception
    assert sends.data("clorad.interactions")[-1]["messages"] == ASK
    for record in sends.records:
        parse(record.value)  # intake takes every capture that is sent
