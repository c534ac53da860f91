"""Row 1. A broker that restarts, or is away for half a minute, is waited for; nothing is lost or twice."""

import time

import pytest

from tests.faults.load import Load
from tests.kafka_broker import RealKafka
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("away_s", [0, 30])
def test_row_01_the_broker_is_killed_and_comes_back(own_broker, kept, start, away_s):
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics, on=kafka)
    load.say(200)
    load.arrives(kept)
    broker.kill()
    until(lambda: process.says("READY kafka False"))
    time.sleep(away_s)
    assert process.ended is None
    broker.start()
    load.say(200)
    load.arrives(kept)
    assert process.ended is None


def test_row_01_all_of_three_brokers_go_one_after_another(three_brokers, kept, start):
    kafka = three_brokers.kafka
    topics = kafka.create_all(replicas=3)
    load = Load(kafka, topics.feedback)
    process = start(topics, on=kafka)
    load.say(200)
    for broker in three_brokers.brokers:
        broker.kill()
        load.say(100)
        broker.start()
    load.arrives(kept, wait_s=120.0)
    assert process.ended is None
