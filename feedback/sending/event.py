"""An event of feedback that a client is about to send, checked by the wire's own models before it leaves."""

import json
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from feedback import wire
from feedback.complaints import complaint

_AUTHOR_OF_KEY = "the holder of the key"


class FeedbackRefused(ValueError):
    """The event can never be accepted as it is; sending it again does not help. Nothing was stored.

    `status` is the HTTP status of the gateway, or None where the event was refused before it was sent.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason if status is None else f"{reason} (status {status})")
        self.reason, self.status = reason, status


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingEvent:
    """One CloudEvent. `id` and `source` are its name: sent again, it counts once."""

    id: str
    source: str
    type: str
    time: datetime
    data: Mapping[str, Any]

    def structured(self) -> bytes:
        """The event as one JSON object (CloudEvents 1.0, structured mode)."""
        event = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time.isoformat(),
            "data": self.data,
            **({} if (trace := _current_trace()) is None else {"traceparent": trace}),
        }
        return json.dumps(event, ensure_ascii=False, allow_nan=False).encode()


def _current_trace() -> str | None:
    """The sender's trace. A program that does not use OpenTelemetry has none, and does not load it here."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from feedback.tracing import traceparent_of

    return traceparent_of()


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFeedback:
    """An event that every in-sync replica of Kafka has, and its place there.

    `source` is the one under which it is stored: a gateway that knows the author puts the author into it.
    """

    id: str
    source: str
    topic: str
    partition: int
    offset: int

    @property
    def uid(self) -> str:
        """The name under which `clorad receipt` knows the event."""
        return f"{self.source}#{self.id}"


def build_outgoing_event(
    kind: str,
    data: Mapping[str, Any],
    *,
    source: str,
    event_id: str | None = None,
    at: datetime | None = None,
    has_author: bool = True,
) -> OutgoingEvent:
    """The event of `kind` (`correction`, … or a full type). Fields that are None are left out.

    With `has_author=False` the receiver names the author. Raises `FeedbackRefused`, which names the wrong
    fields and quotes nothing.
    """
    full = kind if kind in wire.TYPES else f"clorad.{kind}.v1"
    if full not in wire.TYPES:
        raise FeedbackRefused(f"unknown type; known: {', '.join(wire.TYPES)}")
    if at is not None and at.tzinfo is None:
        raise FeedbackRefused("at: a time with its zone")
    kept = {name: value for name, value in data.items() if value is not None}
    try:
        wire.TYPES[full].model_validate(kept if has_author else {"author": _AUTHOR_OF_KEY} | kept)
        json.dumps(kept, allow_nan=False)
    except ValidationError as fault:
        raise FeedbackRefused(complaint(fault)) from None
    except (TypeError, ValueError, RecursionError):
        raise FeedbackRefused("data: holds a value that is not JSON") from None
    return OutgoingEvent(
        id=event_id or str(uuid.uuid4()),
        source=source,
        type=full,
        time=at or datetime.now(UTC),
        data=kept,
    )
