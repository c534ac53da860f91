"""The four topics: their names, and making them with the retention that losing nothing needs."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kafka import errors

from feedback.connection import Cluster

_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """Names on the cluster. No settings: one cluster carries one installation."""

    feedback: str = "clorad.feedback"
    interactions: str = "clorad.interactions"
    dead_letters: str = "clorad.dead-letters"
    lifecycle: str = "clorad.lifecycle"

    def retention_days(self) -> Mapping[str, int]:
        """Days each topic keeps its records. Feedback must outlive any outage of the intake."""
        return {self.feedback: 90, self.interactions: 14, self.dead_letters: 90, self.lifecycle: 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A topic as the cluster has it."""

    name: str
    topic_id: str | None  # None where it is missing
    partitions: int


def create(
    cluster: Cluster,
    topics: Topics,
    *,
    partitions: int = 6,
    replication: int = 1,
    wait_ms_max: int = 30_000,
) -> tuple[str, ...]:
    """All four topics exist afterwards; those that did already stay as they are. Returns the new ones."""
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
        there = {topic.name for topic in describe(admin, tuple(wanted)) if topic.topic_id is not None}
        missing = {name: options for name, options in wanted.items() if name not in there}
        for name, options in missing.items():
            try:
                admin.create_topics({name: options}, timeout_ms=wait_ms_max)
            except errors.TopicAlreadyExistsError:
                continue  # another process was faster
        if missing:
            admin.wait_for_topics(list(missing), timeout_ms=wait_ms_max)
    return tuple(missing)


def standing(cluster: Cluster, topics: Topics) -> tuple[Standing, ...]:
    """All four topics as the cluster has them."""
    with closing(cluster.admin()) as admin:
        return describe(admin, tuple(topics.retention_days()))


def describe(admin: Any, names: tuple[str, ...]) -> tuple[Standing, ...]:
    """The named topics as the cluster has them now. Raises kafka-python's errors when it does not answer."""
    found = {topic["name"]: topic for topic in admin.describe_topics(list(names))}
    standings = []
    for name in names:
        topic = found.get(name, {"error_code": errors.UnknownTopicOrPartitionError.errno})
        code = topic["error_code"]
        if code not in (0, errors.UnknownTopicOrPartitionError.errno):
            raise errors.for_code(code)(name)
        there = code == 0
        standings.append(
            Standing(
                name=name,
                topic_id=_id_of(topic) if there else None,
                partitions=len(topic["partitions"]) if there else 0,
            )
        )
    return tuple(standings)


def _id_of(topic: Mapping[str, Any]) -> str:
    """Topic ids came with Kafka 2.8 (KIP-516); before, a name is all there is to go by."""
    topic_id = topic.get("topic_id")
    return str(topic_id) if topic_id and UUID(str(topic_id)).int else f"name:{topic['name']}"
