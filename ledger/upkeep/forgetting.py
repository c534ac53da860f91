"""Erases texts that somebody asked to be forgotten; rows, offsets and digests stay.

So nothing comes back when a topic is read again, and every offset keeps its one disposition. Rows that lead
to others are erased last, a hundred at a time: an interrupted erasure goes on when it is asked for again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, select, update

from ledger.database import Database, in_chunks, now_s
from ledger.events import CORRECTING, Kind, Status
from ledger.intake.prompt_roles import forget_openings
from ledger.schema import (
    dead_letters,
    decisions,
    events,
    interactions,
    outbox,
    passes,
    turn_events,
    turns,
    waiting_records,
)
from ledger.turn_states import TurnState, in_state
from ledger.upkeep import erasures
from ledger.upkeep.mentions import Mention, Mentions, Subject, find, taught_with
from ledger.versions import evidence
from ledger.versions.lineage import Version

BATCH_ROWS = 100
PAUSE_S = 0.02
"""Between two transactions: others want to write too."""

_ROUNDS_MAX = 20  # each finds what came while the last one was at work
_KEPT = ("value", "scope", "target")  # of an event's data: numbers, and whom a retraction is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What is gone, or would go, and which versions learned from it."""

    erasure: int | None  # the entry's number; None where nothing was changed
    counts: dict[str, int]
    taught: dict[str, list[Version]]  # by agent, oldest first


def would_forget(connection: Connection, subject: Subject) -> Forgotten:
    """What `forget` would take as things stand."""
    found = find(connection, subject)
    return Forgotten(erasure=None, counts=_counts(found), taught=_taught(connection, found))


def forget(
    database: Database,
    subject: Subject,
    *,
    whom: str,
    by: str,
    reason: str,
    reached: Callable[[str], None] = lambda _: None,
) -> Forgotten:
    """Nothing the subject said, or that was said to it, is in the ledger any more; an entry says so.

    `whom` is the fingerprint kept with the entry. `reached` is told after every transaction, by the kind of
    rows that went. Where nothing is found there is no entry.
    """
    with database.read() as connection:
        found, taught = find(connection, subject), {}
        if found:
            taught = _taught(connection, found)
    if not found:
        with database.write() as connection:
            erasures.finish(connection, whom)
        return Forgotten(erasure=None, counts={}, taught={})
    with database.write() as connection:
        number = erasures.begin(connection, kind=subject.kind, whom=whom, by=by, reason=reason)
    work = _Work(database=database, erasure=number, names_author=subject.kind == "author", reached=reached)
    for _ in range(_ROUNDS_MAX):
        work.take(found)
        with database.read() as connection:
            found = find(connection, subject)
        if not found:
            break
    with database.write() as connection:
        if not found:
            erasures.finish(connection, whom)
        [entry] = [one for one in erasures.all_erasures(connection) if one.id == number]
    return Forgotten(erasure=number, counts=dict(entry.counts), taught=taught)


def _counts(found: Mentions) -> dict[str, int]:
    """Waiting records are few and go with their events; they are not looked for."""
    rows = {
        "decisions": found.decisions,
        "messages": found.messages,
        "dead_letters": found.letters,
        "interactions": found.interactions,
        "bystanders": found.bystanders,
        "turns": found.turns,
        "events": found.events,
    }
    return {kind: len(some) for kind, some in rows.items() if some}


def _taught(connection: Connection, found: Mentions) -> dict[str, list[Version]]:
    return taught_with(connection, [one.seq for one in (*found.events, *found.bystanders)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One erasure's transactions."""

    database: Database
    erasure: int
    names_author: bool
    reached: Callable[[str], None]

    def take(self, found: Mentions) -> None:
        """What was found goes; what leads to other rows goes after them."""
        uids = frozenset(one.uid for one in (*found.events, *found.bystanders))
        self._each("decisions", found.decisions, lambda some, ids: _unquote(some, ids, uids))
        self._each("messages", found.messages, _withdraw)
        self._each("dead_letters", found.letters, self._empty_letters)
        self._each("interactions", found.interactions, self._empty_interactions)
        self._each("bystanders", found.bystanders, self._set_aside)
        self._each("events", found.events, self._empty_events)

    def _each(
        self, kind: str, keys: Sequence[Any], take: Callable[[Connection, Sequence[Any]], None]
    ) -> None:
        for start in range(0, len(keys), BATCH_ROWS):
            some = keys[start : start + BATCH_ROWS]
            with self.database.write() as connection:
                take(connection, some)
                erasures.add(connection, self.erasure, kind, len(some))
            self.reached(kind)
            time.sleep(PAUSE_S)

    def _empty_letters(self, connection: Connection, ids: Sequence[int]) -> None:
        gone = update(dead_letters).where(dead_letters.c.id.in_(ids))
        connection.execute(gone.values(key=None, value=None, headers=[], forgotten=self.erasure))

    def _empty_interactions(self, connection: Connection, ids: Sequence[str]) -> None:
        said = select(interactions.c.agent, interactions.c.prompt_group).where(interactions.c.id.in_(ids))
        groups = [(row.agent, row.prompt_group) for row in connection.execute(said)]
        connection.execute(
            update(interactions)
            .where(interactions.c.id.in_(ids))
            .values(
                messages=[],
                completion="",
                token_ids=None,
                logprobs=None,
                sampling={},
                prompt_group="",
                forgotten=self.erasure,
            )
        )
        forget_openings(connection, groups)

    def _set_aside(self, connection: Connection, bystanders: Sequence[Mention]) -> None:
        """Others' own words stay, and teach nobody: what they are about is gone."""
        seqs = [one.seq for one in bystanders]
        reason = f"what it is about was forgotten: erasure {self.erasure}"
        self._void(connection, seqs)
        connection.execute(
            update(events)
            .where(events.c.seq.in_(seqs))
            .values(status=Status.RETRACTED.value, status_reason=reason)
        )

    def _empty_events(self, connection: Connection, theirs: Sequence[Mention]) -> None:
        seqs = [one.seq for one in theirs]
        self._void(connection, seqs)
        _forget_records(connection, seqs)
        rows = connection.execute(
            select(events.c.seq, events.c.kind, events.c.data, events.c.agent, events.c.prompt_group).where(
                events.c.seq.in_(seqs)
            )
        ).all()
        for row in rows:
            kind = Kind(row.kind)
            values: dict[str, Any] = {"data": _emptied(kind, row.data), "forgotten": self.erasure}
            if kind is not Kind.RETRACTION:  # it goes on holding back what it is about
                reason = f"forgotten: erasure {self.erasure}"
                values |= {"status": Status.RETRACTED.value, "status_reason": reason}
            if self.names_author:
                values["author"] = f"forgotten-{self.erasure}"
            changed = update(events).where(events.c.seq == row.seq)
            connection.execute(changed.values(**values, prompt_group=None, trace=None))
        forget_openings(connection, [(row.agent, row.prompt_group) for row in rows if row.prompt_group])

    def _void(self, connection: Connection, seqs: Sequence[int]) -> None:
        """Turns that have these events and are not closed make no version: nobody need finish them."""
        query = (
            select(turns.c.id, turns.c.pass_id)
            .join(turn_events, turn_events.c.turn_id == turns.c.id)
            .where(in_state(TurnState.OPEN), turn_events.c.event_seq.in_(seqs))
            .distinct()
        )
        voided = connection.execute(query).all()
        if not voided:
            return
        reason, closed_s = f"erasure {self.erasure}", now_s(connection)
        closed = {"state": TurnState.VOID.value, "reason": reason, "closed_s": closed_s}
        connection.execute(update(turns).where(turns.c.id.in_([row.id for row in voided])).values(**closed))
        still_open = select(turns.c.pass_id).where(in_state(TurnState.OPEN))
        connection.execute(
            update(passes)
            .where(passes.c.id.in_([row.pass_id for row in voided]), passes.c.id.not_in(still_open))
            .values(closed_s=closed_s)
        )
        erasures.add(connection, self.erasure, "turns", len(voided))


def _emptied(kind: Kind, data: dict[str, Any]) -> dict[str, Any]:
    """As little as whoever reads events of that kind must find."""
    kept = {name: data[name] for name in _KEPT if name in data}
    return kept | ({"corrected": ""} if kind in CORRECTING else {})


def _unquote(connection: Connection, ids: Sequence[int], uids: frozenset[str]) -> None:
    """Scores stay, so that the verdict can be understood; answers to these prompts do not."""
    rows = connection.execute(select(decisions.c.id, decisions.c.evidence).where(decisions.c.id.in_(ids)))
    for row in rows.all():
        quoting = evidence.from_json(row.evidence)
        assert quoting.quotes(uids), "answers of others do not come back"
        changed = update(decisions).where(decisions.c.id == row.id)
        connection.execute(changed.values(evidence=quoting.without_answers_to(uids).to_json()))


def _withdraw(connection: Connection, ids: Sequence[int]) -> None:
    """Messages not sent are not sent any more; the rows stay, for their numbers are not given twice."""
    sent_s = func.coalesce(outbox.c.sent_s, now_s(connection))
    gone = update(outbox).where(outbox.c.id.in_(ids))
    connection.execute(gone.values(key=None, value=None, headers=[], sent_s=sent_s))


def _forget_records(connection: Connection, seqs: Sequence[int]) -> None:
    place = [waiting_records.c[name] == events.c[name] for name in ("topic_id", "partition", "offset")]
    for chunk in in_chunks(seqs):
        theirs = select(events.c.seq).where(and_(*place), events.c.seq.in_(chunk))
        connection.execute(delete(waiting_records).where(theirs.exists()))
