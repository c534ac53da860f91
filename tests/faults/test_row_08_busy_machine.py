"""Row 8. A trainer that burns every core and never lets go of its interpreter is not where intake is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from feedback.source import SESSION_MS
from tests.faults.load import Load

pytestmark = pytest.mark.kafka

BURN = "while True: sum(range(10**8))"  # one call of seconds, during which no other thread of it runs


@contextmanager
def burning(processes: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def test_row_08_a_busy_machine_does_not_cost_intake_its_partitions(kafka, kept, start):
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics, options={"session_ms": SESSION_MS})
    load.say(50)
    load.arrives(kept)
    placed = process.log.read_text().count("partition placed")
    with burning(2 * (os.cpu_count() or 1)):
        for _ in range(10):
            load.say(50)
            load.arrives(kept)
    assert process.log.read_text().count("partition placed") == placed, "no rebalance"
    assert process.ended is None
