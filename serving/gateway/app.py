"""The gateway's HTTP server: OpenAI's API in front of the replicas, with agents as its models.

The gateway writes captures and feedback to Kafka and nothing else. It needs the ledger only to start; after
that it routes by the last table it read.
"""

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from serving.gateway.answering import CHAT, TEXT, RequestRefused, Responder, read_body
from serving.gateway.feedback_endpoint import ACK_S_MAX as FEEDBACK_ACK_S_MAX
from serving.gateway.feedback_endpoint import FeedbackEndpoint, FeedbackRefused
from serving.gateway.forwarding import open_forwarder
from serving.gateway.openai_form import error_body, model_list
from serving.gateway.recorder import Recorder
from serving.gateway.routing import RoutingTable, keep_fresh
from serving.gateway.shutdown import GatewayServer, ShutdownWatcher, closing_connections
from serving.health_report import HealthReport

log = structlog.get_logger(__name__)

_DRAIN_MARGIN_S = 1.0  # a request that runs out of time still gets its 504

START_S_MAX = 300.0
"""Seconds a gateway waits for a ledger that never answered; then it ends and is started again."""


class LedgerMissing(Exception):
    """The ledger has not answered since the gateway started. The supervisor starts the gateway again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What the operator decides about the gateway."""

    host: str
    port: int
    request_s_max: float  # the whole answer, its last token included
    shutdown_delay_s: float  # after `/readyz` turned red requests are accepted so long
    poll_s: float = 0.2  # between two reads of the routing generation
    wait_s_max: float = 10.0  # for a replica that can answer; then the request gets a 503
    connections_max: int = 1024  # to replicas
    body_bytes_max: int = 4 * 1024 * 1024
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # of the replicas, by URL

    @property
    def drain_s_max(self) -> float:
        """Seconds that answers in flight may take during shutdown: as long as at any other time."""
        return max(self.request_s_max, FEEDBACK_ACK_S_MAX) + _DRAIN_MARGIN_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What the endpoints use."""

    table: RoutingTable
    recorder: Recorder
    feedback: FeedbackEndpoint
    options: GatewayOptions


def build_app(gateway: Gateway, stopping: threading.Event) -> FastAPI:
    """The application. The caller runs `keep_fresh` for its routing table, and its recorder."""

    @asynccontextmanager
    async def connected(app: FastAPI) -> AsyncIterator[None]:
        options = gateway.options
        async with open_forwarder(
            gateway.table,
            connections_max=options.connections_max,
            wait_s_max=options.wait_s_max,
            api_keys=options.api_keys,
        ) as forwarder:
            app.state.responder = Responder(
                gateway.table,
                forwarder,
                gateway.recorder,
                request_s_max=options.request_s_max,
                body_bytes_max=options.body_bytes_max,
            )
            yield

    app = FastAPI(title="clorad gateway", lifespan=connected, openapi_url=None)

    @app.post(CHAT)
    async def chat(request: Request) -> Response:
        responder: Responder = app.state.responder
        return await responder.respond(request, CHAT)

    @app.post(TEXT)
    async def complete(request: Request) -> Response:
        responder: Responder = app.state.responder
        return await responder.respond(request, TEXT)

    @app.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        return await _accept_feedback(gateway, request)

    @app.get("/v1/models")
    async def models() -> Response:
        table = gateway.table.current
        return JSONResponse(model_list(sorted(table.routes) if table else []), 200 if table else 503)

    @app.get("/routing")
    async def routing() -> Response:
        return JSONResponse(_routing(gateway.table))

    @app.get("/healthz")
    async def alive() -> Response:
        return JSONResponse({"alive": True})

    @app.get("/readyz")
    async def ready() -> Response:
        ok, why = (False, "asked to stop") if stopping.is_set() else _readiness(gateway.table)
        return JSONResponse({"ready": ok, "why": why}, 200 if ok else 503)

    return app


def run_gateway(gateway: Gateway, stopping: threading.Event, health: HealthReport) -> None:
    """Serve until `stopping` is set, then shut down in order (`serving.gateway.shutdown`).

    Afterwards every accepted request is answered, and every capture is with `recorder`'s `send`.
    Raises `LedgerMissing`, `OSError`.
    """
    options = gateway.options
    server = GatewayServer(
        uvicorn.Config(
            closing_connections(build_app(gateway, stopping), stopping),
            log_config=None,
            access_log=False,
            # Clients keep idle connections for 5 s (httpx) and longer: the gateway must not close first.
            timeout_keep_alive=75,
        ),
        drain_s_max=options.drain_s_max,
    )
    over = threading.Event()
    loops: list[Callable[[], None]] = [
        lambda: keep_fresh(gateway.table, over, poll_s=options.poll_s),
        lambda: gateway.recorder.run(over),
    ]
    with _listening(options.host, options.port) as listening, ThreadPoolExecutor(3) as pool:
        running = [pool.submit(loop) for loop in loops]
        watch = pool.submit(
            ShutdownWatcher(server, delay_s=options.shutdown_delay_s).watch,
            stopping,
            over,
            check=_readiness_check(gateway.table, health),
            alive=lambda: health.alive("gateway"),
            unready=lambda: health.ready("routing", False, "asked to stop"),
            broken=lambda: any(loop.done() for loop in running),
        )
        try:
            server.run(sockets=[listening])
        finally:
            stopping.set()
            over.set()
    for loop in (*running, watch):
        loop.result()


def _listening(host: str, port: int) -> socket.socket:
    """A socket bound here: a port that is taken is an `OSError`, where uvicorn would end the process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _readiness_check(table: RoutingTable, health: HealthReport) -> Callable[[], None]:
    """A call reports whether the gateway is ready; it raises `LedgerMissing` after too long a wait."""
    began_s = time.monotonic()

    def check() -> None:
        health.ready("routing", *_readiness(table))
        waited_s = time.monotonic() - began_s
        if table.current is None and waited_s > START_S_MAX:
            raise LedgerMissing(f"the ledger did not answer for {waited_s:.0f} s")

    return check


async def _accept_feedback(gateway: Gateway, request: Request) -> Response:
    table = gateway.table.current
    if table is None:
        body = error_body("the agents are not known yet", "service_unavailable")
        return JSONResponse(body, 503, {"retry-after": "1"})
    try:
        raw = await read_body(request, gateway.options.body_bytes_max)
        accepted = await gateway.feedback.accept(raw, request.headers, table.routes.keys())
    except RequestRefused as refusal:
        return JSONResponse(refusal.body, refusal.status)
    except FeedbackRefused as refusal:
        kind = "api_error" if refusal.status == 503 else "invalid_request_error"
        headers = {"retry-after": "1"} if refusal.status == 503 else {}
        return JSONResponse(error_body(refusal.text, kind), refusal.status, headers)
    sent = accepted.sent
    place = {"topic": sent.topic, "partition": sent.partition, "offset": sent.offset}
    return JSONResponse({"id": accepted.id, "source": accepted.source, **place}, 202)


def _readiness(table: RoutingTable) -> tuple[bool, str]:
    if table.current is None:
        return False, "the ledger has not answered yet"
    usable = sum(replica.in_rotation for replica in table.current.replicas)
    return usable > 0, f"{usable} of {len(table.current.replicas)} replicas in rotation"


def _routing(table: RoutingTable) -> dict[str, Any]:
    """For tools: the table that this gateway routes by now."""
    current = table.current
    if current is None:
        return {"generation": None, "agents": {}, "replicas": []}
    replicas = [
        {"url": replica.url, "in_rotation": replica.in_rotation, "models": list(replica.models)}
        for replica in current.replicas
    ]
    versions = {name: route.version for name, route in current.routes.items()}
    return {"generation": current.generation, "agents": versions, "replicas": replicas}
