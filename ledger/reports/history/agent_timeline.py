"""What happened to one agent, newest first: feedback, turns, verdicts, shares of the traffic, holds.

Every entry is a row that exists for other reasons; a page of entries ends at a time, where the next begins.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from sqlalchemy import Connection, Select, func, select

from ledger.events import Kind, Status
from ledger.schema import (
    canary_steps,
    decisions,
    event_decisions,
    events,
    holds,
    passes,
    turn_events,
    turns,
    versions,
)
from ledger.turn_states import TurnPart, TurnState, in_part
from ledger.versions.decisions import Verdict
from ledger.versions.lineage import version_name


class Happening(StrEnum):
    """The kind of an entry."""

    EVENT = "event"  # somebody said something
    TURN = "turn"  # it was trained, or is
    VERDICT = "verdict"  # a decision about a version
    STEP = "step"  # a version got a share of the traffic
    HOLD = "hold"
    DECISION = "decision"  # a person decided about an event


FAILURES = (Verdict.REFUSE, Verdict.ROLLBACK, Verdict.ABSTAIN)
"""Verdicts after which the version does not serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One thing that happened. What its kind lacks is None."""

    at_s: float
    happening: Happening
    what: str  # the kind of the event, the verdict, the state of the turn, …
    by: str | None = None
    reason: str | None = None
    version: str | None = None
    event: str | None = None  # uid
    number: float | None = None  # a share, or how many events a turn had
    failed: bool = False


def agent_timeline(
    connection: Connection, agent: str, *, before_s: float, limit: int, failures_only: bool = False
) -> list[TimelineEntry]:
    """The last `limit` entries before that time, newest first."""
    names = _names(connection, agent)
    sources = [
        _verdicts(connection, agent, names, before_s, limit),
        _turns(connection, agent, names, before_s, limit),
    ]
    if not failures_only:
        sources += [
            _events(connection, agent, before_s, limit),
            _steps(connection, agent, names, before_s, limit),
            _holds(connection, agent, before_s, limit),
            _decided_events(connection, agent, before_s, limit),
        ]
    entries = (entry for source in sources for entry in source if entry.failed or not failures_only)
    return list(islice(sorted(entries, key=lambda entry: entry.at_s, reverse=True), limit))


_WITH_VERSION = (TurnState.MADE, TurnState.ADOPTED)


def _names(connection: Connection, agent: str) -> dict[int, str]:
    query = select(versions.c.number, versions.c.hash).where(versions.c.agent == agent)
    return {0: "v0"} | {row.number: version_name(row.number, row.hash) for row in connection.execute(query)}


def _verdicts(
    connection: Connection, agent: str, names: dict[int, str], before_s: float, limit: int
) -> Iterator[TimelineEntry]:
    query = (
        select(
            decisions.c.number,
            decisions.c.kind,
            decisions.c.by,
            decisions.c.decided_s,
            decisions.c.evidence["reasons"].label("reasons"),
        )
        .where(decisions.c.agent == agent, decisions.c.decided_s < before_s)
        .order_by(decisions.c.id.desc())
        .limit(limit)
    )
    for row in connection.execute(query):
        yield TimelineEntry(
            at_s=row.decided_s,
            happening=Happening.VERDICT,
            what=row.kind,
            by=row.by,
            reason="; ".join(row.reasons or ()) or None,
            version=names.get(row.number, f"v{row.number}"),
            failed=Verdict(row.kind) in FAILURES,
        )


def _turns(
    connection: Connection, agent: str, names: dict[int, str], before_s: float, limit: int
) -> Iterator[TimelineEntry]:
    new_events = (
        select(func.count())
        .where(turn_events.c.turn_id == turns.c.id, in_part(TurnPart.NEW))
        .scalar_subquery()
    )
    query = (
        select(turns, passes.c.opened_s, new_events.label("new_events"))
        .join(passes, passes.c.id == turns.c.pass_id)
        .where(turns.c.agent == agent, passes.c.opened_s < before_s)
        .order_by(turns.c.id.desc())
        .limit(limit)
    )
    for row in connection.execute(query):
        state = TurnState(row.state)
        yield TimelineEntry(
            at_s=row.opened_s,
            happening=Happening.TURN,
            what=state.value,
            reason=row.reason,
            version=names.get(row.number, f"v{row.number}") if state in _WITH_VERSION else f"v{row.number}",
            number=float(row.new_events),
            failed=state in (TurnState.DROPPED, TurnState.VOID),
        )


def _events(connection: Connection, agent: str, before_s: float, limit: int) -> Iterator[TimelineEntry]:
    query = (
        _newest_events(agent, limit)
        .with_only_columns(
            events.c.source, events.c.id, events.c.kind, events.c.author, events.c.status, events.c.received_s
        )
        .where(events.c.received_s < before_s)
    )
    for row in connection.execute(query):
        yield TimelineEntry(
            at_s=row.received_s,
            happening=Happening.EVENT,
            what=Kind(row.kind).value,
            by=row.author,
            reason=None if row.status == Status.OPEN.value else row.status,
            event=f"{row.source}#{row.id}",
        )


def _newest_events(agent: str, limit: int) -> Select[tuple[object]]:
    return select(events).where(events.c.agent == agent).order_by(events.c.seq.desc()).limit(limit)


def _steps(
    connection: Connection, agent: str, names: dict[int, str], before_s: float, limit: int
) -> Iterator[TimelineEntry]:
    query = (
        select(canary_steps)
        .where(canary_steps.c.agent == agent, canary_steps.c.began_s < before_s)
        .order_by(canary_steps.c.began_s.desc())
        .limit(limit)
    )
    for row in connection.execute(query):
        yield TimelineEntry(
            at_s=row.began_s,
            happening=Happening.STEP,
            what="watched" if row.ended_s is None else "over",
            version=names.get(row.number, f"v{row.number}"),
            number=row.share,
        )


def _holds(connection: Connection, agent: str, before_s: float, limit: int) -> Iterator[TimelineEntry]:
    query = select(holds).where(holds.c.agent == agent, holds.c.held_s < before_s)
    for row in connection.execute(query.order_by(holds.c.held_s.desc()).limit(limit)):
        yield TimelineEntry(
            at_s=row.held_s, happening=Happening.HOLD, what="held", by=row.by, reason=row.reason
        )
        if row.resumed_s is not None:
            yield TimelineEntry(
                at_s=row.resumed_s, happening=Happening.HOLD, what="resumed", by=row.resumed_by
            )


def _decided_events(
    connection: Connection, agent: str, before_s: float, limit: int
) -> Iterator[TimelineEntry]:
    query = (
        select(event_decisions, events.c.source, events.c.id.label("event_id"))
        .join(events, events.c.seq == event_decisions.c.event_seq)
        .where(events.c.agent == agent, event_decisions.c.decided_s < before_s)
        .order_by(event_decisions.c.id.desc())
        .limit(limit)
    )
    for row in connection.execute(query):
        yield TimelineEntry(
            at_s=row.decided_s,
            happening=Happening.DECISION,
            what=row.verdict,
            by=row.by,
            reason=row.reason,
            event=f"{row.source}#{row.event_id}",
        )
