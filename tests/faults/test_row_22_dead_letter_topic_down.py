"""Row 22. With the dead-letter topic gone or refusing, the outbox grows and intake goes on."""

import pytest

from feedback import inspection
from tests.faults.load import BROKEN, Load
from tests.unit.feedback.said import headers
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka


def test_row_22_without_its_topic_the_outbox_waits(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    kafka.delete(topics.dead_letters)
    load = Load(kafka, topics.feedback, partitions=1)
    process = start(topics, ships=True)
    load.say(100)
    load.arrives(kept)
    assert kept.owed() == load.broken
    assert kept.shipped() == 0
    kafka.create_named(topics.dead_letters, 1)
    until(lambda: kept.shipped() == load.broken, wait_s=60)
    assert process.ended is None
    (letters,) = inspection.extents(kafka.cluster, (topics.dead_letters,))
    assert letters.end >= load.broken


def test_row_22_a_topic_for_small_messages_gets_pointers(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    admin = kafka.cluster.admin()
    admin.delete_topics([topics.dead_letters])
    admin.close()
    until(lambda: not inspection.extents(kafka.cluster, (topics.dead_letters,)))
    kafka.create_named(topics.dead_letters, 1, max_message_bytes="2000")
    start(topics, ships=True)
    kafka.say(topics.feedback, b'"' + b"x" * 50_000, headers=headers("correction"))
    kafka.say(topics.feedback, BROKEN, headers=headers("correction"))
    until(lambda: kept.shipped() == 2, wait_s=60)
    (letters,) = inspection.extents(kafka.cluster, (topics.dead_letters,))
    values = [record.value for record in inspection.records(kafka.cluster, letters, start=0, end=letters.end)]
    assert values == [b"", BROKEN]
