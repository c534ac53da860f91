"""Applies retractions to the events they name, whichever of the two arrives first.

A retraction of another author's or agent's event changes nothing; its status says so (`not_yours`). One that
a person undid has no effect, however often Kafka delivers it (`ledger.learning.event_decisions`).
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from ledger.database import in_chunks
from ledger.events import Event, Kind, Status
from ledger.intake.ownership import can_change
from ledger.schema import events

REASON_CHARS_MAX = 200
"""Of the column; the uid of an event may have 601."""


def apply_retractions(connection: Connection, fresh: Sequence[Event]) -> None:
    """Apply new retractions to stored events, and stored retractions to new events."""
    names = {(event.source, event.id) for event in fresh if event.kind is Kind.RETRACTION}
    targets = [event for event in fresh if event.kind is not Kind.RETRACTION]
    for chunk in in_chunks([event.claimed_id or event.id for event in targets]):
        query = select(events.c.source, events.c.id).where(events.c.retracts.in_(chunk))
        names |= {(row.source, row.id) for row in connection.execute(query)}
    for source, id in sorted(names):
        _retract(connection, source, id)


def _retract(connection: Connection, source: str, id: str) -> None:
    """Apply the stored retraction of that name to the events it names and may change."""
    retraction, target = events.alias("retraction"), events.alias("target")
    columns = (retraction.c[name] for name in ("seq", "agent", "acts", "data", "status"))
    row = connection.execute(
        select(*columns).where(retraction.c.source == source, retraction.c.id == id)
    ).one()
    if row.status == Status.UNDONE.value:
        return
    named = _is_named(target, row)
    named_and_own = (
        select(target.c.seq)
        .select_from(target.join(retraction, retraction.c.seq == row.seq))
        .where(named, target.c.agent == row.agent, can_change(retraction, target))
    )
    own = list(connection.scalars(named_and_own))
    if own:
        connection.execute(
            update(events)
            .where(events.c.seq.in_(own), events.c.status != Status.UNDONE.value)
            .values(status=Status.RETRACTED.value, status_reason=f"{source}#{id}"[:REASON_CHARS_MAX])
        )
    is_anothers = not own and connection.scalar(select(target.c.seq).where(named).limit(1)) is not None
    connection.execute(
        update(events)
        .where(events.c.seq == row.seq)
        .values(
            status=(Status.NOT_YOURS if is_anothers else Status.APPLIED).value,
            status_reason="the event it names is another author's, or another agent's"
            if is_anothers
            else None,
        )
    )


def _is_named(target: Any, retraction: Any) -> ColumnElement[bool]:
    """Whether the retraction names the event. Its own author may use the id that the event was sent with."""
    source, id = retraction.data["target"]["source"], retraction.data["target"]["id"]
    sent_so = target.c.id == id if retraction.acts else or_(target.c.id == id, target.c.claimed_id == id)
    return and_(
        target.c.source == source,
        sent_so,
        target.c.kind != Kind.RETRACTION.value,
    )
