"""Sends one request to a replica, and to another one if that fails before the client has received a byte.

Generation has no side effects, so the gateway may ask a second replica. After the first byte it never does:
the client would read a mix of two answers.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import aiohttp
import structlog
from opentelemetry import metrics

from serving.gateway.edge.json_text import encode
from serving.gateway.event_stream import EventDecoder
from serving.gateway.openai_form import UnreadableReply, error_status, read_answer, read_chunk, read_json
from serving.gateway.routing import RouteTarget, RoutingTable, choose

log = structlog.get_logger(__name__)
_retried = metrics.get_meter("serving").create_counter(
    "clorad.gateway.requests.retried",
    unit="{request}",
    description="requests that failed at one replica and were sent to another",
)

FAILURES_MAX = 3
"""Failed answers (5xx, unreadable, connections that break) after which the client gets a 502.

The request is then the likely cause: one that ends a replica must not be given to all of them, and to each
again after its restart.
"""

WRONG_KEY = (401, 403)
"""How a replica, or a proxy before it, answers a request without the key that it was started with."""

AVOIDED_S = 1.0
"""Seconds for which a replica that broke off or was unreadable is asked last: the fleet role must notice."""

_RECHECK_S = 0.1
_REREAD_S_MAX = 1.0
_CONNECT_S_MAX = 2.0
_KEEP_ALIVE_S_MAX = 4.0  # below uvicorn's 5 s: never pick a connection the server is about to close
_EVENT_BYTES_MAX = 16 * 1024 * 1024


class NoReplica(Exception):
    """No replica could take the request in time. The client gets a 503 and may try again."""


class ReplicasFailed(Exception):
    """Replicas failed too often, or one broke off after its first byte. The client gets a 502."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """One replica's answer, decoded: either `body`, read to its end, or `events` still arriving."""

    target: RouteTarget
    status: int
    body: Any = None  # of status 200: an object with choices
    events: AsyncIterator[dict[str, Any]] | None = None


@dataclass(slots=True)
class Forwarder:
    """Connections to the replicas, and how many requests each has in flight. Belongs to one event loop."""

    table: RoutingTable
    session: aiohttp.ClientSession
    wait_s_max: float  # for a replica to come up; then the request is refused
    api_keys: Mapping[str, str] = field(default_factory=dict)  # of replicas that ask for one, by URL
    in_flight: Counter[str] = field(default_factory=Counter)
    _avoided_until_s: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def ask(
        self, path: str, body: Mapping[str, Any], *, agent: str, conversation: str, large: bool
    ) -> AsyncIterator[Reply]:
        """The answer of a replica that has the model; a stream has arrived up to its first event.

        `large`: the body is encoded beside the event loop. Raises `KeyError` (no such agent), `NoReplica`,
        `ReplicasFailed`. The caller bounds the time.
        """
        attempts = _Attempts(until_s=time.monotonic() + self.wait_s_max)
        while True:
            target = await self._next(attempts, agent, conversation)
            self.in_flight[target.url] += 1
            try:
                async with AsyncExitStack() as stack:
                    reply = await self._attempt(stack, path, body, target, attempts, large=large)
                    if reply is not None:
                        yield reply
                        return
            finally:
                self.in_flight[target.url] -= 1
            _retried.add(1)

    async def _next(self, attempts: "_Attempts", agent: str, conversation: str) -> RouteTarget:
        """The next replica to ask; waits while there is none. Raises `NoReplica`."""
        while True:
            table = self.table.current
            assert table is not None, "checked by the gateway before it forwards"
            for avoid in (attempts.failed | self._avoided(), attempts.failed):
                target = choose(
                    table, agent, conversation=conversation, in_flight=self.in_flight, avoid=avoid
                )
                if target is not None:
                    return target
            if time.monotonic() > attempts.until_s:
                raise NoReplica(agent)
            await self._refresh()
            await asyncio.sleep(_RECHECK_S)
            attempts.failed.clear()  # a replica that failed a moment ago may be back

    async def _attempt(
        self,
        stack: AsyncExitStack,
        path: str,
        body: Mapping[str, Any],
        target: RouteTarget,
        attempts: "_Attempts",
        *,
        large: bool,
    ) -> Reply | None:
        """One replica's answer; None where another replica must be asked."""
        data = await encode({**body, "model": target.model}, large=large)
        try:
            # Redirects are not followed: another server must not get the replica's key.
            answer = await stack.enter_async_context(
                self.session.post(
                    target.url + path, data=data, headers=self._headers(target.url), allow_redirects=False
                )
            )
            status, events = answer.status, None
            if status in WRONG_KEY:  # our key, not the client's: it could do nothing about it
                raise _ReplicaKeyRefusedError(status)
            if status == 200 and body.get("stream"):
                events = _events(answer)
                first = await anext(events)
                status = error_status(first) or status
            if status == 404:  # the replica no longer has the model: the table is old
                attempts.failed.add(target.url)
                await self._refresh()
                return None
            if status >= 500:
                attempts.fail(target.url, f"status {status}")
                return None
            if events is not None and status == 200:
                return Reply(target=target, status=200, events=self._chain(first, events, target.url))
            if events is not None:
                return Reply(target=target, status=status, body=first)
            raw = await answer.read()
            decoded = read_answer(raw) if answer.status == 200 else read_json(raw)
            return Reply(target=target, status=answer.status, body=decoded)
        except UnreadableReply as fault:
            self._avoid(target.url, fault)
            attempts.fail(target.url, str(fault))
            return None
        except aiohttp.ClientConnectorError as fault:  # the replica never saw the request
            self._avoid(target.url, fault)
            attempts.failed.add(target.url)
            return None
        except (aiohttp.ClientError, TimeoutError, StopAsyncIteration, _ReplicaKeyRefusedError) as fault:
            self._avoid(target.url, fault)
            attempts.fail(target.url, type(fault).__name__)
            return None

    async def _chain(
        self, first: dict[str, Any], later: AsyncIterator[dict[str, Any]], url: str
    ) -> AsyncIterator[dict[str, Any]]:
        """All events.

        Raises `ReplicasFailed` if the replica breaks off, becomes unreadable or reports an error: the events
        before that are not an answer.
        """
        yield first
        try:
            async for event in later:
                if (status := error_status(event)) is not None:
                    raise _ErrorEventError(status)
                yield event
        except _ErrorEventError as error:
            if error.status >= 500:  # other errors are caused by the request
                self._avoid(url, error)
            raise ReplicasFailed(f"status {error.status}") from None
        except (aiohttp.ClientError, TimeoutError, UnreadableReply) as fault:
            self._avoid(url, fault)
            raise ReplicasFailed(type(fault).__name__) from None

    def _headers(self, url: str) -> dict[str, str]:
        """What a replica gets; of the client's own headers nothing, least of all its key."""
        headers = {"content-type": "application/json"}
        if (api_key := self.api_keys.get(url)) is not None:
            headers["authorization"] = f"Bearer {api_key}"
        return headers

    def _avoid(self, url: str, fault: Exception) -> None:
        unreadable = str(fault) if isinstance(fault, UnreadableReply) else None
        log.info("replica broke off", replica=url, fault=type(fault).__name__, unreadable=unreadable)
        self._avoided_until_s[url] = time.monotonic() + AVOIDED_S

    async def _refresh(self) -> None:
        """Read the ledger now. One that does not answer delays the request by `_REREAD_S_MAX` at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self.table.refresh), _REREAD_S_MAX)

    def _avoided(self) -> set[str]:
        now = time.monotonic()
        return {url for url, until_s in self._avoided_until_s.items() if now < until_s}


class _ReplicaKeyRefusedError(Exception):
    """A replica does not take the key in the settings. The fleet role takes it out of rotation."""


class _ErrorEventError(Exception):
    """A replica reported an error in the middle of its answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True, kw_only=True)
class _Attempts:
    """The replicas one request was sent to so far."""

    until_s: float
    failed: set[str] = field(default_factory=set)
    failures: int = 0

    def fail(self, url: str, why: str) -> None:
        """Count a failed answer. Raises `ReplicasFailed` at the last one that is allowed."""
        self.failed.add(url)
        self.failures += 1
        if self.failures >= FAILURES_MAX:
            raise ReplicasFailed(why)


@asynccontextmanager
async def open_forwarder(
    table: RoutingTable,
    *,
    connections_max: int,
    wait_s_max: float,
    api_keys: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Forwarder]:
    """A forwarder whose connections are closed at the end of the block."""
    connector = aiohttp.TCPConnector(limit=connections_max, keepalive_timeout=_KEEP_ALIVE_S_MAX)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S_MAX)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        yield Forwarder(table, session, wait_s_max, api_keys)


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Each server-sent event before `[DONE]`.

    Raises `UnreadableReply`, and `ClientPayloadError` where the stream ends too early.
    """
    decoder = EventDecoder()
    async for part in answer.content.iter_any():
        for data in decoder.feed(part):
            if data == b"[DONE]":
                return
            yield read_chunk(data)
        if decoder.held_bytes > _EVENT_BYTES_MAX:
            break
    raise aiohttp.ClientPayloadError("the stream ended early")
