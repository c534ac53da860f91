"""The sequential test: a fair bet where the canary is no worse, and one that wins where it is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ledger.events import Signal
from serving.canary.sequential_test import StepCounts, capital, compare

shares = some.floats(0.001, 0.999)
rates = some.floats(0.0, 1.0)


def one(share: float, *, canary: int = 0, champion: int = 0) -> tuple[StepCounts, ...]:
    return (StepCounts(share=share, canary=canary, champion=champion),)


@given(shares, rates, rates)
def test_one_more_conversation_makes_the_capital_grow_only_where_the_canary_is_worse(
    share: float, first: float, second: float
) -> None:
    champion, canary = max(first, second), min(first, second)
    grown = capital(one(share, canary=1)), capital(one(share, champion=1))
    expected = 1.0 + share * canary * (grown[0] - 1.0) + (1.0 - share) * champion * (grown[1] - 1.0)
    assert expected <= 1.0 + 1e-9
    assert grown[0] > 1.0 > grown[1]


@given(shares, some.lists(some.booleans(), min_size=1, max_size=8))
def test_the_order_of_the_conversations_does_not_matter(share: float, of_canary: list[bool]) -> None:
    together = one(share, canary=sum(of_canary), champion=len(of_canary) - sum(of_canary))
    apart = tuple(
        StepCounts(share=share, canary=int(flag), champion=int(not flag)) for flag in sorted(of_canary)
    )
    assert capital(together) == pytest.approx(capital(apart))


def test_without_any_signal_nothing_is_decided() -> None:
    result = compare({}, alpha=0.01)
    assert (result.capital, result.worst, result.is_worse) == (1.0, None, False)


def test_three_conversations_never_decide_whatever_the_signals() -> None:
    for share in (0.05, 0.25, 0.5):
        for signal in Signal:
            assert not compare({signal: one(share, canary=3)}, alpha=0.01).is_worse


def test_the_signal_that_got_worse_is_named() -> None:
    counts = {
        Signal.CORRECTION: one(0.25, canary=10, champion=30),
        Signal.ERROR: one(0.25, canary=20, champion=5),
    }
    result = compare(counts, alpha=0.01)
    assert result.is_worse
    assert result.worst is Signal.ERROR


def test_a_canary_that_fails_always_and_for_long_gives_a_number() -> None:
    assert compare({Signal.ERROR: one(0.05, canary=100_000)}, alpha=0.01).is_worse


def test_steps_with_different_shares_are_added_up() -> None:
    steps = (*one(0.05, canary=3, champion=20), *one(0.25, canary=12, champion=15))
    assert capital(steps) > capital(steps[:1])
    assert capital(steps) > capital(steps[1:])


def test_canaries_that_are_as_good_are_called_worse_once_in_a_hundred_at_most() -> None:
    """Every conversation is looked at, in 400 canaries with signals in a third of their conversations."""
    worse = 0
    for seed in range(400):
        draw, canary, champion = random.Random(seed), 0, 0
        for _ in range(120):
            of_canary = draw.random() < 0.25
            canary, champion = canary + of_canary, champion + (not of_canary)
            if compare({Signal.CORRECTION: one(0.25, canary=canary, champion=champion)}, alpha=0.01).is_worse:
                worse += 1
                break
    assert worse <= 8  # 4 are allowed for, and their standard deviation is 2


def test_a_test_without_both_versions_cannot_be_asked_for() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(AssertionError):
            StepCounts(share=share, canary=1, champion=1)
