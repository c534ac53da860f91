"""What the demo falls back to where Java is missing: the clients of this project can work with it."""

from collections.abc import Iterator

import pytest

from deploy.kafka.mock import API_VERSION, MockCluster
from feedback.connection import Kafka
from feedback.topics import Topics, create, topic_state


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    made = MockCluster()
    yield made
    made.stop()


def test_topics_are_made_and_found_by_the_project_s_own_client(cluster: MockCluster) -> None:
    kafka = Kafka(bootstrap_servers=cluster.start(), options={"api_version": API_VERSION})
    topics = Topics()
    assert all(one.topic_id is None for one in topic_state(kafka, topics))
    cluster.make(topics.retention_days())
    assert all(one.topic_id and one.partitions > 0 for one in topic_state(kafka, topics))
    assert create(kafka, topics) == (), "what is there stays as it is"
