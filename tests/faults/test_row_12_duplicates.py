"""Row 12. An offset or an event that comes again is counted; another body under its id is a dead letter."""

import pytest
from sqlalchemy import func, select

from ledger.schema import dead_letters, events, positions, ranges
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = pytest.mark.kafka


def test_row_12_the_same_event_at_other_offsets_is_counted_once_and_again(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=2)
    for partition in (0, 1, 0):
        send_correction(kafka, topics.feedback, "e1", partition=partition)
    start_intake(topics)
    wait_until(lambda: ledger.records_kept(topics.feedback) == 3)
    assert ledger.ids() == ["e1"]
    assert ledger.column(select(func.sum(ranges.c.duplicates)))[0] == 2
    assert ledger.dead_letter_reasons() == []


def test_row_12_another_body_under_a_kept_id_is_a_conflict_with_both_fingerprints(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e1")
    send_correction(kafka, topics.feedback, "e1", corrected="something else")
    send_correction(kafka, topics.feedback, "e1")
    start_intake(topics)
    wait_until(lambda: ledger.records_kept(topics.feedback) == 3)
    assert ledger.dead_letter_reasons() == ["conflict"]
    (detail,) = ledger.column(select(dead_letters.c.detail))
    (digest,) = ledger.column(select(events.c.digest))
    assert digest[:12] in detail
    assert "something else" not in detail


def test_row_12_the_same_offsets_again_change_nothing(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    for number in range(5):
        send_correction(kafka, topics.feedback, f"e{number}")
    first = start_intake(topics)
    wait_until(lambda: ledger.records_kept(topics.feedback) == 5)
    first.stop()
    with ledger.database.write() as connection:  # as if the position had been lost and nothing else
        connection.execute(positions.update().values(next_offset=0))
        connection.execute(ranges.delete())
    start_intake(topics)
    wait_until(lambda: ledger.records_kept(topics.feedback) == 5)
    assert len(ledger.ids()) == 5
    assert ledger.column(select(func.sum(ranges.c.duplicates)))[0] == 5
