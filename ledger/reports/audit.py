"""The audit: checks by the rows that every offset has exactly one disposition.

The ranges of a partition must cover its offsets from the first to the next without a gap, and each range
must have as many events, dead letters, interactions and duplicates as it says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, func, select

from ledger.facts import fact, partitions_of_topic
from ledger.reports.audit_checks import (
    SHOWN_MAX,
    Finding,
    broken_ranges,
    rows_outside,
    too_many_interactions,
    wrong_counts,
)
from ledger.schema import dead_letters, events, positions, ranges

Place = tuple[str, int]
"""Topic id and partition."""

FATE_SUMS = tuple(
    func.sum(ranges.c[name]).label(name) for name in ("records", "stored", "dead", "duplicates")
)
"""How many records of a partition were read, and what became of them; to be grouped by partition."""

_NO_FIRSTS: Mapping[Place, int] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionAudit:
    """What became of one partition of one topic incarnation, in offsets and records."""

    topic: str
    topic_id: str
    partition: int
    began: int
    next_offset: int
    end_offset: int | None = None  # of the broker; None if it was not asked, or no longer has the topic
    records: int
    stored: int
    dead: int
    duplicates: int
    holes: int  # offsets without a record: control records, aborted, compacted
    given_up: int  # offsets that retention deleted or that cannot be decoded, recorded as gaps
    is_later: bool = False  # the topic did not have it when it was first read

    @property
    def unread(self) -> int | None:
        """How many offsets the broker has that intake has not read."""
        return None if self.end_offset is None else self.end_offset - self.next_offset

    def to_json(self) -> dict[str, Any]:
        """The partition for programs."""
        return {
            "topic": self.topic,
            "topic_id": self.topic_id,
            "partition": self.partition,
            "from": self.began,
            "to": self.next_offset,
            "records": self.records,
            "stored": self.stored,
            "dead": self.dead,
            "duplicates": self.duplicates,
            "holes": self.holes,
            "given_up": self.given_up,
            "end_offset": self.end_offset,
            "unread": self.unread,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One fault that the audit found."""

    topic: str  # empty if it is about no partition
    partition: int
    what: str

    def to_json(self) -> dict[str, Any]:
        """The disagreement for programs."""
        return {"topic": self.topic, "partition": self.partition, "what": self.what}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The result; clean if nothing disagrees."""

    partitions: tuple[PartitionAudit, ...]
    disagreements: tuple[Disagreement, ...]

    def to_json(self, *, asked: bool, verified: bool) -> dict[str, Any]:
        """The audit for programs. `asked`: the broker was asked. `verified`: the topics were read again."""
        return {
            "clean": not self.disagreements,
            "broker_asked": asked,
            "verified": verified,
            "records": sum(partition.records for partition in self.partitions),
            "stored": sum(partition.stored for partition in self.partitions),
            "dead": sum(partition.dead for partition in self.partitions),
            "duplicates": sum(partition.duplicates for partition in self.partitions),
            "unread": sum(partition.unread or 0 for partition in self.partitions) if asked else None,
            "partitions": [partition.to_json() for partition in self.partitions],
            "disagreements": [disagreement.to_json() for disagreement in self.disagreements],
        }


def audit(connection: Connection) -> Audit:
    """Check every partition in one snapshot of the ledger. `against` compares the result with the broker."""
    topics = {
        (row.topic_id, row.partition): row.topic
        for row in connection.execute(select(positions.c.topic_id, positions.c.partition, positions.c.topic))
    }
    findings = [
        *broken_ranges(connection),
        *wrong_counts(connection, events, "events", ranges.c.stored - ranges.c.interactions),
        *wrong_counts(connection, dead_letters, "dead letters", ranges.c.dead),
        *rows_outside(connection, events, "events"),
        *rows_outside(connection, dead_letters, "dead letters"),
        *too_many_interactions(connection),
    ]
    return Audit(
        partitions=tuple(_partitions(connection)),
        disagreements=tuple(_disagreement(finding, topics) for finding in findings),
    )


def against(audited: Audit, ends: Mapping[Place, int], firsts: Mapping[Place, int] = _NO_FIRSTS) -> Audit:
    """The same audit with the broker's end offsets, and its first ones, which must be read after the ledger.

    A log only grows, so an end that is read later is at or above the ledger's next offset; the offsets
    between them are unread. If the end is below the next offset, the log has lost records. A partition that
    appeared later has nothing from before clorad: it must have been read from its beginning.
    """
    partitions = tuple(
        replace(partition, end_offset=ends.get((partition.topic_id, partition.partition)))
        for partition in audited.partitions
    )
    return Audit(
        partitions=partitions,
        disagreements=(*audited.disagreements, *_wrong_ends(partitions), *_skipped(partitions, firsts)),
    )


def recount(
    connection: Connection, place: Place, offsets: Iterable[int], *, first: int, end: int
) -> tuple[Disagreement, ...]:
    """Compare the ranges of a partition up to `end` with the records that are in the topic.

    `offsets` are those of all visible records from `first` up to `end`, ascending; `first` is the first
    offset that retention has left. `end` is the end of a range; later ranges are not compared.
    """
    of_place = select(ranges).where(ranges.c.topic_id == place[0], ranges.c.partition == place[1])
    rows = connection.execute(of_place.where(ranges.c.start < end).order_by(ranges.c.start)).all()
    topic_of_place = select(positions.c.topic).where(
        positions.c.topic_id == place[0], positions.c.partition == place[1]
    )
    topic = str(connection.scalar(topic_of_place) or "")
    remaining = iter(offsets)
    disagreements: list[Disagreement] = []
    offset = next(remaining, None)
    for row in rows:
        records = 0
        while offset is not None and offset < row.end:
            records += offset >= row.start
            offset = next(remaining, None)
        if row.start >= first and row.gap is None and records != row.records:
            what = f"offsets {row.start} to {row.end}: {row.records} records kept, {records} in the topic"
            disagreements.append(Disagreement(topic=topic, partition=place[1], what=what))
    return tuple(disagreements[:SHOWN_MAX])


def _partitions(connection: Connection) -> Iterable[PartitionAudit]:
    covered = (ranges.c.end - ranges.c.start) - ranges.c.records
    sums = (
        select(
            ranges.c.topic_id,
            ranges.c.partition,
            *FATE_SUMS,
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
    for row in connection.execute(query).all():
        initial = fact(connection, partitions_of_topic(row.topic_id))
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
            is_later=initial is not None and row.partition >= int(initial),
        )


def _wrong_ends(partitions: Iterable[PartitionAudit]) -> Iterable[Disagreement]:
    for partition in partitions:
        if partition.end_offset is not None and partition.end_offset < partition.next_offset:
            what = f"read up to {partition.next_offset}, but the topic ends at {partition.end_offset}"
            yield Disagreement(topic=partition.topic, partition=partition.partition, what=what)


def _skipped(partitions: Iterable[PartitionAudit], firsts: Mapping[Place, int]) -> Iterable[Disagreement]:
    for partition in partitions:
        first = firsts.get((partition.topic_id, partition.partition))
        if partition.is_later and first is not None and first < partition.began:
            what = f"it appeared later, and offsets {first} to {partition.began} were never read"
            yield Disagreement(topic=partition.topic, partition=partition.partition, what=what)


def _disagreement(finding: Finding, topics: Mapping[Place, str]) -> Disagreement:
    if finding.topic_id is None:
        return Disagreement(topic="", partition=finding.partition, what=finding.what)
    topic = topics.get((finding.topic_id, finding.partition), f"topic id {finding.topic_id}")
    return Disagreement(topic=topic, partition=finding.partition, what=finding.what)
