"""Does every offset of every partition have exactly one disposition? Asked of the rows, not of counters.

Ranges must abut from where a partition began to where it is read next, and what lies in each range must
be what the range says: this many events, dead letters, interactions, duplicates.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select, tuple_
from sqlalchemy.sql.selectable import Subquery

from ledger.schema import dead_letters, events, interactions, positions, ranges

_SHOWN_MAX = 20  # disagreements of one sort; a thousand more would say nothing new

Place = tuple[str, int]
"""Topic id and partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionAudit:
    """What became of one partition of one topic incarnation, in offsets and records."""

    topic: str
    topic_id: str
    partition: int
    began: int
    next_offset: int
    end_offset: int | None = None  # of the broker; None where it was not asked or has no such topic any more
    records: int
    stored: int
    dead: int
    duplicates: int
    holes: int  # offsets without a record: control records, aborted, compacted
    given_up: int  # offsets lost to retention or undecodable, recorded as gaps

    @property
    def unread(self) -> int | None:
        """Offsets the broker has and the ledger has not yet."""
        return None if self.end_offset is None else self.end_offset - self.next_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One thing that is not as it must be."""

    topic: str
    partition: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The answer; clean if nothing disagrees."""

    partitions: tuple[PartitionAudit, ...]
    disagreements: tuple[Disagreement, ...]


def audit(connection: Connection) -> Audit:
    """Check every partition, in one snapshot of the ledger alone; `against` compares it with the broker."""
    names = {
        (row.topic_id, row.partition): row.topic
        for row in connection.execute(select(positions.c.topic_id, positions.c.partition, positions.c.topic))
    }
    partitions = tuple(_partitions(connection))
    found = [
        *_breaks(connection, names),
        *_wrong_counts(connection, names, events, "events", ranges.c.stored - ranges.c.interactions),
        *_wrong_counts(connection, names, dead_letters, "dead letters", ranges.c.dead),
        *_outside(connection, names, events, "events"),
        *_outside(connection, names, dead_letters, "dead letters"),
        *_more_interactions_than_kept(connection),
    ]
    return Audit(partitions=partitions, disagreements=tuple(found))


def against(found: Audit, ends: Mapping[Place, int]) -> Audit:
    """The same with the broker's end offsets, which must have been asked for after the ledger was read.

    A log only grows: whatever a ledger has read lies below an end asked for later, and what lies between
    the two is not read yet. An end that is below all the same is a log that lost records.
    """
    partitions = tuple(
        replace(one, end_offset=ends.get((one.topic_id, one.partition))) for one in found.partitions
    )
    return Audit(partitions=partitions, disagreements=(*found.disagreements, *_wrong_ends(partitions)))


def recount(
    connection: Connection, place: Place, offsets: Iterable[int], *, first: int, end: int
) -> tuple[Disagreement, ...]:
    """Compare the ranges of a partition up to `end` with the records really in the topic.

    `offsets` are those of all visible records below `end`, ascending, from `first` (what retention left)
    on; `end` is where a range ends. Ranges kept since are none of its business.
    """
    query = select(ranges).where(
        ranges.c.topic_id == place[0], ranges.c.partition == place[1], ranges.c.start < end
    )
    wanted = connection.execute(query.order_by(ranges.c.start)).all()
    named = select(positions.c.topic).where(
        positions.c.topic_id == place[0], positions.c.partition == place[1]
    )
    topic = str(connection.scalar(named) or "")
    seen, reading = 0, iter(offsets)
    found: list[Disagreement] = []
    offset = next(reading, None)
    for row in wanted:
        seen = 0
        while offset is not None and offset < row.end:
            seen += offset >= row.start
            offset = next(reading, None)
        if row.start >= first and row.gap is None and seen != row.records:
            what = f"offsets {row.start} to {row.end}: {row.records} records kept, {seen} in the topic"
            found.append(Disagreement(topic=topic, partition=place[1], what=what))
    return tuple(found[:_SHOWN_MAX])


def _partitions(connection: Connection) -> Iterable[PartitionAudit]:
    covered = (ranges.c.end - ranges.c.start) - ranges.c.records
    sums = (
        select(
            ranges.c.topic_id,
            ranges.c.partition,
            func.sum(ranges.c.records).label("records"),
            func.sum(ranges.c.stored).label("stored"),
            func.sum(ranges.c.dead).label("dead"),
            func.sum(ranges.c.duplicates).label("duplicates"),
            func.sum(covered).filter(ranges.c.gap.is_(None)).label("holes"),
            func.sum(covered).filter(ranges.c.gap.is_not(None)).label("given_up"),
        )
        .group_by(ranges.c.topic_id, ranges.c.partition)
        .subquery()
    )
    query = (
        select(positions, sums)
        .outerjoin(
            sums, and_(sums.c.topic_id == positions.c.topic_id, sums.c.partition == positions.c.partition)
        )
        .order_by(positions.c.topic, positions.c.topic_id, positions.c.partition)
    )
    for row in connection.execute(query):
        yield PartitionAudit(
            topic=row.topic,
            topic_id=row.topic_id,
            partition=row.partition,
            began=row.began,
            next_offset=row.next_offset,
            records=int(row.records or 0),
            stored=int(row.stored or 0),
            dead=int(row.dead or 0),
            duplicates=int(row.duplicates or 0),
            holes=int(row.holes or 0),
            given_up=int(row.given_up or 0),
        )


def _wrong_ends(partitions: Iterable[PartitionAudit]) -> Iterable[Disagreement]:
    for one in partitions:
        if one.end_offset is not None and one.end_offset < one.next_offset:
            what = f"read up to {one.next_offset}, but the topic ends at {one.end_offset}"
            yield Disagreement(topic=one.topic, partition=one.partition, what=what)


def _breaks(connection: Connection, names: Mapping[Place, str]) -> Iterable[Disagreement]:
    """Ranges that do not follow on each other, or not from the beginning, or not up to the position."""
    place = (ranges.c.topic_id, ranges.c.partition)
    before = func.lag(ranges.c.end).over(partition_by=place, order_by=ranges.c.start)
    after = func.lead(ranges.c.start).over(partition_by=place, order_by=ranges.c.start)
    lined = select(
        *place, ranges.c.start, ranges.c.end, before.label("before"), after.label("after")
    ).subquery()
    same = and_(lined.c.topic_id == positions.c.topic_id, lined.c.partition == positions.c.partition)
    expected_start = func.coalesce(lined.c.before, positions.c.began)
    query = (
        select(lined, positions.c.next_offset, expected_start.label("expected"))
        .join(positions, same)
        .where(
            (lined.c.start != expected_start)
            | (lined.c.after.is_(None) & (lined.c.end != positions.c.next_offset))
        )
        .limit(_SHOWN_MAX)
    )
    for row in connection.execute(query):
        if row.start != row.expected:
            yield _told(names, row, f"range from {row.start} should start at {row.expected}")
        if row.after is None and row.end != row.next_offset:
            yield _told(names, row, f"ranges end at {row.end}, but reading goes on at {row.next_offset}")
    missing = (
        select(positions)
        .outerjoin(lined, same)
        .where(lined.c.start.is_(None), positions.c.next_offset != positions.c.began)
    )
    for row in connection.execute(missing.limit(_SHOWN_MAX)):
        yield _told(names, row, f"offsets {row.began} to {row.next_offset} are in no range")


def _wrong_counts(
    connection: Connection, names: Mapping[Place, str], table: Any, what: str, expected: Any
) -> Iterable[Disagreement]:
    """Ranges that hold another number of rows than they say."""
    there = _located(table)
    query = (
        select(
            ranges.c.topic_id,
            ranges.c.partition,
            ranges.c.start,
            ranges.c.end,
            expected,
            func.count(there.c.offset),
        )
        .outerjoin(
            there,
            and_(
                there.c.topic_id == ranges.c.topic_id,
                there.c.partition == ranges.c.partition,
                there.c.offset >= ranges.c.start,
                there.c.offset < ranges.c.end,
            ),
        )
        .group_by(ranges.c.topic_id, ranges.c.partition, ranges.c.start)
        .having(func.count(there.c.offset) != expected)
        .limit(_SHOWN_MAX)
    )
    for row in connection.execute(query):
        yield _told(names, row, f"offsets {row.start} to {row.end}: {row[4]} {what} kept, {row[5]} there")


def _outside(
    connection: Connection, names: Mapping[Place, str], table: Any, what: str
) -> Iterable[Disagreement]:
    """Rows beyond what the ranges of their partition cover; inside, ranges are known to abut.

    Looked for beyond either end only: reading all rows for it would double the time an audit takes.
    """
    covered = select(
        ranges.c.topic_id, ranges.c.partition, func.min(ranges.c.start), func.max(ranges.c.end)
    ).group_by(ranges.c.topic_id, ranges.c.partition)
    ends = {(row[0], row[1]): (row[2], row[3]) for row in connection.execute(covered)}
    for place in _places(connection, table):
        start, end = ends.get((place.topic_id, place.partition), (0, 0))
        beyond = sum(
            int(connection.scalar(_number(table, place).where(where)) or 0)
            for where in (table.c.offset < start, table.c.offset >= end)
        )
        if beyond:
            yield _told(names, place, f"{beyond} {what} lie in no range")


def _places(connection: Connection, table: Any) -> Iterable[Any]:
    """Topic ids and partitions that have rows, each found by its own step into the index."""
    place = tuple_(table.c.topic_id, table.c.partition)
    first = select(table.c.topic_id, table.c.partition).order_by(table.c.topic_id, table.c.partition).limit(1)
    found = connection.execute(first).one_or_none()
    while found is not None:
        yield found
        found = connection.execute(first.where(place > tuple(found))).one_or_none()


def _number(table: Any, place: Any) -> Select[Any]:
    return select(func.count()).where(
        table.c.topic_id == place.topic_id, table.c.partition == place.partition
    )


def _more_interactions_than_kept(connection: Connection) -> Iterable[Disagreement]:
    kept = connection.scalar(select(func.sum(ranges.c.interactions))) or 0
    there = connection.scalar(select(func.count()).select_from(interactions)) or 0
    if there > kept:
        yield Disagreement(topic="", partition=-1, what=f"{kept} interactions kept, {there} there")


def _located(table: Any) -> Subquery:
    located: Select[Any] = select(table.c.topic_id, table.c.partition, table.c.offset)
    return located.subquery()


def _told(names: Mapping[Place, str], row: Any, what: str) -> Disagreement:
    topic = names.get((row.topic_id, row.partition), f"topic id {row.topic_id}")
    return Disagreement(topic=topic, partition=row.partition, what=what)
