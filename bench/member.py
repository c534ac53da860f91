"""One intake or one outbox publisher in a process of its own, for benchmarks to kill, freeze and start again.

Run as `python -m bench.member intake|outbox`, told what to do by one JSON argument.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daemon.process.failpoints import Failpoints
from feedback import outbox
from feedback.connection import Kafka
from feedback.identity import ensure_identity
from feedback.intake import Intake
from feedback.placing import IntakeOptions
from feedback.reading import Reader
from feedback.redaction import KINDS, Redactor
from feedback.topics import Topics
from ledger.database import Database

GROUP = "bench"


class Member:
    """The parent's end of one process."""

    def __init__(self, role: str, log: Path, **given: Any) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.member", role, json.dumps(given)],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    @property
    def ended(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    @property
    def memory_mib(self) -> float:
        """Resident memory just now. Linux only."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def wait(self, *, wait_s_max: float) -> int:
        """The exit code, once it has ended by itself."""
        return self._process.wait(timeout=wait_s_max)

    def signal(self, number: signal.Signals) -> None:
        """Freeze it, wake it, or ask it to stop."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """It is gone."""
        if self.ended is None:
            self._process.kill()
        self._process.wait(timeout=30.0)


class _Watch:
    """Nobody asks a benchmark's member how it is."""

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        """Not kept."""

    def alive(self, name: str) -> None:
        """Not kept."""


def main() -> None:
    """Run the role until told to stop."""
    role, given = sys.argv[1], json.loads(sys.argv[2])
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    database = Database(given["ledger"])
    cluster = Kafka(bootstrap_servers=given["bootstrap"])
    failpoints = Failpoints(given.get("failpoint"))
    reached = _commits_noted(Path(given["commits"])) if "commits" in given else failpoints
    if role == "outbox":
        publisher = outbox.Publisher(cluster, ensure_identity(database).ledger_id, ack_s_max=10.0)
        outbox.run(database, publisher, stopping, reached=reached)
    else:
        _intake(given, database, cluster, reached).run(stopping)


def _commits_noted(file: Path) -> Callable[[str], None]:
    """Told of each transaction that is in the ledger, it writes down when."""
    lines = file.open("a", buffering=1)

    def note(name: str) -> None:
        if name == "intake-before-commit":
            lines.write(f"{time.time()}\n")

    return note


def _intake(
    given: Mapping[str, Any], database: Database, cluster: Kafka, reached: Callable[[str], None]
) -> Intake:
    identity = ensure_identity(database)
    kinds = KINDS if given.get("redacts", True) else frozenset[str]()
    return Intake(
        cluster,
        database,
        identity,
        Reader(identity, Redactor(identity.fingerprint, kinds)),
        IntakeOptions(
            group=given.get("group", GROUP),
            topics=Topics(**given.get("topics", {})),
            session_ms=given.get("session_ms", 10_000),
            records_max=given.get("records_max", 500),
        ),
        watch=_Watch(),
        reached=reached,
    )


if __name__ == "__main__":
    main()
