"""Row 20. Intake halts or records a gap where retention deleted unread records; a shorter log halts it."""

import pytest
from sqlalchemy import select

from ledger.schema import positions, ranges
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = pytest.mark.kafka


def test_row_20_retention_that_overtook_us_halts_and_then_is_a_recorded_gap(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e0")
    first = start_intake(topics)
    wait_until(lambda: ledger.ids() == ["e0"])
    first.stop()
    for number in range(1, 6):
        send_correction(kafka, topics.feedback, f"e{number}")
    kafka.delete_records(topics.feedback, 0, 4)
    halted = start_intake(topics)
    wait_until(lambda: halted.has_logged("READY partitions False"))
    assert ledger.ids() == ["e0"]
    halted.stop()
    start_intake(topics, options={"on_gap": "continue"})
    wait_until(lambda: ledger.ids() == ["e0", "e4", "e5"])
    with ledger.database.read() as connection:
        gaps = connection.execute(select(ranges.c.start, ranges.c.end).where(ranges.c.gap.is_not(None))).all()
    assert [tuple(gap) for gap in gaps] == [(1, 4)]
    ledger.check_ranges()


def test_row_20_retention_while_it_reads_halts_too(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    process = start_intake(topics)
    send_correction(kafka, topics.feedback, "e0")
    wait_until(lambda: ledger.ids() == ["e0"])
    process.freeze()
    for number in range(1, 4):
        send_correction(kafka, topics.feedback, f"e{number}")
    kafka.delete_records(topics.feedback, 0, 3)
    process.wake()
    wait_until(lambda: process.has_logged("READY partitions False"))
    assert ledger.ids() in (
        ["e0"],
        ["e0", "e1"],
    )  # a fetch that was open as it froze was answered


def test_row_20_a_log_shorter_than_what_was_read_halts(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e0")
    first = start_intake(topics)
    wait_until(lambda: ledger.ids() == ["e0"])
    first.stop()
    with ledger.database.write() as connection:  # as after an unclean election: the log lost what we have
        connection.execute(positions.update().values(next_offset=9))
    process = start_intake(topics, options={"on_gap": "continue"})
    wait_until(lambda: process.has_logged("before what was read"))
    send_correction(kafka, topics.feedback, "e1")
    assert ledger.ids() == ["e0"]
