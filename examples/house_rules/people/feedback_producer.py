"""Sends a person's feedback to Kafka, and writes what Kafka acknowledged to a journal.

Uses kafka-python and no code of clorad: at the end the ledger is compared with the journal.
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
    """Kafka did not acknowledge everything in time. The journal holds what it did acknowledge."""


class FeedbackProducer:
    """One person's Kafka producer. Every acknowledged event becomes a line of the journal."""

    def __init__(self, bootstrap: str, journal: Path, source: str, options: Mapping[str, Any]) -> None:
        self._source = source
        self._journal = journal.open("a", buffering=1)
        self._lock = Lock()
        self._waiting: list[Any] = []
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap.split(","), acks="all", linger_ms=5, max_request_size=2**21, **options
        )

    def send_event(self, kind: str, data: Mapping[str, Any], *, key: str) -> str:
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
        about = {"type": kind, "agent": data["agent"]}
        self.send_record(json.dumps(data).encode(), headers, key=key, about=about)
        return event_id

    def send_record(
        self, value: bytes, headers: Mapping[str, str], *, key: str, about: Mapping[str, Any]
    ) -> None:
        """Send these bytes as they are. `about` goes into the journal."""
        line = {"id": headers.get("ce_id"), "source": self._source, "sent_s": time.time(), **about}
        pending = self._producer.send(
            TOPIC,
            key=key.encode(),
            value=value,
            headers=[(name, text.encode()) for name, text in headers.items()],
        )
        pending.add_callback(self._write_line, line)
        self._waiting.append(pending)

    def flush(self) -> None:
        """Wait until everything sent so far is acknowledged. Raises `NotAcknowledgedError`.

        Other threads may send meanwhile: a later `flush` waits for what they send.
        """
        waiting, self._waiting = self._waiting, []
        self._producer.flush(timeout=ACK_S_MAX)
        failed = sum(not pending.succeeded() for pending in waiting)
        if failed:
            raise NotAcknowledgedError(f"{failed} events were not acknowledged by Kafka")

    def close(self) -> None:
        """Close the client and the journal."""
        self._producer.close(timeout=ACK_S_MAX)
        self._journal.close()

    def _write_line(self, line: Mapping[str, Any], record: Any) -> None:
        place = {"partition": record.partition, "offset": record.offset, "acknowledged_s": time.time()}
        with self._lock:
            self._journal.write(json.dumps({**line, **place}) + "\n")
