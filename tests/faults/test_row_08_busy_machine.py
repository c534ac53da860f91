"""Row 8. A trainer that burns every core is another process: intake stays in its group."""

import subprocess
import sys

import pytest

from tests.faults.load import Load

pytestmark = pytest.mark.kafka


def test_row_08_a_busy_machine_does_not_cost_intake_its_partitions(kafka, kept, start):
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics, options={"session_ms": 10_000})
    load.say(50)
    load.arrives(kept)
    placed = process.log.read_text().count("partition placed")
    burning = [subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**7))"]) for _ in range(3)]
    try:
        for _ in range(5):
            load.say(50)
            load.arrives(kept)
    finally:
        for one in burning:
            one.kill()
            one.wait()
    assert process.log.read_text().count("partition placed") == placed
