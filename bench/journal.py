"""A producer that writes down what Kafka acknowledged, and knows nothing of the ledger.

Of a hundred records five are poison, five repeat an earlier event, two have an earlier event's id and
another body; the rest are corrections nobody sent before.
"""

import json
import random
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
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
    """What was acknowledged, in memory and on disk."""

    path: Path
    said: list[SentRecord] = field(default_factory=list)

    def write(self, said: SentRecord) -> None:
        """Remember one acknowledgement."""
        self.said.append(said)

    def save(self) -> None:
        """Everything so far is in the file."""
        lines = [json.dumps([one.kind, one.id, one.partition, one.offset]) for one in self.said]
        self.path.write_text("\n".join(lines))


class JournalProducer:
    """Says `total` records in a thread of its own, no further than `allow` lets it."""

    def __init__(
        self, cluster: Cluster, topic: str, journal: Journal, *, total: int, partitions: int
    ) -> None:
        self._cluster, self._topic, self._journal = cluster, topic, journal
        self._total, self._partitions = total, partitions
        self._allowed, self._moved = 0, Event()
        self._done: Future[None] = Future()
        Thread(target=self._run, name="producer", daemon=True).start()

    def allow(self, upto: int) -> None:
        """Records up to that number may be sent."""
        self._allowed = max(self._allowed, min(upto, self._total))
        self._moved.set()

    def finish(self, *, wait_s_max: float) -> None:
        """Everything is acknowledged. Raises what went wrong."""
        self.allow(self._total)
        self._done.result(timeout=wait_s_max)

    def _run(self) -> None:
        try:
            self._say_all()
        except BaseException as fault:
            self._done.set_exception(fault)
            raise
        self._done.set_result(None)

    def _say_all(self) -> None:
        client = self._cluster.producer(acks="all", linger_ms=5, delivery_timeout_ms=int(ACK_S_MAX * 1000))
        waiting: list[tuple[SentRecord, Any]] = []
        try:
            for number, (said, value) in enumerate(self._records()):
                while number >= self._allowed:
                    self._collect(waiting, at_most=0)
                    self._moved.wait(0.1)
                    self._moved.clear()
                named = list(headers(said.id).items())
                sent = client.send(self._topic, value=value, headers=named, partition=said.partition)
                waiting.append((said, sent))
                self._collect(waiting, at_most=IN_FLIGHT_MAX)
            self._collect(waiting, at_most=0)
        finally:
            client.close(timeout=10.0)

    def _collect(self, waiting: list[tuple[SentRecord, Any]], *, at_most: int) -> None:
        while len(waiting) > at_most:
            said, sent = waiting.pop(0)
            offset = sent.get(timeout=ACK_S_MAX).offset
            self._journal.write(
                SentRecord(kind=said.kind, id=said.id, partition=said.partition, offset=offset)
            )

    def _records(self) -> Iterator[tuple[SentRecord, bytes]]:
        chance = random.Random(7)
        earlier: list[tuple[SentRecord, bytes]] = []
        for number in range(self._total):
            draw = chance.random()
            partition = number % self._partitions
            if draw < 0.05:
                yield SentRecord(kind="poison", id=f"p-{number}", partition=partition), chance.choice(_POISON)
            elif draw < 0.12 and earlier:
                said, value = chance.choice(earlier)
                conflicts = draw >= 0.10
                kind = "conflict" if conflicts else "duplicate"
                again = correction(number, said="another body") if conflicts else value
                yield SentRecord(kind=kind, id=said.id, partition=said.partition), again
            else:
                said, value = (
                    SentRecord(kind="event", id=f"e-{number}", partition=partition),
                    correction(number),
                )
                earlier = [*earlier[-5000:], (said, value)] if number % 7 == 0 else earlier
                yield said, value


def correction(number: int, *, said: str = "", agent: str = AGENT) -> bytes:
    """A correction of some 1 KB, unlike every other."""
    asked = f"read the file notes-{number}.txt from the project folder and count the words in it; "
    data = {
        "agent": agent,
        "author": f"dev-{number % 17}",
        "conversation": f"c-{number}",
        "messages": [
            {"role": "system", "content": "You are a careful engineer. Answer with code only. " * 3},
            {"role": "user", "content": asked * 3},
        ],
        "rejected": f'text = open("notes-{number}.txt").read()\n' * 4,
        "corrected": said or f'text = Path("notes-{number}.txt").read_text()\n' * 4,
        "comment": "paths are objects here",
    }
    return json.dumps(data).encode()


def headers(event_id: str) -> dict[str, bytes]:
    """Of a correction in CloudEvents' binary mode."""
    return {
        "ce_specversion": b"1.0",
        "ce_id": event_id.encode(),
        "ce_source": SOURCE.encode(),
        "ce_type": b"clorad.correction.v1",
        "content-type": b"application/json",
    }
