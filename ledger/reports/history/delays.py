"""How long corrections took from being stored to being live: of each version that was promoted lately."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, func, select, tuple_

from ledger.database import in_chunks
from ledger.events import CORRECTING
from ledger.schema import decisions, events, passes, turn_events, turns, versions
from ledger.turn_states import TurnPart, in_part
from ledger.versions.decisions import BY_GATE, Verdict
from ledger.versions.lineage import version_name

PARTS = ("wait", "train", "judge", "swap")
"""In order: until the pass begins that taught it, until the version exists, until the gate let it pass, until
every replica served it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachingDelay:
    """The corrections that a version was newly taught, in seconds. Medians of parts need not add up."""

    agent: str
    version: str
    live_s: float  # when it was promoted
    corrections: int
    median_s: float  # from stored to live
    longest_s: float
    parts_s: Mapping[str, float]  # the median of each of `PARTS`

    def to_json(self) -> dict[str, Any]:
        """The delay for programs."""
        seconds = {"median_s": round(self.median_s, 3), "longest_s": round(self.longest_s, 3)}
        parts_s = {part: round(taken_s, 3) for part, taken_s in self.parts_s.items()}
        return asdict(self) | seconds | {"parts_s": parts_s}


def teaching_delays(
    connection: Connection, *, limit: int, agents: Collection[str] | None = None
) -> list[TeachingDelay]:
    """Of the last `limit` promotions, newest first; versions that were taught no correction are left out."""
    about = (decisions.c.agent == versions.c.agent) & (decisions.c.number == versions.c.number)
    query = (
        select(
            versions.c.agent,
            versions.c.number,
            versions.c.hash,
            versions.c.turn_id,
            versions.c.made_s,
            passes.c.opened_s,
            decisions.c.decided_s,
        )
        .select_from(decisions)
        .join(versions, about)
        .join(turns, turns.c.id == versions.c.turn_id)
        .join(passes, passes.c.id == turns.c.pass_id)
        .where(decisions.c.kind == Verdict.PROMOTE.value)
        .order_by(decisions.c.id.desc())
        .limit(limit)
    )
    if agents is not None:
        query = query.where(decisions.c.agent.in_(agents))
    rows = connection.execute(query).all()
    stored_s = _stored_s(connection, [row.turn_id for row in rows])
    passed_s = _passed_s(connection, {(row.agent, row.number) for row in rows})
    return [
        _delay_of(row, stored_s[row.turn_id], passed_s.get((row.agent, row.number), row.decided_s))
        for row in rows
        if row.turn_id in stored_s
    ]


def _delay_of(row: Any, stored_s: Sequence[float], passed_s: float) -> TeachingDelay:
    moments = (row.opened_s, row.made_s, passed_s, row.decided_s)
    waits_s = {"wait": median(row.opened_s - each for each in stored_s)}
    between_s = {
        part: later - earlier
        for part, earlier, later in zip(PARTS[1:], moments[:-1], moments[1:], strict=True)
    }
    return TeachingDelay(
        agent=row.agent,
        version=version_name(row.number, row.hash),
        live_s=row.decided_s,
        corrections=len(stored_s),
        median_s=median(row.decided_s - each for each in stored_s),
        longest_s=row.decided_s - min(stored_s),
        parts_s=waits_s | between_s,
    )


def _stored_s(connection: Connection, turn_ids: Collection[int]) -> dict[int, list[float]]:
    """By turn, when each of its new corrections was stored."""
    stored_s: dict[int, list[float]] = defaultdict(list)
    for chunk in in_chunks(sorted(turn_ids)):
        query = (
            select(turn_events.c.turn_id, events.c.received_s)
            .join(events, events.c.seq == turn_events.c.event_seq)
            .where(turn_events.c.turn_id.in_(chunk), in_part(TurnPart.NEW))
            .where(events.c.kind.in_([kind.value for kind in CORRECTING]))
        )
        for row in connection.execute(query):
            stored_s[row.turn_id].append(row.received_s)
    return stored_s


def _passed_s(connection: Connection, named: Collection[tuple[str, int]]) -> dict[tuple[str, int], float]:
    """By agent and number, when the gate let the version pass; those promoted at once are left out."""
    passed_s: dict[tuple[str, int], float] = {}
    for chunk in in_chunks(sorted(named)):
        query = (
            select(decisions.c.agent, decisions.c.number, func.min(decisions.c.decided_s).label("passed_s"))
            .where(tuple_(decisions.c.agent, decisions.c.number).in_(chunk))
            .where(decisions.c.kind == Verdict.CANARY.value, decisions.c.by == BY_GATE)
            .group_by(decisions.c.agent, decisions.c.number)
        )
        passed_s |= {(row.agent, row.number): row.passed_s for row in connection.execute(query)}
    return passed_s
