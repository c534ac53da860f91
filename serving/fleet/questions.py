"""Makes the questions for a candidate from events in the ledger: prompts with the answer a person wanted.

No version was trained on gate questions. Answers to suite questions must not get worse. Taught questions
are for receipts only; the gate does not count them.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from feedback.grouping import normalise
from ledger.database import Connection
from ledger.events import KeptEvent
from ledger.learning.event_queries import NEWEST_MAX, interactions_named, untaught
from ledger.learning.gate_events import gate_corrections, supporter_material, taught_events, trained_events
from ledger.learning.last_tries import retry_of
from ledger.versions.lineage import Version
from rewards.exchange import History
from rewards.halves import nearest_to
from rewards.supporters import Supporters, author_of, find_supporters


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt and the answer that a person wanted."""

    event: str  # uid
    messages: tuple[Mapping[str, Any], ...]
    request: Mapping[str, Any] = field(default_factory=dict)  # tools and what else the agent was asked with
    wanted: str  # a JSON array where calls are wanted (`rewards.replies.compared_text`)
    author: str | None = None  # None: one author is enough
    is_unopposed: bool = False  # the champion gave the wanted answer, and nobody objected


def gate_questions(
    connection: Connection,
    candidate: Version,
    supporters: Supporters,
    *,
    limit: int,
    until_s: float = inf,
) -> list[Question]:
    """The newest `limit` questions of gate corrections that arrived after the champion's turn was planned.

    One prompt is one question however often people corrected it: the sign test needs independent questions.
    Left out are corrections that wait for another person, and prompts that the candidate was trained on. A
    candidate whose turn left out a part of a refused batch is judged by prompts like its own events alone.
    Corrections that were stored after `until_s` (Unix time) are left out too.
    """
    confirmed = [
        kept
        for kept in gate_corrections(connection, candidate)
        if supporters.are_enough(kept.seq) and kept.received_s <= until_s
    ]
    confirmed = _like_its_own(connection, candidate, confirmed)
    author_by_uid = {
        kept.event.uid: author_of(kept) for kept in confirmed if not supporters.stands_alone(kept.seq)
    }
    trained = {
        _prompt(question) for question in questions_of(connection, trained_events(connection, candidate))
    }
    questions = questions_of(connection, confirmed)
    authors: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    for question in questions:
        authors[_prompt(question), question.wanted].add(author_by_uid.get(question.event))
    by_prompt = {_prompt(question): question for question in questions}
    return [
        replace(question, author=author_by_uid.get(question.event))
        if len(authors[prompt, question.wanted]) < supporters.authors_min
        else question  # enough people said so of this very prompt
        for prompt, question in by_prompt.items()
        if prompt not in trained
    ][-limit:]


def _like_its_own(
    connection: Connection, candidate: Version, corrections: Sequence[KeptEvent]
) -> list[KeptEvent]:
    """The corrections that may judge the candidate: all, if its turn left out no untaught events."""
    retry = retry_of(connection, candidate.turn_id)
    if retry is None or not retry.is_apart:
        return list(corrections)
    own = taught_events(connection, candidate)
    seqs = {kept.seq for kept in own}
    left_out = [
        kept for kept in untaught(connection, candidate.agent, limit=NEWEST_MAX) if kept.seq not in seqs
    ]
    named = [kept.event.interaction for kept in (*corrections, *own, *left_out)]
    history = History(interactions=interactions_named(connection, filter(None, named)), conversations={})
    return nearest_to(corrections, own, left_out, history)


def read_supporters(connection: Connection, agent: str, *, authors_min: int) -> Supporters:
    """Who stands behind the agent's corrections, of whatever role."""
    material = supporter_material(connection, agent)
    return find_supporters(
        material.corrections,
        history=History(interactions=material.interactions, conversations={}),
        authors_min=authors_min,
        approvals=material.approvals,
    )


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
        exchange = history.about(event)
        if wanted and exchange.messages:
            questions.append(
                Question(event=event.uid, messages=exchange.messages, request=exchange.request, wanted=wanted)
            )
    return questions


def _prompt(question: Question) -> str:
    return normalise(json.dumps(question.messages, sort_keys=True, default=str))
