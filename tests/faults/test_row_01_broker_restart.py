"""Row 1. A broker that is killed and comes back is waited for; nothing is lost or twice."""

from collections.abc import Callable

import pytest

from deploy.kafka.broker import LocalBroker
from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka


def test_row_01_the_broker_is_killed_and_comes_back(
    own_broker: Callable[..., LocalBroker], ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start_intake(topics, on=kafka)
    load.send(200)
    load.wait_until_kept(ledger)
    broker.kill()
    wait_until(lambda: process.has_logged("READY kafka False"))
    assert process.ended is None
    broker.start()
    load.send(200)
    load.wait_until_kept(ledger)
    assert process.ended is None
