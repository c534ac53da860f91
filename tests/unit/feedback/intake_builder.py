"""An intake on a real ledger and any Kafka, run in a thread of its own until a test has seen enough."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from daemon.roles.intake import intake_options
from daemon.settings import KafkaSettings
from feedback.intake import Intake
from feedback.intake_options import IntakeOptions
from feedback.reading import Reader
from feedback.redaction import Redactor
from feedback.signing import Signers
from feedback.topics import Topics
from ledger.database import Database
from ledger.identity import ensure_identity
from ledger.learning import agents
from ledger.schema import dead_letters, events, outbox, positions, ranges
from tests.unit.feedback.event_builder import CORRECTION, build_headers
from tests.unit.ledger.ledger_builder import write_ledger

WAIT_S = 30.0


class RecordedHealth:
    """What an intake reports of itself."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[bool, str]] = {}
        self.rounds = 0

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        self.states[name] = (ok, why)

    def alive(self, name: str) -> None:
        self.rounds += 1

    def is_ready(self) -> bool:
        return all(ok for ok, _ in self.states.values())


class IntakeLedger:
    """A ledger and what tests count in it."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.database.migrate()
        agents.declare(
            self.database,
            agents.Agent(
                name="sql", base_hash="0" * 64, scorer="exact", recipe={}, capture=False, weight=1.0
            ),
        )

    def ids(self) -> list[str]:
        return self.column(select(events.c.id).order_by(events.c.id))

    def dead_letter_reasons(self) -> list[str]:
        return self.column(select(dead_letters.c.reason).order_by(dead_letters.c.id))

    def outbox_count(self) -> int:
        return int(self.column(select(func.count()).select_from(outbox))[0])

    def shipped_count(self) -> int:
        return int(self.column(select(func.count(outbox.c.sent_s)))[0])

    def next_offsets(self, topic: str) -> dict[int, int]:
        query = select(positions.c.partition, positions.c.next_offset).where(positions.c.topic == topic)
        with self.database.read() as connection:
            return {row.partition: row.next_offset for row in connection.execute(query)}

    def records_kept(self, topic: str) -> int:
        return sum(self.next_offsets(topic).values())

    def column(self, query: Any) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.scalars(query))

    def check_ranges(self) -> None:
        """Every partition's ranges abut, from its first offset to where it stands, and add up."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(ranges).order_by(ranges.c.topic_id, ranges.c.partition, ranges.c.start)
            )
            ends: dict[tuple[str, int], int] = {}
            for row in rows:
                place = (row.topic_id, row.partition)
                assert ends.get(place, row.start) == row.start, "ranges abut"
                ends[place] = row.end
            for row in connection.execute(select(positions)):
                assert ends.get((row.topic_id, row.partition), row.next_offset) == row.next_offset


def build_ledger(folder: Path) -> IntakeLedger:
    path = folder / "ledger.db"
    if not path.exists():
        write_ledger(path)
    return IntakeLedger(f"sqlite:///{path}")


def build_intake_options(**changed: Any) -> IntakeOptions:
    """The defaults of the settings, but for `changed`; interactions need no signature."""
    return replace(
        intake_options(KafkaSettings(group="g"), administrators=frozenset(), unsigned_captures=True),
        **changed,
    )


def build_intake(
    cluster: Any,
    ledger: IntakeLedger,
    topics: Topics,
    *,
    health: RecordedHealth | None = None,
    full: Callable[[], str] = lambda: "",
    reached: Callable[[str], None] = lambda _: None,
    signers: Signers | None = None,
    **options: Any,
) -> Intake:
    identity = ensure_identity(ledger.database)
    return Intake(
        cluster,
        ledger.database,
        identity,
        Reader(identity, Redactor(identity.fingerprint), signers),
        build_intake_options(**{"topics": topics, "session_ms": 6000} | options),
        health=health or RecordedHealth(),
        full=full,
        reached=reached,
    )


@contextmanager
def running_intakes(*intakes: Intake) -> Iterator[None]:
    """Each in its own thread; a fault in one is raised at the end."""
    stopping = threading.Event()
    with ThreadPoolExecutor(max_workers=len(intakes), thread_name_prefix="intake") as pool:
        loops = [pool.submit(intake.run, stopping) for intake in intakes]
        try:
            yield
        finally:
            stopping.set()
            _, late = wait(loops, timeout=WAIT_S)
            assert not late, "intake stops when told to"
    for loop in loops:
        loop.result()


def fault_of_intake(intake: Intake) -> BaseException | None:
    """What ends the intake that nobody told to stop."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="intake") as pool:
        return pool.submit(intake.run, threading.Event()).exception(timeout=WAIT_S)


def wait_until(done: Callable[[], bool], wait_s: float = WAIT_S) -> None:
    limit = time.monotonic() + wait_s
    while not done():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


def run_intake_until(intake: Intake, done: Callable[[], bool]) -> None:
    with running_intakes(intake):
        wait_until(done)


def send_correction(
    kafka: Any, topic: str, event_id: str | None = None, *, partition: int = 0, **changed: Any
) -> str:
    """A developer corrects the agent; returns the event's id."""
    event_id = event_id or uuid.uuid4().hex
    value = json.dumps(CORRECTION | changed).encode()
    kafka.send(
        topic, value, headers=build_headers("correction", ce_id=event_id.encode()), partition=partition
    )
    return event_id
