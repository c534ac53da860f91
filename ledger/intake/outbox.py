"""Messages for Kafka: written in the transaction of the fact that they report, sent later, at least once."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from ledger.database import Database, now_s
from ledger.events import Headers
from ledger.schema import outbox

Outgoing = tuple[str, bytes | None, bytes | None, Headers]
"""A message that has no number yet: topic, key, value, headers."""


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
    """Add one message, in the caller's transaction."""
    put_all(connection, [(topic, key, value, headers)])


def put_all(connection: Connection, messages: Sequence[Outgoing]) -> None:
    """Add several messages, in the caller's transaction."""
    if not messages:
        return
    created_s = now_s(connection)
    rows = [
        {"topic": topic, "key": key, "value": value, "headers": as_json(headers), "created_s": created_s}
        for topic, key, value, headers in messages
    ]
    connection.execute(insert(outbox), rows)


def pending(database: Database, *, limit: int) -> list[OutboxMessage]:
    """The oldest unsent messages, in the order in which they were added."""
    query = select(outbox).where(outbox.c.sent_s.is_(None)).order_by(outbox.c.id).limit(limit)
    with database.read() as connection:
        return [
            OutboxMessage(
                id=row.id, topic=row.topic, key=row.key, value=row.value, headers=from_json(row.headers)
            )
            for row in connection.execute(query)
        ]


def mark_sent(database: Database, ids: Sequence[int]) -> None:
    """Note that Kafka acknowledged these messages."""
    if not ids:
        return
    with database.write() as connection:
        connection.execute(update(outbox).where(outbox.c.id.in_(ids)).values(sent_s=now_s(connection)))


def depth(database: Database) -> tuple[int, float]:
    """How many messages wait, and the age in seconds of the oldest (0 where none waits)."""
    unsent = outbox.c.sent_s.is_(None)
    oldest = select(outbox.c.created_s).where(unsent).order_by(outbox.c.id).limit(1)
    with database.read() as connection:  # the database counts in an index: rows may be long, and many
        waiting = connection.scalar(select(func.count()).select_from(outbox).where(unsent)) or 0
        oldest_s = connection.scalar(oldest)
        return int(waiting), 0.0 if oldest_s is None else max(0.0, now_s(connection) - oldest_s)


def forget_sent(database: Database, *, older_than_s: float) -> int:
    """Delete messages sent more than `older_than_s` seconds ago. Returns how many.

    The newest message stays: SQLite counts on from the largest id in the table. If an id named a second
    message, a receiver that drops repeats would drop that message.
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
