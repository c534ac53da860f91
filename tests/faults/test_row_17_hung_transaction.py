"""Row 17. An open transaction hides all records after it: intake reports that its partition stands still."""

import pytest

from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = pytest.mark.kafka


def test_row_17_a_partition_that_stands_still_is_not_called_healthy(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "before")
    producer = kafka.cluster.producer(transactional_id=topics.feedback)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topics.feedback, value=b"{}", partition=0).get(timeout=20)
    send_correction(kafka, topics.feedback, "after")
    process = start_intake(topics, options={"still_s_max": 2.0})
    wait_until(lambda: process.has_logged("READY progress False"))
    assert ledger.ids() == ["before"]
    producer.abort_transaction()
    producer.close(timeout=5)
    wait_until(lambda: ledger.ids() == ["after", "before"])
    wait_until(lambda: process.log.read_text().rpartition("READY progress ")[2].startswith("True"))
