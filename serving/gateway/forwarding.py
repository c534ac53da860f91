"""One request to one replica, and to another one if it fails before the client has seen a byte.

Generating has no side effects, so asking again elsewhere is always safe; after the first byte it would
mix two answers, and is never done.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import structlog
from opentelemetry import metrics

from serving.gateway.openai_form import Garbled, answer_in, chunk_in, error_status, json_in
from serving.gateway.routing import RouteTarget, RoutingTable, choose

log = structlog.get_logger(__name__)
_retried = metrics.get_meter("serving").create_counter("clorad.gateway.requests.retried", unit="{request}")

FAILURES_MAX = 3
"""Answers of status 5xx, or of no sense, until the client is told: by then the request is to blame."""

RESTING_S = 1.0
"""A replica that broke off, or made no sense, is asked last for so long: the fleet role must notice first."""

_LOOK_AGAIN_S = 0.1
_REREAD_S_MAX = 1.0
_CONNECT_S_MAX = 2.0
_KEEP_ALIVE_S_MAX = 4.0  # below uvicorn's 5 s: never pick a connection the server is about to close
_EVENT_BYTES_MAX = 16 * 1024 * 1024


class NoReplica(Exception):
    """Nobody could answer in time. Nothing was said; the client may try again."""


class Broken(Exception):
    """The replica broke off, or failed again and again. After the first byte there is no other way."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """One replica's answer, decoded: either `body`, read to its end, or `events` still arriving."""

    choice: RouteTarget
    status: int
    body: Any = None  # of status 200: an object with choices
    events: AsyncIterator[dict[str, Any]] | None = None


@dataclass(slots=True)
class Forwarder:
    """The connections to the replicas and how busy each is. Lives on one event loop."""

    table: RoutingTable
    session: aiohttp.ClientSession
    wait_s_max: float  # for a replica to come up, before a request is refused
    in_flight: Counter[str] = field(default_factory=Counter)
    _resting_until_s: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def ask(
        self, path: str, body: Mapping[str, Any], *, agent: str, conversation: str
    ) -> AsyncIterator[Reply]:
        """The answer of whoever can give it; a streaming one has arrived up to its first event.

        Raises `KeyError` (no such agent), `NoReplica`, `Broken`. The caller bounds the time.
        """
        search = _Search(until_s=time.monotonic() + self.wait_s_max)
        while True:
            choice = await self._next(search, agent, conversation)
            self.in_flight[choice.url] += 1
            try:
                async with AsyncExitStack() as stack:
                    reply = await self._attempt(stack, path, body, choice, search)
                    if reply is not None:
                        yield reply
                        return
            finally:
                self.in_flight[choice.url] -= 1
            _retried.add(1)

    async def _next(self, search: "_Search", agent: str, conversation: str) -> RouteTarget:
        """The next replica to try; waits while there is none."""
        while True:
            table = self.table.current
            assert table is not None, "checked by the gateway before it forwards"
            for avoid in (search.failed | self._resting(), search.failed):
                choice = choose(
                    table, agent, conversation=conversation, in_flight=self.in_flight, avoid=avoid
                )
                if choice is not None:
                    return choice
            if time.monotonic() > search.until_s:
                raise NoReplica(agent)
            await self._reread()
            await asyncio.sleep(_LOOK_AGAIN_S)
            search.failed.clear()  # whoever failed a moment ago may be back

    async def _attempt(
        self,
        stack: AsyncExitStack,
        path: str,
        body: Mapping[str, Any],
        choice: RouteTarget,
        search: "_Search",
    ) -> Reply | None:
        """One replica's answer; None if another one must be tried."""
        data = json.dumps({**body, "model": choice.model}).encode()
        headers = {"content-type": "application/json"}
        try:
            answer = await stack.enter_async_context(
                self.session.post(choice.url + path, data=data, headers=headers)
            )
            status, events = answer.status, None
            if status == 200 and body.get("stream"):
                events = _events(answer)
                first = await anext(events)
                status = error_status(first) or status
            if status == 404:  # it does not have the model (any more): what we know is old
                search.failed.add(choice.url)
                await self._reread()
                return None
            if status >= 500:
                search.fail(choice.url, f"status {status}")
                return None
            if events is not None and status == 200:
                return Reply(choice=choice, status=200, events=self._chain(first, events, choice.url))
            if events is not None:
                return Reply(choice=choice, status=status, body=first)
            raw = await answer.read()
            decoded = answer_in(raw) if answer.status == 200 else json_in(raw)
            return Reply(choice=choice, status=answer.status, body=decoded)
        except Garbled as fault:
            self._rest(choice.url, fault)
            search.fail(choice.url, str(fault))
            return None
        except (aiohttp.ClientError, TimeoutError, StopAsyncIteration) as fault:
            self._rest(choice.url, fault)
            search.failed.add(choice.url)
            return None

    async def _chain(
        self, first: dict[str, Any], rest: AsyncIterator[dict[str, Any]], url: str
    ) -> AsyncIterator[dict[str, Any]]:
        """All events; raises `Broken` where the replica broke off, went on in no sense, or told of an error:
        what was said until then is no answer."""
        yield first
        try:
            async for event in rest:
                if (status := error_status(event)) is not None:
                    raise _ErrorToldError(status)
                yield event
        except _ErrorToldError as error:
            if error.status >= 500:  # of any other the request is to blame
                self._rest(url, error)
            raise Broken(f"status {error.status}") from None
        except (aiohttp.ClientError, TimeoutError, Garbled) as fault:
            self._rest(url, fault)
            raise Broken(type(fault).__name__) from None

    def _rest(self, url: str, fault: Exception) -> None:
        garbled = str(fault) if isinstance(fault, Garbled) else None
        log.info("replica broke off", replica=url, fault=type(fault).__name__, garbled=garbled)
        self._resting_until_s[url] = time.monotonic() + RESTING_S

    async def _reread(self) -> None:
        """Look at the ledger now; a ledger that is away must not hold up the request."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self.table.refresh), _REREAD_S_MAX)

    def _resting(self) -> set[str]:
        now = time.monotonic()
        return {url for url, until_s in self._resting_until_s.items() if now < until_s}


class _ErrorToldError(Exception):
    """A replica told of an error in the middle of its answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True, kw_only=True)
class _Search:
    """Where one request has been so far."""

    until_s: float
    failed: set[str] = field(default_factory=set)
    failures: int = 0

    def fail(self, url: str, why: str) -> None:
        """It answered, and not with an answer. Raises `Broken` once that happened too often."""
        self.failed.add(url)
        self.failures += 1
        if self.failures >= FAILURES_MAX:
            raise Broken(why)


@asynccontextmanager
async def forwarding(
    table: RoutingTable, *, connections_max: int, wait_s_max: float
) -> AsyncIterator[Forwarder]:
    """A forwarder with its connections, closed at the end of the block."""
    connector = aiohttp.TCPConnector(limit=connections_max, keepalive_timeout=_KEEP_ALIVE_S_MAX)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S_MAX)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        yield Forwarder(table, session, wait_s_max)


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Each server-sent event before the one that says it is done.

    Raises `Garbled`, and `ClientPayloadError` where the stream ends too early.
    """
    held = b""
    async for part in answer.content.iter_any():
        *whole, held = (held + part).split(b"\n\n")
        for event in whole:
            if event == b"data: [DONE]":
                return
            if event.startswith(b"data: "):
                yield chunk_in(event.removeprefix(b"data: "))
        if len(held) > _EVENT_BYTES_MAX:
            break
    raise aiohttp.ClientPayloadError("the stream ended early")
