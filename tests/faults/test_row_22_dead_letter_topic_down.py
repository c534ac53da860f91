"""Row 22. Where the dead-letter topic is gone or refuses messages, the outbox grows and intake goes on."""

import pytest

from feedback import inspection
from tests.faults.load import BROKEN, Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.event_builder import build_headers
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka


def test_row_22_without_its_topic_the_outbox_waits(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    kafka.delete(topics.dead_letters)
    load = Load(kafka, topics.feedback, partitions=1)
    process = start_intake(topics, ships=True)
    load.send(100)
    load.wait_until_kept(ledger)
    assert ledger.outbox_count() == load.broken
    assert ledger.shipped_count() == 0
    kafka.create_named(topics.dead_letters, 1)
    wait_until(lambda: ledger.shipped_count() == load.broken, wait_s=60)
    assert process.ended is None
    (letters,) = inspection.extents(kafka.cluster, (topics.dead_letters,))
    assert letters.end >= load.broken


def test_row_22_a_topic_for_small_messages_gets_pointers(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    admin = kafka.cluster.admin()
    admin.delete_topics([topics.dead_letters])
    admin.close()
    wait_until(lambda: not inspection.extents(kafka.cluster, (topics.dead_letters,)))
    kafka.create_named(topics.dead_letters, 1, max_message_bytes="2000")
    start_intake(topics, ships=True)
    kafka.send(topics.feedback, b'"' + b"x" * 50_000, headers=build_headers("correction"))
    kafka.send(topics.feedback, BROKEN, headers=build_headers("correction"))
    wait_until(lambda: ledger.shipped_count() == 2, wait_s=60)
    (letters,) = inspection.extents(kafka.cluster, (topics.dead_letters,))
    values = [record.value for record in inspection.records(kafka.cluster, letters, start=0, end=letters.end)]
    assert values == [b"", BROKEN]
