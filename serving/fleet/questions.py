"""What a candidate is asked: prompts with the answer a person wanted, taken from the ledger.

Gate questions were never trained on; suite questions must not get worse; taught ones are for receipts
only and prove nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from feedback.grouping import normalise
from ledger.events import CORRECTING, KeptEvent, Role
from ledger.learning.event_queries import events_by_seq, interactions_named, usable
from ledger.schema import turn_events
from ledger.turn_states import TurnPart, in_part
from ledger.versions.lineage import BASE, Version, version
from rewards.exchange import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt and what should be said to it."""

    event: str  # uid
    messages: tuple[Mapping[str, Any], ...]
    wanted: str


def gate_questions(connection: Connection, candidate: Version, *, limit: int) -> list[Question]:
    """Gate-role corrections newer than what the champion's turn had looked at; the newest `limit`.

    One prompt is one question however often it was corrected: the sign test counts independent ones.
    """
    champion = version(connection, candidate.agent, candidate.parent)
    after_seq = 0 if champion is None else champion.through_seq
    kept = usable(connection, candidate.agent, role=Role.GATE, kinds=CORRECTING, after_seq=after_seq)
    distinct = {_key(question): question for question in asked_about(connection, kept)}
    return list(distinct.values())[-limit:]


def taught_questions(connection: Connection, candidate: Version, *, limit: int) -> list[Question]:
    """What the candidate's turn newly taught: shown before and after to the people who said so."""
    assert candidate.number != BASE
    query = (
        select(turn_events.c.event_seq)
        .where(turn_events.c.turn_id == candidate.turn_id, in_part(TurnPart.NEW))
        .order_by(turn_events.c.place)
        .limit(limit)
    )
    kept = events_by_seq(connection, connection.scalars(query).all())
    return asked_about(connection, [kept[seq] for seq in sorted(kept)])


def asked_about(connection: Connection, kept: Iterable[KeptEvent]) -> list[Question]:
    """The question each event poses; events that name no prompt or no right answer are left out."""
    events = [one.event for one in kept]
    named = [event.interaction for event in events if event.interaction]
    record = History(interactions=interactions_named(connection, named), conversations={})
    found = []
    for event in events:
        wanted = record.right_reply(event)
        messages = record.about(event).messages
        if wanted and messages:
            found.append(Question(event=event.uid, messages=messages, wanted=wanted))
    return found


def _key(question: Question) -> str:
    return normalise(json.dumps(question.messages, sort_keys=True, default=str))
