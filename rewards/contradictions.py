"""Finds corrections of one prompt that disagree: some replace others, or a person has to decide.

Of several outcomes that one author gives to one interaction, the newest replaces the others.

Pure functions; planning writes the result into the ledger before it chooses a turn's events.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.events import CORRECTING, Interaction, KeptEvent
from rewards.baseline import replaced_outcomes
from rewards.exchange import History, prompt_key
from rewards.replies import compared_text
from rewards.supporters import Supporters, author_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradictions:
    """Events, by `seq`, that no turn may be trained on for now."""

    superseded: Mapping[int, int]  # older correction or outcome -> the newer one that replaced it
    contested: Mapping[int, int]  # correction -> one that wants another reply: a person decides


def contradictions(
    events: Iterable[KeptEvent],
    *,
    interactions: Mapping[str, Interaction],
    window_s: float,
    supporters: Supporters,
) -> Contradictions:
    """Which of the corrections and overrides among `events` contradict another one about the same prompt.

    Prompts are the same if `rewards.exchange.prompt_key` is. An author's newer correction supersedes the
    older one. If enough people stand behind a correction, one that waits for another person is contested and
    changes nothing. Between corrections that both have enough people, the newer one supersedes those that
    arrived more than `window_s` seconds before it (rules change). Within that time the side with fewer people
    on this prompt is contested; if both have equally many, the side that contradicts more people on all
    prompts; if that is equal too, both.
    """
    history, events = History(interactions=interactions, conversations={}), list(events)
    superseded = replaced_outcomes(events)
    contested: dict[int, int] = {}
    disputes: list[_Dispute] = []
    for claims in _by_prompt(events, history).values():
        last = {author_of(claim): claim for claim in claims}
        for claim in claims:
            newer = last[author_of(claim)]
            if claim is not newer and _wanted(claim) != _wanted(newer):
                superseded[claim.seq] = newer.seq
        standing = [claim for claim in claims if claim.seq not in superseded]
        strong = [claim for claim in standing if supporters.are_enough(claim.seq)]
        if not strong:
            continue  # each of them waits for another person anyway
        for claim in standing:
            if not supporters.are_enough(claim.seq) and _wanted(claim) != _wanted(strong[-1]):
                contested[claim.seq] = strong[-1].seq
        replaced, left = _replaced(strong, window_s)
        superseded |= replaced
        if dispute := _dispute(left):
            disputes.append(dispute)
    opponents = _opponents(disputes)
    for dispute in disputes:
        contested |= dispute.contested(opponents)
    return Contradictions(superseded=superseded, contested=contested)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dispute:
    """One prompt for which people want different replies: the newest word, and all others."""

    newest: Sequence[KeptEvent]  # those that want what the newest one wants
    others: Sequence[KeptEvent] = field(default_factory=tuple)

    def contested(self, opponents: Mapping[str, frozenset[str]]) -> dict[int, int]:
        newest, others = (_weight(side, opponents) for side in (self.newest, self.others))
        lost: dict[int, int] = {}
        if newest <= others:
            lost |= {claim.seq: self.others[-1].seq for claim in self.newest}
        if others <= newest:
            lost |= {claim.seq: self.newest[-1].seq for claim in self.others}
        return lost


def _weight(side: Sequence[KeptEvent], opponents: Mapping[str, frozenset[str]]) -> tuple[int, int]:
    """People who say so, then how few people they contradict on all prompts."""
    authors = {author_of(claim) for claim in side}
    return len(authors), -max(len(opponents[author]) for author in authors)


def _replaced(strong: Sequence[KeptEvent], window_s: float) -> tuple[dict[int, int], list[KeptEvent]]:
    """Which claims the newest one supersedes because they are old, and those that are left."""
    newest = strong[-1]
    replaced = {
        claim.seq: newest.seq
        for claim in strong
        if _wanted(claim) != _wanted(newest) and newest.received_s - claim.received_s > window_s
    }
    return replaced, [claim for claim in strong if claim.seq not in replaced]


def _dispute(claims: Sequence[KeptEvent]) -> _Dispute | None:
    newest = [claim for claim in claims if _wanted(claim) == _wanted(claims[-1])]
    others = [claim for claim in claims if _wanted(claim) != _wanted(claims[-1])]
    return _Dispute(newest=newest, others=others) if others else None


def _opponents(disputes: Iterable[_Dispute]) -> Mapping[str, frozenset[str]]:
    """Whom each author contradicts, over all prompts."""
    opponents: dict[str, set[str]] = defaultdict(set)
    for dispute in disputes:
        for side, opposite_side in ((dispute.newest, dispute.others), (dispute.others, dispute.newest)):
            for claim in side:
                opponents[author_of(claim)].update(map(author_of, opposite_side))
    return {author: frozenset(others) for author, others in opponents.items()}


def _by_prompt(
    events: Iterable[KeptEvent], history: History
) -> Mapping[tuple[str, ...], Sequence[KeptEvent]]:
    """Corrections with a known prompt, oldest first, under their prompt."""
    claims: dict[tuple[str, ...], list[KeptEvent]] = defaultdict(list)
    for kept in sorted(events, key=lambda kept: kept.seq):
        if kept.event.kind in CORRECTING:
            messages = history.about(kept.event).messages
            if messages:
                claims[prompt_key(messages)].append(kept)
    return claims


def _wanted(kept: KeptEvent) -> str:
    """Case matters here: in code it is another reply."""
    return " ".join(compared_text(kept.event.data.get("corrected") or "").split())
