"""Events that wait for the interaction they name: their records are stored whole, for a limited time.

After that time the event becomes a dead letter. So the offset has one disposition before and after, and a
person can send the record again once the interaction is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select, update

from ledger.database import Database, in_chunks, now_s
from ledger.events import Arrival, Event, Kind, Partition, Reason, Status, UnusableRecord
from ledger.facts import fact, set_fact
from ledger.intake import event_rows, outbox
from ledger.schema import events, positions, ranges, waiting_records

GIVE_UP_MAX = 500
"""Events that one transaction makes dead letters of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingState:
    """How many events wait, and since when by the ledger's clock."""

    oldest_s: float | None  # when the event that has waited longest was stored; None if none waits
    records: int  # stored beside events, including those of events that no longer wait
    waiting: int


def remember(connection: Connection, partition: Partition, fresh: Sequence[tuple[Arrival, Event]]) -> None:
    """Store the records of those of the new events that wait."""
    unknown = {arrival.offset: arrival for arrival, event in fresh if event.role is None}
    for chunk in in_chunks(list(unknown)):
        query = select(events.c.offset).where(
            events.c.topic_id == partition.topic_id,
            events.c.partition == partition.number,
            events.c.offset.in_(chunk),
            *_waits(),
        )
        rows = [
            {
                "topic_id": partition.topic_id,
                "partition": partition.number,
                "offset": offset,
                "key": unknown[offset].key,
                "value": unknown[offset].value,
                "headers": outbox.as_json(unknown[offset].headers),
            }
            for offset in connection.scalars(query)
        ]
        if rows:
            connection.execute(insert(waiting_records), rows)


def waiting_state(connection: Connection) -> WaitingState:
    """How many events wait now, and since when."""
    oldest_s, waiting = connection.execute(_waiting(func.min(events.c.received_s), func.count())).one()
    records = connection.scalar(select(func.count()).select_from(waiting_records))
    return WaitingState(oldest_s=oldest_s, records=int(records or 0), waiting=int(waiting))


def forget_joined(database: Database) -> None:
    """Delete the stored records of events that no longer wait."""
    with database.write() as connection:
        waiting = select(events.c.seq).where(_same_place(), *_waits())
        connection.execute(delete(waiting_records).where(~waiting.exists()))


def give_up(database: Database, *, kept_before_s: float, dead_letter_topic: str) -> int:
    """Make dead letters of events that have waited since before `kept_before_s`. Returns how many.

    An earlier revision that such an event has replaced stays superseded: its author amended it. An outcome
    that names a conversation alone stays, and teaches nothing: canaries are judged by it also where nothing
    is captured.
    """
    same_partition = and_(
        positions.c.topic_id == waiting_records.c.topic_id,
        positions.c.partition == waiting_records.c.partition,
    )
    query = (
        _waiting(waiting_records, events.c.seq, positions.c.topic, positions.c.cluster_id)
        .join(positions, same_partition)
        .where(events.c.received_s < kept_before_s)
        .order_by(events.c.seq)
        .limit(GIVE_UP_MAX)
    )
    with database.write() as connection:
        _keep_outcomes(connection, kept_before_s)
        rows = connection.execute(query).all()
        for row in rows:
            _make_dead_letter(connection, row, dead_letter_topic)
        _forget(connection, [row.seq for row in rows])
        return len(rows)


def _waiting(*columns: Any) -> Select[Any]:
    """A query over the events that wait, joined with their stored records."""
    return select(*columns).select_from(waiting_records).join(events, _same_place()).where(*_waits())


def _waits() -> tuple[ColumnElement[bool], ...]:
    return events.c.status == Status.WAITING.value, events.c.role.is_(None)


def _keep_outcomes(connection: Connection, kept_before_s: float) -> None:
    connection.execute(
        update(events)
        .where(*_waits(), events.c.received_s < kept_before_s)
        .where(events.c.kind == Kind.OUTCOME.value)
        .where(events.c.conversation.is_not(None), events.c.interaction.is_(None), events.c.amends.is_(None))
        .values(status=Status.BARREN.value, status_reason="nothing of its conversation was captured")
    )


def _same_place() -> Any:
    return and_(*(events.c[name] == waiting_records.c[name] for name in ("topic_id", "partition", "offset")))


def _make_dead_letter(connection: Connection, row: Any, dead_letter_topic: str) -> None:
    """Store one event's record as a dead letter, and correct the counts of its range."""
    partition = Partition(
        cluster_id=row.cluster_id, topic=row.topic, topic_id=row.topic_id, number=row.partition
    )
    orphan = UnusableRecord(reason=Reason.ORPHAN, detail="what it is about did not arrive in time")
    arrival = Arrival(
        offset=row.offset, key=row.key, value=row.value, headers=outbox.from_json(row.headers), content=orphan
    )
    event_rows.store_dead_letters(
        connection, partition, [(arrival, orphan)], now_s(connection), dead_letter_topic
    )
    changed = connection.execute(
        update(ranges)
        .where(
            ranges.c.topic_id == row.topic_id,
            ranges.c.partition == row.partition,
            ranges.c.start <= row.offset,
            ranges.c.end > row.offset,
        )
        .values(stored=ranges.c.stored - 1, dead=ranges.c.dead + 1)
    )
    assert changed.rowcount == 1, "every event lies in one range"


def _forget(connection: Connection, seqs: Sequence[int]) -> None:
    """Delete these events, so that their numbers are never given out again."""
    if not seqs:
        return
    newest = int(connection.scalar(select(func.max(events.c.seq))) or 0)
    connection.execute(delete(events).where(events.c.seq.in_(seqs)))
    if newest in seqs:
        set_fact(
            connection, event_rows.SEQ_FLOOR, max(newest, int(fact(connection, event_rows.SEQ_FLOOR) or 0))
        )
