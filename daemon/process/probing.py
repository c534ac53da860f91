"""Asking this machine's roles how they are, on their health ports."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

from daemon.process.role_names import ROLES, health_port
from daemon.settings import Settings

ANSWER_S_MAX = 0.5

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def roles(settings: Settings) -> dict[str, Any]:
    """Each role's readiness, None where it does not answer; empty where no ports are set."""
    first, host = settings.telemetry.health_port, settings.telemetry.health_host
    asked, token = _ANYWHERE.get(host, host), settings.telemetry.token
    headers = {} if token is None else {"authorization": f"Bearer {token.get_secret_value()}"}
    return {name: _readiness(asked, health_port(first, name), headers) for name in ROLES} if first else {}


def _readiness(host: str, port: int, headers: Mapping[str, str]) -> Any:
    connection = HTTPConnection(host, port, timeout=ANSWER_S_MAX)
    try:
        connection.request("GET", "/readyz", headers=dict(headers))
        return json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
