"""Row 27. Told to stop under load, with the broker gone, or twice: it ends soon and loses nothing."""

import signal
import time

import pytest

from tests.faults.load import Load
from tests.kafka_broker import RealKafka
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka


def test_row_27_stopped_under_load(kafka, kept, start):
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    load.say(1000)
    process = start(topics)
    until(lambda: len(kept.ids()) > 50)
    begun = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - begun < 20.0
    start(topics)
    load.arrives(kept)


def test_row_27_stopped_with_the_broker_gone(own_broker, kept, start):
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics, on=kafka)
    load.say(50)
    load.arrives(kept)
    broker.kill()
    until(lambda: process.says("READY kafka False"))
    begun = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - begun < 30.0


def test_row_27_told_twice_it_ends_at_once(kafka, kept, start):
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    load.say(300)
    process = start(topics, stalls={"intake-polled": 20.0})
    until(lambda: process.says("STALLED"))
    process.signal(signal.SIGTERM)
    time.sleep(0.5)
    process.signal(signal.SIGTERM)
    begun = time.monotonic()
    process.wait()
    assert time.monotonic() - begun < 5.0
    start(topics)
    load.arrives(kept)
