"""Row 6. While members come and go every second, and one is killed as it joins, the work goes on."""

import time

import pytest

from tests.faults.load import Load

pytestmark = pytest.mark.kafka


def test_row_06_members_cycle_every_second(kafka, kept, start):
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    steady = start(topics)
    for round_ in range(8):
        guest = start(topics)
        load.say(50)
        time.sleep(1.0)
        guest.kill() if round_ % 2 else guest.stop()
    load.arrives(kept, wait_s=90.0)
    assert steady.ended is None


def test_row_06_a_member_killed_as_it_joins_holds_nobody_up(kafka, kept, start):
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    steady = start(topics)
    load.say(50)
    load.arrives(kept)
    for wait_s in (0.5, 0.7, 0.9, 1.1):
        joining = start(topics)
        time.sleep(wait_s)
        joining.kill()
    load.say(100)
    load.arrives(kept, wait_s=90.0)
    assert steady.ended is None
