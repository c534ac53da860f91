"""The answers that clients get: the official client, over HTTP, in front of fake replicas."""

import json
from typing import Any

import openai
import pytest

from tests.meters import metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import (
    ASK,
    RunningGateway,
    ask_agent,
    build_gateway,
    wait_until,
)
from tests.unit.serving.serving_environment import ServingEnvironment


def test_each_agent_is_answered_by_its_own_version(gateway: RunningGateway) -> None:
    assert ask_agent(gateway).startswith("v1-")
    assert ask_agent(gateway, "sql") == "base"


def test_every_answer_names_its_agent_version_and_interaction(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    raw = gateway.client().chat.completions.with_raw_response.create(model="billing", messages=ASK)
    answer = raw.parse()
    assert raw.headers["x-clorad-agent"] == "billing"
    assert raw.headers["x-clorad-version"] == answer.choices[0].message.content
    assert len(raw.headers["x-clorad-interaction"]) == 32
    assert answer.model == "billing"
    other = gateway.client().chat.completions.with_raw_response.create(model="sql", messages=ASK)
    assert other.headers["x-clorad-version"] == "v0"


def test_an_unknown_agent_gets_the_404_that_clients_expect(gateway: RunningGateway) -> None:
    with pytest.raises(openai.NotFoundError) as refusal:
        ask_agent(gateway, "nobody")
    assert refusal.value.body["code"] == "model_not_found"
    assert refusal.value.response.headers["x-clorad-interaction"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{not json", 400),
        (b"[1]", 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
        (b"{}", 404),
        (b'{"model": 7}', 404),
        (b'{"model": "billing", "messages": [], "stream": "yes"}', 400),
        (b'{"model": "billing", "messages": "ask"}', 400),
        (b'{"model": "billing", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', 400),
        (b" " * (4 * 1024 * 1024 + 1), 413),
    ],
)
def test_a_bad_request_is_refused_in_openais_form(
    gateway: RunningGateway, body: bytes | dict[str, Any], status: int | None
) -> None:
    answer = gateway.send("/v1/chat/completions", body)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-clorad-interaction"]


@pytest.mark.parametrize(
    ("path", "asking", "param"),
    [
        ("/v1/chat/completions", {"prompt_logprobs": 0}, "prompt_logprobs"),
        ("/v1/completions", {"prompt_logprobs": False}, "prompt_logprobs"),
        ("/v1/chat/completions", {"echo": True}, "echo"),
        ("/v1/completions", {"echo": True, "logprobs": 0}, "echo"),
        ("/v1/completions", {"logprob_token_ids": [1]}, "logprob_token_ids"),
    ],
)
def test_a_request_that_would_harm_other_requests_never_reaches_a_replica(
    gateway: RunningGateway, two_replicas: ServingEnvironment, path: str, asking: dict[str, Any], param: str
) -> None:
    answer = gateway.send(path, {"model": "billing", "messages": ASK, "prompt": "ask", **asking})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert all(asked == [] for asked in (fake.requests for fake in two_replicas.replicas))


def test_a_completion_may_repeat_its_prompt(gateway: RunningGateway) -> None:
    asking = {"model": "billing", "prompt": "ask", "echo": True, "prompt_logprobs": None}
    assert gateway.send("/v1/completions", asking).status_code == 200


def test_completions_are_answered(gateway: RunningGateway) -> None:
    raw = gateway.client().completions.with_raw_response.create(model="billing", prompt="ask")
    assert raw.parse().choices[0].text.startswith("v1-")
    assert raw.headers["x-clorad-version"].startswith("v1-")


def test_a_stream_arrives_piece_by_piece(gateway: RunningGateway, two_replicas: ServingEnvironment) -> None:
    for fake in two_replicas.replicas:
        fake.faults.chunk_delay_s = 0.02
    client = gateway.client()
    with client.chat.completions.with_streaming_response.create(
        model="billing", messages=ASK, stream=True
    ) as raw:
        assert raw.headers["x-clorad-version"].startswith("v1-")
        chunks = list(raw.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("v1-")
    assert len(chunks) > 5
    assert {chunk.model for chunk in chunks} == {"billing"}


def test_a_completion_can_be_streamed(gateway: RunningGateway) -> None:
    chunks = list(gateway.client().completions.create(model="billing", prompt="ask", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks).startswith("v1-")


def test_clients_see_token_ids_and_logprobs_only_when_they_asked(gateway: RunningGateway) -> None:
    plain = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK}).json()
    assert plain["choices"][0]["logprobs"] is None
    assert plain["choices"][0]["token_ids"] is None
    assert plain["prompt_token_ids"] is None
    asking = {"model": "billing", "messages": ASK, "logprobs": True, "return_token_ids": True}
    full = gateway.send("/v1/chat/completions", asking).json()
    assert full["choices"][0]["logprobs"]["content"]
    assert full["choices"][0]["token_ids"]
    assert full["prompt_token_ids"]
    half = gateway.send("/v1/chat/completions", {**asking, "return_token_ids": False}).json()
    assert half["choices"][0]["logprobs"]["content"]
    assert half["choices"][0]["token_ids"] is None


def test_a_stream_has_no_field_that_the_client_did_not_ask_for(gateway: RunningGateway) -> None:
    raw = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK, "stream": True}).text
    assert 'token_ids": [' not in raw.replace('":[', '": [')
    assert '"logprob"' not in raw
    assert raw.endswith("data: [DONE]\n\n")


def test_an_answer_that_takes_too_long_is_a_504(two_replicas: ServingEnvironment) -> None:
    for fake in two_replicas.replicas:
        fake.faults.answer_delay_s = 2.0
    with build_gateway(two_replicas.database, request_s_max=0.5) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        assert gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK}).status_code == 504


def test_requests_are_counted_by_status(gateway: RunningGateway) -> None:
    before = metric_values("clorad.gateway.requests")
    ask_agent(gateway)
    ask_agent(gateway, "sql")
    list(gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True))
    with pytest.raises(openai.NotFoundError):
        ask_agent(gateway, "nobody")
    wait_until(
        lambda: (
            metric_increases(before, "clorad.gateway.requests")
            == {(("status", 200),): 3, (("status", 404),): 1}
        )
    )


@pytest.mark.parametrize("levels", [65, 340, 5_000, 50_000])
def test_a_body_that_nests_too_deep_is_refused_and_the_gateway_goes_on(
    gateway: RunningGateway, levels: int
) -> None:
    deep = '{"a":' * levels + "1" + "}" * levels
    body = '{"model":"billing","messages":[{"role":"user","content":"hi","x":' + deep + "}]}"
    answer = gateway.send("/v1/chat/completions", body.encode())
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "too_deep"
    assert gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK}).status_code == 200


def test_a_body_of_a_million_values_is_refused_before_it_is_decoded(gateway: RunningGateway) -> None:
    body = b'{"model":"nope","x":[' + b"[]," * 1_000_000 + b"[]]}"
    answer = gateway.send("/v1/chat/completions", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "too_many_values"


def test_a_byte_order_mark_before_the_body_is_no_part_of_it(gateway: RunningGateway) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"model": "billing", "messages": ASK}).encode()
    assert gateway.send("/v1/chat/completions", body).status_code == 200


@pytest.mark.parametrize("name", ["stream", "stream_options", "stop", "n", "max_tokens", "tools", "logprobs"])
def test_null_means_unset(gateway: RunningGateway, name: str) -> None:
    body = {"model": "billing", "messages": ASK, name: None}
    assert gateway.send("/v1/chat/completions", body).status_code == 200
