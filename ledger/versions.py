"""Versions, the decisions about them, and who should serve what; `ledger.flips` moves an agent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, literal, select
from sqlalchemy.sql.expression import CTE

from ledger import outbox
from ledger.database import now_s
from ledger.events import Status
from ledger.facts import fact, set_fact
from ledger.schema import decisions, desired, events, versions

LIFECYCLE_TOPIC = "clorad.lifecycle"

BASE = 0
"""The version number of an agent that serves the base model."""

GENERATION = "generation"
"""The fact that counts how often routing may have changed."""


class Purpose(StrEnum):
    """Why a version should be on the replicas."""

    SERVE = "serve"
    PREDECESSOR = "predecessor"
    CANARY = "canary"
    GATE = "gate"


class Verdict(StrEnum):
    """What was decided about a version."""

    INITIAL = "initial"
    CANARY = "canary"
    PROMOTE = "promote"
    REFUSE = "refuse"
    ABSTAIN = "abstain"
    ROLLBACK = "rollback"


SETTLED = (Verdict.PROMOTE, Verdict.REFUSE, Verdict.ABSTAIN, Verdict.ROLLBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable adapter of one agent. Number 0 is the base model and has no row."""

    agent: str
    number: int
    hash: str
    base_hash: str
    parent: int
    turn_id: int
    through_seq: int  # newest event its turn had looked at
    path: str  # relative to the adapter store
    made_s: float
    pruned_s: float | None = None  # since when its directory is gone (`ledger.pruning`)

    @property
    def name(self) -> str:
        return version_name(self.number, self.hash)

    @property
    def model(self) -> str:
        """Its name on a replica."""
        return f"{self.agent}@{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision with its evidence."""

    agent: str
    number: int
    verdict: Verdict
    by: str
    evidence: Mapping[str, Any]
    through_seq: int
    decided_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One row of desired state. `version` is None for the base."""

    agent: str
    purpose: Purpose
    number: int
    version: Version | None
    share: float
    since_s: float


def version_name(number: int, content_hash: str) -> str:
    """`v7-3fa2c1`; `v0` for the base."""
    return "v0" if number == BASE else f"v{number}-{content_hash[:6]}"


def versions_of(connection: Connection, agent: str) -> list[Version]:
    """An agent's versions, oldest first."""
    return _read(connection, select(versions).where(versions.c.agent == agent).order_by(versions.c.number))


def version(connection: Connection, agent: str, number: int) -> Version | None:
    """One version; None for the base and for numbers that were never made."""
    found = _read(connection, select(versions).where(versions.c.agent == agent, versions.c.number == number))
    return found[0] if found else None


def undecided(connection: Connection) -> list[Version]:
    """Candidates without a settled verdict, oldest first. An agent has one at most."""
    settled = (
        select(literal(1))
        .where(decisions.c.agent == versions.c.agent, decisions.c.number == versions.c.number)
        .where(decisions.c.kind.in_([verdict.value for verdict in SETTLED]))
    )
    return _read(connection, select(versions).where(~settled.exists()).order_by(versions.c.made_s))


def champion(connection: Connection, agent: str) -> int:
    """The number of the version the agent serves; 0 is the base."""
    return _wanted_number(connection, agent, Purpose.SERVE) or BASE


def decisions_of(connection: Connection, agent: str, number: int | None = None) -> list[Decision]:
    """Decisions about an agent's versions (or one of them), oldest first."""
    query = select(decisions).where(decisions.c.agent == agent).order_by(decisions.c.id)
    if number is not None:
        query = query.where(decisions.c.number == number)
    return [
        Decision(
            agent=row.agent,
            number=row.number,
            verdict=Verdict(row.kind),
            by=row.by,
            evidence=row.evidence,
            through_seq=row.through_seq,
            decided_s=row.decided_s,
        )
        for row in connection.execute(query)
    ]


def wanted(connection: Connection) -> list[Wanted]:
    """The whole desired state."""
    rows = connection.execute(select(desired).order_by(desired.c.agent, desired.c.purpose)).all()
    named = {(row.agent, row.number) for row in rows if row.number != BASE}
    known = {
        (row.agent, row.number): row
        for row in _read(
            connection,
            select(versions).join(
                desired, (desired.c.agent == versions.c.agent) & (desired.c.number == versions.c.number)
            ),
        )
    }
    assert named <= set(known), "desired state names only versions that exist"
    return [
        Wanted(
            agent=row.agent,
            purpose=Purpose(row.purpose),
            number=row.number,
            version=known.get((row.agent, row.number)),
            share=row.share,
            since_s=row.since_s,
        )
        for row in rows
    ]


def generation(connection: Connection) -> int:
    """Grows whenever routing may have changed."""
    return int(fact(connection, GENERATION) or 0)


def raise_generation(connection: Connection) -> int:
    """Tell every gateway to read routing again, once this transaction commits."""
    raised = generation(connection) + 1
    set_fact(connection, GENERATION, raised)
    return raised


def want(connection: Connection, candidate: Version, purpose: Purpose, *, share: float = 0.0) -> None:
    """Ask for the candidate on the replicas, for the gate or as a canary."""
    assert purpose in (Purpose.GATE, Purpose.CANARY), "serving is a flip"
    no_longer_want(connection, candidate.agent, purpose)
    row: dict[str, Any] = {"agent": candidate.agent, "purpose": purpose.value, "number": candidate.number}
    connection.execute(insert(desired).values(**row, share=share, since_s=now_s(connection)))


def no_longer_want(connection: Connection, agent: str, *purposes: Purpose) -> None:
    """Withdraw the agent's rows of these purposes."""
    names = [purpose.value for purpose in purposes]
    connection.execute(delete(desired).where(desired.c.agent == agent, desired.c.purpose.in_(names)))


def decide(connection: Connection, decision: Decision) -> None:
    """Record one decision; settling ones also withdraw what was wanted for judging."""
    connection.execute(
        insert(decisions).values(
            agent=decision.agent,
            number=decision.number,
            kind=decision.verdict.value,
            by=decision.by,
            evidence=_quotable(connection, decision),
            through_seq=decision.through_seq,
            decided_s=now_s(connection),
        )
    )
    if decision.verdict in SETTLED:
        no_longer_want(connection, decision.agent, Purpose.GATE, Purpose.CANARY)
    _report(connection, decision)


def lineage_of(connection: Connection, agent: str, number: int) -> list[int]:
    """The version and its ancestors, newest first, ending with the base."""
    parents = {one.number: one.parent for one in versions_of(connection, agent)}
    line = [number]
    while line[-1] != BASE:
        line.append(parents[line[-1]])
    return line


def taught_turns() -> CTE:
    """(agent, number, turn_id) of every version in the ancestry of a champion: what has been taught."""
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


def newest_seq(connection: Connection, agent: str) -> int:
    """The agent's newest event; 0 where it has none."""
    query = select(events.c.seq).where(events.c.agent == agent).order_by(events.c.seq.desc()).limit(1)
    return int(connection.scalar(query) or 0)


def _quotable(connection: Connection, decision: Decision) -> dict[str, Any]:
    """The evidence without answers to what was retracted, or forgotten, while it was gathered."""
    evidence = dict(decision.evidence)
    if answers := evidence.get("answers"):
        gone = select(events.c.source, events.c.id).where(
            events.c.agent == decision.agent, events.c.status == Status.RETRACTED.value
        )
        uids = {f"{row.source}#{row.id}" for row in connection.execute(gone)}
        evidence["answers"] = {uid: said for uid, said in answers.items() if uid not in uids}
    return evidence


def _report(connection: Connection, decision: Decision) -> None:
    """Owe the lifecycle topic one message; evidence holds numbers and event ids, never texts."""
    body = {
        "agent": decision.agent,
        "version": decision.number,
        "verdict": decision.verdict.value,
        "by": decision.by,
        "at": now_s(connection),
    }
    outbox.put(
        connection,
        topic=LIFECYCLE_TOPIC,
        key=decision.agent.encode(),
        value=json.dumps(body).encode(),
        headers=(("content-type", b"application/json"),),
    )


def _wanted_number(connection: Connection, agent: str, purpose: Purpose) -> int | None:
    query = select(desired.c.number).where(desired.c.agent == agent, desired.c.purpose == purpose.value)
    found = connection.scalar(query)
    return None if found is None else int(found)


def _read(connection: Connection, query: Select[Any]) -> list[Version]:
    return [
        Version(
            agent=row.agent,
            number=row.number,
            hash=row.hash,
            base_hash=row.base_hash,
            parent=row.parent,
            turn_id=row.turn_id,
            through_seq=row.through_seq,
            path=row.path,
            made_s=row.made_s,
            pruned_s=row.pruned_s,
        )
        for row in connection.execute(query)
    ]
