"""Stores what Kafka delivered: events, dead letters and offsets in one transaction, or nothing.

A compare-and-swap on `positions.next_offset` is the fence. A second writer, whose partition went to another
member or who was stopped for long, sees that the offset has moved and stores nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ledger.database import Database, in_chunks, now_s
from ledger.errors import MovedOn
from ledger.events import (
    Arrival,
    Batch,
    Event,
    Interaction,
    LiveCounts,
    Partition,
    Reason,
    UnusableRecord,
)
from ledger.facts import fact, partitions_of_topic, set_fact
from ledger.intake import amendments, event_rows, live_counts, prompt_roles, waiting
from ledger.intake.event_ids import Conflict, Duplicate, StoredIds, identify, read_ids
from ledger.intake.ownership import TrustLevels, levels_from, may_act, unsigned_refusal
from ledger.schema import agents, interactions, positions, ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How many records one transaction stored, and as what."""

    stored: int
    dead: Mapping[Reason, int]
    duplicates: int
    not_yours: int = 0  # of those stored: they act on other people's events, and change nothing


def next_offset(database: Database, partition: Partition) -> int | None:
    """The offset to read next; None if this incarnation of the topic was never read."""
    with database.read() as connection:
        return _next_offset(connection, partition)


def next_offsets(database: Database, topic_id: str) -> dict[int, int]:
    """The offset to read next, of every partition of this incarnation of a topic that was read before."""
    query = select(positions.c.partition, positions.c.next_offset).where(positions.c.topic_id == topic_id)
    with database.read() as connection:
        return {row.partition: row.next_offset for row in connection.execute(query)}


def known_topic_ids(database: Database, topic: str) -> dict[str, str]:
    """The topic ids that this ledger has read under that name, each with its cluster."""
    query = select(positions.c.topic_id, positions.c.cluster_id).where(positions.c.topic == topic).distinct()
    with database.read() as connection:
        return {row.topic_id: row.cluster_id for row in connection.execute(query)}


def initial_partitions(database: Database, partition: Partition, *, now: int) -> int:
    """How many partitions the topic had when this ledger first read it; `now` if that is the first time."""
    name = partitions_of_topic(partition.topic_id)
    begun = select(func.max(positions.c.partition)).where(positions.c.topic_id == partition.topic_id)
    with database.write() as connection:
        initial = fact(connection, name)
        if initial is None:
            last = connection.scalar(begun)  # of a ledger from before this was remembered
            initial = str(now if last is None else last + 1)
            set_fact(connection, name, initial)
        return int(initial)


def start_at(database: Database, partition: Partition, offset: int) -> int:
    """Make `offset` the next offset of a partition that was never read. Returns its next offset."""
    with database.write() as connection:
        known = _next_offset(connection, partition)
        if known is not None:
            return known
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
    """Store the batches, their dead letters and their offsets in one transaction.

    Raises `MovedOn` and changes nothing if a batch does not begin at the partition's next offset. The same
    event at another offset counts as a duplicate. `administrators` are authors whose signed events may
    change what others wrote. `reached` is called with "intake-in-transaction" when all is written and nothing
    committed.
    """
    with database.write() as connection:
        received_s = now_s(connection)
        for batch in batches:
            _advance(connection, batch, received_s)
        sorted_batches = _sort(connection, batches, administrators)
        pairs = list(zip(batches, sorted_batches, strict=True))
        captured = prompt_roles.with_roles(
            connection, [interaction for records in sorted_batches for interaction in records.interactions]
        )
        for records in sorted_batches:
            records.give_roles(connection)
        fresh = [
            (batch.partition, arrival, event) for batch, records in pairs for arrival, event in records.events
        ]
        event_rows.store(connection, fresh, received_s)
        event_rows.store_interactions(connection, captured, received_s)
        counted = [counts for records in sorted_batches for counts in records.counts]
        live_counts.store_live_counts(connection, counted, received_s)
        for batch, records in pairs:
            event_rows.store_dead_letters(
                connection, batch.partition, records.dead, received_s, dead_letter_topic
            )
        confirmed = [event for records in sorted_batches for event in records.confirmed]
        event_rows.confirm(connection, confirmed)
        amendments.apply(connection, [*(event for _, _, event in fresh), *confirmed])
        not_yours = event_rows.count_not_yours(connection, [event for _, _, event in fresh])
        for batch, records in pairs:
            waiting.remember(connection, batch.partition, records.events)
        rows = [_range(batch, records, received_s) for batch, records in pairs]
        if rows:
            connection.execute(insert(ranges), rows)
        reached("intake-in-transaction")
    return Kept(
        stored=sum(records.stored for records in sorted_batches),
        dead=Counter(unusable.reason for records in sorted_batches for _, unusable in records.dead),
        duplicates=sum(records.duplicates for records in sorted_batches),
        not_yours=not_yours,
    )


def _range(batch: Batch, records: "_SortedBatch", kept_s: float) -> dict[str, Any]:
    return {
        "topic_id": batch.partition.topic_id,
        "partition": batch.partition.number,
        "start": batch.start,
        "end": batch.end,
        "records": len(batch.arrivals),
        "stored": records.stored,
        "interactions": len(records.interactions) + len(records.counts),
        "dead": len(records.dead),
        "duplicates": records.duplicates,
        "kept_s": kept_s,
        "gap": batch.gap,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is stored, and what this transaction adds: its batches may repeat each other."""

    agents: Mapping[str, TrustLevels]
    administrators: frozenset[str]
    ids: StoredIds
    interactions: set[str]
    sequences: dict[tuple[str, str], int]  # of gateways' counts, by producer and agent


def _sort(
    connection: Connection, batches: Sequence[Batch], administrators: frozenset[str]
) -> list["_SortedBatch"]:
    contents = [arrival.content for batch in batches for arrival in batch.arrivals]
    known = _Known(
        agents={
            row.name: levels_from(row.trust)
            for row in connection.execute(select(agents.c.name, agents.c.trust))
        },
        administrators=administrators,
        ids=read_ids(connection, [event for event in contents if isinstance(event, Event)]),
        interactions=_stored_interactions(
            connection, [content.id for content in contents if isinstance(content, Interaction)]
        ),
        sequences=live_counts.sequences(
            connection, [content for content in contents if isinstance(content, LiveCounts)]
        ),
    )
    return [_SortedBatch.of(batch, known) for batch in batches]


@dataclass(slots=True, kw_only=True)
class _SortedBatch:
    """The records of a batch by what becomes of them; each is in one place."""

    events: list[tuple[Arrival, Event]]
    confirmed: list[Event]  # stored unsigned before; the signed copy is a duplicate
    interactions: list[Interaction]
    counts: list[LiveCounts]
    dead: list[tuple[Arrival, UnusableRecord]]
    duplicates: int

    @property
    def stored(self) -> int:
        return len(self.events) + len(self.interactions) + len(self.counts)

    def give_roles(self, connection: Connection) -> None:
        """Give a role to the events that have their prompt."""
        with_role = prompt_roles.with_roles(connection, [event for _, event in self.events])
        self.events = [(arrival, event) for (arrival, _), event in zip(self.events, with_role, strict=True)]

    @classmethod
    def of(cls, batch: Batch, known: "_Known") -> "_SortedBatch":
        sorted_batch = cls(events=[], confirmed=[], interactions=[], counts=[], dead=[], duplicates=0)
        for arrival in batch.arrivals:
            content = arrival.content
            if isinstance(content, UnusableRecord):
                sorted_batch.dead.append((arrival, content))
            elif content.agent not in known.agents:
                sorted_batch.dead.append(
                    (arrival, UnusableRecord(reason=Reason.UNKNOWN_AGENT, detail="not declared"))
                )
            elif isinstance(content, Interaction):
                if content.id in known.interactions:
                    sorted_batch.duplicates += 1
                else:
                    known.interactions.add(content.id)
                    sorted_batch.interactions.append(content)
            elif isinstance(content, LiveCounts):
                producer = (content.producer, content.agent)
                if content.sequence <= known.sequences.get(producer, 0):
                    sorted_batch.duplicates += 1
                else:
                    known.sequences[producer] = content.sequence
                    sorted_batch.counts.append(content)
            elif refusal := unsigned_refusal(content, known.agents[content.agent]):
                sorted_batch.dead.append((arrival, UnusableRecord(reason=Reason.UNSIGNED, detail=refusal)))
            else:
                acting = replace(content, acts=may_act(content, known.administrators))
                sorted_batch.place(arrival, acting, known.ids)
        return sorted_batch

    def place(self, arrival: Arrival, event: Event, known: StoredIds) -> None:
        """Sort an event in. A new one is stored; the same body again is a duplicate, another body by the
        same author a conflict."""
        match identify(event, known):
            case Event() as new:
                self.events.append((arrival, new))
            case Duplicate(id=id, raises_trust=raises_trust):
                self.duplicates += 1
                if raises_trust:
                    self.confirmed.append(replace(event, id=id))
            case Conflict(digest=digest):
                detail = f"id already kept with another body ({digest[:12]}, now {event.digest[:12]})"
                self.dead.append((arrival, UnusableRecord(reason=Reason.CONFLICT, detail=detail)))


def _next_offset(connection: Connection, partition: Partition) -> int | None:
    offset = connection.scalar(
        select(positions.c.next_offset).where(
            positions.c.topic_id == partition.topic_id, positions.c.partition == partition.number
        )
    )
    return None if offset is None else int(offset)


def _advance(connection: Connection, batch: Batch, now: float) -> None:
    """Move the partition's next offset from `start` to `end`. Raises `MovedOn` if it is not at `start`."""
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


def _stored_interactions(connection: Connection, ids: Sequence[str]) -> set[str]:
    stored: set[str] = set()
    for chunk in in_chunks(ids):
        stored.update(connection.scalars(select(interactions.c.id).where(interactions.c.id.in_(chunk))))
    return stored
