"""One try over HTTP: what may be tried again, what may not, and what the receiver asks for."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from feedback.sending.attempts import SendAgain
from feedback.sending.event import FeedbackRefused, build_outgoing_event
from feedback.sending.http_sender import HttpSender, retry_after_s
from tests.unit.feedback.sending.answering_server import (
    ACCEPTED,
    Answer,
    AnsweringServer,
    build_answering_server,
)

EVENT = build_outgoing_event(
    "correction", {"agent": "a", "author": "ann", "interaction": "i", "corrected": "yes"}, source="ide"
)
NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[AnsweringServer]:
    with build_answering_server() as running:
        yield running


@pytest.fixture
def sender(server: AnsweringServer) -> Iterator[HttpSender]:
    server.answers, server.asked = [ACCEPTED], []
    sender = HttpSender(server.url, "secret")
    yield sender
    sender.close()


def test_an_accepted_event_has_a_place_in_kafka(server: AnsweringServer, sender: HttpSender) -> None:
    sent = sender.post(EVENT, left_s=5.0)
    assert (sent.uid, sent.partition, sent.offset) == ("ide#e-1", 2, 7)
    [request] = server.asked
    assert (request.path, request.body) == ("/v1/feedback", EVENT.structured())
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["content-type"] == "application/cloudevents+json"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_fault_may_be_tried_again(server: AnsweringServer, sender: HttpSender, status: int) -> None:
    server.answers = [Answer(status, b"{}", {"retry-after": "3"})]
    with pytest.raises(SendAgain, match=str(status)) as again:
        sender.post(EVENT, left_s=5.0)
    assert again.value.retry_after_s == 3.0


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 422])
def test_a_refusal_is_final_and_says_why(server: AnsweringServer, sender: HttpSender, status: int) -> None:
    server.answers = [Answer(status, b'{"error":{"message":"agent: not declared"}}', {"location": "/else"})]
    with pytest.raises(FeedbackRefused, match="agent: not declared") as refused:
        sender.post(EVENT, left_s=5.0)
    assert refused.value.status == status
    assert len(server.asked) == 1, "a redirect would take the key elsewhere"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"id":"x","source":"y","topic":"z"}', b"\xff"])
def test_another_server_is_no_gateway(server: AnsweringServer, sender: HttpSender, body: bytes) -> None:
    server.answers = [Answer(202, body)]
    with pytest.raises(FeedbackRefused, match="not a clorad gateway"):
        sender.post(EVENT, left_s=5.0)


def test_a_broken_connection_may_be_tried_again(server: AnsweringServer, sender: HttpSender) -> None:
    server.answers = [None]
    with pytest.raises(SendAgain, match="RemoteProtocolError"):
        sender.post(EVENT, left_s=5.0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Mon, 30 Nov 2026 12:01:30 GMT", 90.0),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0.0),
        ("Monday, 30-Nov-26 12:00:05 GMT", 5.0),
        ("", 0.0),
        (None, 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("9" * 40, 999_999_999.0),
    ],
)
def test_the_wait_that_a_server_asks_for_is_seconds_or_a_date(value: str | None, seconds: float) -> None:
    assert retry_after_s(value, NOW) == seconds
