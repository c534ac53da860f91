"""Tells whether a canary does worse than its champion, however often one looks.

A hash gives the canary its share of the conversations. So if the canary is not worse, a conversation with a
signal of trouble (a correction, an error, …) is the canary's with probability `share` at most. The test bets
that it is more likely: its capital is multiplied by a likelihood ratio for each such conversation, and the
canary is worse once the capital is `1 / alpha`.

Why this holds: let a conversation show the signal with probability b if the canary answers it and a if the
champion does, and let the bet be that it is the canary's with probability q > share. The expected factor is
1 + (q - share)(b - a): at most 1 if b ≤ a, whatever a is, and also where a changes with the hour. The product
is a nonnegative supermartingale that starts at 1, so the chance that it ever reaches 1 / alpha is alpha at
most (Ville, Étude critique de la notion de collectif, 1939). Looks and steps without an end cost nothing. The
bets on several rate ratios are mixed (Robbins, Statistical methods related to the law of the iterated
logarithm, 1970), and the capitals of all signals are averaged: an average of e-values is an e-value (Vovk &
Wang, E-values: calibration, combination and applications, 2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

from ledger.events import Signal

RATE_RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0)
"""How many times as often the canary may show a signal; the bets on each of them have equal parts."""

_LOG_CAPITAL_MAX = 700.0  # exp of more is no float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """Conversations that showed one signal while the canary had one share of the traffic."""

    share: float  # in (0, 1)
    champion: int
    canary: int

    def __post_init__(self) -> None:
        assert 0.0 < self.share < 1.0, "without both versions there is nothing to compare"
        assert min(self.champion, self.canary) >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Where the test stands. The canary is worse where the capital is at least `1 / alpha`."""

    capital: float  # the mean of all signals
    capitals: Mapping[Signal, float]
    worst: Signal | None  # the signal with the largest capital; None where nothing was counted
    is_worse: bool


def capital(steps: Sequence[StepCounts]) -> float:
    """The e-value of one signal against "the canary does not show it more often than the champion"."""
    logs = [sum(_log_factor(step, ratio) for step in steps) for ratio in RATE_RATIOS]
    return sum(exp(min(_LOG_CAPITAL_MAX, value)) for value in logs) / len(logs)


def compare(counts: Mapping[Signal, Sequence[StepCounts]], *, alpha: float) -> Comparison:
    """The test over all signals; `alpha` is the chance of ever calling a canary worse that is not."""
    assert 0.0 < alpha < 1.0
    steps = {signal: counts.get(signal, ()) for signal in Signal}
    capitals = {signal: capital(steps[signal]) for signal in Signal}
    counted = [signal for signal in Signal if any(step.canary or step.champion for step in steps[signal])]
    mean = sum(capitals.values()) / len(capitals)
    return Comparison(
        capital=mean,
        capitals=capitals,
        worst=max(counted, key=lambda signal: capitals[signal], default=None),
        is_worse=mean >= 1.0 / alpha,
    )


def _log_factor(step: StepCounts, ratio: float) -> float:
    """The logarithm of what the bet on this rate ratio makes of one unit in this step."""
    share = step.share
    of_canary = share * ratio / (1.0 - share + share * ratio)
    return step.canary * log(of_canary / share) + step.champion * log((1.0 - of_canary) / (1.0 - share))
