"""Everything at a glance, in one snapshot: agents, what waits, what was decided, what serves."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ledger import leases
from ledger.database import now_s
from ledger.events import Reason
from ledger.facts import restores
from ledger.intake import dead_letters
from ledger.learning.backlog import Backlog, backlogs
from ledger.learning.turns import lease_name
from ledger.schema import decisions, events, outbox, passes, positions, turns
from ledger.versions.decisions import Verdict, read_decisions, undecided
from ledger.versions.desired import Purpose, Wanted, generation, wanted
from ledger.versions.evidence import Judgement
from ledger.versions.lineage import version_name, versions_of
from ledger.versions.routing import ReplicaState, replica_states


@dataclass(frozen=True, slots=True, kw_only=True)
class LastVerdict:
    """The last decision about any version of an agent."""

    version: str
    verdict: Verdict
    by: str
    reasons: tuple[str, ...]
    judgement: Judgement | None  # where the gate decided
    decided_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTurn:
    """A turn that was opened and not closed."""

    turn_id: int
    pass_id: int
    version: int  # the number it makes
    opened_s: float
    holder: str | None  # who has the agent's lease; None: it waits for a learner to resume it


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """One agent as of now."""

    name: str
    version: str
    since_s: float
    canary: str | None
    share: float
    candidate: str | None
    turn: RunningTurn | None
    backlog: Backlog
    last: LastVerdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where one partition is read next."""

    topic: str
    topic_id: str
    partition: int
    next_offset: int
    updated_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole ledger in numbers."""

    now_s: float
    generation: int
    agents: tuple[AgentState, ...]
    events: Mapping[str, int]  # by status
    dead: Mapping[Reason, int]
    owed: int  # messages for Kafka that wait in the outbox
    owed_age_s: float
    positions: tuple[Position, ...]
    replicas: tuple[ReplicaState, ...]
    holders: Mapping[str, str]  # leases held right now
    restores: int  # how often the ledger went back to a backup


def overview(connection: Connection) -> Overview:
    """The state of everything, as of one moment."""
    now = now_s(connection)
    by_status = select(events.c.status, func.count()).group_by(events.c.status)
    unsent = select(func.count(), func.min(outbox.c.created_s)).where(outbox.c.sent_s.is_(None))
    owed, oldest_s = connection.execute(unsent).one()
    places = select(positions).order_by(positions.c.topic, positions.c.topic_id, positions.c.partition)
    holders = leases.held_names(connection)
    return Overview(
        now_s=now,
        generation=generation(connection),
        agents=tuple(_agents(connection, holders)),
        events={row[0]: int(row[1]) for row in connection.execute(by_status)},
        dead=dead_letters.counts(connection),
        owed=int(owed),
        owed_age_s=max(0.0, now - oldest_s) if owed else 0.0,
        positions=tuple(
            Position(
                topic=row.topic,
                topic_id=row.topic_id,
                partition=row.partition,
                next_offset=row.next_offset,
                updated_s=row.updated_s,
            )
            for row in connection.execute(places)
        ),
        replicas=tuple(replica_states(connection)),
        holders=holders,
        restores=restores(connection),
    )


def _agents(connection: Connection, holders: Mapping[str, str]) -> list[AgentState]:
    rows = wanted(connection)
    serving = {row.agent: row for row in rows if row.purpose is Purpose.SERVE}
    canaries = {row.agent: row for row in rows if row.purpose is Purpose.CANARY}
    candidates = {one.agent: one.name for one in undecided(connection)}
    running = _running(connection, holders)
    states = []
    for backlog in backlogs(connection):
        name = backlog.agent
        canary = canaries.get(name)
        states.append(
            AgentState(
                name=name,
                version=_name(serving.get(name)),
                since_s=serving[name].since_s if name in serving else 0.0,
                canary=None if canary is None else _name(canary),
                share=0.0 if canary is None else canary.share,
                candidate=candidates.get(name),
                turn=running.get(name),
                backlog=backlog,
                last=_last_verdict(connection, name),
            )
        )
    return states


def _running(connection: Connection, holders: Mapping[str, str]) -> dict[str, RunningTurn]:
    query = (
        select(turns.c.id, turns.c.pass_id, turns.c.agent, turns.c.number, passes.c.opened_s)
        .join(passes, passes.c.id == turns.c.pass_id)
        .where(turns.c.state == "open")
    )
    return {
        row.agent: RunningTurn(
            turn_id=row.id,
            pass_id=row.pass_id,
            version=row.number,
            opened_s=row.opened_s,
            holder=holders.get(lease_name(row.agent)),
        )
        for row in connection.execute(query)
    }


def _last_verdict(connection: Connection, agent: str) -> LastVerdict | None:
    query = select(decisions).where(decisions.c.agent == agent, decisions.c.kind != Verdict.INITIAL.value)
    newest = read_decisions(connection, query.order_by(decisions.c.id.desc()).limit(1))
    if not newest:
        return None
    [decision] = newest
    names = {one.number: one.name for one in versions_of(connection, agent)}
    return LastVerdict(
        version=names.get(decision.number, version_name(decision.number, "")),
        verdict=decision.verdict,
        by=decision.by,
        reasons=decision.evidence.reasons,
        judgement=decision.evidence.judgement,
        decided_s=decision.decided_s,
    )


def _name(row: Wanted | None) -> str:
    return "v0" if row is None or row.version is None else row.version.name
