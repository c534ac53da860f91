"""Builds the Kafka record of an event to send: a CloudEvent in binary mode, checked, redacted and signed."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from feedback import signing, wire
from feedback.complaints import complaint
from feedback.envelope import VALUE_BYTES_MAX
from feedback.producer import KafkaRecord
from feedback.redaction import RedactionCounts, Redactor
from feedback.signing import SignedFields, SigningKey
from feedback.token_ids import IdsLeftOut


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


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
    key_id: str | None = None,
    rights: Iterable[str] = (),
    numbers: Mapping[str, Any] = MappingProxyType({}),
    encode: Callable[[Any], bytes] = _encode,
) -> KafkaRecord:
    """The record for one event of `kind` (`correction`, … or a full type).

    `key_id` is the API key that named the author, with its `rights`; intake believes both only where
    `signed_record` signed them. `numbers` are fields of `wire.IDS` that need no check; like those in `data`
    they go where redaction changed something, and a prompt's where the record would be too large with them.
    Raises `ValueError`, which names the wrong fields.
    """
    full = kind if kind in wire.TYPES else f"clorad.{kind}.v1"
    if full not in wire.TYPES:
        raise ValueError(f"unknown type; known: {', '.join(wire.TYPES)}")
    try:
        wire.TYPES[full].model_validate(dict(data))
    except ValidationError as fault:
        raise ValueError(complaint(fault)) from None
    counts: RedactionCounts = Counter()
    ids = wire.IDS if full == "clorad.interaction.v1" else ()
    kept = {name: data[name] for name in data if name not in ids}
    if redactor.suspects(encode(kept)):  # otherwise no text of it has to be looked at by itself
        kept = redactor.event_data(kept, counts)
    if ids and counts:
        kept["ids_left_out"] = IdsLeftOut.REDACTED.value  # they would still spell what was redacted
    else:
        kept |= {name: data[name] for name in ids if name in data} | dict(numbers)
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
    if key_id is not None:
        headers[f"ce_{signing.KEY}"] = key_id
    if joined := ",".join(sorted(rights)):
        headers[f"ce_{signing.RIGHTS}"] = joined
    value = encode(kept)
    if len(value) > VALUE_BYTES_MAX and kept.pop("prompt_token_ids", None) is not None:
        value = encode(kept | {"ids_left_out": IdsLeftOut.TOO_LARGE.value})
    key = kept.get("conversation") or kept.get("key") or identity
    return KafkaRecord(
        topic=topic,
        key=str(key).encode(),
        value=value,
        headers=tuple((name, value.encode()) for name, value in headers.items()),
    )


def signed_record(record: KafkaRecord, key: SigningKey) -> KafkaRecord:
    """The record of `build_event_record` with the signature of `key` on it."""
    attributes = {name: (value or b"").decode() for name, value in record.headers}
    fields = SignedFields(
        id=attributes["ce_id"],
        source=attributes["ce_source"],
        type=attributes["ce_type"],
        time=attributes["ce_time"],
        key=attributes.get(f"ce_{signing.KEY}"),
        rights=attributes.get(f"ce_{signing.RIGHTS}"),
        form="bytes",
        data=record.value,
    )
    extensions = key.extensions(fields)
    added = tuple((f"ce_{name}", value.encode()) for name, value in extensions.items())
    return replace(record, headers=(*record.headers, *added))
