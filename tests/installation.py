"""Runs clorad in a folder of its own as people do: settings in a file, commands as processes."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.process.role_names import ROLES
from deploy.kafka.broker import free_port

ROOT = Path(__file__).parents[1]


class Installation:
    """One installation. `telemetry` is added to that section of clorad.toml. No replica answers."""

    def __init__(self, folder: Path, bootstrap: str, telemetry: str = "") -> None:
        self.folder = folder
        self.log = folder / "log"
        self.health_port = free_port()
        base = folder / "base"
        base.mkdir()
        (base / "config.json").write_text("{}")
        (base / "model.safetensors").write_bytes(b"weights")
        (folder / "clorad.toml").write_text(
            f'[kafka]\nbootstrap_servers = "{bootstrap}"\n'
            f'[fleet]\nreplicas = ["http://127.0.0.1:{free_port()}"]\n'
            "[gateway]\nleave_s = 0\n"
            f"[telemetry]\nhealth_port = {self.health_port}\n{telemetry}\n"
            '[agents.billing]\nscorer = "exact"\n'
        )
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CLORAD_")}
        self.environment = {**clean, "PYTHONPATH": str(ROOT)}

    def clorad(self, *words: str, ok: bool = True) -> str:
        """The output of the command."""
        return self._done(words, ok).stdout

    def refused(self, *words: str) -> str:
        """The error of a command that fails."""
        return self._done(words, ok=False).stderr

    def json(self, *words: str, ok: bool = True) -> Any:
        return json.loads(self.clorad(*words, "--json", ok=ok))

    @contextmanager
    def running(self, *roles: str) -> Iterator[Callable[[], int | None]]:
        """Run `clorad run` until the block ends, and check that it stops when asked. Yields its `poll`."""
        left_out = [word for role in ROLES if role not in roles for word in ("--without", role)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "daemon", "run", *left_out],
                cwd=self.folder,
                env=self.environment,
                stderr=log,
            )
        try:
            yield process.poll
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0, self.log.read_text()[-4000:]
        finally:
            process.kill()
            process.wait()

    def caught_up(self) -> bool:
        """Whether everything in the topics is read, and the outbox is empty."""
        document = self.json("status", "--lag")
        return bool(
            sum(partition["lag"] for partition in document["partitions"])
            == document["outbox"]["waiting"]
            == 0
        )

    def ready(self) -> bool:
        return bool(self._readiness().get("ready"))

    def check(self, name: str) -> tuple[bool, str] | None:
        """One of intake's checks, and why it fails; None before the first check."""
        report = self._readiness().get("checks", {}).get(name)
        return None if report is None else (report["ok"], report["why"])

    def _readiness(self) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=2) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as unready:
            with unready:
                return json.load(unready)
        except OSError:
            return {}

    def _done(self, words: tuple[str, ...], ok: bool) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "daemon", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode == 0) is ok, done.stderr + done.stdout
        return done
