"""Replicas fail in every way while requests are forwarded."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openai
import pytest

from serving.gateway import forwarding
from tests.fakes.vllm import FakeVLLM
from tests.meters import metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import (
    ASK,
    RunningGateway,
    ask_agent,
    build_error_event,
    build_gateway,
    build_limits,
    name_of,
    report_replicas,
    text_of,
    wait_until,
)
from tests.unit.serving.serving_environment import ServingEnvironment


def test_no_request_fails_when_one_of_two_replicas_dies(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    client, stop, answers = gateway.client(), threading.Event(), []
    for fake in two_replicas.replicas:
        fake.faults.answer_delay_s = 0.03

    def chat() -> None:
        while not stop.is_set():
            answers.append(text_of(client.chat.completions.create(model="billing", messages=ASK)))

    with ThreadPoolExecutor(8) as pool:
        chatting = [pool.submit(chat) for _ in range(8)]
        time.sleep(0.3)
        two_replicas.replicas[0].kill()
        time.sleep(0.7)
        two_replicas.replicas[0].start()  # empty: it answers 404 for what it does not have
        time.sleep(0.7)
        stop.set()
    assert [chat.exception() for chat in chatting] == [None] * 8
    assert len(answers) > 50


def test_a_replica_that_restarted_without_adapters_is_skipped(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas[:1]:
        fake.kill()
        fake.start()
    assert {ask_agent(gateway) for _ in range(6)} == {
        name_of(*two_replicas.replicas[1].adapters.values(), None)
    }


def test_a_request_waits_while_the_only_replica_restarts(environment: ServingEnvironment) -> None:
    environment.agent("sql")
    fake = environment.replica(reply_function=name_of)
    report_replicas(environment)
    with build_gateway(environment.database) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        fake.kill()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask_agent, gateway, "sql")
            time.sleep(0.5)
            fake.start()
            assert waiting.result(timeout=10) == "base"


def test_a_failed_request_is_sent_to_another_replica(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.failures_left = 1
    assert ask_agent(gateway).startswith("v1-")


def test_a_request_that_every_replica_fails_on_is_a_502(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.failures_left = 10
    with pytest.raises(openai.InternalServerError) as failure:
        ask_agent(gateway)
    assert failure.value.status_code == 502
    assert sum(len(fake.requests) for fake in two_replicas.replicas) == 3


def test_a_connection_that_breaks_before_the_first_byte_moves_to_another_replica(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    two_replicas.replicas[0].faults.hang_up_before_answer = True
    assert {ask_agent(gateway) for _ in range(6)} == {ask_agent(gateway)}
    stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream).startswith("v1-")


def test_a_stream_that_breaks_after_the_first_byte_is_not_repeated(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.hang_up_after_chunks = 4
    pieces = []

    def listen() -> None:
        for chunk in gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True):
            pieces.append(chunk.choices[0].delta.content or "")

    with pytest.raises(openai.APIError, match="broke off"):
        listen()
    assert (
        "".join(pieces)
        == two_replicas.replicas[0].reply_function(*two_replicas.replicas[0].adapters.values(), None)[:3]
    )
    assert sum(len(fake.requests) for fake in two_replicas.replicas) == 1
    time.sleep(0.3)
    assert gateway.sends.records == [], "half an answer is not an interaction"


@pytest.fixture
def replicas_in_order(
    gateway: RunningGateway, two_replicas: ServingEnvironment, monkeypatch: pytest.MonkeyPatch
) -> list[FakeVLLM]:
    """The replicas in the order in which an idle gateway asks them; a failed one is asked last afterwards."""
    monkeypatch.setattr(forwarding, "AVOIDED_S", 60.0)
    urls = [replica["url"] for replica in gateway.get("/routing").json()["replicas"]]
    return sorted(two_replicas.replicas, key=lambda fake: urls.index(fake.url))


@pytest.mark.parametrize("raw", [b"<html>", b'{"choices": [7]}'])
def test_an_unreadable_answer_moves_to_another_replica_and_then_is_a_502(
    gateway: RunningGateway, replicas_in_order: list[FakeVLLM], raw: bytes
) -> None:
    first, second = replicas_in_order
    first.faults.raw_answer = raw
    assert {ask_agent(gateway).partition("-")[0] for _ in range(4)} == {"v1"}
    assert len(first.requests) == 1, "then it is asked last"
    second.faults.raw_answer = raw
    with pytest.raises(openai.InternalServerError) as failure:
        ask_agent(gateway)
    assert (failure.value.status_code, failure.value.body["type"]) == (502, "api_error")
    assert len(first.requests) + len(second.requests) == 1 + 4 + forwarding.FAILURES_MAX


@pytest.mark.parametrize("raw", [b"<html>", b'{"choices": [7]}'])
def test_an_unreadable_stream_moves_to_another_replica_or_breaks_off(
    gateway: RunningGateway, replicas_in_order: list[FakeVLLM], raw: bytes
) -> None:
    first, second = replicas_in_order

    def streamed_text() -> str:
        stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    first.faults.raw_answer, first.faults.raw_event_at = raw, 3
    with pytest.raises(openai.APIError, match="broke off"):
        streamed_text()
    assert {streamed_text().partition("-")[0] for _ in range(4)} == {"v1"}
    assert len(first.requests) == 1, "then it is asked last"
    first.faults.raw_answer, second.faults.raw_answer = None, raw
    assert streamed_text().startswith("v1-"), "nothing of the first answer had been shown yet"
    assert (len(first.requests), len(second.requests)) == (2, 5)


def test_an_error_event_in_a_stream_counts_as_its_status(
    gateway: RunningGateway, replicas_in_order: list[FakeVLLM]
) -> None:
    first, second = replicas_in_order

    def streamed_text() -> str:
        stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    first.faults.raw_answer = build_error_event(500)
    assert streamed_text().startswith("v1-"), "nothing had been shown yet: tried elsewhere"
    first.faults.raw_answer = build_error_event(422)
    with pytest.raises(openai.UnprocessableEntityError):
        streamed_text()
    captured = len(gateway.sends.data("clorad.interactions"))
    for status, asked_last in ((422, False), (503, True)):
        first.faults.raw_answer, first.faults.raw_event_at = build_error_event(status), 3
        with pytest.raises(openai.APIError, match="broke off"):
            streamed_text()
        requests_before = len(second.requests)
        first.faults.raw_answer = None
        assert streamed_text().startswith("v1-")
        assert (len(second.requests) > requests_before) is asked_last
    wait_until(lambda: len(gateway.sends.data("clorad.interactions")) == captured + 2)


def test_a_refusal_that_is_not_json_is_a_502(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.raw_refusal = b"<html>413"
    answer = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")


def test_without_a_replica_the_503_says_when_to_retry(two_replicas: ServingEnvironment) -> None:
    report_replicas(two_replicas, out=frozenset(fake.url for fake in two_replicas.replicas))
    with build_gateway(two_replicas.database, wait_s_max=0.3) as gateway:
        wait_until(lambda: gateway.document("/routing").get("generation"))
        assert gateway.get("/readyz").status_code == 503
        answer = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_requests_are_spread_over_the_replicas(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.answer_delay_s = 0.1
    client = gateway.client()

    def ask(_: int) -> None:
        client.chat.completions.create(model="billing", messages=ASK)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(32)))
    counts = [len([path for path, _ in fake.requests if "chat" in path]) for fake in two_replicas.replicas]
    assert min(counts) >= 12


def test_a_request_that_breaks_connections_is_not_given_to_replica_after_replica(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.hang_up_before_answer = True
    with pytest.raises(openai.InternalServerError) as failure:
        ask_agent(gateway)
    assert failure.value.status_code == 502
    assert sum(len(fake.requests) for fake in two_replicas.replicas) <= 3


def test_words_after_a_comment_of_a_router_are_not_lost(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "not "}}]}
    event = json.dumps(chunk).encode()
    for fake in two_replicas.replicas:
        fake.faults.raw_answer = event + b"\n\n: ping\ndata:" + event
        fake.faults.raw_event_at = 1
    stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert "not not " in text


class TestReplicasBehindAKey:
    KEY = "s3cret-of-the-fleet"

    @contextmanager
    def gateway(
        self, two_replicas: ServingEnvironment, keys: tuple[str | None, ...]
    ) -> Iterator[RunningGateway]:
        """A gateway with these keys, one for each replica."""
        given = {
            fake.url: key for fake, key in zip(two_replicas.replicas, keys, strict=True) if key is not None
        }
        with build_gateway(two_replicas.database, api_keys=given) as running:
            wait_until(lambda: running.get("/readyz").status_code == 200)
            yield running

    def test_each_gets_its_own_key_and_never_the_clients(self, two_replicas: ServingEnvironment) -> None:
        keys = ("of-the-first", "of-the-second")
        for fake, key in zip(two_replicas.replicas, keys, strict=True):
            fake.api_key = key
            fake.faults.answer_delay_s = 0.05
        with self.gateway(two_replicas, keys) as gateway, ThreadPoolExecutor(8) as pool:
            assert {answer[:3] for answer in pool.map(lambda _: ask_agent(gateway), range(16))} == {"v1-"}
        for fake, key in zip(two_replicas.replicas, keys, strict=True):
            assert set(fake.authorizations) == {f"Bearer {key}"}

    def test_a_replica_without_a_key_gets_no_authorization_at_all(
        self, gateway: RunningGateway, two_replicas: ServingEnvironment
    ) -> None:
        ask_agent(gateway)
        assert [given for fake in two_replicas.replicas for given in fake.authorizations] == [None]

    def test_a_replica_that_refuses_our_key_is_left_for_another(
        self, two_replicas: ServingEnvironment
    ) -> None:
        two_replicas.replicas[0].api_key = self.KEY
        with self.gateway(two_replicas, ("wrong", None)) as gateway:
            assert [ask_agent(gateway)[:3] for _ in range(4)] == ["v1-"] * 4

    @pytest.mark.parametrize("streams", [False, True])
    def test_a_client_never_reads_that_our_key_was_refused(
        self, two_replicas: ServingEnvironment, streams: bool
    ) -> None:
        for fake in two_replicas.replicas:
            fake.api_key = self.KEY
        with self.gateway(two_replicas, ("wrong", None)) as gateway:
            body = {"model": "billing", "messages": ASK, "stream": streams}
            refused = gateway.send("/v1/chat/completions", body)
            assert refused.status_code == 502
            assert "nauthorized" not in refused.text
            assert self.KEY not in refused.text

    def test_a_redirect_is_not_followed(self, two_replicas: ServingEnvironment) -> None:
        """Another server would get the replica's key, and what the user wrote."""
        first, other = two_replicas.replicas
        first.faults.redirects_to = other.url
        report_replicas(two_replicas, out=frozenset({other.url}))
        with self.gateway(two_replicas, (self.KEY, None)) as gateway:
            answer = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
        assert answer.status_code == 502
        assert other.authorizations == []


def test_a_packed_answer_is_not_unpacked(gateway: RunningGateway, two_replicas: ServingEnvironment) -> None:
    bomb = gzip.compress(bytes(100 * 2**20), compresslevel=1)
    for fake in two_replicas.replicas:
        fake.faults.raw_answer, fake.faults.raw_encoding = bomb, "gzip"
    assert gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK}).status_code == 502


class TestAnswersThatAreTooLarge:
    """The request gets an error; its replica and all other requests go on."""

    @pytest.fixture
    def bounded(self, two_replicas: ServingEnvironment) -> Iterator[RunningGateway]:
        limits = build_limits(answer_bytes_max=1 << 20)
        with build_gateway(two_replicas.database, limits=limits) as gateway:
            yield gateway

    def test_a_whole_one_is_a_502_and_is_not_asked_for_again(
        self, bounded: RunningGateway, two_replicas: ServingEnvironment
    ) -> None:
        before = metric_values("clorad.gateway.answers.too_large")
        for fake in two_replicas.replicas:
            fake.faults.raw_answer = b'{"choices": [], "x": "' + b"x" * (2 << 20) + b'"}'
        answer = bounded.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
        assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")
        assert sum("chat" in path for fake in two_replicas.replicas for path, _ in fake.requests) == 1
        assert metric_increases(before, "clorad.gateway.answers.too_large") == {(): 1}
        for fake in two_replicas.replicas:
            fake.faults.raw_answer = None
        versions = {ask_agent(bounded) for _ in range(8)}
        assert len(versions) == 1

    def test_those_that_do_not_fit_beside_others_are_a_503(self, two_replicas: ServingEnvironment) -> None:
        limits = build_limits(answers_bytes_max=1 << 20)
        with build_gateway(two_replicas.database, limits=limits) as gateway:
            for size, status in ((900_000, 200), (900_000, 200), (2 << 20, 503), (900_000, 200)):
                for fake in two_replicas.replicas:
                    text = {"role": "assistant", "content": "x" * size}
                    whole = {"choices": [{"index": 0, "message": text, "finish_reason": "stop"}]}
                    fake.faults.raw_answer = json.dumps(whole).encode()
                answer = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
                assert answer.status_code == status
                assert ("retry-after" in answer.headers) == (status == 503)
        asked = sum("chat" in path for fake in two_replicas.replicas for path, _ in fake.requests)
        assert asked == 4, "no other replica would answer with less"

    @pytest.mark.parametrize("separator", [b"", b"\n\ndata:"])
    def test_a_stream_breaks_off(
        self, bounded: RunningGateway, two_replicas: ServingEnvironment, separator: bytes
    ) -> None:
        event = b'{"object": "chat.completion.chunk", "choices": [], "x": "' + b"x" * 1000 + b'"}'
        for fake in two_replicas.replicas:
            fake.faults.raw_answer = separator.join([event] * 2000)
            fake.faults.raw_event_at = 1
        body = {"model": "billing", "messages": ASK, "stream": True}
        answer = bounded.send("/v1/chat/completions", body)
        assert answer.status_code == 200
        assert '"broken_stream"' in answer.text
        assert len(answer.content) < 2 << 20
