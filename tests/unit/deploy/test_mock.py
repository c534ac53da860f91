"""The mock cluster that the demo uses where Java is missing works with the project's own clients."""

from collections.abc import Iterator

import pytest

from deploy.kafka.mock import API_VERSION, MockCluster
from feedback.connection import Kafka
from feedback.topics import Topics, create, topic_state


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    mock = MockCluster()
    yield mock
    mock.stop()


def test_topics_are_made_and_found_by_the_project_s_own_client(cluster: MockCluster) -> None:
    kafka = Kafka(bootstrap_servers=cluster.start(), options={"api_version": API_VERSION})
    topics = Topics()
    assert all(state.topic_id is None for state in topic_state(kafka, topics))
    cluster.make(topics.retention_days())
    assert all(state.topic_id and state.partitions > 0 for state in topic_state(kafka, topics))
    assert create(kafka, topics, partitions=1, replication=1) == (), "topics that exist stay as they are"
