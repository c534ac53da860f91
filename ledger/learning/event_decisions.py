"""What people decide about stored events: stored with who, why and every change, so that it can be undone.

A restored event counts again, and what withdrew it is *undone*: it counts no more, nor does what it did.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from ledger.database import Database, now_s
from ledger.errors import EventDecisionRefused
from ledger.events import KeptEvent, Kind, Status
from ledger.intake import amendments
from ledger.intake.ownership import JUDGE_RIGHT, can_change
from ledger.intake.withdrawn import GONE, reverted
from ledger.learning.event_queries import events_by_seq
from ledger.schema import event_changes, event_decisions, events, interactions

_CHANGING = ("status", "status_reason", "rights")
_REASON_CHARS_MAX = 200  # of the column of an event; the decision has the whole reason
_WITHDRAWN = (Status.RETRACTED, Status.SUPERSEDED, Status.HELD)


class EventVerdict(StrEnum):
    """What was decided about an event."""

    SETTLE = "settle"  # it counts, also without a second person
    RETRACT = "retract"
    RESTORE = "restore"
    UNDO = "undo"  # an earlier decision is taken back


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDecision:
    """One decision, and the events that it changed."""

    id: int
    verdict: EventVerdict
    event: str  # uid of the event that it was about
    by: str
    reason: str
    decided_s: float
    undone_by: int | None
    changed: tuple[str, ...]  # uids of the other events that it changed

    def to_json(self) -> dict[str, Any]:
        """The decision for programs."""
        return {name: getattr(self, name) for name in self.__slots__} | {"changed": list(self.changed)}


def settle(
    database: Database, kept: KeptEvent, against: Iterable[KeptEvent], *, by: str, reason: str
) -> EventDecision:
    """The event counts from now on, without a second person; `against` does not."""
    with database.write() as connection:
        decision = _Decision(connection, EventVerdict.SETTLE, kept, by=by, reason=reason)
        rights = sorted(kept.event.rights | {JUDGE_RIGHT})
        if kept.status.value not in GONE:
            decision.set(kept.seq, Status.OPEN, "settled", rights=rights)
        for other in against:
            if other.status.value not in GONE:
                decision.set(other.seq, Status.SUPERSEDED, "settled")
        return decision.read()


def retract(database: Database, kept: KeptEvent, *, by: str, reason: str) -> EventDecision:
    """The event counts no more. Raises `EventDecisionRefused` if it does not count anyway."""
    with database.write() as connection:
        if _present(connection, kept).status.value in GONE:
            raise EventDecisionRefused(f"it is {kept.status.value} already")
        if kept.event.kind is Kind.RETRACTION:
            raise EventDecisionRefused("restore the event that it names instead")
        decision = _Decision(connection, EventVerdict.RETRACT, kept, by=by, reason=reason)
        decision.set(kept.seq, Status.RETRACTED, "retracted")
        return decision.read()


def restore(
    database: Database, kept: KeptEvent, against: Iterable[KeptEvent], *, by: str, reason: str
) -> EventDecision:
    """The event counts again. What retracted, amended or reverted it is undone, and so is `against`.

    Raises `EventDecisionRefused` if nothing withdrew it, or its texts were forgotten.
    """
    with database.write() as connection:
        present = _present(connection, kept)
        is_reverted = present.seq in reverted(connection, [present.seq])
        if present.status is Status.UNDONE:
            raise EventDecisionRefused("a person undid it: undo that decision, its receipt has the number")
        if present.status not in _WITHDRAWN and not is_reverted:
            raise EventDecisionRefused(f"it is {present.status.value}: nobody withdrew it")
        _require_texts(connection, present)
        decision = _Decision(connection, EventVerdict.RESTORE, kept, by=by, reason=reason)
        acts = events_by_seq(connection, {*_acts_on(connection, present), *(other.seq for other in against)})
        for seq, act in acts.items():
            if act.status.value not in GONE:
                decision.set(seq, Status.UNDONE, "undone")
        usable = Status.WAITING if present.event.role is None else Status.OPEN
        decision.set(present.seq, usable, "restored")
        amendments.apply(connection, [present.event])
        return decision.read()


def undo(database: Database, number: int, *, by: str, reason: str) -> EventDecision:
    """Every event that the decision changed is as it was before, unless somebody has withdrawn it since.

    Raises `EventDecisionRefused` if there is no such decision, or it was undone already.
    """
    with database.write() as connection:
        row = connection.execute(select(event_decisions).where(event_decisions.c.id == number)).one_or_none()
        if row is None:
            raise EventDecisionRefused(f"no decision has the number {number}")
        if row.undone_by is not None:
            raise EventDecisionRefused(f"decision {number} was undone already, by decision {row.undone_by}")
        query = select(event_changes).where(event_changes.c.decision_id == number)
        changes = connection.execute(query.order_by(event_changes.c.event_seq)).all()
        kept_by_seq = events_by_seq(connection, [row.event_seq, *(change.event_seq for change in changes)])
        if row.event_seq not in kept_by_seq:
            raise EventDecisionRefused("its event waited for an interaction that never came, and is gone")
        about = kept_by_seq[row.event_seq]
        decision = _Decision(connection, EventVerdict.UNDO, about, by=by, reason=reason)
        for change in changes:
            present = kept_by_seq.get(change.event_seq)
            if present is not None and not _was_withdrawn_since(present, change.after):
                decision.put(change.event_seq, change.before)
        undone = update(event_decisions).where(event_decisions.c.id == number)
        connection.execute(undone.values(undone_by=decision.id))
        amendments.apply(connection, [kept.event for kept in kept_by_seq.values()])
        return decision.read()


def decisions_about(connection: Connection, seq: int) -> list[EventDecision]:
    """The decisions that changed the event, oldest first."""
    changed = select(event_changes.c.decision_id).where(event_changes.c.event_seq == seq)
    query = select(event_decisions).where(event_decisions.c.id.in_(changed)).order_by(event_decisions.c.id)
    return [_read(connection, row) for row in connection.execute(query).all()]


def decided_event(connection: Connection, number: int) -> KeptEvent | None:
    """The event that the decision of this number was about; None where there is none."""
    seq = connection.scalar(select(event_decisions.c.event_seq).where(event_decisions.c.id == number))
    return None if seq is None else events_by_seq(connection, [seq]).get(seq)


class _Decision:
    """A decision that is being stored; each change is applied and remembered."""

    def __init__(
        self, connection: Connection, verdict: EventVerdict, about: KeptEvent, *, by: str, reason: str
    ) -> None:
        self._connection = connection
        self._why = f"by {by}: {reason}"
        stored = insert(event_decisions).values(
            verdict=verdict.value, event_seq=about.seq, by=by, reason=reason, decided_s=now_s(connection)
        )
        self.id: int = connection.execute(stored.returning(event_decisions.c.id)).scalar_one()

    def set(self, seq: int, status: Status, word: str, **more: Any) -> None:
        """Give the event a status; its reason says what was done, by whom and why."""
        reason = f"{word} {self._why}"[:_REASON_CHARS_MAX]
        self.put(seq, {"status": status.value, "status_reason": reason, **more})

    def put(self, seq: int, values: Mapping[str, Any]) -> None:
        """Give the event these values, and remember those before."""
        columns = (events.c[name] for name in _CHANGING)
        row = self._connection.execute(select(*columns).where(events.c.seq == seq)).one()
        before = {name: row._mapping[name] for name in values}
        self._connection.execute(update(events).where(events.c.seq == seq).values(**values))
        change = {"decision_id": self.id, "event_seq": seq, "before": before, "after": dict(values)}
        self._connection.execute(insert(event_changes).values(**change))

    def read(self) -> EventDecision:
        """The decision as it is stored."""
        query = select(event_decisions).where(event_decisions.c.id == self.id)
        return _read(self._connection, self._connection.execute(query).one())


def _read(connection: Connection, row: Any) -> EventDecision:
    query = select(event_changes.c.event_seq).where(event_changes.c.decision_id == row.id)
    seqs = list(connection.scalars(query.order_by(event_changes.c.event_seq)))
    kept_by_seq = events_by_seq(connection, [row.event_seq, *seqs])
    uids = {seq: kept.event.uid for seq, kept in kept_by_seq.items()}
    return EventDecision(
        id=row.id,
        verdict=EventVerdict(row.verdict),
        event=uids.get(row.event_seq, ""),
        by=row.by,
        reason=row.reason,
        decided_s=row.decided_s,
        undone_by=row.undone_by,
        changed=tuple(uids[seq] for seq in seqs if seq != row.event_seq and seq in uids),
    )


def _present(connection: Connection, kept: KeptEvent) -> KeptEvent:
    """The event as it is now: it may have changed since it was read."""
    return events_by_seq(connection, [kept.seq])[kept.seq]


def _require_texts(connection: Connection, kept: KeptEvent) -> None:
    about = select(interactions.c.forgotten).where(interactions.c.id == kept.event.interaction)
    if kept.forgotten is not None or connection.scalar(about) is not None:
        raise EventDecisionRefused("its texts were forgotten")


def _acts_on(connection: Connection, kept: KeptEvent) -> set[int]:
    """The events that retract, replace or revert this one (by `seq`)."""
    act, target = events.alias("act"), events.alias("target")
    event = kept.event
    names = [id for id in (event.id, event.claimed_id) if id is not None]
    retracts = and_(act.c.kind == Kind.RETRACTION.value, act.c.retracts.in_(names))
    conditions = [retracts]
    if event.key is not None:
        negative = and_(act.c.kind == Kind.OUTCOME.value, act.c.data["value"].as_float() < 0.0)
        conditions.append(and_(act.c.amends == event.key, or_(negative, act.c.revision >= event.revision)))
    for key in {event.key, event.amends} - {None}:
        later = act.c.revision > event.revision
        conditions.append(and_(act.c.kind == event.kind.value, act.c.key == key, later))
        if event.occurred_s is not None:
            later = or_(later, and_(act.c.revision == event.revision, act.c.occurred_s > event.occurred_s))
        conditions.append(and_(act.c.kind == event.kind.value, act.c.amends == key, later))
    query = (
        select(act.c.seq, act.c.kind, act.c.data)
        .select_from(act.join(target, target.c.seq == kept.seq))
        .where(act.c.agent == event.agent, act.c.seq != kept.seq, or_(*conditions), can_change(act, target))
    )
    return {row.seq for row in connection.execute(query) if _is_about(row, event.source, event.kind)}


def _is_about(row: Any, source: str, kind: Kind) -> bool:
    """Whether a retraction names the source; an outcome is below zero, or amends an outcome."""
    if row.kind == Kind.RETRACTION.value:
        return bool(row.data["target"]["source"] == source)
    return bool(row.kind == kind.value or (row.kind == Kind.OUTCOME.value and row.data["value"] < 0.0))


def _was_withdrawn_since(present: KeptEvent, after: Mapping[str, Any]) -> bool:
    """Whether the event was withdrawn after the decision, by somebody else."""
    return present.status.value in GONE and present.status.value != after["status"]
