"""How one event changes another: joins with interactions, retractions, later revisions.

This happens in the transaction that stores the new event. The order of arrival makes no difference.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, false, func, not_, or_, select, update

from ledger.database import in_chunks
from ledger.events import Event, Status, Trust
from ledger.intake.ownership import can_change
from ledger.intake.retractions import apply_retractions
from ledger.schema import events, interactions

_OPENED = (Status.WAITING.value, Status.BARREN.value)  # by what they are about, where they have no role yet
_WITHOUT_ROLE = (*_OPENED, Status.NOT_YOURS.value)
_SETTLED = [status.value for status in (Status.SUPERSEDED, Status.RETRACTED, Status.UNDONE, Status.APPLIED)]
"""A later revision changes no event with one of these. It does replace an event that is held or known."""


def apply(connection: Connection, fresh: Sequence[Event]) -> None:
    """Make new events change stored ones, and stored ones new events."""
    if not fresh:
        return
    without_role = [event for event in fresh if event.role is None]
    join(connection, [event.interaction for event in without_role if event.interaction])
    join_conversations(
        connection, [(event.agent, event.conversation) for event in without_role if event.conversation]
    )
    apply_retractions(connection, fresh)
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
        .where(events.c.status.in_(_WITHOUT_ROLE), events.c.role.is_(None))  # a role never changes
        .where(events.c.interaction.in_(interaction_ids))
    )
    for row in connection.execute(waiting).all():
        _open(connection, row, role=row.role, group=row.prompt_group)


def join_conversations(connection: Connection, names: Iterable[tuple[str, str]]) -> None:
    """Give waiting events that name one of these conversations (agent, name), and no interaction, a role.

    It is the role of the turn that the event names, which is its interaction from then on; else of the first
    turn that is captured. A turn of which several choices are captured is not known by its number.
    """
    named = set(names)
    for chunk in in_chunks(sorted({conversation for _, conversation in named})):
        waiting = select(
            *(events.c[name] for name in ("seq", "agent", "key", "conversation", "turn")),
        ).where(
            events.c.conversation.in_(chunk),
            events.c.interaction.is_(None),
            events.c.role.is_(None),
            events.c.status.in_(_WITHOUT_ROLE),
        )
        for event in connection.execute(waiting).all():
            if (event.agent, event.conversation) not in named:
                continue
            turns = _captured_turns(connection, event.agent, event.conversation)
            if event.turn is None and turns:
                _open(connection, event, role=turns[min(turns)].role, group=turns[min(turns)].prompt_group)
            elif event.turn in turns and turns[event.turn].sampling.get("n", 1) == 1:
                turn = turns[event.turn]
                _open(connection, event, role=turn.role, group=turn.prompt_group, interaction=turn.id)


def _captured_turns(connection: Connection, agent: str, conversation: str) -> dict[int, Row[Any]]:
    """The captured turns of a conversation by number; of a turn that was asked again the last answer."""
    query = select(interactions).where(
        interactions.c.agent == agent, interactions.c.conversation == conversation
    )
    return {
        sum(message.get("role") == "assistant" for message in row.messages)
        if row.turn is None
        else row.turn: row
        for row in connection.execute(query.order_by(interactions.c.received_s, interactions.c.id))
    }


def _open(
    connection: Connection, event: Any, *, role: str, group: str, interaction: str | None = None
) -> None:
    """Give one event its role, and what amends it too; `interaction` is what it turned out to be about."""
    status = case((events.c.status.in_(_OPENED), Status.OPEN.value), else_=events.c.status)
    values = {"role": role, "prompt_group": group, "status": status, "status_reason": None}
    if interaction is not None:
        values["interaction"] = interaction
    connection.execute(update(events).where(events.c.seq == event.seq).values(**values))
    if event.key is not None:
        _inherit(connection, event.agent, event.key)


def _inherit(connection: Connection, agent: str, key: str) -> None:
    """Give waiting events that amend `key` and name no prompt the role of the event that they amend."""
    amending, amended = events.alias("amending"), events.alias("amended")
    waiting = (
        select(amending.c.seq)
        .where(amending.c.agent == agent, amending.c.amends == key, amending.c.interaction.is_(None))
        .where(amending.c.status == Status.WAITING.value, amending.c.role.is_(None))
    )
    for seq in connection.scalars(waiting).all():
        target = (
            select(amended.c.role, amended.c.prompt_group)
            .select_from(amended.join(amending, amending.c.seq == seq))
            .where(amended.c.agent == agent, amended.c.key == key, amended.c.role.is_not(None))
            .where(can_change(amending, amended))
            .order_by(amended.c.revision.desc(), amended.c.seq)
            .limit(1)
        )
        row = connection.execute(target).one_or_none()
        if row is not None:
            values = {"role": row.role, "prompt_group": row.prompt_group, "status": Status.OPEN.value}
            connection.execute(update(events).where(events.c.seq == seq).values(**values))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Events under one key that are alike in everything that decides what replaces what."""

    kind: str
    revision: int
    amending: bool  # amends the key; otherwise it has the key
    source: str
    author: str
    trust: Trust
    acts: bool
    last_s: float | None

    @property
    def owner(self) -> "_Owner":
        return self.source, self.author, self.trust

    def may_change(self, owner: "_Owner") -> bool:
        source, author, trust = owner
        is_own = (self.source, self.author) == (source, author)
        return self.acts or (is_own and self.trust.reaches(trust))


_Owner = tuple[str, str, Trust]
"""Source, author and trust."""


def _replace_older(connection: Connection, agent: str, key: str) -> None:
    """Supersede the events under one feedback key that a later event of the same kind replaces.

    An event replaces another that it may change (`ledger.intake.ownership`) if its revision is higher; or if
    the revisions are equal and it amends the key that the other has; or if both amend the key, one author
    wrote both, and it occurred later. Otherwise both stay usable: if two people wrote them they disagree, and
    planning decides. A replaced event stays replaced also if the later event is retracted: its author no
    longer meant it. So a key belongs to a source and an author: under the same key of another, it is another.

    An outcome that amends an event of another kind adds to it and replaces nothing. An event that amends
    nothing but other people's events has no effect (`not_yours`), nor has one that a person undid.
    """
    # Two conditions instead of one, so that the database uses an index for each.
    same = or_(
        and_(events.c.agent == agent, events.c.key == key),
        and_(events.c.agent == agent, events.c.amends == key),
    )
    amending = func.coalesce(events.c.amends == key, false())
    of_group = (events.c.source, events.c.author, events.c.trust, events.c.acts)
    columns = (events.c.kind, events.c.revision, amending.label("amending"), *of_group)
    in_force = and_(same, events.c.status != Status.UNDONE.value)
    query = select(*columns, func.max(events.c.occurred_s).label("last_s")).where(in_force).group_by(*columns)
    groups = [
        _Group(**{**row._mapping, "trust": Trust(row.trust)}) for row in connection.execute(query).all()
    ]
    for owner in sorted({group.owner for group in groups}):
        of_owner = and_(
            events.c.source == owner[0], events.c.author == owner[1], events.c.trust == owner[2].value
        )
        for kind in sorted({group.kind for group in groups if group.owner == owner}):
            of_kind = [group for group in groups if group.kind == kind]
            for older, reason in _replaced(owner, of_kind, amending):
                connection.execute(
                    update(events)
                    .where(same, of_owner, events.c.kind == kind, older, events.c.status.not_in(_SETTLED))
                    .values(status=Status.SUPERSEDED.value, status_reason=reason)
                )
        _refuse_or_allow(connection, and_(same, of_owner, amending), owner, groups)


def _replaced(
    owner: _Owner, of_kind: Sequence[_Group], amending: ColumnElement[bool]
) -> Iterable[tuple[ColumnElement[bool], str]]:
    """Conditions for the replaced events of one owner and kind under one key, each with the reason."""
    actors = [group for group in of_kind if group.may_change(owner)]
    newest = max(group.revision for group in actors)  # the owner's own events are among them
    yield events.c.revision < newest, f"revision {newest}"
    amenders = [group for group in actors if group.amending and group.revision == newest]
    targets = [group.owner for group in of_kind if not group.amending]
    if not any(amender.may_change(target) for amender in amenders for target in targets):
        return  # they amend no event of this kind, so each may add to an event of another kind
    last = events.c.revision == newest
    yield and_(last, not_(amending)), "amended"
    for group in amenders:
        if group.last_s is not None and (group.source, group.author) == owner[:2]:
            yield and_(last, amending, events.c.occurred_s < group.last_s), "amended again by the same author"


def _refuse_or_allow(
    connection: Connection, amending: ColumnElement[bool], owner: _Owner, groups: Sequence[_Group]
) -> None:
    """Set the events of one owner that amend the key to `not_yours`, or back, by who else has the key."""
    targets = {group.owner for group in groups if not group.amending}
    for acts in sorted({group.acts for group in groups if group.amending and group.owner == owner}):
        actor = next(
            group for group in groups if group.amending and group.owner == owner and group.acts is acts
        )
        of_actor = and_(amending, events.c.acts.is_(acts))
        if targets and not any(actor.may_change(target) for target in targets):
            values = {"status": Status.NOT_YOURS.value, "status_reason": "amends another author's event"}
            connection.execute(
                update(events).where(of_actor, events.c.status.not_in(_SETTLED)).values(**values)
            )
            continue
        refused = and_(of_actor, events.c.status == Status.NOT_YOURS.value)
        usable = case((events.c.role.is_(None), Status.WAITING.value), else_=Status.OPEN.value)
        connection.execute(update(events).where(refused).values(status=usable, status_reason=None))
