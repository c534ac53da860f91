"""Reads each topic's id (KIP-516). A topic that was deleted and created again has the old name and a new log.

kafka-python fetches by name, and reads on at the old offset of the new log without an error. So intake reads
the ids before it places a partition and every few seconds after, and the ledger stores offsets by topic id.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from kafka import TopicPartition

from feedback.connection import Cluster
from feedback.topics import describe
from ledger.database import Database
from ledger.events import Partition
from ledger.intake import transaction

log = structlog.get_logger(__name__)

CHECK_EVERY_S = 2.0


class TopicIds:
    """The ids as last read from the cluster."""

    def __init__(
        self,
        cluster: Cluster,
        database: Database,
        topics: Sequence[str],
        *,
        accept_new: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unreadable: dict[str, str] = {}
        """Topics that must not be read, with the reason."""
        self.missing: set[str] = set()
        self.recreated: set[str] = set()
        """Topics whose name the ledger has read under another id: the group's offsets are of the old log."""
        self._cluster = cluster
        self._database = database
        self._topics = tuple(topics)
        self._accept_new = accept_new
        self._clock = clock
        self._admin: Any = None
        self._cluster_id = ""
        self._ids: dict[str, str] = {}
        self._next_s = 0.0

    def check(self, *, now: bool = False) -> frozenset[str]:
        """Read the ids again if it is time, or `now`. Returns the topics whose id changed.

        Raises kafka-python's errors and `LedgerUnavailable`.
        """
        if not now and self._clock() < self._next_s:
            return frozenset()
        if self._admin is None:
            self._admin = self._cluster.admin()
            self._cluster_id = str(self._admin.describe_cluster()["cluster_id"])
        changed = set()
        for topic in describe(self._admin, self._topics):
            if topic.topic_id is None:
                if topic.name not in self.missing:
                    log.error("topic missing", topic=topic.name)
                self.missing.add(topic.name)
                continue
            self.missing.discard(topic.name)
            if self._ids.get(topic.name) != topic.topic_id:
                self._note_id(topic.name, topic.topic_id)
                changed.add(topic.name)
        self._next_s = self._clock() + CHECK_EVERY_S
        return frozenset(changed)

    def ledger_partition(self, partition: TopicPartition) -> Partition:
        """The ledger's name for a partition, under the id last read."""
        return Partition(
            cluster_id=self._cluster_id,
            topic=partition.topic,
            topic_id=self._ids[partition.topic],
            number=partition.partition,
        )

    def topic_id(self, topic: str) -> str:
        """The id last read."""
        return self._ids[topic]

    def knows(self, topic: str) -> bool:
        """Whether the topic existed at the last check."""
        return topic in self._ids and topic not in self.missing

    def close(self) -> None:
        """Close the connection; the next check opens another."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _note_id(self, name: str, topic_id: str) -> None:
        """Compare an id that is new to this process with those the ledger has read."""
        known = transaction.known_topic_ids(self._database, name)
        others = known.keys() - {topic_id}
        reason = ""
        if known.get(topic_id, self._cluster_id) != self._cluster_id:
            reason = "the same topic on another cluster"
        elif others and topic_id not in known and not self._accept_new:
            reason = "the topic was deleted and made again; what was unread in it is lost"
        self.unreadable.pop(name, None)
        if reason:
            self.unreadable[name] = reason
            log.error("topic halted", topic=name, reason=reason, topic_id=topic_id, known=sorted(known))
        self.recreated.discard(name)
        if others:
            self.recreated.add(name)
        self._ids[name] = topic_id
