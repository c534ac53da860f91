"""Reads what a cluster is like for this installation: its topics, their settings, and the rights of our user.

`clorad doctor` asks for it. Nothing is written, no group is joined, and no record is read.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kafka import TopicPartition, errors
from kafka.protocol.consumer.offsets import OffsetSpec

from feedback.connection import Cluster
from feedback.inspection import BrokerAway
from feedback.kafka_security import fault_reason
from feedback.passing_faults import ask_again
from feedback.topics import SettingsUnknown, Topics, id_of, settings_of

COORDINATOR_S_MAX = 15.0
"""Seconds to wait for the group's coordinator: brokers make the topic of offsets at the first question."""

_DENIED = errors.TopicAuthorizationFailedError.errno


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicReport:
    """One topic as this user sees it."""

    name: str
    topic_id: str | None  # None: there is no such topic, or the user may not see it
    is_denied: bool = False  # the user may not see it (no right DESCRIBE)
    partitions: int = 0
    copies: int = 0  # of the partition that has the fewest
    rights: frozenset[str] | None = None  # READ, WRITE, …; None: the broker does not say (before KIP-430)
    settings: Mapping[str, str] | None = None  # None: the user may not read them
    newest_s: float | None = None  # Unix time of the latest record's timestamp; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReport:
    """A cluster as this user sees it."""

    brokers: int
    topics: tuple[TopicReport, ...]
    group_rights: frozenset[str] | None  # on the group; None: not known, as before anybody joined it
    has_coordinator: bool  # some broker takes the offsets of the group


def read_cluster(cluster: Cluster, topics: Topics, *, group: str) -> ClusterReport:
    """What the cluster has for the four topics and the group. Raises `BrokerAway`."""
    try:
        with closing(cluster.admin()) as admin:
            return ask_again(lambda: _report(admin, topics, group))
    except (errors.KafkaError, OSError) as fault:
        raise BrokerAway(fault_reason(fault)) from None


def _report(admin: Any, topics: Topics, group: str) -> ClusterReport:
    brokers = len(admin.describe_cluster()["brokers"])
    described = admin.describe_topics(list(topics.retention_days()))
    has_coordinator, group_rights = _group_state(admin, group)
    return ClusterReport(
        brokers=brokers,
        topics=tuple(_topic_report(admin, topic) for topic in described),
        group_rights=group_rights,
        has_coordinator=has_coordinator,
    )


def _topic_report(admin: Any, topic: Mapping[str, Any]) -> TopicReport:
    name, code = topic["name"], topic["error_code"]
    if code in (_DENIED, errors.UnknownTopicOrPartitionError.errno):
        return TopicReport(name=name, topic_id=None, is_denied=code == _DENIED)
    if code:
        raise errors.for_code(code)(name)
    return TopicReport(
        name=name,
        topic_id=id_of(topic),
        partitions=len(topic["partitions"]),
        copies=min((len(partition["replica_nodes"]) for partition in topic["partitions"]), default=0),
        rights=_rights(topic),
        settings=_settings(admin, name),
        newest_s=_newest_s(admin, name, len(topic["partitions"])),
    )


def _rights(described: Mapping[str, Any]) -> frozenset[str] | None:
    """The operations that the broker allows us. Whoever got a description has DESCRIBE (KIP-430)."""
    rights = frozenset(described.get("authorized_operations") or ())
    return rights if "DESCRIBE" in rights else None


def _group_state(admin: Any, group: str) -> tuple[bool, frozenset[str] | None]:
    """Whether the group has a coordinator, and our rights on it."""
    until_s = time.monotonic() + COORDINATOR_S_MAX
    while True:
        try:
            described = admin.describe_groups([group])[group]
            is_denied = errors.GroupAuthorizationFailedError.__name__ in str(described["error"])
            return True, frozenset() if is_denied else _rights(described)
        except errors.GroupAuthorizationFailedError:
            return True, frozenset()
        except (errors.CoordinatorNotAvailableError, errors.CoordinatorLoadInProgressError):
            if time.monotonic() > until_s:
                return False, None
            time.sleep(0.5)


def _settings(admin: Any, name: str) -> Mapping[str, str] | None:
    try:
        return settings_of(admin, name)
    except (errors.AuthorizationError, SettingsUnknown):
        return None


def _newest_s(admin: Any, name: str, partitions: int) -> float | None:
    """The largest timestamp in the topic (KIP-734). None if it is empty, or the broker cannot say it."""
    places = [TopicPartition(name, number) for number in range(partitions)]
    try:
        newest = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.MAX_TIMESTAMP))
    except (errors.AuthorizationError, errors.IncompatibleBrokerVersion, errors.UnsupportedVersionError):
        return None
    newest_ms = max((offset.timestamp for offset in newest.values()), default=-1)
    return newest_ms / 1000 if newest_ms >= 0 else None
