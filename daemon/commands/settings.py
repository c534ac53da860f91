"""`clorad config`: shows the settings in effect, with secrets masked."""

import json
from typing import Any

from daemon.console import console, show_json
from daemon.masking import mask_values
from daemon.settings import Settings


def show(settings: Settings, *, as_json: bool) -> None:
    """Print every setting with its value; secrets are masked."""
    values = masked(settings)
    if as_json:
        show_json(values)
    else:
        console().print("\n".join(_toml(values)), soft_wrap=True)


def masked(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, with secrets masked: in URLs, and in tables of options by name."""
    values: dict[str, Any] = settings.model_dump(mode="json")
    agents = values.pop("agents")  # one section for each agent: the name of an agent is no secret's name
    return {
        **{section: mask_values(value) for section, value in values.items()},
        "agents": {name: mask_values(agent) for name, agent in agents.items()},
    }


def _toml(values: dict[str, Any], path: str = "") -> list[str]:
    """Lines in the form of clorad.toml; a setting without a value is a comment."""
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
