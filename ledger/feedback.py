"""Reading back what people told us: backlogs, events by purpose, the interactions they name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, literal, or_, select

from ledger.database import Database, now_s
from ledger.events import CORRECTING, TEACHING, Event, Interaction, KeptEvent, Kind, Role, Status
from ledger.schema import (
    agents,
    decisions,
    desired,
    events,
    interactions,
    positions,
    turn_events,
    turns,
    versions,
)
from ledger.versions import BASE, Purpose, Verdict, taught_turns, undecided

_IDS_MAX = 400


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
    found = []
    for name in connection.scalars(select(agents.c.name).order_by(agents.c.name)).all():
        row = waiting.get(name)
        refusals, decided_through = history.get(name, (0, -1))
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
            )
        )
    return found


def untaught(connection: Connection, agent: str, *, limit: int) -> list[KeptEvent]:
    """The agent's backlog, oldest first."""
    return _events(
        connection,
        select(events).where(events.c.agent == agent, _is_untaught()).order_by(events.c.seq).limit(limit),
    )


def unripe(connection: Connection, agent: str, *, limit: int) -> list[KeptEvent]:
    """Events that could not be labelled when they were last looked at and may be now, oldest first."""
    query = select(events).where(
        events.c.agent == agent, events.c.status == Status.WAITING.value, events.c.role == Role.TRAIN.value
    )
    return _events(connection, query.order_by(events.c.seq).limit(limit))


def mark(database: Database, marks: Mapping[int, tuple[Status, str]]) -> None:
    """Set what may become of events (by `seq`), with the reason. Retracted ones stay retracted."""
    if not marks:
        return
    with database.write() as connection:
        for seq, (status, reason) in marks.items():
            connection.execute(
                update(events)
                .where(events.c.seq == seq, events.c.status != Status.RETRACTED.value)
                .values(status=status.value, status_reason=reason[:200])
            )


def taught(connection: Connection, agent: str) -> list[KeptEvent]:
    """Events in the champion's ancestry that really taught something, oldest first."""
    line = taught_turns()
    query = (
        select(events)
        .join(turn_events, turn_events.c.event_seq == events.c.seq)
        .join(line, line.c.turn_id == turn_events.c.turn_id)
        .where(line.c.agent == agent, turn_events.c.part == "new", events.c.status == Status.OPEN.value)
        .order_by(events.c.seq)
    )
    return _events(connection, query)


def usable(
    connection: Connection, agent: str, *, role: Role, kinds: Sequence[Kind], after_seq: int = 0
) -> list[KeptEvent]:
    """The agent's usable events of a role and these kinds, oldest first."""
    query = (
        select(events)
        .where(
            events.c.agent == agent,
            events.c.status == Status.OPEN.value,
            events.c.role == role.value,
            events.c.kind.in_([kind.value for kind in kinds]),
            events.c.seq > after_seq,
        )
        .order_by(events.c.seq)
    )
    return _events(connection, query)


def events_by_seq(connection: Connection, seqs: Iterable[int]) -> dict[int, KeptEvent]:
    """Events by their number in the ledger; unknown numbers are left out."""
    wanted = sorted(set(seqs))
    found: dict[int, KeptEvent] = {}
    for start in range(0, len(wanted), _IDS_MAX):
        query = select(events).where(events.c.seq.in_(wanted[start : start + _IDS_MAX]))
        found.update({kept.seq: kept for kept in _events(connection, query)})
    return found


def event_by_uid(connection: Connection, uid: str) -> list[KeptEvent]:
    """Events named `SOURCE#ID` (either may hold more of these signs), or all with that bare id."""
    named = [
        and_(events.c.source == uid[:place], events.c.id == uid[place + 1 :])
        for place, sign in enumerate(uid)
        if sign == "#"
    ]
    return _events(connection, select(events).where(or_(events.c.id == uid, *named)).order_by(events.c.seq))


def interactions_named(connection: Connection, ids: Iterable[str]) -> dict[str, Interaction]:
    """Interactions by id; those never captured are left out."""
    wanted = sorted(set(ids))
    found: dict[str, Interaction] = {}
    for start in range(0, len(wanted), _IDS_MAX):
        query = select(interactions).where(interactions.c.id.in_(wanted[start : start + _IDS_MAX]))
        found.update({row.id: _interaction(row) for row in connection.execute(query)})
    return found


def conversation(connection: Connection, agent: str, name: str) -> list[Interaction]:
    """What was captured of one conversation, in order of turn."""
    query = (
        select(interactions)
        .where(interactions.c.agent == agent, interactions.c.conversation == name)
        .order_by(interactions.c.turn, interactions.c.received_s)
    )
    return [_interaction(row) for row in connection.execute(query)]


def outcome_mean(connection: Connection, agent: str, *, last: int) -> float:
    """Mean of the agent's last outcomes, the baseline of the next; 0 where there are none."""
    query = (
        select(events.c.data)
        .where(events.c.agent == agent, events.c.kind == Kind.OUTCOME.value, events.c.amends.is_(None))
        .order_by(func.coalesce(events.c.occurred_s, events.c.received_s).desc())
        .limit(last)
    )
    values = [float(data["value"]) for data in connection.scalars(query)]
    return sum(values) / len(values) if values else 0.0


def _is_untaught() -> Any:
    line = taught_turns()
    is_taught = (
        select(literal(1))
        .select_from(turn_events.join(line, line.c.turn_id == turn_events.c.turn_id))
        .where(turn_events.c.event_seq == events.c.seq, turn_events.c.part == "new")
    )
    return and_(
        events.c.status == Status.OPEN.value,
        events.c.role == Role.TRAIN.value,
        events.c.kind.in_([kind.value for kind in TEACHING]),
        ~is_taught.exists(),
    )


def _untaught_counts() -> Select[Any]:
    return (
        select(events.c.agent, func.count().label("waiting"), func.min(events.c.received_s).label("oldest_s"))
        .where(_is_untaught())
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
        )
        .group_by(events.c.agent)
    )


def _newest_usable() -> Select[Any]:
    """The newest event per agent that could change a refusal: teaching, or evidence for the gate."""
    return (
        select(events.c.agent, func.max(events.c.seq))
        .where(
            events.c.status == Status.OPEN.value,
            events.c.role.in_([Role.TRAIN.value, Role.GATE.value]),
            events.c.kind.in_([kind.value for kind in TEACHING]),
        )
        .group_by(events.c.agent)
    )


def _fruitless_turns() -> Select[Any]:
    """Per agent the newest event that a turn looked at and made nothing of."""
    return (
        select(turns.c.agent, func.max(turns.c.through_seq))
        .where(turns.c.state == "dropped")
        .group_by(turns.c.agent)
    )


def _decision_history(connection: Connection) -> dict[str, tuple[int, int]]:
    """(refusals since the last promotion, newest event the last refusal or abstention knew) per agent."""
    history: dict[str, tuple[int, int]] = {}
    query = select(decisions.c.agent, decisions.c.kind, decisions.c.through_seq).order_by(decisions.c.id)
    for agent, kind, through in connection.execute(query):
        refusals, _ = history.get(agent, (0, -1))
        match Verdict(kind):
            case Verdict.PROMOTE | Verdict.ROLLBACK | Verdict.INITIAL:
                history[agent] = (0, -1)
            case Verdict.REFUSE:
                history[agent] = (refusals + 1, through)
            case Verdict.ABSTAIN:
                history[agent] = (refusals, through)
            case Verdict.CANARY:
                pass
    return history


def _pairs(connection: Connection, query: Select[Any]) -> list[tuple[str, int]]:
    return [(row[0], int(row[1])) for row in connection.execute(query)]


def _events(connection: Connection, query: Select[Any]) -> list[KeptEvent]:
    rows = connection.execute(query).all()
    topics = {
        (row.topic_id, row.partition): row.topic
        for row in connection.execute(select(positions.c.topic_id, positions.c.partition, positions.c.topic))
    }
    return [
        KeptEvent(
            seq=row.seq,
            event=_event(row),
            status=Status(row.status),
            received_s=row.received_s,
            topic=topics.get((row.topic_id, row.partition), ""),
            partition=row.partition,
            offset=row.offset,
        )
        for row in rows
    ]


def _event(row: Any) -> Event:
    return Event(
        source=row.source,
        id=row.id,
        digest=row.digest,
        kind=Kind(row.kind),
        agent=row.agent,
        author=row.author,
        conversation=row.conversation,
        interaction=row.interaction,
        turn=row.turn,
        key=row.key,
        amends=row.amends,
        revision=row.revision,
        role=None if row.role is None else Role(row.role),
        prompt_group=row.prompt_group,
        data=row.data,
        occurred_s=row.occurred_s,
        trace=row.trace,
    )


def _interaction(row: Any) -> Interaction:
    return Interaction(
        id=row.id,
        agent=row.agent,
        version=row.version,
        conversation=row.conversation,
        turn=row.turn,
        messages=tuple(row.messages),
        completion=row.completion,
        token_ids=None if row.token_ids is None else tuple(row.token_ids),
        logprobs=None if row.logprobs is None else tuple(row.logprobs),
        sampling=row.sampling,
        finish_reason=row.finish_reason,
        prompt_group=row.prompt_group,
        role=Role(row.role),
    )
