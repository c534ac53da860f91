"""What came from somebody, or from a conversation: every row that holds its texts, in one snapshot.

Dead letters were never understood, so they are searched by the spelling of a field; whatever says more than
asked for is taken too. Nothing here changes anything.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from ledger.database import in_chunks
from ledger.events import DeadLetter, Status
from ledger.intake import dead_letters as letters
from ledger.intake.outbox import from_json
from ledger.schema import agents, dead_letters, decisions, events, interactions, outbox, turn_events, turns
from ledger.turn_states import TurnPart, TurnState, in_state
from ledger.versions import evidence
from ledger.versions.lineage import Version, versions_of

_PAGE_ROWS = 50  # letters and evidence are long

Kind = Literal["author", "event", "conversation"]

Spoken = tuple[str, str]
"""An interaction's id, and the agent it is named for: another agent's is never meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom or what it is about, by every name the ledger may have it under."""

    kind: Kind
    names: frozenset[str] = frozenset()  # of the author or the conversation
    uids: frozenset[tuple[str, str]] = frozenset()  # source and id of the event


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One event that holds texts, or is about some."""

    seq: int
    agent: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mentions:
    """Everything there is, by its key."""

    events: tuple[Mention, ...]
    interactions: tuple[str, ...]
    bystanders: tuple[Mention, ...]  # others' events that cannot be understood without these interactions
    letters: tuple[int, ...]
    messages: tuple[int, ...]  # to Kafka, that hold what these letters hold
    decisions: tuple[int, ...]  # whose evidence quotes answers to these events' prompts
    turns: tuple[int, ...]  # open ones that have such an event

    def __bool__(self) -> bool:
        return any((self.events, self.interactions, self.letters, self.messages, self.decisions))


def find(connection: Connection, subject: Subject) -> Mentions:
    """What the ledger holds of the subject and has not forgotten."""
    theirs = {row.seq: row for row in connection.execute(_events_of(subject))}
    spoken = _conversation(connection, subject)
    theirs |= {row.seq: row for row in _naming(connection, spoken)}
    spoken |= {(row.interaction, row.agent) for row in theirs.values() if row.interaction}
    fresh = _unforgotten(connection, spoken)
    others = {row.seq: row for row in _naming(connection, fresh) if row.seq not in theirs and _needs_it(row)}
    found, beside = tuple(map(_mention, theirs.values())), tuple(map(_mention, others.values()))
    dead = [replace(letter, key=None, value=None, headers=()) for letter in _letters(connection, subject)]
    return Mentions(
        events=found,
        interactions=tuple(sorted(id for id, _ in fresh)),
        bystanders=beside,
        letters=tuple(letter.id for letter in dead),
        messages=tuple(_messages(connection, dead)),
        decisions=tuple(_decisions(connection, (*found, *beside))),
        turns=tuple(_open_turns(connection, (*found, *beside))),
    )


def taught_with(connection: Connection, seqs: Sequence[int]) -> dict[str, list[Version]]:
    """Versions whose weights these events, shown as whatever but `dev`, had a part in; by agent."""
    made: set[int] = set()
    for chunk in in_chunks(seqs):
        shown = select(turn_events.c.turn_id).where(
            turn_events.c.event_seq.in_(chunk), turn_events.c.part != TurnPart.DEV.value
        )
        made.update(connection.scalars(shown))
    names: set[str] = set()
    for chunk in in_chunks(seqs):
        names.update(connection.scalars(select(events.c.agent).where(events.c.seq.in_(chunk)).distinct()))
    found = {
        name: [one for one in versions_of(connection, name) if one.turn_id in made] for name in sorted(names)
    }
    return {name: versions for name, versions in found.items() if versions}


def _events_of(subject: Subject) -> Select[Any]:
    where: ColumnElement[bool]
    match subject.kind:
        case "author":  # also what was forgotten for another reason: the name is still there
            where = events.c.author.in_(subject.names)
        case "conversation":
            where = and_(
                events.c.agent.in_(select(agents.c.name)),  # the index begins with it
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


def _conversation(connection: Connection, subject: Subject) -> set[Spoken]:
    """What was captured of it. What was forgotten already still leads to others."""
    if subject.kind != "conversation":
        return set()
    query = select(interactions.c.id, interactions.c.agent).where(
        interactions.c.agent.in_(select(agents.c.name)), interactions.c.conversation.in_(subject.names)
    )
    return {(row.id, row.agent) for row in connection.execute(query)}


def _naming(connection: Connection, spoken: set[Spoken]) -> Iterator[Any]:
    """Events of the same agents that name these interactions."""
    for chunk in in_chunks(sorted({id for id, _ in spoken})):
        query = _columns().add_columns(events.c.data).where(events.c.interaction.in_(chunk))
        rows = connection.execute(query.where(events.c.forgotten.is_(None)).order_by(events.c.seq)).all()
        yield from (row for row in rows if (row.interaction, row.agent) in spoken)


def _unforgotten(connection: Connection, spoken: set[Spoken]) -> set[Spoken]:
    """Those that are there, belong to the agent they are named for, and still have their texts."""
    found: set[Spoken] = set()
    for chunk in in_chunks(sorted({id for id, _ in spoken})):
        query = select(interactions.c.id, interactions.c.agent).where(
            interactions.c.id.in_(chunk), interactions.c.forgotten.is_(None)
        )
        found |= {(row.id, row.agent) for row in connection.execute(query)}
    return found & spoken


def _needs_it(row: Any) -> bool:
    return row.status != Status.RETRACTED.value and "messages" not in row.data


def _mention(row: Any) -> Mention:
    return Mention(seq=row.seq, agent=row.agent, uid=f"{row.source}#{row.id}")


def _letters(connection: Connection, subject: Subject) -> Iterator[DeadLetter]:
    unforgotten = dead_letters.c.forgotten.is_(None)
    ids = select(dead_letters.c.id).where(unforgotten).order_by(dead_letters.c.id)
    says = _naming_event(subject) if subject.kind == "event" else _spelling_field(subject)
    for page in _pages(connection, ids, dead_letters.c.id):
        found = letters.read_letters(connection, select(dead_letters).where(dead_letters.c.id.in_(page)))
        yield from filter(says, found)


def _naming_event(subject: Subject) -> Callable[[DeadLetter], bool]:
    """What calls itself that event; a record that is no JSON and has no headers calls itself nothing."""
    uids = {f"{source}#{id}" for source, id in subject.uids}
    return lambda letter: not uids.isdisjoint(letters.event_names(letter))


def _spelling_field(subject: Subject) -> Callable[[DeadLetter], bool]:
    """What has the field anywhere, as JSON spells it, also where it is none. Conversations are keys, too."""
    values = {
        json.dumps(name, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
        for name in subject.names
        for ascii in (True, False)
    }
    field = re.compile(rb'"%s"\s*:\s*(?:%s)' % (subject.kind.encode(), b"|".join(map(re.escape, values))))
    keys = {name.encode() for name in subject.names} if subject.kind == "conversation" else set()
    return lambda letter: letter.key in keys or field.search(letter.value or b"") is not None


def _messages(connection: Connection, dead: Sequence[DeadLetter]) -> Iterator[int]:
    """Messages that carry these letters: their copies, and what was sent again."""
    if not dead:
        return
    places = {(one.topic, str(one.partition), str(one.offset)) for one in dead}
    again = {str(one.id) for one in dead}
    holding = select(outbox.c.id).where(or_(outbox.c.value.is_not(None), outbox.c.key.is_not(None)))
    for page in _pages(connection, holding.order_by(outbox.c.id), outbox.c.id):
        rows = connection.execute(select(outbox.c.id, outbox.c.headers).where(outbox.c.id.in_(page)))
        for row in rows.all():
            told = {name: (value or b"").decode("utf-8", "replace") for name, value in from_json(row.headers)}
            place = tuple(told.get(f"clorad.dead.{name}", "") for name in ("topic", "partition", "offset"))
            if place in places or told.get("clorad_redriven") in again:
                yield row.id


def _decisions(connection: Connection, mentions: Sequence[Mention]) -> Iterator[int]:
    uids = frozenset(one.uid for one in mentions)
    theirs = select(decisions.c.id).where(decisions.c.agent.in_({one.agent for one in mentions}))
    for page in _pages(connection, theirs.order_by(decisions.c.id), decisions.c.id) if mentions else ():
        rows = connection.execute(
            select(decisions.c.id, decisions.c.evidence).where(decisions.c.id.in_(page))
        )
        yield from [row.id for row in rows if evidence.from_json(row.evidence).quotes(uids)]


def _open_turns(connection: Connection, mentions: Sequence[Mention]) -> list[int]:
    found: set[int] = set()
    for chunk in in_chunks([one.seq for one in mentions]):
        query = (
            select(turns.c.id)
            .join(turn_events, turn_events.c.turn_id == turns.c.id)
            .where(in_state(TurnState.OPEN), turn_events.c.event_seq.in_(chunk))
        )
        found.update(connection.scalars(query))
    return sorted(found)


def _pages(connection: Connection, ids: Select[Any], key: Any) -> Iterator[Sequence[int]]:
    """The query's keys, so many at a time: rows may be long, and there may be many."""
    after = -1
    while page := connection.scalars(ids.where(key > after).limit(_PAGE_ROWS)).all():
        yield page
        after = page[-1]
