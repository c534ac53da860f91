"""Events that people withdrew: retracted, replaced by a later event, or reverted according to an outcome.

Such an event teaches nothing and judges nothing. What was made of it meanwhile is made again.
"""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_, select

from ledger.database import in_chunks
from ledger.events import Kind, Role, Status
from ledger.schema import events, turn_events
from ledger.turn_states import TurnPart

GONE = tuple(status.value for status in (Status.RETRACTED, Status.SUPERSEDED))
"""What an event is then, for good."""


def was_reverted() -> ColumnElement[bool]:
    """Whether an outcome that amends the event, and stands itself, says that it did not last."""
    later = events.alias("later")
    said = select(literal(1)).where(
        later.c.agent == events.c.agent,
        later.c.amends == events.c.key,
        later.c.kind == Kind.OUTCOME.value,
        later.c.status.not_in(GONE),
        later.c.data["value"].as_float() < 0.0,
    )
    return and_(events.c.key.is_not(None), said.exists())


def reverted(connection: Connection, seqs: Iterable[int]) -> frozenset[int]:
    """Those of these events (by `seq`) that did not last."""
    gone: set[int] = set()
    for chunk in in_chunks(sorted(set(seqs))):
        gone.update(connection.scalars(select(events.c.seq).where(events.c.seq.in_(chunk), was_reverted())))
    return frozenset(gone)


def no_evidence(connection: Connection, agent: str, uids: Iterable[str]) -> frozenset[str]:
    """Those of the agent's gate events (by uid) that a candidate must not be judged by any more."""
    query = select(events.c.source, events.c.id).where(
        events.c.agent == agent,
        events.c.role == Role.GATE.value,
        or_(events.c.status.in_(GONE), was_reverted()),
    )
    return frozenset(uids) & {f"{row.source}#{row.id}" for row in connection.execute(query)}


def changed_events(connection: Connection, turn_id: int) -> int:
    """How many events a turn trained on are no longer what it was given."""
    usable = [Status.OPEN.value, Status.KNOWN.value, Status.BARREN.value]
    taught = select(events.c.seq).join(turn_events, turn_events.c.event_seq == events.c.seq)
    changed = taught.where(
        turn_events.c.turn_id == turn_id,
        turn_events.c.part != TurnPart.DEV.value,
        events.c.status.not_in(usable) | (events.c.revision != turn_events.c.revision) | _is_about_nothing(),
    )
    return int(connection.scalar(select(func.count()).select_from(changed.subquery())) or 0)


def _is_about_nothing() -> ColumnElement[bool]:
    """Whether the event says that another one lasted, which was retracted, and nothing replaced that."""
    amended = events.alias("amended")

    def there_is_one(with_status: ColumnElement[bool]) -> ColumnElement[bool]:
        one = select(literal(1)).where(amended.c.agent == events.c.agent, with_status)
        one = one.where(amended.c.kind != Kind.OUTCOME.value)
        # Spelt so that each half has an index of its own.
        return or_(
            *(one.where(name == events.c.amends).exists() for name in (amended.c.key, amended.c.amends))
        )

    return and_(
        events.c.kind == Kind.OUTCOME.value,
        events.c.amends.is_not(None),
        there_is_one(amended.c.status == Status.RETRACTED.value),
        ~there_is_one(amended.c.status.not_in(GONE)),
    )
