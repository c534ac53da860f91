"""Runs one intake or outbox publisher as a process that a benchmark can kill, freeze and start again.

Started as `python -m bench.member intake|outbox JSON`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from daemon.process.failpoints import Failpoints
from daemon.roles.intake import intake_options
from daemon.settings import KafkaSettings
from feedback import outbox
from feedback.connection import Kafka
from feedback.intake import Intake
from feedback.intake_options import IntakeOptions
from feedback.reading import Reader
from feedback.redaction import KINDS, Redactor
from feedback.topics import Topics
from ledger.database import Database
from ledger.identity import ensure_identity

GROUP = "bench"
_CHANGEABLE = ("group", "session_ms", "records_max")


class Member:
    """One such process, as the benchmark that started it sees it."""

    def __init__(self, role: str, log: Path, **options: Any) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.member", role, json.dumps(options)],
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
        """Resident memory now."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20

    def wait(self, *, wait_s_max: float) -> int:
        """Wait until the process ends. Returns its exit code."""
        return self._process.wait(timeout=wait_s_max)

    def signal(self, number: signal.Signals) -> None:
        """Send the signal: to freeze the process, to wake it, or to ask it to stop."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process if it still runs, and wait for its end."""
        if self.ended is None:
            self._process.kill()
        self._process.wait(timeout=30.0)


class _Watch:
    """Health reports of the process go nowhere."""

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        """Not kept."""

    def alive(self, name: str) -> None:
        """Not kept."""


def main() -> None:
    """Run the role until SIGTERM."""
    role, options = sys.argv[1], json.loads(sys.argv[2])
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    database = Database(options["ledger"])
    cluster = Kafka(bootstrap_servers=options["bootstrap"], options={})
    failpoints = Failpoints(options.get("failpoint"))
    reached = _commit_times(Path(options["commits"])) if "commits" in options else failpoints
    if role == "outbox":
        publisher = outbox.Publisher(cluster, ensure_identity(database).ledger_id, ack_s_max=10.0)
        outbox.run(database, publisher, stopping, reached=reached)
    else:
        _intake(options, database, cluster, reached).run(stopping)


def _commit_times(file: Path) -> Callable[[str], None]:
    """A function that intake calls at its failpoints; it writes the time of each commit to the file."""
    lines = file.open("a", buffering=1)

    def write_time(name: str) -> None:
        if name == "intake-before-commit":
            lines.write(f"{time.time()}\n")

    return write_time


def _intake(
    options: Mapping[str, Any], database: Database, cluster: Kafka, reached: Callable[[str], None]
) -> Intake:
    identity = ensure_identity(database)
    kinds = KINDS if options.get("redacts", True) else frozenset[str]()
    return Intake(
        cluster,
        database,
        identity,
        Reader(identity, Redactor(identity.fingerprint, kinds)),
        _intake_options(options),
        health=_Watch(),
        reached=reached,
    )


def _intake_options(options: Mapping[str, Any]) -> IntakeOptions:
    """The defaults of the settings, but for what the benchmark asks for."""
    defaults = intake_options(KafkaSettings(group=GROUP), administrators=frozenset(), unsigned_captures=True)
    changed = {name: value for name, value in options.items() if name in _CHANGEABLE}
    return replace(defaults, topics=Topics(**options.get("topics", {})), **changed)


if __name__ == "__main__":
    main()
