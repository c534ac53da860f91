"""Checks of Kafka: whether brokers answer, our rights, the four topics and their settings, the clock."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.doctor.ledger_checks import read_topic_ids
from daemon.process.role_process import RoleRefused
from daemon.settings import Settings
from feedback.cluster_state import ClusterReport, TopicReport, read_cluster
from feedback.connection import Cluster
from feedback.inspection import BrokerAway
from feedback.topics import Topics, shortfalls_of

CLOCK_S_MAX = 60.0
"""Seconds that a record may be from the future: people's machines are rarely more exact."""

_RECORD_BYTES_MIN = 1 << 20  # the largest request that clorad's producers make
_COPIES_MIN = 3
_NEEDED: Mapping[str, frozenset[str]] = {
    "feedback": frozenset({"READ", "WRITE"}),
    "interactions": frozenset({"READ", "WRITE"}),
    "dead_letters": frozenset({"WRITE"}),
    "lifecycle": frozenset({"WRITE"}),
}
_BY_SETTING: Mapping[str, Fault] = {
    "cleanup.policy": Fault.TOPIC_POLICY,
    "retention.ms": Fault.TOPIC_DAYS,
    "retention.bytes": Fault.TOPIC_BYTES,
    "min.insync.replicas": Fault.TOPIC_IN_SYNC,
    "replication.factor": Fault.TOPIC_COPIES,
}


def broker_checks(settings: Settings, kafka: Callable[[], Cluster], topics: Topics) -> CheckGroup:
    """The checks of the cluster that `kafka` gives; it raises `RoleRefused` for options of no use."""
    broker = _Broker(settings=settings, kafka=kafka, topics=topics)
    return CheckGroup(
        name="kafka",
        checks=(
            HealthCheck(name="brokers", run=broker.answers),
            HealthCheck(name="topics", run=broker.has_topics),
            HealthCheck(name="rights", run=broker.gives_rights),
            HealthCheck(name="topic settings", run=broker.keeps_records),
            HealthCheck(name="topic ids", run=broker.has_read_topics),
            HealthCheck(name="clocks", run=broker.has_our_time),
        ),
    )


@dataclass(slots=True, kw_only=True)
class _Broker:
    settings: Settings
    kafka: Callable[[], Cluster]
    topics: Topics
    report: ClusterReport | None = None

    def answers(self) -> Iterator[FoundFault]:
        servers = self.settings.kafka.bootstrap_servers
        try:
            self.report = read_cluster(self.kafka(), self.topics, group=self.settings.kafka.group)
        except RoleRefused as refusal:
            yield Fault.BROKER_OPTIONS.at("kafka.options", str(refusal))
        except BrokerAway as away:
            yield Fault.BROKER_AWAY.at(servers, f"Kafka did not answer: {away}")

    def has_topics(self) -> Iterator[FoundFault]:
        for topic in self._known().topics:
            if topic.topic_id is None and not topic.is_denied:
                yield Fault.TOPIC_MISSING.at(topic.name, "there is no such topic")
            if topic.topic_id is not None and topic.name == self.topics.feedback and topic.partitions == 1:
                yield Fault.TOPIC_PARTITIONS.at(
                    topic.name, "it has one partition: only one intake process can read it at a time"
                )

    def gives_rights(self) -> Iterator[FoundFault]:
        for topic in self._known().topics:
            missing = _NEEDED[self._field(topic.name)] - (topic.rights or frozenset())
            if topic.is_denied:
                yield Fault.TOPIC_RIGHTS.at(topic.name, "the user may not even see it (DESCRIBE)")
            elif topic.rights is not None and missing:
                yield Fault.TOPIC_RIGHTS.at(topic.name, f"the user lacks {', '.join(sorted(missing))}")
        if not self._known().has_coordinator:
            yield Fault.NO_COORDINATOR.at(
                self.settings.kafka.group, "no broker takes the offsets of the group"
            )
        rights = self._known().group_rights
        if rights is not None and "READ" not in rights:
            yield Fault.GROUP_RIGHTS.at(self.settings.kafka.group, "the user may not join the group")

    def keeps_records(self) -> Iterator[FoundFault]:
        copies_wanted = min(_COPIES_MIN, self._known().brokers)
        for topic in self._existing():
            if topic.settings is None:
                yield Fault.TOPIC_UNREADABLE.at(topic.name, "the user may not read the topic's settings")
                continue
            short = shortfalls_of(
                topic.name, topic.settings, topic.copies, topics=self.topics, replication=copies_wanted
            )
            for shortfall in short:
                yield _BY_SETTING[shortfall.setting].at(topic.name, shortfall.text)
            if (record_bytes := int(topic.settings["max.message.bytes"])) < _RECORD_BYTES_MIN:
                yield Fault.TOPIC_RECORD_SIZE.at(
                    topic.name, f"max.message.bytes is {record_bytes}: records that clorad accepts are larger"
                )

    def has_read_topics(self) -> Iterator[FoundFault]:
        read_ids = read_topic_ids(self.settings, (self.topics.feedback, self.topics.interactions))
        for topic in self._existing():
            known_ids = read_ids.get(topic.name, frozenset())
            halts = self.settings.kafka.on_gap == "halt" and bool(known_ids)
            if halts and topic.topic_id not in known_ids:
                yield Fault.TOPIC_REMADE.at(
                    topic.name, "it was deleted and made again since intake read it: intake does not go on"
                )

    def has_our_time(self) -> Iterator[FoundFault]:
        for topic in self._existing():
            ahead_s = (topic.newest_s or 0.0) - time.time()
            if ahead_s > CLOCK_S_MAX:
                yield Fault.TOPIC_CLOCK.at(topic.name, f"it has a record from {ahead_s:.0f} s in the future")

    def _known(self) -> ClusterReport:
        if self.report is None:
            raise Undone("Kafka does not answer")
        return self.report

    def _existing(self) -> list[TopicReport]:
        return [topic for topic in self._known().topics if topic.topic_id is not None]

    def _field(self, name: str) -> str:
        return next(field for field in _NEEDED if getattr(self.topics, field) == name)
