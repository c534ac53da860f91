"""Which answers are captured, and with what in them."""

import json
import time

import openai
import pytest

from tests.unit.serving.gateway.gateway_builder import (
    ASK,
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
