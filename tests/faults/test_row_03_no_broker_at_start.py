"""Row 3. Intake that starts without a broker reports that it is not ready, and begins when there is one."""

import time
import uuid
from pathlib import Path

import pytest

from deploy.kafka.broker import LocalBroker, free_port
from feedback.topics import Topics
from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka

TRIES = 6
WAITS_S_MIN = 3.0
"""Half of 0.2 + 0.4 + 0.8 + 1.6 + 3.2 seconds: how long the waits between so many tries are at least."""


def test_row_03_intake_waits_for_the_first_broker(
    ledger: IntakeLedger, start_intake: StartIntake, tmp_path: Path
) -> None:
    broker = LocalBroker(tmp_path / "late", free_port())
    late = RealKafka(broker.bootstrap)
    tag = uuid.uuid4().hex[:8]
    topics = Topics(**{name: f"{name}-{tag}" for name in ("feedback", "interactions", "dead_letters")})
    begun = time.monotonic()
    process = start_intake(topics, on=late, bootstrap_ms=100, ships=True)
    wait_until(lambda: process.has_logged("READY kafka False KafkaTimeoutError"))
    wait_until(lambda: process.log.read_text().count("kafka away") >= TRIES)
    assert time.monotonic() - begun >= WAITS_S_MIN, "no storm of tries"
    assert process.ended is None
    try:
        broker.start()
        for name in topics.retention_days():
            late.create_named(name, 2)
        load = Load(late, topics.feedback)
        load.send(50)
        load.wait_until_kept(ledger)
        wait_until(lambda: process.has_logged("READY kafka True"))
        wait_until(lambda: ledger.shipped_count() == load.broken)
        assert process.ended is None
    finally:
        broker.kill()


def test_row_03_told_to_stop_while_it_waits_it_stops(ledger: IntakeLedger, start_intake: StartIntake) -> None:
    process = start_intake(Topics(), on=RealKafka(f"127.0.0.1:{free_port()}"), bootstrap_ms=1000)
    wait_until(lambda: process.has_logged("READY kafka False"))
    assert process.stop() == 0
