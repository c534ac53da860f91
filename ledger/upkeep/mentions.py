"""Finds every row that has texts of an author, an event or a conversation, in one snapshot.

A dead letter has no fields that the ledger could read, so it is searched for a field as JSON spells it; a
letter that has other texts too is found whole. Nothing here changes the ledger.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from ledger.database import in_chunks
from ledger.events import DeadLetter, Status, silence_uid
from ledger.intake import dead_letters as letters
from ledger.intake.event_rows import DEAD_HEADERS
from ledger.intake.outbox import from_json
from ledger.intake.redrive import REDRIVEN
from ledger.schema import (
    agents,
    dead_letters,
    decisions,
    events,
    interactions,
    outbox,
    turn_events,
    turn_replies,
    turns,
)
from ledger.turn_states import TurnPart, TurnState, in_state
from ledger.versions import evidence
from ledger.versions.lineage import Version, versions_of

_PAGE_ROWS = 50  # dead letters and evidence are long

Kind = Literal["author", "event", "conversation"]

AgentInteraction = tuple[str, str]
"""The id of an interaction, and the agent that must have had it: an id of another agent is no match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose or which texts to forget, with every name under which the ledger may have them."""

    kind: Kind
    names: frozenset[str] = frozenset()  # of the author or the conversation
    uids: frozenset[tuple[str, str]] = frozenset()  # source and id of the event


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One event that has such texts, or is about them."""

    seq: int
    agent: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mentions:
    """The keys of all rows that were found."""

    events: tuple[Mention, ...]
    interactions: tuple[str, ...]
    bystanders: tuple[Mention, ...]  # events of others that are useless without these interactions
    letters: tuple[int, ...]
    messages: tuple[int, ...]  # for Kafka, that carry these letters
    decisions: tuple[int, ...]  # whose evidence quotes answers to the prompts of these events
    turns: tuple[int, ...]  # open turns that have such an event

    def __bool__(self) -> bool:
        return any((self.events, self.interactions, self.letters, self.messages, self.decisions))


def find(connection: Connection, subject: Subject) -> Mentions:
    """The rows that have texts of the subject and were not forgotten yet."""
    rows = {row.seq: row for row in connection.execute(_events_of(subject))}
    named = _conversation(connection, subject)
    rows |= {row.seq: row for row in _events_naming(connection, named)}
    named |= {(row.interaction, row.agent) for row in rows.values() if row.interaction}
    unforgotten = _unforgotten(connection, named)
    other_rows = [
        row
        for row in _events_naming(connection, unforgotten)
        if row.seq not in rows and _needs_interaction(row)
    ]
    mentions, bystanders = tuple(map(_mention, rows.values())), tuple(map(_mention, other_rows))
    dead = [replace(letter, key=None, value=None, headers=()) for letter in _letters(connection, subject)]
    return Mentions(
        events=mentions,
        interactions=tuple(sorted(id for id, _ in unforgotten)),
        bystanders=bystanders,
        letters=tuple(letter.id for letter in dead),
        messages=tuple(_messages(connection, dead)),
        decisions=tuple(_decisions(connection, (*mentions, *bystanders), unforgotten)),
        turns=tuple(_open_turns(connection, (*mentions, *bystanders), unforgotten)),
    )


def taught_with(
    connection: Connection, seqs: Sequence[int], replies: Sequence[str] = ()
) -> dict[str, list[Version]]:
    """Versions whose turn had one of these events in any part but `dev`, or one of these replies; by agent.

    `replies` are ids of interactions.
    """
    turn_ids: set[int] = set()
    for ids in in_chunks(replies):
        shown = select(turn_replies.c.turn_id).where(turn_replies.c.interaction.in_(ids))
        turn_ids.update(connection.scalars(shown))
    for chunk in in_chunks(seqs):
        query = select(turn_events.c.turn_id).where(
            turn_events.c.event_seq.in_(chunk), turn_events.c.part != TurnPart.DEV.value
        )
        turn_ids.update(connection.scalars(query))
    names: set[str] = set()
    for chunk in in_chunks(sorted(turn_ids)):
        names.update(connection.scalars(select(turns.c.agent).where(turns.c.id.in_(chunk)).distinct()))
    versions_by_agent = {
        name: [version for version in versions_of(connection, name) if version.turn_id in turn_ids]
        for name in sorted(names)
    }
    return {name: versions for name, versions in versions_by_agent.items() if versions}


def _events_of(subject: Subject) -> Select[Any]:
    where: ColumnElement[bool]
    match subject.kind:
        case "author":  # also events that were forgotten for another reason: they still have the name
            where = events.c.author.in_(subject.names)
        case "conversation":
            where = and_(
                events.c.agent.in_(select(agents.c.name)),  # the index begins with the agent
                events.c.conversation.in_(subject.names),
                events.c.forgotten.is_(None),
            )
        case "event":
            pairs = [and_(events.c.source == source, events.c.id == id) for source, id in subject.uids]
            where = and_(or_(*pairs), events.c.forgotten.is_(None))
    return _columns().where(where).order_by(events.c.seq)


def _columns() -> Select[Any]:
    return select(
        events.c.seq,
        events.c.agent,
        events.c.source,
        events.c.id,
        events.c.interaction,
        events.c.status,
    )


def _conversation(connection: Connection, subject: Subject) -> set[AgentInteraction]:
    """The interactions of the conversation, also forgotten ones: events may name them."""
    if subject.kind != "conversation":
        return set()
    query = select(interactions.c.id, interactions.c.agent).where(
        interactions.c.agent.in_(select(agents.c.name)), interactions.c.conversation.in_(subject.names)
    )
    return {(row.id, row.agent) for row in connection.execute(query)}


def _events_naming(connection: Connection, named: set[AgentInteraction]) -> Iterator[Any]:
    """Events of the same agents that name these interactions."""
    for chunk in in_chunks(sorted({id for id, _ in named})):
        query = _columns().add_columns(events.c.data).where(events.c.interaction.in_(chunk))
        rows = connection.execute(query.where(events.c.forgotten.is_(None)).order_by(events.c.seq)).all()
        yield from (row for row in rows if (row.interaction, row.agent) in named)


def _unforgotten(connection: Connection, named: set[AgentInteraction]) -> set[AgentInteraction]:
    """Those of these interactions that the ledger has for that agent, with their texts."""
    stored: set[AgentInteraction] = set()
    for chunk in in_chunks(sorted({id for id, _ in named})):
        query = select(interactions.c.id, interactions.c.agent).where(
            interactions.c.id.in_(chunk), interactions.c.forgotten.is_(None)
        )
        stored |= {(row.id, row.agent) for row in connection.execute(query)}
    return stored & named


def _needs_interaction(row: Any) -> bool:
    withdrawn = (Status.RETRACTED.value, Status.UNDONE.value)
    return row.status not in withdrawn and "messages" not in row.data


def _mention(row: Any) -> Mention:
    return Mention(seq=row.seq, agent=row.agent, uid=f"{row.source}#{row.id}")


def _letters(connection: Connection, subject: Subject) -> Iterator[DeadLetter]:
    unforgotten = dead_letters.c.forgotten.is_(None)
    ids = select(dead_letters.c.id).where(unforgotten).order_by(dead_letters.c.id)
    matches = _names_event(subject) if subject.kind == "event" else _has_field(subject)
    for page in _pages(connection, ids, dead_letters.c.id):
        candidates = letters.read_letters(connection, select(dead_letters).where(dead_letters.c.id.in_(page)))
        yield from filter(matches, candidates)


def _names_event(subject: Subject) -> Callable[[DeadLetter], bool]:
    """A test for letters of that event. A record that is no JSON and has no headers is of no event."""
    uids = {f"{source}#{id}" for source, id in subject.uids}
    return lambda letter: not uids.isdisjoint(letters.event_names(letter))


def _has_field(subject: Subject) -> Callable[[DeadLetter], bool]:
    """A test for letters that have the field anywhere, as JSON spells it; a conversation may be the key."""
    values = {
        json.dumps(name, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
        for name in subject.names
        for ascii in (True, False)
    }
    field = re.compile(rb'"%s"\s*:\s*(?:%s)' % (subject.kind.encode(), b"|".join(map(re.escape, values))))
    keys = {name.encode() for name in subject.names} if subject.kind == "conversation" else set()
    return lambda letter: letter.key in keys or field.search(letter.value or b"") is not None


def _messages(connection: Connection, dead: Sequence[DeadLetter]) -> Iterator[int]:
    """Messages that carry these letters: their copies, and records that were redriven."""
    if not dead:
        return
    places = {(letter.topic, str(letter.partition), str(letter.offset)) for letter in dead}
    letter_ids = {str(letter.id) for letter in dead}
    holding = select(outbox.c.id).where(or_(outbox.c.value.is_not(None), outbox.c.key.is_not(None)))
    for page in _pages(connection, holding.order_by(outbox.c.id), outbox.c.id):
        rows = connection.execute(select(outbox.c.id, outbox.c.headers).where(outbox.c.id.in_(page)))
        for row in rows.all():
            headers = {
                name: (value or b"").decode("utf-8", "replace") for name, value in from_json(row.headers)
            }
            place = tuple(
                headers.get(f"{DEAD_HEADERS}{name}", "") for name in ("topic", "partition", "offset")
            )
            if place in places or headers.get(REDRIVEN) in letter_ids:
                yield row.id


def _decisions(
    connection: Connection, mentions: Sequence[Mention], captures: set[AgentInteraction]
) -> Iterator[int]:
    uids = frozenset(mention.uid for mention in mentions) | {silence_uid(id) for id, _ in captures}
    names = {mention.agent for mention in mentions} | {agent for _, agent in captures}
    of_agents = select(decisions.c.id).where(decisions.c.agent.in_(names))
    for page in _pages(connection, of_agents.order_by(decisions.c.id), decisions.c.id) if uids else ():
        rows = connection.execute(
            select(decisions.c.id, decisions.c.evidence).where(decisions.c.id.in_(page))
        )
        yield from [row.id for row in rows if evidence.from_json(row.evidence).quotes(uids)]


def _open_turns(
    connection: Connection, mentions: Sequence[Mention], captures: set[AgentInteraction]
) -> list[int]:
    turn_ids: set[int] = set()
    for ids in in_chunks(sorted(id for id, _ in captures)):
        with_replies = (
            select(turns.c.id)
            .join(turn_replies, turn_replies.c.turn_id == turns.c.id)
            .where(in_state(TurnState.OPEN), turn_replies.c.interaction.in_(ids))
        )
        turn_ids.update(connection.scalars(with_replies))
    for chunk in in_chunks([mention.seq for mention in mentions]):
        query = (
            select(turns.c.id)
            .join(turn_events, turn_events.c.turn_id == turns.c.id)
            .where(in_state(TurnState.OPEN), turn_events.c.event_seq.in_(chunk))
        )
        turn_ids.update(connection.scalars(query))
    return sorted(turn_ids)


def _pages(connection: Connection, ids: Select[Any], key: Any) -> Iterator[Sequence[int]]:
    """The query's keys in pages of `_PAGE_ROWS`: rows may be long, and there may be many."""
    after = -1
    while page := connection.scalars(ids.where(key > after).limit(_PAGE_ROWS)).all():
        yield page
        after = page[-1]
