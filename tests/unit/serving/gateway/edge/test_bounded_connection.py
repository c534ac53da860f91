"""Hostile and impatient clients on real sockets: each gets an answer or is closed, and nobody else waits."""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.meters import metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import (
    ASK,
    RunningGateway,
    build_gateway,
    build_limits,
    report_replicas,
    wait_until,
)
from tests.unit.serving.serving_environment import ServingEnvironment

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
MODELS = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"


@contextmanager
def connected(gateway: RunningGateway) -> Iterator[socket.socket]:
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10.0) as client:
        yield client


def read_to_end(client: socket.socket) -> bytes:
    """All that arrives until the gateway closes the connection."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def statuses(raw: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw)]


def refusal_in(raw: bytes) -> dict[str, Any]:
    """The error of the last response."""
    head, _, body = raw.rpartition(b"\r\n\r\n")
    assert re.search(rb"\r\nx-request-id: [0-9a-f]{32}\r\n", head + b"\r\n")
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@contextmanager
def limited(two_replicas: ServingEnvironment, **limits: Any) -> Iterator[RunningGateway]:
    with build_gateway(two_replicas.database, limits=build_limits(**limits)) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        yield gateway


def refused_since(before: Any) -> dict[str, float]:
    return {
        dict(labels)["reason"]: count
        for labels, count in metric_increases(before, "clorad.gateway.refused").items()
    }


@pytest.mark.parametrize(
    "headers",
    [
        b"x: " + b"a" * 40_000 + b"\r\n\r\n",
        b"a" * 40_000 + b": x\r\n\r\n",
        b"".join(b"x%d: 1\r\n" % number for number in range(200)) + b"\r\n",
        b"".join(b"x: " + b"a" * 1000 + b"\r\n" for _ in range(40)) + b"\r\n",
        b"transfer-encoding: chunked\r\n\r\n1;" + b"a" * 400_000,
        b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: a\r\n" * 8000,
    ],
    ids=["value", "name", "count", "sum", "chunk extension", "trailers"],
)
def test_headers_beyond_the_bounds_are_refused(gateway: RunningGateway, headers: bytes) -> None:
    with connected(gateway) as client:
        client.sendall(HEAD + headers)
        raw = read_to_end(client)
    assert statuses(raw) == [431]
    assert refusal_in(raw)["type"] == "invalid_request_error"


def test_a_path_beyond_the_bound_is_refused(gateway: RunningGateway) -> None:
    with connected(gateway) as client:
        client.sendall(b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert statuses(read_to_end(client)) == [431]


def test_a_header_without_an_end_is_refused_while_it_arrives(gateway: RunningGateway) -> None:
    with connected(gateway) as client:
        client.sendall(HEAD + b"x: ")
        sent = 0
        with contextlib.suppress(OSError):  # the gateway reads no more of it, and closes
            while sent < 128 * 1024 * 1024:
                client.sendall(b"a" * 65536)
                sent += 65536
        assert sent < 64 * 1024 * 1024
    assert gateway.get("/healthz").status_code == 200


CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKS,
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS,
    ],
)
def test_what_is_not_http_gets_a_400_in_openais_form(gateway: RunningGateway, raw: bytes) -> None:
    with connected(gateway) as client:
        client.sendall(raw)
        answer = read_to_end(client)
    assert statuses(answer) == [400]
    refusal_in(answer)


@pytest.mark.parametrize(
    ("limits", "sent", "status"),
    [
        ({"header_s_max": 0.3}, HEAD + b"x: ", 408),
        ({"body_s_max": 0.3}, HEAD + b"content-length: 10\r\n\r\n{", 408),
        ({"idle_s_max": 0.3}, b"", None),
        ({"idle_s_max": 0.3}, GET, 200),
    ],
    ids=["headers", "body", "silence", "silence after a request"],
)
def test_a_connection_that_waits_too_long_is_closed(
    two_replicas: ServingEnvironment, limits: dict[str, float], sent: bytes, status: int | None
) -> None:
    with limited(two_replicas, **limits) as gateway, connected(gateway) as client:
        client.sendall(sent)
        raw = read_to_end(client)
    assert statuses(raw) == ([] if status is None else [status])
    if status == 408:
        refusal_in(raw)


def test_a_client_that_sends_one_byte_at_a_time_gains_no_time(two_replicas: ServingEnvironment) -> None:
    with limited(two_replicas, header_s_max=0.5) as gateway, connected(gateway) as client:
        client.sendall(HEAD)
        began_s = time.monotonic()
        client.settimeout(0.05)
        raw = b""
        while not raw and time.monotonic() - began_s < 10:
            try:
                client.sendall(b"a")
                raw = client.recv(65536)
            except TimeoutError:
                continue
    assert statuses(raw) == [408]


def test_idle_connections_make_room_and_requests_are_answered(two_replicas: ServingEnvironment) -> None:
    before = metric_values("clorad.gateway.refused")
    with limited(two_replicas, connections_max=20) as gateway:
        idle = [connected(gateway) for _ in range(60)]
        opened = [connection.__enter__() for connection in idle]
        assert gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK}).status_code == 200
        assert gateway.get("/healthz").status_code == 200
        for connection in idle:
            connection.__exit__(None, None, None)
    assert len(opened) == 60
    assert refused_since(before)["connections"] >= 40


def test_when_all_connections_are_busy_health_is_still_answered(two_replicas: ServingEnvironment) -> None:
    for fake in two_replicas.replicas:
        fake.faults.answer_delay_s = 3.0
    body = json.dumps({"model": "billing", "messages": ASK}).encode()
    with (
        limited(two_replicas, connections_max=2) as gateway,
        connected(gateway) as one,
        connected(gateway) as two,
    ):
        for client in (one, two):
            client.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: sum(fake.in_flight for fake in two_replicas.replicas) == 2)
        assert gateway.get("/healthz").status_code == 200
        assert gateway.get("/readyz").status_code == 200
        refused = gateway.get("/v1/models")
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "service_unavailable"
        assert refused.headers["x-request-id"]


def test_requests_of_one_address_are_bounded_by_the_second(two_replicas: ServingEnvironment) -> None:
    with limited(two_replicas, requests_per_s_max=5) as gateway, connected(gateway) as client:
        client.sendall(MODELS * 8)
        raw = read_to_end(client)
    answered = statuses(raw)
    assert set(answered) <= {200, 429}
    assert 429 in answered or len(answered) == 8  # a second may end in between


def test_pipelined_requests_are_answered_in_order(gateway: RunningGateway) -> None:
    with connected(gateway) as client:
        client.sendall(MODELS + b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n" + GET)
        client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert statuses(read_to_end(client)) == [200, 404, 200, 200]


def test_a_bad_request_behind_a_good_one_does_not_take_its_answer(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.answer_delay_s = 0.5
    body = json.dumps({"model": "billing", "messages": ASK}).encode()
    with connected(gateway) as client:
        client.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: sum(fake.in_flight for fake in two_replicas.replicas) == 1)
        client.sendall(b"\x00\x00\r\n")
        raw = read_to_end(client)
    assert statuses(raw) == [200]
    assert b"connection: close" in raw


def test_a_wish_to_upgrade_is_ignored(gateway: RunningGateway) -> None:
    """Java's HTTP client asks every server for h2c, and expects an answer in HTTP/1.1."""
    body = json.dumps({"model": "billing", "messages": ASK}).encode()
    wish = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    with connected(gateway) as client:
        client.sendall(HEAD + wish + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert statuses(client.recv(65536)) == [200]


def test_a_body_that_is_too_large_is_refused_before_it_arrives(gateway: RunningGateway) -> None:
    with connected(gateway) as client:
        client.sendall(HEAD + b"content-length: 999999999\r\n\r\n{")
        raw = read_to_end(client)
    assert statuses(raw) == [413]
    refusal_in(raw)


class SilentReplica:
    """A replica that reads requests and never answers; it notes when its client leaves."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.requests = 0
        self.left = 0
        self.says = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(client,), daemon=True).start()

    def _read(self, client: socket.socket) -> None:
        with client:
            client.recv(65536)
            self.requests += 1
            client.sendall(self.says)
            while client.recv(65536):
                pass
            self.left += 1

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def silent(environment: ServingEnvironment) -> Iterator[SilentReplica]:
    environment.agent("billing", capture=True)
    replica = SilentReplica()
    environment.replicas.append(replica)  # type: ignore[arg-type]
    replica.base_name, replica.adapters, replica.kill = "base", {}, replica.close  # type: ignore[attr-defined]
    report_replicas(environment)
    yield replica
    replica.close()


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize(
    ("streams", "says", "reads"),
    [(False, b"", 0), (True, b"", 0), (True, STREAM, 0), (True, STREAM + EVENT, 1)],
    ids=["whole answer", "no answer to a stream", "no first event", "inside a stream"],
)
@pytest.mark.parametrize("leave", [socket.socket.close, lambda client: client.shutdown(socket.SHUT_WR)])
def test_a_client_that_leaves_frees_the_replica_and_is_not_captured(
    environment: ServingEnvironment,
    silent: SilentReplica,
    streams: bool,
    says: bytes,
    reads: int,
    leave: Callable[[socket.socket], None],
) -> None:
    silent.says = says
    body = json.dumps({"model": "billing", "stream": streams, "messages": ASK}).encode()
    before = metric_values("clorad.gateway.requests")
    with capture_logs() as logs, build_gateway(environment.database, request_s_max=60.0) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        with connected(gateway) as client:
            client.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
            wait_until(lambda: silent.requests == 1)
            if reads:
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
            leave(client)
            wait_until(lambda: silent.left == 1)
        wait_until(lambda: metric_increases(before, "clorad.gateway.requests") == {(("status", 499),): 1})
        assert gateway.sends.records == []
    assert [log for log in logs if log["log_level"] in ("warning", "error")] == []
