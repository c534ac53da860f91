"""Captured replies that nobody objected to, as if approved; void where a correction says otherwise.

People correct only a part of what is wrong, so silence about a prompt like a corrected one says nothing.
"""

from collections.abc import Sequence

from ledger.events import SILENCE, Event, Interaction, KeptEvent, Kind, Status
from rewards.batch import find_outdated
from rewards.exchange import History, asked
from rewards.similarity import TextFeatures, similarity, text_features
from rewards.voices import Voices

_SIMILARITY_SHARE = 0.8
"""Of a corrected prompt's similarity to the most similar other one: how far its rule reaches."""

_SIMILARITY_MIN = 0.3
"""So like each other are unrelated prompts of one agent: a rule reaches no further."""

_CORRECTIONS_MAX = 128  # newest that replies are compared with


def unopposed(
    replies: Sequence[Interaction], corrections: Sequence[KeptEvent], *, history: History, voices: Voices
) -> list[KeptEvent]:
    """The replies as approvals, in order, without those that a rule of the corrections would change.

    Left out is what the corrections outdate, whenever it was said, and every prompt that is about as like a
    corrected one as other corrected prompts are. A prompt in other words than all of them is not recognised.
    Corrections that wait for another person change nothing here.
    Numbers are negative: older than any event, so that an approval of the same prompt counts instead.
    `history` has the replies too.
    """
    approvals = [silent_approval(reply, seq=place - len(replies)) for place, reply in enumerate(replies)]
    corrections = voices.confirmed(corrections)
    outdated = find_outdated(approvals, corrections=corrections, new=(), history=history, voices=voices)
    corrected = [
        text_features(asked(messages))
        for kept in corrections[-_CORRECTIONS_MAX:]
        if (messages := history.about(kept.event).messages)
    ]
    reaches = _reaches(corrected)
    return [
        approval
        for approval, reply in zip(approvals, replies, strict=True)
        if approval.seq not in outdated
        and not _is_reached(text_features(asked(reply.messages)), corrected, reaches)
    ]


def is_silence(event: Event) -> bool:
    """Whether the event stands for a captured reply that nobody objected to."""
    return event.source == SILENCE


def silent_approval(reply: Interaction, *, seq: int) -> KeptEvent:
    """The reply as if somebody had approved it, under a negative number that no event has."""
    event = Event(
        source=SILENCE,
        id=reply.id,
        digest="",
        kind=Kind.APPROVE,
        agent=reply.agent,
        author="",
        conversation=reply.conversation,
        interaction=reply.id,
        role=reply.role,
        prompt_group=reply.prompt_group,
        data={},
    )
    return KeptEvent(seq=seq, event=event, status=Status.OPEN, received_s=0.0)


def _is_reached(prompt: TextFeatures, corrected: Sequence[TextFeatures], reaches: Sequence[float]) -> bool:
    return any(similarity(prompt, other) >= reach for other, reach in zip(corrected, reaches, strict=True))


def _reaches(corrected: Sequence[TextFeatures]) -> list[float]:
    """For each corrected prompt, from which similarity on a prompt is about the same; 1 where it is alone."""
    if len(corrected) < 2:
        return [1.0] * len(corrected)
    return [
        max(
            _SIMILARITY_MIN,
            _SIMILARITY_SHARE
            * max(similarity(prompt, other) for at, other in enumerate(corrected) if at != place),
        )
        for place, prompt in enumerate(corrected)
    ]
