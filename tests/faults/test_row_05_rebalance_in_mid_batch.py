"""Row 5. Members join, leave and are killed while they have batches: one member stores each record once."""

import pytest

from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka


def test_row_05_members_join_leave_and_die_under_load(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    load.send(400)
    first = start_intake(topics)
    second = start_intake(topics)
    wait_until(lambda: len(ledger.ids()) > 50)
    third = start_intake(topics)
    load.send(400)
    first.stop()
    load.send(200)
    second.kill()
    load.send(200)
    load.wait_until_kept(ledger)
    assert third.ended is None


def test_row_05_a_member_whose_partition_moved_in_mid_batch_keeps_nothing(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    load = Load(kafka, topics.feedback, partitions=1)
    load.send(300)
    slow = start_intake(topics, stalls={"intake-polled": 8.0}, options={"records_max": 300})
    wait_until(lambda: slow.has_logged("STALLED intake-polled"))
    slow.freeze()
    heir = start_intake(topics)
    wait_until(lambda: len(ledger.ids()) > 100)
    slow.wake()
    load.send(100)
    load.wait_until_kept(ledger)
    wait_until(lambda: slow.has_logged("partition moved on"))
    assert heir.ended is None
