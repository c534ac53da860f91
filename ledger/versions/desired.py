"""Desired state: which version each agent should serve, and what the replicas should hold for judging."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.sql.expression import CTE

from ledger.database import now_s
from ledger.facts import fact, set_fact
from ledger.schema import desired, versions
from ledger.versions.lineage import BASE, Version, read_versions

GENERATION = "generation"
"""The fact that counts how often routing may have changed."""


class Purpose(StrEnum):
    """Why a version should be on the replicas."""

    SERVE = "serve"
    PREDECESSOR = "predecessor"
    CANARY = "canary"
    GATE = "gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One row of desired state. `version` is None for the base."""

    agent: str
    purpose: Purpose
    number: int
    version: Version | None
    share: float
    since_s: float


def champion(connection: Connection, agent: str) -> int:
    """The number of the version the agent serves; 0 is the base."""
    return _wanted_number(connection, agent, Purpose.SERVE) or BASE


def wanted(connection: Connection) -> list[Wanted]:
    """The whole desired state."""
    rows = connection.execute(select(desired).order_by(desired.c.agent, desired.c.purpose)).all()
    named = {(row.agent, row.number) for row in rows if row.number != BASE}
    version_by_name = {
        (version.agent, version.number): version
        for version in read_versions(
            connection,
            select(versions).join(
                desired, (desired.c.agent == versions.c.agent) & (desired.c.number == versions.c.number)
            ),
        )
    }
    assert named <= set(version_by_name), "desired state names only versions that exist"
    return [
        Wanted(
            agent=row.agent,
            purpose=Purpose(row.purpose),
            number=row.number,
            version=version_by_name.get((row.agent, row.number)),
            share=row.share,
            since_s=row.since_s,
        )
        for row in rows
    ]


def generation(connection: Connection) -> int:
    """A number that grows whenever routing may have changed."""
    return int(fact(connection, GENERATION) or 0)


def raise_generation(connection: Connection) -> int:
    """Make every gateway read routing again, once this transaction commits. Returns the new generation."""
    raised = generation(connection) + 1
    set_fact(connection, GENERATION, raised)
    return raised


def want(connection: Connection, candidate: Version, purpose: Purpose, *, share: float = 0.0) -> None:
    """Ask for the candidate on the replicas, for the gate or as a canary."""
    assert purpose in (Purpose.GATE, Purpose.CANARY), "only a promotion or a rollback changes what serves"
    no_longer_want(connection, candidate.agent, purpose)
    row: dict[str, Any] = {"agent": candidate.agent, "purpose": purpose.value, "number": candidate.number}
    connection.execute(insert(desired).values(**row, share=share, since_s=now_s(connection)))


def share_of(connection: Connection, agent: str) -> float:
    """The share of the conversations that the agent's canary answers; 0 where it has none."""
    query = select(desired.c.share).where(desired.c.agent == agent, desired.c.purpose == Purpose.CANARY.value)
    return float(connection.scalar(query) or 0.0)


def no_longer_want(connection: Connection, agent: str, *purposes: Purpose) -> None:
    """Remove the agent's rows of these purposes from desired state."""
    names = [purpose.value for purpose in purposes]
    connection.execute(delete(desired).where(desired.c.agent == agent, desired.c.purpose.in_(names)))


def taught_turns() -> CTE:
    """A query for (agent, number, parent, turn_id) of each champion and its ancestors: what is taught."""
    line = (
        select(versions.c.agent, versions.c.number, versions.c.parent, versions.c.turn_id)
        .join(desired, (desired.c.agent == versions.c.agent) & (desired.c.number == versions.c.number))
        .where(desired.c.purpose == Purpose.SERVE.value)
        .cte("line", recursive=True)
    )
    older = select(versions.c.agent, versions.c.number, versions.c.parent, versions.c.turn_id).join(
        line, (versions.c.agent == line.c.agent) & (versions.c.number == line.c.parent)
    )
    return line.union_all(older)


def _wanted_number(connection: Connection, agent: str, purpose: Purpose) -> int | None:
    query = select(desired.c.number).where(desired.c.agent == agent, desired.c.purpose == purpose.value)
    number = connection.scalar(query)
    return None if number is None else int(number)
