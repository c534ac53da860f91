"""Row 9. A trainer that hangs or is killed causes no rebalance; its lease ends, its work is taken up once."""

import subprocess
import sys
import time

import pytest

from ledger import leases
from tests.faults.load import Load
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka

_HOLD = """
import sys, time
from ledger import leases
from ledger.database import Database
print(leases.acquire(Database(sys.argv[1]), ["agent:sql"], holder="trainer", ttl_s=2.0), flush=True)
time.sleep(600)
"""


def test_row_09_a_killed_trainers_lease_ends_and_is_taken_once(kafka, kept, start):
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics)
    load.say(50)
    load.arrives(kept)
    placed = process.log.read_text().count("partition placed")
    trainer = subprocess.Popen(
        [sys.executable, "-c", _HOLD, kept.database.url], stdout=subprocess.PIPE, text=True
    )
    assert trainer.stdout is not None
    assert "agent:sql" in trainer.stdout.readline()

    def take(holder):
        return leases.acquire(kept.database, ["agent:sql"], holder=holder, ttl_s=10.0)

    assert take("heir") == {}
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    begun = time.monotonic()
    taken = []
    until(lambda: bool(taken.extend(filter(None, [take("heir"), take("late")])) or taken))
    assert len(taken) == 1
    assert time.monotonic() - begun < 10.0
    load.say(50)
    load.arrives(kept)
    assert process.log.read_text().count("partition placed") == placed
