"""Serves an application with the bounds of the gateway's edge, and ends in order once it is told to stop."""

import math
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from serving.gateway.edge.bounded_connection import connection_factory
from serving.gateway.edge.limits import GatewayLimits
from serving.gateway.shutdown import ACCEPTED_AT_ONCE, BACKLOG, GatewayServer, ShutdownWatcher
from serving.health_report import HealthReport


def bounded_server(
    application: ASGIApp, limits: GatewayLimits, *, lifespan: Literal["on", "off"], drain_s_max: float
) -> GatewayServer:
    """A server whose connections keep to the limits."""
    return GatewayServer(
        uvicorn.Config(
            application,
            lifespan=lifespan,
            http=connection_factory(limits),
            ws="none",
            backlog=ACCEPTED_AT_ONCE,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a client could name any address, and have its requests counted there
            timeout_keep_alive=math.ceil(limits.idle_s_max),
        ),
        drain_s_max=drain_s_max,
    )


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket bound here: a port that is taken is an `OSError`, where uvicorn would end the process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def serve_alone(
    server: GatewayServer,
    *,
    host: str,
    port: int,
    stopping: threading.Event,
    health: HealthReport,
    loop: str,
    part: str,
) -> None:
    """Answer until `stopping` is set; then finish what is in flight. Raises `OSError`.

    `loop` is alive for as long as the server is; `part` is ready until it is asked to stop.
    """
    over = threading.Event()
    with listening_socket(host, port) as listening, ThreadPoolExecutor(1) as pool:
        watch = pool.submit(
            ShutdownWatcher(server, delay_s=0.0).watch,
            stopping,
            over,
            check=lambda: health.ready(part, True),
            alive=lambda: health.alive(loop),
            unready=lambda: health.ready(part, False, "asked to stop"),
            broken=lambda: False,
        )
        try:
            server.run(sockets=[listening])
        finally:
            stopping.set()
            over.set()
    watch.result()
