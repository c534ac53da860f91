"""Row 10. Killed before, in and after its transaction, and between sending and marking: counts stay exact.

`python -m bench.durability` does the same at random, more than thirty times, on 50,000 events.
"""

import signal
from collections import Counter

import pytest

from feedback import inspection
from feedback.outbox import MESSAGE_ID
from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("point", ["intake-polled", "intake-in-transaction", "intake-before-commit"])
def test_row_10_killed_at_a_point_nothing_is_lost_and_nothing_twice(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake, point: str
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    load.send(400)
    for passes in (1, 2, 1):
        assert start_intake(topics, failpoint=f"{point}:{passes}").wait() == -signal.SIGKILL
    start_intake(topics)
    load.wait_until_kept(ledger)


def test_row_10_killed_again_and_again_while_events_keep_coming(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start_intake(topics)
    for _ in range(6):
        stored = len(ledger.ids())
        load.send(100)
        wait_until(lambda stored=stored: len(ledger.ids()) > stored)
        process.kill()
        process = start_intake(topics)
    load.wait_until_kept(ledger)


def test_row_10_killed_between_sending_and_marking_a_message_is_repeated_under_its_id(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    load = Load(kafka, topics.feedback, partitions=1)
    load.send(100)
    for _ in range(3):
        assert start_intake(topics, ships=True, failpoint="outbox-before-mark").wait() == -signal.SIGKILL
    start_intake(topics, ships=True)
    wait_until(lambda: ledger.shipped_count() == load.broken)
    load.wait_until_kept(ledger)
    (letters,) = inspection.extents(kafka.cluster, (topics.dead_letters,))
    records = inspection.records(kafka.cluster, letters, start=0, end=letters.end)
    ids = Counter(dict(record.headers)[MESSAGE_ID] for record in records)
    assert len(ids) == load.broken
    assert sum(ids.values()) > load.broken, "at least one was sent again"
