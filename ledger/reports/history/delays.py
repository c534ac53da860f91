"""How long corrections took from being stored to being live: of each version that was promoted lately."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, func, select

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
    delays = (_delay_of(connection, row) for row in connection.execute(query).all())
    return [delay for delay in delays if delay is not None]


def _delay_of(connection: Connection, row: Any) -> TeachingDelay | None:
    stored_s = _stored_s(connection, row.turn_id)
    if not stored_s:
        return None
    passed_s = _passed_s(connection, row.agent, row.number)
    moments = (row.opened_s, row.made_s, row.decided_s if passed_s is None else passed_s, row.decided_s)
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


def _stored_s(connection: Connection, turn_id: int) -> list[float]:
    """When each new correction of the turn was stored."""
    query = (
        select(events.c.received_s)
        .join(turn_events, turn_events.c.event_seq == events.c.seq)
        .where(turn_events.c.turn_id == turn_id, in_part(TurnPart.NEW))
        .where(events.c.kind.in_([kind.value for kind in CORRECTING]))
    )
    return list(connection.scalars(query))


def _passed_s(connection: Connection, agent: str, number: int) -> float | None:
    """When the gate let the version pass; None where it was promoted at once."""
    query = select(func.min(decisions.c.decided_s)).where(
        decisions.c.agent == agent,
        decisions.c.number == number,
        decisions.c.kind == Verdict.CANARY.value,
        decisions.c.by == BY_GATE,
    )
    passed_s: float | None = connection.scalar(query)
    return passed_s
