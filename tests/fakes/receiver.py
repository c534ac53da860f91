"""A webhook's receiver on loopback. It keeps what it got, and answers well, badly, slowly, or without end."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeReceiver(ThreadingHTTPServer):
    """What it got is in `posts`: headers (lower case) and body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.location: str | None = None
        self.slow = False  # one byte of a header every 20 ms, without end
        self.endless = False  # a body without end
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


@contextmanager
def receiving() -> Iterator[FakeReceiver]:
    """A receiver that listens."""
    receiver = FakeReceiver()
    thread = threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        receiver.shutdown()
        receiver.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FakeReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
        try:
            self._answer()
        except OSError:
            return  # the sender hung up

    def _answer(self) -> None:
        if self.server.slow:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
        while self.server.slow and not self.server.over.is_set():
            self.wfile.write(b"x")
            time.sleep(0.02)
        self.send_response(self.server.status)
        if self.server.location is not None:
            self.send_header("location", self.server.location)
        self.end_headers()
        while self.server.endless and not self.server.over.is_set():
            self.wfile.write(b"x" * 65536)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
