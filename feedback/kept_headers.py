"""Which headers of a record hold nothing to redact, which hold identifiers, and which seal the record.

Names of headers are compared in small letters, as `feedback.envelope` reads them.
"""

import json
import re

from feedback import signing
from feedback.envelope import RecordRefused, parse
from ledger.events import Headers

_PLAIN = frozenset({"content-type", "ce_specversion", "ce_type", "ce_time", "traceparent"})
_NAMING = frozenset({"ce_id", "ce_source"})
_SEAL = frozenset({signing.SIGNER, signing.SIGNATURE})
_SIGNATURE_FORM = re.compile(rb"[A-Za-z0-9+/]{43,86}={1,2}")


def suspect_bytes(key: bytes | None, headers: Headers) -> bytes:
    """Key and headers that may hold something to redact, joined."""
    return b"\0".join(
        (key or b"", *(header for name, header in headers if header and not is_plain(name, header)))
    )


def is_plain(name: str, header: bytes) -> bool:
    """Whether the header cannot hold anything to redact; a signature looks like a secret and is none."""
    if name.lower() == f"ce_{signing.SIGNATURE}":
        return _SIGNATURE_FORM.fullmatch(header) is not None
    return name.lower() in _PLAIN


def holds_identifier(name: str) -> bool:
    """Whether the header names the event or its source."""
    return name.lower() in _NAMING


def without_seal(value: bytes | None, headers: Headers) -> tuple[bytes | None, Headers]:
    """The record without signer and signature, in either mode of CloudEvents."""
    kept = tuple((name, header) for name, header in headers if name.lower().removeprefix("ce_") not in _SEAL)
    return _unsigned(value), kept


def _unsigned(value: bytes | None) -> bytes | None:
    """A structured event without its signature; anything else as it is."""
    if value is None or signing.SIGNATURE.encode() not in value:
        return value
    try:
        parsed = parse(value)
    except RecordRefused:
        return value
    if not isinstance(parsed, dict) or "specversion" not in parsed or signing.SIGNATURE not in parsed:
        return value
    unsigned = {name: item for name, item in parsed.items() if name not in _SEAL}
    return json.dumps(unsigned, ensure_ascii=False).encode()
