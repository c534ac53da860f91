"""The demo's settings file, and the recipe that a base this small needs to learn.

A real model takes the default recipe. A base of two million parameters needs a larger learning rate
(`python -m bench.learning` measures it).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EVENTS_MIN, AGE_S_MAX = 20, 3600.0

SETTLE_S = 3.0
"""Seconds that people have to object to an answer: here they do at once. The default is an hour."""

GATHER_S = 4.0
"""Seconds that an agent which is due waits for others, so that they share a pass. The default is 2."""

RECIPE: Mapping[str, Any] = {
    "learning_rate": 1.75e-3,
    "beta2": 0.99,
    "steps": 60,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseOptions:
    """A base model, and what fits it on two cores. The defaults fit the example base."""

    path: Path
    recipe: Mapping[str, Any] = field(default_factory=lambda: RECIPE)
    threads: int = 1  # of the learner
    in_flight_max: int = 16  # questions of the gate at once
    suite_max: int = 48


def clorad_toml(
    *,
    folder: Path,
    base: BaseOptions,
    bootstrap: str,
    kafka_options: Mapping[str, Any],
    first_start: str,
    replicas: Sequence[str],
    gateway_port: int,
    ledger_url: str,
    agents: Mapping[str, str],
) -> str:
    """The text of clorad.toml: one machine, agents with their scorers."""
    sections: dict[str, Mapping[str, Any]] = {
        "kafka": {"bootstrap_servers": bootstrap, "group": "clorad-demo", "first_start": first_start},
        "ledger": {"url": ledger_url},
        "store": {"path": str(folder / "adapters")},
        "engine": {"base": str(base.path), "threads": base.threads},
        "learning": {
            "events_min": EVENTS_MIN,
            "age_s_max": AGE_S_MAX,
            "settle_s": SETTLE_S,
            "gather_s": GATHER_S,
        },
        "gate": {
            "suite_max": base.suite_max,
            "answer_tokens_max": 64,
            "in_flight_max": base.in_flight_max,
        },
        "fleet": {"replicas": list(replicas)},
        "gateway": {"port": gateway_port, "leave_s": 0.0},
    }
    if kafka_options:
        sections["kafka.options"] = kafka_options
    for name, scorer in agents.items():
        sections[f"agents.{name}"] = {"scorer": scorer, "capture": True}
        if base.recipe:
            sections[f"agents.{name}.recipe"] = base.recipe
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in entries.items())
        for section, entries in sections.items()
    )


def _value(value: Any) -> str:
    """A value in TOML: strings, numbers, booleans and lists are written as in JSON."""
    return json.dumps(value)
