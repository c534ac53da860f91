"""Row 1. A broker that is killed and comes back is waited for; nothing is lost or twice."""

import pytest

from tests.faults.load import Load
from tests.kafka_broker import RealKafka
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka


def test_row_01_the_broker_is_killed_and_comes_back(own_broker, kept, start):
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics, on=kafka)
    load.say(200)
    load.arrives(kept)
    broker.kill()
    until(lambda: process.says("READY kafka False"))
    assert process.ended is None
    broker.start()
    load.say(200)
    load.arrives(kept)
    assert process.ended is None
