"""Row 6. While some members join, leave, hang and are killed again and again, the others work."""

import uuid

import pytest

from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka

HELD_UP_S_MAX = 100.0
"""The poll interval of a minute, and what a busy machine takes to join."""


def test_row_06_work_goes_on_while_members_come_and_go(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    steady = start_intake(topics)
    load.send(50)
    load.wait_until_kept(ledger)
    for round_ in range(6):
        guest = start_intake(topics)
        load.send(50)
        wait_until(lambda here=guest: here.has_logged("partition placed"), 60.0)
        load.send(50)
        guest.kill() if round_ % 2 else guest.stop()
    load.wait_until_kept(ledger, wait_s=90.0)
    assert steady.ended is None


def test_row_06_a_member_killed_as_it_joins_holds_nobody_up(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics, group = kafka.create_all(partitions=4), f"joined-{uuid.uuid4().hex[:8]}"
    load = Load(kafka, topics.feedback, partitions=4)
    steady = start_intake(topics, options={"group": group, "session_ms": 30_000})
    load.send(50)
    load.wait_until_kept(ledger)
    for _ in range(3):
        steady.freeze()  # the group waits for it, and whoever joins waits for the group
        joining = start_intake(topics, options={"group": group})
        wait_until(lambda: kafka.group_state(group) == "PreparingRebalance", 60.0)
        joining.kill()
        steady.wake()
        load.send(50)
        load.wait_until_kept(ledger, wait_s=90.0)
    assert steady.ended is None


def test_row_06_a_member_that_hangs_holds_nobody_up_for_longer_than_its_poll_interval(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    load.send(50)
    hung = start_intake(topics, stalls={"intake-polled": 600.0})  # its heartbeats go on: no session ends
    wait_until(lambda: hung.has_logged("STALLED intake-polled"))
    heir = start_intake(topics)
    load.send(50)
    load.wait_until_kept(ledger, wait_s=HELD_UP_S_MAX)
    assert heir.ended is None
