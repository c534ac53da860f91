"""Row 19. A topic deleted, made again, grown or missing at start: an alarm, never a silent skip."""

import dataclasses

import pytest

from feedback.intake import POLL_MS
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka, Relayed
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = pytest.mark.kafka


def test_row_19_a_topic_made_again_is_not_read_at_the_old_offset(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    for number in range(3):
        send_correction(kafka, topics.feedback, f"old{number}")
    process = start_intake(topics)
    wait_until(lambda: len(ledger.ids()) == 3)
    kafka.delete(topics.feedback)
    wait_until(lambda: process.has_logged("topic missing"))
    kafka.create_named(topics.feedback, 1)
    for number in range(5):
        send_correction(kafka, topics.feedback, f"new{number}")
    wait_until(lambda: process.has_logged("topic halted"))
    process.stop()
    assert ledger.ids() == ["old0", "old1", "old2"]
    start_intake(topics, options={"on_gap": "continue"})
    wait_until(lambda: len(ledger.ids()) == 8)
    ledger.check_ranges()


def test_row_19_partitions_added_later_are_read_from_their_beginning(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e0")
    start_intake(topics, kafka={"metadata_max_age_ms": 2000})
    wait_until(lambda: ledger.ids() == ["e0"])
    kafka.grow(topics.feedback, 3)
    for partition in (1, 2):
        wait_until(lambda partition=partition: _send(kafka, topics.feedback, partition))
    wait_until(lambda: ledger.ids() == ["e0", "e1", "e2"])


def test_row_19_partitions_added_are_read_where_joining_again_outlasts_a_poll(
    relayed: Relayed, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    """kafka-python forgets such a join (feedback/connection.py)."""
    topics = relayed.kafka.create_all(partitions=1)
    send_correction(relayed.kafka, topics.feedback, "e0")
    options = {"session_ms": 10_000}
    process = start_intake(topics, on=relayed.through, kafka={"metadata_max_age_ms": 2000}, options=options)
    wait_until(lambda: ledger.ids() == ["e0"])
    relayed.relay.delay_s = POLL_MS / 1000  # each way
    relayed.kafka.grow(topics.feedback, 3)
    for partition in (1, 2):
        wait_until(lambda partition=partition: _send(relayed.kafka, topics.feedback, partition))
    wait_until(lambda: ledger.ids() == ["e0", "e1", "e2"], 60.0)
    assert process.ended is None


def _send(kafka: RealKafka, topic: str, partition: int) -> bool:
    send_correction(kafka, topic, f"e{partition}", partition=partition)
    return True


def test_row_19_a_topic_missing_at_start_is_waited_for(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    there = kafka.create_all(partitions=1)
    topics = dataclasses.replace(there, feedback=f"{there.feedback}-late")
    process = start_intake(topics, kafka={"metadata_max_age_ms": 2000})
    wait_until(lambda: process.has_logged("topic missing"))
    kafka.create_named(topics.feedback, 1)
    send_correction(kafka, topics.feedback, "e0")
    wait_until(lambda: ledger.ids() == ["e0"])
