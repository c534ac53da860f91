"""Captured replies that nobody objected to, as if approved; void where a correction says otherwise.

People correct only a part of what is wrong, so silence about one prompt like a corrected one says nothing.
Silence about many prompts that are more alike than the corrected one does: these are near misses of its rule.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from ledger.events import SILENCE, Event, Interaction, KeptEvent, Kind, Status
from rewards.batch import find_outdated
from rewards.exchange import History, asked, prompt_key
from rewards.replies import reply_text
from rewards.similarity import TextFeatures, similarity, text_features
from rewards.supporters import Supporters

NEGLECT_MAX = 0.02
"""Chance that nobody corrected any of a prompt's neighbours although the rule applies to them, at most."""

_SIMILARITY_SHARE = 0.8
"""Of a corrected prompt's similarity to the most similar other one: how far its rule reaches."""

_SIMILARITY_MIN = 0.3
"""So like each other are unrelated prompts of one agent: a rule reaches no further."""

_CORRECTIONS_MAX = 128  # newest that replies are compared with
_NEIGHBOURS_MAX = 256  # newest different prompts within a rule's reach, which are compared with each other
_NEAREST = 8  # prompts around a corrected one that show how many people correct


def unopposed(
    replies: Sequence[Interaction],
    corrections: Sequence[KeptEvent],
    *,
    history: History,
    supporters: Supporters,
) -> list[KeptEvent]:
    """The replies as approvals, in order, without those that a rule of the corrections would change.

    Left out is what the corrections outdate, whenever it was said, and every prompt that is about as like a
    corrected one as other corrected prompts are, unless nobody objected to its neighbours (`_Neighbours`). A
    prompt in other words than all of them is not recognised. Left out too is what was said after a corrected
    reply in one conversation, by whatever name it was captured.
    Corrections that wait for another person change nothing here.
    Numbers are negative: older than any event, so that an approval of the same prompt counts instead.
    `history` has the replies too; all are of one role.
    """
    approvals = [silent_approval(reply, seq=place - len(replies)) for place, reply in enumerate(replies)]
    later = _said_after(replies, corrections, history)
    corrections = supporters.confirmed(corrections)
    outdated = find_outdated(
        approvals, corrections=corrections, new=(), history=history, supporters=supporters
    )
    compared = [
        (text_features(asked(messages)), kept.event.role)
        for kept in corrections[-_CORRECTIONS_MAX:]
        if (messages := history.about(kept.event).messages)
    ]
    corrected = [features for features, _ in compared]
    reaches = _reaches(corrected)
    prompts = [text_features(asked(reply.messages)) for reply in replies]
    reached = [_is_reached(prompt, corrected, reaches) for prompt in prompts]
    neighbours = _Neighbours(
        (prompt for prompt, is_reached in zip(prompts, reached, strict=True) if is_reached),
        corrected=corrected,
        beside=(features for features, role in compared if replies and role is replies[0].role),
    )
    return [
        approval
        for approval, prompt, is_reached in zip(approvals, prompts, reached, strict=True)
        if approval.seq not in outdated
        and approval.event.id not in later
        and (not is_reached or neighbours.are_silent(prompt))
    ]


def _said_after(
    replies: Iterable[Interaction], corrections: Iterable[KeptEvent], history: History
) -> frozenset[str]:
    """Ids of the replies whose prompt goes on after a reply that a person corrected."""
    wrong: dict[int, set[tuple[tuple[str, ...], str | None]]] = defaultdict(set)
    for kept in corrections:
        exchange = history.about(kept.event)
        if exchange.messages:
            said = None if exchange.reply is None else _spaced(exchange.reply)
            wrong[len(exchange.messages)].add((prompt_key(exchange.messages), said))
    later = set()
    for reply in replies:
        keys = prompt_key(reply.messages) if wrong else ()
        for length, corrected in wrong.items():
            if length < len(keys) and reply.messages[length].get("role") == "assistant":
                said = _spaced(reply_text(reply.messages[length]))
                if not corrected.isdisjoint({(keys[:length], said), (keys[:length], None)}):
                    later.add(reply.id)
    return frozenset(later)


def _spaced(text: str) -> str:
    """Clients trim what they show and send back."""
    return " ".join(text.split())


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


class _Neighbours:
    """Finds prompts whose most similar prompts nobody corrected.

    Where a rule applies, people correct some share p of the prompts. The chance that they corrected none of
    the k prompts most like another one is then (1 - p)^k. p is measured around the corrected prompts, among
    captured and corrected prompts of one role, whatever share of all traffic those are.
    """

    def __init__(
        self,
        silent: Iterable[TextFeatures],
        *,
        corrected: Sequence[TextFeatures],
        beside: Iterable[TextFeatures],  # the corrected prompts of the same role
    ) -> None:
        self._silent = list(dict.fromkeys(silent))[-_NEIGHBOURS_MAX:]
        self._corrected = corrected
        share = _objections_share(list(dict.fromkeys(beside)), self._silent)
        self._enough = math.ceil(math.log(NEGLECT_MAX) / math.log(1.0 - share)) if 0.0 < share < 1.0 else None

    def are_silent(self, prompt: TextFeatures) -> bool:
        """Whether enough different prompts, this one included, are more like it than any corrected one."""
        if self._enough is None or self._enough > len(self._silent):
            return False
        nearest = max(similarity(prompt, other) for other in self._corrected)
        return sum(similarity(prompt, other) > nearest for other in self._silent) >= self._enough


def _objections_share(corrected: Sequence[TextFeatures], silent: Sequence[TextFeatures]) -> float:
    """Share of corrected prompts among the few most like a corrected one, mean over all of those."""
    shares = []
    for prompt in corrected:
        others = [(similarity(prompt, other), True) for other in corrected if other is not prompt]
        others += [(similarity(prompt, other), False) for other in silent]
        nearest = sorted(others, reverse=True, key=lambda pair: pair[0])[:_NEAREST]
        shares.append(sum(objected for _, objected in nearest) / max(1, len(nearest)))
    return sum(shares) / max(1, len(shares))


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
