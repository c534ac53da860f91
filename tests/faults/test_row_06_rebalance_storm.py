"""Row 6. While members come and go without end, are killed as they join or hang, the work goes on."""

import uuid

import pytest

from tests.faults.load import Load
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka

HELD_UP_S_MAX = 100.0
"""The poll interval of a minute, and what a busy machine takes to join."""


def test_row_06_work_goes_on_while_members_come_and_go(kafka, kept, start):
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    steady = start(topics)
    load.say(50)
    load.arrives(kept)
    for round_ in range(6):
        guest = start(topics)
        load.say(50)
        until(lambda here=guest: here.says("partition placed"), 60.0)
        load.say(50)
        guest.kill() if round_ % 2 else guest.stop()
    load.arrives(kept, wait_s=90.0)
    assert steady.ended is None


def test_row_06_a_member_killed_as_it_joins_holds_nobody_up(kafka, kept, start):
    topics, group = kafka.create_all(partitions=4), f"joined-{uuid.uuid4().hex[:8]}"
    load = Load(kafka, topics.feedback, partitions=4)
    steady = start(topics, options={"group": group, "session_ms": 30_000})
    load.say(50)
    load.arrives(kept)
    for _ in range(3):
        steady.freeze()  # the group waits for it, and whoever joins waits for the group
        joining = start(topics, options={"group": group})
        until(lambda: kafka.group_state(group) == "PreparingRebalance", 60.0)
        joining.kill()
        steady.wake()
        load.say(50)
        load.arrives(kept, wait_s=90.0)
    assert steady.ended is None


def test_row_06_a_member_that_hangs_holds_nobody_up_for_longer_than_its_poll_interval(kafka, kept, start):
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    load.say(50)
    hung = start(topics, stalls={"intake-polled": 600.0})  # its heartbeats go on: no session ends
    until(lambda: hung.says("STALLED intake-polled"))
    heir = start(topics)
    load.say(50)
    load.arrives(kept, wait_s=HELD_UP_S_MAX)
    assert heir.ended is None
