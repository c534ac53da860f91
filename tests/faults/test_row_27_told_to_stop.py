"""Row 27. An intake told to stop under load, without a broker, or twice, ends soon and loses nothing."""

import signal
import time
from collections.abc import Callable

import pytest

from deploy.kafka.broker import LocalBroker
from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka


def test_row_27_stopped_under_load(kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    load.send(1000)
    process = start_intake(topics)
    wait_until(lambda: len(ledger.ids()) > 50)
    begun = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - begun < 20.0
    start_intake(topics)
    load.wait_until_kept(ledger)


def test_row_27_stopped_with_the_broker_gone(
    own_broker: Callable[..., LocalBroker], ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start_intake(topics, on=kafka)
    load.send(50)
    load.wait_until_kept(ledger)
    broker.kill()
    wait_until(lambda: process.has_logged("READY kafka False"))
    begun = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - begun < 30.0


def test_row_27_told_twice_it_ends_at_once(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    load.send(300)
    process = start_intake(topics, stalls={"intake-polled": 20.0})
    wait_until(lambda: process.has_logged("STALLED"))
    process.signal(signal.SIGTERM)
    time.sleep(0.5)
    process.signal(signal.SIGTERM)
    begun = time.monotonic()
    process.wait()
    assert time.monotonic() - begun < 5.0
    start_intake(topics)
    load.wait_until_kept(ledger)
