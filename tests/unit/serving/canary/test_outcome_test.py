"""The test on outcomes: it finds what is better or worse, whatever the shares, and seldom what is neither."""

import random

import pytest

from serving.canary.outcome_test import (
    ConversationOutcome,
    Ended,
    better_without_anybody,
    compare_outcomes,
)


def build_outcomes(
    seed: int,
    *,
    canary: float,
    champion: float,
    share: float = 0.5,
    count: int = 400,
    low: float = -1.0,
    given: tuple[float, float] = (1.0, 1.0),
    author: str | None = None,
) -> list[ConversationOutcome]:
    """Outcomes of 1 or `low`: chances of success, and of an outcome at all, of canary and champion."""
    draw = random.Random(seed)
    outcomes = []
    for _ in range(count):
        of_canary = draw.random() < share
        value = 1.0 if draw.random() < (canary if of_canary else champion) else low
        if draw.random() < given[0 if of_canary else 1]:
            outcomes.append(ConversationOutcome(value=value, of_canary=of_canary, author=author))
    return outcomes


def highest(outcomes: list[ConversationOutcome], *, every: int = 20) -> float:
    """The largest capital that somebody who looks after each few outcomes sees."""
    return max(compare_outcomes(outcomes[:count]).better for count in range(every, len(outcomes) + 1, every))


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_a_better_canary_is_found_at_every_share(share: float, low: float) -> None:
    outcomes = build_outcomes(1, canary=0.9, champion=0.5, share=share, low=low, count=int(80 / share))
    compared = compare_outcomes(outcomes)
    assert compared.better > 40.0
    assert compared.worse < 1.0


def test_a_worse_canary_is_found_by_the_same_test() -> None:
    compared = compare_outcomes(build_outcomes(1, canary=0.5, champion=0.9))
    assert compared.worse > 400.0
    assert compared.better < 1.0


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("given", [(1.0, 1.0), (0.3, 1.0), (1.0, 0.3)])
def test_one_that_is_equal_is_seldom_found_better_however_often_one_looks(
    share: float, given: tuple[float, float]
) -> None:
    """300 streams at a level of 0.1: chance alone finds more than 40 once in a hundred times at most."""
    streams = (
        build_outcomes(seed, canary=0.8, champion=0.8, share=share, count=200, given=given)
        for seed in range(300)
    )
    assert sum(highest(stream) >= 10.0 for stream in streams) <= 40


def test_without_outcomes_of_both_versions_nothing_is_known() -> None:
    only_canary = [ConversationOutcome(value=1.0, of_canary=True)] * 100
    compared = compare_outcomes(only_canary)
    assert (compared.better, compared.worse) == (1.0, 1.0)
    assert compared.canary == Ended(conversations=100, mean=1.0)
    assert compared.champion == Ended()


def test_equal_outcomes_win_nothing() -> None:
    pairs = [ConversationOutcome(value=1.0, of_canary=place % 2 == 0) for place in range(400)]
    assert compare_outcomes(pairs).better == pytest.approx(1.0)


def test_a_result_that_rests_on_one_author_falls_without_that_author() -> None:
    honest = build_outcomes(1, canary=0.5, champion=0.5, count=100, author="ann")
    bought = build_outcomes(2, canary=1.0, champion=0.0, count=100, author="mallory")
    mixed = [outcome for pair in zip(honest, bought, strict=True) for outcome in pair]
    assert compare_outcomes(mixed).better > 1000.0
    assert better_without_anybody(mixed) < 10.0


def test_nobody_is_left_out_whose_word_needs_nobody_elses() -> None:
    outcomes = build_outcomes(1, canary=0.9, champion=0.5)
    assert better_without_anybody(outcomes) == compare_outcomes(outcomes).better


def test_outcomes_at_the_ends_of_the_scale_leave_a_finite_capital() -> None:
    won = [ConversationOutcome(value=1.0 if n % 2 else -1.0, of_canary=n % 2 == 1) for n in range(10_000)]
    compared = compare_outcomes(won)
    assert 1e300 < compared.better < float("inf")
    assert compared.worse >= 0.0
