"""Reading begins at the ledger's offset, or where a policy says; what needs a person is halted."""

from pathlib import Path

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from sqlalchemy import select

from feedback.placement import WrongLedger
from feedback.topics import Topics
from ledger.identity import ensure_identity
from ledger.schema import ranges
from ledger.upkeep.backup import back_up, restore
from tests.fakes.kafka import FakeKafka, FakeLog
from tests.unit.feedback.intake_builder import (
    IntakeLedger,
    RecordedHealth,
    build_intake,
    build_ledger,
    fault_of_intake,
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


def test_the_ledger_wins_over_the_offsets_in_kafka(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all(partitions=1)
    for number in range(4):
        send_correction(kafka, topics.feedback, f"e{number}")
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 4)
    partition = TopicPartition(topics.feedback, 0)
    for reset in (0, 2):
        kafka.groups["g"].offsets[partition] = OffsetAndMetadata(reset, "", -1)
        send_correction(kafka, topics.feedback)
        run_intake_until(
            build_intake(kafka, ledger, topics),
            lambda: ledger.records_kept(topics.feedback) == kafka.log(partition).end,
        )
    assert len(ledger.ids()) == 6


@pytest.mark.parametrize(
    ("first_start", "ids"),
    [("committed", ["e2", "e3"]), ("beginning", ["e0", "e1", "e2", "e3"]), ("end", [])],
)
def test_a_partition_never_read_begins_where_the_policy_says(
    kafka: FakeKafka, ledger: IntakeLedger, first_start: str, ids
) -> None:
    topics = kafka.create_all(partitions=1)
    for number in range(4):
        send_correction(kafka, topics.feedback, f"e{number}")
    kafka.consumer(group_id="g")
    kafka.groups["g"].offsets[TopicPartition(topics.feedback, 0)] = OffsetAndMetadata(2, "", -1)
    intake = build_intake(kafka, ledger, topics, first_start=first_start)
    run_intake_until(intake, lambda: ledger.next_offsets(topics.feedback) == {0: 4})
    assert ledger.ids() == ids


def test_a_ledger_restored_from_before_its_own_hint_reads_everything_again(
    kafka: FakeKafka, tmp_path: Path
) -> None:
    topics = kafka.create_all(partitions=1)
    for number in range(3):
        send_correction(kafka, topics.feedback, f"e{number}")
    ledger = build_ledger(tmp_path)
    ensure_identity(ledger.database)
    ledger.database.close()
    saved = (tmp_path / "ledger.db").read_bytes()
    first = build_ledger(tmp_path)
    run_intake_until(build_intake(kafka, first, topics), lambda: first.records_kept(topics.feedback) == 3)
    wait_until(lambda: kafka.commits > 0)
    first.database.close()
    for leftover in tmp_path.glob("ledger.db*"):
        leftover.unlink()
    (tmp_path / "ledger.db").write_bytes(saved)
    restored = build_ledger(tmp_path)
    run_intake_until(
        build_intake(kafka, restored, topics), lambda: restored.records_kept(topics.feedback) == 3
    )
    assert restored.ids() == ["e0", "e1", "e2"]


def test_a_group_of_another_ledger_is_refused(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all(partitions=1)
    kafka.consumer(group_id="g")
    kafka.groups["g"].offsets[TopicPartition(topics.feedback, 0)] = OffsetAndMetadata(0, "another-ledger", -1)
    fault = fault_of_intake(build_intake(kafka, ledger, topics))
    assert isinstance(fault, WrongLedger)
    assert "another-ledger" in str(fault)
    assert kafka.groups["g"].offsets[TopicPartition(topics.feedback, 0)].metadata == "another-ledger"


def _read_two_then_lose_three(kafka: FakeKafka, ledger: IntakeLedger, topics: Topics) -> None:
    for number in range(2):
        send_correction(kafka, topics.feedback, f"e{number}")
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 2)
    for number in range(2, 7):
        send_correction(kafka, topics.feedback, f"e{number}")
    kafka.delete_records(topics.feedback, 0, 5)


def test_offsets_lost_to_retention_halt_the_partition(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics, health = kafka.create_all(partitions=1), RecordedHealth()
    _read_two_then_lose_three(kafka, ledger, topics)
    with running_intakes(build_intake(kafka, ledger, topics, health=health)):
        wait_until(lambda: not health.states.get("partitions", (True, ""))[0])
    assert ledger.records_kept(topics.feedback) == 2


def test_offsets_lost_to_retention_are_a_recorded_gap_if_the_operator_says_so(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all(partitions=1)
    _read_two_then_lose_three(kafka, ledger, topics)
    run_intake_until(
        build_intake(kafka, ledger, topics, on_gap="continue"),
        lambda: ledger.records_kept(topics.feedback) == 7,
    )
    assert ledger.ids() == ["e0", "e1", "e5", "e6"]
    gaps = select(ranges.c.start).where(ranges.c.gap.is_not(None))
    assert ledger.column(gaps) == [2]
    ledger.check_ranges()


def test_a_log_shorter_than_what_was_read_halts_the_partition(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics, health = kafka.create_all(partitions=1), RecordedHealth()
    for number in range(3):
        send_correction(kafka, topics.feedback, f"e{number}")
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 3)
    del kafka.log(TopicPartition(topics.feedback, 0)).entries[1:]
    with running_intakes(build_intake(kafka, ledger, topics, health=health, on_gap="continue")):
        wait_until(lambda: not health.states.get("partitions", (True, ""))[0])


def test_partitions_added_later_are_read_from_their_beginning(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e0")
    with running_intakes(build_intake(kafka, ledger, topics)):
        wait_until(lambda: ledger.ids() == ["e0"])
        kafka.topics[topics.feedback].logs.append(FakeLog())
        send_correction(kafka, topics.feedback, "e1", partition=1)
        wait_until(lambda: ledger.ids() == ["e0", "e1"])


def test_an_intake_that_runs_meanwhile_reads_again_from_where_the_ledger_stands(
    kafka: FakeKafka, ledger: IntakeLedger, tmp_path: Path
) -> None:
    topics = kafka.create_all(partitions=2)
    with running_intakes(build_intake(kafka, ledger, topics)):
        first = [send_correction(kafka, topics.feedback, partition=number % 2) for number in range(4)]
        wait_until(lambda: len(ledger.ids()) == 4)
        back_up(ledger.database.url, tmp_path / "copy")
        later = [send_correction(kafka, topics.feedback, partition=number % 2) for number in range(4)]
        wait_until(lambda: len(ledger.ids()) == 8)
        restore(ledger.database.url, tmp_path / "copy", replaced=tmp_path / "was")
        assert ledger.ids() == sorted(first)
        wait_until(lambda: ledger.ids() == sorted(first + later))
    ledger.check_ranges()
