"""The paths of the gateway: agents as models, feedback, health, and the routing table for tools."""

import threading
from functools import partial
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from ledger.access.rights import Grant, Right
from serving.gateway.answering import MODELS, Responder, no_such_agent
from serving.gateway.edge.application import Endpoint, Endpoints
from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.http_request import HttpRequest
from serving.gateway.edge.openapi import FEEDBACK, OPENAPI, openapi_document
from serving.gateway.feedback_endpoint import FeedbackEndpoint
from serving.gateway.forms.paths import FORMS
from serving.gateway.openai_form import model_card, model_list
from serving.gateway.routing import RoutingTable


def build_endpoints(
    table: RoutingTable, responder: Responder, feedback: FeedbackEndpoint, stopping: threading.Event
) -> Endpoints:
    """Every path with what answers it."""

    async def give_feedback(request: HttpRequest) -> ASGIApp:
        return await _feedback(request, table, feedback)

    async def models(request: HttpRequest) -> ASGIApp:
        if table.current is None:
            raise _no_routing()
        return JSONResponse(model_list(sorted(filter(request.caller.grant.opens, table.current.routes))))

    async def model(request: HttpRequest) -> ASGIApp:
        name = request.path.removeprefix(f"{MODELS}/")
        opened = request.caller.grant.opens(name)
        if table.current is None or not opened or name not in table.current.routes:
            raise no_such_agent()
        return JSONResponse(model_card(name))

    document = openapi_document()

    async def openapi(_: HttpRequest) -> ASGIApp:
        return JSONResponse(document)

    async def routing(request: HttpRequest) -> ASGIApp:
        return JSONResponse(_routing(table, request.caller.grant))

    async def alive(_: HttpRequest) -> ASGIApp:
        return JSONResponse({"alive": True})

    async def ready(_: HttpRequest) -> ASGIApp:
        ok, why = (False, "asked to stop") if stopping.is_set() else readiness(table)
        return JSONResponse({"ready": ok, "why": why}, 200 if ok else 503)

    asked = {
        path: Endpoint(method="POST", answer=partial(responder.respond, form=form))
        for path, form in FORMS.items()
    }
    return asked | {
        FEEDBACK: Endpoint(method="POST", answer=give_feedback, right=Right.FEEDBACK),
        MODELS: Endpoint(method="GET", answer=models),
        f"{MODELS}/*": Endpoint(method="GET", answer=model),
        "/routing": Endpoint(method="GET", answer=routing, right=Right.READ),
        "/healthz": Endpoint(method="GET", answer=alive, right=None),
        "/readyz": Endpoint(method="GET", answer=ready, right=None),
        OPENAPI: Endpoint(method="GET", answer=openapi, right=None),
    }


def readiness(table: RoutingTable) -> tuple[bool, str]:
    """Whether a replica could answer, and a sentence that says so."""
    if table.current is None:
        return False, "the ledger has not answered yet"
    usable = sum(replica.in_rotation for replica in table.current.replicas)
    return usable > 0, f"{usable} of {len(table.current.replicas)} replicas in rotation"


async def _feedback(request: HttpRequest, table: RoutingTable, feedback: FeedbackEndpoint) -> ASGIApp:
    routing = table.current
    if routing is None:
        raise _no_routing()
    accepted = await feedback.accept(request, routing.routes.keys())
    sent = accepted.sent
    place = {"topic": sent.topic, "partition": sent.partition, "offset": sent.offset}
    return JSONResponse({"id": accepted.id, "source": accepted.source, **place}, 202)


def _no_routing() -> RequestRefused:
    return RequestRefused(503, "the agents are not known yet", "no_routing")


def _routing(table: RoutingTable, grant: Grant) -> dict[str, Any]:
    """For tools: the table that this gateway routes by now, as far as it is about the caller's agents.

    Of an agent with an experiment's version, a caller who may be answered by it sees that version.
    """
    current = table.current
    if current is None:
        return {"generation": None, "agents": {}, "replicas": []}
    replicas = [
        {"url": replica.url, "in_rotation": replica.in_rotation, "models": list(replica.models)}
        for replica in current.replicas
    ]
    takes_part = Right.EXPERIMENT in grant.rights
    versions = {
        name: (takes_part and route.experiment_version) or route.version
        for name, route in current.routes.items()
        if grant.opens(name)
    }
    return {"generation": current.generation, "agents": versions, "replicas": replicas}
