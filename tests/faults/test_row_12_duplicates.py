"""Row 12. An offset or an event that comes again is counted; another body under its id is a dead letter."""

import pytest
from sqlalchemy import func, select

from ledger.schema import dead_letters, events, positions, ranges
from tests.unit.feedback.taking_in import correct, until

pytestmark = pytest.mark.kafka


def test_row_12_the_same_event_at_other_offsets_is_counted_once_and_again(kafka, kept, start):
    topics = kafka.create_all(partitions=2)
    for partition in (0, 1, 0):
        correct(kafka, topics.feedback, "e1", partition=partition)
    start(topics)
    until(lambda: kept.kept(topics.feedback) == 3)
    assert kept.ids() == ["e1"]
    assert kept.column(select(func.sum(ranges.c.duplicates)))[0] == 2
    assert kept.reasons() == []


def test_row_12_another_body_under_a_kept_id_is_a_conflict_with_both_fingerprints(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e1")
    correct(kafka, topics.feedback, "e1", corrected="something else")
    correct(kafka, topics.feedback, "e1")
    start(topics)
    until(lambda: kept.kept(topics.feedback) == 3)
    assert kept.reasons() == ["conflict"]
    (detail,) = kept.column(select(dead_letters.c.detail))
    (digest,) = kept.column(select(events.c.digest))
    assert digest[:12] in detail
    assert "something else" not in detail


def test_row_12_the_same_offsets_again_change_nothing(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    for number in range(5):
        correct(kafka, topics.feedback, f"e{number}")
    first = start(topics)
    until(lambda: kept.kept(topics.feedback) == 5)
    first.stop()
    with kept.database.write() as connection:  # as if the position had been lost and nothing else
        connection.execute(positions.update().values(next_offset=0))
        connection.execute(ranges.delete())
    start(topics)
    until(lambda: kept.kept(topics.feedback) == 5)
    assert len(kept.ids()) == 5
    assert kept.column(select(func.sum(ranges.c.duplicates)))[0] == 5
