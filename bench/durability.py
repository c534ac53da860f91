"""Kills intake, publisher and broker over and over, and counts events that are lost or there twice.

A producer sends events to a real broker. One intake after another stores them and is killed, at a failpoint
or when the ledger's count passes a mark. At the end the ledger is compared with what the broker acknowledged.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from bench.commit import commit
from bench.comparison import compare
from bench.journal import AGENT, Journal, JournalProducer
from bench.member import Member
from deploy.kafka.broker import LocalBroker, free_port
from feedback.connection import Kafka
from feedback.topics import Topics, create
from ledger.database import Database
from ledger.learning import agents
from ledger.schema import outbox, positions

PARTITIONS = 6
SESSION_MS = 2_000
RECORDS_MAX = 100
BACKLOG = 3_000  # records sent ahead of what is stored, so that every kill interrupts some work
STEP_S_MAX = 120.0
PHASES = ("intake-polled", "intake-in-transaction", "intake-before-commit", "outbox-before-mark")


@dataclass(slots=True)
class Run:
    """The broker, the ledger, the producer, and the processes that run now."""

    folder: Path
    broker: LocalBroker
    database: Database
    producer: JournalProducer
    journal: Journal
    chance: random.Random
    intake: Member | None = None
    publisher: Member | None = None
    kills: Counter[str] = field(default_factory=Counter)
    idle_kills: int = 0  # with nothing left to read: they prove less and are counted apart
    broker_kills: int = 0
    zombies: int = 0

    def kept(self) -> int:
        """How many offsets the ledger has accounted for."""
        with self.database.read() as connection:
            return int(connection.scalar(select(func.coalesce(func.sum(positions.c.next_offset), 0))) or 0)

    def start(self, role: str, failpoint: str | None = None) -> Member:
        """Start a process of that role."""
        return Member(
            role,
            self.folder / f"{role}.log",
            bootstrap=self.broker.bootstrap,
            ledger=self.database.url,
            failpoint=failpoint,
            session_ms=SESSION_MS,
            records_max=RECORDS_MAX,
        )

    def advance(self, more: int) -> None:
        """Wait until this many more offsets are accounted for."""
        mark = self.kept() + more
        self.until(lambda: self.kept() >= mark, "the ledger did not move on")

    def until(self, done: Callable[[], bool], complaint: str, wait_s_max: float = STEP_S_MAX) -> None:
        """Wait until `done` and keep the producer ahead. Raises `TimeoutError` with the complaint."""
        limit = time.monotonic() + wait_s_max
        while not done():
            if time.monotonic() > limit:
                raise TimeoutError(complaint)
            self.producer.allow(self.kept() + BACKLOG)
            time.sleep(0.02)

    def freeze(self, member: Member) -> None:
        """Freeze the process outside of a transaction: a frozen transaction on SQLite would keep all others
        from writing."""
        member.signal(signal.SIGSTOP)
        while not self._can_write():
            member.signal(signal.SIGCONT)
            time.sleep(self.chance.uniform(0.0, 0.02))
            member.signal(signal.SIGSTOP)

    def _can_write(self) -> bool:
        with closing(sqlite3.connect(self.folder / "ledger.db", timeout=0.5, isolation_level=None)) as own:
            try:
                own.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            own.execute("ROLLBACK")
            return True

    def count_kill(self, phase: str) -> None:
        """Count a kill, and whether it interrupted any work."""
        self.kills[phase] += 1
        self.idle_kills += len(self.journal.records) <= self.kept()


def kill_at_a_mark(run: Run) -> None:
    """Kill the intake when the ledger's count passes a mark, wherever it is then."""
    run.intake = run.intake or run.start("intake")
    run.advance(run.chance.randrange(100, 600))
    run.intake.kill()
    run.count_kill("anywhere")
    run.intake = None


def kill_at(phase: str) -> Callable[[Run], None]:
    """Kill the process at the failpoint `phase`, one of the first five times it gets there."""

    def act(run: Run) -> None:
        failpoint = f"{phase}:{run.chance.randrange(1, 6)}"
        role = phase.partition("-")[0]
        running = run.publisher if role == "outbox" else run.intake
        if running is not None:
            running.kill()
            run.count_kill("anywhere")
        doomed = run.start(role, failpoint)
        if role == "outbox":
            run.intake = run.intake or run.start("intake")
        run.until(lambda: doomed.ended is not None, f"no process got to {phase}")
        if doomed.ended != -signal.SIGKILL:
            raise RuntimeError(f"the {role} ended with {doomed.ended}, see {role}.log")
        run.count_kill(phase)
        if role == "outbox":
            run.publisher = run.start("outbox")
        else:
            run.intake = None

    return act


def kill_broker(run: Run) -> None:
    """Kill the broker with records in flight, and start it again."""
    run.intake = run.intake or run.start("intake")
    run.advance(200)
    run.broker.kill()
    run.broker_kills += 1
    run.broker.start()
    run.advance(500)


def wake_a_zombie(run: Run) -> None:
    """Freeze an intake for longer than its session, let another take over, and wake the first one."""
    run.intake = run.intake or run.start("intake")
    run.advance(200)
    zombie = run.intake
    run.freeze(zombie)
    run.intake = run.start("intake")
    run.advance(500)
    zombie.signal(signal.SIGCONT)
    run.zombies += 1
    run.advance(500)
    zombie.kill()
    run.count_kill("anywhere")


def plan(chance: random.Random) -> list[Callable[[Run], None]]:
    """What is done, in random order: at least 30 kills, 3 kills of the broker, 5 zombies."""
    acts: list[Callable[[Run], None]] = [kill_at(phase) for phase in PHASES for _ in range(5)]
    acts += [kill_at_a_mark] * 8 + [wake_a_zombie] * 5 + [kill_broker] * 3
    chance.shuffle(acts)
    return acts


def measure(folder: Path, *, events: int, seed: int) -> dict[str, Any]:
    """Run the plan, then compare the ledger with the journal."""
    began_s = time.monotonic()
    broker = LocalBroker(folder / "kafka", free_port())
    broker.start()
    database = Database(f"sqlite:///{folder / 'ledger.db'}")
    database.migrate()
    agents.declare(
        database,
        agents.Agent(name=AGENT, base_hash="0" * 64, scorer="exact", recipe={}, capture=False, weight=1.0),
    )
    cluster = Kafka(bootstrap_servers=broker.bootstrap, options={})
    create(cluster, Topics(), partitions=PARTITIONS, replication=1)
    journal = Journal(folder / "journal.jsonl")
    producer = JournalProducer(cluster, Topics().feedback, journal, total=events, partitions=PARTITIONS)
    run = Run(folder, broker, database, producer, journal, random.Random(seed))
    try:
        run.publisher = run.start("outbox")
        for act in plan(run.chance):
            act(run)
        run.intake = run.intake or run.start("intake")
        producer.finish(wait_s_max=600.0)
        journal.save()
        run.until(lambda: run.kept() >= len(journal.records), "not all offsets were stored", 600.0)
        run.until(lambda: _owed(database) == 0, "the outbox was not emptied", 300.0)
        counts = compare(database, cluster, journal.records)
    finally:
        for member in (run.intake, run.publisher):
            if member is not None:
                member.kill()
        broker.kill()
    return {
        **counts,
        "kills_by_phase": dict(run.kills),
        "kills": sum(run.kills.values()),
        "kills_without_lag": run.idle_kills,
        "broker_kills": run.broker_kills,
        "zombies": run.zombies,
        "seconds": round(time.monotonic() - began_s, 1),
        "commit": commit(),
        "cores": os.cpu_count(),
    }


def _owed(database: Database) -> int:
    with database.read() as connection:
        return int(connection.scalar(select(func.count()).where(outbox.c.sent_s.is_(None))) or 0)


def main() -> None:
    """`python -m bench.durability --json`; exits with 1 where anything is lost or there twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="no effect: it always prints JSON")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clorad-durability-") as folder:
        report = measure(Path(folder), events=arguments.events, seed=arguments.seed)
    print(json.dumps(report))
    raise SystemExit(1 if report["lost"] or report["twice"] else 0)


if __name__ == "__main__":
    main()
