"""Contested events: what people disagree about. `ledger.learning.event_decisions` settles it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ledger.events import KeptEvent, Status
from ledger.intake.withdrawn import GONE
from ledger.learning.event_queries import events_by_seq
from ledger.schema import events


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestedEvent:
    """One event that waits for a decision, and the events of the same prompt group that stand."""

    kept: KeptEvent
    reason: str
    beside: tuple[KeptEvent, ...]

    def to_json(self) -> dict[str, Any]:
        """The event with its texts, and the other side."""
        return {**_side(self.kept), "reason": self.reason, "beside": [_side(other) for other in self.beside]}


def contested(
    connection: Connection,
    *,
    agents: Collection[str] | None = None,
    seq: int | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[ContestedEvent]:
    """The newest contested events after the first `offset`, of all agents or of these, or that number's."""
    query = select(events.c.seq, events.c.status_reason).where(events.c.status == Status.CONTESTED.value)
    if agents is not None:
        query = query.where(events.c.agent.in_(agents))
    if seq is not None:
        query = query.where(events.c.seq == seq)
    reasons = {
        row.seq: row.status_reason or ""
        for row in connection.execute(query.order_by(events.c.seq.desc()).limit(limit).offset(offset))
    }
    by_seq = events_by_seq(connection, reasons)
    return [
        ContestedEvent(kept=by_seq[seq], reason=reason, beside=tuple(beside_it(connection, by_seq[seq])))
        for seq, reason in reasons.items()
    ]


def beside_it(connection: Connection, kept: KeptEvent) -> list[KeptEvent]:
    """The agent's other events of the same kind in the same prompt group that were not withdrawn."""
    query = select(events.c.seq).where(
        events.c.agent == kept.event.agent,
        events.c.prompt_group == kept.event.prompt_group,
        events.c.kind == kept.event.kind.value,
        events.c.seq != kept.seq,
        events.c.status.not_in(GONE),
    )
    others = events_by_seq(connection, connection.scalars(query.limit(100)))
    return [others[seq] for seq in sorted(others)]


def _side(kept: KeptEvent) -> dict[str, Any]:
    event = kept.event
    return {
        "event": event.uid,
        "agent": event.agent,
        "author": event.author,
        "kind": event.kind.value,
        "status": kept.status.value,
        "received_s": kept.received_s,
        "messages": event.data.get("messages", []),
        "corrected": event.data.get("corrected"),
    }
