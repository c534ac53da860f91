"""Which outcomes count for a canary: each conversation once, by the version that answered, nobody alone."""

from typing import Any

from ledger.versions.canary import CanaryStep
from ledger.versions.live_outcomes import LiveOutcome
from serving.canary.outcome_counts import CountedOutcomes, count_outcomes
from tests.unit.serving.canary.test_feedback_counts import V6, V7, build_step, names


def build_outcome(conversation: str | None, **changed: Any) -> LiveOutcome:
    fields: dict[str, Any] = {
        "seq": 1,
        "value": 1.0,
        "author": f"author of {conversation}",
        "is_trusted": False,
        "received_s": 150.0,
        "conversation": conversation,
        "version": None,
        "answered_s": None,
    }
    return LiveOutcome(**{**fields, **changed})


def counted(
    *arrived: LiveOutcome, steps: tuple[CanaryStep, ...] = (), authors_min: int = 2
) -> CountedOutcomes:
    return count_outcomes(
        arrived, canary=V7, champion=V6, steps=steps or (build_step(),), authors_min=authors_min
    )


def versions(result: CountedOutcomes) -> tuple[int, int]:
    """Of the canary, of the champion."""
    of_canary = sum(outcome.of_canary for outcome in result.outcomes)
    return of_canary, len(result.outcomes) - of_canary


def test_conversations_are_the_canarys_by_the_hash_that_gateways_use() -> None:
    conversations = [*names(of_canary=True, count=2), *names(of_canary=False, count=5)]
    assert versions(counted(*map(build_outcome, conversations))) == (2, 5)


def test_a_conversation_counts_once_by_its_first_outcome() -> None:
    result = counted(build_outcome("c1", value=-1.0), build_outcome("c1", value=1.0, author="another"))
    assert [outcome.value for outcome in result.outcomes] == [-1.0]


def test_answers_of_another_version_than_was_drawn_do_not_count() -> None:
    [mine], [others] = names(of_canary=True, count=1), names(of_canary=False, count=1)
    assert versions(counted(build_outcome(mine, version=V6))) == (0, 0)
    assert versions(counted(build_outcome(others, version=V7))) == (0, 0)
    assert versions(counted(build_outcome(mine, version=V7), build_outcome(others, version=V6))) == (1, 1)


def test_outcomes_outside_the_canarys_time_and_of_older_answers_do_not_count() -> None:
    ended = build_step(ended_s=200.0)
    assert counted(build_outcome("c1", received_s=250.0), steps=(ended,)).outcomes == ()
    assert counted(build_outcome("c1", answered_s=99.0)).outcomes == ()


def test_an_outcome_that_names_no_conversation_is_counted_apart() -> None:
    result = counted(build_outcome(None), build_outcome(None))
    assert (result.outcomes, result.unattributed) == ((), 2)


def test_one_author_counts_for_three_conversations_and_for_half_of_all() -> None:
    alone = [build_outcome(f"c{n}", author="ann") for n in range(10)]
    assert (len(counted(*alone).outcomes), counted(*alone).of_one_author) == (3, 7)
    others = [build_outcome(f"d{n}") for n in range(6)]
    assert len(counted(*others, *alone).outcomes) == 6 + 7


def test_an_author_whose_word_needs_nobody_elses_counts_for_all() -> None:
    trusted = [build_outcome(f"c{n}", author="verifier", is_trusted=True) for n in range(10)]
    assert len(counted(*trusted).outcomes) == 10
    assert {outcome.author for outcome in counted(*trusted).outcomes} == {None}


def test_where_one_person_may_decide_alone_all_outcomes_count() -> None:
    alone = [build_outcome(f"c{n}", author="ann") for n in range(10)]
    assert len(counted(*alone, authors_min=1).outcomes) == 10
