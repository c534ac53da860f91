"""Finds corrections of one prompt that disagree: the newest replaces older ones, or a person has to decide.

Pure functions; planning writes the result into the ledger before it chooses a turn's events.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ledger.events import CORRECTING, Interaction, KeptEvent
from rewards.exchange import History, prompt_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradictions:
    """Events, by `seq`, that no turn may be trained on for now."""

    superseded: Mapping[int, int]  # older correction -> the newer one that replaced it
    contested: frozenset[int]  # people disagree: a person decides


def contradictions(
    events: Iterable[KeptEvent], *, interactions: Mapping[str, Interaction], window_s: float
) -> Contradictions:
    """Which of the corrections and overrides among `events` contradict another one about the same prompt.

    Prompts are the same if `rewards.exchange.prompt_key` is. The newest correction counts. An older one that
    wants another reply is superseded if the same author wrote the newest one, or if it arrived more than
    `window_s` seconds before it (rules change). Otherwise it is contested, and so are all that agree with
    the newest.
    """
    superseded: dict[int, int] = {}
    contested: set[int] = set()
    history = History(interactions=interactions, conversations={})
    for claims in _by_prompt(events, history).values():
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


def _by_prompt(
    events: Iterable[KeptEvent], history: History
) -> Mapping[tuple[str, ...], Sequence[KeptEvent]]:
    """Corrections with a known prompt, by prompt, oldest first."""
    claims: dict[tuple[str, ...], list[KeptEvent]] = defaultdict(list)
    for kept in sorted(events, key=lambda kept: kept.seq):
        if kept.event.kind in CORRECTING:
            messages = history.about(kept.event).messages
            if messages:
                claims[prompt_key(messages)].append(kept)
    return claims


def _wanted(kept: KeptEvent) -> str:
    """The corrected reply. Case matters: in code another case is another reply."""
    return " ".join(str(kept.event.data.get("corrected")).split())
