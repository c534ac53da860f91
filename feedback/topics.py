"""The four topics: creates them with settings that lose nothing, and checks the settings they have."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kafka import errors
from kafka.admin import ConfigResource

from feedback.connection import Cluster
from ledger.topic_names import DEAD_LETTERS_TOPIC, FEEDBACK_TOPIC, INTERACTIONS_TOPIC, LIFECYCLE_TOPIC

RETENTION_DAYS_MIN = 7
"""Kafka's default. With fewer days, an outage over a week of holidays, or a restore, loses feedback."""

_DAY_MS = 24 * 3600 * 1000
_CHECKED = ("cleanup.policy", "retention.ms", "retention.bytes", "min.insync.replicas", "max.message.bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The names of the topics. Tests use other names, because their topics share a broker."""

    feedback: str = FEEDBACK_TOPIC
    interactions: str = INTERACTIONS_TOPIC
    dead_letters: str = DEAD_LETTERS_TOPIC
    lifecycle: str = LIFECYCLE_TOPIC

    def retention_days(self) -> Mapping[str, int]:
        """Days that each topic keeps its records. Feedback must outlive any outage of intake."""
        return {self.feedback: 90, self.interactions: 14, self.dead_letters: 90, self.lifecycle: 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """A topic as the cluster has it."""

    name: str
    topic_id: str | None  # None if there is no such topic
    partitions: int


def create(
    cluster: Cluster,
    topics: Topics,
    *,
    partitions: int,
    replication: int,
    wait_ms_max: int = 30_000,
) -> tuple[str, ...]:
    """Create the topics that do not exist; the others stay as they are. Returns the new ones."""
    wanted = {
        name: {
            "num_partitions": partitions,
            "replication_factor": replication,
            "configs": {
                "retention.ms": str(days * _DAY_MS),
                "cleanup.policy": "delete",
                "min.insync.replicas": str(max(1, replication - 1)),
            },
        }
        for name, days in topics.retention_days().items()
    }
    with closing(cluster.admin()) as admin:
        existing = {topic.name for topic in describe(admin, tuple(wanted)) if topic.topic_id is not None}
        missing = {name: options for name, options in wanted.items() if name not in existing}
        for name, options in missing.items():
            try:
                admin.create_topics({name: options}, timeout_ms=wait_ms_max)
            except errors.TopicAlreadyExistsError:
                continue  # another process was faster
        if missing:
            admin.wait_for_topics(list(missing), timeout_ms=wait_ms_max)
    return tuple(missing)


class SettingsUnknown(Exception):
    """The broker did not return the settings of a topic: DESCRIBE_CONFIGS is not granted, or it is old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A setting of a topic with which records may be lost that were acknowledged."""

    topic: str
    setting: str  # as Kafka names it, or `replication.factor`
    text: str  # a sentence for people, without the topic


def shortfalls(cluster: Cluster, topics: Topics, *, replication: int) -> tuple[str, ...]:
    """A sentence for each setting with which the topics may lose records that were acknowledged.

    Raises kafka-python's errors, and `SettingsUnknown`.
    """
    names = list(topics.retention_days())
    with closing(cluster.admin()) as admin:
        described = {topic["name"]: topic for topic in admin.describe_topics(names)}
        settings = {name: settings_of(admin, name) for name in names}
    sentences: list[str] = []
    for name in names:
        copies = min(len(partition["replica_nodes"]) for partition in described[name]["partitions"])
        short = shortfalls_of(name, settings[name], copies, topics=topics, replication=replication)
        sentences += [f"{name}: {shortfall.text}" for shortfall in short]
    return tuple(sentences)


def settings_of(admin: Any, name: str) -> Mapping[str, str]:
    """The settings of a topic that clorad checks. Raises kafka-python's errors, and `SettingsUnknown`."""
    resource = ConfigResource("TOPIC", name, list(_CHECKED))
    configs = admin.describe_configs([resource], config_filter="all").get("topic", {})
    settings = {key: str(config["value"]) for key, config in configs.get(name, {}).items()}
    if not settings.keys() >= set(_CHECKED):
        raise SettingsUnknown(name)
    return settings


def shortfalls_of(
    name: str, settings: Mapping[str, str], copies: int, *, topics: Topics, replication: int
) -> list[Shortfall]:
    """What may lose records of one topic, of which each partition has at least so many copies."""
    short = [*_shortfalls_in_copies(settings, copies, asked=replication)]
    if name in (topics.feedback, topics.interactions):
        short += _shortfalls_in_time(settings)
    return [Shortfall(topic=name, setting=setting, text=text) for setting, text in short]


def _shortfalls_in_copies(
    settings: Mapping[str, str], copies: int, *, asked: int
) -> Iterator[tuple[str, str]]:
    in_sync_min = int(settings["min.insync.replicas"])
    if copies < asked:
        text = (
            f"{copies} of the {asked} copies asked for: more brokers lost than that leaves are records lost"
        )
        yield "replication.factor", text
    if in_sync_min > copies:
        text = f"min.insync.replicas is {in_sync_min} of {copies} copies: nothing can be acknowledged"
        yield "min.insync.replicas", text
    if in_sync_min == 1 and copies > 2:
        text = "min.insync.replicas is 1: what was acknowledged may be on one broker alone; use 2"
        yield "min.insync.replicas", text


def _shortfalls_in_time(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    policy, kept_ms = settings["cleanup.policy"], int(settings["retention.ms"])
    if "compact" in policy:
        text = f"cleanup.policy is {policy}: only the last record of a key is kept, read or not; use delete"
        yield "cleanup.policy", text
    if "delete" in policy and 0 <= kept_ms < RETENTION_DAYS_MIN * _DAY_MS:
        yield (
            "retention.ms",
            f"retention.ms is {kept_ms / _DAY_MS:.3g} days: what intake could not read by then is lost, also"
            f" after a restore; {RETENTION_DAYS_MIN} days are the least",
        )
    if "delete" in policy and int(settings["retention.bytes"]) >= 0:
        yield "retention.bytes", "retention.bytes is set: records are dropped by size, read or not; use -1"


def topic_state(cluster: Cluster, topics: Topics) -> tuple[TopicState, ...]:
    """All four topics as the cluster has them."""
    with closing(cluster.admin()) as admin:
        return describe(admin, tuple(topics.retention_days()))


def describe(admin: Any, names: tuple[str, ...]) -> tuple[TopicState, ...]:
    """The named topics as the cluster has them. Raises kafka-python's errors if it does not answer."""
    described = {topic["name"]: topic for topic in admin.describe_topics(list(names))}
    states = []
    for name in names:
        topic = described.get(name, {"error_code": errors.UnknownTopicOrPartitionError.errno})
        code = topic["error_code"]
        if code not in (0, errors.UnknownTopicOrPartitionError.errno):
            raise errors.for_code(code)(name)
        exists = code == 0
        states.append(
            TopicState(
                name=name,
                topic_id=id_of(topic) if exists else None,
                partitions=len(topic["partitions"]) if exists else 0,
            )
        )
    return tuple(states)


def id_of(topic: Mapping[str, Any]) -> str:
    """The topic's id, or `name:` and its name on brokers before 2.8, which have no ids (KIP-516)."""
    topic_id = topic.get("topic_id")
    return str(topic_id) if topic_id and UUID(str(topic_id)).int else f"name:{topic['name']}"
