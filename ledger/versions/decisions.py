"""Decisions about versions: what was decided, by whom, on which evidence."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, insert, literal, or_, select, tuple_
from sqlalchemy.orm import aliased

from ledger.database import in_chunks, now_s
from ledger.events import Status, silence_uid
from ledger.intake import outbox
from ledger.schema import decisions, desired, events, interactions, versions
from ledger.topic_names import LIFECYCLE_TOPIC
from ledger.versions import canary
from ledger.versions.desired import Purpose, no_longer_want, raise_generation, share_of
from ledger.versions.evidence import Evidence, for_display, from_parts, parts_of
from ledger.versions.lineage import Version, lineage_of, read_versions


class Verdict(StrEnum):
    """What was decided about a version."""

    INITIAL = "initial"
    CANARY = "canary"  # it passed the gate and is loaded everywhere, or gets a share of the traffic
    CONFIRM = "confirm"  # a person lets it serve, or its outcomes do
    PROMOTE = "promote"
    REFUSE = "refuse"
    ABSTAIN = "abstain"
    ROLLBACK = "rollback"
    KEEP = "keep"  # a champion was judged again, and goes on serving
    REINSTATE = "reinstate"  # a person brings back a version that was refused or rolled back


BY_GATE, BY_CANARY, BY_OUTCOMES, BY_NOBODY = "gate", "canary", "outcomes", "nobody"
"""Who decides where no person does: `outcomes` compares how conversations with a canary and without end.
`nobody` judged the versions of an agent whose gate is off."""

SETTLED = (Verdict.PROMOTE, Verdict.REFUSE, Verdict.ABSTAIN, Verdict.ROLLBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision with its evidence."""

    agent: str
    number: int
    verdict: Verdict
    by: str
    evidence: Evidence
    through_seq: int
    decided_s: float = 0.0


def undecided(connection: Connection) -> list[Version]:
    """Candidates without a final verdict, oldest first. An agent has one at most.

    A version that a person brings back has none until it serves, or is refused again.
    """
    later = decisions.alias("later")
    brought_back = (
        select(literal(1))
        .where(later.c.agent == decisions.c.agent, later.c.number == decisions.c.number)
        .where(later.c.kind == Verdict.REINSTATE.value, later.c.id > decisions.c.id)
    )
    settled = (
        select(literal(1))
        .where(decisions.c.agent == versions.c.agent, decisions.c.number == versions.c.number)
        .where(decisions.c.kind.in_([verdict.value for verdict in SETTLED]), ~brought_back.exists())
    )
    return read_versions(connection, select(versions).where(~settled.exists()).order_by(versions.c.made_s))


def decisions_of(connection: Connection, agent: str, number: int | None = None) -> list[Decision]:
    """Decisions about an agent's versions (or one of them), oldest first."""
    query = select(decisions).where(decisions.c.agent == agent).order_by(decisions.c.id)
    if number is not None:
        query = query.where(decisions.c.number == number)
    return read_decisions(connection, query)


def last_verdict(decided: Sequence[Decision]) -> Decision | None:
    """The last of these decisions that changed what becomes of the version; `KEEP` changes nothing."""
    return next((decision for decision in reversed(decided) if decision.verdict is not Verdict.KEEP), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePassage:
    """What was decided about a candidate that passed the gate, as far as it says what comes next."""

    judged_by: str | None = None  # of the gate's decision to load it: `outcomes`, `off`; None: corrections
    person: str | None = None  # who lets it serve, last
    is_better: bool = False  # its outcomes were found better


def passages(connection: Connection, candidates: Sequence[Version]) -> dict[tuple[str, int], GatePassage]:
    """By agent and number, what was decided about each of these candidates, but for the verdict on it."""
    known = {(candidate.agent, candidate.number): GatePassage() for candidate in candidates}
    letting = (Verdict.CANARY, Verdict.CONFIRM, Verdict.REINSTATE)
    columns = (decisions.c.agent, decisions.c.number, decisions.c.kind, decisions.c.by)
    for names in in_chunks(list(known)):
        query = select(*columns, *parts_of(decisions.c.evidence, "judged_by")).where(
            tuple_(decisions.c.agent, decisions.c.number).in_(names),
            decisions.c.kind.in_([verdict.value for verdict in letting]),
        )
        for row in connection.execute(query.order_by(decisions.c.id)):
            name = (row.agent, row.number)
            if row.kind != Verdict.CANARY.value:
                changed = {"is_better": True} if row.by == BY_OUTCOMES else {"person": row.by}
            elif row.by == BY_GATE:
                changed = {"judged_by": from_parts(row).judged_by}
            else:
                continue  # a share of the traffic
            known[name] = replace(known[name], **changed)
    return known


def read_decisions(connection: Connection, query: Select[Any]) -> list[Decision]:
    """The decisions that a query of whole rows selects. Evidence that a newer clorad wrote says so."""
    return [
        Decision(
            agent=row.agent,
            number=row.number,
            verdict=Verdict(row.kind),
            by=row.by,
            evidence=for_display(row.evidence),
            through_seq=row.through_seq,
            decided_s=row.decided_s,
        )
        for row in connection.execute(query)
    ]


def judged_version(connection: Connection, agent: str, number: int) -> int:
    """The version itself if somebody judged it, else its nearest ancestor that was judged; the base at last.

    It answers everybody who takes no part in an experiment.
    """
    query = select(decisions.c.number).where(decisions.c.agent == agent, _is_unjudged())
    unjudged = set(connection.scalars(query))
    if number not in unjudged:
        return number
    return next(ancestor for ancestor in lineage_of(connection, agent, number) if ancestor not in unjudged)


def experimenting(connection: Connection) -> frozenset[str]:
    """The agents whose serving version nobody judged: it answers requests with an experiment's key alone."""
    serves = (desired.c.agent == decisions.c.agent) & (desired.c.number == decisions.c.number)
    query = select(desired.c.agent).join(decisions, serves)
    query = query.where(desired.c.purpose == Purpose.SERVE.value, _is_unjudged())
    return frozenset(connection.scalars(query))


def _is_unjudged() -> ColumnElement[bool]:
    """Whether the decision lets a version serve that nobody judged, nor a person who brought it back."""
    judged = aliased(decisions)
    was_judged = select(literal(1)).where(
        judged.c.agent == decisions.c.agent,
        judged.c.number == decisions.c.number,
        judged.c.kind == Verdict.PROMOTE.value,
        judged.c.by != BY_NOBODY,
    )
    is_promotion = and_(decisions.c.kind == Verdict.PROMOTE.value, decisions.c.by == BY_NOBODY)
    return and_(is_promotion, ~was_judged.correlate(decisions).exists())


def last_beginnings() -> Select[tuple[str, int]]:
    """Per agent the decision (`agent`, `id`) that gave it its champion: a promotion or a champion's rollback.

    A canary that was withdrawn was a try like one that was refused, and begins nothing.
    """
    promoted = aliased(decisions)
    was_champion = select(literal(1)).where(
        promoted.c.agent == decisions.c.agent,
        promoted.c.number == decisions.c.number,
        promoted.c.kind == Verdict.PROMOTE.value,
    )
    beginnings = or_(
        decisions.c.kind.in_([Verdict.PROMOTE.value, Verdict.INITIAL.value]),
        and_(decisions.c.kind == Verdict.ROLLBACK.value, was_champion.correlate(decisions).exists()),
    )
    return (
        select(decisions.c.agent, func.max(decisions.c.id).label("id"))
        .where(beginnings)
        .group_by(decisions.c.agent)
    )


def live_tries(connection: Connection, agent: str, number: int) -> int:
    """How many candidates before this one had a share of the traffic since the agent got its champion.

    Those that were given up undecided count too: a test that looks all the time may promote at any moment, so
    each candidate has spent its part of alpha when its share begins.
    """
    last = last_beginnings().where(decisions.c.agent == agent).subquery()
    query = (
        select(func.count(func.distinct(decisions.c.number)))
        .join(last, (last.c.agent == decisions.c.agent) & (last.c.id < decisions.c.id))
        .where(
            decisions.c.kind == Verdict.CANARY.value,
            decisions.c.by == BY_CANARY,
            decisions.c.number < number,
        )
    )
    return int(connection.scalar(query) or 0)


def decide(connection: Connection, decision: Decision) -> None:
    """Record one decision. A final one also removes from desired state what the gate asked for."""
    connection.execute(
        insert(decisions).values(
            agent=decision.agent,
            number=decision.number,
            kind=decision.verdict.value,
            by=decision.by,
            evidence=_quotable(connection, decision).to_json(),
            through_seq=decision.through_seq,
            decided_s=now_s(connection),
        )
    )
    if decision.verdict in SETTLED:
        if share_of(connection, decision.agent):  # gateways route by it
            raise_generation(connection)
        no_longer_want(connection, decision.agent, Purpose.GATE, Purpose.CANARY)
        canary.end_steps(connection, decision.agent, decision.number)
    _report(connection, decision)


def newest_seq(connection: Connection, agent: str) -> int:
    """The agent's newest event; 0 where it has none."""
    query = select(events.c.seq).where(events.c.agent == agent).order_by(events.c.seq.desc()).limit(1)
    return int(connection.scalar(query) or 0)


def _quotable(connection: Connection, decision: Decision) -> Evidence:
    """The evidence without the answers to events that people retracted or forgot while the gate asked."""
    if not decision.evidence.answers:
        return decision.evidence
    retracted = select(events.c.source, events.c.id).where(
        events.c.agent == decision.agent, events.c.status == Status.RETRACTED.value
    )
    uids = {f"{row.source}#{row.id}" for row in connection.execute(retracted)}
    answered = [uid.removeprefix(silence_uid("")) for uid in decision.evidence.answers]
    for ids in in_chunks(answered):
        forgotten = select(interactions.c.id).where(
            interactions.c.id.in_(ids), interactions.c.forgotten.is_not(None)
        )
        uids |= {silence_uid(id) for id in connection.scalars(forgotten)}
    return decision.evidence.without_answers_to(uids)


def _report(connection: Connection, decision: Decision) -> None:
    """Put one message for the lifecycle topic into the outbox. It has no evidence, so nobody's words."""
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
