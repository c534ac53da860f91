"""A TCP relay between clients and a broker: slow, lossy, cut, half open, gone, or lying about an answer.

It knows Kafka's frames, so that one kind of answer can be given another error code.
"""

import random
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kafka.protocol import consumer as protocol
from kafka.protocol.metadata import FindCoordinatorResponse

_LOOK_S = 0.02

ANSWERS = {
    "offset_commit": protocol.OffsetCommitResponse,
    "heartbeat": protocol.HeartbeatResponse,
    "join_group": protocol.JoinGroupResponse,
    "sync_group": protocol.SyncGroupResponse,
    "find_coordinator": FindCoordinatorResponse,
}
"""Answers that it can falsify."""


class Relay:
    """Listens on `port`, relays to `target`. Everything about it may be changed while it runs."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        """Each way."""
        self.lost_share = 0.0
        """Of the frames; under TCP a loss is a wait for the retransmission, of it and all that follow."""
        self.retransmission_s = 0.5
        self.connections = 0
        """Taken so far."""
        self._due: Counter[tuple[str, int]] = Counter()
        self._lines: list[_Line] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def falsify(self, answer: str, code: int) -> None:
        """The next answer of that kind has error `code`."""
        assert answer in ANSWERS
        self._due[answer, code] += 1

    def falsified_left(self) -> int:
        return self._due.total()

    def cut(self) -> None:
        """Every connection ends."""
        for line in self._lines:
            line.end()

    def silence(self) -> None:
        """Open connections stay open and carry nothing any more, as after a router between restarts."""
        for line in self._lines:
            line.silenced = True

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # closing alone does not wake `accept`
        self._server.close()
        self.cut()

    def lost(self) -> bool:
        return random.random() < self.lost_share

    def answered(self, frame: bytes, key: int, version: int) -> bytes:
        """The answer, with the error code that is due for it."""
        for (answer, code), left in self._due.items():
            kind: Any = ANSWERS[answer]
            if key == kind.API_KEY and left > 0:
                self._due[answer, code] -= 1
                return _with_error(kind, version, frame, code)
        return frame

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                try:
                    broker = socket.create_connection(("127.0.0.1", self.target), timeout=5.0)
                except OSError:
                    client.close()
                    continue
                broker.settimeout(None)
                self._lines.append(_Line(self, client, broker))


class _Line:
    """One connection: a reader and a writer for each way, so that a delay does not make the line narrow."""

    def __init__(self, relay: Relay, client: socket.socket, broker: socket.socket) -> None:
        self.silenced = False
        self._relay = relay
        self._ends = (client, broker)
        self._over = False
        self._asked: dict[int, tuple[int, int]] = {}  # correlation id: api key and version
        for source, sink in ((client, broker), (broker, client)):
            waiting: deque[tuple[float, bytes]] = deque()
            for work in (self._read, self._write):
                given = (source if work == self._read else sink, waiting, source is broker)
                threading.Thread(target=work, args=given, name="relay", daemon=True).start()

    def end(self) -> None:
        self._over = True
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _read(self, source: socket.socket, waiting: deque[tuple[float, bytes]], answers: bool) -> None:
        for frame in _frames(source):
            if answers:
                (correlation,) = struct.unpack(">i", frame[:4])
                frame = self._relay.answered(frame, *self._asked.pop(correlation, (-1, 0)))
            else:
                key, version, correlation = struct.unpack(">hhi", frame[:8])
                self._asked[correlation] = (key, version)
            waiting.append((time.monotonic() + self._relay.delay_s, frame))
        waiting.append((0.0, b""))

    def _write(self, sink: socket.socket, waiting: deque[tuple[float, bytes]], _answers: bool) -> None:
        while not self._over:
            if self.silenced or not waiting or waiting[0][0] > time.monotonic():
                time.sleep(_LOOK_S)
                continue
            if self._relay.lost():
                time.sleep(self._relay.retransmission_s)
            _, frame = waiting.popleft()
            if not frame:
                break
            with suppress(OSError):
                sink.sendall(struct.pack(">i", len(frame)) + frame)
        self.end()


def _with_error(kind: Any, version: int, frame: bytes, code: int) -> bytes:
    header = 5 if kind.flexible_version_q(version) else 4  # the correlation id, and an empty list of tags
    answer = kind.decode(frame[header:], version=version)
    answer._header = None  # decoding leaves it unset, and encoding looks at it
    _put(answer, code)
    return frame[:header] + bytes(answer.encode(version=version))


def _put(data: Any, code: int) -> None:
    """Wherever the answer has an error code, it is this one."""
    if hasattr(data, "error_code"):
        data.error_code = code
    for name in ("topics", "partitions", "coordinators"):
        for part in getattr(data, name, None) or ():
            _put(part, code)


def _frames(source: socket.socket) -> Iterator[bytes]:
    """Until the connection ends."""
    with suppress(OSError, EOFError):
        while True:
            (size,) = struct.unpack(">i", _exactly(source, 4))
            yield _exactly(source, size)


def _exactly(source: socket.socket, number: int) -> bytes:
    frame = bytearray()
    while len(frame) < number:
        piece = source.recv(number - len(frame))
        if not piece:
            raise EOFError
        frame += piece
    return bytes(frame)
