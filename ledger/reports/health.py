"""The state of the ledger for metrics, in one snapshot: backlogs, open work, stuck events, last activity.

Agents are counted, not listed. No query but those of the backlogs takes longer as events add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from ledger import leases
from ledger.database import now_s
from ledger.events import Status
from ledger.facts import restores
from ledger.learning.backlog import Backlog, backlogs
from ledger.learning.turns import lease_name
from ledger.schema import agents, decisions, desired, events, passes, turn_events, turns, versions
from ledger.turn_states import EventOutcome, TurnPart, TurnState, in_part, in_state
from ledger.versions.decisions import Verdict, undecided
from ledger.versions.desired import Purpose, generation

STUCK = (Status.WAITING, Status.HELD, Status.CONTESTED)
"""Events of these statuses are not trained on before a person acts, or before an interaction arrives."""

_DECISIONS_MAX = 1000  # read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerHealth:
    """The ledger as of `now_s`. Ages are in seconds, and 0 if there is nothing of that kind."""

    now_s: float
    backlogs: tuple[Backlog, ...]
    stuck: Mapping[Status, int]
    candidates: int  # versions without a verdict
    candidate_age_s: float  # of the oldest
    turns_held: int  # open turns whose agent a learner has leased
    turns_left: int  # open turns that no learner works on
    pass_age_s: float  # of the oldest open pass
    leases: Mapping[str, int]  # how many are held, by kind: agent, fleet
    last_s: Mapping[str, float]  # seconds since 1970 of the last event, turn, version, decision and flip
    generation: int
    restores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One decision, and how long the events that it brought to users had waited."""

    verdict: Verdict
    by: str  # "gate", "canary", or a person's name
    waited_s: tuple[float, ...]  # of a promotion: seconds from storing each trained event to the promotion


def ledger_health(connection: Connection) -> LedgerHealth:
    """The state of the ledger, in one snapshot."""
    now = now_s(connection)
    made_s = [candidate.made_s for candidate in undecided(connection)]
    names = leases.held_names(connection)
    open_turns = connection.execute(_open_turns()).all()
    leased_turns = sum(lease_name(row.agent) in names for row in open_turns)
    kinds = [name.partition(":")[0] for name in names]
    return LedgerHealth(
        now_s=now,
        backlogs=tuple(backlogs(connection)),
        stuck=_stuck(connection),
        candidates=len(made_s),
        candidate_age_s=_age_s(now, made_s),
        turns_held=leased_turns,
        turns_left=len(open_turns) - leased_turns,
        pass_age_s=_age_s(now, [row.opened_s for row in open_turns]),
        leases={kind: kinds.count(kind) for kind in sorted(set(kinds))},
        last_s=_last(connection),
        generation=generation(connection),
        restores=restores(connection),
    )


def newest_decision(connection: Connection) -> int:
    """The number of the last decision; 0 if there is none."""
    return int(connection.scalar(select(func.max(decisions.c.id))) or 0)


def decided_since(connection: Connection, number: int) -> tuple[int, list[Decided]]:
    """The number of the last decision that is returned, and the decisions after `number`, oldest first.

    A restored ledger may have fewer decisions than `number`; then the result is its last number and none.
    """
    newest = newest_decision(connection)
    if newest <= number:
        return newest, []
    query = (
        select(decisions.c.id, decisions.c.agent, decisions.c.number, decisions.c.kind, decisions.c.by)
        .where(decisions.c.id > number)
        .order_by(decisions.c.id)
        .limit(_DECISIONS_MAX)
    )
    rows = connection.execute(query).all()
    decided = [
        Decided(verdict=Verdict(row.kind), by=row.by, waited_s=_waited_s(connection, row)) for row in rows
    ]
    return rows[-1].id, decided


def _waited_s(connection: Connection, decision: Any) -> tuple[float, ...]:
    if decision.kind != Verdict.PROMOTE.value:
        return ()
    query = (
        select(decisions.c.decided_s - events.c.received_s)
        .select_from(decisions)
        .join(versions, (versions.c.agent == decisions.c.agent) & (versions.c.number == decisions.c.number))
        .join(turn_events, turn_events.c.turn_id == versions.c.turn_id)
        .join(events, events.c.seq == turn_events.c.event_seq)
        .where(decisions.c.id == decision.id, in_part(TurnPart.NEW))
        .where(turn_events.c.outcome == EventOutcome.TRAINED.value)
    )
    return tuple(max(0.0, float(waited_s)) for waited_s in connection.scalars(query))


def _stuck(connection: Connection) -> dict[Status, int]:
    """Stuck events by status. The query names the agents, so that the database uses an index for it."""
    query = (
        select(events.c.status, func.count())
        .where(
            events.c.agent.in_(select(agents.c.name)), events.c.status.in_([status.value for status in STUCK])
        )
        .group_by(events.c.status)
    )
    counted = dict.fromkeys(STUCK, 0)
    return counted | {Status(status): int(count) for status, count in connection.execute(query)}


def _open_turns() -> Select[Any]:
    return (
        select(turns.c.agent, passes.c.opened_s)
        .join(passes, passes.c.id == turns.c.pass_id)
        .where(turns.c.closed_s.is_(None))
    )


def _last(connection: Connection) -> dict[str, float]:
    """When each kind of thing last happened. Each query reads the end of an index."""
    closed = select(turns.c.closed_s).where(turns.c.closed_s.is_not(None))
    queries = {
        "event": select(events.c.received_s).order_by(events.c.seq.desc()),
        "turn": closed.order_by(turns.c.closed_s.desc()),
        "version": closed.where(in_state(TurnState.MADE)).order_by(turns.c.closed_s.desc()),
        "decision": select(decisions.c.decided_s).order_by(decisions.c.id.desc()),
        "flip": select(func.max(desired.c.since_s)).where(desired.c.purpose == Purpose.SERVE.value),
    }
    times_s = {kind: connection.scalar(query.limit(1)) for kind, query in queries.items()}
    return {kind: float(time_s) for kind, time_s in times_s.items() if time_s is not None}


def _age_s(now: float, since_s: list[float]) -> float:
    return max(0.0, now - min(since_s)) if since_s else 0.0
