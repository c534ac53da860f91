"""Asks the roles on this machine whether they are ready, on their health ports."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

from daemon.process.role_names import ROLES, health_port
from daemon.settings import Settings

ANSWER_S_MAX = 0.5

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def roles(settings: Settings) -> dict[str, Any]:
    """Each role's readiness, None if it does not answer; empty if no ports are set."""
    first_port, host = settings.telemetry.health_port, settings.telemetry.health_host
    address, token = _ANYWHERE.get(host, host), settings.telemetry.token
    headers = {} if token is None else {"authorization": f"Bearer {token.get_secret_value()}"}
    if not first_port:
        return {}
    names = [name for name in ROLES if name != "dashboard" or settings.dashboard.enabled]
    return {name: _readiness(address, health_port(first_port, name), headers) for name in names}


def _readiness(host: str, port: int, headers: Mapping[str, str]) -> Any:
    connection = HTTPConnection(host, port, timeout=ANSWER_S_MAX)
    try:
        connection.request("GET", "/readyz", headers=dict(headers))
        return json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
