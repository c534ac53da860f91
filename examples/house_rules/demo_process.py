"""One process of the demo: runs in a process group of its own, prints into a file, ends with the demo."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.process import command_line

STOP_S_MAX = 30.0


class DemoProcess:
    """One process and its group. `stop` may be called at any time and more than once."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._command = tuple(command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, extra: Mapping[str, str] | None = None, *, nice: int = 0) -> None:
        """Start the process, with `extra` added to its environment."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*(("nice", "-n", str(nice)) if nice else ()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(extra or {})},
                start_new_session=True,  # Ctrl-C reaches the demo alone, which stops the others in order
            )
        self._log.with_suffix(".pid").write_text(str(self._process.pid))

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None, "the process was started"
        return self._process.pid

    def ended(self) -> int | None:
        """The exit code (negative: the signal's number); None while it runs and before its start."""
        return self._process.poll() if self._process is not None else None

    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL to the process alone, as a crash would end it, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S_MAX)

    def ask_to_stop(self) -> None:
        """Send SIGTERM; `stop` waits for the end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self, *, stop_s_max: float = STOP_S_MAX) -> None:
        """End the whole group: SIGTERM first, SIGKILL for what is left after `stop_s_max` seconds."""
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
        """The last line it printed, cut to 300 characters."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return lines[-1][:300] if lines else "it printed nothing"


def kill_group(pid_file: Path, *, belongs_to: str) -> None:
    """Kill the group whose id is in the file, if its command line has `belongs_to`: systems reuse ids."""
    pid = int(pid_file.read_text())
    if belongs_to in command_line(pid):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
