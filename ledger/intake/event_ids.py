"""Tells by its id whether an arriving event is new, a duplicate or a conflict, and names new ones.

CloudEvents names an event by source and id. Nobody can take an id from somebody else by using it first: an
event under an id that another author used is stored, under that id with a suffix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, or_, select

from ledger.database import in_chunks
from ledger.events import Event, Trust
from ledger.schema import events

_ID_CHARS_KEPT = 187  # with the suffix it fits the column
_DIGEST_CHARS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredId:
    """An event that used an id, and who used it."""

    id: str
    author: str
    trust: Trust
    digest: str


StoredIds = dict[tuple[str, str], list[StoredId]]
"""By source and id, as stored and as sent: the events that used it, in the order of arrival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """The event is stored already. `raises_trust`: unsigned, and this copy is signed."""

    id: str
    raises_trust: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Its author used the id for another event; that one's digest."""

    digest: str


def read_ids(connection: Connection, arriving: Sequence[Event]) -> StoredIds:
    """The stored events that used an id of the arriving ones."""
    stored: StoredIds = {}
    by_source: dict[str, list[str]] = {}
    for event in arriving:
        by_source.setdefault(event.source, []).extend((event.id, _suffixed(event)))
    columns = (events.c.id, events.c.claimed_id, events.c.author, events.c.trust, events.c.digest)
    for source, ids in by_source.items():  # pairs in one IN would make SQLite read the whole table
        for chunk in in_chunks(ids):
            used = or_(events.c.id.in_(chunk), events.c.claimed_id.in_(chunk))
            query = select(*columns).where(events.c.source == source, used).order_by(events.c.seq)
            for row in connection.execute(query):
                user = StoredId(id=row.id, author=row.author, trust=Trust(row.trust), digest=row.digest)
                for name in {row.id, row.claimed_id} - {None}:
                    stored.setdefault((source, name), []).append(user)
    return stored


def identify(event: Event, stored: StoredIds) -> Event | Duplicate | Conflict:
    """The event under the name it is stored by, if it is new; `stored` then has it too."""
    users = stored.setdefault((event.source, event.id), [])
    for user in users:
        if user.digest == event.digest:  # the same bytes, though the author's name was forgotten since
            return Duplicate(id=user.id, raises_trust=not user.trust.reaches(event.trust))
        if user.author == event.author and user.trust.reaches(event.trust):
            return Conflict(digest=user.digest)
    if not users:
        users.append(_user(event))
        return event
    suffixed = replace(event, id=_suffixed(event), claimed_id=event.id)
    others = stored.setdefault((event.source, suffixed.id), [])
    if others:
        return Conflict(digest=others[0].digest)
    others.append(_user(suffixed))
    users.append(_user(suffixed))
    return suffixed


def _suffixed(event: Event) -> str:
    """The id that the event gets where its own is in use; nobody can foresee it: the digest is keyed."""
    return f"{event.id[:_ID_CHARS_KEPT]}~{event.digest[:_DIGEST_CHARS]}"


def _user(event: Event) -> StoredId:
    return StoredId(id=event.id, author=event.author, trust=event.trust, digest=event.digest)
