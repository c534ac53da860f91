"""Reads stored feedback: events by purpose, and the interactions that they name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select, true, update

from ledger.database import Database, in_chunks
from ledger.events import Event, Interaction, KeptEvent, Kind, Role, Status, Trust
from ledger.intake.withdrawn import GONE, was_reverted
from ledger.learning.backlog import is_untaught, judges_samples, waits_for_another
from ledger.schema import events, interactions, passes, positions, turn_events
from ledger.turn_states import TurnPart, in_part
from ledger.versions.desired import taught_turns

NEWEST_MAX = 4000
"""Events of one kind that one query returns: a turn and a gate can use a few hundred."""

_NAMES_MAX = 100  # of events in one query: SQLite allows expressions of a thousand levels


def untaught(
    connection: Connection, agent: str, *, limit: int, newest_samples: bool = False
) -> list[KeptEvent]:
    """The agent's backlog, oldest first; the limit leaves out the newest.

    With `newest_samples` it leaves out the oldest of those that judge what the agent sampled: the champion
    moves away from them.
    """
    order: list[ColumnElement[Any]] = [events.c.seq]
    if newest_samples:
        order = [judges_samples(), case((judges_samples(), -events.c.seq), else_=events.c.seq)]
    query = select(events).where(events.c.agent == agent, is_untaught()).order_by(*order).limit(limit)
    return sorted(_events(connection, query), key=lambda kept: kept.seq)


def not_labelled(connection: Connection, agent: str, *, limit: int) -> list[KeptEvent]:
    """Events that the last planning could not label and that it may label now, oldest first."""
    query = select(events).where(
        events.c.agent == agent,
        events.c.status == Status.WAITING.value,
        events.c.role == Role.TRAIN.value,
        ~waits_for_another(),
    )
    return _events(connection, query.order_by(events.c.seq).limit(limit))


def unconfirmed(connection: Connection, agent: str, *, newest: int = NEWEST_MAX) -> list[KeptEvent]:
    """The `newest` events of any role that waited for another person when last looked at, oldest first."""
    query = select(events).where(events.c.agent == agent, waits_for_another(), ~was_reverted())
    return _events(connection, query.order_by(events.c.seq.desc()).limit(newest))[::-1]


def mark(database: Database, marks: Mapping[int, tuple[Status, str]]) -> None:
    """Set the status of events (by `seq`), with the reason. Withdrawn events stay withdrawn."""
    if not marks:
        return
    with database.write() as connection:
        for seq, (status, reason) in marks.items():
            connection.execute(
                update(events)
                .where(events.c.seq == seq, events.c.status.not_in(GONE))
                .values(status=status.value, status_reason=reason[:200])
            )


def taught(connection: Connection, agent: str, *, newest: int = NEWEST_MAX) -> list[KeptEvent]:
    """The `newest` usable events that the champion and its ancestors were taught, oldest first."""
    line = taught_turns()
    query = (
        select(events)
        .join(turn_events, turn_events.c.event_seq == events.c.seq)
        .join(line, line.c.turn_id == turn_events.c.turn_id)
        .where(
            line.c.agent == agent,
            in_part(TurnPart.NEW),
            events.c.status == Status.OPEN.value,
        )
        .order_by(events.c.seq.desc())
        .limit(newest)
    )
    return _events(connection, query)[::-1]


def usable(
    connection: Connection,
    agent: str,
    *,
    role: Role,
    kinds: Sequence[Kind],
    after_seq: int = 0,
    newest: int = NEWEST_MAX,
) -> list[KeptEvent]:
    """The agent's `newest` usable events of a role and these kinds that no outcome reverted, oldest first."""
    query = (
        select(events)
        .where(
            events.c.agent == agent,
            events.c.status == Status.OPEN.value,
            events.c.role == role.value,
            events.c.kind.in_([kind.value for kind in kinds]),
            events.c.seq > after_seq,
            ~was_reverted(),
        )
        .order_by(events.c.seq.desc())
        .limit(newest)
    )
    return _events(connection, query)[::-1]


def events_by_seq(connection: Connection, seqs: Iterable[int]) -> dict[int, KeptEvent]:
    """Events by their number in the ledger; the result has no unknown numbers."""
    kept_by_seq: dict[int, KeptEvent] = {}
    for chunk in in_chunks(sorted(set(seqs))):
        query = select(events).where(events.c.seq.in_(chunk))
        kept_by_seq.update({kept.seq: kept for kept in _events(connection, query)})
    return kept_by_seq


def events_by_key(
    connection: Connection, agent: str, keys: Iterable[str], *, through_seq: int | None = None
) -> list[KeptEvent]:
    """The agent's events that have these feedback keys or replaced such an event, oldest first: those that
    outcomes refer to. With `through_seq`, none that was stored after that event."""
    kept_by_seq: dict[int, KeptEvent] = {}
    known = true() if through_seq is None else events.c.seq <= through_seq
    for chunk in in_chunks(sorted(set(keys))):
        # Two conditions instead of one, so that the database uses an index for each.
        under = and_(events.c.agent == agent, events.c.key.in_(chunk))
        replacing = and_(
            events.c.agent == agent, events.c.amends.in_(chunk), events.c.kind != Kind.OUTCOME.value
        )
        query = select(events).where(or_(under, replacing), known)
        kept_by_seq.update({kept.seq: kept for kept in _events(connection, query)})
    return [kept_by_seq[seq] for seq in sorted(kept_by_seq)]


def event_by_uid(connection: Connection, uid: str) -> list[KeptEvent]:
    """Events named `SOURCE#ID` (either may hold more of these signs); where there are none, all with that id.

    The name has an index, the bare id has none.
    """
    if named := _named(connection, [uid]):
        return named
    return _events(connection, select(events).where(events.c.id == uid).order_by(events.c.seq))


def events_named(connection: Connection, uids: Iterable[str]) -> dict[str, KeptEvent]:
    """The events of these names, by name; those that are not there are left out."""
    names, by_name = list(dict.fromkeys(uids)), dict[str, KeptEvent]()
    for start in range(0, len(names), _NAMES_MAX):
        named = _named(connection, names[start : start + _NAMES_MAX])
        by_name.update({kept.event.uid: kept for kept in named})
    return by_name


def _named(connection: Connection, uids: Sequence[str]) -> list[KeptEvent]:
    """Events whose name is one of these, oldest first. A name is parted at each of its signs `#`."""
    parted = [
        (uid[:place], uid[place + 1 :]) for uid in uids for place, sign in enumerate(uid) if sign == "#"
    ]
    if not parted:
        return []
    # Each alternative has an index of its own: with one for both, all events of a source would be read.
    named = (
        and_(events.c.source == source, column == id)
        for source, id in parted
        for column in (events.c.id, events.c.claimed_id)
    )
    return _events(connection, select(events).where(or_(*named)).order_by(events.c.seq))


def interactions_named(
    connection: Connection, ids: Iterable[str], *, before_pass: int | None = None
) -> dict[str, Interaction]:
    """Interactions by id, those that were captured before that pass was opened; all if it is None."""
    interaction_by_id: dict[str, Interaction] = {}
    for chunk in in_chunks(sorted(set(ids))):
        query = select(interactions).where(interactions.c.id.in_(chunk), _is_captured(before_pass))
        interaction_by_id.update({row.id: interaction_of_row(row) for row in connection.execute(query)})
    return interaction_by_id


def conversation(connection: Connection, agent: str, name: str) -> list[Interaction]:
    """The interactions of one conversation, in order of turn."""
    return conversations(connection, agent, [name])[name]


def conversations(
    connection: Connection, agent: str, names: Iterable[str], *, before_pass: int | None = None
) -> dict[str, list[Interaction]]:
    """The interactions of each conversation, in order of turn; `before_pass` as in `interactions_named`."""
    by_name: dict[str, list[Interaction]] = {name: [] for name in sorted(set(names))}
    for chunk in in_chunks(list(by_name)):
        query = (
            select(interactions)
            .where(interactions.c.agent == agent, interactions.c.conversation.in_(chunk))
            .where(_is_captured(before_pass))
            .order_by(interactions.c.turn, interactions.c.received_s)
        )
        for row in connection.execute(query):
            by_name[row.conversation].append(interaction_of_row(row))
    return by_name


def _is_captured(before_pass: int | None) -> ColumnElement[bool]:
    """Whether an interaction was stored before that pass. What an older clorad stored only has its time."""
    if before_pass is None:
        return true()
    opened_s = select(passes.c.opened_s).where(passes.c.id == before_pass).scalar_subquery()
    return or_(
        interactions.c.after_pass < before_pass,
        and_(interactions.c.after_pass.is_(None), interactions.c.received_s <= opened_s),
    )


def outcomes(connection: Connection, agent: str, *, last: int) -> list[KeptEvent]:
    """The agent's last outcomes by event time that amend nothing and were not withdrawn, newest first."""
    query = (
        select(events)
        .where(events.c.agent == agent, events.c.kind == Kind.OUTCOME.value, events.c.amends.is_(None))
        .where(events.c.status.not_in(GONE))
        .order_by(func.coalesce(events.c.occurred_s, events.c.received_s).desc(), events.c.seq.desc())
        .limit(last)
    )
    return _events(connection, query)


def _events(connection: Connection, query: Select[Any]) -> list[KeptEvent]:
    rows = connection.execute(query).all()
    topics = {
        (row.topic_id, row.partition): row.topic
        for row in connection.execute(select(positions.c.topic_id, positions.c.partition, positions.c.topic))
    }
    return [
        KeptEvent(
            seq=row.seq,
            event=_event(row),
            status=Status(row.status),
            received_s=row.received_s,
            topic=topics.get((row.topic_id, row.partition), ""),
            partition=row.partition,
            offset=row.offset,
            forgotten=row.forgotten,
        )
        for row in rows
    ]


def _event(row: Any) -> Event:
    return Event(
        source=row.source,
        id=row.id,
        digest=row.digest,
        kind=Kind(row.kind),
        agent=row.agent,
        author=row.author,
        conversation=row.conversation,
        interaction=row.interaction,
        turn=row.turn,
        key=row.key,
        amends=row.amends,
        revision=row.revision,
        role=None if row.role is None else Role(row.role),
        prompt_group=row.prompt_group,
        data=row.data,
        occurred_s=row.occurred_s,
        trace=row.trace,
        trust=Trust(row.trust),
        signer=row.signer,
        key_id=row.key_id,
        rights=frozenset(row.rights),
        acts=row.acts,
        claimed_id=row.claimed_id,
    )


def interaction_of_row(row: Any) -> Interaction:
    """The interaction in a whole row of its table."""
    return Interaction(
        id=row.id,
        agent=row.agent,
        version=row.version,
        conversation=row.conversation,
        turn=row.turn,
        messages=tuple(row.messages),
        completion=row.completion,
        token_ids=None if row.token_ids is None else tuple(row.token_ids),
        logprobs=None if row.logprobs is None else tuple(row.logprobs),
        sampling=row.sampling,
        finish_reason=row.finish_reason,
        reply=row.reply,
        request=row.request,
        restrictions=tuple(row.restrictions),
        packed_prompt=row.packed_prompt,
        ids_left_out=row.ids_left_out,
        prompt_group=row.prompt_group,
        role=Role(row.role),
        forgotten=row.forgotten,
    )
