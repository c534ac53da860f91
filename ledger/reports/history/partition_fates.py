"""What became of the records of each partition, in counts, and the gaps that intake skipped."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ledger.reports.audit import FATE_SUMS
from ledger.schema import ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFates:
    """The counts of one partition since its first offset that was read."""

    topic_id: str
    partition: int
    records: int
    stored: int
    dead: int
    duplicates: int
    gaps: int  # ranges of offsets that intake skipped, each with a reason


def partition_fates(connection: Connection) -> dict[tuple[str, int], PartitionFates]:
    """By topic id and partition."""
    query = select(
        ranges.c.topic_id,
        ranges.c.partition,
        *FATE_SUMS,
        func.count(ranges.c.gap).label("gaps"),
    ).group_by(ranges.c.topic_id, ranges.c.partition)
    return {
        (row.topic_id, row.partition): PartitionFates(
            topic_id=row.topic_id,
            partition=row.partition,
            records=int(row.records),
            stored=int(row.stored),
            dead=int(row.dead),
            duplicates=int(row.duplicates),
            gaps=int(row.gaps),
        )
        for row in connection.execute(query)
    }
