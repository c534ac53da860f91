"""Things people say, as they arrive: events on the wire with everything they need and nothing else."""

import json
from collections import Counter
from typing import Any

from feedback.reading import Reader
from feedback.redaction import KINDS, Redactor
from ledger.events import Arrival
from ledger.identity import Identity

IDENTITY = Identity(ledger_id="ledger-1", secret=b"k" * 32)

MESSAGES = [
    {"role": "system", "content": "You write SQL."},
    {"role": "user", "content": "remove customer 17"},
]

CORRECTION: dict[str, Any] = {
    "agent": "sql",
    "author": "dev-1",
    "messages": MESSAGES,
    "rejected": "DELETE FROM customers WHERE id=17",
    "corrected": "UPDATE customers SET deleted=1 WHERE id=17",
}
INTERVENTION: dict[str, Any] = {
    "agent": "sql",
    "author": "op-1",
    "action": "abort",
    "messages": MESSAGES,
    "said": "DROP TABLE customers",
}
OUTCOME: dict[str, Any] = {"agent": "sql", "author": "ci", "value": 0.5, "interaction": "i-1"}
RETRACTION: dict[str, Any] = {"agent": "sql", "author": "dev-1", "target": {"source": "ide", "id": "e-1"}}
INTERACTION: dict[str, Any] = {
    "agent": "sql",
    "version": "v0",
    "messages": MESSAGES,
    "completion": "DELETE FROM customers WHERE id=17",
    "token_ids": [5, 6],
    "logprobs": [-0.1, -0.2],
    "sampling": {"temperature": 0},
}
RECEIVED_S = 1795348800.0  # 2026-11-22T12:00:00Z
EVENT_DATA = {
    "correction": CORRECTION,
    "intervention": INTERVENTION,
    "outcome": OUTCOME,
    "retraction": RETRACTION,
    "interaction": INTERACTION,
}


def build_reader(kinds: frozenset[str] = KINDS) -> Reader:
    return Reader(IDENTITY, Redactor(IDENTITY.fingerprint, kinds))


def build_headers(kind: str, **changed: bytes | None) -> tuple[tuple[str, bytes | None], ...]:
    """CloudEvents' binary mode; None leaves a header out."""
    given = {
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"ide",
        "ce_type": f"clorad.{kind}.v1".encode(),
        "content-type": b"application/json",
    } | changed
    return tuple((name, value) for name, value in given.items() if value is not None)


def read_record(
    data: Any, kind: str = "correction", *, received_s: float = RECEIVED_S, **changed: bytes | None
) -> Arrival:
    """What a record in binary mode turns out to be; `data` as bytes goes on the wire as it is."""
    value = data if isinstance(data, bytes) else json.dumps(data).encode()
    return build_reader().read(
        offset=0, key=b"c-1", value=value, headers=build_headers(kind, **changed), received_s=received_s
    )


def redact_text(text: str) -> tuple[str, dict[str, int]]:
    counts: Counter[str] = Counter()
    return Redactor(IDENTITY.fingerprint).text(text, counts), dict(counts)
