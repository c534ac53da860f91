"""Why is this version as it is? The events and people it was taught by, its verdicts, how to undo it.

Every gradient has a name: from a version to the exact events of its turn.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from ledger.events import KeptEvent
from ledger.learning.event_queries import events_by_seq
from ledger.reports.receipts import Example, examples_of
from ledger.schema import events, turn_events, turns
from ledger.upkeep.erasures import Erasure, all_erasures
from ledger.versions.decisions import Decision, Verdict, decisions_of
from ledger.versions.desired import champion
from ledger.versions.evidence import Evidence, Judgement
from ledger.versions.lineage import BASE, Version, lineage_of, version, versions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """One event of the version's turn."""

    kept: KeptEvent
    part: str
    outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """All that made one version."""

    version: Version
    parent_name: str
    ancestors: tuple[str, ...]  # names, newest first, ending with v0
    pass_id: int
    attempt: int
    seed: int
    recipe: Mapping[str, Any]
    taught: tuple[Taught, ...]  # the new events; others are only counted
    shown: Mapping[str, int]  # replay, anchor, dev: how many
    erasures: tuple[Erasure, ...]  # that took texts of any of them
    authors: Mapping[str, int]  # events by who said them, most first
    decisions: tuple[Decision, ...]
    examples: tuple[Example, ...]  # where it answers otherwise than its parent
    champion: int
    serving: bool  # the champion is this version or comes from it
    withdrawn_with_it: tuple[str, ...]  # versions that come from it and serve: undoing takes them too


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One version in an agent's list, with the numbers a person looks for."""

    version: Version
    parent_name: str
    events: int  # new ones it was taught
    authors: int
    verdict: Verdict | None
    by: str | None
    reasons: tuple[str, ...]
    judgement: Judgement | None  # where the gate decided
    decided_s: float | None
    serving: bool
    in_lineage: bool


def provenance(connection: Connection, agent: str, number: int) -> Provenance | None:
    """Why `agent`'s version `number` is as it is; None where it was never made."""
    found = version(connection, agent, number)
    if found is None:
        return None
    turn = connection.execute(select(turns).where(turns.c.id == found.turn_id)).one()
    taught, shown = _taught(connection, found.turn_id)
    standing = champion(connection, agent)
    serving = lineage_of(connection, agent, standing)
    names = {one.number: one.name for one in versions_of(connection, agent)} | {BASE: "v0"}
    settled = decisions_of(connection, agent, number)
    return Provenance(
        version=found,
        parent_name=names[found.parent],
        ancestors=tuple(names[one] for one in lineage_of(connection, agent, number)[1:]),
        pass_id=turn.pass_id,
        attempt=turn.attempt,
        seed=turn.seed,
        recipe=turn.recipe,
        taught=taught,
        shown=shown,
        erasures=_erasures(connection, found.turn_id),
        authors=dict(Counter(one.kept.event.author for one in taught).most_common()),
        decisions=tuple(settled),
        examples=_examples(settled),
        champion=standing,
        serving=number in serving,
        withdrawn_with_it=tuple(
            names[one] for one in (serving[: serving.index(number)] if number in serving else [])
        ),
    )


def lines(connection: Connection, agent: str) -> list[Line]:
    """An agent's versions, newest first."""
    standing = champion(connection, agent)
    serving = lineage_of(connection, agent, standing)
    known = versions_of(connection, agent)
    names = {one.number: one.name for one in known} | {BASE: "v0"}
    counted = _event_counts(connection, agent)
    last = _last_decisions(connection, agent)
    return [
        _line(
            one, names[one.parent], counted.get(one.turn_id, (0, 0)), last.get(one.number), standing, serving
        )
        for one in reversed(known)
    ]


def _line(
    one: Version,
    parent_name: str,
    counted: tuple[int, int],
    decision: Decision | None,
    standing: int,
    serving: list[int],
) -> Line:
    evidence = Evidence() if decision is None else decision.evidence
    return Line(
        version=one,
        parent_name=parent_name,
        events=counted[0],
        authors=counted[1],
        verdict=None if decision is None else decision.verdict,
        by=None if decision is None else decision.by,
        reasons=evidence.reasons,
        judgement=evidence.judgement,
        decided_s=None if decision is None else decision.decided_s,
        serving=one.number == standing,
        in_lineage=one.number in serving,
    )


def _taught(connection: Connection, turn_id: int) -> tuple[tuple[Taught, ...], dict[str, int]]:
    members = connection.execute(
        select(turn_events).where(turn_events.c.turn_id == turn_id).order_by(turn_events.c.place)
    ).all()
    new = [row for row in members if row.part == "new"]
    kept = events_by_seq(connection, [row.event_seq for row in new])
    taught = tuple(Taught(kept=kept[row.event_seq], part=row.part, outcome=row.outcome) for row in new)
    return taught, dict(Counter(row.part for row in members if row.part != "new"))


def _erasures(connection: Connection, turn_id: int) -> tuple[Erasure, ...]:
    forgotten = (
        select(events.c.forgotten)
        .join(turn_events, turn_events.c.event_seq == events.c.seq)
        .where(turn_events.c.turn_id == turn_id, events.c.forgotten.is_not(None))
    )
    numbers = set(connection.scalars(forgotten))
    return tuple(one for one in all_erasures(connection) if one.id in numbers) if numbers else ()


def _examples(settled: list[Decision]) -> tuple[Example, ...]:
    """From the last decision that has evidence."""
    return next((found for one in reversed(settled) if (found := examples_of(one.evidence))), ())


def _event_counts(connection: Connection, agent: str) -> dict[int, tuple[int, int]]:
    """(new events, their authors) by turn."""
    query = (
        select(turn_events.c.turn_id, func.count(), func.count(func.distinct(events.c.author)))
        .join(events, events.c.seq == turn_events.c.event_seq)
        .where(events.c.agent == agent, turn_events.c.part == "new")
        .group_by(turn_events.c.turn_id)
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}


def _last_decisions(connection: Connection, agent: str) -> dict[int, Decision]:
    return {one.number: one for one in decisions_of(connection, agent)}
