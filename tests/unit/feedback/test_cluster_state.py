"""What `clorad init` and the doctor ask a cluster."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from kafka import errors

from feedback.cluster_state import read_cluster
from feedback.connection import Kafka
from feedback.topics import Topics

SETTINGS = {
    "cleanup.policy": "delete",
    "retention.ms": "1",
    "retention.bytes": "-1",
    "min.insync.replicas": "1",
    "max.message.bytes": "1",
}


class ElectingAdmin:
    """The client of a cluster whose partitions have no leader when it is asked first."""

    def __init__(self) -> None:
        self.elections = 2

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [1]}

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        partitions = [{"replica_nodes": [1]}]
        return [
            {"name": name, "error_code": 0, "topic_id": uuid4(), "partitions": partitions} for name in names
        ]

    def describe_groups(self, names: list[str]) -> dict[str, dict[str, Any]]:
        return {name: {"error": "", "authorized_operations": ["DESCRIBE", "READ"]} for name in names}

    def describe_configs(self, resources: list[Any], config_filter: str) -> dict[str, Any]:
        return {
            "topic": {
                each.name: {key: {"value": value} for key, value in SETTINGS.items()} for each in resources
            }
        }

    def list_partition_offsets(self, places: dict[Any, Any]) -> dict[Any, Any]:
        if self.elections:
            self.elections -= 1
            raise errors.NotLeaderForPartitionError
        return {place: SimpleNamespace(timestamp=-1) for place in places}

    def close(self) -> None:
        """Nothing to close."""


def test_a_cluster_whose_leaders_move_is_asked_again() -> None:
    cluster = cast(Kafka, SimpleNamespace(admin=ElectingAdmin))
    report = read_cluster(cluster, Topics(), group="clorad")
    assert (report.brokers, len(report.topics)) == (1, 4)
