"""How one event changes another: joins with interactions, retractions, later revisions.

It happens in the transaction that keeps the new event, and the order of arrival makes no difference.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, func, not_, or_, select, update

from ledger.database import in_chunks
from ledger.events import Event, Kind, Status
from ledger.schema import events, interactions

_SETTLED = [status.value for status in (Status.SUPERSEDED, Status.RETRACTED, Status.APPLIED)]
"""Whatever learning made of an event (held, known already), it is no longer meant once it is replaced."""

_REASON_CHARS_MAX = 200  # of the column; an event's uid may have 601


def apply(connection: Connection, fresh: Sequence[Event], administrators: frozenset[str]) -> None:
    """Let new events act on stored ones, and stored ones on new events."""
    if not fresh:
        return
    join(connection, [event.interaction for event in fresh if event.interaction and event.role is None])
    for event in fresh:
        if event.kind is Kind.RETRACTION:
            _retract(connection, event, administrators)
    _meet_tombstones(connection, fresh, administrators)
    keyed: dict[tuple[str, str], None] = {}
    for event in fresh:
        for key in (event.key, event.amends):
            if key is not None:
                keyed[event.agent, key] = None
    for agent, key in keyed:
        _inherit(connection, agent, key)
        _replace_older(connection, agent, key)


def join(connection: Connection, interaction_ids: Sequence[str]) -> None:
    """Events whose prompt was not known take the role of these interactions' prompts and become usable."""
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
    """Events that amend without saying of which prompt take the role of what they amend, once it has one."""
    amended = select(events.c.role, events.c.prompt_group).where(
        events.c.agent == agent, events.c.key == key, events.c.role.is_not(None)
    )
    found = connection.execute(amended.order_by(events.c.revision.desc()).limit(1)).one_or_none()
    if found is None:
        return
    connection.execute(
        update(events)
        .where(events.c.agent == agent, events.c.amends == key, events.c.interaction.is_(None))
        .where(events.c.status == Status.WAITING.value, events.c.role.is_(None))
        .values(role=found.role, prompt_group=found.prompt_group, status=Status.OPEN.value)
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


def _meet_tombstones(connection: Connection, fresh: Sequence[Event], administrators: frozenset[str]) -> None:
    """Retractions that came before what they retract."""
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
                named = row.data["target"]["source"] == event.source
                if named and (row.source == event.source or row.author in administrators):
                    connection.execute(
                        update(events)
                        .where(events.c.source == event.source, events.c.id == event.id)
                        .values(status=Status.RETRACTED.value, status_reason=_named(row.source, row.id))
                    )


def _replace_older(connection: Connection, agent: str, key: str) -> None:
    """Of the events of one kind under one feedback key, only those that nobody replaced stay usable.

    One replaces another by a higher revision; or, at the same one, by amending the key under which the other
    was said; or, where both amend it, by having occurred later, said by the same author. Where none of it
    holds both stand: between people it is a disagreement, which planning looks at. What replaced something
    has done so for good, also when it is retracted itself: it was no longer meant.

    An outcome that amends another kind of event adds to it and replaces nothing.
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
        for older, why in _replaced([group for group in groups if group.kind == kind], amending):
            connection.execute(
                update(events)
                .where(same, events.c.kind == kind, older, events.c.status.not_in(_SETTLED))
                .values(status=Status.SUPERSEDED.value, status_reason=why)
            )


def _replaced(
    groups: Sequence[Any], amending: ColumnElement[bool]
) -> Iterable[tuple[ColumnElement[bool], str]]:
    """Which events of one kind under one key are replaced, and why, by what is known of all of them."""
    newest = max(group.revision for group in groups)
    yield events.c.revision < newest, f"revision {newest}"
    amenders = [group for group in groups if group.amending and group.revision == newest]
    if not amenders or all(group.amending for group in groups):
        return  # nothing that they amend is there, so they may each complete something of another kind
    last = events.c.revision == newest
    yield and_(last, not_(amending)), "amended"
    for group in amenders:
        if group.last_s is not None:
            earlier = and_(events.c.author == group.author, events.c.occurred_s < group.last_s)
            yield and_(last, amending, earlier), "amended again by the same author"


def _named(source: str, id: str) -> str:
    return f"{source}#{id}"[:_REASON_CHARS_MAX]
