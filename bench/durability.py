"""Every event has one fate, whoever is killed: a real broker, clients killed and frozen, a journal.

One intake after another takes in what a producer says; each dies in its own way, at a failpoint or when the
ledger's count passes a mark. At the end the ledger is compared with what the producer saw acknowledged.
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
BACKLOG = 3_000  # records said ahead of what is kept, so that everything dies with work left
STEP_S_MAX = 120.0
PHASES = ("intake-polled", "intake-in-transaction", "intake-before-commit", "outbox-before-mark")


@dataclass(slots=True)
class Run:
    """The broker, the ledger, the producer, and who is at work on them."""

    folder: Path
    broker: LocalBroker
    database: Database
    producer: JournalProducer
    journal: Journal
    chance: random.Random
    intake: Member | None = None
    publisher: Member | None = None
    kills: Counter[str] = field(default_factory=Counter)
    idle_kills: int = 0  # with nothing left to read: they prove less, and are counted apart
    broker_kills: int = 0
    zombies: int = 0

    def kept(self) -> int:
        """Offsets the ledger has accounted for."""
        with self.database.read() as connection:
            return int(connection.scalar(select(func.coalesce(func.sum(positions.c.next_offset), 0))) or 0)

    def start(self, role: str, failpoint: str | None = None) -> Member:
        """A new member of that role."""
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
        """So many more offsets are accounted for."""
        mark = self.kept() + more
        self.until(lambda: self.kept() >= mark, "the ledger did not move on")

    def until(self, done: Callable[[], bool], complaint: str, wait_s_max: float = STEP_S_MAX) -> None:
        """It is so, in bounded time; the producer is kept ahead meanwhile."""
        limit = time.monotonic() + wait_s_max
        while not done():
            if time.monotonic() > limit:
                raise TimeoutError(complaint)
            self.producer.allow(self.kept() + BACKLOG)
            time.sleep(0.02)

    def freeze(self, member: Member) -> None:
        """The process stands still, and not in the middle of a transaction: on SQLite one that does keeps
        everybody else from writing for as long as it is frozen."""
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
        """Somebody was killed; was there work left?"""
        self.kills[phase] += 1
        self.idle_kills += len(self.journal.said) <= self.kept()


def kill_at_a_mark(run: Run) -> None:
    """The intake is killed when the ledger's count passes a mark, wherever it is then."""
    run.intake = run.intake or run.start("intake")
    run.advance(run.chance.randrange(100, 600))
    run.intake.kill()
    run.count_kill("anywhere")
    run.intake = None


def kill_at(phase: str) -> Callable[[Run], None]:
    """The process that passes `phase` is killed there, at one of its first passes."""

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
        run.until(lambda: doomed.ended is not None, f"nobody came by {phase}")
        if doomed.ended != -signal.SIGKILL:
            raise RuntimeError(f"the {role} ended with {doomed.ended}, see {role}.log")
        run.count_kill(phase)
        if role == "outbox":
            run.publisher = run.start("outbox")
        else:
            run.intake = None

    return act


def kill_broker(run: Run) -> None:
    """The broker is killed with records in flight, and comes back."""
    run.intake = run.intake or run.start("intake")
    run.advance(200)
    run.broker.kill()
    run.broker_kills += 1
    run.broker.start()
    run.advance(500)


def wake_a_zombie(run: Run) -> None:
    """An intake is frozen for longer than its session, another takes over, and the first one wakes."""
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
    """What happens, in an order of chance: at least 30 kills, 3 broker kills, 5 zombies."""
    acts: list[Callable[[Run], None]] = [kill_at(phase) for phase in PHASES for _ in range(5)]
    acts += [kill_at_a_mark] * 8 + [wake_a_zombie] * 5 + [kill_broker] * 3
    chance.shuffle(acts)
    return acts


def measure(folder: Path, *, events: int, seed: int) -> dict[str, Any]:
    """Run the plan and compare the books."""
    begun_s = time.monotonic()
    broker = LocalBroker(folder / "kafka", free_port())
    broker.start()
    database = Database(f"sqlite:///{folder / 'ledger.db'}")
    database.migrate()
    agents.declare(
        database,
        agents.Agent(name=AGENT, base_hash="0" * 64, scorer="exact", recipe={}, capture=False, weight=1.0),
    )
    cluster = Kafka(bootstrap_servers=broker.bootstrap)
    create(cluster, Topics(), partitions=PARTITIONS)
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
        run.until(lambda: run.kept() >= len(journal.said), "not all offsets were kept", 600.0)
        run.until(lambda: _owed(database) == 0, "the outbox was not emptied", 300.0)
        counted = compare(database, cluster, journal.said)
    finally:
        for member in (run.intake, run.publisher):
            if member is not None:
                member.kill()
        broker.kill()
    return {
        **counted,
        "kills_by_phase": dict(run.kills),
        "kills": sum(run.kills.values()),
        "kills_without_lag": run.idle_kills,
        "broker_kills": run.broker_kills,
        "zombies": run.zombies,
        "seconds": round(time.monotonic() - begun_s, 1),
        "commit": commit(),
        "cores": os.cpu_count(),
    }


def _owed(database: Database) -> int:
    with database.read() as connection:
        return int(connection.scalar(select(func.count()).where(outbox.c.sent_s.is_(None))) or 0)


def main() -> None:
    """`python -m bench.durability --json`; exits non-zero where anything was lost or twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; it always prints JSON")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clorad-durability-") as folder:
        report = measure(Path(folder), events=given.events, seed=given.seed)
    print(json.dumps(report))
    raise SystemExit(1 if report["lost"] or report["twice"] else 0)


if __name__ == "__main__":
    main()
