"""Stores whether a role is alive and ready, as its loops report, and answers probes on the health port.

A role is alive if every loop has reported in its time, and ready if every named check holds. A probe reads
the last reports only: it must not wait for the thing that it watches. With a token, only clients that send it
get more than the status: the probes of an orchestrator cannot send one.
"""

import hmac
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from opentelemetry import metrics
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from daemon.masking import mask

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("daemon")
_ready = _meter.create_gauge(
    "clorad.role.ready",
    unit="{check}",
    description="1 where the role has what it needs, 0 where it waits for it",
)
_beat = _meter.create_gauge(
    "clorad.role.beat.timestamp",
    unit="s",
    description="when the role's loop last reported that it is alive (Unix time)",
)

AGE_S_MAX = 60.0
"""Seconds within which a loop must report again, unless it gives another time."""

_SOCKET_S_MAX = 5.0  # a client that sends nothing must not keep its thread


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    ok: bool
    why: str
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beat:
    at_s: float
    age_s_max: float


class Health:
    """The last reports of a role's loops. Safe to call from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._checks: dict[str, _Check] = {}
        self._beats: dict[str, _Beat] = {}

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        """Report whether the role has one thing that it needs. `why` must quote nobody; secrets are
        masked."""
        why = mask(why)
        _ready.set(int(ok), {"check": name})
        with self._lock:
            before = self._checks.get(name)
            if before is not None and (before.ok, before.why) == (ok, why):
                return
            since_s = before.since_s if before is not None and before.ok == ok else self._clock()
            self._checks[name] = _Check(ok=ok, why=why, since_s=since_s)
        log.info("readiness changed", check=name, ok=ok, why=why)

    def alive(self, name: str, *, age_s_max: float = AGE_S_MAX) -> None:
        """Report that the loop `name` goes on, and that it will report again within `age_s_max` seconds."""
        _beat.set(time.time(), {"loop": name})
        with self._lock:
            self._beats[name] = _Beat(at_s=self._clock(), age_s_max=age_s_max)

    def liveness(self) -> tuple[bool, dict[str, Any]]:
        """Whether every loop has reported in its time, and the age of each report."""
        now = self._clock()
        with self._lock:
            beats = dict(self._beats)
        late = sorted(name for name, beat in beats.items() if now - beat.at_s > beat.age_s_max)
        ages = {
            name: {"age_s": round(now - beat.at_s, 3), "age_s_max": beat.age_s_max}
            for name, beat in sorted(beats.items())
        }
        return not late, {"alive": not late, "late": late, "loops": ages}

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether every named check holds; a role that has reported nothing yet is not ready."""
        now = self._clock()
        with self._lock:
            checks = dict(self._checks)
        ready = bool(checks) and all(check.ok for check in checks.values())
        shown = {
            name: {"ok": check.ok, "why": check.why, "for_s": round(now - check.since_s, 3)}
            for name, check in sorted(checks.items())
        }
        return ready, {"ready": ready, "checks": shown}


@contextmanager
def served(health: Health, port: int, host: str = "127.0.0.1", *, token: str | None = None) -> Iterator[int]:
    """Answer /healthz, /readyz and /metrics until the block ends. Yields the port (0: any).

    With a `token`, /metrics answers 401 without it, and the others answer with their status alone. Raises
    `OSError` if the port is taken, or `host` is no address of this machine.
    """
    server = _Server((host, port), health, token)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="health", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=_SOCKET_S_MAX)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a slow client must not delay the stop

    def __init__(self, address: tuple[str, int], health: Health, token: str | None) -> None:
        self.health = health
        self.token = None if token is None else token.encode()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _ProbeHandler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of this machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)


class _ProbeHandler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SOCKET_S_MAX

    def do_GET(self) -> None:
        """Answer one probe: 200 if the role is alive or ready, else 503."""
        match self.path.partition("?")[0]:
            case "/healthz":
                self._send_report(*self.server.health.liveness())
            case "/readyz":
                self._send_report(*self.server.health.readiness())
            case "/metrics" if self._has_token():
                self._send(200, CONTENT_TYPE_LATEST, generate_latest())
            case "/metrics":
                self._send(401, "text/plain", b"telemetry.token is missing or wrong\n")
            case _:
                self._send(404, "text/plain", b"/healthz, /readyz, /metrics\n")

    def _send_report(self, ok: bool, report: dict[str, Any]) -> None:
        body = json.dumps(report).encode() + b"\n" if self._has_token() else b"{}\n"
        self._send(200 if ok else 503, "application/json", body)

    def _has_token(self) -> bool:
        token = self.server.token
        if token is None:
            return True
        scheme, _, given = (self.headers.get("authorization") or "").strip().partition(" ")
        is_bearer = scheme.lower() == "bearer"  # in small and capital letters: RFC 9110, section 11.1
        return is_bearer and hmac.compare_digest(given.strip().encode("latin-1", "replace"), token)

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("www-authenticate", "Bearer")
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: probes come every few seconds, and their lines would hide the others."""
