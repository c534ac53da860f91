"""Row 5. Members join, leave and are killed while batches are in hand: each is kept once, by somebody."""

import pytest

from tests.faults.load import Load
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka


def test_row_05_members_join_leave_and_die_under_load(kafka, kept, start):
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    load.say(400)
    first = start(topics)
    second = start(topics)
    until(lambda: len(kept.ids()) > 50)
    third = start(topics)
    load.say(400)
    first.stop()
    load.say(200)
    second.kill()
    load.say(200)
    load.arrives(kept)
    assert third.ended is None


def test_row_05_a_member_whose_partition_moved_in_mid_batch_keeps_nothing(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    load = Load(kafka, topics.feedback, partitions=1)
    load.say(300)
    slow = start(topics, stalls={"intake-polled": 8.0}, options={"records_max": 300})
    until(lambda: slow.says("STALLED intake-polled"))
    slow.freeze()
    heir = start(topics)
    until(lambda: len(kept.ids()) > 100)
    slow.wake()
    load.say(100)
    load.arrives(kept)
    until(lambda: slow.says("partition moved on"))
    assert heir.ended is None
