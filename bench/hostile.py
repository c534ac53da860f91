"""Times how long intake needs to read records that are built to be slow to read."""

import json
import time
from collections.abc import Mapping

from bench.backlog import value_of
from bench.journal import correction, headers
from feedback.envelope import VALUE_BYTES_MAX
from feedback.reading import Reader
from feedback.redaction import Redactor
from ledger.identity import Identity

REPEATS = 5


def _padded(piece: str) -> bytes:
    """A correction whose text repeats the piece, up to the largest size that intake reads."""
    times = (VALUE_BYTES_MAX - 2000) // len(json.dumps(piece).encode())
    return correction(1, corrected=piece * times)


def records() -> Mapping[str, bytes]:
    """The records by name; one of them is ordinary."""
    size = VALUE_BYTES_MAX
    return {
        "ordinary": value_of(1, hits_share=0.0),
        "nested": b"[" * (size // 2) + b"]" * (size // 2),
        "objects": b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6),
        "digits": b"[" + b"9" * (size - 2) + b"]",
        "small_lists": b"[" + b"[]," * (size // 3 - 2) + b"[]]",
        "one_name": b"{" + b'"a":1,' * (size // 6 - 2) + b'"a":1}',
        "names": json.dumps({f"n{number}": 1 for number in range(18_000)}).encode(),
        "escapes": b'{"agent":"' + b"\\u0041" * (size // 6 - 10) + b'"}',
        "not_utf8": b'{"agent":"' + b"\xff" * (size - 20) + b'"}',
        "cut_off": correction(1, corrected="x" * (size - 2000))[:-1],
        "oversized": b"x" * (4 * size),
        "digits_and_dashes": _padded("4-1 "),
        "nearly_addresses": _padded("a.b-c@d-e."),
        "nearly_tokens": _padded("eyJabcdefgh."),
        "keys_begun": _padded("-----BEGIN PRIVATE KEY-----"),
        "passwords": _padded("password = x"),
        "many_addresses": _padded("jane@example.com "),
        "one_long_word": _padded("a"),
    }


def milliseconds() -> dict[str, float]:
    """The fastest of five readings of each record, in milliseconds. Reading never raises."""
    identity = Identity(ledger_id="bench", secret=b"k" * 32)
    reader = Reader(identity, Redactor(identity.fingerprint))
    record_headers = tuple(headers("e-1").items())
    times_ms = {}
    for name, value in records().items():
        best_s = float("inf")
        for _ in range(REPEATS):
            began_s = time.perf_counter()
            reader.read(offset=0, key=None, value=value, headers=record_headers, received_s=began_s)
            best_s = min(best_s, time.perf_counter() - began_s)
        times_ms[name] = round(best_s * 1000, 3)
    return times_ms


def prefilter_hit_share(*, events: int, hits_share: float) -> float:
    """The share of events that the redactor's first, fast check does not clear."""
    redactor = Redactor(lambda _: "")
    hits = sum(redactor.suspects(value_of(number, hits_share=hits_share)) for number in range(events))
    return hits / events
