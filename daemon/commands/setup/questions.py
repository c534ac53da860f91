"""The questions of `clorad init`: what no option says is asked on the terminal, or has its default."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from daemon.commands.setup.init import base_of_replica
from daemon.commands.setup.settings_text import FirstSettings
from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode
from daemon.settings import FleetSettings, GateSettings, KafkaSettings
from feedback.kafka_security import MECHANISMS, PROTOCOLS

Ask = Callable[..., Any]
"""Shows a question with its default, and returns the answer (`typer.prompt`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupQuestions:
    """Asks where `asks`, else takes the default; without one, the option is demanded."""

    asks: bool
    ask: Ask = typer.prompt

    def first_settings(
        self,
        *,
        brokers: str | None,
        kafka_options: Mapping[str, str],
        replicas: tuple[str, ...],
        base: Path | None,
        agent: str | None,
        authors_min: int | None,
        capture: bool,
    ) -> FirstSettings:
        """What the installation is told. Raises `CommandFailed` if an option without a default is missing."""
        brokers = brokers or self._answer("Kafka, as host:port", KafkaSettings().bootstrap_servers)
        options = dict(kafka_options) or self._kafka_options()
        if not replicas:
            listed = self._answer("vLLM servers, with commas between", ",".join(FleetSettings().replicas))
            replicas = tuple(url.strip() for url in listed.split(","))
        return FirstSettings(
            brokers=brokers,
            kafka_options=options,
            replicas=replicas,
            base=(base or self._base(replicas[0])).expanduser().resolve(),
            agent=agent or self._answer("Name of the first agent", None, option="--agent"),
            folder=Path.cwd(),
            authors_min=authors_min or self._authors_min(),
            capture=capture,
        )

    def _kafka_options(self) -> dict[str, str]:
        protocol = self._answer(f"How Kafka is reached ({', '.join(PROTOCOLS)})", PROTOCOLS[0])
        options = {} if protocol == PROTOCOLS[0] else {"security_protocol": protocol}
        if "SASL" in protocol:
            mechanism = self._answer("How clorad logs in", MECHANISMS[0])
            options |= {"sasl_mechanism": mechanism, "sasl_plain_username": self._answer("User", None)}
        return options

    def _base(self, replica: str) -> Path:
        """The directory that the replica names is the default, where this machine has it."""
        default = base_of_replica(replica, None)
        text = "Directory of the base model that vLLM serves"
        return Path(self._answer(text, None if default is None else str(default), option="--base"))

    def _authors_min(self) -> int:
        default = GateSettings().authors_min
        text = "People who must correct alike before it teaches (1: a team of one)"
        return int(self.ask(text, default=default, type=int, err=True)) if self.asks else default

    def _answer(self, text: str, default: str | None, *, option: str = "") -> str:
        if self.asks:
            return str(self.ask(text, default=default, err=True)).strip()
        if default is None:
            raise CommandFailed(f"{text}: --yes needs {option}", ExitCode.USAGE)
        return default
