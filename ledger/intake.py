"""Keeping what Kafka delivered: events, dead letters and offsets in one transaction, or nothing.

The compare-and-swap on `positions.next_offset` is the fence: whoever writes second, because its
partition moved to another member or it woke from a long sleep, finds the offset moved and keeps nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from ledger import amendments, arrivals, waiting
from ledger.amendments import some_at_a_time
from ledger.database import Database, now_s
from ledger.events import (
    Arrival,
    Batch,
    Event,
    Interaction,
    Partition,
    Reason,
    Unusable,
)
from ledger.schema import agents, events, interactions, positions, ranges


class MovedOn(Exception):
    """Another member kept offsets of this partition meanwhile. Nothing was kept; seek to `next_offset`."""

    def __init__(self, partition: Partition, next_offset: int | None) -> None:
        super().__init__(f"{partition.topic}[{partition.number}] is at {next_offset}")
        self.partition = partition
        self.next_offset = next_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What one transaction kept, in records."""

    stored: int
    dead: Mapping[Reason, int]
    duplicates: int


def next_offset(database: Database, partition: Partition) -> int | None:
    """The offset to read next; None where this incarnation of the topic was never read."""
    with database.read() as connection:
        return _next_offset(connection, partition)


def next_offsets(database: Database, topic_id: str) -> dict[int, int]:
    """The offset to read next of every partition of one incarnation of a topic that was begun."""
    query = select(positions.c.partition, positions.c.next_offset).where(positions.c.topic_id == topic_id)
    with database.read() as connection:
        return {row.partition: row.next_offset for row in connection.execute(query)}


def known_topic_ids(database: Database, topic: str) -> dict[str, str]:
    """Topic ids this ledger has read under that name, with the cluster each belonged to."""
    query = select(positions.c.topic_id, positions.c.cluster_id).where(positions.c.topic == topic).distinct()
    with database.read() as connection:
        return {row.topic_id: row.cluster_id for row in connection.execute(query)}


def start_at(database: Database, partition: Partition, offset: int) -> int:
    """Begin a partition at `offset` unless it has begun already. Returns where it stands."""
    with database.write() as connection:
        standing = _next_offset(connection, partition)
        if standing is not None:
            return standing
        connection.execute(
            insert(positions).values(
                topic_id=partition.topic_id,
                partition=partition.number,
                topic=partition.topic,
                cluster_id=partition.cluster_id,
                began=offset,
                next_offset=offset,
                updated_s=now_s(connection),
            )
        )
        return offset


def keep(
    database: Database,
    batches: Sequence[Batch],
    *,
    dead_letter_topic: str,
    administrators: frozenset[str] = frozenset(),
    reached: Callable[[str], None] = lambda _: None,
) -> Kept:
    """Keep the batches, their dead letters and their offsets in one transaction.

    Keeping the same offsets again raises `MovedOn` and changes nothing; the same event at another
    offset counts as a duplicate. `administrators` are authors who may retract what others wrote.
    `reached` is told "intake-in-transaction" when all is written and nothing committed.
    """
    stored, duplicates, dead = 0, 0, dict[Reason, int]()
    with database.write() as connection:
        received_s = now_s(connection)
        known_agents = frozenset(connection.scalars(select(agents.c.name)))
        for batch in batches:
            _advance(connection, batch, received_s)
            fates = _Fates.of(connection, batch, known_agents)
            arrivals.store(connection, batch.partition, fates.events, received_s)
            arrivals.store_interactions(connection, fates.interactions, received_s)
            arrivals.bury(connection, batch.partition, fates.dead, received_s, dead_letter_topic)
            amendments.apply(connection, [event for _, event in fates.events], administrators)
            waiting.remember(connection, batch.partition, fates.events)
            connection.execute(
                insert(ranges).values(
                    topic_id=batch.partition.topic_id,
                    partition=batch.partition.number,
                    start=batch.start,
                    end=batch.end,
                    records=len(batch.arrivals),
                    stored=fates.stored,
                    interactions=len(fates.interactions),
                    dead=len(fates.dead),
                    duplicates=fates.duplicates,
                    kept_s=received_s,
                    gap=batch.gap,
                )
            )
            stored += fates.stored
            duplicates += fates.duplicates
            for _, unusable in fates.dead:
                dead[unusable.reason] = dead.get(unusable.reason, 0) + 1
        reached("intake-in-transaction")
    return Kept(stored=stored, dead=dead, duplicates=duplicates)


@dataclass(slots=True, kw_only=True)
class _Fates:
    """Each record of a batch in exactly one place."""

    events: list[tuple[Arrival, Event]]
    interactions: list[Interaction]
    dead: list[tuple[Arrival, Unusable]]
    duplicates: int

    @property
    def stored(self) -> int:
        return len(self.events) + len(self.interactions)

    @classmethod
    def of(cls, connection: Connection, batch: Batch, known_agents: frozenset[str]) -> "_Fates":
        contents = [arrival.content for arrival in batch.arrivals]
        digests = _digests(connection, [content for content in contents if isinstance(content, Event)])
        seen = _seen(connection, [content.id for content in contents if isinstance(content, Interaction)])
        fates = cls(events=[], interactions=[], dead=[], duplicates=0)
        for arrival in batch.arrivals:
            content = arrival.content
            if isinstance(content, Unusable):
                fates.dead.append((arrival, content))
            elif content.agent not in known_agents:
                fates.dead.append((arrival, Unusable(reason=Reason.UNKNOWN_AGENT, detail="not declared")))
            elif isinstance(content, Interaction):
                if content.id in seen:
                    fates.duplicates += 1
                else:
                    seen.add(content.id)
                    fates.interactions.append(content)
            else:
                fates.place(arrival, content, digests)
        return fates

    def place(self, arrival: Arrival, event: Event, digests: dict[tuple[str, str], str]) -> None:
        """A new id is stored, the same body again is a duplicate, another body under it a conflict."""
        known = digests.setdefault((event.source, event.id), "")
        if not known:
            digests[event.source, event.id] = event.digest
            self.events.append((arrival, event))
        elif known == event.digest:
            self.duplicates += 1
        else:
            detail = f"id already kept with another body ({known[:12]}, now {event.digest[:12]})"
            self.dead.append((arrival, Unusable(reason=Reason.CONFLICT, detail=detail)))


def _next_offset(connection: Connection, partition: Partition) -> int | None:
    found = connection.scalar(
        select(positions.c.next_offset).where(
            positions.c.topic_id == partition.topic_id, positions.c.partition == partition.number
        )
    )
    return None if found is None else int(found)


def _advance(connection: Connection, batch: Batch, now: float) -> None:
    """Move the partition from `start` to `end`, if it still stands at `start`."""
    moved = connection.execute(
        update(positions)
        .where(
            positions.c.topic_id == batch.partition.topic_id,
            positions.c.partition == batch.partition.number,
            positions.c.next_offset == batch.start,
        )
        .values(next_offset=batch.end, updated_s=now)
    )
    if moved.rowcount != 1:
        raise MovedOn(batch.partition, _next_offset(connection, batch.partition))


def _digests(connection: Connection, arriving: Sequence[Event]) -> dict[tuple[str, str], str]:
    """Digests of the arriving events that are kept already."""
    kept: dict[tuple[str, str], str] = {}
    by_source: dict[str, list[str]] = {}
    for event in arriving:
        by_source.setdefault(event.source, []).append(event.id)
    for source, ids in by_source.items():  # pairs in one IN would make SQLite read the whole table
        for some in some_at_a_time(ids):
            query = select(events.c.id, events.c.digest).where(
                events.c.source == source, events.c.id.in_(some)
            )
            kept.update({(source, row.id): row.digest for row in connection.execute(query)})
    return kept


def _seen(connection: Connection, ids: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    for some in some_at_a_time(ids):
        seen.update(connection.scalars(select(interactions.c.id).where(interactions.c.id.in_(some))))
    return seen
