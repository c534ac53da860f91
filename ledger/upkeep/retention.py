"""Deletes interactions that no event is about after some days. They are most of what a ledger holds.

Reading transactions find them; each writing one deletes a few hundred rows at most, so that SQLite's one
writer is never blocked for long. Ranges still count what was kept, so an audit stays true.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, delete, func, literal, or_, select
from sqlalchemy.orm import aliased

from ledger.database import Database, now_s
from ledger.schema import events, interactions

PAGE_ROWS = 200
"""Interactions looked at in one transaction, and deleted in one at most."""

DAY_S = 24 * 3600.0

Mark = tuple[float, str]
"""Where a walk has got to: when an interaction was kept, and its id."""


def pages(database: Database, *, older_than_s: float) -> Iterator[list[str]]:
    """Ids of interactions kept longer ago than that which no event is about, oldest first, page by page.

    A page may be empty. Nothing is held between two pages: they may be far apart.
    """
    with database.read() as connection:
        before_s = now_s(connection) - older_than_s
    mark: Mark | None = None
    while True:
        with database.read() as connection:
            looked_at, unneeded = _page(connection, before_s, mark)
        if not looked_at:
            return
        yield unneeded
        mark = looked_at[-1]


def delete_unneeded(database: Database, ids: Sequence[str]) -> int:
    """These interactions are gone, but for those that an event has come to be about. Returns how many."""
    if not ids:
        return 0
    with database.write() as connection:
        gone = delete(interactions).where(interactions.c.id.in_(ids), _is_unneeded())
        return connection.execute(gone).rowcount


def would_go(connection: Connection, *, older_than_s: float) -> tuple[int, int]:
    """How many interactions that is just now, and their texts in bytes."""
    size = func.length(cast(interactions.c.messages, Text)) + func.length(interactions.c.completion)
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
    looked_at: list[Mark] = [(row.received_s, row.id) for row in connection.execute(query)]
    ids = [id for _, id in looked_at]
    unneeded = select(interactions.c.id).where(interactions.c.id.in_(ids), _is_unneeded())
    return looked_at, list(connection.scalars(unneeded))


def _is_unneeded() -> ColumnElement[bool]:
    """No event names it, its conversation, or another interaction of that conversation.

    Labels look at whole conversations (`rewards.credit`). A forgotten one stays, empty: it would come back.
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
    return and_(
        interactions.c.forgotten.is_(None),
        ~named.correlate(interactions).exists(),
        ~in_conversation.correlate(interactions).exists(),
        ~other_named.correlate(interactions).exists(),
    )
