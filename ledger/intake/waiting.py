"""Feedback that names an interaction waits for it, with its record kept whole, for a limited time.

Given up, it is no event any more but a dead letter: the offset has one disposition before and after, and the
record can be sent again once the interaction is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select, update

from ledger.database import Database, in_chunks, now_s
from ledger.events import Arrival, Event, Partition, Reason, Status, UnusableRecord
from ledger.facts import fact, set_fact
from ledger.intake import event_rows, outbox
from ledger.schema import events, positions, ranges, waiting_records

GIVE_UP_MAX = 500
"""Events given up in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingState:
    """What waits, by the ledger's clock."""

    oldest_s: float | None  # when the event was kept that has waited longest; None where none waits
    records: int  # beside events, also such that do not wait any more
    waiting: int


def remember(connection: Connection, partition: Partition, fresh: Sequence[tuple[Arrival, Event]]) -> None:
    """Keep the records of those new events that wait."""
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
    """What waits now."""
    oldest_s, waiting = connection.execute(_waiting(func.min(events.c.received_s), func.count())).one()
    records = connection.scalar(select(func.count()).select_from(waiting_records))
    return WaitingState(oldest_s=oldest_s, records=int(records or 0), waiting=int(waiting))


def forget_joined(database: Database) -> None:
    """Records are kept for waiting events only, from now on."""
    with database.write() as connection:
        still = select(events.c.seq).where(_same_place(), *_waits())
        connection.execute(delete(waiting_records).where(~still.exists()))


def give_up(database: Database, *, kept_before_s: float, dead_letter_topic: str) -> int:
    """Events that wait since before that moment are dead letters, once. Returns how many became some.

    What an event that is given up has replaced (an earlier revision) does not come back: somebody amended it.
    """
    there = and_(
        positions.c.topic_id == waiting_records.c.topic_id,
        positions.c.partition == waiting_records.c.partition,
    )
    query = (
        _waiting(waiting_records, events.c.seq, positions.c.topic, positions.c.cluster_id)
        .join(positions, there)
        .where(events.c.received_s < kept_before_s)
        .order_by(events.c.seq)
        .limit(GIVE_UP_MAX)
    )
    with database.write() as connection:
        rows = connection.execute(query).all()
        for row in rows:
            _make_dead_letter(connection, row, dead_letter_topic)
        _forget(connection, [row.seq for row in rows])
        return len(rows)


def _waiting(*columns: Any) -> Select[Any]:
    """Of events whose prompt is not known, with the records they came in."""
    return select(*columns).select_from(waiting_records).join(events, _same_place()).where(*_waits())


def _waits() -> tuple[ColumnElement[bool], ...]:
    return events.c.status == Status.WAITING.value, events.c.role.is_(None)


def _same_place() -> Any:
    return and_(*(events.c[name] == waiting_records.c[name] for name in ("topic_id", "partition", "offset")))


def _make_dead_letter(connection: Connection, row: Any, dead_letter_topic: str) -> None:
    """One event's record as a dead letter, and its range saying so."""
    partition = Partition(
        cluster_id=row.cluster_id, topic=row.topic, topic_id=row.topic_id, number=row.partition
    )
    why = UnusableRecord(reason=Reason.ORPHAN, detail="what it is about did not arrive in time")
    arrival = Arrival(
        offset=row.offset, key=row.key, value=row.value, headers=outbox.from_json(row.headers), content=why
    )
    event_rows.store_dead_letters(
        connection, partition, [(arrival, why)], now_s(connection), dead_letter_topic
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
    """No such events are kept; their numbers are not given out again."""
    if not seqs:
        return
    newest = int(connection.scalar(select(func.max(events.c.seq))) or 0)
    connection.execute(delete(events).where(events.c.seq.in_(seqs)))
    if newest in seqs:
        set_fact(
            connection, event_rows.SEQ_FLOOR, max(newest, int(fact(connection, event_rows.SEQ_FLOOR) or 0))
        )
