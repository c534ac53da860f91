"""Row 7. An intake that was frozen for longer than its session stores nothing that another one took over."""

import pytest

from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka


def test_row_07_a_frozen_intake_wakes_after_another_took_over(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    zombie = start_intake(topics)
    load.send(100)
    load.wait_until_kept(ledger)
    for _ in range(3):
        zombie.freeze()
        heir = start_intake(topics)
        load.send(100)
        load.wait_until_kept(ledger)
        zombie.wake()
        load.send(100)
        load.wait_until_kept(ledger)
        assert zombie.ended is None
        zombie.kill()
        zombie = heir


def test_row_07_frozen_inside_its_transaction_it_blocks_only_as_long_as_it_must(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    load = Load(kafka, topics.feedback, partitions=1)
    load.send(100)
    zombie = start_intake(topics, stalls={"intake-in-transaction": 6.0})
    wait_until(lambda: zombie.has_logged("STALLED intake-in-transaction"))
    zombie.freeze()
    heir = start_intake(topics)
    wait_until(lambda: heir.has_logged("READY ledger False"))  # the lock on SQLite is the zombie's
    zombie.wake()
    load.send(50)
    load.wait_until_kept(ledger)
    assert heir.ended is None
