"""The HTTP server that tools call: one path for each tool, behind the bounds of the gateway's edge."""

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from serving.bridges.webhook import PATH
from serving.gateway.access.control import AccessControl, AccessOptions
from serving.gateway.edge.application import EdgeApplication, Endpoint, Endpoints
from serving.gateway.edge.file_limit import fit_to_file_limit
from serving.gateway.edge.http_request import HttpRequest
from serving.gateway.edge.limits import GatewayLimits
from serving.health_report import HealthReport
from serving.watched_server import bounded_server, serve_alone


class WebhookAnswer(Protocol):
    """What answers the webhooks at one path."""

    async def answer(self, request: HttpRequest) -> ASGIApp:
        """The answer. Raises `RequestRefused`."""


DRAIN_S_MAX = 70.0
"""Seconds that answers in flight may take during shutdown: sending an event may take 60."""


def build_receiver(
    webhooks: Mapping[str, WebhookAnswer],
    *,
    limits: GatewayLimits,
    access: AccessOptions,
    stopping: threading.Event,
) -> EdgeApplication:
    """The application: `POST /bridges/NAME`, and `GET /healthz`. Each webhook verifies its own callers."""

    async def alive(_: HttpRequest) -> ASGIApp:
        return JSONResponse({"alive": True})

    endpoints = {
        f"{PATH}{name}": Endpoint(method="POST", answer=webhook.answer, right=None)
        for name, webhook in webhooks.items()
    } | {"/healthz": Endpoint(method="GET", answer=alive, right=None)}

    @asynccontextmanager
    async def build() -> AsyncIterator[Endpoints]:
        yield endpoints

    return EdgeApplication(build, limits, AccessControl.of(access, dict), stopping)


def run_receiver(
    webhooks: Mapping[str, WebhookAnswer],
    *,
    host: str,
    port: int,
    limits: GatewayLimits,
    access: AccessOptions,
    stopping: threading.Event,
    health: HealthReport,
) -> None:
    """Answer webhooks until told to stop; then finish those in flight. Raises `OSError`."""
    limits = fit_to_file_limit(limits)
    app = build_receiver(webhooks, limits=limits, access=access, stopping=stopping)
    serve_alone(
        bounded_server(app, limits, lifespan="on", drain_s_max=DRAIN_S_MAX),
        host=host,
        port=port,
        stopping=stopping,
        health=health,
        loop="receiver",
        part="receiver",
    )
