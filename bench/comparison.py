"""Compares ledger and dead-letter topic with a producer's journal: what is lost, what is there twice."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import func, select

from bench.journal import AGENT, SOURCE, SentRecord
from feedback import inspection
from feedback.connection import Cluster
from feedback.outbox import MESSAGE_ID
from feedback.topics import Topics
from ledger.database import Database
from ledger.events import KeptEvent
from ledger.learning import event_queries
from ledger.schema import dead_letters, events, outbox, ranges
from rewards.baseline import NO_BASELINES
from rewards.episode import Part
from rewards.exchange import History
from rewards.labelling import episodes_of_turn


def compare(database: Database, cluster: Cluster, sent: Sequence[SentRecord]) -> dict[str, int]:
    """Counts, and how many acknowledged records are missing (`lost`) or are there more than once (`twice`).

    An event must be one row under its id. A record that is unusable or conflicts must be one dead letter at
    its offset, sent to the dead-letter topic under one message id. A duplicate must be counted.
    """
    with database.read() as connection:
        kept = Counter(connection.scalars(select(events.c.id).where(events.c.source == SOURCE)))
        dead_lettered = Counter(
            (row.partition, row.offset)
            for row in connection.execute(select(dead_letters.c.partition, dead_letters.c.offset))
        )
        duplicates = int(connection.scalar(select(func.sum(ranges.c.duplicates))) or 0)
        owed = int(connection.scalar(select(func.count()).select_from(outbox)) or 0)
        labelled = _labelled(event_queries.untaught(connection, AGENT, limit=len(sent)))
    shipped = _shipped(cluster)
    wanted = {record.id for record in sent if record.kind == "event"}
    dead = {(record.partition, record.offset) for record in sent if record.kind in ("poison", "conflict")}
    repeated = sum(record.kind == "duplicate" for record in sent)
    return {
        "produced": len(sent),
        "stored": sum(kept.values()),
        "dead_lettered": sum(dead_lettered.values()),
        "duplicates": duplicates,
        "outbox_messages": owed,
        "outbox_repeats": sum(shipped.values()) - len(shipped),
        "lost": len(wanted - kept.keys())
        + len(dead - dead_lettered.keys())
        + max(0, repeated - duplicates)
        + max(0, owed - len(shipped)),
        "twice": sum(number - 1 for number in kept.values())
        + sum(number - 1 for number in dead_lettered.values())
        + sum(number - 1 for number in labelled.values())
        + max(0, len(shipped) - owed),
    }


def _labelled(untaught: Sequence[KeptEvent]) -> Counter[str]:
    """How many episodes each event has."""
    counts: Counter[str] = Counter()
    for first in range(0, len(untaught), 1000):
        batch = untaught[first : first + 1000]
        history = History(interactions={}, conversations={})
        episodes = episodes_of_turn(batch, part=Part.NEW, history=history, baselines=NO_BASELINES)
        counts.update(uid for episode in episodes for uid in episode.events)
    return counts


def _shipped(cluster: Cluster) -> Counter[bytes]:
    """How often each message id is in the dead-letter topic."""
    return Counter(
        dict(record.headers)[MESSAGE_ID]
        for letters in inspection.extents(cluster, (Topics().dead_letters,))
        for record in inspection.records(cluster, letters, start=letters.first, end=letters.end)
    )
