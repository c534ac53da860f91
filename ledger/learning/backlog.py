"""The events that each agent can still be taught, derived from what it was taught: nothing is stored here."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, literal, or_, select

from ledger.database import now_s
from ledger.events import CORRECTING, TEACHING, WAITS_FOR_ANOTHER, Kind, Role, Status
from ledger.intake.withdrawn import was_reverted
from ledger.learning.judged import champions_judged_apart
from ledger.learning.last_tries import last_tries
from ledger.learning.retries import LastTry
from ledger.learning.usage import Usage, usages
from ledger.schema import agents, decisions, desired, events, interactions, turn_events, turns, versions
from ledger.turn_states import TurnPart, TurnState, in_part, in_state
from ledger.versions.decisions import Verdict, last_beginnings, undecided
from ledger.versions.desired import Purpose, taught_turns
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import BASE

JUDGING_SAMPLES = (Kind.OUTCOME, Kind.REJECT, Kind.ABORT)
"""Kinds that only say how good an answer of the agent was: the champion moves away from old answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The backlog of one agent. Events that the champion or its ancestors were taught are not in it."""

    agent: str
    champion: int
    untaught: int  # train-role events that can teach and were not taught
    oldest_age_s: float  # of those; 0 if there are none
    gate_new: int  # gate-role corrections since the champion's turn, by which a candidate can be judged
    refusals: int  # since the last promotion
    unconfirmed: int = 0  # corrections for training that wait for another person
    gate_unconfirmed: int = 0  # the same, for the gate
    news: bool = False  # an event arrived since its last turn that led to no promotion
    has_candidate: bool = False
    is_learning: bool = False  # one of its turns is open, in any learner
    usage: Usage = field(default_factory=Usage)
    last_try: LastTry | None = None  # None: it had no turn
    gate: GateMode = GateMode.CORRECTIONS
    outcomes: int = 0  # of the untaught events
    events_min: int | None = None  # untaught events that make it due; None: the installation's number


def stamp(connection: Connection) -> tuple[int, ...]:
    """The newest event, decision and turn, and the agents' own `events_min`. Cheap.

    While they stay the same, only ages in a backlog change.
    """
    newest = [
        select(func.max(column)).scalar_subquery() for column in (events.c.seq, decisions.c.id, turns.c.id)
    ]
    events_min = select(func.sum(agents.c.events_min)).scalar_subquery()
    return tuple(int(value or 0) for value in connection.execute(select(*newest, events_min)).one())


def backlogs(connection: Connection) -> list[Backlog]:
    """The backlog of every agent, by name."""
    now = now_s(connection)
    waiting = {row.agent: row for row in connection.execute(_untaught_counts())}
    gated = dict(_pairs(connection, _gate_counts()))
    alone = {(row.agent, row.role): row.waiting for row in connection.execute(_unconfirmed_counts())}
    newest = dict(_pairs(connection, _newest_usable()))
    candidates = {candidate.agent for candidate in undecided(connection)}
    champions = dict(
        _pairs(
            connection,
            select(desired.c.agent, desired.c.number).where(desired.c.purpose == Purpose.SERVE.value),
        )
    )
    history = _decision_history(connection)
    fruitless = dict(_pairs(connection, _fruitless_turns()))
    learning = set(connection.scalars(select(turns.c.agent).where(turns.c.closed_s.is_(None))))
    used = usages(connection)
    tries = last_tries(connection)
    for name, uids in champions_judged_apart(connection).items():
        gated[name] = max(0, gated.get(name, 0) - len(uids))
    backlog_list = []
    declared = select(agents.c.name, agents.c.gate, agents.c.events_min).order_by(agents.c.name)
    for name, gate, events_min in connection.execute(declared).all():
        row = waiting.get(name)
        refusals, decided_through = history.get(name, _NO_HISTORY)
        backlog_list.append(
            Backlog(
                agent=name,
                champion=int(champions.get(name, BASE)),
                untaught=0 if row is None else int(row.waiting),
                oldest_age_s=0.0 if row is None else max(0.0, now - row.oldest_s),
                gate_new=int(gated.get(name, 0)),
                unconfirmed=int(alone.get((name, Role.TRAIN.value), 0)),
                gate_unconfirmed=int(alone.get((name, Role.GATE.value), 0)),
                refusals=refusals,
                news=int(newest.get(name, 0)) > max(decided_through, fruitless.get(name, -1)),
                has_candidate=name in candidates,
                is_learning=name in learning,
                usage=used[name],
                last_try=tries.get(name),
                gate=GateMode(gate),
                outcomes=0 if row is None else int(row.outcomes),
                events_min=events_min,
            )
        )
    return backlog_list


def is_untaught() -> ColumnElement[bool]:
    """Whether an event can teach and was not taught: usable, of role train, in no turn of the champion's
    line."""
    line = taught_turns()
    is_taught = (
        select(literal(1))
        .select_from(turn_events.join(line, line.c.turn_id == turn_events.c.turn_id))
        .where(turn_events.c.event_seq == events.c.seq, in_part(TurnPart.NEW))
    )
    return and_(
        events.c.status == Status.OPEN.value,
        events.c.role == Role.TRAIN.value,
        events.c.kind.in_([kind.value for kind in TEACHING]),
        ~is_taught.exists(),
    )


def samples_of(connection: Connection, agent: str, versions: Collection[str]) -> dict[int, str]:
    """Untaught events, by `seq`, that judge what one of these versions sampled, with its name.

    The interaction that they name says which version that was.
    """
    if not versions:
        return {}
    rows = connection.execute(
        select(events.c.seq, interactions.c.version)
        .join(interactions, interactions.c.id == events.c.interaction)
        .where(events.c.agent == agent, is_untaught(), judges_samples())
        .where(interactions.c.agent == agent, interactions.c.version.in_(versions))
    )
    return {row.seq: row.version for row in rows}


def untaught_samples(connection: Connection, agent: str) -> list[int]:
    """Untaught events, by `seq`, that only judge what the agent sampled.

    What amends another event says more: that a person's reply was kept.
    """
    query = select(events.c.seq).where(events.c.agent == agent, is_untaught(), judges_samples())
    return list(connection.scalars(query.where(events.c.amends.is_(None))))


def judges_samples() -> ColumnElement[bool]:
    """Whether an event only says how good the agent's own answer was: it teaches nothing but that answer."""
    return events.c.kind.in_([kind.value for kind in JUDGING_SAMPLES])


def waits_for_another() -> ColumnElement[bool]:
    """Whether an event waits for another person who says the like."""
    return and_(
        events.c.status == Status.WAITING.value,
        events.c.role.is_not(None),
        events.c.status_reason == WAITS_FOR_ANOTHER,
    )


def refusals_of(connection: Connection, agent: str) -> int:
    """How many candidates of the agent the gate has refused since its last promotion."""
    return _decision_history(connection, agent).get(agent, _NO_HISTORY)[0]


def decided_through(connection: Connection, agent: str) -> int:
    """The newest event before the agent's last refusal or abstention; 0 where there was none."""
    return max(0, _decision_history(connection, agent).get(agent, _NO_HISTORY)[1])


def _untaught_counts() -> Select[Any]:
    return (
        select(
            events.c.agent,
            func.count().label("waiting"),
            func.min(events.c.received_s).label("oldest_s"),
            func.sum(case((events.c.kind == Kind.OUTCOME.value, 1), else_=0)).label("outcomes"),
        )
        .where(is_untaught())
        .group_by(events.c.agent)
    )


def _unconfirmed_counts() -> Select[Any]:
    return (
        select(events.c.agent, events.c.role, func.count().label("waiting"))
        .where(waits_for_another())
        .group_by(events.c.agent, events.c.role)
    )


def _gate_counts() -> Select[Any]:
    """Gate-role corrections newer than the newest event that planning of the champion's turn saw."""
    through = (
        select(func.coalesce(turns.c.judged_seq, turns.c.through_seq))
        .join(versions, versions.c.turn_id == turns.c.id)
        .join(desired, (desired.c.agent == versions.c.agent) & (desired.c.number == versions.c.number))
        .where(desired.c.purpose == Purpose.SERVE.value, versions.c.agent == events.c.agent)
        .scalar_subquery()
    )
    return (
        select(events.c.agent, func.count())
        .where(
            events.c.role == Role.GATE.value,
            events.c.status == Status.OPEN.value,
            events.c.kind.in_([kind.value for kind in CORRECTING]),
            events.c.seq > func.coalesce(through, 0),
            ~was_reverted(),
        )
        .group_by(events.c.agent)
    )


def _newest_usable() -> Select[Any]:
    """Per agent the newest event that could change a refusal: teaching, gate evidence, a retraction."""
    is_usable = and_(
        events.c.status == Status.OPEN.value,
        events.c.role.in_([Role.TRAIN.value, Role.GATE.value]),
        events.c.kind.in_([kind.value for kind in TEACHING]),
    )
    return (
        select(events.c.agent, func.max(events.c.seq))
        .where(or_(is_usable, events.c.kind == Kind.RETRACTION.value))
        .group_by(events.c.agent)
    )


def _fruitless_turns() -> Select[Any]:
    """Per agent the newest event seen by a turn from its present champion that made no version."""
    is_champions = (desired.c.agent == turns.c.agent) & (desired.c.number == turns.c.parent)
    return (
        select(turns.c.agent, func.max(turns.c.through_seq))
        .join(desired, is_champions & (desired.c.purpose == Purpose.SERVE.value))
        .where(in_state(TurnState.DROPPED))
        .group_by(turns.c.agent)
    )


def _decision_history(connection: Connection, agent: str | None = None) -> dict[str, tuple[int, int]]:
    """Per agent: refusals since the last promotion, and the newest event before its last refusal or
    abstention.

    A canary that was withdrawn was a try like one that was refused; the rollback of a champion begins anew.
    The query reads decisions since that promotion only: evidence is long, and lies before `through_seq` in
    a row.
    """
    last = last_beginnings()
    latest = (last if agent is None else last.where(decisions.c.agent == agent)).subquery()
    refused = (Verdict.REFUSE.value, Verdict.ROLLBACK.value)
    query = (
        select(decisions.c.agent, decisions.c.kind, decisions.c.through_seq)
        .join(latest, (latest.c.agent == decisions.c.agent) & (latest.c.id < decisions.c.id))
        .where(decisions.c.kind.in_([Verdict.ABSTAIN.value, *refused]))
        .order_by(decisions.c.id)
    )
    history: dict[str, tuple[int, int]] = {}
    for name, kind, through in connection.execute(query):
        refusals, _ = history.get(name, _NO_HISTORY)
        history[name] = (refusals + (kind in refused), through)
    return history


_NO_HISTORY = (0, -1)


def _pairs(connection: Connection, query: Select[Any]) -> list[tuple[str, int]]:
    return [(row[0], int(row[1])) for row in connection.execute(query)]
