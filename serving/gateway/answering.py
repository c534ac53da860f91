"""Answers one request: decodes it, asks a replica, removes what the client did not ask for, captures it.

Every request ends with an answer in OpenAI's form, errors included. Headers name the agent, the version and
the interaction.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import structlog
from opentelemetry import metrics
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ledger.events import Signal
from serving.gateway.agent_request import AgentRequest
from serving.gateway.answer_signs import AnswerSigns
from serving.gateway.captured_parts import CapturedReply, request_of, restrictions_of, sampling_of
from serving.gateway.edge.errors import RequestRefused, error_body
from serving.gateway.edge.http_request import HttpRequest
from serving.gateway.edge.json_text import LARGE_BYTES, count_request, decode_request
from serving.gateway.edge.limits import GatewayLimits
from serving.gateway.edge.request_fields import CHAT, FieldRules
from serving.gateway.forwarding import Forwarder, NoReplica, ReplicasFailed, Reply
from serving.gateway.live_counter import LiveCounter
from serving.gateway.openai_form import (
    harmful_parameter,
    requested_extras,
    with_capture_extras,
    without_extras,
)
from serving.gateway.recorder import Capture, Recorder
from serving.gateway.routing import RoutingTable

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("serving")
_requests = _meter.create_counter(
    "clorad.gateway.requests", unit="{request}", description="requests answered or refused"
)
_durations = _meter.create_histogram(
    "clorad.gateway.request.duration",
    unit="s",
    description="seconds from a request to the end of its answer",
    explicit_bucket_boundaries_advisory=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0),
)

CLIENT_GONE = 499
"""In metrics only; nginx uses this number. The client closed its connection, or the gateway had to end."""

MODELS = "/v1/models"
_LAST_EVENT_S_MAX = 1.0  # for a client that reads too slowly to be told that its answer broke off


class Responder:
    """Answers requests. Belongs to one event loop."""

    def __init__(
        self,
        table: RoutingTable,
        forwarder: Forwarder,
        recorder: Recorder,
        live: LiveCounter,
        *,
        limits: GatewayLimits,
        fields: FieldRules,
        request_s_max: float,
    ) -> None:
        self._table = table
        self._forwarder = forwarder
        self._recorder = recorder
        self._limits = limits
        self._live = live
        self._fields = fields
        self._request_s_max = request_s_max

    async def respond(self, http: HttpRequest, path: str) -> ASGIApp:
        """The answer to a chat or completion request. Raises `RequestRefused`."""
        try:
            request = await self._read(http, path)
        except RequestRefused as refusal:
            _requests.add(1, {"status": refusal.status})
            refusal.headers["x-clorad-interaction"] = http.id
            raise
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout_at(_loop_time(request.began_s + self._request_s_max)):
                        reply = await stack.enter_async_context(self._forward(request))
                except (NoReplica, ReplicasFailed, TimeoutError) as fault:
                    return self._failed(request, fault)
                if reply.events is None:
                    return self._whole(request, reply)
                return partial(self._send_stream, request, reply, stack.pop_all())
        except asyncio.CancelledError:
            self._count(request, CLIENT_GONE)
            raise

    async def _read(self, http: HttpRequest, path: str) -> AgentRequest:
        table = self._table.current
        if table is None:
            raise RequestRefused(503, "the routing is not known yet", "no_routing")
        raw = await http.body(self._limits.body_bytes_max)
        http.hold_values(await count_request(raw, self._limits))
        body, dropped = self._fields.apply(path, await decode_request(raw, self._limits))
        agent = body.get("model")
        if isinstance(agent, str):
            http.caller.require_agent(agent)
        if not isinstance(agent, str) or agent not in table.routes:
            raise no_such_agent()
        if not isinstance(body.get("stream", False), bool):
            raise RequestRefused(400, "stream: true, false or null", "field", param="stream")
        if (name := harmful_parameter(body, chat=path == CHAT)) is not None:
            text = f"{name}: not available here, it would harm other requests"
            raise RequestRefused(400, text, "field", param=name)
        headers = http.headers
        turn = headers.get("x-clorad-turn", "")
        return AgentRequest(
            path=path,
            agent=agent,
            body=body,
            dropped=dropped,
            body_bytes=len(raw),
            interaction=http.id,
            conversation=headers.get("x-clorad-conversation") or None,
            turn=int(turn) if turn.isdecimal() and len(turn) < 10 else None,
            extras=requested_extras(body),
            capture=table.routes[agent].capture and self._captures(path, body, headers),
            began_s=time.monotonic(),
        )

    def _captures(self, path: str, body: Mapping[str, Any], headers: Headers) -> bool:
        """Whether this interaction is to be captured; what cannot be is counted."""
        if headers.get("x-clorad-capture", "").lower() == "off":
            return False
        if path != CHAT:
            self._recorder.count("completions")
        elif body.get("n", 1) != 1:
            self._recorder.count("several_choices")
        elif isinstance(body.get("messages"), list):  # otherwise the replica refuses it
            return self._recorder.samples_next()
        return False

    def _forward(self, request: AgentRequest) -> AbstractAsyncContextManager[Reply]:
        body = with_capture_extras(request.body) if request.capture else request.body
        return self._forwarder.ask(
            request.path,
            body,
            agent=request.agent,
            conversation=request.routed_by,
            large=request.body_bytes >= LARGE_BYTES,
        )

    def _whole(self, request: AgentRequest, reply: Reply) -> ASGIApp:
        version = reply.target.version
        self._count(request, reply.status)
        headers = request.headers(version)
        answer = reply.body
        if reply.status != 200:
            return JSONResponse(answer, reply.status, headers)
        signs = AnswerSigns()
        signs.add(answer["choices"])
        self._live.answered(request.agent, reply.target, request.routed_by, signs.signals(request.body))
        if request.capture:
            captured = CapturedReply()
            captured.add(answer)
            self._capture(request, version, captured)
        without_extras(answer, request.extras)
        answer["model"] = request.agent
        return JSONResponse(answer, headers=headers)

    async def _send_stream(
        self,
        request: AgentRequest,
        reply: Reply,
        stack: AsyncExitStack,
        _scope: Scope,
        _receive: Receive,
        send: Send,
    ) -> None:
        """Send the events that the client asked for; the last one is an error where the answer broke off."""
        assert reply.events is not None
        version, captured, status = reply.target.version, CapturedReply(), 200
        headers = request.headers(version) | {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
        }
        signs = AnswerSigns()
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            async with stack:
                try:
                    async with asyncio.timeout_at(_loop_time(request.began_s + self._request_s_max)):
                        await send({"type": "http.response.start", "status": 200, "headers": encoded})
                        async for event in reply.events:
                            signs.add(event.get("choices"))
                            await send(_part(_event(_shown(event, request, captured))))
                        await send(_part(b"data: [DONE]\n\n"))
                    signals = signs.signals(request.body)
                    self._live.answered(request.agent, reply.target, request.routed_by, signals)
                    if request.capture:
                        self._capture(request, version, captured)
                except (ReplicasFailed, TimeoutError) as fault:
                    status = 504 if isinstance(fault, TimeoutError) else 502
                    self._live.answered(request.agent, reply.target, request.routed_by, [Signal.ERROR])
                    error = error_body("the answer broke off", "api_error", code="broken_stream")
                    async with asyncio.timeout(_LAST_EVENT_S_MAX):
                        await send(_part(_event(error)))
                await send({"type": "http.response.body", "body": b""})
        except (asyncio.CancelledError, TimeoutError) as fault:
            status = CLIENT_GONE
            if isinstance(fault, asyncio.CancelledError):
                raise
        finally:
            if status != 200 and request.capture:
                self._recorder.count("unfinished")
            self._count(request, status)

    def _failed(self, request: AgentRequest, fault: NoReplica | ReplicasFailed | TimeoutError) -> ASGIApp:
        match fault:
            case NoReplica():
                refusal = RequestRefused(503, "no replica can answer for this agent right now", "no_replica")
            case ReplicasFailed():
                refusal = RequestRefused(502, "the replicas failed on this request", "replicas_failed")
            case _:
                text = f"no answer within {self._request_s_max:.0f} s"
                refusal = RequestRefused(504, text, "too_slow")
        self._count(request, refusal.status)
        if refusal.status != 503 and (table := self._table.current):  # a replica had it
            self._live.failed(table.routes.get(request.agent), request.routed_by)
        log.warning("request failed", agent=request.agent, status=refusal.status, fault=type(fault).__name__)
        return JSONResponse(refusal.body, refusal.status, request.headers() | refusal.headers)

    def _capture(self, request: AgentRequest, version: str, reply: CapturedReply) -> None:
        if reply.flaw is not None:
            self._recorder.count(reply.flaw)
            return
        self._recorder.put(
            Capture(
                id=request.interaction,
                agent=request.agent,
                version=version,
                conversation=request.conversation,
                turn=request.turn,
                messages=request.body["messages"],
                messages_bytes_max=request.body_bytes,
                sampling=sampling_of(request.body),
                request=request_of(request.body),
                restrictions=restrictions_of(request.body),
                reply=reply,
            )
        )

    def _count(self, request: AgentRequest, status: int) -> None:
        _requests.add(1, {"status": status})
        _durations.record(time.monotonic() - request.began_s)


def no_such_agent() -> RequestRefused:
    """The 404 that OpenAI's clients expect for a model that does not exist."""
    text = f"model: no such agent here; GET {MODELS} lists them"
    return RequestRefused(404, text, "model", param="model", code="model_not_found")


def _event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _part(octets: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": octets, "more_body": True}


def _shown(chunk: dict[str, Any], request: AgentRequest, captured: CapturedReply) -> dict[str, Any]:
    if request.capture:
        captured.add(chunk)
    without_extras(chunk, request.extras)
    if "model" in chunk:
        chunk["model"] = request.agent
    return chunk


def _loop_time(monotonic_s: float) -> float:
    return monotonic_s - time.monotonic() + asyncio.get_running_loop().time()
