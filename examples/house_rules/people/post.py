"""How people's feedback reaches Kafka, and the journal of what Kafka acknowledged.

Written against kafka-python alone: the journal is what clorad's own books are compared with, so no
code of clorad's takes part in keeping it.
"""

import json
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from kafka import KafkaProducer

TOPIC = "clorad.feedback"
ACK_S_MAX = 30.0


class NotAcknowledgedError(RuntimeError):
    """Kafka did not acknowledge everything in time; the journal holds what it did."""


class Post:
    """One person's letters to Kafka. Every acknowledged event is a line of the journal."""

    def __init__(self, bootstrap: str, journal: Path, source: str, options: Mapping[str, Any]) -> None:
        self._source = source
        self._journal = journal.open("a", buffering=1)
        self._lock = Lock()
        self._waiting: list[Any] = []
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap.split(","), acks="all", linger_ms=5, max_request_size=2**21, **options
        )

    def say(self, kind: str, data: Mapping[str, Any], *, key: str) -> str:
        """Send one CloudEvent in binary mode; returns its id. `flush` waits for the acknowledgements."""
        event_id = str(uuid.uuid4())
        headers = {
            "ce_specversion": "1.0",
            "ce_id": event_id,
            "ce_source": self._source,
            "ce_type": f"clorad.{kind}.v1",
            "ce_time": datetime.now(UTC).isoformat(),
            "content-type": "application/json",
        }
        self.send(json.dumps(data).encode(), headers, key=key, about={"type": kind, "agent": data["agent"]})
        return event_id

    def send(self, value: bytes, headers: Mapping[str, str], *, key: str, about: Mapping[str, Any]) -> None:
        """Send these bytes as they are; `about` goes into the journal."""
        line = {"id": headers.get("ce_id"), "source": self._source, "sent_s": time.time(), **about}
        pending = self._producer.send(
            TOPIC,
            key=key.encode(),
            value=value,
            headers=[(name, text.encode()) for name, text in headers.items()],
        )
        pending.add_callback(self._keep, line)
        self._waiting.append(pending)

    def flush(self) -> None:
        """Everything sent so far is acknowledged and in the journal. Raises `NotAcknowledgedError`."""
        self._producer.flush(timeout=ACK_S_MAX)
        failed = sum(not pending.succeeded() for pending in self._waiting)
        self._waiting.clear()
        if failed:
            raise NotAcknowledgedError(f"{failed} events were not acknowledged by Kafka")

    def close(self) -> None:
        """No more is sent."""
        self._producer.close(timeout=ACK_S_MAX)
        self._journal.close()

    def _keep(self, line: Mapping[str, Any], where: Any) -> None:
        kept = {**line, "partition": where.partition, "offset": where.offset, "acknowledged_s": time.time()}
        with self._lock:
            self._journal.write(json.dumps(kept) + "\n")
