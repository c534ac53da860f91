"""Reads what needs a person: withdrawn versions, abstentions, contested events, lone corrections."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, select
from sqlalchemy.orm import aliased

from ledger.events import Status
from ledger.learning.backlog import waits_for_another
from ledger.schema import agents, decisions, events, versions
from ledger.versions.decisions import (
    BY_CANARY,
    BY_GATE,
    BY_OUTCOMES,
    SETTLED,
    Verdict,
    last_beginnings,
)
from ledger.versions.lineage import version_name

CONTESTED_MAX = 1000
"""Contested events that are read, the oldest: later ones follow when some of these are settled."""

DECISIONS_MAX = 500  # read at once

_AUTOMATIC = (BY_GATE, BY_CANARY, BY_OUTCOMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A version that was withdrawn, and no person did it."""

    decision: int  # its number
    agent: str
    version: str
    had_served: bool  # it was the champion; else it was a canary
    reason: str
    decided_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstentions:
    """An agent about whose last versions the gate abstained, without another verdict between."""

    agent: str
    version: str  # the last of them
    first: int  # the number of the first of these decisions
    number: int
    reason: str  # of the last one
    decided_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestedPrompt:
    """A contested event; of several about one prompt the first one."""

    seq: int
    agent: str
    uid: str
    reason: str
    received_s: float
    number: int  # contested events about this prompt


def withdrawals(connection: Connection, *, after: int) -> list[Withdrawal]:
    """The versions that were withdrawn by themselves after the decision of that number, oldest first."""
    earlier = aliased(decisions)
    had_served = exists().where(
        earlier.c.agent == decisions.c.agent,
        earlier.c.number == decisions.c.number,
        earlier.c.kind == Verdict.PROMOTE.value,
    )
    query = (
        _decided()
        .add_columns(had_served.label("had_served"))
        .where(decisions.c.id > after, decisions.c.kind == Verdict.ROLLBACK.value)
        .where(decisions.c.by.in_(_AUTOMATIC))
        .order_by(decisions.c.id)
        .limit(DECISIONS_MAX)
    )
    rows = connection.execute(query).all()
    return [
        Withdrawal(
            decision=row.id,
            agent=row.agent,
            version=version_name(row.number, row.hash or ""),
            had_served=bool(row.had_served),
            reason=_reason(row.reasons),
            decided_s=row.decided_s,
        )
        for row in rows
    ]


def abstentions(connection: Connection, *, at_least: int) -> list[Abstentions]:
    """The agents whose last `at_least` verdicts, or more, were abstentions since they got their champion."""
    latest = last_beginnings().subquery()
    query = (
        select(decisions.c.id, decisions.c.agent, decisions.c.kind)
        .join(latest, (latest.c.agent == decisions.c.agent) & (latest.c.id < decisions.c.id))
        .where(decisions.c.kind.in_([verdict.value for verdict in SETTLED]))
        .order_by(decisions.c.id)
    )
    in_a_row: dict[str, list[int]] = defaultdict(list)
    for number, agent, kind in connection.execute(query):
        if kind == Verdict.ABSTAIN.value:
            in_a_row[agent].append(number)
        else:
            in_a_row[agent].clear()
    runs = {numbers[-1]: numbers for numbers in in_a_row.values() if len(numbers) >= at_least}
    rows = connection.execute(_decided().where(decisions.c.id.in_(runs)).order_by(decisions.c.id))
    return [
        Abstentions(
            agent=row.agent,
            version=version_name(row.number, row.hash or ""),
            first=runs[row.id][0],
            number=len(runs[row.id]),
            reason=_reason(row.reasons),
            decided_s=row.decided_s,
        )
        for row in rows
    ]


def contested_prompts(connection: Connection) -> list[ContestedPrompt]:
    """The prompts about which people must decide, oldest first."""
    columns = (events.c.seq, events.c.agent, events.c.source, events.c.id, events.c.prompt_group)
    query = (
        select(*columns, events.c.status_reason, events.c.received_s)
        # names of agents, so that the database uses an index
        .where(events.c.agent.in_(select(agents.c.name)), events.c.status == Status.CONTESTED.value)
        .order_by(events.c.seq)
        .limit(CONTESTED_MAX)
    )
    prompts: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        prompts[row.agent, row.prompt_group or f"event {row.seq}"].append(row)
    return [
        ContestedPrompt(
            seq=first.seq,
            agent=first.agent,
            uid=f"{first.source}#{first.id}",
            reason=first.status_reason or "",
            received_s=first.received_s,
            number=1 + len(others),
        )
        for first, *others in prompts.values()
    ]


def alone_since(connection: Connection) -> Mapping[str, float]:
    """By agent: since when its oldest correction waits for a second person (Unix time)."""
    query = select(events.c.agent, func.min(events.c.received_s)).where(waits_for_another())
    return {row[0]: float(row[1]) for row in connection.execute(query.group_by(events.c.agent))}


def _decided() -> Any:
    """Decisions with the reasons of their evidence alone: the answers beside them are long."""
    about = (versions.c.agent == decisions.c.agent) & (versions.c.number == decisions.c.number)
    columns = (decisions.c.id, decisions.c.agent, decisions.c.number, decisions.c.decided_s)
    reasons = decisions.c.evidence["reasons"].label("reasons")
    return select(*columns, versions.c.hash, reasons).select_from(decisions).outerjoin(versions, about)


def _reason(reasons: Any) -> str:
    return "; ".join(str(reason) for reason in reasons or ())
