"""Compares a promoted version with what its predecessor did before: nothing else answers beside it any more.

Each conversation of the version is paired with conversations of the predecessor, drawn at random from its
past without replacement. So the test of `serving.canary.sequential_test` holds for pairs as it holds for
shares: where the version is not worse, a conversation with a signal is the version's with probability
1 / (1 + conversations paired with each) at most. Several numbers of them are tried, since nobody knows whose
traffic is larger; the capitals are averaged. It holds only as long as users ask for the same: so only signals
of what the model itself says are compared, and neither corrections nor errors.
"""

import random
from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from math import ceil

from ledger.events import FROM_ANSWERS, Signal
from ledger.intake.live_counts import BUCKET_S
from ledger.versions.live_counts import PromotedCounts
from serving.canary.sequential_test import Comparison, StepCounts, capital

PAIRED = (4.0, 1.0, 0.25)
"""Conversations of the predecessor for each of the version."""


def compare_with_past(counts: PromotedCounts, *, seed: str, alpha: float) -> Comparison:
    """The test over all signals of what the model says; `seed` fixes what is drawn from the past."""
    capitals: dict[Signal, float] = dict.fromkeys(Signal, 1.0)
    for signal in FROM_ANSWERS:
        pairs = [_pair(counts, signal, paired, f"{seed} {signal.value}") for paired in PAIRED]
        capitals[signal] = sum(1.0 if pair is None else capital([pair]) for pair in pairs) / len(pairs)
    mean = sum(capitals.values()) / len(capitals)
    shown = {signal for signal, _ in counts.after_shown}
    return Comparison(
        capital=mean,
        capitals=capitals,
        worst=max(shown, key=lambda signal: capitals[signal], default=None),
        is_worse=mean >= 1.0 / alpha,
    )


def past_complaint(signal: Signal, counts: PromotedCounts) -> str:
    """What was seen of the signal, in one line."""
    return (
        f"worse than its predecessor: {signal.value.replace('_', ' ')} in {shown_after(counts)[signal]} of"
        f" {answered_after(counts)} conversations, {counts.before_shown[signal]} of {counts.before} before"
    )


def answered_after(counts: PromotedCounts) -> int:
    """Conversations that the version answered since its promotion."""
    return sum(number for _, number in counts.after)


def shown_after(counts: PromotedCounts) -> Mapping[Signal, int]:
    """Those of them that showed each signal."""
    return {signal: sum(shown is signal for shown, _ in counts.after_shown) for signal in Signal}


def _pair(counts: PromotedCounts, signal: Signal, paired: float, seed: str) -> StepCounts | None:
    """The version's first conversations beside drawn ones; whole minutes, as long as the past lasts."""
    conversations, until_s = 0, 0.0
    for since_s, number in counts.after:
        if ceil((conversations + number) * paired) > counts.before:
            break
        conversations, until_s = conversations + number, since_s + BUCKET_S
    if not conversations:
        return None
    drawn = ceil(conversations * paired)
    places = _places(counts.before, min(counts.before_shown[signal], counts.before), seed)
    return StepCounts(
        share=1.0 / (1.0 + paired),
        canary=sum(shown is signal and at_s < until_s for shown, at_s in counts.after_shown),
        champion=bisect_left(places, drawn),
    )


@lru_cache(maxsize=256)
def _places(conversations: int, shown: int, seed: str) -> tuple[int, ...]:
    """Where the conversations that showed the signal stand in the order in which the past is drawn."""
    return tuple(sorted(random.Random(seed).sample(range(conversations), shown)))
