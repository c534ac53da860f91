"""Asks a tool's API for JSON, within bounds of time and size. Each call is one try."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

ASK_S_MAX = 30.0
CONNECT_S_MAX = 5.0
REPLY_BYTES_MAX = 16 * 1024 * 1024

_PASSING = frozenset({408, 425, 429})


class ToolAway(Exception):
    """The tool does not answer now, or refuses the bridge; the next poll asks again."""


class ToolLacks(Exception):
    """The tool has not what was asked for (status 404)."""


class ToolClient:
    """The API of one tool. `user` and `key` are for HTTP's basic authentication, a key alone is a bearer
    token."""

    def __init__(self, url: str, *, user: str | None = None, key: str | None = None) -> None:
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if key is not None and user is None:
            headers["authorization"] = f"Bearer {key}"
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            headers=headers,
            auth=httpx.BasicAuth(user, key or "") if user is not None else None,
            timeout=httpx.Timeout(ASK_S_MAX, connect=CONNECT_S_MAX),
            follow_redirects=False,  # they would take the key elsewhere
        )

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The object that `GET path` answers. Raises `ToolAway`, `ToolLacks`."""
        return self._ask(self._client.build_request("GET", path, params=query))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The object that `POST path` answers. Raises as `get` does."""
        return self._ask(self._client.build_request("POST", path, json=body))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _ask(self, request: httpx.Request) -> dict[str, Any]:
        reply = bytearray()
        try:
            response = self._client.send(request, stream=True)
            try:
                for part in response.iter_raw():
                    reply += part
                    if len(reply) > REPLY_BYTES_MAX:
                        raise ToolAway(f"it answered more than {REPLY_BYTES_MAX} bytes")
            finally:
                response.close()
        except httpx.TransportError as fault:
            raise ToolAway(type(fault).__name__) from None
        if response.status_code == httpx.codes.NOT_FOUND:
            raise ToolLacks(request.url.path)
        if response.status_code != httpx.codes.OK:
            raise ToolAway(f"status {response.status_code} of {request.url.path}")
        return _object_in(bytes(reply), request.url.path)


def list_in(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of objects under this name of an answer. Raises `ToolAway`: it is another API, or version."""
    values = answer.get(name)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ToolAway(f"its answer has no list of objects `{name}`: which version is it?")
    return values


def _object_in(reply: bytes, path: str) -> dict[str, Any]:
    try:
        answer = json.loads(reply)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise ToolAway(f"{path} answered no JSON object")
    return answer
