"""A promoted version against the past of its predecessor: pairs, as long as the past lasts."""

import random
from collections import Counter

from ledger.events import Signal
from ledger.versions.live_counts import PromotedCounts
from serving.canary.after_promotion import compare_with_past

MINUTE_S = 60


def build_counts(
    *, minutes: int, shown_a_minute: int, signal: Signal = Signal.REFUSAL, before: int = 2000, shown: int = 20
) -> PromotedCounts:
    """30 conversations a minute, so many of which show the signal."""
    return PromotedCounts(
        before=before,
        before_shown=Counter({signal: shown}),
        after=tuple((minute * MINUTE_S, 30) for minute in range(minutes)),
        after_shown=tuple(
            (signal, minute * MINUTE_S + 1.0) for minute in range(minutes) for _ in range(shown_a_minute)
        ),
    )


def is_worse(counts: PromotedCounts) -> bool:
    return compare_with_past(counts, seed="billing", alpha=0.005).is_worse


def test_a_version_that_shows_a_signal_more_often_than_its_predecessor_is_worse() -> None:
    result = compare_with_past(build_counts(minutes=6, shown_a_minute=5), seed="billing", alpha=0.005)
    assert (result.is_worse, result.worst) == (True, Signal.REFUSAL)


def test_a_version_that_shows_it_as_often_is_not() -> None:
    assert not is_worse(build_counts(minutes=60, shown_a_minute=1, shown=66))


def test_corrections_and_errors_are_not_compared_with_the_past() -> None:
    for signal in (Signal.ERROR, Signal.CORRECTION):
        assert not is_worse(build_counts(minutes=20, shown_a_minute=20, signal=signal))


def test_without_a_past_or_without_traffic_nothing_is_decided() -> None:
    assert not is_worse(build_counts(minutes=20, shown_a_minute=20, before=0, shown=0))
    assert not is_worse(build_counts(minutes=0, shown_a_minute=0))


def test_conversations_beyond_the_past_do_not_count() -> None:
    short = build_counts(minutes=400, shown_a_minute=0, before=100, shown=1)
    late = tuple((Signal.REFUSAL, minute * MINUTE_S + 1.0) for minute in range(300, 400))
    counts = PromotedCounts(
        before=short.before, before_shown=short.before_shown, after=short.after, after_shown=late
    )
    assert not is_worse(counts)


def test_versions_that_are_as_good_are_called_worse_once_in_two_hundred_at_most() -> None:
    worse = 0
    for seed in range(200):
        draw = random.Random(seed)

        def shown(count: int, draw: random.Random = draw) -> int:
            return sum(draw.random() < 0.1 for _ in range(count))

        minutes = [(minute * MINUTE_S, 30) for minute in range(30)]
        signals = [(Signal.LENGTH, since_s + 1.0) for since_s, count in minutes for _ in range(shown(count))]
        before_shown = Counter({Signal.LENGTH: shown(1500)})
        for looked in range(1, 31):
            counts = PromotedCounts(
                before=1500,
                before_shown=before_shown,
                after=tuple(minutes[:looked]),
                after_shown=tuple(one for one in signals if one[1] < looked * MINUTE_S),
            )
            if compare_with_past(counts, seed=str(seed), alpha=0.005).is_worse:
                worse += 1
                break
    assert worse <= 3  # 1 is allowed for, and its standard deviation is 1
