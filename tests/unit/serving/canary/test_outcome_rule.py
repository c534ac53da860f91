"""A canary that is judged by outcomes is promoted only if better, withdrawn if worse, else given up."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ledger.events import Signal
from serving.canary.outcome_counts import CountedOutcomes
from serving.canary.outcome_rule import OutcomeLook, larger_share, rule_by_outcomes
from serving.canary.outcome_test import ConversationOutcome
from serving.canary.sequential_test import StepCounts
from serving.canary.steps import Move, OutcomeOptions
from tests.canary_options_builder import build_canary_options
from tests.unit.serving.canary.test_outcome_test import build_outcomes

OPTIONS = build_canary_options(
    share=0.05,
    s_max=1800.0,
    outcomes=OutcomeOptions(alpha=0.05, authors_min=2, conversations_max=500, s_max=86_400.0),
)


def build_look(outcomes: Sequence[ConversationOutcome] = (), **changed: Any) -> OutcomeLook:
    fields: dict[str, Any] = {
        "counted": CountedOutcomes(outcomes=tuple(outcomes)),
        "signals": {},
        "attempt": 1,
        "share": 0.5,
        "step_s": 60.0,
        "total_s": 60.0,
        "conversations": 100,
    }
    return OutcomeLook(**{**fields, **changed})


def test_a_better_canary_is_promoted_with_its_numbers() -> None:
    ruling = rule_by_outcomes(build_look(build_outcomes(1, canary=0.9, champion=0.5, count=200)), OPTIONS)
    assert ruling.move is Move.PROMOTE
    assert ruling.reason.startswith("better outcomes on live traffic: mean 0.")
    assert ruling.alpha_k == pytest.approx(0.025)


def test_an_equal_canary_waits_and_is_given_up_at_the_limit_of_conversations() -> None:
    outcomes = build_outcomes(1, canary=0.7, champion=0.7, count=500)
    assert rule_by_outcomes(build_look(outcomes[:499]), OPTIONS).move is Move.WAIT
    ruling = rule_by_outcomes(build_look(outcomes), OPTIONS)
    assert ruling.move is Move.ABSTAIN
    assert ruling.reason.startswith("inconclusive outcomes after 500 conversations: mean")


def test_a_canary_without_outcomes_is_given_up_at_the_limit_of_time() -> None:
    assert rule_by_outcomes(build_look(total_s=86_399.0), OPTIONS).move is Move.WAIT
    assert rule_by_outcomes(build_look(total_s=86_400.0), OPTIONS).move is Move.ABSTAIN


def test_a_worse_canary_is_withdrawn_at_once() -> None:
    ruling = rule_by_outcomes(build_look(build_outcomes(1, canary=0.5, champion=0.9)), OPTIONS)
    assert ruling.move is Move.WITHDRAW
    assert ruling.reason.startswith("worse outcomes on live traffic")
    assert ruling.result.worst is Signal.OUTCOME


def test_a_canary_with_better_outcomes_that_fails_more_often_is_withdrawn() -> None:
    errors = {Signal.ERROR: (StepCounts(share=0.5, canary=40, champion=2),)}
    outcomes = build_outcomes(1, canary=0.9, champion=0.5)
    ruling = rule_by_outcomes(build_look(outcomes, signals=errors), OPTIONS)
    assert ruling.move is Move.WITHDRAW
    assert ruling.result.worst is Signal.ERROR


def test_later_tries_need_more() -> None:
    look = build_look(build_outcomes(1, canary=0.9, champion=0.5, count=90))
    assert rule_by_outcomes(look, OPTIONS).move is Move.PROMOTE
    assert rule_by_outcomes(replace(look, attempt=60), OPTIONS).move is Move.WAIT


def test_a_result_of_one_author_alone_promotes_nothing() -> None:
    outcomes = [
        *build_outcomes(1, canary=0.5, champion=0.5, count=60, author="ann"),
        *build_outcomes(2, canary=1.0, champion=0.0, count=60, author="mallory"),
    ]
    assert rule_by_outcomes(build_look(outcomes), OPTIONS).move is Move.WAIT


def test_it_gets_larger_shares_up_to_half_of_the_traffic() -> None:
    first = build_look(share=0.05, step_s=1800.0)
    assert rule_by_outcomes(first, OPTIONS).move is Move.ADVANCE
    assert rule_by_outcomes(replace(first, share=0.5), OPTIONS).move is Move.WAIT
    assert rule_by_outcomes(replace(first, conversations=0), OPTIONS).move is Move.WAIT
    assert [larger_share(share) for share in (0.05, 0.1, 0.25, 0.3, 0.5)] == [0.25, 0.25, 0.5, 0.5, 0.5]


def test_what_does_not_count_is_said_with_what_to_do() -> None:
    counted = CountedOutcomes(unattributed=4, of_one_author=7)
    ruling = rule_by_outcomes(build_look(counted=counted), OPTIONS)
    assert ruling.reason == (
        "outcomes: 0 of at most 500 conversations have one; 4 outcomes name no conversation;"
        " 7 of one author do not count: give its key the right `judge`, or set `gate.authors_min = 1`"
    )
