"""Asks the broker for commands: creates the topics, finds their end offsets and the offsets with records.

It joins no group, commits nothing, and reads with intake's isolation level. It raises one exception for every
fault of Kafka, so that callers need not know kafka-python.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kafka import TopicPartition, errors

from feedback.connection import Cluster
from feedback.kafka_security import fault_reason
from feedback.passing_faults import ask_again
from feedback.topics import SettingsUnknown, Topics, TopicState, create, describe, shortfalls

ASK_MS_MAX = 10_000
SILENT_S_MAX = 30.0
"""Seconds without a record after which reading ends with `BrokerAway`."""


class BrokerAway(Exception):
    """Kafka did not answer in time. The text says why, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The offsets of one partition that the broker has: from `first` up to `end`."""

    topic: str
    topic_id: str
    partition: int
    first: int
    end: int


def make_topics(cluster: Cluster, topics: Topics, *, partitions: int, replication: int) -> tuple[str, ...]:
    """Create the topics that do not exist. Returns their names. Raises `BrokerAway`."""
    try:
        return ask_again(lambda: create(cluster, topics, partitions=partitions, replication=replication))
    except (errors.KafkaError, OSError) as fault:
        raise BrokerAway(fault_reason(fault)) from None


def topic_shortfalls(cluster: Cluster, topics: Topics, *, replication: int) -> tuple[str, ...]:
    """A sentence for each setting with which a topic may lose feedback. Raises `BrokerAway`."""
    try:
        return ask_again(lambda: shortfalls(cluster, topics, replication=replication))
    except SettingsUnknown as fault:
        raise BrokerAway(f"no settings of {fault}") from None
    except (errors.KafkaError, OSError) as fault:
        raise BrokerAway(fault_reason(fault)) from None


def extents(cluster: Cluster, topics: Sequence[str]) -> tuple[Extent, ...]:
    """Every partition of the topics that exist. Raises `BrokerAway`.

    A topic that is deleted or created again meanwhile is left out: its ends would be those of another log.
    """
    try:
        with closing(cluster.admin()) as admin:
            existing = _existing(admin, topics)
        with _reader(cluster) as consumer:
            places = [
                TopicPartition(topic.name, number) for topic in existing for number in range(topic.partitions)
            ]
            firsts: Mapping[TopicPartition, int] = consumer.beginning_offsets(places, timeout_ms=ASK_MS_MAX)
            ends: Mapping[TopicPartition, int] = consumer.end_offsets(places, timeout_ms=ASK_MS_MAX)
        with closing(cluster.admin()) as admin:
            still_existing_ids = {topic.topic_id for topic in _existing(admin, topics)}
    except (errors.KafkaError, OSError) as fault:
        raise BrokerAway(fault_reason(fault)) from None
    ids = {topic.name: str(topic.topic_id) for topic in existing if topic.topic_id in still_existing_ids}
    return tuple(
        Extent(
            topic=place.topic,
            topic_id=ids[place.topic],
            partition=place.partition,
            first=firsts[place],
            end=ends[place],
        )
        for place in places
        if place.topic in ids
    )


def offsets(cluster: Cluster, extent: Extent, *, start: int, end: int) -> Iterator[int]:
    """Offsets of the visible records from `start` up to `end`, ascending. Raises `BrokerAway`."""
    return (record.offset for record in records(cluster, extent, start=start, end=end))


def records(cluster: Cluster, extent: Extent, *, start: int, end: int) -> Iterator[Any]:
    """The visible records (kafka-python's) from `start` up to `end`, in order. Raises `BrokerAway`.

    A record that kafka-python cannot decode ends it with `BrokerAway`: no record after it can be compared.
    """
    place = TopicPartition(extent.topic, extent.partition)
    try:
        with _reader(cluster) as consumer:
            consumer.assign([place])
            consumer.seek(place, max(start, extent.first))
            yield from _read(consumer, place, min(end, extent.end))
    except (errors.KafkaError, OSError, UnicodeDecodeError) as fault:
        raise BrokerAway(fault_reason(fault)) from None


def _existing(admin: Any, topics: Sequence[str]) -> list[TopicState]:
    return [topic for topic in describe(admin, tuple(topics)) if topic.topic_id is not None]


def _read(consumer: Any, place: TopicPartition, end: int) -> Iterator[Any]:
    moved_s = time.monotonic()
    position = consumer.position(place, timeout_ms=ASK_MS_MAX)
    while position < end:
        for record in consumer.poll(timeout_ms=500, max_records=10_000).get(place, ()):
            if record.offset < end:
                yield record
        new_position = consumer.position(place, timeout_ms=ASK_MS_MAX)
        if new_position > position:
            position, moved_s = new_position, time.monotonic()
        elif time.monotonic() - moved_s > SILENT_S_MAX:
            raise errors.KafkaTimeoutError


def _reader(cluster: Cluster) -> Any:
    return closing(
        cluster.consumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_bytes=8 << 20,
            max_partition_fetch_bytes=1 << 20,
        )
    )
