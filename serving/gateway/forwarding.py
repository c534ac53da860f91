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
from functools import partial
from types import MappingProxyType
from typing import Any

import aiohttp
import structlog
from opentelemetry import metrics

from serving.gateway.agent_request import AgentRequest
from serving.gateway.edge.answer_bytes import AnswerTooLarge, whole_answer
from serving.gateway.edge.json_text import beside, encode
from serving.gateway.edge.limits import LARGE_BODY_BYTES
from serving.gateway.event_stream import read_events
from serving.gateway.forms.answer_form import AnswerPart
from serving.gateway.openai_form import UnreadableReply, read_json
from serving.gateway.routing import RouteChoice, RouteTarget, RoutingTable

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

NOT_IMPLEMENTED = 501
"""A replica has the path, but not for its model. That is nobody's fault, and the client is told."""

AVOIDED_S = 1.0
"""Seconds for which a replica that broke off or was unreadable is asked last: the fleet role must notice."""

_RECHECK_S = 0.1
_REREAD_S_MAX = 1.0
_CONNECT_S_MAX = 2.0
_KEEP_ALIVE_S_MAX = 4.0  # below uvicorn's 5 s: never pick a connection the server is about to close


class NoReplica(Exception):
    """No replica could take the request in time. The client gets a 503 and may try again."""


class PathMissing(Exception):
    """No replica that could answer has the path. The client gets a 404."""


class ReplicasFailed(Exception):
    """Replicas failed too often, or one broke off after its first byte. The client gets a 502."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """One replica's answer, decoded: a whole `answer`, an `error`, or `events` still arriving."""

    target: RouteTarget
    status: int
    answer: AnswerPart | None = None
    error: Any = None
    events: AsyncIterator[AnswerPart] | None = None


@dataclass(slots=True)
class Forwarder:
    """Connections to the replicas, and how many requests each has in flight. Belongs to one event loop."""

    table: RoutingTable
    session: aiohttp.ClientSession
    wait_s_max: float  # for a replica to come up; then the request is refused
    answer_bytes_max: int  # of one answer, streams too
    api_keys: Mapping[str, str] = field(default_factory=dict)  # of replicas that ask for one, by URL
    in_flight: Counter[str] = field(default_factory=Counter)
    _avoided_until_s: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def ask(
        self, request: AgentRequest, body: Mapping[str, Any], *, choice: RouteChoice
    ) -> AsyncIterator[Reply]:
        """The answer of a replica that has the model; a stream has arrived up to its first event.

        `body` is what the replica gets. Raises `KeyError` (no such agent), `NoReplica`, `PathMissing`,
        `ReplicasFailed`, `AnswersTooLarge`. The caller bounds the time.
        """
        attempts = _Attempts(until_s=time.monotonic() + self.wait_s_max)
        while True:
            target = await self._next(attempts, request.agent, choice)
            self.in_flight[target.url] += 1
            try:
                async with AsyncExitStack() as stack:
                    reply = await self._attempt(stack, request, body, target, attempts)
                    if reply is not None:
                        yield reply
                        return
            finally:
                self.in_flight[target.url] -= 1
            _retried.add(1)

    async def _next(self, attempts: "_Attempts", agent: str, choice: RouteChoice) -> RouteTarget:
        """The next replica to ask; waits while there is none. Raises `NoReplica`, `PathMissing`."""
        while True:
            table = self.table.current
            assert table is not None, "checked by the gateway before it forwards"
            failed = attempts.failed | attempts.without_path
            for avoid in (failed | self._avoided(), failed):
                target = choice(table, agent, in_flight=self.in_flight, avoid=avoid)
                if target is not None:
                    return target
            if attempts.without_path and not attempts.failed:
                raise PathMissing(agent)
            if time.monotonic() > attempts.until_s:
                raise NoReplica(agent)
            await self._refresh()
            await asyncio.sleep(_RECHECK_S)
            attempts.failed.clear()  # a replica that failed a moment ago may be back

    async def _attempt(
        self,
        stack: AsyncExitStack,
        request: AgentRequest,
        body: Mapping[str, Any],
        target: RouteTarget,
        attempts: "_Attempts",
    ) -> Reply | None:
        """One replica's answer; None where another replica must be asked."""
        form, hold = request.form, request.hold
        large = request.body_bytes >= LARGE_BODY_BYTES  # then it is encoded beside the event loop
        data = await encode({**body, "model": target.model}, large=large)
        try:
            # Redirects are not followed: another server must not get the replica's key.
            answer = await stack.enter_async_context(
                self.session.post(
                    target.url + form.path,
                    data=data,
                    headers=self._headers(target.url),
                    allow_redirects=False,
                )
            )
            status, events = answer.status, None
            if status in WRONG_KEY:  # our key, not the client's: it could do nothing about it
                raise _ReplicaKeyRefusedError(status)
            if status == 200 and form.is_conversation and body.get("stream"):
                events = read_events(answer.content, form, bytes_max=self.answer_bytes_max)
                first = await anext(events)
                status = first.error_status or status
            if answer.status == 404 and _lacks_path(
                await whole_answer(answer.content, self.answer_bytes_max, hold)
            ):
                attempts.without_path.add(target.url)
                return None
            if status == 404:  # the replica no longer has the model: the table is old
                attempts.failed.add(target.url)
                await self._refresh()
                return None
            if status >= 500 and status != NOT_IMPLEMENTED:
                attempts.fail(target.url, f"status {status}")
                return None
            if events is not None and status == 200:
                return Reply(target=target, status=200, events=self._chain(first, events, target.url))
            if events is not None:
                return Reply(target=target, status=status, error=first.data)
            raw = await whole_answer(answer.content, self.answer_bytes_max, hold)
            if status == 200:
                read = await beside(len(raw), partial(form.read_answer, raw))
                return Reply(target=target, status=200, answer=read)
            return Reply(target=target, status=status, error=read_json(raw))
        except AnswerTooLarge as fault:  # another replica would answer the same request as long
            raise ReplicasFailed(str(fault)) from None
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
        self, first: AnswerPart, later: AsyncIterator[AnswerPart], url: str
    ) -> AsyncIterator[AnswerPart]:
        """All events.

        Raises `ReplicasFailed` if the replica breaks off, becomes unreadable or reports an error: the events
        before that are not an answer.
        """
        yield first
        try:
            async for event in later:
                if event.error_status is not None:
                    raise _ErrorEventError(event.error_status)
                yield event
        except _ErrorEventError as error:
            if error.status >= 500:  # other errors are caused by the request
                self._avoid(url, error)
            raise ReplicasFailed(f"status {error.status}") from None
        except AnswerTooLarge as fault:
            raise ReplicasFailed(str(fault)) from None
        except (aiohttp.ClientError, TimeoutError, UnreadableReply) as fault:
            self._avoid(url, fault)
            raise ReplicasFailed(type(fault).__name__) from None

    def _headers(self, url: str) -> dict[str, str]:
        """What a replica gets; of the client's own headers nothing, least of all its key."""
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
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


def _lacks_path(body: bytes) -> bool:
    """Whether this 404 is about the path (FastAPI's own answer), not about the model."""
    try:
        return bool(read_json(body) == {"detail": "Not Found"})
    except UnreadableReply:
        return False


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
    without_path: set[str] = field(default_factory=set)
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
    answer_bytes_max: int,
    api_keys: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Forwarder]:
    """A forwarder whose connections are closed at the end of the block."""
    connector = aiohttp.TCPConnector(limit=connections_max, keepalive_timeout=_KEEP_ALIVE_S_MAX)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S_MAX)
    # Answers are not unpacked: a small one could unpack to gigabytes.
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, trust_env=False, auto_decompress=False
    ) as session:
        yield Forwarder(table, session, wait_s_max, answer_bytes_max, api_keys)
