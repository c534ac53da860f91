"""One HTTP request as the endpoints see it: headers, and a body that is read within bounds."""

import time
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from serving.gateway.access.caller import ANONYMOUS, Caller
from serving.gateway.edge.answer_bytes import AnswersTooLarge
from serving.gateway.edge.byte_budget import ByteBudget
from serving.gateway.edge.connections import network_of
from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.limits import (
    LARGE_BODY_BYTES,
    SMALL_ANSWER_BYTES,
    SMALL_BODY_BYTES,
    VALUE_BYTES,
    GatewayLimits,
)

Octets = TypeVar("Octets", bytes, bytearray)


@dataclass(slots=True)
class RequestLoad:
    """What all requests hold together, bounded by `limits`."""

    limits: GatewayLimits
    bytes_held: int = 0  # of large bodies, read or being read
    answer_bytes_held: int = 0  # of large answers that their clients do not have yet
    requests: int = 0  # whose body is there and whose answer is not complete
    budget: ByteBudget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = ByteBudget(self.limits.large_bytes_per_s_max, time.monotonic)


@dataclass(slots=True)
class HttpRequest:
    """One request. `release` gives back what it holds."""

    id: str
    scope: Scope
    receive: Receive
    load: RequestLoad
    caller: Caller = ANONYMOUS
    _bytes_held: int = field(default=0)
    _answer_bytes_held: int = field(default=0)
    _counted: bool = field(default=False)
    _bytes_spent: int = field(default=0)  # of the client's budget

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    @property
    def headers(self) -> Headers:
        """A new view each time: keep it where more than one header is read."""
        return Headers(raw=self.scope["headers"])

    async def body(self, bytes_max: int) -> bytes:
        """The whole body.

        Raises `RequestRefused`: 415 where it is packed, 413 above `bytes_max`, 429 where the client's budget
        of large bodies is used up, 503 where the gateway has no room left. Raises `ConnectionResetError`
        where the client closed its connection.
        """
        headers = self.headers
        if any(name.strip().lower() not in ("", "identity") for name in headers.getlist("content-encoding")):
            text = "content-encoding: bodies are taken as they are, not packed"
            raise RequestRefused(415, text, "content_encoding")
        announced = headers.get("content-length", "")
        if announced.isdecimal() and (len(announced) > 18 or int(announced) > bytes_max):
            raise _too_large(bytes_max)
        if announced.isdecimal():
            self._spend(int(announced))
        message = await self._next()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts = bytearray(body)
            while message.get("more_body"):
                self._hold(len(parts), bytes_max)
                message = await self._next()
                parts += message.get("body", b"")
            body = bytes(parts)
        self._hold(len(body), bytes_max)
        self._count()
        return body

    def hold_values(self, values: int) -> None:
        """Hold the memory that decoding so many JSON values takes. Raises `RequestRefused` (503)."""
        if values * VALUE_BYTES > SMALL_BODY_BYTES:
            self._hold_bytes(self._bytes_held + values * VALUE_BYTES)

    def hold_answer(self, total: int) -> None:
        """Hold the memory of so many bytes of the answer. Raises `AnswersTooLarge`."""
        more = total - SMALL_ANSWER_BYTES - self._answer_bytes_held
        if more <= 0:
            return
        if self.load.answer_bytes_held + more > self.load.limits.answers_bytes_max:
            raise AnswersTooLarge
        self.load.answer_bytes_held += more
        self._answer_bytes_held += more

    def release(self) -> None:
        """The answer is complete, or will never be."""
        self.load.bytes_held -= self._bytes_held
        self.load.answer_bytes_held -= self._answer_bytes_held
        self.load.requests -= self._counted
        self._bytes_held, self._answer_bytes_held, self._counted = 0, 0, False

    async def _next(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        return message

    def _hold(self, body_bytes: int, bytes_max: int) -> None:
        if body_bytes > bytes_max:
            raise _too_large(bytes_max)
        if body_bytes > SMALL_BODY_BYTES:
            self._spend(body_bytes)
            self._hold_bytes(body_bytes)

    def _spend(self, body_bytes: int) -> None:
        """Take a large body from the client's budget, as far as it was not taken yet."""
        if body_bytes > max(LARGE_BODY_BYTES, self._bytes_spent):
            self.load.budget.take(self._client, body_bytes - self._bytes_spent)
            self._bytes_spent = body_bytes

    @property
    def _client(self) -> str:
        """Who sends this: a key, else a network."""
        if self.caller.key_id is not None:
            return self.caller.key_id
        client = self.scope.get("client")
        return network_of(client[0]) if client else ""

    def _hold_bytes(self, total: int) -> None:
        more = total - self._bytes_held
        if self.load.bytes_held + more > self.load.limits.bodies_bytes_max:
            raise RequestRefused(503, "too many large requests at once; send it again", "bodies_bytes")
        self.load.bytes_held += more
        self._bytes_held = total

    def _count(self) -> None:
        """Only from here on: clients that send their bodies slowly must not take the others' places."""
        if self.load.requests >= self.load.limits.requests_max:
            raise RequestRefused(503, "too many requests at once; send it again", "requests")
        self.load.requests += 1
        self._counted = True


def header_text(headers: Headers, name: str) -> str:
    """The header's value, empty where there is none. Headers are octets; most clients write UTF-8."""
    value = headers.get(name, "")
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def _too_large(bytes_max: int) -> RequestRefused:
    return RequestRefused(413, f"the body is larger than {bytes_max} bytes", "body_bytes")
