"""The no-harm suite: what a candidate must answer as well as the champion does.

Everything asked is of role `gate`: fixed when the event came in, and never trained on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ledger.events import Interaction, KeptEvent, Role
from rewards.batch import fair_sample, find_outdated, half_similar
from rewards.episode import Message
from rewards.exchange import History

_LESSONS_SHARE = 1 / 3  # of the suite: rules of earlier turns; the rest is approved replies


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteQuestion:
    """A prompt and the reply people want, by one event."""

    seq: int
    uid: str
    messages: tuple[Message, ...]
    expected: str


def suite(
    *,
    approvals: Sequence[KeptEvent],
    taught_gate: Sequence[KeptEvent],
    new: Sequence[KeptEvent],
    corrections: Sequence[KeptEvent],
    interactions: Mapping[str, Interaction],
    seed: int,
    questions_max: int,
) -> tuple[SuiteQuestion, ...]:
    """What must not get worse: gate approvals, and gate corrections of turns already promoted.

    `new` are the corrections the candidate is about (its turn's, and the evidence), `corrections` all of the
    agent's. At most a third are earlier lessons, by turns over their rules; half of the approvals are those
    most like the new corrections' prompts, where a leak would show. Nothing outdated is asked, and no prompt
    group that `new` is about.
    """
    record = History(interactions=interactions, conversations={})
    known = [*corrections, *taught_gate, *new]
    stale = find_outdated([*approvals, *taught_gate], corrections=known, new=new, record=record)
    about = {one.event.prompt_group for one in new}
    lessons, calm = (
        [one for one in group if one.seq not in stale and one.event.prompt_group not in about]
        for group in (taught_gate, approvals)
    )
    asked_again = fair_sample(lessons, record, round(questions_max * _LESSONS_SHARE), seed)
    kept = half_similar(calm, to=new, record=record, count=questions_max - len(asked_again), seed=seed)
    return _questions([*asked_again, *kept], record)


def _questions(events: Iterable[KeptEvent], record: History) -> tuple[SuiteQuestion, ...]:
    found = []
    for one in sorted(events, key=lambda one: one.seq):
        messages = record.about(one.event).messages
        expected = record.right_reply(one.event)
        if messages and expected and one.event.role is Role.GATE:
            found.append(SuiteQuestion(seq=one.seq, uid=one.event.uid, messages=messages, expected=expected))
    return tuple(found)
