"""One member of the consumer group: which partitions it has, and where each stands.

The ledger owns the offsets, so a partition just assigned is paused until `place` says where it begins.
The rebalance callbacks run on kafka-python's I/O thread while `poll` waits: they may seek and pause, no more.
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

SESSION_MS = 10_000
POLL_INTERVAL_MS_MAX = 60_000
ASK_MS_MAX = 10_000
CLOSE_MS_MAX = 5_000


class Undecodable(Exception):
    """kafka-python could not read what is at the position of one of the partitions just polled.

    Its iterator is spent: polling it again at the same position would spin for ever. Seek past it, keep
    the partition paused, or make a new `Source`.
    """


class OutOfRange(Exception):
    """The log does not hold the position of `place`: it begins later, or ends before."""

    def __init__(self, place: TopicPartition) -> None:
        super().__init__(f"{place.topic}[{place.partition}]")
        self.place = place


class LogTruncated(Exception):
    """The log below our position was replaced (KIP-320): what we kept may not be what is there now."""

    def __init__(self, places: frozenset[TopicPartition]) -> None:
        super().__init__(", ".join(sorted(f"{place.topic}[{place.partition}]" for place in places)))
        self.places = places


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledBatch:
    """What one poll yielded of one partition: offsets `start` up to `end`, holes among the records."""

    place: TopicPartition
    start: int
    end: int
    records: Sequence[Any]


class Source(ConsumerRebalanceListener):  # type: ignore[misc]
    """A consumer whose positions are told, never guessed. Used from one thread."""

    def __init__(
        self, cluster: Cluster, topics: Sequence[str], *, group: str, instance: str | None, session_ms: int
    ) -> None:
        self.new: set[TopicPartition] = set()
        """Assigned, and waiting for `place`."""
        self.at: dict[TopicPartition, int] = {}
        """Where the next batch of each placed partition begins."""
        self.rebalances = 0
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
        """Position 0 keeps kafka-python from asking for committed offsets; paused, it is never fetched."""
        for place in assigned:
            self._consumer.seek(place, 0)
            self._consumer.pause(place)
            self.new.add(place)
        self.rebalances += 1

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """What was read of them and not kept is another member's now."""
        for place in revoked:
            self.new.discard(place)
            self.at.pop(place, None)

    def place(self, place: TopicPartition, offset: int) -> None:
        """Reading goes on at `offset`."""
        self._consumer.seek(place, offset)
        self.new.discard(place)
        self.at[place] = offset

    def misplace(self, place: TopicPartition) -> None:
        """Its offset is not known any more; it waits to be placed again."""
        if self.at.pop(place, None) is not None:
            self._consumer.pause(place)
            self.new.add(place)

    def go_back(self) -> None:
        """What was polled since it was last kept will be polled again."""
        for place, offset in self.at.items():
            self._consumer.seek(place, offset)

    def poll(
        self, readable: frozenset[TopicPartition], *, wait_ms: int, records_max: int
    ) -> list[PolledBatch]:
        """Read from `readable`, all else paused. Keeps up membership, so it must be called every few seconds.

        Raises `Undecodable`, `OutOfRange`, `LogTruncated`; kafka-python's errors where Kafka is away.
        """
        paused = self._consumer.paused()
        assigned = self._consumer.assignment()
        self._consumer.pause(*((assigned - readable) - paused))
        self._consumer.resume(*(readable & paused))
        records, ends = self._poll(readable, wait_ms, records_max)
        return [
            PolledBatch(place=place, start=self.at[place], end=end, records=records.get(place, ()))
            for place, end in ends.items()
            if end > self.at[place]
        ]

    def committed(self, place: TopicPartition) -> tuple[int, str] | None:
        """The group's offset in Kafka and the note beside it; None where there is none."""
        found = self._consumer.committed(place, metadata=True, timeout_ms=ASK_MS_MAX)
        return None if found is None or found.offset < 0 else (int(found.offset), str(found.metadata or ""))

    def bounds(self, place: TopicPartition) -> tuple[int, int]:
        """The first offset the log still holds, and the one after the last a reader may see."""
        first = self._consumer.beginning_offsets([place], timeout_ms=ASK_MS_MAX)[place]
        end = self._consumer.end_offsets([place], timeout_ms=ASK_MS_MAX)[place]
        return int(first), int(end)

    def ends(self, topic: str) -> Mapping[int, int]:
        """Of each partition of a topic, whoever reads it: the offset after the last a reader may see."""
        numbers = self._consumer.partitions_for_topic(topic) or ()
        places = [TopicPartition(topic, number) for number in sorted(numbers)]
        ends = self._consumer.end_offsets(places, timeout_ms=ASK_MS_MAX) if places else {}
        return {place.partition: int(end) for place, end in ends.items()}

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records behind the end of each placed partition, open transactions included, as last heard."""
        highs = {place: self._consumer.highwater(place) for place in self.at}
        return {place: max(0, high - self.at[place]) for place, high in highs.items() if high is not None}

    def silent_s(self) -> float:
        """Seconds since any broker has said anything to us: kafka-python polls on where it reaches none."""
        return self._cluster.silent_s(self._consumer)

    def hint(self, note: str) -> None:
        """Tell Kafka where we stand, for its tools and for nobody's correctness."""
        if self.at:
            self._consumer.commit_async(self._offsets(note), callback=_on_committed)

    def hint_and_wait(self, note: str) -> None:
        """The last hint, at shutdown: delivered, or given up in bounded time."""
        try:
            if self.at:
                self._consumer.commit(self._offsets(note), timeout_ms=CLOSE_MS_MAX)
        except (errors.KafkaError, OSError) as fault:
            log.info("offsets not committed", error=type(fault).__name__)

    def close(self) -> None:
        """Out of the group; bounded, whatever Kafka does."""
        try:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS_MAX)
        except (errors.KafkaError, OSError) as fault:
            log.info("consumer not closed", error=type(fault).__name__)

    def _poll(
        self, readable: frozenset[TopicPartition], wait_ms: int, records_max: int
    ) -> tuple[Mapping[TopicPartition, Sequence[Any]], Mapping[TopicPartition, int]]:
        """Records, and where each partition stands after them: past markers and aborted records too."""
        try:
            records = self._consumer.poll(timeout_ms=wait_ms, max_records=records_max)
            still = readable & self.at.keys()  # a rebalance during the poll may have taken some
            return records, self._positions(still)
        except errors.OffsetOutOfRangeError as fault:
            raise OutOfRange(next(iter(fault.args[0]))) from None
        except errors.LogTruncationError as fault:
            raise LogTruncated(frozenset(fault.divergent_offsets)) from None
        except _FATAL:
            raise
        # The one place for it: what record decoding raises is not documented, and polling again would hang.
        except Exception as fault:
            if is_passing(fault):
                raise
            raise Undecodable(type(fault).__name__) from None

    def _positions(self, places: Set[TopicPartition]) -> dict[TopicPartition, int]:
        """Those that are known in time. kafka-python may want to ask a broker first, for each of them."""
        until_s = time.monotonic() + ASK_MS_MAX / 1000
        found = {}
        for place in places:
            left_ms = max(0, int((until_s - time.monotonic()) * 1000))
            found[place] = self._consumer.position(place, timeout_ms=left_ms)
        return {place: int(end) for place, end in found.items() if end is not None}

    def _offsets(self, note: str) -> dict[TopicPartition, Any]:
        return {place: OffsetAndMetadata(offset, note, -1) for place, offset in self.at.items()}


_FATAL = (
    errors.FencedInstanceIdError,  # another process has our instance id
    errors.GroupMaxSizeReachedError,
    errors.InvalidGroupIdError,
    errors.InvalidSessionTimeoutError,
    errors.KafkaConfigurationError,
    errors.UnsupportedVersionError,
)


def _on_committed(_: object, answer: object) -> None:
    if isinstance(answer, Exception):
        log.info("offsets not committed", error=type(answer).__name__)
