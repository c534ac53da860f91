"""Answers the webhooks of one git repository: verifies the sender, and has the branch scanned soon."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from feedback.bridges.git.webhooks import (
    BranchUpdate,
    PayloadRefused,
    branch_update,
    check_form,
    check_github,
    check_gitlab,
)
from feedback.bridges.webhook_secrets import WebhookRefused
from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.http_request import HttpRequest
from serving.gateway.edge.json_text import count_request, decode_request
from serving.gateway.edge.limits import GatewayLimits

Verify = Callable[[Mapping[str, str], bytes, str], None]
"""Raises `WebhookRefused`. It gets the headers, the body, and the secret."""

HOSTS: Mapping[str, Verify] = {"github": check_github, "gitlab": check_gitlab}
"""How the webhooks of each host are verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitWebhook:
    """What answers the webhooks of one repository. `ask` returns at once: hosts wait for 10 s only."""

    host: str
    repository: str  # as the host names it
    branch: str
    secret: str
    ask: Callable[[BranchUpdate], None]
    limits: GatewayLimits

    async def answer(self, request: HttpRequest) -> ASGIApp:
        """The branch will be scanned, if the webhook tells of new commits on it. Raises `RequestRefused`."""
        raw = await request.body(self.limits.body_bytes_max)
        try:
            HOSTS[self.host](request.headers, raw, self.secret)
        except WebhookRefused as refusal:
            raise RequestRefused(401, str(refusal), "webhook_secret", code="bad_signature") from None
        request.hold_values(await count_request(raw, self.limits))
        try:
            payload = await decode_request(raw, self.limits)
            check_form(request.headers, payload)
            update = branch_update(payload)
        except PayloadRefused as refusal:
            raise RequestRefused(400, str(refusal), "payload", code="invalid") from None
        if update is None or update.branch != self.branch:
            return JSONResponse({"scan": "not needed"})
        if update.repository != self.repository:
            raise RequestRefused(422, "repository: not the one of this bridge", "repository")
        self.ask(update)
        return JSONResponse({"scan": "soon"}, status_code=202)
