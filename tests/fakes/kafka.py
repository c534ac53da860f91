"""A Kafka in memory, with what intake and outbox use of kafka-python; contract tests hold it to a real one.

A poll that has nothing to return does so at once. The test switches faults on.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition, errors
from kafka.protocol.consumer.offsets import OffsetSpec
from kafka.structs import OffsetAndTimestamp

from feedback.topics import Topics

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class FakeRecord:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int = -1  # ms; this value where a record has none


@dataclass
class FakeLog:
    """One partition. None stands for what readers never see: markers and aborted records."""

    first: int = 0
    entries: list[FakeRecord | None] = field(default_factory=list)
    poisonous: set[int] = field(default_factory=set)

    @property
    def end(self) -> int:
        return self.first + len(self.entries)


_BROKERS_OWN = {
    "cleanup.policy": "delete",
    "retention.ms": str(7 * 24 * 3600 * 1000),
    "retention.bytes": "-1",
    "min.insync.replicas": "1",
    "max.message.bytes": "1048588",
}
_ALL_RIGHTS = frozenset({"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"})


@dataclass
class _Topic:
    topic_id: uuid.UUID
    logs: list[FakeLog]
    replicas: int
    configs: dict[str, str]


@dataclass
class _Group:
    members: list["FakeConsumer"] = field(default_factory=list)
    owned: dict[TopicPartition, "FakeConsumer"] = field(default_factory=dict)
    offsets: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)


class FakeKafka:
    """A cluster, and what tests do with it."""

    def __init__(self) -> None:
        self.cluster_id = "fake"
        self.topics: dict[str, _Topic] = {}
        self.groups: dict[str, _Group] = {}
        self.away = False
        self.refused: type[Exception] | None = None
        """What sending raises while it is set."""
        self.silent = 0.0
        """Seconds for which no broker has sent anything, without an error."""
        self.tells_settings = True
        self.brokers = 1
        self.coordinates = True
        """Whether a broker takes the offsets of groups."""
        self.rights: dict[str, frozenset[str]] = {}
        """Of this client on a topic or a group; all where none are given."""
        self.fenced: set[str] = set()
        """Instance ids that another process has taken."""
        self.commits = 0

    @property
    def cluster(self) -> "FakeKafka":
        return self

    # What clorad calls.

    def consumer(self, **own: Any) -> "FakeConsumer":
        self.check()
        return FakeConsumer(self, own)

    def producer(self, **_: Any) -> "FakeProducer":
        self.check()
        return FakeProducer(self)

    def admin(self) -> "FakeAdmin":
        self.check()
        return FakeAdmin(self)

    # What tests do with it.

    def silent_s(self, client: Any) -> float:
        return self.silent

    def check(self) -> None:
        if self.away:
            raise errors.KafkaConnectionError("away")

    def create(self, partitions: int = 2, **configs: str) -> str:
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.create_named(name, partitions, **configs)
        return name

    def create_named(self, name: str, partitions: int = 2, replicas: int = 1, **configs: str) -> None:
        given = {key.replace("_", "."): value for key, value in configs.items()}
        logs = [FakeLog() for _ in range(partitions)]
        self.topics[name] = _Topic(uuid.uuid4(), logs, replicas, _BROKERS_OWN | given)

    def create_all(self, partitions: int = 2, replicas: int = 1, **configs: str) -> Topics:
        topics = Topics()
        for name in topics.retention_days():
            self.create_named(name, partitions, replicas, **configs)
        return topics

    def delete(self, name: str) -> None:
        del self.topics[name]

    def delete_records(self, name: str, partition: int, before: int) -> None:
        log = self.log(TopicPartition(name, partition))
        del log.entries[: before - log.first]
        log.first = before

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int = 0,
        timestamp_ms: int | None = None,
    ) -> int:
        log = self.log(TopicPartition(topic, partition))
        at_ms = round(time.time() * 1000) if timestamp_ms is None else timestamp_ms
        log.entries.append(FakeRecord(topic, partition, log.end, key, value, list(headers), at_ms))
        return log.end - 1

    def send_transaction(self, topic: str, records: int, *, partition: int = 0, commit: bool = False) -> None:
        log = self.log(TopicPartition(topic, partition))
        for number in range(records):
            record = FakeRecord(topic, partition, log.end, None, b"%d" % number, [])
            log.entries.append(record if commit else None)
        log.entries.append(None)

    def send_undecodable(self, topic: str, *, partition: int = 0) -> int:
        offset = self.send(topic, b"x", partition=partition)
        self.log(TopicPartition(topic, partition)).poisonous.add(offset)
        return offset

    def sent_records(self, topic: str) -> list[FakeRecord]:
        return [record for log in self.topics[topic].logs for record in log.entries if record is not None]

    def log(self, partition: TopicPartition) -> FakeLog:
        topic = self.topics.get(partition.topic)
        if topic is None or partition.partition >= len(topic.logs):
            raise errors.UnknownTopicOrPartitionError(partition.topic)
        return topic.logs[partition.partition]

    def all_partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        return [
            TopicPartition(name, number)
            for name in topics
            if name in self.topics
            for number in range(len(self.topics[name].logs))
        ]


class FakeConsumer:
    """One member of a group."""

    def __init__(self, kafka: FakeKafka, own: Mapping[str, Any]) -> None:
        self._kafka = kafka
        self._group = kafka.groups.setdefault(str(own["group_id"]), _Group())
        self._instance = own.get("group_instance_id")
        self._topics: list[str] = []
        self._listener: Any = None
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._high: dict[TopicPartition, int] = {}
        self._spent: set[TopicPartition] = set()

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        self._topics, self._listener = list(topics), listener
        self._group.members.append(self)

    def bootstrap(self, timeout_ms: int, refresh: bool) -> None:
        self._kafka.check()

    def assignment(self) -> set[TopicPartition]:
        return {partition for partition, owner in self._group.owned.items() if owner is self}

    def paused(self) -> set[TopicPartition]:
        return set(self._paused)

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused -= set(partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition in self.assignment(), "seek only what is assigned"
        if self._positions.get(partition) != offset:
            self._spent.discard(partition)
        self._positions[partition] = offset

    def position(self, partition: TopicPartition, timeout_ms: int | None = None) -> int:
        return self._positions[partition]

    def highwater(self, partition: TopicPartition) -> int | None:
        return self._high.get(partition)

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[FakeRecord]]:
        self._kafka.check()
        if self._instance in self._kafka.fenced:
            raise errors.FencedInstanceIdError(self._instance)
        self._rebalance()
        answer: dict[TopicPartition, list[FakeRecord]] = {}
        for partition in sorted(self.assignment() - self._paused):
            records = self._fetch(partition, max_records - sum(map(len, answer.values())), quiet=bool(answer))
            if records:
                answer[partition] = records
        if not answer:
            time.sleep(min(timeout_ms / 1000, 0.005))
        return answer

    def committed(
        self, partition: TopicPartition, metadata: bool, timeout_ms: int
    ) -> OffsetAndMetadata | None:
        self._kafka.check()
        return self._group.offsets.get(partition)

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], timeout_ms: int) -> None:
        self._kafka.check()
        self._kafka.commits += 1
        self._group.offsets.update(offsets)

    def commit_async(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], callback: Callable[[object, object], None]
    ) -> None:
        if self._kafka.away:
            callback(offsets, errors.KafkaConnectionError("away"))
            return
        self.commit(offsets, timeout_ms=0)
        callback(offsets, None)

    def beginning_offsets(
        self, partitions: Sequence[TopicPartition], timeout_ms: int
    ) -> dict[TopicPartition, int]:
        self._kafka.check()
        return {partition: self._kafka.log(partition).first for partition in partitions}

    def end_offsets(self, partitions: Sequence[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        self._kafka.check()
        return {partition: self._kafka.log(partition).end for partition in partitions}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        self._kafka.check()
        return {partition.partition for partition in self._kafka.all_partitions([topic])} or None

    def close(self, autocommit: bool, timeout_ms: int) -> None:
        held = self.assignment()
        if self in self._group.members:
            self._group.members.remove(self)
            self._listener.on_partitions_revoked(held)
        for partition in held:
            del self._group.owned[partition]

    def lose(self) -> None:
        """As after a sleep for longer than the session: the member has lost its partitions."""
        held = self.assignment()
        for partition in held:
            del self._group.owned[partition]
        self._listener.on_partitions_lost(held)

    def _rebalance(self) -> None:
        members, mine = self._group.members, self._group.members.index(self)
        wanted = {
            partition
            for number, partition in enumerate(self._kafka.all_partitions(self._topics))
            if number % len(members) == mine
        }
        leaving = self.assignment() - wanted
        if leaving:
            self._listener.on_partitions_revoked(leaving)
            for partition in leaving:
                del self._group.owned[partition]
        coming = {partition for partition in wanted if partition not in self._group.owned}
        if coming:
            self._group.owned.update(dict.fromkeys(coming, self))
            self._positions.update(dict.fromkeys(coming, -1))
            self._listener.on_partitions_assigned(coming)

    def _fetch(self, partition: TopicPartition, most: int, *, quiet: bool) -> list[FakeRecord]:
        assert partition not in self._spent, "polling a spent iterator at the same position never returns"
        try:
            log = self._kafka.log(partition)
        except errors.UnknownTopicOrPartitionError:
            return []
        at = self._positions[partition]
        if not log.first <= at <= log.end:
            raise errors.OffsetOutOfRangeError({partition: at})
        self._high[partition] = log.end
        records: list[FakeRecord] = []
        while at < log.end and len(records) < most:
            if at in log.poisonous:
                if not records and not quiet:
                    self._spent.add(partition)
                    raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
                break
            entry = log.entries[at - log.first]
            records += [entry] if entry is not None else []
            at += 1
        self._positions[partition] = at
        return records


class FakeProducer:
    """Acknowledges at once."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka

    def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int | None = None,
    ) -> "FakeSent":
        if value is None and key is None:
            raise ValueError("Need at least one: key or value")
        size = len(value or b"") + len(key or b"") + sum(len(octets) for _, octets in headers or [])
        if size > 1 << 20:
            raise errors.MessageSizeTooLargeError(size)
        if self._kafka.away or topic not in self._kafka.topics:
            raise errors.KafkaTimeoutError("no metadata")
        if self._kafka.refused is not None:
            return FakeSent(fault=self._kafka.refused())
        partitions = len(self._kafka.topics[topic].logs)
        chosen = sum(key or b"") % partitions if partition is None else partition
        offset = self._kafka.send(topic, value, key=key, headers=tuple(headers or ()), partition=chosen)
        return FakeSent(topic=topic, partition=chosen, offset=offset)

    def flush(self, timeout: float | None = None) -> None:
        """Every record was acknowledged at once."""

    def close(self, timeout: float | None = None) -> None:
        """Nothing is open."""


@dataclass
class FakeSent:
    """The answer to one send."""

    topic: str = ""
    partition: int = 0
    offset: int = -1
    fault: Exception | None = None

    def get(self, timeout: float | None = None) -> "FakeSent":
        if self.fault is not None:
            raise self.fault
        return self

    def add_callback(self, call: Callable[..., object], *first: object) -> None:
        if self.fault is None:
            call(*first, self)

    def add_errback(self, call: Callable[..., object], *first: object) -> None:
        if self.fault is not None:
            call(*first, self.fault)


class FakeAdmin:
    """Describes and creates."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka

    def describe_cluster(self) -> dict[str, Any]:
        self._kafka.check()
        brokers = [{"broker_id": number} for number in range(self._kafka.brokers)]
        return {"cluster_id": self._kafka.cluster_id, "brokers": brokers}

    def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        self._kafka.check()
        answer = []
        for name in names:
            topic = self._kafka.topics.get(name)
            rights = self._kafka.rights.get(name, _ALL_RIGHTS)
            code = 0 if topic is not None else errors.UnknownTopicOrPartitionError.errno
            if "DESCRIBE" not in rights:
                topic, code = None, errors.TopicAuthorizationFailedError.errno
            answer.append(
                {
                    "name": name,
                    "error_code": code,
                    "authorized_operations": sorted(rights) if topic is not None else [],
                    "topic_id": topic.topic_id if topic is not None else None,
                    "partitions": [{"replica_nodes": [*range(topic.replicas)]}] * len(topic.logs)
                    if topic is not None
                    else [],
                }
            )
        return answer

    def create_topics(self, wanted: Mapping[str, Mapping[str, Any]], timeout_ms: int | None = None) -> None:
        for name, options in wanted.items():
            if name in self._kafka.topics:
                raise errors.TopicAlreadyExistsError(name)
            self._kafka.create_named(
                name, options["num_partitions"], options["replication_factor"], **options["configs"]
            )

    def describe_configs(
        self, resources: Sequence[Any], config_filter: str
    ) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
        self._kafka.check()
        assert config_filter == "all", "what the broker's own settings say matters too"
        answer = {}
        for resource in resources:
            configs = self._kafka.topics[resource.name].configs if self._kafka.tells_settings else {}
            answer[resource.name] = {
                key: {"value": configs[key]} for key in resource.configs if key in configs
            }
        return {"topic": answer}

    def describe_groups(self, group_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        self._kafka.check()
        if not self._kafka.coordinates:
            raise errors.CoordinatorNotAvailableError
        answer: dict[str, dict[str, Any]] = {}
        for group in group_ids:
            rights = self._kafka.rights.get(group, _ALL_RIGHTS)
            if "DESCRIBE" not in rights:
                raise errors.GroupAuthorizationFailedError(group)
            exists = group in self._kafka.groups
            unknown = str(errors.GroupIdNotFoundError(group))
            answer[group] = {
                "authorized_operations": sorted(rights) if exists else [],
                "error": None if exists else unknown,
            }
        return answer

    def list_partition_offsets(
        self, specs: Mapping[TopicPartition, OffsetSpec]
    ) -> dict[TopicPartition, OffsetAndTimestamp]:
        self._kafka.check()
        assert set(specs.values()) <= {OffsetSpec.MAX_TIMESTAMP}
        answer = {}
        for partition in specs:
            records = [record for record in self._kafka.log(partition).entries if record is not None]
            newest = max(records, key=lambda record: record.timestamp, default=None)
            offset, timestamp = (-1, -1) if newest is None else (newest.offset, newest.timestamp)
            answer[partition] = OffsetAndTimestamp(offset, timestamp, None)
        return answer

    def wait_for_topics(self, names: Sequence[str], timeout_ms: int = 0) -> None:
        """They are there at once."""

    def close(self) -> None:
        """Nothing is open."""
