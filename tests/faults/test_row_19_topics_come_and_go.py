"""Row 19. A topic deleted, made again, grown or missing at start: an alarm, never a silent skip."""

import dataclasses

import pytest

from feedback.intake import POLL_MS
from tests.unit.feedback.taking_in import correct, until

pytestmark = pytest.mark.kafka


def test_row_19_a_topic_made_again_is_not_read_at_the_old_offset(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    for number in range(3):
        correct(kafka, topics.feedback, f"old{number}")
    process = start(topics)
    until(lambda: len(kept.ids()) == 3)
    kafka.delete(topics.feedback)
    until(lambda: process.says("topic missing"))
    kafka.create_named(topics.feedback, 1)
    for number in range(5):
        correct(kafka, topics.feedback, f"new{number}")
    until(lambda: process.says("topic halted"))
    process.stop()
    assert kept.ids() == ["old0", "old1", "old2"]
    start(topics, options={"on_gap": "continue"})
    until(lambda: len(kept.ids()) == 8)
    kept.check_ranges()


def test_row_19_partitions_added_later_are_read_from_their_beginning(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e0")
    start(topics, kafka={"metadata_max_age_ms": 2000})
    until(lambda: kept.ids() == ["e0"])
    kafka.grow(topics.feedback, 3)
    for partition in (1, 2):
        until(lambda partition=partition: _said(kafka, topics.feedback, partition))
    until(lambda: kept.ids() == ["e0", "e1", "e2"])


def test_row_19_partitions_added_are_read_where_joining_again_outlasts_a_poll(relayed, kept, start):
    """kafka-python forgets such a join (feedback/connection.py)."""
    topics = relayed.kafka.create_all(partitions=1)
    correct(relayed.kafka, topics.feedback, "e0")
    options = {"session_ms": 10_000}
    process = start(topics, on=relayed.through, kafka={"metadata_max_age_ms": 2000}, options=options)
    until(lambda: kept.ids() == ["e0"])
    relayed.relay.delay_s = POLL_MS / 1000  # each way
    relayed.kafka.grow(topics.feedback, 3)
    for partition in (1, 2):
        until(lambda partition=partition: _said(relayed.kafka, topics.feedback, partition))
    until(lambda: kept.ids() == ["e0", "e1", "e2"], 60.0)
    assert process.ended is None


def _said(kafka, topic, partition) -> bool:
    correct(kafka, topic, f"e{partition}", partition=partition)
    return True


def test_row_19_a_topic_missing_at_start_is_waited_for(kafka, kept, start):
    there = kafka.create_all(partitions=1)
    topics = dataclasses.replace(there, feedback=f"{there.feedback}-late")
    process = start(topics, kafka={"metadata_max_age_ms": 2000})
    until(lambda: process.says("topic missing"))
    kafka.create_named(topics.feedback, 1)
    correct(kafka, topics.feedback, "e0")
    until(lambda: kept.ids() == ["e0"])
