"""Answering one request: read it, have a replica answer it, show the client what it asked for, keep the rest.

Whatever the end, the client gets an answer in OpenAI's form with the headers that say who spoke.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import structlog
from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from opentelemetry import metrics

from serving.gateway.forwarding import Broken, Forwarder, NoReplica, Reply
from serving.gateway.openai_form import (
    CapturedReply,
    RequestedExtras,
    asked,
    complaint,
    deadly,
    sampling_of,
    with_extras,
    without_extras,
)
from serving.gateway.recorder import Capture, Recorder
from serving.gateway.routing import RoutingTable

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("serving")
_answered = _meter.create_counter("clorad.gateway.requests", unit="{request}")
_lasted = _meter.create_histogram(
    "clorad.gateway.request.duration",
    unit="s",
    explicit_bucket_boundaries_advisory=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0),
)

GONE = 499
"""In counts only, after nginx: the client hung up, or the gateway had to end."""

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One request, read and checked."""

    path: str
    agent: str
    body: Mapping[str, Any]  # as the client sent it
    interaction: str
    conversation: str | None
    turn: int | None
    seen: RequestedExtras
    capture: bool
    began_s: float

    @property
    def streams(self) -> bool:
        return self.body.get("stream") is True

    def headers(self, version: str | None = None) -> dict[str, str]:
        """On every answer, good or bad; the version as soon as one has spoken."""
        known = {"x-clorad-agent": self.agent, "x-clorad-interaction": self.interaction}
        return known if version is None else {**known, "x-clorad-version": version}


class RequestRefused(Exception):
    """The request cannot be answered as it is. `text` says why, for the client only."""

    def __init__(self, status: int, text: str, kind: str, **more: str | None) -> None:
        super().__init__(kind)
        self.status, self.body = status, complaint(text, kind, **more)


class Answering:
    """What answering needs, for one event loop."""

    def __init__(
        self,
        table: RoutingTable,
        forwarder: Forwarder,
        captor: Recorder,
        *,
        request_s_max: float,
        body_bytes_max: int,
    ) -> None:
        self._table = table
        self._forwarder = forwarder
        self._captor = captor
        self._request_s_max = request_s_max
        self._body_bytes_max = body_bytes_max

    async def answer(self, request: Request, path: str) -> Response:
        """The answer to a chat or completion request."""
        interaction = uuid4().hex
        try:
            order = await self._order(request, path, interaction)
        except RequestRefused as refusal:
            headers = {"x-clorad-interaction": interaction}
            _answered.add(1, {"status": refusal.status})
            return JSONResponse(refusal.body, refusal.status, headers | _retry(refusal.status))
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(_loop_time(order.began_s + self._request_s_max)):
                    reply = await stack.enter_async_context(self._forward(order))
            except (NoReplica, Broken, TimeoutError) as fault:
                return self._failed(order, fault)
            if reply.events is None:
                return self._whole(order, reply)
            events = self._stream(order, reply, stack.pop_all())
            headers = order.headers(reply.choice.version) | {"cache-control": "no-cache"}
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _order(self, request: Request, path: str, interaction: str) -> Order:
        table = self._table.current
        if table is None:
            raise RequestRefused(503, "the routing is not known yet", "service_unavailable")
        body = _read(await bounded(request, self._body_bytes_max))
        agent = body.get("model")
        if not isinstance(agent, str) or agent not in table.routes:
            said = "model: no such agent here; GET /v1/models lists them"
            raise RequestRefused(404, said, "invalid_request_error", param="model", code="model_not_found")
        if not isinstance(body.get("stream", False), bool):
            raise RequestRefused(400, "stream: true or false", "invalid_request_error", param="stream")
        if (name := deadly(body, chat=path == CHAT)) is not None:
            said = f"{name}: not to be had here, other requests would suffer"
            raise RequestRefused(400, said, "invalid_request_error", param=name)
        turn = request.headers.get("x-clorad-turn", "")
        wanted = table.routes[agent].capture and request.headers.get("x-clorad-capture", "").lower() != "off"
        single = path == CHAT and body.get("n") in (None, 1) and isinstance(body.get("messages"), list)
        return Order(
            path=path,
            agent=agent,
            body=body,
            interaction=interaction,
            conversation=request.headers.get("x-clorad-conversation") or None,
            turn=int(turn) if turn.isdecimal() and len(turn) < 10 else None,
            seen=asked(body),
            capture=wanted and single and self._captor.wants(),
            began_s=time.monotonic(),
        )

    def _forward(self, order: Order) -> AbstractAsyncContextManager[Reply]:
        body = with_extras(order.body) if order.capture else order.body
        conversation = order.conversation or order.interaction
        return self._forwarder.ask(order.path, body, agent=order.agent, conversation=conversation)

    def _whole(self, order: Order, reply: Reply) -> Response:
        version = reply.choice.version
        self._count(order, reply.status)
        headers = order.headers(version)
        answer = reply.body
        if reply.status != 200:
            return JSONResponse(answer, reply.status, headers)
        if order.capture:
            heard = CapturedReply()
            heard.hear(answer["choices"][0])
            self._keep(order, version, heard)
        without_extras(answer, order.seen)
        answer["model"] = order.agent
        return JSONResponse(answer, headers=headers)

    async def _stream(self, order: Order, reply: Reply, stack: AsyncExitStack) -> AsyncIterator[bytes]:
        """The events as the client asked for them; the last one tells of an error, if there was one."""
        assert reply.events is not None
        version, heard, status = reply.choice.version, CapturedReply(), 200
        try:
            async with stack, asyncio.timeout_at(_loop_time(order.began_s + self._request_s_max)):
                async for event in reply.events:
                    yield _event(_shown(event, order, heard))
                yield b"data: [DONE]\n\n"
            if order.capture:
                self._keep(order, version, heard)
        except (Broken, TimeoutError) as fault:
            status = 504 if isinstance(fault, TimeoutError) else 502
            yield _event(complaint("the answer broke off", "api_error", code="broken_stream"))
        except asyncio.CancelledError:
            status = GONE
            raise
        finally:
            self._count(order, status)

    def _failed(self, order: Order, fault: NoReplica | Broken | TimeoutError) -> Response:
        match fault:
            case NoReplica():
                status, said = 503, "no replica can answer for this agent right now"
            case Broken():
                status, said = 502, "the replicas failed on this request"
            case _:
                status, said = 504, f"no answer within {self._request_s_max:.0f} s"
        self._count(order, status)
        log.warning("request failed", agent=order.agent, status=status, fault=type(fault).__name__)
        return JSONResponse(complaint(said, "api_error"), status, order.headers() | _retry(status))

    def _keep(self, order: Order, version: str, heard: CapturedReply) -> None:
        if not heard.complete:
            return
        self._captor.put(
            Capture(
                id=order.interaction,
                agent=order.agent,
                version=version,
                conversation=order.conversation,
                turn=order.turn,
                messages=order.body["messages"],
                sampling=sampling_of(order.body),
                heard=heard,
            )
        )

    def _count(self, order: Order, status: int) -> None:
        _answered.add(1, {"status": status})
        _lasted.record(time.monotonic() - order.began_s)


async def bounded(request: Request, bytes_max: int) -> bytes:
    """The whole body. Raises `RequestRefused` as soon as it is longer than `bytes_max`."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise RequestRefused(413, f"at most {bytes_max} bytes", "invalid_request_error")
    return bytes(body)


def _read(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise RequestRefused(400, "the body is no JSON", "invalid_request_error") from None
    if not isinstance(body, dict):
        raise RequestRefused(400, "the body must be an object", "invalid_request_error")
    return body


def _event(data: dict[str, Any]) -> bytes:
    """As a server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _shown(chunk: dict[str, Any], order: Order, heard: CapturedReply) -> dict[str, Any]:
    for choice in chunk.get("choices") or ():
        if order.capture:
            heard.hear(choice)
    without_extras(chunk, order.seen)
    if "model" in chunk:
        chunk["model"] = order.agent
    return chunk


def _retry(status: int) -> dict[str, str]:
    return {"retry-after": "1"} if status == 503 else {}


def _loop_time(monotonic_s: float) -> float:
    return monotonic_s - time.monotonic() + asyncio.get_running_loop().time()
