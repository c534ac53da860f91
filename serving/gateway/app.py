"""The data plane: OpenAI's API in front of the replicas, agents as its models.

It writes nothing but captures and feedback (both to Kafka), and needs the ledger only to start: from then
on it serves the last routing it knows.
"""

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from serving.gateway.answering import CHAT, TEXT, Answering, RequestRefused, bounded
from serving.gateway.feedback_endpoint import ACK_S_MAX as FEEDBACK_ACK_S_MAX
from serving.gateway.feedback_endpoint import FeedbackEndpoint, FeedbackRefused
from serving.gateway.forwarding import forwarding
from serving.gateway.openai_form import complaint, model_list
from serving.gateway.recorder import Recorder
from serving.gateway.routing import RoutingTable, keep_fresh
from serving.gateway.shutdown import Leaver, Server, saying_goodbye
from serving.health_report import HealthReport

log = structlog.get_logger(__name__)

_DRAIN_MARGIN_S = 1.0  # whose time is up is told so (504), not cut off

START_S_MAX = 300.0
"""How long a gateway that never saw the ledger waits for it before it ends and is started again."""


class LedgerMissing(Exception):
    """The ledger did not answer since the gateway started; the supervisor starts it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What the operator decides about the gateway."""

    host: str = "127.0.0.1"
    port: int = 8080
    poll_s: float = 0.2  # between looks at the routing generation
    request_s_max: float = 60.0
    wait_s_max: float = 10.0  # for a replica that can answer, before a request is told 503
    connections_max: int = 1024
    body_bytes_max: int = 4 * 1024 * 1024
    leave_s: float = 0.0  # how long requests are taken after `/readyz` went red: balancers have to notice

    @property
    def drain_s_max(self) -> float:
        """How long answers in flight may take at the end: as long as any may."""
        return max(self.request_s_max, FEEDBACK_ACK_S_MAX) + _DRAIN_MARGIN_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything the endpoints work with."""

    table: RoutingTable
    captor: Recorder
    inbox: FeedbackEndpoint
    options: GatewayOptions


def gateway_app(gateway: Gateway, stopping: threading.Event) -> FastAPI:
    """The application. Its routing table must be kept fresh by `keep_fresh`, its captor must run."""

    @asynccontextmanager
    async def connected(app: FastAPI) -> AsyncIterator[None]:
        options = gateway.options
        async with forwarding(
            gateway.table, connections_max=options.connections_max, wait_s_max=options.wait_s_max
        ) as forwarder:
            app.state.answering = Answering(
                gateway.table,
                forwarder,
                gateway.captor,
                request_s_max=options.request_s_max,
                body_bytes_max=options.body_bytes_max,
            )
            yield

    app = FastAPI(title="clorad gateway", lifespan=connected, openapi_url=None)

    @app.post(CHAT)
    async def chat(request: Request) -> Response:
        answering: Answering = app.state.answering
        return await answering.answer(request, CHAT)

    @app.post(TEXT)
    async def complete(request: Request) -> Response:
        answering: Answering = app.state.answering
        return await answering.answer(request, TEXT)

    @app.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        return await _take(gateway, request)

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
    """Serve until `stopping` is set, then stop in order (`serving.gateway.shutdown`).

    Requests that were accepted are answered, and captures are with `captor.send`.
    Raises `LedgerMissing`, `OSError`.
    """
    options = gateway.options
    server = Server(
        uvicorn.Config(
            saying_goodbye(gateway_app(gateway, stopping), stopping),
            log_config=None,
            access_log=False,
            # Clients keep idle connections for 5 s (httpx) and longer: the server must not close first.
            timeout_keep_alive=75,
        ),
        drain_s_max=options.drain_s_max,
    )
    over = threading.Event()
    loops: list[Callable[[], None]] = [
        lambda: keep_fresh(gateway.table, over, poll_s=options.poll_s),
        lambda: gateway.captor.run(over),
    ]
    with _listening(options.host, options.port) as listening, ThreadPoolExecutor(3) as pool:
        running = [pool.submit(loop) for loop in loops]
        watch = pool.submit(
            Leaver(server, leave_s=options.leave_s).watch,
            stopping,
            over,
            look=_looking(gateway.table, health),
            alive=lambda: health.alive("gateway"),
            left=lambda: health.ready("routing", False, "asked to stop"),
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
    """Bound by us, so that a port that is taken is an `OSError` here and not an exit inside uvicorn."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _looking(table: RoutingTable, health: HealthReport) -> Callable[[], None]:
    """Tells how ready the gateway is. Raises `LedgerMissing` where it has waited for the ledger too long."""
    began_s = time.monotonic()

    def look() -> None:
        health.ready("routing", *_readiness(table))
        waited_s = time.monotonic() - began_s
        if table.current is None and waited_s > START_S_MAX:
            raise LedgerMissing(f"the ledger did not answer for {waited_s:.0f} s")

    return look


async def _take(gateway: Gateway, request: Request) -> Response:
    table = gateway.table.current
    if table is None:
        said = complaint("the agents are not known yet", "service_unavailable")
        return JSONResponse(said, 503, {"retry-after": "1"})
    try:
        raw = await bounded(request, gateway.options.body_bytes_max)
        taken = await gateway.inbox.take(raw, request.headers, table.routes.keys())
    except RequestRefused as refusal:
        return JSONResponse(refusal.body, refusal.status)
    except FeedbackRefused as complaints:
        kind = "api_error" if complaints.status == 503 else "invalid_request_error"
        headers = {"retry-after": "1"} if complaints.status == 503 else {}
        return JSONResponse(complaint(complaints.text, kind), complaints.status, headers)
    place = {"topic": taken.sent.topic, "partition": taken.sent.partition, "offset": taken.sent.offset}
    return JSONResponse({"id": taken.id, "source": taken.source, **place}, 202)


def _readiness(table: RoutingTable) -> tuple[bool, str]:
    if table.current is None:
        return False, "the ledger has not answered yet"
    usable = sum(one.in_rotation for one in table.current.replicas)
    return usable > 0, f"{usable} of {len(table.current.replicas)} replicas in rotation"


def _routing(table: RoutingTable) -> dict[str, Any]:
    """For tooling: what this gateway routes by at this moment."""
    known = table.current
    if known is None:
        return {"generation": None, "agents": {}, "replicas": []}
    replicas = [
        {"url": one.url, "in_rotation": one.in_rotation, "models": list(one.models)} for one in known.replicas
    ]
    versions = {name: route.version for name, route in known.routes.items()}
    return {"generation": known.generation, "agents": versions, "replicas": replicas}
