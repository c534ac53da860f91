"""Builds the Kafka record of an event to send: a CloudEvent in binary mode, checked and redacted."""

import json
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from feedback import wire
from feedback.producer import KafkaRecord
from feedback.redaction import RedactionCounts, Redactor


def build_event_record(
    kind: str,
    data: Mapping[str, Any],
    *,
    topic: str,
    source: str,
    redactor: Redactor,
    event_id: str | None = None,
    at: datetime | None = None,
    trace: str | None = None,
) -> KafkaRecord:
    """The record for one event of `kind` (`correction`, … or a full type).

    Raises `ValueError`, which names the wrong fields.
    """
    full = kind if kind in wire.TYPES else f"clorad.{kind}.v1"
    if full not in wire.TYPES:
        raise ValueError(f"unknown type; known: {', '.join(wire.TYPES)}")
    try:
        wire.TYPES[full].model_validate(dict(data))
    except ValidationError as fault:
        raise ValueError(wire.complaint(fault)) from None
    counts: RedactionCounts = Counter()
    kept = redactor.event_data(data, counts)
    if counts and full == "clorad.interaction.v1":
        kept.pop("token_ids", None)  # they would still spell what was redacted
        kept.pop("logprobs", None)
    identity = redactor.name(event_id or str(uuid.uuid4()), counts)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": identity,
        "ce_source": redactor.name(source, counts),
        "ce_type": full,
        "ce_time": (at or datetime.now(UTC)).isoformat(),
        "content-type": "application/json",
    }
    if trace is not None:
        headers["traceparent"] = trace
    key = kept.get("conversation") or kept.get("key") or identity
    return KafkaRecord(
        topic=topic,
        key=str(key).encode(),
        value=json.dumps(kept, ensure_ascii=False).encode(),
        headers=tuple((name, value.encode()) for name, value in headers.items()),
    )
