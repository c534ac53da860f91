"""The load of the ledger in rows and bytes: events that were not taught, messages that were not sent.

Counting a backlog reads all of it, so it is not counted while the whole ledger is small.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Text, cast, func, select

from ledger.learning.backlog import is_untaught
from ledger.reports.sizes import database_bytes
from ledger.schema import events, outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How much waits; an upper bound if the ledger is small."""

    events: int
    messages: int
    size_bytes: int


def waiting(connection: Connection, *, rows_few: int, bytes_few: int) -> Waiting:
    """How much waits, in one snapshot. It is counted only in a ledger of `rows_few` rows or `bytes_few`
    bytes.

    Bytes are those of the events' data and of the messages' values, as stored.
    """
    rows = int(connection.scalar(select(func.max(events.c.seq))) or 0)
    messages = select(func.count(), func.sum(func.length(outbox.c.value))).where(outbox.c.sent_s.is_(None))
    owed, owed_bytes = connection.execute(messages).one()
    size_bytes = database_bytes(connection, free_pages=False)
    if rows + owed < rows_few and size_bytes < bytes_few:
        return Waiting(events=rows, messages=int(owed), size_bytes=size_bytes)
    untaught, untaught_bytes = connection.execute(_untaught()).one()
    return Waiting(
        events=int(untaught),
        messages=int(owed),
        size_bytes=int(untaught_bytes or 0) + int(owed_bytes or 0),
    )


def _untaught() -> Select[Any, Any]:
    # JSON is stored as ASCII, so that characters are bytes.
    size_bytes = func.sum(func.length(cast(events.c.data, Text)))
    return select(func.count().label("events"), size_bytes.label("size_bytes")).where(is_untaught())
