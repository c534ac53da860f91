"""Keeping what Kafka delivered: events, dead letters and offsets in one transaction, or nothing.

The compare-and-swap on `positions.next_offset` is the fence: whoever writes second, because its
partition moved to another member or it woke from a long sleep, finds the offset moved and keeps nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ledger.database import Database, in_chunks, now_s
from ledger.errors import MovedOn
from ledger.events import (
    Arrival,
    Batch,
    Event,
    Interaction,
    Partition,
    Reason,
    UnusableRecord,
)
from ledger.intake import amendments, event_rows, prompt_roles, waiting
from ledger.schema import agents, events, interactions, positions, ranges


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
    with database.write() as connection:
        received_s = now_s(connection)
        for batch in batches:
            _advance(connection, batch, received_s)
        fates = _fates(connection, batches)
        pairs = list(zip(batches, fates, strict=True))
        spoken = prompt_roles.with_roles(connection, [said for fate in fates for said in fate.interactions])
        for fate in fates:
            fate.give_roles(connection)
        fresh = [(batch.partition, *one) for batch, fate in pairs for one in fate.events]
        event_rows.store(connection, fresh, received_s)
        event_rows.store_interactions(connection, spoken, received_s)
        for batch, fate in pairs:
            event_rows.store_dead_letters(
                connection, batch.partition, fate.dead, received_s, dead_letter_topic
            )
        amendments.apply(connection, [event for _, _, event in fresh], administrators)
        for batch, fate in pairs:
            waiting.remember(connection, batch.partition, fate.events)
        rows = [_range(batch, fate, received_s) for batch, fate in pairs]
        if rows:
            connection.execute(insert(ranges), rows)
        reached("intake-in-transaction")
    return Kept(
        stored=sum(fate.stored for fate in fates),
        dead=Counter(unusable.reason for fate in fates for _, unusable in fate.dead),
        duplicates=sum(fate.duplicates for fate in fates),
    )


def _range(batch: Batch, fates: "_Fates", kept_s: float) -> dict[str, Any]:
    return {
        "topic_id": batch.partition.topic_id,
        "partition": batch.partition.number,
        "start": batch.start,
        "end": batch.end,
        "records": len(batch.arrivals),
        "stored": fates.stored,
        "interactions": len(fates.interactions),
        "dead": len(fates.dead),
        "duplicates": fates.duplicates,
        "kept_s": kept_s,
        "gap": batch.gap,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What was there before or has come since. One a transaction: its batches may repeat each other."""

    agents: frozenset[str]
    digests: dict[tuple[str, str], str]  # of events, by source and id
    interactions: set[str]


def _fates(connection: Connection, batches: Sequence[Batch]) -> list["_Fates"]:
    contents = [arrival.content for batch in batches for arrival in batch.arrivals]
    known = _Known(
        agents=frozenset(connection.scalars(select(agents.c.name))),
        digests=_digests(connection, [event for event in contents if isinstance(event, Event)]),
        interactions=_seen(connection, [said.id for said in contents if isinstance(said, Interaction)]),
    )
    return [_Fates.of(batch, known) for batch in batches]


@dataclass(slots=True, kw_only=True)
class _Fates:
    """Each record of a batch in exactly one place."""

    events: list[tuple[Arrival, Event]]
    interactions: list[Interaction]
    dead: list[tuple[Arrival, UnusableRecord]]
    duplicates: int

    @property
    def stored(self) -> int:
        return len(self.events) + len(self.interactions)

    def give_roles(self, connection: Connection) -> None:
        """Events that say what they are about have a role from now on."""
        with_role = prompt_roles.with_roles(connection, [event for _, event in self.events])
        self.events = [(arrival, event) for (arrival, _), event in zip(self.events, with_role, strict=True)]

    @classmethod
    def of(cls, batch: Batch, known: "_Known") -> "_Fates":
        fates = cls(events=[], interactions=[], dead=[], duplicates=0)
        for arrival in batch.arrivals:
            content = arrival.content
            if isinstance(content, UnusableRecord):
                fates.dead.append((arrival, content))
            elif content.agent not in known.agents:
                fates.dead.append(
                    (arrival, UnusableRecord(reason=Reason.UNKNOWN_AGENT, detail="not declared"))
                )
            elif isinstance(content, Interaction):
                if content.id in known.interactions:
                    fates.duplicates += 1
                else:
                    known.interactions.add(content.id)
                    fates.interactions.append(content)
            else:
                fates.place(arrival, content, known.digests)
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
            self.dead.append((arrival, UnusableRecord(reason=Reason.CONFLICT, detail=detail)))


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
        for chunk in in_chunks(ids):
            query = select(events.c.id, events.c.digest).where(
                events.c.source == source, events.c.id.in_(chunk)
            )
            kept.update({(source, row.id): row.digest for row in connection.execute(query)})
    return kept


def _seen(connection: Connection, ids: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    for chunk in in_chunks(ids):
        seen.update(connection.scalars(select(interactions.c.id).where(interactions.c.id.in_(chunk))))
    return seen
