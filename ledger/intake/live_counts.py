"""Stores what gateways counted, each record once: a record that arrives again changes nothing."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Table, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ledger.events import LiveCounts
from ledger.schema import live_conversations, live_producers, live_signals

BUCKET_S = 60
"""Seconds of one row of conversations."""


def sequences(connection: Connection, arriving: Sequence[LiveCounts]) -> dict[tuple[str, str], int]:
    """The newest record that was stored of each gateway and agent among these, by producer and agent."""
    producers = {counts.producer for counts in arriving}
    query = select(live_producers).where(live_producers.c.producer.in_(producers))
    return {(row.producer, row.agent): row.sequence for row in connection.execute(query)} if producers else {}


def store_live_counts(connection: Connection, fresh: Sequence[LiveCounts], now: float) -> None:
    """Add the counts of records that are new."""
    for counts in fresh:
        _remember_producer(connection, counts, now)
        for version, counted in counts.versions.items():
            place = {"agent": counts.agent, "canary": counts.canary, "share": counts.share}
            if counted.conversations:
                bucket_s = int(now) // BUCKET_S * BUCKET_S
                _add(connection, {**place, "version": version, "since_s": bucket_s}, counted.conversations)
            rows = [
                {**place, "signal": signal.value, "conversation": name, "version": version, "seen_s": now}
                for signal, names in counted.signals.items()
                for name in names
            ]
            if (
                rows
            ):  # a conversation that several gateways saw, or that another version answered, counts once
                connection.execute(_insert_new(connection, live_signals), rows)


def _remember_producer(connection: Connection, counts: LiveCounts, now: float) -> None:
    values = {"sequence": counts.sequence, "seen_s": now}
    known = connection.execute(update(live_producers).where(*_of_producer(counts)).values(**values))
    if known.rowcount == 0:
        row = {"producer": counts.producer, "agent": counts.agent, **values}
        connection.execute(insert(live_producers).values(**row))


def _add(connection: Connection, place: dict[str, object], conversations: int) -> None:
    is_place = [live_conversations.c[name] == value for name, value in place.items()]
    added = live_conversations.c.conversations + conversations
    if (
        connection.execute(update(live_conversations).where(*is_place).values(conversations=added)).rowcount
        == 0
    ):
        connection.execute(insert(live_conversations).values(**place, conversations=conversations))


def _insert_new(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def _of_producer(counts: LiveCounts) -> tuple[ColumnElement[bool], ...]:
    return live_producers.c.producer == counts.producer, live_producers.c.agent == counts.agent
