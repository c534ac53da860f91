"""`clorad config`: the settings as they take effect, without what must stay secret."""

import json
import re
from typing import Any

from sqlalchemy import make_url

from daemon.console import console, show_json
from daemon.settings import Settings

MASK = "********"
_SECRET = re.compile(r"password|secret|token$|key$|credential|jaas|sasl_plain_username|oauth", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=//)[^/@\s]+(?=@)")


def show(settings: Settings, *, as_json: bool) -> None:
    """Print every setting with its value; secrets are masked."""
    values = masked(settings)
    if as_json:
        show_json(values)
    else:
        console().print("\n".join(_toml(values)), soft_wrap=True)


def masked(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, with secrets masked: passwords in URLs, Kafka's options by name."""
    values: dict[str, Any] = settings.model_dump(mode="json")
    values["ledger"]["url"] = make_url(values["ledger"]["url"]).render_as_string(hide_password=True)
    values["kafka"]["options"] = {
        name: MASK if _SECRET.search(name) else value for name, value in values["kafka"]["options"].items()
    }
    values["fleet"]["replicas"] = [_IN_URL.sub(MASK, url) for url in values["fleet"]["replicas"]]
    if values["telemetry"]["otlp_endpoint"]:
        values["telemetry"]["otlp_endpoint"] = _IN_URL.sub(MASK, values["telemetry"]["otlp_endpoint"])
    return values


def _toml(values: dict[str, Any], path: str = "") -> list[str]:
    """Near enough to clorad.toml to be copied from; nothing is left out."""
    plain = [
        f"# {name} is not set" if value is None else f"{name} = {json.dumps(value)}"
        for name, value in values.items()
        if _is_plain(value)
    ]
    lines = [*([f"[{path}]"] if path and plain else []), *plain]
    for name, value in values.items():
        if not _is_plain(value):
            lines += ["", *_toml(value, f"{path}.{name}" if path else name)]
    return lines


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict) or not value
