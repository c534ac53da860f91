"""A process of the demo: started in a group of its own, printing into a file, and gone when we are."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_S_MAX = 30.0


class DemoProcess:
    """One process and its group. Stopping is safe at any time, and more than once."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._command = tuple(command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, extra: Mapping[str, str] | None = None, *, nice: int = 0) -> None:
        """The process runs, with `extra` in its environment this time."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*(("nice", "-n", str(nice)) if nice else ()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(extra or {})},
                start_new_session=True,  # Ctrl-C is the demo's alone: it stops the others in order
            )
        self._log.with_suffix(".pid").write_text(str(self._process.pid))

    @property
    def pid(self) -> int:
        """The running process's number."""
        assert self._process is not None, "it was started"
        return self._process.pid

    def ended(self) -> int | None:
        """The exit code (negative: the signal), None while it runs or before it was started."""
        return self._process.poll() if self._process is not None else None

    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the process alone, as a machine that fails would; its end is waited for."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S_MAX)

    def ask_to_stop(self) -> None:
        """SIGTERM; `stop` waits for what comes of it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self, *, stop_s_max: float = STOP_S_MAX) -> None:
        """Nothing of its group is left: asked first, killed when that takes too long."""
        if self._process is None:
            return
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(stop_s_max)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait(STOP_S_MAX)

    def last_line(self) -> str:
        """The last thing it printed."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return lines[-1][:300] if lines else "it printed nothing"


def end_noted(note: Path, *, belongs_to: str) -> None:
    """The group noted in a .pid file is gone, if its command names `belongs_to`: numbers are used again."""
    number = int(note.read_text())
    found = subprocess.run(
        ["ps", "-p", str(number), "-o", "args="], capture_output=True, text=True, check=False, timeout=10.0
    )
    if belongs_to in found.stdout:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(number, signal.SIGKILL)
