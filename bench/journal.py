"""A producer that writes down what Kafka acknowledged. It does not know the ledger.

Of a hundred records five are unusable, five repeat an earlier event, two have an earlier event's id with
another body, and the rest are new corrections.
"""

import json
import random
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from feedback.connection import Cluster

SOURCE = "bench"
AGENT = "coder"
IN_FLIGHT_MAX = 500
ACK_S_MAX = 120.0

_POISON = (
    b"\xff\xfe not text",
    b'{"agent": "coder", "corr',
    b'{"agent": NaN}',
    b"[" * 100 + b"]" * 100,
    b"{}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRecord:
    """One record, and where Kafka put it."""

    kind: str  # event, poison, duplicate, conflict
    id: str
    partition: int
    offset: int = -1


@dataclass(slots=True)
class Journal:
    """The acknowledged records, in memory and, after `save`, on disk."""

    path: Path
    records: list[SentRecord] = field(default_factory=list)

    def add(self, record: SentRecord) -> None:
        """Remember one acknowledged record."""
        self.records.append(record)

    def save(self) -> None:
        """Write everything so far to the file."""
        lines = [
            json.dumps([record.kind, record.id, record.partition, record.offset]) for record in self.records
        ]
        self.path.write_text("\n".join(lines))


class JournalProducer:
    """Sends `total` records from a thread of its own, and never more than `allow` allows."""

    def __init__(
        self, cluster: Cluster, topic: str, journal: Journal, *, total: int, partitions: int
    ) -> None:
        self._cluster, self._topic, self._journal = cluster, topic, journal
        self._total, self._partitions = total, partitions
        self._allowed, self._allowed_more = 0, Event()
        self._done: Future[None] = Future()
        Thread(target=self._run, name="producer", daemon=True).start()

    def allow(self, upto: int) -> None:
        """Allow the records up to this number to be sent."""
        self._allowed = max(self._allowed, min(upto, self._total))
        self._allowed_more.set()

    def finish(self, *, wait_s_max: float) -> None:
        """Allow everything and wait until it is acknowledged. Raises what the thread raised."""
        self.allow(self._total)
        self._done.result(timeout=wait_s_max)

    def _run(self) -> None:
        try:
            self._send_all()
        except BaseException as fault:
            self._done.set_exception(fault)
            raise
        self._done.set_result(None)

    def _send_all(self) -> None:
        client = self._cluster.producer(acks="all", linger_ms=5, delivery_timeout_ms=int(ACK_S_MAX * 1000))
        waiting: list[tuple[SentRecord, Any]] = []
        try:
            for number, (record, value) in enumerate(self._records()):
                while number >= self._allowed:
                    self._collect(waiting, at_most=0)
                    self._allowed_more.wait(0.1)
                    self._allowed_more.clear()
                pairs = list(headers(record.id).items())
                sent = client.send(self._topic, value=value, headers=pairs, partition=record.partition)
                waiting.append((record, sent))
                self._collect(waiting, at_most=IN_FLIGHT_MAX)
            self._collect(waiting, at_most=0)
        finally:
            client.close(timeout=10.0)

    def _collect(self, waiting: list[tuple[SentRecord, Any]], *, at_most: int) -> None:
        while len(waiting) > at_most:
            record, sent = waiting.pop(0)
            self._journal.add(replace(record, offset=sent.get(timeout=ACK_S_MAX).offset))

    def _records(self) -> Iterator[tuple[SentRecord, bytes]]:
        chance = random.Random(7)
        earlier: list[tuple[SentRecord, bytes]] = []
        for number in range(self._total):
            draw = chance.random()
            partition = number % self._partitions
            if draw < 0.05:
                yield SentRecord(kind="poison", id=f"p-{number}", partition=partition), chance.choice(_POISON)
            elif draw < 0.12 and earlier:
                record, value = chance.choice(earlier)
                conflicts = draw >= 0.10
                kind = "conflict" if conflicts else "duplicate"
                body = correction(number, corrected="another body") if conflicts else value
                yield SentRecord(kind=kind, id=record.id, partition=record.partition), body
            else:
                record = SentRecord(kind="event", id=f"e-{number}", partition=partition)
                value = correction(number)
                earlier = [*earlier[-5000:], (record, value)] if number % 7 == 0 else earlier
                yield record, value


def correction(number: int, *, corrected: str = "", agent: str = AGENT) -> bytes:
    """A correction of about 1 KB. `number` makes it different from all others."""
    prompt = f"read the file notes-{number}.txt from the project folder and count the words in it; "
    data = {
        "agent": agent,
        "author": f"dev-{number % 17}",
        "conversation": f"c-{number}",
        "messages": [
            {"role": "system", "content": "You are a careful engineer. Answer with code only. " * 3},
            {"role": "user", "content": prompt * 3},
        ],
        "rejected": f'text = open("notes-{number}.txt").read()\n' * 4,
        "corrected": corrected or f'text = Path("notes-{number}.txt").read_text()\n' * 4,
        "comment": "paths are objects here",
    }
    return json.dumps(data).encode()


def headers(event_id: str) -> dict[str, bytes]:
    """The headers of a correction in CloudEvents' binary mode."""
    return {
        "ce_specversion": b"1.0",
        "ce_id": event_id.encode(),
        "ce_source": SOURCE.encode(),
        "ce_type": b"clorad.correction.v1",
        "content-type": b"application/json",
    }
