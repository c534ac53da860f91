"""Row 7. An intake frozen for longer than its session wakes to find its work done: it keeps nothing old."""

import pytest

from tests.faults.load import Load
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka


def test_row_07_a_frozen_intake_wakes_after_another_took_over(kafka, kept, start):
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    zombie = start(topics)
    load.say(100)
    load.arrives(kept)
    for _ in range(3):
        zombie.freeze()
        heir = start(topics)
        load.say(100)
        load.arrives(kept)
        zombie.wake()
        load.say(100)
        load.arrives(kept)
        assert zombie.ended is None
        zombie.kill()
        zombie = heir


def test_row_07_frozen_inside_its_transaction_it_blocks_only_as_long_as_it_must(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    load = Load(kafka, topics.feedback, partitions=1)
    load.say(100)
    zombie = start(topics, stalls={"intake-in-transaction": 6.0})
    until(lambda: zombie.says("STALLED intake-in-transaction"))
    zombie.freeze()
    heir = start(topics)
    until(lambda: heir.says("READY ledger False"))  # the lock on SQLite is the zombie's
    zombie.wake()
    load.say(50)
    load.arrives(kept)
    assert heir.ended is None
