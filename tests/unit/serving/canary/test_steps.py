"""What becomes of a canary: it waits for its time and its traffic, and leaves when it is worse."""

import pytest

from ledger.events import Signal
from serving.canary.sequential_test import StepCounts
from serving.canary.steps import Move, next_share, rule
from tests.canary_options_builder import build_canary_options

OPTIONS = build_canary_options(share=0.05, s_max=1800.0)


def counts(*, canary: int, champion: int) -> dict[Signal, tuple[StepCounts, ...]]:
    return {Signal.CORRECTION: (StepCounts(share=0.05, canary=canary, champion=champion),)}


def test_a_canary_waits_until_the_time_of_its_step_is_over() -> None:
    ruling = rule(counts(canary=1, champion=9), age_s=1700.0, conversations=90, options=OPTIONS)
    assert (ruling.move, ruling.reason) == (Move.WAIT, "100 s more of this step")


def test_a_canary_that_was_not_worse_advances_at_the_limit() -> None:
    ruling = rule(counts(canary=1, champion=9), age_s=1800.0, conversations=90, options=OPTIONS)
    assert (ruling.move, ruling.reason) == (Move.ADVANCE, "not worse in 90 conversations")


def test_a_canary_without_traffic_says_what_it_waits_for() -> None:
    ruling = rule({}, age_s=5000.0, conversations=0, options=OPTIONS)
    assert (ruling.move, ruling.reason) == (Move.WAIT, "its first conversation")


def test_a_canary_that_is_worse_is_withdrawn_at_once_and_says_why() -> None:
    ruling = rule(counts(canary=12, champion=30), age_s=3.0, conversations=40, options=OPTIONS)
    assert ruling.move is Move.WITHDRAW
    assert ruling.reason == (
        "worse on live traffic: correction in 12 of its conversations and 30 of the champion's,"
        " where 2.1 of these 42 were expected"
    )


@pytest.mark.parametrize(
    ("share", "larger"), [(0.05, 0.25), (0.01, 0.05), (0.1, 0.25), (0.25, 1.0), (0.5, 1.0)]
)
def test_shares_grow_step_by_step(share: float, larger: float) -> None:
    assert next_share(share) == larger
