"""Row 3. Without a broker at start intake waits, says that it is not ready, and begins when there is one."""

import time

import pytest

from deploy.kafka.broker import LocalBroker, free_port
from tests.faults.load import Load
from tests.kafka_broker import RealKafka
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka


def test_row_03_intake_waits_for_the_first_broker(kafka, kept, start, tmp_path):
    topics = kafka.create_all()  # names only: they are made again on the broker that comes late
    broker = LocalBroker(tmp_path / "late", free_port())
    late = RealKafka(broker.bootstrap)
    process = start(topics, on=late, bootstrap_ms=1000)
    until(lambda: process.says("READY kafka False"))
    time.sleep(5.0)
    assert process.ended is None
    assert process.log.read_text().count("kafka away") < 15, "tries again at growing intervals"
    try:
        broker.start()
        for name in topics.retention_days():
            late.create_named(name, 2)
        load = Load(late, topics.feedback)
        load.say(50)
        load.arrives(kept)
        until(lambda: process.says("READY kafka True"))
    finally:
        broker.kill()
