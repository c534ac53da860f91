"""Who is right when corrections of one prompt disagree: the newer word, or, between people, nobody yet.

A pure verdict; the caller writes it into the ledger before a turn is planned.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ledger.events import CORRECTING, Interaction, KeptEvent
from rewards.exchange import History, prompt_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradictions:
    """Events, by `seq`, that must not be trained on as they stand."""

    superseded: Mapping[int, int]  # older correction -> the newer one that replaced it
    contested: frozenset[int]  # people disagree: a person decides


def contradictions(
    events: Iterable[KeptEvent], *, interactions: Mapping[str, Interaction], window_s: float
) -> Contradictions:
    """What the corrections and overrides among `events` say against each other about the same prompt.

    The same prompt: see `rewards.exchange.prompt_key`. The newest one counts. Older ones
    that want another reply are superseded if their author is the newest one's or they came more than
    `window_s` seconds before it (rules change); otherwise they, and all that agree with the newest, are
    contested.
    """
    superseded: dict[int, int] = {}
    contested: set[int] = set()
    record = History(interactions=interactions, conversations={})
    for claims in _by_prompt(events, record).values():
        newest = claims[-1]
        last_words = {claim.event.author: claim for claim in claims}
        disputed = False
        for claim in claims:
            if _wanted(claim) == _wanted(newest):
                continue
            last = last_words[claim.event.author]
            if claim is not last and _wanted(claim) != _wanted(last):
                superseded[claim.seq] = last.seq
            elif newest.received_s - last.received_s > window_s:
                superseded[claim.seq] = newest.seq
            else:
                contested.add(claim.seq)
                disputed = True
        if disputed:
            contested.update(claim.seq for claim in claims if _wanted(claim) == _wanted(newest))
    return Contradictions(superseded=superseded, contested=frozenset(contested))


def _by_prompt(events: Iterable[KeptEvent], record: History) -> Mapping[tuple[str, ...], Sequence[KeptEvent]]:
    """Corrections with a known prompt, oldest first, under their prompt."""
    claims: dict[tuple[str, ...], list[KeptEvent]] = defaultdict(list)
    for kept in sorted(events, key=lambda kept: kept.seq):
        if kept.event.kind in CORRECTING:
            messages = record.about(kept.event).messages
            if messages:
                claims[prompt_key(messages)].append(kept)
    return claims


def _wanted(kept: KeptEvent) -> str:
    """Case matters here: in code it is another reply."""
    return " ".join(str(kept.event.data.get("corrected")).split())
