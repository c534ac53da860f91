"""An intake (and, if asked, the outbox) in a process of its own, for tests to kill, freeze and start again.

Run as `python -m tests.intake_process …`; `IntakeProcess` is the test's end of it.
"""

import argparse
import functools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class IntakeProcess:
    """One process. It runs from here on until it ends by itself, is stopped, or is killed."""

    def __init__(self, bootstrap: str, ledger: str, topics: Any, log: Path, **options: Any) -> None:
        names = [topics.feedback, topics.interactions, topics.dead_letters, topics.lifecycle]
        given = {"bootstrap": bootstrap, "ledger": ledger, "topics": names} | options
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.intake_process", json.dumps(given)],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def ended(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    @property
    def proc(self) -> Path:
        """What the system knows of it."""
        return Path(f"/proc/{self._process.pid}")

    def cpu_s(self) -> float:
        fields = (self.proc / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        status = (self.proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))

    def threads(self) -> int:
        return len(list((self.proc / "task").iterdir()))

    def files(self) -> int:
        return len(list((self.proc / "fd").iterdir()))

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, wait_s_max: float = 30.0) -> int:
        return self._process.wait(timeout=wait_s_max)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> int:
        if self.ended is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        return self.wait()

    def stop(self, wait_s_max: float = 30.0) -> int:
        if self.ended is None:
            self._process.terminate()
        return self.wait(wait_s_max)

    def says(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")


def main() -> int:
    from daemon.failpoints import Failpoints
    from feedback import outbox
    from feedback.connection import Kafka
    from feedback.identity import identity_of
    from feedback.intake import Fenced, Intake
    from feedback.placing import IntakeOptions, WrongLedger
    from feedback.reading import Reader
    from feedback.redaction import Redactor
    from feedback.topics import Topics
    from ledger.database import Database

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
    identity = identity_of(database)
    reached = _Points(Failpoints(given.get("failpoint")), given.get("stalls", {}))
    one = Intake(
        cluster,
        database,
        identity,
        Reader(identity, Redactor(identity.fingerprint)),
        IntakeOptions(
            topics=topics, **{"group": "g", "session_ms": 2000, "records_max": 50} | given.get("options", {})
        ),
        watch=_Watch(),
        reached=reached,
    )
    if given.get("ships"):
        publisher = outbox.Publisher(cluster, identity.ledger_id, ack_s_max=10.0)
        ship = functools.partial(outbox.run, database, publisher, stopping, reached=reached)
        threading.Thread(target=ship, name="outbox", daemon=True).start()
    try:
        one.run(stopping)
    except (WrongLedger, Fenced) as refusal:
        print(refusal)
        return 78
    return 0


class _Points:
    """Failpoints, and points to stay at once for so many seconds."""

    def __init__(self, failpoints: Any, stalls: dict[str, float]) -> None:
        self._failpoints, self._stalls = failpoints, dict(stalls)

    def __call__(self, name: str) -> None:
        stay_s = self._stalls.pop(name, 0.0)
        if stay_s:
            print(f"STALLED {name}", flush=True)
            time.sleep(stay_s)
        self._failpoints(name)


class _Watch:
    def __init__(self) -> None:
        self._said: dict[str, tuple[bool, str]] = {}

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        if self._said.get(name) != (ok, why):
            self._said[name] = (ok, why)
            print(f"READY {name} {ok} {why}", flush=True)

    def alive(self, name: str) -> None:
        """Nobody asks."""


if __name__ == "__main__":
    sys.exit(main())
