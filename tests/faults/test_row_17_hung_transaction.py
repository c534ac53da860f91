"""Row 17. A transaction left open hides all that comes after it: intake says that it stands still."""

import pytest

from tests.unit.feedback.taking_in import correct, until

pytestmark = pytest.mark.kafka


def test_row_17_a_partition_that_stands_still_is_not_called_healthy(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "before")
    producer = kafka.cluster.producer(transactional_id=topics.feedback)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topics.feedback, value=b"{}", partition=0).get(timeout=20)
    correct(kafka, topics.feedback, "after")
    process = start(topics, options={"still_s_max": 2.0})
    until(lambda: process.says("READY progress False"))
    assert kept.ids() == ["before"]
    producer.abort_transaction()
    producer.close(timeout=5)
    until(lambda: kept.ids() == ["after", "before"])
    until(lambda: process.log.read_text().rpartition("READY progress ")[2].startswith("True"))
