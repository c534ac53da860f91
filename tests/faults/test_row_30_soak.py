"""Row 30. Twenty minutes of random faults (SOAK_S): the counts hold; memory, threads and files stay flat."""

import os
import random
import time

import pytest

from tests.faults.load import Load
from tests.kafka_broker import RealKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(2400)]

SOAK_S = float(os.environ.get("SOAK_S", "1200"))


def test_row_30_a_soak_of_random_faults(own_broker, kept, start):
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    chance = random.Random(11)
    steady = start(topics, on=kafka, ships=True)
    other = start(topics, on=kafka)
    load.say(200)
    load.arrives(kept)
    begun = (steady.rss_mib(), steady.threads(), steady.files())
    until_s = time.monotonic() + SOAK_S
    while time.monotonic() < until_s:
        load.say(chance.randrange(50, 300))
        match chance.randrange(5):
            case 0:
                other.kill()
                other = start(topics, on=kafka)
            case 1:
                other.freeze()
                time.sleep(3.0)
                other.wake()
            case 2:
                other.stop()
                other = start(topics, on=kafka)
            case 3:
                broker.kill()
                broker.start()
            case 4:
                kafka.abandon(topics.feedback, 5, partition=chance.randrange(4))
        load.arrives(kept, wait_s=120.0)
    assert steady.ended is None
    ended = (steady.rss_mib(), steady.threads(), steady.files())
    assert ended[0] - begun[0] < 30, (begun, ended)
    assert ended[1] - begun[1] <= 3, (begun, ended)
    assert ended[2] - begun[2] <= 20, (begun, ended)
