"""Notices that people are told by webhooks: stored once for each receiver and fact, sent at least once.

A message carries several notices. Which ones is stored before it is sent for the first time, so that every
try sends the same message under the same id, also after a restart.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ledger.database import Database, in_chunks, now_s
from ledger.schema import notices

WAITING_MAX = 1000
"""Notices that wait for one receiver at most; what happens beyond is noted when there is room again."""

NOTICES_PER_MESSAGE_MAX = 20

KEPT_S = 90 * 24 * 3600.0
"""Seconds for which a notice that ended is stored. One whose fact still holds is stored for longer."""


class Ending(StrEnum):
    """How a notice ended."""

    DELIVERED = "delivered"
    GIVEN_UP = "given_up"  # its receiver did not take it
    PAST = "past"  # what it says was over before it was sent, or its receiver is no longer in the settings


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNotice:
    """A fact that people are to be told. It is told once to each receiver, whatever becomes of `body`."""

    fact: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeMessage:
    """Notices that are sent together. `id` is the same at every try, so receivers can drop repeats."""

    id: str
    notices: Sequence[Mapping[str, Any]]
    noted_s: float  # of the oldest, Unix time
    age_s: float  # since then


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How much waits for one receiver."""

    waiting: int
    oldest_age_s: float  # 0 if nothing waits


def known_facts(connection: Connection, receiver: str, facts: Collection[str]) -> set[str]:
    """Those of these facts that were noted for the receiver."""
    known: set[str] = set()
    for chunk in in_chunks(sorted(facts)):
        query = select(notices.c.fact).where(notices.c.receiver == receiver, notices.c.fact.in_(chunk))
        known.update(connection.scalars(query))
    return known


def note(connection: Connection, receiver: str, new: Sequence[NewNotice]) -> int:
    """Note the facts that the receiver was not told, as far as there is room. Returns how many."""
    room = WAITING_MAX - _depth(connection, receiver)[0]
    known = known_facts(connection, receiver, [notice.fact for notice in new])
    unknown = {notice.fact: notice for notice in new if notice.fact not in known}
    noted_s = now_s(connection)
    rows = [
        {"receiver": receiver, "fact": notice.fact, "body": dict(notice.body), "noted_s": noted_s}
        for notice in list(unknown.values())[: max(0, room)]
    ]
    if rows:
        connection.execute(insert(notices), rows)
    return len(rows)


def end_past(connection: Connection, receiver: str, is_past: Callable[[str], bool]) -> int:
    """End the notices that were never sent and whose fact is over. Returns how many."""
    query = select(notices.c.id, notices.c.fact).where(
        notices.c.receiver == receiver, notices.c.ended_s.is_(None), notices.c.message.is_(None)
    )
    ids = [row.id for row in connection.execute(query).all() if is_past(row.fact)]
    _end(connection, ids, Ending.PAST)
    return len(ids)


def drop_receivers(connection: Connection, receivers: Collection[str]) -> int:
    """End what waits for others than these receivers. Returns how many notices."""
    query = select(notices.c.id).where(
        notices.c.ended_s.is_(None), notices.c.receiver.not_in(sorted(receivers))
    )
    ids = list(connection.scalars(query))
    _end(connection, ids, Ending.PAST)
    return len(ids)


def next_message(database: Database, receiver: str) -> NoticeMessage | None:
    """What is sent next: the message that was tried before, else a new one. None: nothing waits."""
    waits = (notices.c.receiver == receiver) & notices.c.ended_s.is_(None)
    oldest = select(notices.c.id, notices.c.message).where(waits).order_by(notices.c.id).limit(1)
    with database.read() as connection:
        first = connection.execute(oldest).one_or_none()
        if first is None:
            return None
        if first.message is not None:
            return _message(connection, first.message)
    with database.write() as connection:
        ids = list(
            connection.scalars(
                select(notices.c.id)
                .where(waits, notices.c.message.is_(None))
                .order_by(notices.c.id)
                .limit(NOTICES_PER_MESSAGE_MAX)
            )
        )
        if not ids:  # they ended meanwhile
            return None
        name = f"msg_{uuid.uuid4().hex}"
        connection.execute(update(notices).where(notices.c.id.in_(ids)).values(message=name))
        return _message(connection, name)


def end_message(database: Database, message: NoticeMessage, ending: Ending) -> None:
    """Record that the message needs no further try."""
    with database.write() as connection:
        connection.execute(
            update(notices)
            .where(notices.c.message == message.id, notices.c.ended_s.is_(None))
            .values(ended_s=now_s(connection), ending=ending.value)
        )


def depth(database: Database, receiver: str) -> QueueDepth:
    """How many notices wait for the receiver, and for how long."""
    with database.read() as connection:
        waiting, noted_s = _depth(connection, receiver)
        oldest_s = 0.0 if noted_s is None else max(0.0, now_s(connection) - noted_s)
    return QueueDepth(waiting=waiting, oldest_age_s=oldest_s)


def forget_old(connection: Connection, current: Collection[str]) -> int:
    """Delete notices that ended long ago, but for those whose fact still holds. Returns how many."""
    query = select(notices.c.id, notices.c.fact).where(notices.c.ended_s < now_s(connection) - KEPT_S)
    ids = [row.id for row in connection.execute(query.limit(WAITING_MAX)).all() if row.fact not in current]
    for chunk in in_chunks(ids):
        connection.execute(delete(notices).where(notices.c.id.in_(chunk)))
    return len(ids)


def _message(connection: Connection, name: str) -> NoticeMessage | None:
    query = select(notices.c.body, notices.c.noted_s).where(notices.c.message == name)
    rows = connection.execute(query.where(notices.c.ended_s.is_(None)).order_by(notices.c.id)).all()
    if not rows:
        return None
    noted_s = min(row.noted_s for row in rows)
    return NoticeMessage(
        id=name,
        notices=tuple(row.body for row in rows),
        noted_s=noted_s,
        age_s=max(0.0, now_s(connection) - noted_s),
    )


def _depth(connection: Connection, receiver: str) -> tuple[int, float | None]:
    query = select(func.count(), func.min(notices.c.noted_s)).where(
        notices.c.receiver == receiver, notices.c.ended_s.is_(None)
    )
    waiting, noted_s = connection.execute(query).one()
    return int(waiting), noted_s


def _end(connection: Connection, ids: Sequence[int], ending: Ending) -> None:
    for chunk in in_chunks(ids):
        ended = update(notices).where(notices.c.id.in_(chunk))
        connection.execute(ended.values(ended_s=now_s(connection), ending=ending.value))
