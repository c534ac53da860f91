"""Answers one request: decodes it, asks a replica, removes what the client did not ask for, captures it.

Every request ends with an answer in the form of its path, errors included. Headers name the agent, the
version and the interaction.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import structlog
from opentelemetry import metrics
from starlette.types import ASGIApp, Receive, Scope, Send

from ledger.access.rights import Right
from ledger.events import Signal
from serving.gateway.agent_request import AgentRequest
from serving.gateway.answer_signs import AnswerSigns
from serving.gateway.captured_parts import (
    UNCHANGED,
    CapturedAnswer,
    choice_name,
    request_of,
    restrictions_of,
    sampling_of,
)
from serving.gateway.edge.answer_bytes import AnswersTooLarge
from serving.gateway.edge.errors import RequestRefused, count_refusal
from serving.gateway.edge.http_request import HttpRequest, header_text
from serving.gateway.edge.json_text import count_request, decode_request, json_response
from serving.gateway.edge.limits import GatewayLimits
from serving.gateway.edge.request_fields import FieldRules
from serving.gateway.forms.answer_form import AnswerForm, AnswerPart
from serving.gateway.forwarding import Forwarder, NoReplica, PathMissing, ReplicasFailed, Reply
from serving.gateway.live_counter import LiveCounter
from serving.gateway.openai_form import requested_extras
from serving.gateway.recorder import Capture, Recorder
from serving.gateway.routing import RoutingTable, choose

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

FAULTS = (NoReplica, PathMissing, ReplicasFailed, AnswersTooLarge, TimeoutError)
"""Why a request that was read has no answer."""

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
        sampling_defaults: Mapping[str, Any] = UNCHANGED,
    ) -> None:
        self._table = table
        self._forwarder = forwarder
        self._recorder = recorder
        self._limits = limits
        self._live = live
        self._fields = fields
        self._request_s_max = request_s_max
        self._sampling_defaults = sampling_defaults

    async def respond(self, http: HttpRequest, form: AnswerForm) -> ASGIApp:
        """The answer to a request of this form. Raises `RequestRefused`."""
        try:
            request = await self._read(http, form)
        except RequestRefused as refusal:
            _requests.add(1, {"status": refusal.status})
            refusal.headers["x-clorad-interaction"] = http.id
            raise
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout_at(_loop_time(request.began_s + self._request_s_max)):
                        reply = await stack.enter_async_context(self._forward(request))
                except FAULTS as fault:
                    return self._failed(request, fault)
                if reply.events is None:
                    return self._whole(request, reply)
                return partial(self._send_stream, request, reply, stack.pop_all())
        except asyncio.CancelledError:
            self._count(request, CLIENT_GONE)
            raise

    async def _read(self, http: HttpRequest, form: AnswerForm) -> AgentRequest:
        table = self._table.current
        if table is None:
            raise RequestRefused(503, "the routing is not known yet", "no_routing")
        raw = await http.body(self._limits.body_bytes_max)
        http.hold_values(await count_request(raw, self._limits))
        body, dropped = self._fields.apply(form.path, await decode_request(raw, self._limits))
        agent = body.get("model")
        if isinstance(agent, str):
            http.caller.require_agent(agent)
        if not isinstance(agent, str) or agent not in table.routes:
            raise no_such_agent()
        if not isinstance(body.get("stream", False), bool):
            raise RequestRefused(400, "stream: true, false or null", "field", param="stream")
        form.check(body)
        headers = http.headers
        turn = headers.get("x-clorad-turn", "")
        return AgentRequest(
            form=form,
            agent=agent,
            body=body,
            dropped=dropped,
            body_bytes=len(raw),
            interaction=http.id,
            conversation=header_text(headers, "x-clorad-conversation") or None,
            turn=int(turn) if turn.isdecimal() and len(turn) < 10 else None,
            extras=requested_extras(body, chat=form.is_chat),
            chat=await self._recorder.accept(form, body, len(raw))
            if table.routes[agent].capture and headers.get("x-clorad-capture", "").lower() != "off"
            else None,
            began_s=time.monotonic(),
            hold=http.hold_answer,
            experiments=Right.EXPERIMENT in http.caller.grant.rights,
        )

    def _forward(self, request: AgentRequest) -> AbstractAsyncContextManager[Reply]:
        form = request.form
        return self._forwarder.ask(
            request,
            form.with_capture_extras(request.body) if request.capture else request.body,
            choice=partial(choose, conversation=request.routed_by, experiments=request.experiments),
        )

    def _whole(self, request: AgentRequest, reply: Reply) -> ASGIApp:
        version = reply.target.version
        self._count(request, reply.status)
        headers, form, answer = request.headers(version), request.form, reply.answer
        if answer is None:
            return json_response(form.refusal(reply.status, reply.error), reply.status, headers)
        if form.is_conversation:
            signs = AnswerSigns()
            signs.add(answer.choices)
            self._live.answered(request.agent, reply.target, request.routed_by, signs.signals(request.body))
        if request.capture:
            captured = CapturedAnswer()
            captured.add(answer.chat)
            self._capture(request, version, captured)
        form.show(answer.data, request.agent, request.extras)
        return json_response(answer.data, 200, headers)

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
        version, captured, status, form = reply.target.version, CapturedAnswer(), 200, request.form
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
                            signs.add(event.choices)
                            await send(_part(_shown(event, request, captured)))
                        await send(_part(form.end))
                    signals = signs.signals(request.body)
                    self._live.answered(request.agent, reply.target, request.routed_by, signals)
                    if request.capture:
                        self._capture(request, version, captured)
                except (ReplicasFailed, TimeoutError) as fault:
                    status = 504 if isinstance(fault, TimeoutError) else 502
                    self._live.answered(request.agent, reply.target, request.routed_by, [Signal.ERROR])
                    async with asyncio.timeout(_LAST_EVENT_S_MAX):
                        await send(_part(form.encode_event(form.broken_event())))
                await send({"type": "http.response.body", "body": b""})
        except (asyncio.CancelledError, TimeoutError) as fault:
            status = CLIENT_GONE
            if isinstance(fault, asyncio.CancelledError):
                raise
        finally:
            if status != 200 and request.capture:
                self._recorder.count("unfinished", max(1, len(captured.replies)))
            self._count(request, status)

    def _failed(self, request: AgentRequest, fault: Exception) -> ASGIApp:
        match fault:
            case AnswersTooLarge():
                refusal = RequestRefused(503, "too many large answers at once; ask again", "answers_bytes")
                count_refusal(refusal.reason)
            case NoReplica():
                refusal = RequestRefused(503, "no replica can answer for this agent right now", "no_replica")
            case PathMissing():
                text = "no replica has this path; the models that they serve have others"
                refusal = RequestRefused(404, text, "path_missing")
            case ReplicasFailed():
                refusal = RequestRefused(502, "the replicas failed on this request", "replicas_failed")
            case _:
                text = f"no answer within {self._request_s_max:.0f} s"
                refusal = RequestRefused(504, text, "too_slow")
        self._count(request, refusal.status)
        if refusal.status in (502, 504) and (table := self._table.current) and not request.experiments:
            self._live.failed(table.routes.get(request.agent), request.routed_by)  # a replica had it
        log.warning("request failed", agent=request.agent, status=refusal.status, fault=type(fault).__name__)
        body = refusal.body_for(request.form.path)
        return json_response(body, refusal.status, request.headers() | refusal.headers)

    def _capture(self, request: AgentRequest, version: str, answer: CapturedAnswer) -> None:
        """Capture each choice as an interaction of its own; those that cannot be are counted."""
        assert request.chat is not None
        self._recorder.count("no_room", not answer.has_room)
        self._recorder.count("too_many_choices", answer.choices_left_out)
        sampling, asked = sampling_of(request.chat), request_of(request.chat)
        restrictions = restrictions_of(request.chat, self._sampling_defaults)
        for index, reply in answer.replies.items():
            if reply.flaw is not None:
                self._recorder.count(reply.flaw)
                continue
            self._recorder.put(
                Capture(
                    id=choice_name(request.interaction, index),
                    agent=request.agent,
                    version=version,
                    conversation=request.conversation,
                    turn=request.turn,
                    messages=request.chat["messages"],
                    messages_bytes_max=request.body_bytes,
                    sampling=sampling,
                    request=asked,
                    restrictions=restrictions,
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


def _part(octets: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": octets, "more_body": True}


def _shown(event: AnswerPart, request: AgentRequest, captured: CapturedAnswer) -> bytes:
    """The event as the client gets it; what is captured of it is added to `captured`."""
    if request.capture:
        captured.add_part(event.chat, request.hold)
    request.form.show(event.data, request.agent, request.extras)
    return request.form.encode_event(event.data)


def _loop_time(monotonic_s: float) -> float:
    return monotonic_s - time.monotonic() + asyncio.get_running_loop().time()
