"""How one event changes another: joins with interactions, retractions, later revisions.

This happens in the transaction that stores the new event. The order of arrival makes no difference.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, func, not_, or_, select, update

from ledger.database import in_chunks
from ledger.events import Event, Kind, Status
from ledger.schema import events, interactions

_SETTLED = [status.value for status in (Status.SUPERSEDED, Status.RETRACTED, Status.APPLIED)]
"""A later revision changes no event with one of these. It does replace an event that is held or known."""

_REASON_CHARS_MAX = 200  # of the column; the uid of an event may have 601


def apply(connection: Connection, fresh: Sequence[Event], administrators: frozenset[str]) -> None:
    """Make new events change stored ones, and stored ones new events."""
    if not fresh:
        return
    join(connection, [event.interaction for event in fresh if event.interaction and event.role is None])
    for event in fresh:
        if event.kind is Kind.RETRACTION:
            _retract(connection, event, administrators)
    _apply_earlier_retractions(connection, fresh, administrators)
    keyed: dict[tuple[str, str], None] = {}
    for event in fresh:
        for key in (event.key, event.amends):
            if key is not None:
                keyed[event.agent, key] = None
    for agent, key in keyed:
        _inherit(connection, agent, key)
        _replace_older(connection, agent, key)


def join(connection: Connection, interaction_ids: Sequence[str]) -> None:
    """Give waiting events that name these interactions the role of the prompt, and open them."""
    waiting = (
        select(events.c.seq, events.c.agent, events.c.key, interactions.c.role, interactions.c.prompt_group)
        .join(interactions, interactions.c.id == events.c.interaction)
        .where(events.c.status == Status.WAITING.value, events.c.role.is_(None))  # a role never changes
        .where(events.c.interaction.in_(interaction_ids))
    )
    for row in connection.execute(waiting).all():
        connection.execute(
            update(events)
            .where(events.c.seq == row.seq)
            .values(role=row.role, prompt_group=row.prompt_group, status=Status.OPEN.value)
        )
        if row.key is not None:
            _inherit(connection, row.agent, row.key)


def _inherit(connection: Connection, agent: str, key: str) -> None:
    """Give waiting events that amend `key` and name no prompt the role of the event that they amend."""
    query = select(events.c.role, events.c.prompt_group).where(
        events.c.agent == agent, events.c.key == key, events.c.role.is_not(None)
    )
    amended = connection.execute(query.order_by(events.c.revision.desc()).limit(1)).one_or_none()
    if amended is None:
        return
    connection.execute(
        update(events)
        .where(events.c.agent == agent, events.c.amends == key, events.c.interaction.is_(None))
        .where(events.c.status == Status.WAITING.value, events.c.role.is_(None))
        .values(role=amended.role, prompt_group=amended.prompt_group, status=Status.OPEN.value)
    )


def _retract(connection: Connection, retraction: Event, administrators: frozenset[str]) -> None:
    target = retraction.data["target"]
    query = update(events).where(events.c.source == target["source"], events.c.id == target["id"])
    if retraction.author not in administrators:
        query = query.where(events.c.source == retraction.source)
    connection.execute(
        query.where(events.c.kind != Kind.RETRACTION.value).values(
            status=Status.RETRACTED.value, status_reason=_named(retraction.source, retraction.id)
        )
    )


def _apply_earlier_retractions(
    connection: Connection, fresh: Sequence[Event], administrators: frozenset[str]
) -> None:
    """Retract those of the new events whose retraction arrived before them."""
    by_id: dict[str, list[Event]] = defaultdict(list)
    for event in fresh:
        if event.kind is not Kind.RETRACTION:
            by_id[event.id].append(event)
    for chunk in in_chunks(list(by_id)):
        query = select(events.c.source, events.c.id, events.c.author, events.c.data).where(
            events.c.retracts.in_(chunk)
        )
        for row in connection.execute(query).all():
            for event in by_id[row.data["target"]["id"]]:
                is_target = row.data["target"]["source"] == event.source
                if is_target and (row.source == event.source or row.author in administrators):
                    connection.execute(
                        update(events)
                        .where(events.c.source == event.source, events.c.id == event.id)
                        .values(status=Status.RETRACTED.value, status_reason=_named(row.source, row.id))
                    )


def _replace_older(connection: Connection, agent: str, key: str) -> None:
    """Supersede the events under one feedback key that a later event of the same kind replaces.

    An event replaces another if its revision is higher; or if the revisions are equal and it amends the key
    that the other has; or if both amend the key, one author wrote both, and it occurred later. Otherwise both
    stay usable: if two people wrote them they disagree, and planning decides. A replaced event stays replaced
    also if the later event is retracted: its author no longer meant it.

    An outcome that amends an event of another kind adds to it and replaces nothing.
    """
    # Two conditions instead of one, so that the database uses an index for each.
    same = or_(
        and_(events.c.agent == agent, events.c.key == key),
        and_(events.c.agent == agent, events.c.amends == key),
    )
    amending = func.coalesce(events.c.amends == key, false())
    columns = (events.c.kind, events.c.revision, amending.label("amending"), events.c.author)
    query = select(*columns, func.max(events.c.occurred_s).label("last_s")).where(same).group_by(*columns)
    groups = connection.execute(query).all()
    for kind in sorted({group.kind for group in groups}):
        for older, reason in _replaced([group for group in groups if group.kind == kind], amending):
            connection.execute(
                update(events)
                .where(same, events.c.kind == kind, older, events.c.status.not_in(_SETTLED))
                .values(status=Status.SUPERSEDED.value, status_reason=reason)
            )


def _replaced(
    groups: Sequence[Any], amending: ColumnElement[bool]
) -> Iterable[tuple[ColumnElement[bool], str]]:
    """Conditions for the replaced events of one kind under one key, each with the reason."""
    newest = max(group.revision for group in groups)
    yield events.c.revision < newest, f"revision {newest}"
    amenders = [group for group in groups if group.amending and group.revision == newest]
    if not amenders or all(group.amending for group in groups):
        return  # they amend no event of this kind, so each may add to an event of another kind
    last = events.c.revision == newest
    yield and_(last, not_(amending)), "amended"
    for group in amenders:
        if group.last_s is not None:
            earlier = and_(events.c.author == group.author, events.c.occurred_s < group.last_s)
            yield and_(last, amending, earlier), "amended again by the same author"


def _named(source: str, id: str) -> str:
    return f"{source}#{id}"[:_REASON_CHARS_MAX]
