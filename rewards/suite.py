"""Chooses the no-harm suite: prompts that a candidate must answer as well as the champion does.

All come from events of role `gate`, which an event has from its arrival on; no version is trained on them.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from ledger.events import Interaction, KeptEvent, Role
from rewards.batch import fair_sample, find_outdated, sample_approvals
from rewards.episode import Message
from rewards.exchange import History
from rewards.similarity import most_similar_in_other_words
from rewards.supporters import Supporters

_TAUGHT_SHARE = 1 / 3  # of the suite: corrections of earlier turns; the rest are approved replies


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteQuestion:
    """A prompt and the reply that people want, from one event."""

    seq: int
    uid: str
    messages: tuple[Message, ...]
    request: Mapping[str, Any] = field(default_factory=dict)  # tools and what else the prompt was made of
    expected: str
    is_unopposed: bool = False  # the champion gave the reply, and nobody objected; nobody approved it either


def suite(
    *,
    approvals: Sequence[KeptEvent],
    trained_approvals: Sequence[KeptEvent] = (),
    silent: Sequence[KeptEvent] = (),
    taught_gate: Sequence[KeptEvent],
    new: Sequence[KeptEvent],
    corrections: Sequence[KeptEvent],
    interactions: Mapping[str, Interaction],
    supporters: Supporters,
    seed: int,
    questions_max: int,
) -> tuple[SuiteQuestion, ...]:
    """At most `questions_max` questions: gate approvals, and gate corrections of turns already promoted.

    `new` are the corrections that the candidate is about (its turn's, and the evidence), `corrections` all of
    the agent's, `silent` replies that nobody objected to (`rewards.silence`). At most a third are earlier
    corrections, drawn from each rule in turn. Half of the approvals are those most similar to the new
    corrections' prompts, where side effects of a rule would show; of prompts in the same words only a few are
    asked while there are others. Outdated events and prompt groups of `new`
    are left out. `trained_approvals` are never asked for; they show who approved what a rule contradicts.
    """
    history = History(interactions=interactions, conversations={})
    all_corrections = [*corrections, *taught_gate, *new]
    outdated_seqs = find_outdated(
        [*approvals, *silent, *taught_gate],
        corrections=all_corrections,
        new=new,
        history=history,
        supporters=supporters,
        witnesses=[*approvals, *trained_approvals],
    )
    new_groups = {kept.event.prompt_group for kept in new}
    taught, approved = (
        [
            kept
            for kept in group
            if kept.seq not in outdated_seqs and kept.event.prompt_group not in new_groups
        ]
        for group in (taught_gate, (*silent, *approvals))
    )
    asked_again = fair_sample(taught, history, round(questions_max * _TAUGHT_SHARE), seed)
    chosen = sample_approvals(
        approved,
        to=new,
        history=history,
        count=questions_max - len(asked_again),
        seed=seed,
        similar=most_similar_in_other_words,
    )
    return _questions([*asked_again, *chosen], history, unopposed={kept.event.uid for kept in silent})


def _questions(
    events: Iterable[KeptEvent], history: History, *, unopposed: Set[str]
) -> tuple[SuiteQuestion, ...]:
    questions = []
    for kept in sorted(events, key=lambda kept: kept.seq):
        exchange = history.about(kept.event)
        expected = history.right_reply(kept.event)
        if exchange.messages and expected and kept.event.role is Role.GATE:
            questions.append(
                SuiteQuestion(
                    seq=kept.seq,
                    uid=kept.event.uid,
                    messages=exchange.messages,
                    request=exchange.request,
                    expected=expected,
                    is_unopposed=kept.event.uid in unopposed,
                )
            )
    return tuple(questions)
