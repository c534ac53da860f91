"""Runs environments: processes that hold conversations with agents on order, and send the outcomes to Kafka.

An environment reads orders from its standard input, one JSON object a line, and writes a line when the
conversations of an order are over. Rewards are not among what it writes.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOP_S_MAX = 5.0
VARIABLE = "EXPERIMENT_SURROUNDINGS"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDone:
    """What an environment says when an order is over."""

    rollouts: int  # conversations that it sent an outcome for
    failed: int  # conversations that it could not hold


class EnvironmentProcess:
    """One environment. It is started with its first order, and again after it died."""

    def __init__(
        self, command: Sequence[str], surroundings: Mapping[str, Any], log: Path, *, restarts_max: int
    ) -> None:
        self._command = [sys.executable if word == "python" else word for word in command]
        self._surroundings = dict(surroundings)
        self._log = log
        self._left = restarts_max + 1  # starts
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._done: dict[tuple[str, int], OrderDone] = {}
        self._lock = threading.Lock()
        self.starts = 0

    def order(self, order: Mapping[str, Any]) -> bool:
        """Give it an order. False: it is dead and is not started again."""
        with self._lock:
            self._done.pop((order["experiment"], order["step"]), None)
        if not self.is_alive() and not self._start():
            return False
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except OSError:
            return self._left > 0  # it has just died: who ordered sees it, and orders again
        return True

    def done(self, experiment: str, step: int) -> OrderDone | None:
        """What it said about an order; None: nothing yet."""
        with self._lock:
            return self._done.get((experiment, step))

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def obituary(self) -> str:
        """How it ended, with its last line."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        code = None if self._process is None else self._process.poll()
        return f"the environment ended with {code}: {(lines or ['it printed nothing'])[-1][:200]}"

    def stop(self) -> None:
        """End it: it gets no further orders, then SIGTERM, then SIGKILL."""
        if self._process is None:
            return
        self._close_input()
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S_MAX)
                break
            self._process.send_signal(signal_number)
        self._process.wait()
        if self._reader is not None:
            self._reader.join(STOP_S_MAX)

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it died before it read everything
                self._process.stdin.close()

    def _start(self) -> bool:
        if self._left == 0:
            return False
        self._close_input()
        self._left -= 1
        self.starts += 1
        self._log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, VARIABLE: json.dumps(self._surroundings)},
                )
        except OSError as fault:
            self._log.write_text(f"{type(fault).__name__}: {' '.join(self._command)}\n")
            return False
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        return True

    def _read(self, process: "subprocess.Popen[str]") -> None:
        """Keep what it says, until it ends. Lines that are no answers are left out."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                try:
                    answer = json.loads(line)
                    key = (str(answer["experiment"]), int(answer["step"]))
                    done = OrderDone(rollouts=int(answer["rollouts"]), failed=int(answer["failed"]))
                except (ValueError, TypeError, LookupError):
                    continue
                with self._lock:
                    self._done[key] = done
