"""A list of events by agent, kind, author and status, newest first, a page at a time."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from ledger.events import KeptEvent
from ledger.learning.event_queries import events_by_seq
from ledger.schema import events, turn_events
from ledger.turn_states import TurnPart, in_part


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are listed. What is None chooses all."""

    agent: str | None = None
    kind: str | None = None
    author: str | None = None
    status: str | None = None
    role: str | None = None
    since_s: float | None = None  # stored at that time or later
    turn: int | None = None  # new in that turn


def event_list(
    connection: Connection, chosen: EventFilter, *, before_seq: int | None, limit: int
) -> list[KeptEvent]:
    """At most `limit` of the chosen events, newest first; with `before_seq`, older than that event."""
    query = select(events.c.seq)
    for column, value in (
        (events.c.agent, chosen.agent),
        (events.c.kind, chosen.kind),
        (events.c.author, chosen.author),
        (events.c.status, chosen.status),
        (events.c.role, chosen.role),
    ):
        if value is not None:
            query = query.where(column == value)
    if chosen.since_s is not None:
        query = query.where(events.c.received_s >= chosen.since_s)
    if chosen.turn is not None:
        members = select(turn_events.c.event_seq).where(
            turn_events.c.turn_id == chosen.turn, in_part(TurnPart.NEW)
        )
        query = query.where(events.c.seq.in_(members))
    if before_seq is not None:
        query = query.where(events.c.seq < before_seq)
    by_seq = events_by_seq(connection, connection.scalars(query.order_by(events.c.seq.desc()).limit(limit)))
    return [by_seq[seq] for seq in sorted(by_seq, reverse=True)]
