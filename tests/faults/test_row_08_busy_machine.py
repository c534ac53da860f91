"""Row 8. A trainer that uses all cores and keeps its interpreter lock costs intake no partition."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from feedback.intake_options import SESSION_MS
from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger

pytestmark = pytest.mark.kafka

BURN = "while True: sum(range(10**8))"  # one call of seconds, during which no other thread of it runs


@contextmanager
def burning(processes: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_row_08_a_busy_machine_does_not_cost_intake_its_partitions(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start_intake(topics, options={"session_ms": SESSION_MS})
    load.send(50)
    load.wait_until_kept(ledger)
    placed = process.log.read_text().count("partition placed")
    end_s = time.monotonic() + 2 * SESSION_MS / 1000  # long enough to lose a session in
    with burning(2 * (os.cpu_count() or 1)):
        while time.monotonic() < end_s:
            load.send(50)
            load.wait_until_kept(ledger)
    assert process.log.read_text().count("partition placed") == placed, "no rebalance"
    assert process.ended is None
