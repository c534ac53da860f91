"""Reading a body: within its bounds, and within what all requests may hold together."""

import asyncio
from collections.abc import Callable

import pytest
from starlette.types import Message

from serving.gateway.edge.answer_bytes import AnswersTooLarge
from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.http_request import HttpRequest, RequestLoad
from tests.unit.serving.gateway.gateway_builder import build_limits

KIB = 1024


def build_request(load: RequestLoad, *parts: bytes, length: int | None = None) -> HttpRequest:
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": place < len(parts) - 1}
        for place, part in enumerate(parts)
    ] or [{"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return HttpRequest("r", {"headers": headers, "method": "POST", "path": "/"}, receive, load)


def refusal_of(read: Callable[[], bytes]) -> tuple[int, str]:
    with pytest.raises(RequestRefused) as refusal:
        read()
    return refusal.value.status, refusal.value.reason


def read(request: HttpRequest, bytes_max: int = 100 * KIB) -> bytes:
    return asyncio.run(request.body(bytes_max))


def test_a_body_arrives_whole() -> None:
    load = RequestLoad(build_limits())
    assert read(build_request(load, b"abc")) == b"abc"
    assert read(build_request(load, b"a" * 50_000, b"", b"b")) == b"a" * 50_000 + b"b"


def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    announced = build_request(RequestLoad(build_limits()), b"", length=100 * KIB + 1)
    assert refusal_of(lambda: read(announced)) == (413, "body_bytes")
    absurd = build_request(RequestLoad(build_limits()), b"", length=10**30)
    assert refusal_of(lambda: read(absurd)) == (413, "body_bytes")
    unannounced = build_request(RequestLoad(build_limits()), b"a" * 60 * KIB, b"a" * 60 * KIB, b"never read")
    assert refusal_of(lambda: read(unannounced)) == (413, "body_bytes")


@pytest.mark.parametrize("encodings", [["gzip"], ["zstd"], ["Identity, gzip"], ["identity", "gzip"]])
def test_a_packed_body_is_refused_before_it_is_read(encodings: list[str]) -> None:
    request = build_request(RequestLoad(build_limits()))
    request.scope["headers"] = [(b"content-encoding", encoding.encode()) for encoding in encodings]
    assert refusal_of(lambda: read(request)) == (415, "content_encoding")


def test_large_bodies_crowd_out_each_other_and_no_small_one() -> None:
    load = RequestLoad(build_limits(bodies_bytes_max=100 * KIB))
    first = build_request(load, b"a" * 60 * KIB)
    read(first)
    second = build_request(load, b"a" * 20 * KIB, b"a" * 40 * KIB)
    assert refusal_of(lambda: read(second)) == (503, "bodies_bytes")
    assert read(build_request(load, b"a" * 16 * KIB))
    first.release()
    second.release()
    assert load.bytes_held == 0
    assert read(build_request(load, b"a" * 60 * KIB))


def test_large_answers_share_their_memory_until_their_clients_have_them() -> None:
    load = RequestLoad(build_limits(answers_bytes_max=300 * KIB))
    small, first, second = (build_request(load, b"{}") for _ in range(3))
    small.hold_answer(64 * KIB)
    assert load.answer_bytes_held == 0, "small ones are free"
    for total in (100 * KIB, 300 * KIB, 200 * KIB):
        first.hold_answer(total)
    assert load.answer_bytes_held == 236 * KIB, "an answer is counted once, whatever a replica sends again"
    with pytest.raises(AnswersTooLarge):
        second.hold_answer(200 * KIB)
    second.hold_answer(100 * KIB)
    for request in (small, first, second):
        request.release()
    assert load.answer_bytes_held == 0


def test_many_values_count_as_the_memory_they_take() -> None:
    load = RequestLoad(build_limits(bodies_bytes_max=1024 * KIB))
    request = build_request(load, b"[]" * 10)
    read(request)
    request.hold_values(200)
    assert load.bytes_held == 0, "small ones are free"
    assert refusal_of(lambda: request.hold_values(100_000) or b"") == (503, "bodies_bytes")


def test_requests_are_counted_from_the_end_of_their_bodies_to_the_end_of_their_answers() -> None:
    load = RequestLoad(build_limits(requests_max=1))
    slow, first, second = (build_request(load, b"{}") for _ in range(3))
    read(first)
    assert refusal_of(lambda: read(second)) == (503, "requests")
    first.release()
    assert read(slow) == b"{}"
    slow.release()
    second.release()
    assert load.requests == 0


def test_a_client_that_leaves_while_it_sends_raises() -> None:
    with pytest.raises(ConnectionResetError):
        read(build_request(RequestLoad(build_limits())))


@pytest.mark.parametrize("length", [100 * KIB, None])
def test_large_bodies_of_one_client_have_a_budget_and_small_ones_have_none(length: int | None) -> None:
    load = RequestLoad(build_limits(large_bytes_per_s_max=KIB))
    parts = (b"a" * 50 * KIB, b"a" * 50 * KIB)
    assert len(read(build_request(load, *parts, length=length))) == 100 * KIB
    refused = build_request(load, *parts, length=length)
    assert refusal_of(lambda: read(refused)) == (429, "body_rate")
    assert len(read(build_request(load, b"a" * 60 * KIB))) == 60 * KIB
