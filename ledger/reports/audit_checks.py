"""The queries of an audit: ranges with gaps or overlaps, and rows that do not agree with their ranges."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select, tuple_
from sqlalchemy.sql.selectable import Subquery

from ledger.schema import interactions, positions, ranges

SHOWN_MAX = 20
"""Findings of one kind that are reported at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault in the tables."""

    topic_id: str | None  # None if it is about no partition
    partition: int
    what: str


def broken_ranges(connection: Connection) -> Iterable[Finding]:
    """Ranges with a gap or an overlap between them, before the first, or after the last."""
    place = (ranges.c.topic_id, ranges.c.partition)
    before = func.lag(ranges.c.end).over(partition_by=place, order_by=ranges.c.start)
    after = func.lead(ranges.c.start).over(partition_by=place, order_by=ranges.c.start)
    neighbours = select(
        *place, ranges.c.start, ranges.c.end, before.label("before"), after.label("after")
    ).subquery()
    same = and_(
        neighbours.c.topic_id == positions.c.topic_id, neighbours.c.partition == positions.c.partition
    )
    expected_start = func.coalesce(neighbours.c.before, positions.c.began)
    query = (
        select(neighbours, positions.c.next_offset, expected_start.label("expected"))
        .join(positions, same)
        .where(
            (neighbours.c.start != expected_start)
            | (neighbours.c.after.is_(None) & (neighbours.c.end != positions.c.next_offset))
        )
        .limit(SHOWN_MAX)
    )
    for row in connection.execute(query):
        if row.start != row.expected:
            yield _finding(row, f"range from {row.start} should start at {row.expected}")
        if row.after is None and row.end != row.next_offset:
            yield _finding(row, f"ranges end at {row.end}, but reading goes on at {row.next_offset}")
    missing = (
        select(positions)
        .outerjoin(neighbours, same)
        .where(neighbours.c.start.is_(None), positions.c.next_offset != positions.c.began)
    )
    for row in connection.execute(missing.limit(SHOWN_MAX)):
        yield _finding(row, f"offsets {row.began} to {row.next_offset} are in no range")


def wrong_counts(connection: Connection, table: Any, noun: str, expected: Any) -> Iterable[Finding]:
    """Ranges that have another number of rows than they say."""
    rows = _located(table)
    query = (
        select(
            ranges.c.topic_id,
            ranges.c.partition,
            ranges.c.start,
            ranges.c.end,
            expected,
            func.count(rows.c.offset),
        )
        .outerjoin(
            rows,
            and_(
                rows.c.topic_id == ranges.c.topic_id,
                rows.c.partition == ranges.c.partition,
                rows.c.offset >= ranges.c.start,
                rows.c.offset < ranges.c.end,
            ),
        )
        .group_by(ranges.c.topic_id, ranges.c.partition, ranges.c.start)
        .having(func.count(rows.c.offset) != expected)
        .limit(SHOWN_MAX)
    )
    for row in connection.execute(query):
        yield _finding(row, f"offsets {row.start} to {row.end}: {row[4]} {noun} kept, {row[5]} there")


def rows_outside(connection: Connection, table: Any, noun: str) -> Iterable[Finding]:
    """Rows outside the ranges of their partition. The query reads both ends only: `broken_ranges` finds gaps.

    A query over all rows would double the time of an audit.
    """
    covered = select(
        ranges.c.topic_id, ranges.c.partition, func.min(ranges.c.start), func.max(ranges.c.end)
    ).group_by(ranges.c.topic_id, ranges.c.partition)
    ends = {(row[0], row[1]): (row[2], row[3]) for row in connection.execute(covered)}
    for place in _places(connection, table):
        start, end = ends.get((place.topic_id, place.partition), (0, 0))
        beyond = sum(
            int(connection.scalar(_row_count(table, place).where(where)) or 0)
            for where in (table.c.offset < start, table.c.offset >= end)
        )
        if beyond:
            yield _finding(place, f"{beyond} {noun} lie in no range")


def too_many_interactions(connection: Connection) -> Iterable[Finding]:
    """A finding if there are more interactions than the ranges count; retention may have deleted some."""
    kept = connection.scalar(select(func.sum(ranges.c.interactions))) or 0
    rows = connection.scalar(select(func.count()).select_from(interactions)) or 0
    if rows > kept:
        yield Finding(topic_id=None, partition=-1, what=f"{kept} interactions kept, {rows} there")


def _places(connection: Connection, table: Any) -> Iterable[Any]:
    """Topic ids and partitions that have rows. Each costs one look-up in the index, not a scan."""
    key = tuple_(table.c.topic_id, table.c.partition)
    first = select(table.c.topic_id, table.c.partition).order_by(table.c.topic_id, table.c.partition).limit(1)
    place = connection.execute(first).one_or_none()
    while place is not None:
        yield place
        place = connection.execute(first.where(key > tuple(place))).one_or_none()


def _row_count(table: Any, place: Any) -> Select[Any]:
    return select(func.count()).where(
        table.c.topic_id == place.topic_id, table.c.partition == place.partition
    )


def _located(table: Any) -> Subquery:
    located: Select[Any] = select(table.c.topic_id, table.c.partition, table.c.offset)
    return located.subquery()


def _finding(row: Any, what: str) -> Finding:
    return Finding(topic_id=row.topic_id, partition=row.partition, what=what)
