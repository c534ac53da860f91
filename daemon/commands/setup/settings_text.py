"""Writes the text of a clorad.toml in which each value has a line that says what it is.

The lines are those of `daemon.settings`, so that they cannot say anything else.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from daemon.settings import (
    AgentSettings,
    EngineSettings,
    FleetSettings,
    GateSettings,
    GatewaySettings,
    KafkaSettings,
    LedgerSettings,
    StoreSettings,
)

_HEAD = """\
# Settings of clorad, written by `clorad init`. `clorad config` prints every setting in force, `clorad doctor`
# says what is wrong. A variable CLORAD_SECTION__NAME wins over a line here: secrets belong there.
"""

_OPTIONS: Mapping[str, str] = {
    "security_protocol": "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    "ssl_cafile": "Who signed the brokers' certificates.",
    "sasl_mechanism": "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.",
    "sasl_plain_username": "The user; the password is in CLORAD_KAFKA__OPTIONS__SASL_PLAIN_PASSWORD.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSettings:
    """What a new installation is told; all else has its default."""

    brokers: str
    replicas: tuple[str, ...]
    base: Path
    agent: str
    folder: Path  # of the ledger and the adapter store
    authors_min: int
    capture: bool
    kafka_options: Mapping[str, str] = field(default_factory=dict)

    def toml(self) -> str:
        """The text of the settings file."""
        return "\n".join([_HEAD, *self._lines()])

    def _lines(self) -> Iterator[str]:
        yield from _section("kafka", KafkaSettings, {"bootstrap_servers": self.brokers})
        if self.kafka_options:
            yield "[kafka.options]"
            for name, value in self.kafka_options.items():
                yield from (f"# {_OPTIONS[name]}", f"{name} = {_value(value)}")
            yield ""
        ledger = f"sqlite:///{self.folder / 'clorad.db'}"
        yield from _section("ledger", LedgerSettings, {"url": ledger})
        yield from _section("store", StoreSettings, {"path": str(self.folder / "adapters")})
        yield from _section("engine", EngineSettings, {"base": str(self.base)})
        yield from _section("fleet", FleetSettings, {"replicas": list(self.replicas)})
        yield from _section("gate", GateSettings, {"authors_min": self.authors_min})
        yield from _section(
            "gateway",
            GatewaySettings,
            {name: getattr(GatewaySettings(), name) for name in ("host", "port", "access")},
        )
        agent = {"scorer": AgentSettings().scorer, "capture": self.capture}
        yield from _section(f"agents.{_key(self.agent)}", AgentSettings, agent)


def _section(name: str, group: type[BaseModel], values: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    for setting, value in values.items():
        reason = " ".join((group.model_fields[setting].description or "").split())
        yield from (f"# {reason}", f"{setting} = {_value(value)}")
    yield ""


def _value(value: Any) -> str:
    """In TOML, texts, numbers, booleans and lists are written as in JSON (https://toml.io/en/v1.0.0)."""
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)
