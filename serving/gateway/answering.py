"""Answers one request: decodes it, asks a replica, removes what the client did not ask for, captures it.

Every request ends with an answer in OpenAI's form, errors included. Headers name the agent, the version and
the interaction.
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

from feedback.envelope import depth_of
from serving.gateway.forwarding import Forwarder, NoReplica, ReplicasFailed, Reply
from serving.gateway.json_bounds import DEPTH_MAX, VALUES_MAX, count_values
from serving.gateway.openai_form import (
    CapturedReply,
    RequestedExtras,
    error_body,
    harmful_parameter,
    requested_extras,
    sampling_of,
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

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """One request, decoded and checked."""

    path: str
    agent: str
    body: Mapping[str, Any]  # as the client sent it
    interaction: str
    conversation: str | None
    turn: int | None
    extras: RequestedExtras
    capture: bool
    began_s: float  # on the monotonic clock

    @property
    def streams(self) -> bool:
        return self.body.get("stream") is True

    def headers(self, version: str | None = None) -> dict[str, str]:
        """For every answer, errors included; `version` is known once a replica has answered."""
        headers = {"x-clorad-agent": self.agent, "x-clorad-interaction": self.interaction}
        return headers if version is None else {**headers, "x-clorad-version": version}


class RequestRefused(Exception):
    """The request cannot be answered as it is. `body` tells the client why."""

    def __init__(self, status: int, text: str, kind: str, **more: str | None) -> None:
        super().__init__(kind)
        self.status, self.body = status, error_body(text, kind, **more)


class Responder:
    """Answers requests. Belongs to one event loop."""

    def __init__(
        self,
        table: RoutingTable,
        forwarder: Forwarder,
        recorder: Recorder,
        *,
        request_s_max: float,
        body_bytes_max: int,
    ) -> None:
        self._table = table
        self._forwarder = forwarder
        self._recorder = recorder
        self._request_s_max = request_s_max
        self._body_bytes_max = body_bytes_max

    async def respond(self, http: Request, path: str) -> Response:
        """The answer to a chat or completion request."""
        interaction = uuid4().hex
        try:
            request = await self._read(http, path, interaction)
        except RequestRefused as refusal:
            headers = {"x-clorad-interaction": interaction}
            _requests.add(1, {"status": refusal.status})
            return JSONResponse(refusal.body, refusal.status, headers | _retry(refusal.status))
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(_loop_time(request.began_s + self._request_s_max)):
                    reply = await stack.enter_async_context(self._forward(request))
            except (NoReplica, ReplicasFailed, TimeoutError) as fault:
                return self._failed(request, fault)
            if reply.events is None:
                return self._whole(request, reply)
            events = self._stream(request, reply, stack.pop_all())
            headers = request.headers(reply.target.version) | {"cache-control": "no-cache"}
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _read(self, http: Request, path: str, interaction: str) -> AgentRequest:
        table = self._table.current
        if table is None:
            raise RequestRefused(503, "the routing is not known yet", "service_unavailable")
        body = _decode(await read_body(http, self._body_bytes_max))
        agent = body.get("model")
        if not isinstance(agent, str) or agent not in table.routes:
            text = "model: no such agent here; GET /v1/models lists them"
            raise RequestRefused(404, text, "invalid_request_error", param="model", code="model_not_found")
        if not isinstance(body.get("stream"), bool | None):  # null means unset, as in OpenAI's API
            raise RequestRefused(400, "stream: true, false or null", "invalid_request_error", param="stream")
        if (name := harmful_parameter(body, chat=path == CHAT)) is not None:
            text = f"{name}: not available here, it would harm other requests"
            raise RequestRefused(400, text, "invalid_request_error", param=name)
        turn = http.headers.get("x-clorad-turn", "")
        captured = table.routes[agent].capture and http.headers.get("x-clorad-capture", "").lower() != "off"
        single = path == CHAT and body.get("n") in (None, 1) and isinstance(body.get("messages"), list)
        return AgentRequest(
            path=path,
            agent=agent,
            body=body,
            interaction=interaction,
            conversation=http.headers.get("x-clorad-conversation") or None,
            turn=int(turn) if turn.isdecimal() and len(turn) < 10 else None,
            extras=requested_extras(body),
            capture=captured and single and self._recorder.samples_next(),
            began_s=time.monotonic(),
        )

    def _forward(self, request: AgentRequest) -> AbstractAsyncContextManager[Reply]:
        body = with_capture_extras(request.body) if request.capture else request.body
        conversation = request.conversation or request.interaction
        return self._forwarder.ask(request.path, body, agent=request.agent, conversation=conversation)

    def _whole(self, request: AgentRequest, reply: Reply) -> Response:
        version = reply.target.version
        self._count(request, reply.status)
        headers = request.headers(version)
        answer = reply.body
        if reply.status != 200:
            return JSONResponse(answer, reply.status, headers)
        if request.capture:
            captured = CapturedReply()
            captured.add(answer["choices"][0])
            self._capture(request, version, captured)
        without_extras(answer, request.extras)
        answer["model"] = request.agent
        return JSONResponse(answer, headers=headers)

    async def _stream(
        self, request: AgentRequest, reply: Reply, stack: AsyncExitStack
    ) -> AsyncIterator[bytes]:
        """The events that the client asked for. The last one is an error where the answer broke off."""
        assert reply.events is not None
        version, captured, status = reply.target.version, CapturedReply(), 200
        try:
            async with stack, asyncio.timeout_at(_loop_time(request.began_s + self._request_s_max)):
                async for event in reply.events:
                    yield _event(_shown(event, request, captured))
                yield b"data: [DONE]\n\n"
            if request.capture:
                self._capture(request, version, captured)
        except (ReplicasFailed, TimeoutError) as fault:
            status = 504 if isinstance(fault, TimeoutError) else 502
            yield _event(error_body("the answer broke off", "api_error", code="broken_stream"))
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            self._count(request, status)

    def _failed(self, request: AgentRequest, fault: NoReplica | ReplicasFailed | TimeoutError) -> Response:
        match fault:
            case NoReplica():
                status, text = 503, "no replica can answer for this agent right now"
            case ReplicasFailed():
                status, text = 502, "the replicas failed on this request"
            case _:
                status, text = 504, f"no answer within {self._request_s_max:.0f} s"
        self._count(request, status)
        log.warning("request failed", agent=request.agent, status=status, fault=type(fault).__name__)
        return JSONResponse(error_body(text, "api_error"), status, request.headers() | _retry(status))

    def _capture(self, request: AgentRequest, version: str, reply: CapturedReply) -> None:
        if not reply.complete:
            return
        self._recorder.put(
            Capture(
                id=request.interaction,
                agent=request.agent,
                version=version,
                conversation=request.conversation,
                turn=request.turn,
                messages=request.body["messages"],
                sampling=sampling_of(request.body),
                reply=reply,
            )
        )

    def _count(self, request: AgentRequest, status: int) -> None:
        _requests.add(1, {"status": status})
        _durations.record(time.monotonic() - request.began_s)


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body. Raises `RequestRefused` as soon as it exceeds `bytes_max`."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise RequestRefused(413, f"at most {bytes_max} bytes", "invalid_request_error")
    return bytes(body)


def _decode(raw: bytes) -> dict[str, Any]:
    if count_values(raw, enough=VALUES_MAX) > VALUES_MAX:
        text = f"the body holds more than {VALUES_MAX} JSON values"
        raise RequestRefused(400, text, "invalid_request_error", code="too_many_values")
    try:
        body = json.loads(raw)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise RequestRefused(400, "the body is not JSON", "invalid_request_error") from None
    if not isinstance(body, dict):
        raise RequestRefused(400, "the body must be an object", "invalid_request_error")
    if depth_of(body) > DEPTH_MAX:
        raise _too_deep()
    return body


def _too_deep() -> RequestRefused:
    text = f"the body nests lists and objects more than {DEPTH_MAX} levels deep"
    return RequestRefused(400, text, "invalid_request_error", code="too_deep")


def _event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _shown(chunk: dict[str, Any], request: AgentRequest, captured: CapturedReply) -> dict[str, Any]:
    for choice in chunk.get("choices") or ():
        if request.capture:
            captured.add(choice)
    without_extras(chunk, request.extras)
    if "model" in chunk:
        chunk["model"] = request.agent
    return chunk


def _retry(status: int) -> dict[str, str]:
    return {"retry-after": "1"} if status == 503 else {}


def _loop_time(monotonic_s: float) -> float:
    return monotonic_s - time.monotonic() + asyncio.get_running_loop().time()
