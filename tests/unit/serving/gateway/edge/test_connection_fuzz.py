"""Any bytes, in any pieces, get a defined answer or a closed connection, and the gateway lives."""

import re
import select
import socket
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.unit.serving.gateway.gateway_builder import RunningGateway, build_gateway, build_limits, wait_until
from tests.unit.serving.serving_environment import ServingEnvironment

DEFINED = {200, 400, 403, 404, 405, 408, 413, 415, 429, 431}
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\n"
WAIT_S_MAX, ANSWER_S = 10.0, 0.05
USUAL = b"host: localhost\r\ncontent-type: application/json\r\n"
WHOLE = {
    CHAT + USUAL + b"content-length: 2\r\n\r\n{}": 404,
    CHAT + USUAL + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n": 404,
    CHAT + USUAL + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}": 415,
    CHAT + USUAL + b"content-length: 1\r\n\r\n{": 400,
    b"GET /healthz HTTP/1.1\r\n\r\n": 200,
}
"""Whole requests with the status of their answers: what the fuzz makes of its pieces where they fit."""

_lines = st.sampled_from(
    [
        b"GET /healthz HTTP/1.1\r\n",
        b"GET /v1/models HTTP/1.1\r\n",
        CHAT,
        b"POST /v1/messages HTTP/1.1\r\n",
        b"POST /v1/feedback HTTP/1.0\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"GET http://[::1 HTTP/1.1\r\n",
        b"GET /%ff%00?\xff HTTP/1.1\r\n",
        b"get / HTTP/1.1\n",
        b"GET  /  HTTP/9.9\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"\r\n",
    ]
)
_headers = st.sampled_from(
    [
        b"host: localhost\r\n",
        b"host: evil.example\r\n",
        b"content-type: application/json\r\n",
        b"content-length: 2\r\n",
        b"content-length: 7\r\n",
        b"content-length: +2\r\n",
        b"content-length: 99999999999999999999\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"content-encoding: gzip\r\n",
        b"connection: close\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"expect: 100-continue\r\n",
        b"expect: 200-ok\r\n",
        b" folded\r\n",
        b"no colon\r\n",
        b"x: \x00\r\n",
        b": empty\r\n",
        b"x: " + b"a" * 5000 + b"\r\n",
    ]
)
_bodies = st.sampled_from(
    [
        b"",
        b"{}",
        b'{"a":1}',
        b"2\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nhost: x\r\n\r\n",
        b"zz\r\n{}\r\n",
        b"ffffffffffffffffff\r\n",
        b"-1\r\n",
        b"2;a=b\r\n{}\r\n0\r\n\r\n",
        b"[" * 300,
        b"\xff" * 50,
    ]
)
_requests = st.builds(
    lambda line, usual, headers, end, body: line + usual + b"".join(headers) + end + body,
    _lines,
    st.sampled_from([b"", b"host: localhost\r\n", USUAL, USUAL]),
    st.lists(_headers, max_size=3),
    st.sampled_from([b"\r\n", b"\n", b""]),
    _bodies,
)
_streams = st.lists(_requests | _requests | st.binary(max_size=40), min_size=1, max_size=4).map(b"".join)


def exchange(gateway: RunningGateway, parts: Sequence[bytes], *, answer_s: float = ANSWER_S) -> bytes:
    """All that the gateway sends to a client that sends these parts, until the connection is closed."""
    host, port = gateway.url.removeprefix("http://").split(":")
    received = []
    with socket.create_connection((host, int(port)), timeout=WAIT_S_MAX) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for part in parts:
                client.sendall(part)
            select.select([client], [], [], answer_s)  # who hangs up gets no answer
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                received.append(part)
        except TimeoutError:
            raise  # neither an answer nor a closed connection
        except OSError:
            pass  # closed: reset, broken, or not connected any more
    return b"".join(received)


def test_any_bytes_get_a_defined_answer_or_a_closed_connection(two_replicas: ServingEnvironment) -> None:
    limits = build_limits(header_bytes_max=4096, header_s_max=2.0, body_s_max=2.0)
    with build_gateway(two_replicas.database, limits=limits) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)

        @given(stream=_streams, cuts=st.lists(st.integers(0, 400), max_size=3).map(sorted))
        @settings(
            max_examples=150,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @example(stream=b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" * 50, cuts=[])
        @example(stream=b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + b"x: 1\r\n" * 500, cuts=[])
        def answers(stream: bytes, cuts: list[int]) -> None:
            edges = [0, *(min(cut, len(stream)) for cut in cuts), len(stream)]
            parts = [stream[begin:end] for begin, end in pairwise(edges)]
            raw = exchange(gateway, parts)
            assert raw == b"" or raw.startswith(b"HTTP/1.1 ")
            seen = {int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", raw)}
            assert seen <= DEFINED, seen

        answers()
        for stream, status in WHOLE.items():
            assert exchange(gateway, [stream], answer_s=WAIT_S_MAX).startswith(b"HTTP/1.1 %d " % status)
        assert gateway.get("/healthz").status_code == 200
        assert gateway.send("/v1/chat/completions", {"model": "nobody"}).status_code == 404
