"""Makes the questions for a candidate from events in the ledger: prompts with the answer a person wanted.

No version was trained on gate questions. Answers to suite questions must not get worse. Taught questions
are for receipts only; the gate does not count them.
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
    """One prompt and the answer that a person wanted."""

    event: str  # uid
    messages: tuple[Mapping[str, Any], ...]
    wanted: str


def gate_questions(connection: Connection, candidate: Version, *, limit: int) -> list[Question]:
    """The newest `limit` questions of gate corrections that arrived after the champion's turn was planned.

    One prompt is one question however often people corrected it: the sign test needs independent questions.
    """
    questions = questions_of(connection, gate_corrections(connection, candidate))
    by_prompt = {_prompt(question): question for question in questions}
    return list(by_prompt.values())[-limit:]


def taught_questions(connection: Connection, candidate: Version, *, limit: int) -> list[Question]:
    """Questions of the events that the candidate's turn newly taught, for receipts."""
    return questions_of(connection, taught_events(connection, candidate, limit=limit))


def questions_of(connection: Connection, kept: Iterable[KeptEvent]) -> list[Question]:
    """The question of each event; events without a known prompt or a right answer are left out."""
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
