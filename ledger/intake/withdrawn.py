"""Events that people withdrew: retracted, replaced by a later event, or reverted according to an outcome.

No turn trains on such an event, and no candidate is judged by it. Work that used it meanwhile is done again.
"""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_, select

from ledger.database import in_chunks
from ledger.events import Kind, Role, Status
from ledger.intake.ownership import can_change
from ledger.schema import events, turn_events
from ledger.turn_states import TurnPart

GONE = tuple(
    status.value for status in (Status.RETRACTED, Status.SUPERSEDED, Status.UNDONE, Status.NOT_YOURS)
)
"""The statuses of events that count no more: withdrawn, undone, or never their author's to say."""


def was_reverted() -> ColumnElement[bool]:
    """Whether an outcome below zero, not withdrawn itself, amends the event: what it taught did not last."""
    later = events.alias("later")
    reverting = select(literal(1)).where(
        later.c.agent == events.c.agent,
        later.c.amends == events.c.key,
        later.c.kind == Kind.OUTCOME.value,
        later.c.status.not_in(GONE),
        later.c.data["value"].as_float() < 0.0,
        can_change(later, events),
    )
    return and_(events.c.key.is_not(None), reverting.exists())


def reverted(connection: Connection, seqs: Iterable[int]) -> frozenset[int]:
    """Those of these events (by `seq`) that an outcome says did not last."""
    reverted_seqs: set[int] = set()
    for chunk in in_chunks(sorted(set(seqs))):
        query = select(events.c.seq).where(events.c.seq.in_(chunk), was_reverted())
        reverted_seqs.update(connection.scalars(query))
    return frozenset(reverted_seqs)


def no_evidence(connection: Connection, agent: str, uids: Iterable[str]) -> frozenset[str]:
    """Those of the agent's gate events (by uid) by which no candidate is judged any more.

    People withdrew them, or disagree about them.
    """
    query = select(events.c.source, events.c.id).where(
        events.c.agent == agent,
        events.c.role == Role.GATE.value,
        or_(events.c.status.in_((*GONE, Status.CONTESTED.value)), was_reverted()),
    )
    return frozenset(uids) & {f"{row.source}#{row.id}" for row in connection.execute(query)}


def changed_events(connection: Connection, turn_id: int) -> int:
    """How many of the events that a turn trains on have changed since it was planned."""
    usable = [Status.OPEN.value, Status.KNOWN.value, Status.BARREN.value]
    taught = select(events.c.seq).join(turn_events, turn_events.c.event_seq == events.c.seq)
    changed = taught.where(
        turn_events.c.turn_id == turn_id,
        turn_events.c.part != TurnPart.DEV.value,
        events.c.status.not_in(usable) | (events.c.revision != turn_events.c.revision) | _is_about_nothing(),
    )
    return int(connection.scalar(select(func.count()).select_from(changed.subquery())) or 0)


def _is_about_nothing() -> ColumnElement[bool]:
    """Whether the event is an outcome about an event that was retracted and that nothing replaced."""
    amended = events.alias("amended")

    def amends_event(with_status: ColumnElement[bool]) -> ColumnElement[bool]:
        query = select(literal(1)).where(amended.c.agent == events.c.agent, with_status)
        query = query.where(amended.c.kind != Kind.OUTCOME.value, can_change(events, amended))
        # Two conditions instead of one, so that the database uses an index for each.
        return or_(
            *(query.where(name == events.c.amends).exists() for name in (amended.c.key, amended.c.amends))
        )

    return and_(
        events.c.kind == Kind.OUTCOME.value,
        events.c.amends.is_not(None),
        amends_event(amended.c.status.in_((Status.RETRACTED.value, Status.UNDONE.value))),
        ~amends_event(amended.c.status.not_in(GONE)),
    )
