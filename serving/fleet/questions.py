"""What a candidate is asked: prompts with the answer a person wanted, made of events in the ledger.

Gate questions were never trained on; suite questions must not get worse; taught ones are for receipts
only and prove nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from feedback.grouping import normalise
from ledger.database import Connection
from ledger.events import KeptEvent
from ledger.learning.event_queries import interactions_named
from ledger.learning.gate_events import gate_corrections, taught_events
from ledger.versions.lineage import Version
from rewards.exchange import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt and what should be said to it."""

    event: str  # uid
    messages: tuple[Mapping[str, Any], ...]
    wanted: str


def gate_questions(connection: Connection, candidate: Version, *, limit: int) -> list[Question]:
    """Questions of gate corrections newer than what the champion's turn had looked at; the newest `limit`.

    One prompt is one question however often it was corrected: the sign test counts independent ones.
    """
    questions = questions_of(connection, gate_corrections(connection, candidate))
    by_prompt = {_prompt(question): question for question in questions}
    return list(by_prompt.values())[-limit:]


def taught_questions(connection: Connection, candidate: Version, *, limit: int) -> list[Question]:
    """What the candidate's turn newly taught: shown before and after to the people who said so."""
    return questions_of(connection, taught_events(connection, candidate, limit=limit))


def questions_of(connection: Connection, kept: Iterable[KeptEvent]) -> list[Question]:
    """The question each event poses; events that name no prompt or no right answer are left out."""
    events = [kept_event.event for kept_event in kept]
    named = [event.interaction for event in events if event.interaction]
    history = History(interactions=interactions_named(connection, named), conversations={})
    questions = []
    for event in events:
        wanted = history.right_reply(event)
        messages = history.about(event).messages
        if wanted and messages:
            questions.append(Question(event=event.uid, messages=messages, wanted=wanted))
    return questions


def _prompt(question: Question) -> str:
    return normalise(json.dumps(question.messages, sort_keys=True, default=str))
