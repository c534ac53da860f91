"""The gateway's HTTP server: OpenAI's API in front of the replicas, with agents as its models.

The gateway writes captures and feedback to Kafka and nothing else. It needs the ledger only to start; after
that it routes by the last table it read.
"""

import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from serving.gateway.access.control import AccessControl, AccessOptions
from serving.gateway.answering import Responder
from serving.gateway.edge.application import EdgeApplication, Endpoints
from serving.gateway.edge.file_limit import fit_to_file_limit
from serving.gateway.edge.limits import GatewayLimits
from serving.gateway.edge.request_fields import FieldRules
from serving.gateway.endpoints import build_endpoints, readiness
from serving.gateway.feedback_endpoint import ACK_S_MAX as FEEDBACK_ACK_S_MAX
from serving.gateway.feedback_endpoint import FeedbackEndpoint
from serving.gateway.forwarding import open_forwarder
from serving.gateway.live_counter import LiveCounter
from serving.gateway.recorder import Recorder
from serving.gateway.routing import RoutingTable, keep_fresh
from serving.gateway.shutdown import ShutdownWatcher
from serving.health_report import HealthReport
from serving.watched_server import bounded_server, listening_socket

log = structlog.get_logger(__name__)

_DRAIN_MARGIN_S = 1.0  # a request that runs out of time still gets its 504

START_S_MAX = 300.0
"""Seconds a gateway waits for a ledger that never answered; then it ends and is started again."""

EXPOSED_HEADERS = (
    "x-clorad-agent",
    "x-clorad-version",
    "x-clorad-interaction",
    "x-request-id",
    "retry-after",
)
"""Headers of answers that a page of an allowed origin may read."""


class LedgerMissing(Exception):
    """The ledger has not answered since the gateway started. The supervisor starts the gateway again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What the operator decides about the gateway."""

    host: str
    port: int
    limits: GatewayLimits
    access: AccessOptions
    fields: FieldRules
    request_s_max: float  # the whole answer, its last token included
    shutdown_delay_s: float  # after `/readyz` turned red requests are accepted so long
    poll_s: float = 0.2  # between two reads of the routing generation
    wait_s_max: float = 10.0  # for a replica that can answer; then the request gets a 503
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # of the replicas, by URL
    sampling_defaults: Mapping[str, Any] = field(default_factory=dict)  # that replicas take from the base

    @property
    def drain_s_max(self) -> float:
        """Seconds that answers in flight may take during shutdown: as long as at any other time."""
        return max(self.request_s_max, FEEDBACK_ACK_S_MAX) + _DRAIN_MARGIN_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What the endpoints use."""

    table: RoutingTable
    recorder: Recorder
    live: LiveCounter
    feedback: FeedbackEndpoint
    options: GatewayOptions


def build_app(gateway: Gateway, limits: GatewayLimits, stopping: threading.Event) -> ASGIApp:
    """The application. The caller runs `keep_fresh` for its routing table, and its recorder."""
    options = gateway.options

    @asynccontextmanager
    async def endpoints() -> AsyncIterator[Endpoints]:
        async with open_forwarder(
            gateway.table,
            connections_max=limits.requests_max,
            wait_s_max=options.wait_s_max,
            answer_bytes_max=limits.answer_bytes_max,
            api_keys=options.api_keys,
        ) as forwarder:
            responder = Responder(
                gateway.table,
                forwarder,
                gateway.recorder,
                gateway.live,
                limits=limits,
                fields=options.fields,
                request_s_max=options.request_s_max,
                sampling_defaults=options.sampling_defaults,
            )
            yield build_endpoints(gateway.table, responder, gateway.feedback, stopping)

    access = AccessControl.of(options.access, lambda: gateway.table.keys)
    app = EdgeApplication(endpoints, limits, access, stopping)
    if not (origins := options.access.rules.origins):
        return app
    # Pages of these origins may call: a browser asks for permission first, and reads the answer's headers.
    return CORSMiddleware(
        app,
        allow_origins=sorted(origins),
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=EXPOSED_HEADERS,
    )


def run_gateway(gateway: Gateway, stopping: threading.Event, health: HealthReport) -> None:
    """Serve until `stopping` is set, then shut down in order (`serving.gateway.shutdown`).

    Afterwards every accepted request is answered, and every capture is with `recorder`'s `send`.
    Raises `LedgerMissing`, `OSError`.
    """
    options = gateway.options
    limits = fit_to_file_limit(options.limits)
    server = bounded_server(
        build_app(gateway, limits, stopping), limits, lifespan="on", drain_s_max=options.drain_s_max
    )
    over = threading.Event()
    loops: list[Callable[[], None]] = [
        lambda: keep_fresh(gateway.table, over, poll_s=options.poll_s),
        lambda: gateway.recorder.run(over),
        lambda: gateway.live.run(over),
    ]
    with (
        listening_socket(options.host, options.port) as listening,
        ThreadPoolExecutor(len(loops) + 1) as pool,
    ):
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


def _readiness_check(table: RoutingTable, health: HealthReport) -> Callable[[], None]:
    """A call reports whether the gateway is ready; it raises `LedgerMissing` after too long a wait."""
    began_s = time.monotonic()

    def check() -> None:
        health.ready("routing", *readiness(table))
        waited_s = time.monotonic() - began_s
        if table.current is None and waited_s > START_S_MAX:
            raise LedgerMissing(f"the ledger did not answer for {waited_s:.0f} s")

    return check
