"""Finds the endpoint of a request's path; gives answers a request id, and errors their clients' form."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.access.rights import Right
from serving.gateway.access.control import AccessControl
from serving.gateway.edge.errors import RequestRefused, count_refusal
from serving.gateway.edge.http_request import HttpRequest, RequestLoad
from serving.gateway.edge.limits import GatewayLimits

REQUEST_ID = "x-request-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What answers one method of one path. A path that ends in `/*` stands for all paths below it."""

    method: str
    answer: Callable[[HttpRequest], Awaitable[ASGIApp]]
    right: Right | None = Right.TALK  # that the caller must have; None: anybody may ask, from anywhere


Endpoints = Mapping[str, Endpoint]


class EdgeApplication:
    """The ASGI application. `build` opens what the endpoints need, and closes it when the server ends."""

    def __init__(
        self,
        build: Callable[[], AbstractAsyncContextManager[Endpoints]],
        limits: GatewayLimits,
        access: AccessControl,
        stopping: threading.Event,
    ) -> None:
        self._build = build
        self._access = access
        self._stopping = stopping
        self._load = RequestLoad(limits)
        self._endpoints: Endpoints = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the server (ASGI's `lifespan`)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        request = HttpRequest(uuid4().hex, scope, receive, self._load)
        sending = _Sending(send, request.id, self._stopping)
        try:
            answer = await self._answer(request)
            await answer(scope, receive, sending)
        except ConnectionResetError:
            pass  # the client left while it sent its body
        except asyncio.CancelledError:  # the client left while it waited, or shutdown took too long
            if not sending.begun:
                refusal = RequestRefused(503, "the gateway shuts down", "shutdown")
                await _refused(refusal, request)(scope, receive, sending)
        except BaseException:
            if not sending.begun:
                refusal = RequestRefused(500, "the gateway failed on this request", "internal")
                await _refused(refusal, request)(scope, receive, sending)
            raise
        finally:
            request.release()
            self._access.leave(request.caller)

    async def _answer(self, request: HttpRequest) -> ASGIApp:
        try:
            endpoint = self._endpoint(request)
            if endpoint.right is not None:
                request.caller = self._access.admit(request.scope, endpoint.right)
            return await endpoint.answer(request)
        except RequestRefused as refusal:
            count_refusal(refusal.reason)
            return _refused(refusal, request)

    def _endpoint(self, request: HttpRequest) -> Endpoint:
        endpoint = self._endpoints.get(request.path)
        if endpoint is None:
            folder = request.path.rpartition("/")[0]
            endpoint = self._endpoints.get(f"{folder}/*") if folder else None
        if endpoint is None:
            raise RequestRefused(404, "no such path here; GET /openapi.json lists them", "path")
        method = "GET" if request.method == "HEAD" else request.method
        if method != endpoint.method:
            text = f"this path takes {endpoint.method} only"
            raise RequestRefused(405, text, "method", headers={"allow": endpoint.method})
        return endpoint

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            self._endpoints = await stack.enter_async_context(self._build())
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send({"type": "lifespan.shutdown.complete"})


class _Sending:
    """`send` of one request: adds the request's id, and closes connections once the gateway shuts down."""

    __slots__ = ("_id", "_send", "_stopping", "begun")

    def __init__(self, send: Send, request_id: str, stopping: threading.Event) -> None:
        self._send, self._id, self._stopping = send, request_id.encode(), stopping
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            message["headers"].append((REQUEST_ID.encode(), self._id))
            if self._stopping.is_set():
                message["headers"].append((b"connection", b"close"))
        await self._send(message)


def _refused(refusal: RequestRefused, request: HttpRequest) -> JSONResponse:
    return JSONResponse(refusal.body_for(request.path), refusal.status, refusal.headers)
