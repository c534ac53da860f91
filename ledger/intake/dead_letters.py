"""Dead letters: records that could not be used, kept whole so that people can read and resend them."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, func, select

from ledger.events import DeadLetter, Headers, Reason
from ledger.intake.outbox import from_json
from ledger.schema import dead_letters

LOOK_BACK_MAX = 20_000
"""How many of the newest dead letters a search by event id reads: the id has no column."""


def counts(connection: Connection) -> dict[Reason, int]:
    """How many dead letters there are, by reason."""
    query = select(dead_letters.c.reason, func.count()).group_by(dead_letters.c.reason)
    return {Reason(reason): int(count) for reason, count in connection.execute(query)}


def unsent_count(connection: Connection) -> int:
    """How many dead letters were never sent again."""
    query = select(func.count()).select_from(dead_letters).where(dead_letters.c.redriven_s.is_(None))
    return int(connection.scalar(query) or 0)


def newest(
    connection: Connection,
    *,
    limit: int,
    offset: int = 0,
    reason: Reason | None = None,
    unsent: bool = False,
) -> list[DeadLetter]:
    """`limit` dead letters after the first `offset`, newest first; with `unsent`, those never sent again."""
    query = select(dead_letters).order_by(dead_letters.c.id.desc()).limit(limit).offset(offset)
    if reason is not None:
        query = query.where(dead_letters.c.reason == reason.value)
    if unsent:
        query = query.where(dead_letters.c.redriven_s.is_(None))
    return read_letters(connection, query)


def read_letters(connection: Connection, query: Select[Any]) -> list[DeadLetter]:
    """The dead letters that a query over their table yields, in its order."""
    return [_letter(row) for row in connection.execute(query)]


def read(connection: Connection, letter_id: int) -> DeadLetter | None:
    """The dead letter of that number, or None."""
    row = connection.execute(select(dead_letters).where(dead_letters.c.id == letter_id)).one_or_none()
    return None if row is None else _letter(row)


def letters_named(connection: Connection, uid: str) -> list[DeadLetter]:
    """Dead letters whose event is named `SOURCE#ID` (or has that bare id), newest first."""
    query = select(dead_letters).order_by(dead_letters.c.id.desc()).limit(LOOK_BACK_MAX)
    return [letter for letter in read_letters(connection, query) if uid in set(event_names(letter))]


def event_names(letter: DeadLetter) -> Iterator[str]:
    """The id of the record's event, bare and as `SOURCE#ID`, in either mode of CloudEvents; else nothing."""
    headers = {name.lower(): (value or b"").decode("utf-8", "replace") for name, value in letter.headers}
    named = [(headers.get("ce_source", ""), headers["ce_id"])] if "ce_id" in headers else []
    if not named and letter.value is not None:
        try:
            body = json.loads(letter.value)
        except (ValueError, RecursionError):
            return
        if isinstance(body, dict) and isinstance(body.get("id"), str):
            named = [(str(body.get("source", "")), body["id"])]
    for source, id in named:
        yield id
        yield f"{source}#{id}"


def to_json(letter: DeadLetter) -> dict[str, Any]:
    """The dead letter for programs; key and value are in base64."""
    return {
        "id": letter.id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason.value,
        "detail": letter.detail,
        **record_json(letter.key, letter.value, letter.headers),
        "received_s": letter.received_s,
        "redriven_s": letter.redriven_s,
        "redriven_by": letter.redriven_by,
        "redriven_why": letter.redriven_why,
        "forgotten": letter.forgotten,
    }


def record_json(key: bytes | None, value: bytes | None, headers: Headers) -> dict[str, Any]:
    """A Kafka record for programs: key and value in base64, headers as text."""
    return {
        "key": _base64(key),
        "value": _base64(value),
        "headers": [
            [name, None if value is None else value.decode("utf-8", "replace")] for name, value in headers
        ],
    }


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        reason=Reason(row.reason),
        detail=row.detail,
        key=row.key,
        value=row.value,
        headers=from_json(row.headers),
        received_s=row.received_s,
        redriven_s=row.redriven_s,
        forgotten=row.forgotten,
        redriven_by=row.redriven_by,
        redriven_why=row.redriven_why,
    )
