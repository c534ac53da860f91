"""An intake (and, if told to, the outbox) in its own process, for tests to kill, freeze and start again.

Run as `python -m tests.intake_process …`; `IntakeProcess` starts it.
"""

import argparse
import functools
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.child_process import ChildProcess, FailpointsAndStalls


class IntakeProcess(ChildProcess):
    """One intake."""

    def __init__(self, bootstrap: str, ledger: str, topics: Any, log: Path, **options: Any) -> None:
        names = [topics.feedback, topics.interactions, topics.dead_letters, topics.lifecycle]
        given = {"bootstrap": bootstrap, "ledger": ledger, "topics": names} | options
        super().__init__("tests.intake_process", given, log)


StartIntake = Callable[..., IntakeProcess]
"""The fixture `start_intake` of the fault tests."""


def main() -> int:
    from daemon.roles.intake import intake_options
    from daemon.settings import KafkaSettings
    from feedback import outbox
    from feedback.connection import Kafka
    from feedback.intake import Fenced, Intake
    from feedback.placement import WrongLedger
    from feedback.reading import Reader
    from feedback.redaction import Redactor
    from feedback.topics import Topics
    from ledger.database import Database
    from ledger.identity import ensure_identity

    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=json.loads)
    given = parser.parse_args().given
    topics = Topics(
        **dict(zip(("feedback", "interactions", "dead_letters", "lifecycle"), given["topics"], strict=True))
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set() if not stopping.is_set() else os._exit(3))
    if bound := given.get("file_bytes_max"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a quota answers with an error, not with a signal
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, resource.RLIM_INFINITY))
    database = Database(given["ledger"])
    cluster = Kafka(
        bootstrap_servers=given["bootstrap"],
        bootstrap_ms_max=given.get("bootstrap_ms", 10_000),
        options=given.get("kafka", {}),
    )
    identity = ensure_identity(database)
    reached = FailpointsAndStalls(given.get("failpoint"), given.get("stalls", {}))
    intake = Intake(
        cluster,
        database,
        identity,
        Reader(identity, Redactor(identity.fingerprint)),
        replace(
            intake_options(KafkaSettings(group="g"), administrators=frozenset(), unsigned_captures=True),
            **{"topics": topics, "session_ms": 2000, "records_max": 50} | given.get("options", {}),
        ),
        health=_PrintedHealth(),
        reached=reached,
    )
    if given.get("ships"):
        publisher = outbox.Publisher(cluster, identity.ledger_id, ack_s_max=10.0)
        ship = functools.partial(outbox.run, database, publisher, stopping, reached=reached)
        threading.Thread(target=ship, name="outbox", daemon=True).start()
    try:
        intake.run(stopping)
    except (WrongLedger, Fenced) as refusal:
        print(refusal)
        return 78
    return 0


class _PrintedHealth:
    def __init__(self) -> None:
        self._said: dict[str, tuple[bool, str]] = {}

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        if self._said.get(name) != (ok, why):
            self._said[name] = (ok, why)
            print(f"READY {name} {ok} {why}", flush=True)

    def alive(self, name: str) -> None:
        """Not printed."""


if __name__ == "__main__":
    sys.exit(main())
