"""The producer of the examples: a flush answers for what was sent before it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.house_rules.people import feedback_producer
from examples.house_rules.people.feedback_producer import FeedbackProducer, NotAcknowledgedError


class Pending:
    """An event that Kafka may have acknowledged."""

    def __init__(self, *, acknowledged: bool) -> None:
        self._acknowledged = acknowledged

    def succeeded(self) -> bool:
        return self._acknowledged

    def add_callback(self, *_: Any) -> None:
        """Kafka acknowledges nothing by itself here."""


class Client:
    """Kafka's client; `while_flushing` is what another thread does meanwhile."""

    def __init__(self) -> None:
        self.acknowledges = True
        self.while_flushing: list[Any] = []

    def send(self, *_: Any, **__: Any) -> Pending:
        return Pending(acknowledged=self.acknowledges)

    def flush(self, timeout: float) -> None:
        for act in self.while_flushing:
            act()

    def close(self, timeout: float) -> None:
        """There is no connection."""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr(feedback_producer, "KafkaProducer", lambda **_: client)
    return client


@pytest.fixture
def producer(client: Client, tmp_path: Path) -> Iterator[FeedbackProducer]:
    producer = FeedbackProducer("127.0.0.1:1", tmp_path / "journal.jsonl", "environment", {})
    yield producer
    producer.close()


def send_outcome(producer: FeedbackProducer) -> None:
    producer.send_event("outcome", {"agent": "sums", "value": 1.0}, key="conversation")


def test_a_flush_does_not_answer_for_what_is_sent_meanwhile(
    client: Client, producer: FeedbackProducer
) -> None:
    send_outcome(producer)

    def send_unacknowledged() -> None:
        client.acknowledges = False
        send_outcome(producer)

    client.while_flushing = [send_unacknowledged]
    producer.flush()
    client.while_flushing = []
    with pytest.raises(NotAcknowledgedError, match="1 events"):
        producer.flush()


def test_a_flush_raises_where_an_event_was_not_acknowledged(
    client: Client, producer: FeedbackProducer
) -> None:
    client.acknowledges = False
    send_outcome(producer)
    with pytest.raises(NotAcknowledgedError, match="1 events"):
        producer.flush()
    producer.flush()
