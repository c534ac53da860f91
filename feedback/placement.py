"""Decides at which offset each partition is read: at the ledger's, or by a setting if there is none.

A partition that needs a person's decision is halted: intake pauses and reports it, and reads all others.
"""

import structlog
from kafka import TopicPartition
from opentelemetry import metrics

from feedback.connection import Cluster
from feedback.intake_options import IntakeOptions
from feedback.source import Source
from feedback.topic_ids import TopicIds
from ledger.database import Database
from ledger.events import Arrival, Batch, Partition, Reason, UnusableRecord
from ledger.facts import restores as restores_of
from ledger.identity import Identity
from ledger.intake import transaction

log = structlog.get_logger(__name__)
_halts = metrics.get_meter("feedback").create_gauge(
    "clorad.feedback.partitions.halted",
    unit="{partition}",
    description="partitions that are not read until a person decides",
)


class WrongLedger(Exception):
    """The group's offsets were committed for another ledger: each of both would get a part of the events."""


class Placement:
    """Places partitions, and remembers which are halted."""

    def __init__(
        self, cluster: Cluster, database: Database, identity: Identity, options: IntakeOptions
    ) -> None:
        self.halted: dict[TopicPartition, str] = {}
        """Halted partitions, each with the reason."""
        _halts.set(0)
        self._database = database
        self._identity = identity
        self._options = options
        self._restores: int | None = None  # of the ledger, as last seen
        topics = (options.topics.feedback, options.topics.interactions)
        self.topic_ids = TopicIds(cluster, database, topics, accept_new=options.on_gap == "continue")

    def ledger_partition(self, partition: TopicPartition) -> Partition:
        """The ledger's name for a placed partition."""
        return self.topic_ids.ledger_partition(partition)

    def place_all(self, source: Source) -> None:
        """Give every new partition of an existing topic its position, and again after a topic was recreated.

        Raises kafka-python's errors, `LedgerUnavailable`, `WrongLedger`.
        """
        for topic in self.topic_ids.check(now=bool(source.unplaced)):
            for partition in [partition for partition in source.positions if partition.topic == topic]:
                source.unplace(partition)
        for partition in [
            partition for partition in source.unplaced if self.topic_ids.knows(partition.topic)
        ]:
            if reason := self.topic_ids.unreadable.get(partition.topic):
                self.halt(partition, reason)
            offset = self._offset(source, partition)
            source.read_from(partition, offset)
            log.info("partition placed", **partition._asdict(), offset=offset)

    def replace_after_restore(self, source: Source) -> None:
        """Unplace every partition if the ledger was restored from a backup since the last call.

        The ledger would refuse a stale batch, but a partition without new records would keep its position.
        """
        with self._database.read() as connection:
            restores = restores_of(connection)
        if self._restores not in (None, restores):
            log.error("ledger restored from a backup, reading again from where it stands", restores=restores)
            for partition in list(source.positions):
                source.unplace(partition)
        self._restores = restores

    def halt(self, partition: TopicPartition, reason: str) -> None:
        """Stop reading the partition in this process."""
        if partition not in self.halted:
            log.error("partition halted", **partition._asdict(), reason=reason)
        self.halted[partition] = reason
        _halts.set(len(self.halted))

    def resolve_out_of_range(self, source: Source, partition: TopicPartition) -> None:
        """The log has no record at this position: halt, or record the lost offsets and skip them
        (`on_gap`)."""
        first, end = source.bounds(partition)
        position = source.positions[partition]
        if position > end:
            self.halt(partition, f"the log ends at {end}, before what was read ({position})")
        elif position >= first:
            source.read_from(partition, position)  # a follower lagged, or retention ran at the same time
        elif self._options.on_gap == "halt":
            self.halt(partition, f"offsets {position} to {first} were deleted before they were read")
        else:
            self._skip(source, partition, first, arrivals=(), reason="deleted before it was read")

    def resolve_undecodable(self, source: Source, partition: TopicPartition, fault: str) -> None:
        """Halt the partition, or make a dead letter without bytes of the record and skip it (`on_gap`)."""
        position = source.positions[partition]
        if self._options.on_gap == "halt":
            self.halt(partition, f"the record at {position} cannot be decoded: {fault}")
            return
        unusable = UnusableRecord(reason=Reason.POISON, detail=f"not decodable by the client: {fault}")
        letter = Arrival(offset=position, key=None, value=None, headers=(), content=unusable)
        self._skip(source, partition, position + 1, arrivals=(letter,), reason="not decodable")

    def close(self) -> None:
        """Close connections."""
        self.topic_ids.close()

    def _skip(
        self,
        source: Source,
        partition: TopicPartition,
        end: int,
        *,
        arrivals: tuple[Arrival, ...],
        reason: str,
    ) -> None:
        """Record the offsets up to `end` as lost, and read on there."""
        start = source.positions[partition]
        batch = Batch(
            partition=self.ledger_partition(partition), start=start, end=end, arrivals=arrivals, gap=reason
        )
        transaction.keep(self._database, [batch], dead_letter_topic=self._options.topics.dead_letters)
        log.error("offsets given up", **partition._asdict(), start=start, end=end, reason=reason)
        source.read_from(partition, end)

    def _offset(self, source: Source, partition: TopicPartition) -> int:
        committed = source.committed(partition)
        if committed is not None and committed[1] not in ("", self._identity.ledger_id):
            raise WrongLedger(
                f"kafka.group {self._options.group} was used by ledger {committed[1]}, and this is ledger "
                f"{self._identity.ledger_id}: give it a group of its own, or the right ledger.url"
            )
        ledger_partition = self.ledger_partition(partition)
        next_offset = transaction.next_offset(self._database, ledger_partition)
        if next_offset is None:
            first_offset = self._first_offset(source, partition, committed)
            return transaction.start_at(self._database, ledger_partition, first_offset)
        if committed is not None and committed[0] > next_offset:
            log.warning(
                "ledger behind its own commits",
                **partition._asdict(),
                offset=next_offset,
                reading_again=committed[0] - next_offset,
            )
        return next_offset

    def _first_offset(
        self, source: Source, partition: TopicPartition, committed: tuple[int, str] | None
    ) -> int:
        """The offset at which a partition begins that this ledger has never read."""
        first, end = source.bounds(partition)
        if partition.topic in self.topic_ids.recreated or self._options.first_start == "beginning":
            return first
        if self._options.first_start == "end":
            initial = transaction.initial_partitions(
                self._database, self.ledger_partition(partition), now=len(source.ends(partition.topic))
            )
            return end if partition.partition < initial else first  # a later one has nothing from before
        # This ledger's own note there means that it was restored from an earlier backup: read all again.
        return committed[0] if committed is not None and committed[1] == "" else first
