"""Parses CloudEvents 1.0 on Kafka: attributes from the headers (binary mode) or the value (structured mode).

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feedback import signing
from feedback.call_arguments import DEPTH_MAX, depth_of
from feedback.signing import SignedFields
from feedback.wire import IDENTIFIER_CHARS_MAX, SOURCE_CHARS_MAX
from ledger.events import Headers, Reason, UnusableRecord

VALUE_BYTES_MAX = 256 * 1024
STRUCTURED = "application/cloudevents+json"

_ATTRIBUTES = ("id", "source", "type", "specversion", "time", "traceparent", *signing.EXTENSIONS)
_SINGLE = frozenset({*_ATTRIBUTES, "content-type"})
_LIMITS = {"id": IDENTIFIER_CHARS_MAX, "source": SOURCE_CHARS_MAX, "type": 100}
_LIMITS |= dict.fromkeys(signing.EXTENSIONS, IDENTIFIER_CHARS_MAX)
_ODD_CHARACTERS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_LEAP_SECOND = re.compile(r"(T\d\d:\d\d:)60")
_SCHEMA_ID_BYTES = 5  # a zero and four bytes
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One CloudEvent; its data is not checked yet."""

    id: str
    source: str
    type: str
    occurred_s: float | None
    trace: str | None
    data: Any
    signed: SignedFields
    signer: str | None  # both not checked yet
    signature: str | None


class RecordRefused(Exception):
    """The record is no CloudEvent of ours; it becomes a dead letter with that reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.unusable = UnusableRecord(reason=reason, detail=detail)


def open_envelope(value: bytes | None, headers: Headers) -> Envelope:
    """The CloudEvent in one record. Raises `RecordRefused`."""
    parsed = parse(value)
    by_name = _by_name(headers)
    content_type = (by_name.get("content-type") or b"").decode("latin-1").lower()
    if content_type.startswith("application/cloudevents-batch"):
        raise RecordRefused(Reason.UNKNOWN_TYPE, "batches are not read; send one event a record")
    # A console producer cannot set headers: it sends the structured form without a content type.
    bare = "ce_id" not in by_name and isinstance(parsed, dict) and "specversion" in parsed
    if bare or content_type.startswith(STRUCTURED):
        return _structured(parsed)
    if "ce_id" not in by_name:
        dashed = any(name.startswith("ce-") for name in by_name)
        why = "they begin with `ce-`; on Kafka with `ce_`" if dashed else "there is none"
        raise RecordRefused(
            Reason.INVALID_SCHEMA, f"id: missing; binary mode needs the header ce_id, and {why}"
        )
    attributes = {name: _header(by_name, f"ce_{name}") for name in _ATTRIBUTES}
    attributes["traceparent"] = attributes["traceparent"] or _header(by_name, "traceparent")
    return _envelope(attributes, parsed, raw=value)


def parse(value: bytes | None) -> Any:
    """The JSON value: UTF-8, no NaN, no repeated names, bounded depth. Raises `RecordRefused`."""
    if not value:
        raise RecordRefused(Reason.EMPTY, "no value")
    if len(value) > VALUE_BYTES_MAX:
        raise RecordRefused(Reason.OVERSIZED, f"{len(value)} bytes, at most {VALUE_BYTES_MAX}")
    value = _without_framing(value)
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise RecordRefused(Reason.INVALID_UTF8, f"at byte {fault.start}") from None
    try:
        parsed = _DECODER.decode(text)
    except RecursionError:
        raise RecordRefused(Reason.TOO_DEEP, f"more than {DEPTH_MAX} levels") from None
    except json.JSONDecodeError as fault:
        raise RecordRefused(Reason.INVALID_JSON, f"{fault.msg} at character {fault.pos}") from None
    except ValueError as fault:  # from our own checks, and for integers of thousands of digits
        detail = str(fault) if isinstance(fault, _NotPlainError) else "a number too long to read"
        raise RecordRefused(Reason.INVALID_JSON, detail) from None
    if value.count(b"[") + value.count(b"{") > DEPTH_MAX and depth_of(parsed) > DEPTH_MAX:
        raise RecordRefused(Reason.TOO_DEEP, f"more than {DEPTH_MAX} levels")
    if _ODD_CHARACTERS.search(value) and not _is_text(parsed):
        raise RecordRefused(Reason.INVALID_JSON, "a NUL character or half a surrogate pair")
    return parsed


def _without_framing(value: bytes) -> bytes:
    """The JSON without what writers put before it: a byte order mark, or Confluent's schema id."""
    if value[:1] == b"\0" and len(value) > _SCHEMA_ID_BYTES:
        value = value[_SCHEMA_ID_BYTES:]
    return value.removeprefix(b"\xef\xbb\xbf")


def decoded_or_not(encoded: Any) -> Any:
    """The JSON value in base64, for what is kept of a record; a mark where there is none."""
    try:
        return parse(base64.b64decode(encoded, validate=True))
    except (TypeError, ValueError, RecordRefused):
        return "[not JSON]"


class _NotPlainError(ValueError):
    """JSON that different readers read differently."""


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _NotPlainError("a number beyond a double's range")
    return number


def _no_constant(_: str) -> None:
    raise _NotPlainError("NaN or Infinity")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers differ in which of two values counts: the value that was checked may not be the one in use.
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _NotPlainError("a name twice in one object")
    return fields


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant, object_pairs_hook=_no_repeats)


def _is_text(parsed: Any) -> bool:
    """Whether every string can be stored: no NUL (Postgres), no lone surrogate (UTF-8)."""
    written = json.dumps(parsed, ensure_ascii=False)
    try:
        written.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\\u0000" not in written


def _by_name(headers: Headers) -> dict[str, bytes | None]:
    """The headers by their names in small letters. Raises `RecordRefused` where an attribute has two values:
    readers differ in which of them counts."""
    by_name: dict[str, bytes | None] = {}
    for name, value in headers:
        name = name.lower()
        if by_name.setdefault(name, value) != value and name.removeprefix("ce_") in _SINGLE:
            raise RecordRefused(Reason.INVALID_SCHEMA, f"header {name}: given twice")
    return by_name


def _header(headers: Mapping[str, bytes | None], name: str) -> str | None:
    value = headers.get(name)
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        raise RecordRefused(Reason.INVALID_UTF8, f"header {name}") from None


def _structured(parsed: Any) -> Envelope:
    if not isinstance(parsed, dict):
        raise RecordRefused(Reason.INVALID_SCHEMA, "a structured event is an object")
    if parsed.get("data_base64") is not None:
        raw = _from_base64(parsed)
        return _envelope({name: parsed.get(name) for name in _ATTRIBUTES}, parse(raw), raw=raw)
    return _envelope({name: parsed.get(name) for name in _ATTRIBUTES}, parsed.get("data"), raw=None)


def _from_base64(event: Mapping[str, Any]) -> bytes:
    if event.get("data") is not None or not isinstance(event["data_base64"], str):
        raise RecordRefused(Reason.INVALID_SCHEMA, "data_base64: a text, and no data beside it")
    try:
        return base64.b64decode(event["data_base64"], validate=True)
    except ValueError:
        raise RecordRefused(Reason.INVALID_SCHEMA, "data_base64: not base64") from None


def _envelope(attributes: Mapping[str, Any], data: Any, *, raw: bytes | None) -> Envelope:
    """The event with these attributes. `raw`: the bytes of its data where they are sent as they are."""
    for name in _LIMITS:
        _check_attribute(name, attributes[name])
    if attributes["specversion"] != "1.0":
        raise RecordRefused(Reason.INVALID_SCHEMA, "specversion: must be 1.0")
    occurred_s = _seconds(attributes["time"])
    trace = attributes["traceparent"]
    return Envelope(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        occurred_s=occurred_s,
        trace=trace if isinstance(trace, str) and _TRACEPARENT.fullmatch(trace) else None,
        data=data,
        signed=SignedFields(
            id=attributes["id"],
            source=attributes["source"],
            type=attributes["type"],
            time=attributes["time"],
            key=attributes[signing.KEY],
            rights=attributes[signing.RIGHTS],
            form="json" if raw is None else "bytes",
            data=data if raw is None else raw,
        ),
        signer=attributes[signing.SIGNER],
        signature=attributes[signing.SIGNATURE],
    )


def _check_attribute(name: str, value: Any) -> None:
    if value is None and name in signing.EXTENSIONS:
        return
    if not isinstance(value, str) or not value:
        raise RecordRefused(Reason.INVALID_SCHEMA, f"{name}: missing")
    if len(value) > _LIMITS[name] or _CONTROL.search(value):
        raise RecordRefused(Reason.INVALID_SCHEMA, f"{name}: at most {_LIMITS[name]} printable characters")


def _seconds(time: Any) -> float | None:
    if time is None:
        return None
    try:
        # RFC 3339 allows small letters (5.6) and a leap second (5.7), which datetime does not know.
        text, leaps = _LEAP_SECOND.subn(r"\g<1>59", time.upper())
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.timestamp() + leaps
    except (AttributeError, TypeError, ValueError, OverflowError):
        pass
    raise RecordRefused(Reason.INVALID_SCHEMA, "time: not an RFC 3339 time with its zone")
