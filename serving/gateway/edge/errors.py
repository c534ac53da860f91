"""Errors as OpenAI's clients read them, and the exception by which the gateway refuses a request."""

from collections.abc import Mapping
from typing import Any

from opentelemetry import metrics

_refused = metrics.get_meter("serving").create_counter(
    "clorad.gateway.refused",
    unit="{request}",
    description="requests and connections that the gateway refused, by the reason",
)

RETRY_AFTER_S = "1"

_KINDS = {403: "permission_error", 429: "rate_limit_error", 503: "service_unavailable"}


def error_body(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error in OpenAI's form."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class RequestRefused(Exception):
    """The request is not answered. `body` tells the client why; `reason` is for the metric."""

    def __init__(
        self,
        status: int,
        text: str,
        reason: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason
        self.body = error_body(text, _kind(status), param=param, code=code)
        self.headers = ({"retry-after": RETRY_AFTER_S} if status in (429, 503) else {}) | dict(headers or {})


def count_refusal(reason: str) -> None:
    """Count a request or a connection that was refused."""
    _refused.add(1, {"reason": reason})


def _kind(status: int) -> str:
    if status in _KINDS:
        return _KINDS[status]
    return "api_error" if status >= 500 else "invalid_request_error"
