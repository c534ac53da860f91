"""Reading records that could not be used. They are kept whole, so they can be looked at and sent again."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, func, select

from ledger.events import DeadLetter, Reason
from ledger.intake.outbox import from_json
from ledger.schema import dead_letters

LOOK_BACK_MAX = 20_000
"""How many dead letters are looked through for an event's name; they have no column for it."""


def counts(connection: Connection) -> dict[Reason, int]:
    """How many there are, by reason."""
    query = select(dead_letters.c.reason, func.count()).group_by(dead_letters.c.reason)
    return {Reason(reason): int(count) for reason, count in connection.execute(query)}


def newest(connection: Connection, *, limit: int, reason: Reason | None = None) -> list[DeadLetter]:
    """The last ones, newest first."""
    query = select(dead_letters).order_by(dead_letters.c.id.desc()).limit(limit)
    if reason is not None:
        query = query.where(dead_letters.c.reason == reason.value)
    return found(connection, query)


def found(connection: Connection, query: Select[Any]) -> list[DeadLetter]:
    """The dead letters a query over their table yields, in its order."""
    return [_letter(row) for row in connection.execute(query)]


def read(connection: Connection, letter_id: int) -> DeadLetter | None:
    """One dead letter; None where there is none of that number."""
    row = connection.execute(select(dead_letters).where(dead_letters.c.id == letter_id)).one_or_none()
    return None if row is None else _letter(row)


def naming(connection: Connection, uid: str) -> list[DeadLetter]:
    """Dead letters that call themselves `SOURCE#ID` (or that bare id), newest first."""
    query = select(dead_letters).order_by(dead_letters.c.id.desc()).limit(LOOK_BACK_MAX)
    letters = (_letter(row) for row in connection.execute(query))
    return [letter for letter in letters if uid in set(names(letter))]


def names(letter: DeadLetter) -> Iterator[str]:
    """What the record calls itself, in the two modes of CloudEvents; garbage has no name."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in letter.headers}
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
    )
