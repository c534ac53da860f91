"""Errors as OpenAI's and Anthropic's clients read them, and the exception that refuses a request."""

from collections.abc import Mapping
from typing import Any

from opentelemetry import metrics

_refused = metrics.get_meter("serving").create_counter(
    "clorad.gateway.refused",
    unit="{request}",
    description="requests and connections that the gateway refused, by the reason",
)

RETRY_AFTER_S = "1"

ANTHROPIC = "/v1/messages"
"""Below this path clients are Anthropic's: https://docs.anthropic.com/en/api/errors."""

_KINDS = {403: "permission_error", 429: "rate_limit_error", 503: "service_unavailable"}
_ANTHROPIC_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


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
        self.status, self.reason, self.text = status, reason, text
        self.body = error_body(text, error_kind(status), param=param, code=code)
        self.headers = ({"retry-after": RETRY_AFTER_S} if status in (429, 503) else {}) | dict(headers or {})

    def body_for(self, path: str) -> dict[str, Any]:
        """What tells the clients of this path why."""
        if is_anthropic(path):
            return anthropic_error(self.text, anthropic_kind(self.status))
        return self.body


def is_anthropic(path: str) -> bool:
    """Whether the clients of this path are Anthropic's."""
    return path == ANTHROPIC or path.startswith(f"{ANTHROPIC}/")


def anthropic_error(message: str, kind: str) -> dict[str, Any]:
    """An error in Anthropic's form, whole or as an event of a stream."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def count_refusal(reason: str) -> None:
    """Count a request or a connection that was refused."""
    _refused.add(1, {"reason": reason})


def anthropic_kind(status: int) -> str:
    """The type of an Anthropic error with this status."""
    return _ANTHROPIC_KINDS.get(status) or error_kind(status)


def error_kind(status: int) -> str:
    """The type of an OpenAI error with this status."""
    if status in _KINDS:
        return _KINDS[status]
    return "api_error" if status >= 500 else "invalid_request_error"
