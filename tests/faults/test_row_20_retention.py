"""Row 20. What retention deleted before it was read is halted at, or a recorded gap; a shorter log halts."""

import pytest
from sqlalchemy import select

from ledger.schema import positions, ranges
from tests.unit.feedback.taking_in import correct, until

pytestmark = pytest.mark.kafka


def test_row_20_retention_that_overtook_us_halts_and_then_is_a_recorded_gap(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e0")
    first = start(topics)
    until(lambda: kept.ids() == ["e0"])
    first.stop()
    for number in range(1, 6):
        correct(kafka, topics.feedback, f"e{number}")
    kafka.delete_records(topics.feedback, 0, 4)
    halted = start(topics)
    until(lambda: halted.says("READY partitions False"))
    assert kept.ids() == ["e0"]
    halted.stop()
    start(topics, options={"on_gap": "continue"})
    until(lambda: kept.ids() == ["e0", "e4", "e5"])
    with kept.database.read() as connection:
        gaps = connection.execute(select(ranges.c.start, ranges.c.end).where(ranges.c.gap.is_not(None))).all()
    assert [tuple(gap) for gap in gaps] == [(1, 4)]
    kept.check_ranges()


def test_row_20_retention_while_it_reads_halts_too(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    process = start(topics)
    correct(kafka, topics.feedback, "e0")
    until(lambda: kept.ids() == ["e0"])
    process.freeze()
    for number in range(1, 4):
        correct(kafka, topics.feedback, f"e{number}")
    kafka.delete_records(topics.feedback, 0, 3)
    process.wake()
    until(lambda: process.says("READY partitions False"))
    assert kept.ids() in (
        ["e0"],
        ["e0", "e1"],
    )  # a fetch that was open as it froze was answered


def test_row_20_a_log_shorter_than_what_was_read_halts(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e0")
    first = start(topics)
    until(lambda: kept.ids() == ["e0"])
    first.stop()
    with kept.database.write() as connection:  # as after an unclean election: the log lost what we have
        connection.execute(positions.update().values(next_offset=9))
    process = start(topics, options={"on_gap": "continue"})
    until(lambda: process.says("before what was read"))
    correct(kafka, topics.feedback, "e1")
    assert kept.ids() == ["e0"]
