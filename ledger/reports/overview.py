"""The whole ledger in one snapshot: versions, turns, backlogs and last decisions of agents; replicas;
offsets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from ledger import leases
from ledger.database import now_s
from ledger.events import Reason
from ledger.facts import restores
from ledger.intake import dead_letters
from ledger.learning.backlog import Backlog, backlogs
from ledger.learning.turns import lease_name
from ledger.reports.audit import Place
from ledger.schema import decisions, events, outbox, passes, positions, turns, versions
from ledger.turn_states import TurnState, in_state
from ledger.versions.decisions import Verdict, experimenting, undecided
from ledger.versions.desired import Purpose, Wanted, generation, wanted
from ledger.versions.evidence import Judgement, from_parts, parts_of
from ledger.versions.lineage import version_name
from ledger.versions.routing import ReplicaState, replica_states


@dataclass(frozen=True, slots=True, kw_only=True)
class LastVerdict:
    """The last decision about any version of an agent."""

    version: str
    verdict: Verdict
    by: str
    reasons: tuple[str, ...]
    judgement: Judgement | None  # if the gate decided
    decided_s: float

    def to_json(self) -> dict[str, Any]:
        """The decision for programs."""
        return {
            "version": self.version,
            "verdict": self.verdict.value,
            "by": self.by,
            "reasons": list(self.reasons),
            "judgement": {} if self.judgement is None else asdict(self.judgement),
            "decided_s": self.decided_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTurn:
    """A turn that was opened and not closed."""

    turn_id: int
    pass_id: int
    version: int  # the number it makes
    opened_s: float
    holder: str | None  # of the agent's lease; None: the turn waits for a learner to resume it

    def to_json(self) -> dict[str, Any]:
        """The turn for programs."""
        return {
            "id": self.turn_id,
            "pass": self.pass_id,
            "version": self.version,
            "opened_s": self.opened_s,
            "holder": self.holder,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOverview:
    """One agent as of now."""

    name: str
    version: str
    since_s: float
    experiment: str | None  # serves only requests with an experiment's key; `version` serves the others
    canary: str | None
    share: float
    candidate: str | None
    turn: RunningTurn | None
    backlog: Backlog
    last: LastVerdict | None

    def to_json(self, *, waits_for: str | None, next_turn: str | None) -> dict[str, Any]:
        """The agent for programs, with what it needs before it is due, and what follows its last refusal."""
        usage = self.backlog.usage
        return {
            "version": self.version,
            "since_s": self.since_s,
            "experiment": self.experiment,
            "canary": None if self.canary is None else {"version": self.canary, "share": self.share},
            "candidate": self.candidate,
            "backlog": {
                "untaught": self.backlog.untaught,
                "oldest_age_s": round(self.backlog.oldest_age_s, 1),
                "gate_new": self.backlog.gate_new,
                "refusals": self.backlog.refusals,
            },
            "waits_for": waits_for,
            "next": next_turn,
            "tokens": {
                "last_hour": usage.tokens,
                "per_hour_max": usage.tokens_max,
                "quota_wait_s": round(usage.wait_s, 1),
            },
            "turn": None if self.turn is None else self.turn.to_json(),
            "last_verdict": None if self.last is None else self.last.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The offset that intake reads next of one partition."""

    topic: str
    topic_id: str
    partition: int
    next_offset: int
    updated_s: float

    def lag(self, ends: Mapping[Place, int]) -> int | None:
        """How many offsets intake has not read, by the broker's end offsets; None if it was not asked."""
        end = ends.get((self.topic_id, self.partition))
        return None if end is None else end - self.next_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole ledger as of `now_s` by its own clock."""

    now_s: float
    generation: int
    agents: tuple[AgentOverview, ...]
    events: Mapping[str, int]  # by status
    dead: Mapping[Reason, int]
    owed: int  # messages for Kafka that wait in the outbox
    owed_age_s: float
    positions: tuple[Position, ...]
    replicas: tuple[ReplicaState, ...]
    holders: Mapping[str, str]  # of leases, by the lease's name
    restores: int  # how often a backup was restored

    def to_json(
        self,
        *,
        waits_for: Mapping[str, str | None],
        next_turns: Mapping[str, str | None],
        ends: Mapping[Place, int],
    ) -> dict[str, Any]:
        """The overview for programs.

        `waits_for` and `next_turns` are by agent; `ends` are the broker's, empty if not asked.
        """
        return {
            "generation": self.generation,
            "agents": {
                agent.name: agent.to_json(waits_for=waits_for[agent.name], next_turn=next_turns[agent.name])
                for agent in self.agents
            },
            "events": {"total": sum(self.events.values()), **self.events},
            "dead_letters": {reason.value: number for reason, number in self.dead.items()},
            "outbox": {"waiting": self.owed, "oldest_age_s": round(self.owed_age_s, 1)},
            "partitions": [
                {
                    "topic": position.topic,
                    "partition": position.partition,
                    "next_offset": position.next_offset,
                    "lag": position.lag(ends),
                    "updated_s": position.updated_s,
                }
                for position in self.positions
            ],
            "replicas": [_replica_json(replica) for replica in self.replicas],
            "leases": dict(self.holders),
            "restores": self.restores,
            "now_s": self.now_s,
        }


def overview(connection: Connection) -> Overview:
    """The whole ledger, in one snapshot."""
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


def _agents(connection: Connection, holders: Mapping[str, str]) -> list[AgentOverview]:
    rows = wanted(connection)
    serving = {row.agent: row for row in rows if row.purpose is Purpose.SERVE}
    canaries = {row.agent: row for row in rows if row.purpose is Purpose.CANARY}
    candidates = {version.agent: version.name for version in undecided(connection)}
    experiments = experimenting(connection)
    judged = {row.agent: row for row in rows if row.purpose is Purpose.PREDECESSOR}
    running, last = _running(connection, holders), _last_verdicts(connection)
    states = []
    for backlog in backlogs(connection):
        name = backlog.agent
        canary = canaries.get(name)
        states.append(
            AgentOverview(
                name=name,
                version=_name((judged if name in experiments else serving).get(name)),
                experiment=_name(serving.get(name)) if name in experiments else None,
                since_s=serving[name].since_s if name in serving else 0.0,
                canary=None if canary is None else _name(canary),
                share=0.0 if canary is None else canary.share,
                candidate=candidates.get(name),
                turn=running.get(name),
                backlog=backlog,
                last=last.get(name),
            )
        )
    return states


def _running(connection: Connection, holders: Mapping[str, str]) -> dict[str, RunningTurn]:
    query = (
        select(turns.c.id, turns.c.pass_id, turns.c.agent, turns.c.number, passes.c.opened_s)
        .join(passes, passes.c.id == turns.c.pass_id)
        .where(in_state(TurnState.OPEN))
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


def _last_verdicts(connection: Connection) -> dict[str, LastVerdict]:
    """By agent, the last decision about any of its versions; agents without one are left out."""
    newest = (
        select(func.max(decisions.c.id))
        .where(decisions.c.kind != Verdict.INITIAL.value)
        .group_by(decisions.c.agent)
    )
    about = (versions.c.agent == decisions.c.agent) & (versions.c.number == decisions.c.number)
    columns = [getattr(decisions.c, name) for name in ("agent", "number", "kind", "by", "decided_s")]
    # `reason` has the reasons of a rollback in the first format of evidence
    parts = parts_of(decisions.c.evidence, "reasons", "reason", "judgement")
    query = select(*columns, versions.c.hash, *parts).outerjoin(versions, about)
    verdicts = {}
    for row in connection.execute(query.where(decisions.c.id.in_(newest))):
        evidence = from_parts(row)
        verdicts[row.agent] = LastVerdict(
            version=version_name(row.number, row.hash or ""),
            verdict=Verdict(row.kind),
            by=row.by,
            reasons=evidence.reasons,
            judgement=evidence.judgement,
            decided_s=row.decided_s,
        )
    return verdicts


def _replica_json(replica: ReplicaState) -> dict[str, Any]:
    return {
        "url": replica.url,
        "in_rotation": replica.in_rotation,
        "base": replica.base_name,
        "models": list(replica.models),
        "note": replica.note,
        "seen_s": replica.seen_s,
    }


def _name(row: Wanted | None) -> str:
    return "v0" if row is None or row.version is None else row.version.name
