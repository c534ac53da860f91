"""`Feedback` and `AsyncFeedback`: six verbs, the same events, and every try under one id."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedback.client import AsyncFeedback, Feedback, FeedbackRefused, FeedbackUnconfirmed
from feedback.sending.event import SentFeedback
from feedback.signing import Algorithm, SigningKey
from feedback.wire import TYPES
from ledger.access.keys import create_key
from ledger.access.rights import Grant
from tests.unit.feedback.sending.answering_server import (
    ACCEPTED,
    Answer,
    AnsweringServer,
    build_answering_server,
)
from tests.unit.serving.gateway.gateway_builder import RunningGateway, build_gateway, wait_until
from tests.unit.serving.serving_environment import build_environment

BUSY = Answer(503, b"", {"retry-after": "0"})
ASK = [{"role": "user", "content": "close ticket 7"}]
TURNS = [{"role": "assistant", "content": "I close it."}]


@pytest.fixture(scope="module")
def server() -> Iterator[AnsweringServer]:
    with build_answering_server() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with build_environment(tmp_path_factory.mktemp("client")) as environment:
        environment.agent("billing")
        with build_gateway(environment.database) as running:
            wait_until(lambda: running.document("/routing").get("agents"))
            yield running


@pytest.fixture(autouse=True)
def _fresh(server: AnsweringServer) -> None:
    server.answers, server.asked = [ACCEPTED], []


@pytest.fixture
def client(server: AnsweringServer) -> Iterator[Feedback]:
    with Feedback(server.url, agent="billing", author="ann", source="ide") as client:
        yield client


def events_of(server: AnsweringServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.asked]


def say_all(client: Any) -> list[Any]:
    """Every verb once."""
    return [
        client.correct("yes", rejected="no", messages=tuple(ASK), comment="ask first", event_id="e-1"),
        client.approve(interaction="i-1", reason="short"),
        client.reject(interaction="i-1"),
        client.take_over(TURNS, interaction="i-1", reason="refund"),
        client.outcome(1, scope="all", interaction="i-1", task="t"),
        client.retract("ide#e-1", author="bob"),
    ]


def test_every_verb_is_an_event_that_the_wire_takes(server: AnsweringServer, client: Feedback) -> None:
    say_all(client)
    events = events_of(server)
    for event in events:
        TYPES[event["type"]].model_validate(event["data"])
    assert [event["data"].get("action") for event in events] == [
        *(None, "approve", "reject", "takeover"),
        *(None, None),
    ]
    assert events[0]["data"] == {
        "agent": "billing",
        "author": "ann",
        "messages": ASK,
        "rejected": "no",
        "corrected": "yes",
        "comment": "ask first",
    }
    assert (events[0]["id"], events[0]["source"]) == ("e-1", "ide")
    assert events[5]["data"] == {
        "agent": "billing",
        "author": "bob",
        "target": {"source": "ide", "id": "e-1"},
    }


def test_an_event_loop_sends_the_same_events(server: AnsweringServer, client: Feedback) -> None:
    say_all(client)
    expected = events_of(server)
    server.asked.clear()

    async def say() -> list[SentFeedback]:
        async with AsyncFeedback(server.url, agent="billing", author="ann", source="ide") as loop_client:
            return [await sending for sending in say_all(loop_client)]

    assert len(asyncio.run(say())) == 6
    named = ("type", "source", "data")
    assert [[event[name] for name in named] for event in events_of(server)] == [
        [event[name] for name in named] for event in expected
    ]


def test_every_try_has_the_same_bytes(server: AnsweringServer, client: Feedback) -> None:
    server.answers = [BUSY, None, Answer(429), ACCEPTED]
    client.approve(interaction="i-1")
    assert len(server.asked) == 4
    assert len({request.body for request in server.asked}) == 1


def test_an_event_loop_tries_again_too(server: AnsweringServer) -> None:
    server.answers = [BUSY, None, ACCEPTED]

    async def say() -> SentFeedback:
        async with AsyncFeedback(server.url, agent="billing", author="ann") as client:
            return await client.approve(interaction="i-1")

    assert asyncio.run(say()).offset == 7
    assert len({request.body for request in server.asked}) == 1


def test_a_refusal_is_not_tried_again(server: AnsweringServer, client: Feedback) -> None:
    server.answers = [Answer(404, b'{"error":{"message":"agent: not declared"}}')]
    with pytest.raises(FeedbackRefused, match=r"agent: not declared \(status 404\)"):
        client.approve(interaction="i-1")
    assert len(server.asked) == 1


def test_what_was_not_confirmed_can_be_sent_again_under_its_id(server: AnsweringServer) -> None:
    server.answers = [BUSY]
    with Feedback(server.url, agent="billing", author="ann", tries_max=2) as client:
        with pytest.raises(FeedbackUnconfirmed, match="status 503") as fault:
            client.approve(interaction="i-1")
        assert len(server.asked) == 2
        server.answers = [ACCEPTED]
        client.send(fault.value.event)
    assert len({request.body for request in server.asked}) == 1
    assert fault.value.event.id in str(fault.value)


def test_a_long_wait_that_a_server_asks_for_is_not_begun(server: AnsweringServer) -> None:
    server.answers = [Answer(429, b"", {"retry-after": "3600"})]

    async def say() -> None:
        async with AsyncFeedback(server.url, agent="billing", author="ann") as client:
            await client.approve(interaction="i-1")

    with pytest.raises(FeedbackUnconfirmed, match="status 429"):
        asyncio.run(say())
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("url", "options", "complaint"),
    [
        ("gateway.example", {}, "begins with"),
        ("kafka://b:9092", {"key": "clorad_x"}, "signing_key"),
        ("https://g", {"kafka_options": {}}, "kafka://"),
        (
            "http://g",
            {"signing_key": SigningKey(id="a", algorithm=Algorithm.ED25519, secret=b"s" * 32)},
            "kafka://",
        ),
        ("kafka://b:9092", {"kafka_options": {"no_such": 1}}, "no_such"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(url: str, options: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Feedback(url, **options)


@pytest.mark.parametrize("uid", ["e-1", "#e-1", "ide#", ""])
def test_an_event_to_retract_is_named_in_full(client: Feedback, uid: str) -> None:
    with pytest.raises(FeedbackRefused, match="SOURCE#ID"):
        client.retract(uid)


def test_the_client_of_a_gateway_loads_neither_kafka_nor_the_ledger() -> None:
    code = (
        "import sys; from feedback.client import Feedback; Feedback('http://127.0.0.1:1').close();"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"kafka", "ledger", "sqlalchemy", "torch", "structlog", "opentelemetry"})


class TestAtAGateway:
    def test_the_key_names_author_and_source(self, gateway: RunningGateway) -> None:
        _, text = create_key(gateway.database, Grant(name="ann"), by="ops")
        wait_until(lambda: gateway.get("/routing", authorization=f"Bearer {text.text}").status_code != 401)
        gateway.sends.records.clear()
        with Feedback(gateway.url, key=text.text, agent="billing", source="ide") as client:
            sent = client.correct("yes", rejected="no", messages=ASK)
            retraction = client.retract(sent)
        assert sent.source == retraction.source == "clorad/gateway/ann/ide"
        first, second = (json.loads(record.value or b"") for record in gateway.sends.records)
        assert first["author"] == second["author"] == "ann"
        assert second["target"] == {"source": sent.source, "id": sent.id}

    def test_without_a_key_a_retraction_has_the_source_of_its_target(self, gateway: RunningGateway) -> None:
        gateway.sends.records.clear()
        with Feedback(gateway.url, agent="billing", author="ann") as client:
            assert client.retract("ide#e-1").source == "ide"

    def test_a_refusal_of_the_gateway_is_told(self, gateway: RunningGateway) -> None:
        refused = pytest.raises(FeedbackRefused, match="not declared")
        with Feedback(gateway.url, agent="nobody", author="ann") as client, refused as fault:
            client.approve(interaction="i-1")
        assert fault.value.status == 404
        with Feedback(gateway.url, agent="billing") as client, pytest.raises(FeedbackRefused, match="author"):
            client.approve(interaction="i-1")
