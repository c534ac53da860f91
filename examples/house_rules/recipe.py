"""The demo's settings file, and the recipe that a base this small needs to learn.

A real model takes the default recipe. A base of two million parameters needs a larger learning rate and
more steps (`python -m bench.learning` measures it).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RECIPE: Mapping[str, Any] = {
    "learning_rate": 1.75e-3,
    "beta2": 0.99,
    "steps": 60,
    "steps_min": 60,
    "carry_moments": False,
}


def clorad_toml(
    *,
    folder: Path,
    base: Path,
    bootstrap: str,
    kafka_options: Mapping[str, Any],
    first_start: str,
    replicas: Sequence[str],
    gateway_port: int,
    ledger_url: str,
    agents: Mapping[str, str],
) -> str:
    """The text of clorad.toml: one machine, one learner thread, agents with their scorers."""
    sections: dict[str, Mapping[str, Any]] = {
        "kafka": {"bootstrap_servers": bootstrap, "group": "clorad-demo", "first_start": first_start},
        "ledger": {"url": ledger_url},
        "store": {"path": str(folder / "adapters")},
        "engine": {"base": str(base), "threads": 1},
        "learning": {"events_min": 20, "anchors_max": 160, "age_s_max": 3600, "gather_s": 6.0},
        "gate": {"suite_max": 48, "answer_tokens_max": 64, "in_flight_max": 16},
        "fleet": {"replicas": list(replicas)},
        "gateway": {"port": gateway_port, "leave_s": 0.0},
    }
    if kafka_options:
        sections["kafka.options"] = kafka_options
    for name, scorer in agents.items():
        sections[f"agents.{name}"] = {"scorer": scorer, "capture": True}
        sections[f"agents.{name}.recipe"] = RECIPE
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in entries.items())
        for section, entries in sections.items()
    )


def _value(value: Any) -> str:
    """A value in TOML: strings, numbers, booleans and lists are written as in JSON."""
    return json.dumps(value)
