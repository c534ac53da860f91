"""What waits for each agent, derived from what it was taught: nothing here is stored."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, or_, select

from ledger.database import now_s
from ledger.events import CORRECTING, TEACHING, Kind, Role, Status
from ledger.intake.withdrawn import was_reverted
from ledger.learning.usage import Usage, usages
from ledger.schema import agents, decisions, desired, events, turn_events, turns, versions
from ledger.turn_states import TurnPart, TurnState, in_part, in_state
from ledger.versions.decisions import Verdict, undecided
from ledger.versions.desired import Purpose, taught_turns
from ledger.versions.lineage import BASE


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits for one agent. Taught events are not in it: they are in the champion's ancestry."""

    agent: str
    champion: int
    untaught: int  # train-role events that can teach and have not
    oldest_age_s: float  # of those; 0 where there are none
    gate_new: int  # gate-role corrections since the champion's turn: what a candidate can be judged on
    refusals: int  # since the last promotion
    news: bool  # whether anything arrived since it last tried in vain
    has_candidate: bool
    is_learning: bool = False  # a turn of it is open, with whichever learner
    usage: Usage = field(default_factory=Usage)


def stamp(connection: Connection) -> tuple[int, int, int]:
    """Newest event, decision and turn: while it stays, backlogs change by growing older only. Cheap."""
    newest = [
        select(func.max(column)).scalar_subquery() for column in (events.c.seq, decisions.c.id, turns.c.id)
    ]
    return tuple(int(value or 0) for value in connection.execute(select(*newest)).one())  # type: ignore[return-value]


def backlogs(connection: Connection) -> list[Backlog]:
    """The backlog of every agent, by name."""
    now = now_s(connection)
    waiting = {row.agent: row for row in connection.execute(_untaught_counts())}
    gated = dict(_pairs(connection, _gate_counts()))
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
    found = []
    for name in connection.scalars(select(agents.c.name).order_by(agents.c.name)).all():
        row = waiting.get(name)
        refusals, decided_through = history.get(name, _NO_HISTORY)
        found.append(
            Backlog(
                agent=name,
                champion=int(champions.get(name, BASE)),
                untaught=0 if row is None else int(row.waiting),
                oldest_age_s=0.0 if row is None else max(0.0, now - row.oldest_s),
                gate_new=int(gated.get(name, 0)),
                refusals=refusals,
                news=int(newest.get(name, 0)) > max(decided_through, fruitless.get(name, -1)),
                has_candidate=name in candidates,
                is_learning=name in learning,
                usage=used[name],
            )
        )
    return found


def is_untaught() -> ColumnElement[bool]:
    """Whether an event can teach and has not: usable, of role train, in no turn the champion comes from."""
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


def refusals_of(connection: Connection, agent: str) -> int:
    """Candidates of the agent that were refused since its last promotion: what makes the next try harder."""
    return _decision_history(connection, agent).get(agent, _NO_HISTORY)[0]


def _untaught_counts() -> Select[Any]:
    return (
        select(events.c.agent, func.count().label("waiting"), func.min(events.c.received_s).label("oldest_s"))
        .where(is_untaught())
        .group_by(events.c.agent)
    )


def _gate_counts() -> Select[Any]:
    """Gate-role corrections newer than what the champion's own turn had looked at."""
    through = (
        select(versions.c.through_seq)
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
    tells = and_(
        events.c.status == Status.OPEN.value,
        events.c.role.in_([Role.TRAIN.value, Role.GATE.value]),
        events.c.kind.in_([kind.value for kind in TEACHING]),
    )
    return (
        select(events.c.agent, func.max(events.c.seq))
        .where(or_(tells, events.c.kind == Kind.RETRACTION.value))
        .group_by(events.c.agent)
    )


def _fruitless_turns() -> Select[Any]:
    """Per agent the newest event that a turn of its present champion looked at and made nothing of."""
    here = (desired.c.agent == turns.c.agent) & (desired.c.number == turns.c.parent)
    return (
        select(turns.c.agent, func.max(turns.c.through_seq))
        .join(desired, here & (desired.c.purpose == Purpose.SERVE.value))
        .where(in_state(TurnState.DROPPED))
        .group_by(turns.c.agent)
    )


def _decision_history(connection: Connection, agent: str | None = None) -> dict[str, tuple[int, int]]:
    """(refusals since the last promotion, newest event the last refusal or abstention knew) per agent.

    Only what was decided since then is read: evidence is long, and lies before `through_seq` in a row.
    """
    anew = [verdict.value for verdict in (Verdict.PROMOTE, Verdict.ROLLBACK, Verdict.INITIAL)]
    last = select(decisions.c.agent, func.max(decisions.c.id).label("id")).where(decisions.c.kind.in_(anew))
    if agent is not None:
        last = last.where(decisions.c.agent == agent)
    began = last.group_by(decisions.c.agent).subquery()
    query = (
        select(decisions.c.agent, decisions.c.kind, decisions.c.through_seq)
        .join(began, (began.c.agent == decisions.c.agent) & (began.c.id < decisions.c.id))
        .where(decisions.c.kind.in_([Verdict.REFUSE.value, Verdict.ABSTAIN.value]))
        .order_by(decisions.c.id)
    )
    history: dict[str, tuple[int, int]] = {}
    for name, kind, through in connection.execute(query):
        refusals, _ = history.get(name, _NO_HISTORY)
        history[name] = (refusals + (Verdict(kind) is Verdict.REFUSE), through)
    return history


_NO_HISTORY = (0, -1)


def _pairs(connection: Connection, query: Select[Any]) -> list[tuple[str, int]]:
    return [(row[0], int(row[1])) for row in connection.execute(query)]
