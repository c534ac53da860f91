"""Sends events to Kafka: one thread owns the client; callers get a future with partition and offset.

An event is acknowledged when every in-sync replica has it. At most `in_flight_max` events wait; further ones
are refused at once, so memory stays bounded.
"""

import queue
import time
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event, Semaphore, Thread
from typing import Any

import structlog
from kafka import errors
from opentelemetry import metrics

from feedback.connection import Cluster
from feedback.kafka_patches import close_producer
from feedback.kafka_security import fault_reason
from ledger.events import Headers

log = structlog.get_logger(__name__)
_sent = metrics.get_meter("feedback").create_counter(
    "clorad.feedback.sent",
    unit="{event}",
    description="events and interactions from this gateway that Kafka acknowledged",
)


class NotAcknowledged(Exception):
    """Kafka did not confirm the event in time. It may be there all the same: sending the id again is safe."""


class TooManyWaiting(Exception):
    """The largest number of events waits for Kafka. This one was not accepted; try again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The place of the event in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaRecord:
    """A Kafka record to send."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Producer:
    """Sends records until closed. It connects with the first record, and again after a failure.

    A record waits `linger_s` for others: each request to a broker costs as much as many records in one.
    """

    def __init__(
        self, cluster: Cluster, *, in_flight_max: int = 1000, ack_s_max: float = 10.0, linger_s: float = 0.0
    ) -> None:
        self._cluster = cluster
        self._options = {
            "acks": "all",
            "max_block_ms": int(ack_s_max * 1000),
            "request_timeout_ms": int(ack_s_max * 1000),
            "linger_ms": int(linger_s * 1000),
            "delivery_timeout_ms": int((ack_s_max + linger_s) * 1000)
            + 1,  # must exceed linger + request timeout
            "bootstrap_timeout_ms": int(ack_s_max * 1000),
        }
        self._ack_s_max = ack_s_max
        self._waiting: queue.SimpleQueue[tuple[KafkaRecord, Future[Sent], float] | None] = queue.SimpleQueue()
        self._places = Semaphore(in_flight_max)
        self._closing = Event()
        self._failed: Any = None  # a client that did not deliver: it may repeat its fault for ever
        self._thread = Thread(target=self._run, name="producer", daemon=True)
        self._thread.start()

    def send(self, record: KafkaRecord) -> Future[Sent]:
        """Take one record. The future ends with `Sent`, or raises `NotAcknowledged`.

        Raises `TooManyWaiting` at once if the bound is reached or the producer is closed.
        """
        if self._closing.is_set() or not self._places.acquire(blocking=False):
            raise TooManyWaiting
        future: Future[Sent] = Future()
        future.add_done_callback(lambda _: self._places.release())
        self._waiting.put((record, future, time.monotonic() + self._ack_s_max))
        return future

    def close(self, *, wait_s_max: float = 10.0) -> None:
        """Send or refuse the records that wait; take no more."""
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(timeout=wait_s_max)

    def _run(self) -> None:
        client: Any = None
        while (item := self._waiting.get()) is not None:
            record, future, until_s = item
            if not future.set_running_or_notify_cancel():
                continue
            if time.monotonic() > until_s:  # Kafka was away while it waited for its turn
                _refuse(future, errors.KafkaTimeoutError())
                continue
            if client is not None and client is self._failed:
                close_producer(client, wait_s_max=1.0)
                client = None
            try:
                client = client or self._cluster.producer(**self._options)
                pending = client.send(
                    record.topic,
                    key=record.key,
                    value=b"" if record.key is None and record.value is None else record.value,
                    headers=[(name, content or b"") for name, content in record.headers],
                )
            except (errors.KafkaError, OSError, ValueError) as fault:
                if client is not None and not isinstance(fault, _HARMLESS):
                    close_producer(client, wait_s_max=1.0)  # fenced, or out of sequence for good
                    client = None
                _refuse(future, fault)
            else:
                pending.add_callback(_acknowledge, future)
                pending.add_errback(self._fail, client, future)
        if client is not None:
            close_producer(client, wait_s_max=self._ack_s_max)
        while not self._waiting.empty():  # put while closing
            if (late := self._waiting.get()) is not None and late[1].set_running_or_notify_cancel():
                _refuse(late[1], errors.IllegalStateError())

    def _fail(self, client: Any, future: Future[Sent], fault: BaseException) -> None:
        if not isinstance(fault, errors.MessageSizeTooLargeError):
            self._failed = client
        _refuse(future, fault)


_HARMLESS = (errors.KafkaTimeoutError, errors.MessageSizeTooLargeError, ValueError)


def _acknowledge(future: Future[Sent], metadata: Any) -> None:
    _sent.add(1, {"topic": metadata.topic})
    future.set_result(Sent(topic=metadata.topic, partition=metadata.partition, offset=metadata.offset))


def _refuse(future: Future[Sent], fault: BaseException) -> None:
    # Not the fault's text: it may have addresses in it, and at debug level a record's content.
    log.warning("event not acknowledged", error=fault_reason(fault))
    future.set_exception(NotAcknowledged(fault_reason(fault)))
