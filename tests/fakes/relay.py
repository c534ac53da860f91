"""A TCP relay between client and broker that can be slow, silent, cut, or lie about one kind of answer."""

import socket
import struct
import threading
import time
from collections import Counter
from contextlib import suppress

API_KEYS = {"offset_commit": 8, "find_coordinator": 10, "join_group": 11, "heartbeat": 12, "sync_group": 14}
_THROTTLED_FLEXIBLE = {
    11: 6,
    12: 4,
    14: 4,
}  # api key: first version whose answers begin id, tags, throttle, error


class Proxy:
    """Relays connections to `port`. Everything about it can be changed while it runs."""

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self.silent = False  # connections stay open and nothing passes: half open
        self.target = port
        self.lies: Counter[tuple[int, int]] = Counter()  # (api key, error code) still to be told
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def lie(self, api: str, code: int, times: int = 1) -> None:
        """The next answers of that kind say `code`."""
        self.lies[API_KEYS[api], code] += times

    def cut(self) -> None:
        """Every connection is reset."""
        for one in list(self._open):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.close()

    def close(self) -> None:
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.target), timeout=5.0)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            self._open |= {client, broker}
            asked: dict[int, tuple[int, int]] = {}
            for source, sink, answers in ((client, broker, False), (broker, client, True)):
                threading.Thread(
                    target=self._relay, args=(source, sink, asked, answers), name="relay", daemon=True
                ).start()

    def _relay(
        self, source: socket.socket, sink: socket.socket, asked: dict[int, tuple[int, int]], answers: bool
    ) -> None:
        with suppress(OSError, struct.error):
            while frame := _frame(source):
                while self.silent:
                    time.sleep(0.02)
                time.sleep(self.delay_s)
                if answers:
                    frame = self._told(frame, asked.pop(struct.unpack(">i", frame[:4])[0], (-1, 0)))
                else:
                    api, version, correlation = struct.unpack(">hhi", frame[:8])
                    asked[correlation] = (api, version)
                sink.sendall(struct.pack(">i", len(frame)) + frame)
        for one in (source, sink):
            self._open.discard(one)
            with suppress(OSError):
                one.close()

    def _told(self, frame: bytes, asked: tuple[int, int]) -> bytes:
        api, version = asked
        code = next((code for (key, code), left in self.lies.items() if key == api and left > 0), None)
        if code is None or version < _THROTTLED_FLEXIBLE.get(api, 99):
            return frame
        self.lies[api, code] -= 1
        at = 4 + 1 + 4  # correlation id, no tags, throttle time
        return frame[:at] + struct.pack(">h", code) + frame[at + 2 :]


def _frame(source: socket.socket) -> bytes:
    size = _exactly(source, 4)
    return _exactly(source, struct.unpack(">i", size)[0]) if size else b""


def _exactly(source: socket.socket, number: int) -> bytes:
    found = bytearray()
    while len(found) < number:
        piece = source.recv(number - len(found))
        if not piece:
            return b""
        found += piece
    return bytes(found)
