"""A topic that was deleted and created again is not read at the offset of the old one."""

from pathlib import Path

import pytest

from tests.fakes.kafka import FakeKafka
from tests.unit.feedback.intake_builder import (
    IntakeLedger,
    RecordedHealth,
    build_intake,
    build_ledger,
    run_intake_until,
    running_intakes,
    send_correction,
    wait_until,
)


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
def ledger(tmp_path: Path) -> IntakeLedger:
    return build_ledger(tmp_path)


@pytest.mark.parametrize("while_running", [False, True])
def test_a_topic_made_again_is_halted_not_read_at_the_old_offset(
    kafka: FakeKafka, ledger: IntakeLedger, while_running: bool
) -> None:
    topics, health = kafka.create_all(partitions=1), RecordedHealth()
    send_correction(kafka, topics.feedback, "old")
    intake = build_intake(kafka, ledger, topics, health=health)

    def make_again() -> None:
        kafka.delete(topics.feedback)
        kafka.create_named(topics.feedback, 1)
        for number in range(3):
            send_correction(kafka, topics.feedback, f"new{number}")

    if while_running:
        with running_intakes(intake):
            wait_until(lambda: ledger.records_kept(topics.feedback) == 1)
            kafka.delete(topics.feedback)
            wait_until(lambda: health.rounds > 10)
            kafka.create_named(topics.feedback, 1)
            wait_until(lambda: not health.states.get("partitions", (True, ""))[0])
    else:
        run_intake_until(intake, lambda: ledger.records_kept(topics.feedback) == 1)
        make_again()
        with running_intakes(build_intake(kafka, ledger, topics, health=health)):
            wait_until(lambda: not health.states.get("partitions", (True, ""))[0])
    assert ledger.ids() == ["old"]


def test_a_topic_made_again_is_read_from_its_beginning_if_the_operator_says_so(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "old")
    with running_intakes(build_intake(kafka, ledger, topics, on_gap="continue")):
        wait_until(lambda: ledger.ids() == ["old"])
        kafka.delete(topics.feedback)
        kafka.create_named(topics.feedback, 1)
        for number in range(3):
            send_correction(kafka, topics.feedback, f"new{number}")
        wait_until(lambda: len(ledger.ids()) == 4)
    ledger.check_ranges()


def test_a_topic_that_is_missing_at_start_is_waited_for(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all(partitions=1)
    kafka.delete(topics.feedback)
    with running_intakes(build_intake(kafka, ledger, topics)):
        kafka.create_named(topics.feedback, 1)
        send_correction(kafka, topics.feedback, "e1")
        wait_until(lambda: ledger.ids() == ["e1"])
