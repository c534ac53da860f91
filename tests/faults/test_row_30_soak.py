"""Row 30. Faults of rows 1 to 10 at random for twenty minutes (SOAK_S): counts hold, and nothing grows.

An intake that lives through all of it is weighed after every round, once each kind of fault has happened. A
leak lifts the least that it weighs; what comes and goes does not. Upgrades between versions wait for a
second version.
"""

import os
import random
import time
from collections.abc import Callable, Sequence

import pytest

from deploy.kafka.broker import LocalBroker
from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

SOAK_S = float(os.environ.get("SOAK_S", "1200"))
SEED = int(os.environ.get("SOAK_SEED", "11"))

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(SOAK_S + 900)]

PARTITIONS = 4
WAIT_S = 120.0
ROUNDS_MIN = 6  # that are weighed
LEAST_GROWTH_MAX = {"rss_mib": 10.0, "threads": 0, "files": 5}
"""From the first half to the second. Memory: SQLite's caches fill up to 2 MiB a connection, and the allocator
keeps what the largest flood took. Files: as many connections to the broker as may be closed just then."""
MOST = {"threads": 8, "files": 26}
"""Threads: loop, watchdog, outbox, one of each of three Kafka clients and of two that are being replaced.
Files: 8 of log and ledger, and of each client a selector, its pair of ends and up to 3 connections."""


class Soak:
    """A broker, an intake that lives through all of it, one that does not, and what may happen to them."""

    def __init__(self, broker, start_intake: StartIntake) -> None:
        self.broker = broker
        self.kafka = RealKafka(broker.bootstrap)
        self.topics = self.kafka.create_all(partitions=PARTITIONS)
        self.load = Load(self.kafka, self.topics.feedback, partitions=PARTITIONS)
        self.dice = random.Random(SEED)
        self.steady = start_intake(self.topics, on=self.kafka, ships=True)
        self._start = lambda: start_intake(self.topics, on=self.kafka)
        self._other = self._start()
        self.faults = (self.kill, self.stop, self.freeze, self.lose_broker, self.leave_holes, self.flood)

    def kill(self) -> None:
        self._other.kill()
        self._other = self._start()

    def stop(self) -> None:
        # Before that it has no signal handler.
        wait_until(lambda: self._other.has_logged("READY"), WAIT_S)
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
        self.kafka.send_transaction(self.topics.feedback, 5, partition=self.dice.randrange(PARTITIONS))

    def flood(self) -> None:
        self.load.send(2000)

    def round(self, fault, ledger: IntakeLedger) -> None:
        self.load.send(self.dice.randrange(50, 300))
        fault()
        self.load.send(self.dice.randrange(50, 300))
        self.load.wait_until_kept(ledger, WAIT_S)

    def weigh(self) -> dict[str, float]:
        """The steady one."""
        steady = self.steady
        return {"rss_mib": steady.rss_mib(), "threads": steady.threads(), "files": steady.files()}


def least_growth(weights: Sequence[dict[str, float]], name: str) -> float:
    """How much more the least of the second half is than the least of the first."""
    middle = len(weights) // 2
    return min(weight[name] for weight in weights[middle:]) - min(weight[name] for weight in weights[:middle])


def test_row_30_a_soak_of_random_faults(
    own_broker: Callable[..., LocalBroker], ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    soak = Soak(own_broker(), start_intake)
    end_s = time.monotonic() + SOAK_S
    for fault in soak.faults:
        soak.round(fault, ledger)
    weights: list[dict[str, float]] = []
    while time.monotonic() < end_s or len(weights) < ROUNDS_MIN:
        soak.round(soak.dice.choice(soak.faults), ledger)
        weights.append(soak.weigh())
    wait_until(lambda: ledger.shipped_count() == soak.load.broken, WAIT_S)
    most = {name: max(weight[name] for weight in weights) for name in weights[0]}
    grown = {name: least_growth(weights, name) for name in weights[0]}
    print(f"{len(weights)} rounds, {soak.load.sent} records; most {most}, least grown by {grown}")
    assert soak.steady.ended is None
    assert [name for name, bound in LEAST_GROWTH_MAX.items() if grown[name] > bound] == []
    assert [name for name, bound in MOST.items() if most[name] > bound] == []
