"""Serves the dashboard's pages until told to stop, with the bounds that the gateway puts on its clients."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from starlette.types import ASGIApp

from daemon.process.health import Health
from serving.gateway.app import listening_socket
from serving.gateway.edge.bounded_connection import connection_factory
from serving.gateway.edge.limits import GatewayLimits
from serving.gateway.shutdown import ACCEPTED_AT_ONCE, GatewayServer, ShutdownWatcher

DRAIN_S_MAX = 5.0
"""Seconds that pages in flight may take after SIGTERM."""


def serve_pages(
    application: ASGIApp,
    *,
    host: str,
    port: int,
    limits: GatewayLimits,
    stopping: threading.Event,
    health: Health,
) -> None:
    """Answer until `stopping` is set. Raises `OSError` where the port is taken."""
    server = GatewayServer(
        uvicorn.Config(
            application,
            lifespan="off",
            http=connection_factory(limits),
            ws="none",
            backlog=ACCEPTED_AT_ONCE,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # who asks is known by a key, not by an address
            timeout_keep_alive=math.ceil(limits.idle_s_max),
        ),
        drain_s_max=DRAIN_S_MAX,
    )
    over = threading.Event()
    with listening_socket(host, port) as listening, ThreadPoolExecutor(1) as pool:
        watch = pool.submit(
            ShutdownWatcher(server, delay_s=0.0).watch,
            stopping,
            over,
            check=lambda: health.ready("pages", True),
            alive=lambda: health.alive("dashboard"),
            unready=lambda: health.ready("pages", False, "asked to stop"),
            broken=lambda: False,
        )
        try:
            server.run(sockets=[listening])
        finally:
            stopping.set()
            over.set()
    watch.result()
