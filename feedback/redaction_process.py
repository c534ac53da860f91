"""Redacts large texts in a process beside the one that serves.

An expression holds Python's lock while it searches: in 240 KB built for it one search takes 70 ms, in which
the serving process would answer nobody. The process starts with the first such text, redacts one event after
the other, and gets less of the processor than serving. It knows no key: identifiers stay with
`ProcessRedactor`.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from feedback.redaction import RedactionCounts, Redactor, text_redactor

INLINE_BYTES_MAX = 16 * 1024
"""Of the JSON of an event that the serving process redacts itself: its expressions take up to 5 ms."""

WAIT_S_MAX = 30.0
"""Seconds that one event may take, the start of the process included."""

_NICENESS = 5
_LENGTH_BYTES = 4  # before each message, high byte first


class NotRedacted(Exception):
    """The process ended, or did not answer in time. The event is not sent; the next one starts a process."""


class ProcessRedactor(Redactor):
    """Redacts large events in a process of its own, until closed. Threads wait for each other.

    `event_data` raises `NotRedacted`.
    """

    def __init__(self, fingerprint: Callable[[bytes], str], *, wait_s_max: float = WAIT_S_MAX) -> None:
        super().__init__(fingerprint)
        self.wait_s_max = wait_s_max
        self._one_at_a_time = threading.Lock()
        self._process: _RedactionProcess | None = None

    def event_data(self, data: Mapping[str, Any], counts: RedactionCounts) -> dict[str, Any]:
        """The same as `Redactor.event_data`."""
        texts = {name: item for name, item in data.items() if not self.is_identifier(name, item)}
        try:
            message = json.dumps(texts).encode()
        except (TypeError, ValueError, RecursionError):  # no JSON: nobody sent this
            return super().event_data(data, counts)
        if len(message) <= INLINE_BYTES_MAX:
            return super().event_data(data, counts)
        names = {name: item for name, item in data.items() if name not in texts}
        redacted, new_counts = self._ask(message)
        counts.update(new_counts)
        return super().event_data(names, counts) | redacted

    def close(self) -> None:
        """The process is gone."""
        with self._one_at_a_time:
            self._end()

    def _ask(self, message: bytes) -> tuple[dict[str, Any], dict[str, int]]:
        with self._one_at_a_time:
            try:
                self._process = self._process or _RedactionProcess()
                reply = self._process.ask(message, time.monotonic() + self.wait_s_max)
            except OSError as fault:  # `TimeoutError` too
                self._end()
                raise NotRedacted(type(fault).__name__) from None
        redacted, new_counts = json.loads(reply)
        return redacted, new_counts

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _RedactionProcess:
    """One process and the socket to it."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CLORAD_")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a traceback may quote what people wrote
                pass_fds=(theirs.fileno(),),
            )

    def ask(self, message: bytes, until_s: float) -> bytes:
        """The reply. Raises `OSError`; the process cannot be used any more then."""
        self._channel.settimeout(max(0.001, until_s - time.monotonic()))
        self._channel.sendall(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
        return _receive(self._channel, until_s)

    def end(self) -> None:
        """The process is gone."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


def _receive(channel: socket.socket, until_s: float | None = None) -> bytes:
    """The next message. Raises `OSError` where the other end is gone or silent."""

    def receive(size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            if until_s is not None:
                channel.settimeout(max(0.001, until_s - time.monotonic()))
            part = channel.recv(size - len(received))
            if not part:
                raise ConnectionResetError
            received += part
        return bytes(received)

    return receive(int.from_bytes(receive(_LENGTH_BYTES), "big"))


def main() -> None:
    """Redact one event after the other until the other end of the socket is closed.

    Signals that end the serving process do not end this one: captures that wait are still redacted.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # units may forbid it, as deploy/systemd does
        os.nice(_NICENESS)
    channel = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(ConnectionError):
        while True:
            counts: RedactionCounts = Counter()
            redacted = text_redactor().event_data(json.loads(_receive(channel)), counts)
            reply = json.dumps((redacted, counts)).encode()
            channel.sendall(len(reply).to_bytes(_LENGTH_BYTES, "big") + reply)


if __name__ == "__main__":
    main()
