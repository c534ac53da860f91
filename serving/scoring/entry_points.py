"""Scorers of the user's own as Python functions, named by entry points of the group `clorad.scorers`.

A function runs in a process of its own: it may raise, hang, fill the memory or end its process, and the fleet
role goes on. This process never imports it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

from serving.scoring.own import GROUP, NoScore, Scored, Wanted, checked

START_S_MAX = 60.0
"""Seconds in which the process must have imported the function."""

_REPLY_BYTES_MAX = 65_536
_SIGNAL_LATE_S = 2.0  # after its time the worker is ended by us; it ends itself later, if we are gone


def entry_point_names() -> list[str]:
    """The names of all installed scorers. Nothing of theirs is imported. A name that two have is left out."""
    names = [entry.name for entry in entry_points(group=GROUP)]
    return sorted(name for name in set(names) if names.count(name) == 1)


class EntryPointScorer:
    """The client of one worker process, which starts with the first prompt and again after it ended."""

    is_relative = False

    def __init__(self, name: str, *, wait_s_max: float) -> None:
        self._name = name
        self._wait_s_max = wait_s_max
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    def score(
        self, messages: Sequence[Mapping[str, Any]], wanted: Wanted, answers: Sequence[Wanted]
    ) -> Scored:
        """The function's numbers; one prompt at a time. Raises `NoScore`."""
        request = {"messages": list(messages), "wanted": wanted, "answers": list(answers)}
        with self._lock:
            worker = self._worker or _Worker(self._name, self._wait_s_max)
            self._worker = None
            try:
                reply = worker.ask(json.dumps(request, default=str).encode(), self._wait_s_max)
            except BaseException:
                worker.end()
                raise
            self._worker = worker
        return Scored(values=checked(reply.get("scores"), len(answers)))

    def close(self) -> None:
        """The worker is gone."""
        with self._lock:
            if self._worker is not None:
                self._worker.end()
                self._worker = None


class _Worker:
    """One process and the socket to it."""

    def __init__(self, name: str, wait_s_max: float) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            secret = tuple(variable for variable in os.environ if variable.startswith("CLORAD_"))
            environment = {key: value for key, value in os.environ.items() if key not in secret}
            seconds = str(wait_s_max + _SIGNAL_LATE_S)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serving.scoring.worker", name, str(theirs.fileno()), seconds],
                env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # what the function starts is ended with it
            )
        try:
            self._read(time.monotonic() + START_S_MAX, f"not ready within {START_S_MAX:.0f} s")
        except BaseException:
            self.end()
            raise

    def ask(self, request: bytes, wait_s_max: float) -> Mapping[str, Any]:
        """The reply to one request. Raises `NoScore`; the worker cannot be used any more then."""
        ends_s, late = time.monotonic() + wait_s_max, f"silent for {wait_s_max:g} s"
        try:
            self._channel.settimeout(wait_s_max)
            self._channel.sendall(request + b"\n")
        except TimeoutError:
            raise NoScore(late) from None
        except OSError:
            raise NoScore("its process ended") from None
        return self._read(ends_s, late)

    def end(self) -> None:
        """The process and what it started are gone."""
        self._channel.close()
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read(self, ends_s: float, late: str) -> Mapping[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            try:
                self._channel.settimeout(max(0.001, ends_s - time.monotonic()))
                received = self._channel.recv(_REPLY_BYTES_MAX)
            except TimeoutError:
                raise NoScore(late) from None
            except OSError:
                received = b""
            if not received or len(line) > _REPLY_BYTES_MAX:
                raise NoScore("its process ended")
            line += received
        reply: Mapping[str, Any] = json.loads(line)
        if "fault" in reply:
            raise NoScore(f"it raised {reply['fault']}")
        return reply
