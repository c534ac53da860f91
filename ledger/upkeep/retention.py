"""Deletes interactions that no event names after some days. They are the largest part of most ledgers.

Read transactions find them, and each write transaction deletes a few hundred rows at most, so that other
writers never wait for long. Ranges still count the deleted rows, so that an audit stays clean.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, delete, func, literal, or_, select
from sqlalchemy.orm import aliased

from ledger.database import Database, now_s
from ledger.schema import events, interactions, turn_replies

PAGE_ROWS = 200
"""Interactions that one transaction reads, or deletes, at most."""

DAY_S = 24 * 3600.0

Mark = tuple[float, str]
"""The last interaction of a page: when it was stored, and its id."""


def pages(database: Database, *, older_than_s: float) -> Iterator[list[str]]:
    """Pages of ids of interactions stored more than `older_than_s` seconds ago that no event names, oldest
    first.

    A page may be empty. No transaction is open between two pages: much time may pass between them.
    """
    with database.read() as connection:
        before_s = now_s(connection) - older_than_s
    mark: Mark | None = None
    while True:
        with database.read() as connection:
            read, unneeded = _page(connection, before_s, mark)
        if not read:
            return
        yield unneeded
        mark = read[-1]


def delete_unneeded(database: Database, ids: Sequence[str]) -> int:
    """Delete those of these interactions that no event names by now. Returns how many."""
    if not ids:
        return 0
    with database.write() as connection:
        deletion = delete(interactions).where(interactions.c.id.in_(ids), _is_unneeded())
        return connection.execute(deletion).rowcount


def would_go(connection: Connection, *, older_than_s: float) -> tuple[int, int]:
    """How many interactions would be deleted now, and the bytes of their texts."""
    size = func.length(cast(interactions.c.messages, Text)) + func.length(interactions.c.completion)
    size += func.length(cast(interactions.c.request, Text))
    size += func.coalesce(func.length(interactions.c.packed_prompt), 0)
    query = select(func.count(), func.sum(size)).where(
        interactions.c.received_s < now_s(connection) - older_than_s, _is_unneeded()
    )
    rows, size_bytes = connection.execute(query).one()
    return int(rows), int(size_bytes or 0)


def _page(connection: Connection, before_s: float, mark: Mark | None) -> tuple[list[Mark], list[str]]:
    query = select(interactions.c.received_s, interactions.c.id).where(interactions.c.received_s < before_s)
    if mark is not None:
        beyond = or_(interactions.c.received_s > mark[0], interactions.c.id > mark[1])
        query = query.where(interactions.c.received_s >= mark[0], beyond)
    query = query.order_by(interactions.c.received_s, interactions.c.id).limit(PAGE_ROWS)
    marks: list[Mark] = [(row.received_s, row.id) for row in connection.execute(query)]
    ids = [id for _, id in marks]
    unneeded = select(interactions.c.id).where(interactions.c.id.in_(ids), _is_unneeded())
    return marks, list(connection.scalars(unneeded))


def _is_unneeded() -> ColumnElement[bool]:
    """Whether no turn has it as an anchor, and no event names it, its conversation, or another one of that.

    Labels need whole conversations (`rewards.credit`). A forgotten interaction stays, empty: without its row
    it would be stored again if Kafka delivered it again.
    """
    other: Any = aliased(interactions)
    named = select(literal(1)).where(events.c.interaction == interactions.c.id)
    in_conversation = select(literal(1)).where(
        events.c.agent == interactions.c.agent, events.c.conversation == interactions.c.conversation
    )
    other_named = (
        select(literal(1))
        .select_from(other)
        .join(events, events.c.interaction == other.c.id)
        .where(other.c.agent == interactions.c.agent, other.c.conversation == interactions.c.conversation)
    )
    shown = select(literal(1)).where(turn_replies.c.interaction == interactions.c.id)
    return and_(
        interactions.c.forgotten.is_(None),
        ~shown.correlate(interactions).exists(),
        ~named.correlate(interactions).exists(),
        ~in_conversation.correlate(interactions).exists(),
        ~other_named.correlate(interactions).exists(),
    )
