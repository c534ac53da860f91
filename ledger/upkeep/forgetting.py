"""Erases texts that somebody asked to be forgotten; rows, offsets and digests stay.

So nothing comes back when intake reads a topic again, and every offset keeps its disposition. Rows by which
others are found are erased last, a hundred at a time: an interrupted erasure continues when it is requested
again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update

from ledger.database import Database, in_chunks, now_s
from ledger.events import CORRECTING, Kind, Status, silence_uid
from ledger.intake.ownership import FORGOTTEN_AUTHOR
from ledger.intake.prompt_roles import forget_openings
from ledger.schema import (
    dead_letters,
    decisions,
    events,
    interactions,
    outbox,
    passes,
    turn_events,
    turn_replies,
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
"""Seconds between two transactions, in which others can write."""

_ROUNDS_MAX = 20  # each looks for rows that arrived during the one before
_KEPT = ("value", "scope", "target")  # of an event's data: numbers, and the event that a retraction names


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How many rows were emptied, or would be, and the versions that learned from them."""

    erasure: int | None  # the entry's number; None if nothing was changed
    counts: dict[str, int]
    taught: dict[str, list[Version]]  # by agent, oldest first


def would_forget(connection: Connection, subject: Subject) -> Forgotten:
    """The rows that `forget` would empty now."""
    mentions = find(connection, subject)
    return Forgotten(erasure=None, counts=_counts(mentions), taught=_taught(connection, mentions))


def forget(
    database: Database,
    subject: Subject,
    *,
    whom: str,
    by: str,
    reason: str,
    reached: Callable[[str], None] = lambda _: None,
) -> Forgotten:
    """Erase every text by the subject, or of its conversation, and add an entry.

    `whom` is the fingerprint stored with the entry. `reached` is called after every transaction with the kind
    of its rows. If the ledger has nothing of the subject, no entry is added.
    """
    with database.read() as connection:
        mentions, taught = find(connection, subject), {}
        if mentions:
            taught = _taught(connection, mentions)
    if not mentions:
        with database.write() as connection:
            erasures.finish(connection, whom)
        return Forgotten(erasure=None, counts={}, taught={})
    with database.write() as connection:
        number = erasures.begin(connection, kind=subject.kind, whom=whom, by=by, reason=reason)
    work = _Work(database=database, erasure=number, names_author=subject.kind == "author", reached=reached)
    for _ in range(_ROUNDS_MAX):
        work.erase(mentions)
        with database.read() as connection:
            mentions = find(connection, subject)
        if not mentions:
            break
    with database.write() as connection:
        if not mentions:
            erasures.finish(connection, whom)
        [entry] = [erasure for erasure in erasures.all_erasures(connection) if erasure.id == number]
    return Forgotten(erasure=number, counts=dict(entry.counts), taught=taught)


def _counts(mentions: Mentions) -> dict[str, int]:
    """Rows by kind. Waiting records are not counted: they are deleted with their events."""
    rows = {
        "decisions": mentions.decisions,
        "messages": mentions.messages,
        "dead_letters": mentions.letters,
        "interactions": mentions.interactions,
        "bystanders": mentions.bystanders,
        "turns": mentions.turns,
        "events": mentions.events,
    }
    return {kind: len(keys) for kind, keys in rows.items() if keys}


def _taught(connection: Connection, mentions: Mentions) -> dict[str, list[Version]]:
    return taught_with(
        connection,
        [mention.seq for mention in (*mentions.events, *mentions.bystanders)],
        mentions.interactions,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The transactions of one erasure."""

    database: Database
    erasure: int
    names_author: bool
    reached: Callable[[str], None]

    def erase(self, mentions: Mentions) -> None:
        """Erase these texts; rows by which others are found come last."""
        uids = frozenset(mention.uid for mention in (*mentions.events, *mentions.bystanders))
        uids |= {silence_uid(id) for id in mentions.interactions}
        self._each("decisions", mentions.decisions, lambda connection, ids: _unquote(connection, ids, uids))
        self._each("messages", mentions.messages, _withdraw)
        self._each("dead_letters", mentions.letters, self._empty_letters)
        self._each("interactions", mentions.interactions, self._empty_interactions)
        self._each("bystanders", mentions.bystanders, self._set_aside)
        self._each("events", mentions.events, self._empty_events)

    def _each(
        self, kind: str, keys: Sequence[Any], erase: Callable[[Connection, Sequence[Any]], None]
    ) -> None:
        for start in range(0, len(keys), BATCH_ROWS):
            batch = keys[start : start + BATCH_ROWS]
            with self.database.write() as connection:
                erase(connection, batch)
                erasures.add(connection, self.erasure, kind, len(batch))
            self.reached(kind)
            time.sleep(PAUSE_S)

    def _empty_letters(self, connection: Connection, ids: Sequence[int]) -> None:
        emptied = update(dead_letters).where(dead_letters.c.id.in_(ids))
        connection.execute(emptied.values(key=None, value=None, headers=[], forgotten=self.erasure))

    def _empty_interactions(self, connection: Connection, ids: Sequence[str]) -> None:
        said = select(interactions.c.agent, interactions.c.prompt_group).where(interactions.c.id.in_(ids))
        groups = [(row.agent, row.prompt_group) for row in connection.execute(said)]
        shown = select(turn_replies.c.turn_id).where(turn_replies.c.interaction.in_(ids))
        self._void(connection, turns.c.id.in_(shown))
        connection.execute(
            update(interactions)
            .where(interactions.c.id.in_(ids))
            .values(
                messages=[],
                completion="",
                token_ids=None,
                logprobs=None,
                sampling={},
                reply=None,
                request={},
                restrictions=[],
                packed_prompt=None,
                ids_left_out=None,
                prompt_group="",
                forgotten=self.erasure,
            )
        )
        forget_openings(connection, groups)

    def _set_aside(self, connection: Connection, bystanders: Sequence[Mention]) -> None:
        """Retract events of others: their texts stay, but the interaction they are about is gone."""
        seqs = [mention.seq for mention in bystanders]
        reason = f"what it is about was forgotten: erasure {self.erasure}"
        self._void(connection, _has_one_of(seqs))
        connection.execute(
            update(events)
            .where(events.c.seq.in_(seqs))
            .values(status=Status.RETRACTED.value, status_reason=reason)
        )

    def _empty_events(self, connection: Connection, mentions: Sequence[Mention]) -> None:
        seqs = [mention.seq for mention in mentions]
        self._void(connection, _has_one_of(seqs))
        _forget_records(connection, seqs)
        columns = (events.c[name] for name in ("seq", "kind", "data", "agent", "prompt_group", "status"))
        rows = connection.execute(select(*columns).where(events.c.seq.in_(seqs))).all()
        for row in rows:
            kind = Kind(row.kind)
            values: dict[str, Any] = {"data": _emptied(kind, row.data), "forgotten": self.erasure}
            # A retraction stays in force; and where a person undid an act, it stays undone.
            if kind is not Kind.RETRACTION and row.status != Status.UNDONE.value:
                reason = f"forgotten: erasure {self.erasure}"
                values |= {"status": Status.RETRACTED.value, "status_reason": reason}
            if self.names_author:
                values["author"] = f"{FORGOTTEN_AUTHOR}{self.erasure}"
            changed = update(events).where(events.c.seq == row.seq)
            connection.execute(changed.values(**values, prompt_group=None, trace=None))
        forget_openings(connection, [(row.agent, row.prompt_group) for row in rows if row.prompt_group])

    def _void(self, connection: Connection, concerned: ColumnElement[bool]) -> None:
        """Close the open turns concerned as void, so that they make no version."""
        query = select(turns.c.id, turns.c.pass_id).where(in_state(TurnState.OPEN), concerned)
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


def _has_one_of(seqs: Sequence[int]) -> ColumnElement[bool]:
    return turns.c.id.in_(select(turn_events.c.turn_id).where(turn_events.c.event_seq.in_(seqs)))


def _emptied(kind: Kind, data: dict[str, Any]) -> dict[str, Any]:
    """The data of an emptied event, with the fields that readers of events of that kind need."""
    kept = {name: data[name] for name in _KEPT if name in data}
    return kept | ({"corrected": ""} if kind in CORRECTING else {})


def _unquote(connection: Connection, ids: Sequence[int], uids: frozenset[str]) -> None:
    """Remove answers to these prompts from evidence. Scores stay, so that the verdict can be understood."""
    rows = connection.execute(select(decisions.c.id, decisions.c.evidence).where(decisions.c.id.in_(ids)))
    for row in rows.all():
        quoting = evidence.from_json(row.evidence)
        assert quoting.quotes(uids), "`mentions.find` returns decisions that quote these events only"
        changed = update(decisions).where(decisions.c.id == row.id)
        connection.execute(changed.values(evidence=quoting.without_answers_to(uids).to_json()))


def _withdraw(connection: Connection, ids: Sequence[int]) -> None:
    """Empty messages and mark them as sent. The rows stay, so that their numbers are not used again."""
    sent_s = func.coalesce(outbox.c.sent_s, now_s(connection))
    emptied = update(outbox).where(outbox.c.id.in_(ids))
    connection.execute(emptied.values(key=None, value=None, headers=[], sent_s=sent_s))


def _forget_records(connection: Connection, seqs: Sequence[int]) -> None:
    place = [waiting_records.c[name] == events.c[name] for name in ("topic_id", "partition", "offset")]
    for chunk in in_chunks(seqs):
        of_events = select(events.c.seq).where(and_(*place), events.c.seq.in_(chunk))
        connection.execute(delete(waiting_records).where(of_events.exists()))
