"""One member of the consumer group, with its partitions and the position of each.

The ledger owns the offsets, so a new partition is paused until `read_from` says where it begins. Kafka-python
calls the rebalance methods on its I/O thread while `poll` waits: they may seek and pause, and nothing else.
"""

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition, errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from feedback.connection import Cluster, is_passing

log = structlog.get_logger(__name__)

POLL_INTERVAL_MS_MAX = 60_000
ASK_MS_MAX = 10_000
CLOSE_MS_MAX = 5_000


class Undecodable(Exception):
    """kafka-python cannot read the record at the position of one of the partitions just polled.

    Its iterator is spent: another poll at the same position never returns. Seek past the record, keep the
    partition paused, or build a new `Source`.
    """


class OutOfRange(Exception):
    """The log does not hold the position of `partition`: it begins later or ends before."""

    def __init__(self, partition: TopicPartition) -> None:
        super().__init__(f"{partition.topic}[{partition.partition}]")
        self.partition = partition


class LogTruncated(Exception):
    """The log below the position was replaced (KIP-320): stored records may differ from those there now."""

    def __init__(self, partitions: frozenset[TopicPartition]) -> None:
        super().__init__(", ".join(sorted(f"{item.topic}[{item.partition}]" for item in partitions)))
        self.partitions = partitions


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledBatch:
    """The part of one poll from one partition: offsets from `start` up to `end`, not all with a record."""

    partition: TopicPartition
    start: int
    end: int
    records: Sequence[Any]


class Source(ConsumerRebalanceListener):  # type: ignore[misc]
    """A consumer that reads only from positions it was given. Used from one thread.

    The constructor raises kafka-python's errors if no broker answers in time.
    """

    def __init__(
        self, cluster: Cluster, topics: Sequence[str], *, group: str, instance: str | None, session_ms: int
    ) -> None:
        self.unplaced: set[TopicPartition] = set()
        """Assigned, and waiting for `read_from`."""
        self.positions: dict[TopicPartition, int] = {}
        """The offset where the next batch of each placed partition begins."""
        self._cluster = cluster
        self._consumer = cluster.consumer(
            group_id=group,
            group_instance_id=instance,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=[CooperativeStickyAssignor],
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            max_poll_interval_ms=POLL_INTERVAL_MS_MAX,
            fetch_max_bytes=8 << 20,
            max_partition_fetch_bytes=1 << 20,
        )
        self._consumer.subscribe(list(topics), listener=self)
        # A leader that has no metadata yet assigns nothing, and kafka-python may never notice: ask first.
        try:
            self._consumer.bootstrap(timeout_ms=ASK_MS_MAX, refresh=True)
        except BaseException:
            self.close()
            raise

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Pause new partitions at position 0: with a position, kafka-python does not ask for committed
        offsets."""
        for partition in assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
            self.unplaced.add(partition)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Forget partitions that another member has now, which reads their records that were not stored."""
        for partition in revoked:
            self.unplaced.discard(partition)
            self.positions.pop(partition, None)

    def read_from(self, partition: TopicPartition, offset: int) -> None:
        """Make the next poll read the partition from `offset`."""
        self._consumer.seek(partition, offset)
        self.unplaced.discard(partition)
        self.positions[partition] = offset

    def unplace(self, partition: TopicPartition) -> None:
        """Pause the partition until `read_from` gives it a position again."""
        if self.positions.pop(partition, None) is not None:
            self._consumer.pause(partition)
            self.unplaced.add(partition)

    def rewind(self) -> None:
        """Make the next poll read again the records that were polled and not stored."""
        for partition, offset in self.positions.items():
            self._consumer.seek(partition, offset)

    def poll(
        self, readable: frozenset[TopicPartition], *, wait_ms: int, records_max: int
    ) -> list[PolledBatch]:
        """Read from `readable`; all other partitions are paused. Call it every few seconds to stay a member.

        Raises `Undecodable`, `OutOfRange`, `LogTruncated`, and kafka-python's errors if Kafka is away.
        """
        paused = self._consumer.paused()
        assigned = self._consumer.assignment()
        self._consumer.pause(*((assigned - readable) - paused))
        self._consumer.resume(*(readable & paused))
        records, ends = self._poll(readable, wait_ms, records_max)
        return [
            PolledBatch(
                partition=partition,
                start=self.positions[partition],
                end=end,
                records=records.get(partition, ()),
            )
            for partition, end in ends.items()
            if end > self.positions[partition]
        ]

    def committed(self, partition: TopicPartition) -> tuple[int, str] | None:
        """The group's offset in Kafka and the note beside it; None if there is none."""
        committed = self._consumer.committed(partition, metadata=True, timeout_ms=ASK_MS_MAX)
        if committed is None or committed.offset < 0:
            return None
        return int(committed.offset), str(committed.metadata or "")

    def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """The first offset that the log still has, and the one after the last that a reader may see."""
        first = self._consumer.beginning_offsets([partition], timeout_ms=ASK_MS_MAX)[partition]
        end = self._consumer.end_offsets([partition], timeout_ms=ASK_MS_MAX)[partition]
        return int(first), int(end)

    def ends(self, topic: str) -> Mapping[int, int]:
        """For each partition of a topic, of any member: the offset after the last that a reader may see."""
        numbers = self._consumer.partitions_for_topic(topic) or ()
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        ends = self._consumer.end_offsets(partitions, timeout_ms=ASK_MS_MAX) if partitions else {}
        return {partition.partition: int(end) for partition, end in ends.items()}

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records behind the end of each placed partition, open transactions included, as last fetched."""
        ends = {partition: self._consumer.highwater(partition) for partition in self.positions}
        return {
            partition: max(0, end - self.positions[partition])
            for partition, end in ends.items()
            if end is not None
        }

    def silent_s(self) -> float:
        """Seconds since a broker last sent anything: kafka-python raises nothing if it reaches no broker."""
        return self._cluster.silent_s(self._consumer)

    def commit(self, note: str) -> None:
        """Commit the positions to Kafka, for its tools; nothing depends on it. Does not wait."""
        if self.positions:
            self._consumer.commit_async(self._offsets(note), callback=_on_committed)

    def commit_and_wait(self, note: str) -> None:
        """Commit for the last time, at shutdown, and wait for the answer for at most `CLOSE_MS_MAX`."""
        try:
            if self.positions:
                self._consumer.commit(self._offsets(note), timeout_ms=CLOSE_MS_MAX)
        except (errors.KafkaError, OSError) as fault:
            log.info("offsets not committed", error=type(fault).__name__)

    def close(self) -> None:
        """Leave the group, within `CLOSE_MS_MAX` whatever Kafka does."""
        try:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS_MAX)
        except (errors.KafkaError, OSError) as fault:
            log.info("consumer not closed", error=type(fault).__name__)

    def _poll(
        self, readable: frozenset[TopicPartition], wait_ms: int, records_max: int
    ) -> tuple[Mapping[TopicPartition, Sequence[Any]], Mapping[TopicPartition, int]]:
        """Records, and the position of each partition after them, past markers and aborted records too."""
        try:
            records = self._consumer.poll(timeout_ms=wait_ms, max_records=records_max)
            assigned = readable & self.positions.keys()  # a rebalance in the poll may have taken some
            return records, self._positions_after(assigned)
        except errors.OffsetOutOfRangeError as fault:
            raise OutOfRange(next(iter(fault.args[0]))) from None
        except errors.LogTruncationError as fault:
            raise LogTruncated(frozenset(fault.divergent_offsets)) from None
        except _FATAL:
            raise
        # The only `except Exception`: the errors of decoding are not documented, and another poll would hang.
        except Exception as fault:
            if is_passing(fault):
                raise
            raise Undecodable(type(fault).__name__) from None

    def _positions_after(self, partitions: Set[TopicPartition]) -> dict[TopicPartition, int]:
        """The positions that are known within `ASK_MS_MAX`: kafka-python may ask a broker for each."""
        until_s = time.monotonic() + ASK_MS_MAX / 1000
        positions = {}
        for partition in partitions:
            left_ms = max(0, int((until_s - time.monotonic()) * 1000))
            positions[partition] = self._consumer.position(partition, timeout_ms=left_ms)
        return {partition: int(offset) for partition, offset in positions.items() if offset is not None}

    def _offsets(self, note: str) -> dict[TopicPartition, Any]:
        return {
            partition: OffsetAndMetadata(offset, note, -1) for partition, offset in self.positions.items()
        }


_FATAL = (
    errors.FencedInstanceIdError,  # another process has the same instance id
    errors.GroupMaxSizeReachedError,
    errors.InvalidGroupIdError,
    errors.InvalidSessionTimeoutError,
    errors.KafkaConfigurationError,
    errors.UnsupportedVersionError,
)


def _on_committed(_: object, answer: object) -> None:
    if isinstance(answer, Exception):
        log.info("offsets not committed", error=type(answer).__name__)
