"""Row 30. Faults of rows 1 to 10 at random for twenty minutes (SOAK_S): counts hold, and nothing grows.

Memory, threads and open files of an intake that lives through all of it are compared with what they were
once every kind of fault had happened. Upgrades between versions wait for a second version.
"""

import os
import random
import time

import pytest

from tests.faults.load import Load
from tests.kafka_broker import RealKafka
from tests.unit.feedback.taking_in import until

SOAK_S = float(os.environ.get("SOAK_S", "1200"))
SEED = int(os.environ.get("SOAK_SEED", "11"))

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(SOAK_S + 900)]

PARTITIONS = 4
WAIT_S = 120.0
RSS_GROWTH_MIB_MAX = 30.0
THREADS_GROWTH_MAX = 3
FILES_GROWTH_MAX = 20


class Soak:
    """A broker, an intake that lives through all of it, one that does not, and what may happen to them."""

    def __init__(self, broker, start) -> None:
        self.broker = broker
        self.kafka = RealKafka(broker.bootstrap)
        self.topics = self.kafka.create_all(partitions=PARTITIONS)
        self.load = Load(self.kafka, self.topics.feedback, partitions=PARTITIONS)
        self.chance = random.Random(SEED)
        self.steady = start(self.topics, on=self.kafka, ships=True)
        self._start = lambda: start(self.topics, on=self.kafka)
        self._other = self._start()
        self.faults = (self.kill, self.stop, self.freeze, self.lose_broker, self.leave_holes, self.flood)

    def kill(self) -> None:
        self._other.kill()
        self._other = self._start()

    def stop(self) -> None:
        until(lambda: self._other.says("READY"), WAIT_S)  # before that it knows no better than to die
        assert self._other.stop(60.0) == 0
        self._other = self._start()

    def freeze(self) -> None:
        self._other.freeze()
        time.sleep(3.0)  # longer than its session
        self._other.wake()

    def lose_broker(self) -> None:
        self.broker.kill()
        self.broker.start()

    def leave_holes(self) -> None:
        self.kafka.abandon(self.topics.feedback, 5, partition=self.chance.randrange(PARTITIONS))

    def flood(self) -> None:
        self.load.say(2000)

    def round(self, fault, kept) -> None:
        self.load.say(self.chance.randrange(50, 300))
        fault()
        self.load.say(self.chance.randrange(50, 300))
        self.load.arrives(kept, WAIT_S)

    def size(self) -> tuple[float, int, int]:
        """Of the steady one: resident MiB, threads, open files."""
        return self.steady.rss_mib(), self.steady.threads(), self.steady.files()


def test_row_30_a_soak_of_random_faults(own_broker, kept, start):
    soak = Soak(own_broker(), start)
    end_s = time.monotonic() + SOAK_S
    for fault in soak.faults:
        soak.round(fault, kept)
    before, rounds = soak.size(), len(soak.faults)
    while time.monotonic() < end_s:
        soak.round(soak.chance.choice(soak.faults), kept)
        rounds += 1
    until(lambda: kept.shipped() == soak.load.broken, WAIT_S)
    after = soak.size()
    print(f"{rounds} rounds, {soak.load.said} records; MiB, threads, files: {before} before, {after} after")
    assert soak.steady.ended is None
    growth = [now - then for now, then in zip(after, before, strict=True)]
    assert growth[0] <= RSS_GROWTH_MIB_MAX
    assert growth[1] <= THREADS_GROWTH_MAX
    assert growth[2] <= FILES_GROWTH_MAX
