"""Messages the ledger owes Kafka. Written with the fact they report, sent later, at least once, in order."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from ledger.database import Database, now_s
from ledger.events import Headers
from ledger.schema import outbox

Outgoing = tuple[str, bytes | None, bytes | None, Headers]
"""What one message will be: topic, key, value, headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxMessage:
    """One message to send; `id` is the same at every try, so receivers can drop repeats."""

    id: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


def put(
    connection: Connection, *, topic: str, key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    """Owe one more message, as part of the caller's transaction."""
    put_all(connection, [(topic, key, value, headers)])


def put_all(connection: Connection, messages: Sequence[Outgoing]) -> None:
    """Owe several messages, as part of the caller's transaction."""
    if not messages:
        return
    created_s = now_s(connection)
    rows = [
        {"topic": topic, "key": key, "value": value, "headers": as_json(headers), "created_s": created_s}
        for topic, key, value, headers in messages
    ]
    connection.execute(insert(outbox), rows)


def pending(database: Database, *, limit: int) -> list[OutboxMessage]:
    """The oldest unsent messages, in the order they were owed."""
    query = select(outbox).where(outbox.c.sent_s.is_(None)).order_by(outbox.c.id).limit(limit)
    with database.read() as connection:
        return [
            OutboxMessage(
                id=row.id, topic=row.topic, key=row.key, value=row.value, headers=from_json(row.headers)
            )
            for row in connection.execute(query)
        ]


def mark_sent(database: Database, ids: Sequence[int]) -> None:
    """Kafka acknowledged these."""
    if not ids:
        return
    with database.write() as connection:
        connection.execute(update(outbox).where(outbox.c.id.in_(ids)).values(sent_s=now_s(connection)))


def depth(database: Database) -> tuple[int, float]:
    """How many messages wait, and the age in seconds of the oldest (0 where none waits)."""
    unsent = outbox.c.sent_s.is_(None)
    oldest = select(outbox.c.created_s).where(unsent).order_by(outbox.c.id).limit(1)
    with database.read() as connection:  # counted in the index; the rows may be long, and so may the queue
        waiting = connection.scalar(select(func.count()).select_from(outbox).where(unsent)) or 0
        oldest_s = connection.scalar(oldest)
        return int(waiting), 0.0 if oldest_s is None else max(0.0, now_s(connection) - oldest_s)


def forget_sent(database: Database, *, older_than_s: float) -> int:
    """Drop messages sent longer ago than that. Returns how many.

    The newest one stays: SQLite counts on from the largest id there is, and an id must never name a second
    message, or whoever drops repeats would drop that one.
    """
    newest = select(func.max(outbox.c.id)).scalar_subquery()
    with database.write() as connection:
        old = delete(outbox).where(outbox.c.sent_s < now_s(connection) - older_than_s)
        return connection.execute(old.where(outbox.c.id < newest)).rowcount


def as_json(headers: Headers) -> list[list[str | None]]:
    """Headers as JSON values; bytes in base64."""
    return [[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers]


def from_json(values: Sequence[Sequence[str | None]]) -> Headers:
    """The inverse of `as_json`."""
    return tuple((str(name), None if value is None else base64.b64decode(value)) for name, value in values)
