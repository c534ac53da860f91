"""Agents and their training settings. Each role copies the settings here at its start; the ledger decides."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ledger.database import Database, now_s
from ledger.intake.ownership import TrustLevels, levels_from
from ledger.schema import agents, decisions, desired
from ledger.versions.decisions import BY_GATE, Verdict
from ledger.versions.desired import Purpose, raise_generation
from ledger.versions.evidence import Evidence
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import BASE

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What an agent's name must match: it is a part of paths, of model names and of headers."""


NOT_YET = 2**31 - 1
"""The `events_min` of an agent that is not due whatever waits: a step of its experiment is not complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One agent: it learns, and is served under a name that stays the same."""

    name: str
    base_hash: str
    scorer: str = "auto"  # a key of `serving.scoring.scorers.SCORERS`
    recipe: Mapping[str, Any] = field(default_factory=dict)  # differences from the default recipe
    capture: bool = False
    weight: float = 1.0  # share of training when several are due
    tokens_per_hour_max: int | None = None  # training tokens; None: no quota
    canary_share: float | None = None  # of the conversations, in its first step; None: the installation's
    confirm: bool = False  # a person must let each version serve
    trust: TrustLevels = field(default_factory=TrustLevels)  # that its events must have
    gate: GateMode = GateMode.CORRECTIONS  # by what its candidates are judged
    events_min: int | None = None  # untaught events that make it due; None: the installation's number


def declare(database: Database, agent: Agent) -> bool:
    """Make the agent known, or bring its settings up to date. Returns whether it is new.

    A new agent serves the base (v0) at once, by an `initial` decision. Raises `ValueError` if its name
    cannot be used, or if it exists on another base: versions of one base cannot serve on another.
    """
    if not re.fullmatch(NAME_PATTERN, agent.name):
        raise ValueError(f"an agent's name must match {NAME_PATTERN}")
    with database.write() as connection:
        stored = connection.execute(select(agents).where(agents.c.name == agent.name)).one_or_none()
        settings = {
            "scorer": agent.scorer,
            "recipe": dict(agent.recipe),
            "capture": agent.capture,
            "weight": agent.weight,
            "tokens_per_hour_max": agent.tokens_per_hour_max,
            "canary_share": agent.canary_share,
            "confirm": agent.confirm,
            "trust": agent.trust.to_json(),
            "gate": agent.gate.value,
            "events_min": agent.events_min,
        }
        if stored is not None:
            if stored.base_hash != agent.base_hash:
                raise ValueError(
                    f"agent {agent.name} learns on base {stored.base_hash[:12]},"
                    f" not on {agent.base_hash[:12]}"
                )
            connection.execute(update(agents).where(agents.c.name == agent.name).values(**settings))
            if stored.capture != agent.capture:
                raise_generation(connection)
            return False
        now = now_s(connection)
        row = {"name": agent.name, "base_hash": agent.base_hash, "declared_s": now, **settings}
        connection.execute(insert(agents).values(**row))
        connection.execute(
            insert(decisions).values(
                agent=agent.name,
                number=BASE,
                kind=Verdict.INITIAL.value,
                by=BY_GATE,
                evidence=Evidence().to_json(),
                through_seq=0,
                decided_s=now,
            )
        )
        connection.execute(
            insert(desired).values(
                agent=agent.name, purpose=Purpose.SERVE.value, number=BASE, share=1.0, since_s=now
            )
        )
        raise_generation(connection)
        return True


def set_events_min(database: Database, agent: str, events_min: int) -> None:
    """The agent is due with so many untaught events from now on."""
    with database.write() as connection:
        connection.execute(update(agents).where(agents.c.name == agent).values(events_min=events_min))


def all_agents(connection: Connection) -> dict[str, Agent]:
    """Every agent by name."""
    return {
        row.name: Agent(
            name=row.name,
            base_hash=row.base_hash,
            scorer=row.scorer,
            recipe=row.recipe,
            capture=row.capture,
            weight=row.weight,
            tokens_per_hour_max=row.tokens_per_hour_max,
            canary_share=row.canary_share,
            confirm=row.confirm,
            trust=levels_from(row.trust),
            gate=GateMode(row.gate),
            events_min=row.events_min,
        )
        for row in connection.execute(select(agents).order_by(agents.c.name))
    }
