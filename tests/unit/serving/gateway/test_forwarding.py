"""Replicas fail in every way while requests are forwarded."""

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
from tests.unit.serving.gateway.gateway_builder import (
    ASK,
    RunningGateway,
    ask_agent,
    build_error_event,
    build_gateway,
    name_of,
    report_replicas,
    text_of,
    wait_until,
)
from tests.unit.serving.scene import Scene


def test_no_request_fails_when_one_of_two_replicas_dies(gateway: RunningGateway, world: Scene) -> None:
    client, stop, spoken = gateway.client(), threading.Event(), []
    for fake in world.replicas:
        fake.trouble.answer_delay_s = 0.03

    def chat() -> None:
        while not stop.is_set():
            spoken.append(text_of(client.chat.completions.create(model="billing", messages=ASK)))

    with ThreadPoolExecutor(8) as pool:
        chatting = [pool.submit(chat) for _ in range(8)]
        time.sleep(0.3)
        world.replicas[0].die()
        time.sleep(0.7)
        world.replicas[0].start()  # empty: it answers 404 for what it does not have
        time.sleep(0.7)
        stop.set()
    assert [chat.exception() for chat in chatting] == [None] * 8
    assert len(spoken) > 50


def test_a_replica_that_restarted_without_adapters_is_skipped(gateway: RunningGateway, world: Scene) -> None:
    for fake in world.replicas[:1]:
        fake.die()
        fake.start()
    assert {ask_agent(gateway) for _ in range(6)} == {name_of(*world.replicas[1].adapters.values(), None)}


def test_a_request_waits_while_the_only_replica_restarts(scene: Scene) -> None:
    scene.agent("sql")
    fake = scene.replica(brain=name_of)
    report_replicas(scene)
    with build_gateway(scene.database) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        fake.die()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask_agent, gateway, "sql")
            time.sleep(0.5)
            fake.start()
            assert waiting.result(timeout=10) == "base"


def test_a_failed_request_is_sent_to_another_replica(gateway: RunningGateway, world: Scene) -> None:
    for fake in world.replicas:
        fake.trouble.failures_left = 1
    assert ask_agent(gateway).startswith("v1-")


def test_a_request_that_every_replica_fails_on_is_a_502(gateway: RunningGateway, world: Scene) -> None:
    for fake in world.replicas:
        fake.trouble.failures_left = 10
    with pytest.raises(openai.InternalServerError) as failure:
        ask_agent(gateway)
    assert failure.value.status_code == 502
    assert sum(len(fake.asked) for fake in world.replicas) == 3


def test_a_connection_that_breaks_before_the_first_byte_moves_to_another_replica(
    gateway: RunningGateway, world: Scene
) -> None:
    world.replicas[0].trouble.hang_up_before_answer = True
    assert {ask_agent(gateway) for _ in range(6)} == {ask_agent(gateway)}
    stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream).startswith("v1-")


def test_a_stream_that_breaks_after_the_first_byte_is_not_repeated(
    gateway: RunningGateway, world: Scene
) -> None:
    for fake in world.replicas:
        fake.trouble.hang_up_after_chunks = 4
    pieces = []

    def listen() -> None:
        for chunk in gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True):
            pieces.append(chunk.choices[0].delta.content or "")

    with pytest.raises(openai.APIError, match="broke off"):
        listen()
    assert "".join(pieces) == world.replicas[0].brain(*world.replicas[0].adapters.values(), None)[:3]
    assert sum(len(fake.asked) for fake in world.replicas) == 1
    time.sleep(0.3)
    assert gateway.sends.records == [], "half an answer is not an interaction"


@pytest.fixture
def in_turn(gateway: RunningGateway, world: Scene, monkeypatch: pytest.MonkeyPatch) -> list[FakeVLLM]:
    """The replicas in the order in which an idle gateway asks them; who failed is asked last from then on."""
    monkeypatch.setattr(forwarding, "AVOIDED_S", 60.0)
    urls = [one["url"] for one in gateway.get("/routing").json()["replicas"]]
    return sorted(world.replicas, key=lambda fake: urls.index(fake.url))


@pytest.mark.parametrize("words", [b"<html>", b'{"choices": [7]}'])
def test_an_unreadable_answer_moves_to_another_replica_and_then_is_a_502(
    gateway: RunningGateway, in_turn: list[FakeVLLM], words: bytes
) -> None:
    first, second = in_turn
    first.trouble.says = words
    assert {ask_agent(gateway).partition("-")[0] for _ in range(4)} == {"v1"}
    assert len(first.asked) == 1, "then it is asked last"
    second.trouble.says = words
    with pytest.raises(openai.InternalServerError) as failure:
        ask_agent(gateway)
    assert (failure.value.status_code, failure.value.body["type"]) == (502, "api_error")
    assert len(first.asked) + len(second.asked) == 1 + 4 + forwarding.FAILURES_MAX


@pytest.mark.parametrize("words", [b"<html>", b'{"choices": [7]}'])
def test_an_unreadable_stream_moves_to_another_replica_or_breaks_off(
    gateway: RunningGateway, in_turn: list[FakeVLLM], words: bytes
) -> None:
    first, second = in_turn

    def listened() -> str:
        stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    first.trouble.says, first.trouble.says_at = words, 3
    with pytest.raises(openai.APIError, match="broke off"):
        listened()
    assert {listened().partition("-")[0] for _ in range(4)} == {"v1"}
    assert len(first.asked) == 1, "then it is asked last"
    first.trouble.says, second.trouble.says = None, words
    assert listened().startswith("v1-"), "nothing of the first answer had been shown yet"
    assert (len(first.asked), len(second.asked)) == (2, 5)


def test_an_error_event_in_a_stream_counts_as_its_status(
    gateway: RunningGateway, in_turn: list[FakeVLLM]
) -> None:
    first, second = in_turn

    def listened() -> str:
        stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    first.trouble.says = build_error_event(500)
    assert listened().startswith("v1-"), "nothing had been shown yet: tried elsewhere"
    first.trouble.says = build_error_event(422)
    with pytest.raises(openai.UnprocessableEntityError):
        listened()
    kept = len(gateway.sends.data("clorad.interactions"))
    for status, asked_last in ((422, False), (503, True)):
        first.trouble.says, first.trouble.says_at = build_error_event(status), 3
        with pytest.raises(openai.APIError, match="broke off"):
            listened()
        asked = len(second.asked)
        first.trouble.says = None
        assert listened().startswith("v1-")
        assert (len(second.asked) > asked) is asked_last
    wait_until(lambda: len(gateway.sends.data("clorad.interactions")) == kept + 2)


def test_a_refusal_that_is_not_json_is_a_502(gateway: RunningGateway, world: Scene) -> None:
    for fake in world.replicas:
        fake.trouble.refuses = b"<html>413"
    answer = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")


def test_without_a_replica_the_503_says_when_to_retry(world: Scene) -> None:
    report_replicas(world, out=frozenset(fake.url for fake in world.replicas))
    with build_gateway(world.database, wait_s_max=0.3) as gateway:
        wait_until(lambda: gateway.get("/routing").json()["generation"])
        assert gateway.get("/readyz").status_code == 503
        answer = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_requests_are_spread_over_the_replicas(gateway: RunningGateway, world: Scene) -> None:
    for fake in world.replicas:
        fake.trouble.answer_delay_s = 0.1
    client = gateway.client()

    def ask(_: int) -> None:
        client.chat.completions.create(model="billing", messages=ASK)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(32)))
    counts = [len([path for path, _ in fake.asked if "chat" in path]) for fake in world.replicas]
    assert min(counts) >= 12


def test_a_request_that_breaks_connections_is_not_given_to_replica_after_replica(
    gateway: RunningGateway, world: Scene
) -> None:
    for fake in world.replicas:
        fake.trouble.hang_up_before_answer = True
    with pytest.raises(openai.InternalServerError) as failure:
        ask_agent(gateway)
    assert failure.value.status_code == 502
    assert sum(len(fake.asked) for fake in world.replicas) <= 3


def test_words_after_a_comment_of_a_router_are_not_lost(gateway: RunningGateway, world: Scene) -> None:
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "not "}}]}
    event = json.dumps(chunk).encode()
    for fake in world.replicas:
        fake.trouble.says = event + b"\n\n: ping\ndata:" + event
        fake.trouble.says_at = 1
    stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert "not not " in text


class TestReplicasBehindAKey:
    KEY = "s3cret-of-the-fleet"

    @contextmanager
    def gateway(self, world: Scene, keys: tuple[str | None, ...]) -> Iterator[RunningGateway]:
        """A gateway with these keys, one for each replica."""
        given = {fake.url: key for fake, key in zip(world.replicas, keys, strict=True) if key is not None}
        with build_gateway(world.database, api_keys=given) as running:
            wait_until(lambda: running.get("/readyz").status_code == 200)
            yield running

    def test_each_gets_its_own_key_and_never_the_clients(self, world: Scene) -> None:
        keys = ("of-the-first", "of-the-second")
        for fake, key in zip(world.replicas, keys, strict=True):
            fake.api_key = key
            fake.trouble.answer_delay_s = 0.05
        with self.gateway(world, keys) as gateway, ThreadPoolExecutor(8) as pool:
            assert {answer[:3] for answer in pool.map(lambda _: ask_agent(gateway), range(16))} == {"v1-"}
        for fake, key in zip(world.replicas, keys, strict=True):
            assert set(fake.authorizations) == {f"Bearer {key}"}

    def test_a_replica_without_a_key_gets_no_authorization_at_all(
        self, gateway: RunningGateway, world: Scene
    ) -> None:
        ask_agent(gateway)
        assert [given for fake in world.replicas for given in fake.authorizations] == [None]

    def test_a_replica_that_refuses_our_key_is_left_for_another(self, world: Scene) -> None:
        world.replicas[0].api_key = self.KEY
        with self.gateway(world, ("wrong", None)) as gateway:
            assert [ask_agent(gateway)[:3] for _ in range(4)] == ["v1-"] * 4

    @pytest.mark.parametrize("streams", [False, True])
    def test_a_client_never_reads_that_our_key_was_refused(self, world: Scene, streams: bool) -> None:
        for fake in world.replicas:
            fake.api_key = self.KEY
        with self.gateway(world, ("wrong", None)) as gateway:
            body = {"model": "billing", "messages": ASK, "stream": streams}
            refused = gateway.send("/v1/chat/completions", body)
            assert refused.status_code == 502
            assert "nauthorized" not in refused.text
            assert self.KEY not in refused.text

    def test_a_redirect_is_not_followed(self, world: Scene) -> None:
        """Another server would get the replica's key, and what the user wrote."""
        first, other = world.replicas
        first.trouble.redirects_to = other.url
        report_replicas(world, out=frozenset({other.url}))
        with self.gateway(world, (self.KEY, None)) as gateway:
            answer = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
        assert answer.status_code == 502
        assert other.authorizations == []
