"""Sends the messages of the ledger's outbox to Kafka, oldest first.

A message is marked as sent only after every in-sync replica has it. A crash between the two sends it again
under the same `clorad_message` id: at least once, in order. One publisher at a time (the caller holds a
lease) keeps that order across processes.
"""

from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

import structlog
from kafka import errors
from opentelemetry import metrics

from feedback.backoff import Backoff
from feedback.connection import Cluster
from feedback.gauge import Gauge
from feedback.kafka_patches import close_producer
from feedback.kafka_security import fault_reason
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.intake import outbox
from ledger.intake.outbox import OutboxMessage

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("feedback")
_shipped = _meter.create_counter(
    "clorad.feedback.outbox.shipped", unit="{message}", description="messages that Kafka acknowledged"
)
_waiting = Gauge(
    _meter,
    "clorad.feedback.outbox.waiting",
    unit="{message}",
    description="messages that the ledger still has to send to Kafka (dead letters, lifecycle)",
)
_oldest = Gauge(_meter, "clorad.feedback.outbox.oldest", unit="s", description="age of the oldest of them")

BATCH_MESSAGES_MAX = 200
IDLE_S = 0.5
FORGET_EVERY_BATCHES = 1000
SENT_KEPT_S = 7 * 24 * 3600.0

MESSAGE_ID = "clorad_message"
OUR_HEADERS = "clorad."


class Publisher:
    """Sends messages through one idempotent producer, built when needed and again after a failure."""

    def __init__(self, cluster: Cluster, ledger_id: str, *, ack_s_max: float = 30.0) -> None:
        self._cluster = cluster
        self._options = {
            "acks": "all",
            "max_block_ms": int(ack_s_max * 1000),
            "request_timeout_ms": int(ack_s_max * 1000),
            "delivery_timeout_ms": int(ack_s_max * 1000) + 1,  # must exceed linger + request timeout
        }
        self._ack_s_max = ack_s_max
        self._ledger_id = ledger_id
        self._too_large: set[int] = set()
        self._client: Any = None

    def send(self, messages: Sequence[OutboxMessage]) -> int:
        """Send in order. Returns how many Kafka has, counted from the first; fewer than all is a failure."""
        outcomes = self._outcomes(messages)
        acknowledged = next((number for number, fault in enumerate(outcomes) if fault), len(outcomes))
        if acknowledged < len(messages):
            self._give_up_on(messages[acknowledged], outcomes[acknowledged])
        return acknowledged

    def close(self, *, wait_s_max: float = 5.0) -> None:
        """Close the connection; the next `send` opens another."""
        if self._client is not None:
            close_producer(self._client, wait_s_max=wait_s_max)
            self._client = None

    def _outcomes(self, messages: Sequence[OutboxMessage]) -> list[BaseException | None]:
        """For each message in order: None if Kafka has it, else the fault. Nothing is in flight afterwards.

        The list is shorter than `messages` if a fault prevents sending the others.
        """
        sends = list[Any]()
        try:
            self._client = self._client or self._cluster.producer(**self._options)
            for message in messages:
                sends.append(self._begin(self._client, message))
        except (errors.KafkaError, OSError) as fault:
            sends.append(fault)
        return [_outcome(send, wait_s_max=self._ack_s_max + 1.0) for send in sends]

    def _give_up_on(self, message: OutboxMessage, fault: BaseException | None) -> None:
        """Close the client, so that a new one makes the next try: this one may repeat its fault for ever."""
        assert fault is not None
        if isinstance(fault, _TOO_LARGE):
            # It would block all messages after it: the next try sends a pointer to the ledger instead.
            self._too_large.add(message.id)
        log.warning("outbox not delivered", error=fault_reason(fault), message=message.id)
        self.close()

    def _begin(self, client: Any, message: OutboxMessage) -> Any:
        key, value, headers = message.key, message.value, message.headers
        if message.id in self._too_large:
            value, headers = b"", tuple(header for header in headers if header[0].startswith(OUR_HEADERS))
        message_id = f"{self._ledger_id}/{message.id}".encode()
        return client.send(
            message.topic,
            key=key,
            value=b"" if key is None and value is None else value,  # Kafka takes no record without both
            headers=[*((name, content or b"") for name, content in headers), (MESSAGE_ID, message_id)],
        )


def _outcome(send: Any, *, wait_s_max: float) -> BaseException | None:
    if isinstance(send, BaseException):
        return send
    try:
        send.get(timeout=wait_s_max)
    except (errors.KafkaError, OSError) as fault:
        return fault
    return None


_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)


def ship(
    database: Database, publisher: Publisher, *, reached: Callable[[str], None] = lambda _: None
) -> tuple[int, bool]:
    """Send one batch. Returns how many messages Kafka has, and whether that is all of the batch."""
    pending = outbox.pending(database, limit=BATCH_MESSAGES_MAX)
    sent = publisher.send(pending) if pending else 0
    if sent:
        reached("outbox-before-mark")
        outbox.mark_sent(database, [message.id for message in pending[:sent]])
        _shipped.add(sent)
    return sent, sent == len(pending)


def run(
    database: Database,
    publisher: Publisher,
    stopping: Event,
    *,
    reached: Callable[[str], None] = lambda _: None,
) -> None:
    """Ship until told to stop. The caller holds the lease that makes this process the only publisher."""
    backoff, batches = Backoff(), 0
    while not stopping.is_set():
        try:
            sent, is_complete = ship(database, publisher, reached=reached)
            waiting, age_s = outbox.depth(database)
            batches += 1
            if batches % FORGET_EVERY_BATCHES == 0:
                outbox.forget_sent(database, older_than_s=SENT_KEPT_S)
        except LedgerUnavailable as fault:
            log.warning("outbox not read", error=str(fault))
            backoff.wait(stopping)
            continue
        _waiting.set(waiting)
        _oldest.set(age_s)
        if not is_complete:
            backoff.wait(stopping)
        else:
            backoff.reset()
            if sent == 0:
                stopping.wait(IDLE_S)
    for gauge in (_waiting, _oldest):
        gauge.withdraw()
    publisher.close()
