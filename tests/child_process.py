"""A process that a test starts, kills and freezes, with what the system knows of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from daemon.process.failpoints import Failpoints

ROOT = Path(__file__).resolve().parents[1]


class ChildProcess:
    """One `python -m module JSON`. It runs until it ends by itself, is stopped, or is killed."""

    def __init__(self, module: str, given: dict[str, Any], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(given)],
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
        """Its directory in /proc."""
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

    def has_logged(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")


class FailpointsAndStalls:
    """Inside such a process: failpoints, and points at which it sleeps once for so many seconds."""

    def __init__(self, failpoint: str | None, stalls: dict[str, float]) -> None:
        self._failpoints, self._stalls = Failpoints(failpoint), dict(stalls)

    def __call__(self, name: str) -> None:
        stall_s = self._stalls.pop(name, 0.0)
        if stall_s:
            print(f"STALLED {name}", flush=True)
            time.sleep(stall_s)
        self._failpoints(name)
