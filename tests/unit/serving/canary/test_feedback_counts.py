"""Counting what people say: once a conversation, by the version that was drawn, nobody alone."""

from typing import Any

from ledger.events import Signal
from ledger.versions.canary import CanaryStep
from ledger.versions.live_feedback import LiveFeedback
from ledger.versions.routing import is_in_share
from serving.canary.feedback_counts import FeedbackCounts
from serving.canary.sequential_test import StepCounts

V6, V7 = "v6-aaaaaa", "v7-bbbbbb"


def build_step(
    place: int = 0, *, share: float = 0.25, began_s: float = 100.0, ended_s: Any = None
) -> CanaryStep:
    return CanaryStep(
        agent="billing", number=7, place=place, share=share, through_seq=0, began_s=began_s, ended_s=ended_s
    )


def build_counts(*steps: CanaryStep) -> FeedbackCounts:
    return FeedbackCounts(canary=V7, champion=V6, steps=steps or (build_step(),))


def names(*, of_canary: bool, count: int, share: float = 0.25) -> list[str]:
    """Conversations that are, or are not, the canary's."""
    found = (name for n in range(10_000) if is_in_share(name := f"c{n}", V7, share) == of_canary)
    return [name for name, _ in zip(found, range(count), strict=False)]


def build_feedback(conversation: str | None, **changed: Any) -> LiveFeedback:
    fields: dict[str, Any] = {
        "seq": 1,
        "signal": Signal.CORRECTION,
        "author": f"author of {conversation}",
        "received_s": 150.0,
        "conversation": conversation,
        "version": None,
        "answered_s": None,
    }
    return LiveFeedback(**{**fields, **changed})


def corrections(counts: FeedbackCounts) -> tuple[int, int]:
    """Of the canary, of the champion."""
    steps = counts.step_counts(Signal.CORRECTION)
    return sum(step.canary for step in steps), sum(step.champion for step in steps)


def test_conversations_are_the_canarys_by_the_hash_that_gateways_use() -> None:
    counts = build_counts()
    for name in (*names(of_canary=True, count=2), *names(of_canary=False, count=5)):
        counts.add(build_feedback(name))
    assert counts.step_counts(Signal.CORRECTION) == (StepCounts(share=0.25, canary=2, champion=5),)
    assert counts.step_counts(Signal.OUTCOME) == (StepCounts(share=0.25, canary=0, champion=0),)


def test_a_conversation_counts_once_for_each_signal() -> None:
    counts = build_counts()
    [name] = names(of_canary=True, count=1)
    for signal in (Signal.CORRECTION, Signal.CORRECTION, Signal.INTERVENTION):
        counts.add(build_feedback(name, signal=signal))
    assert corrections(counts) == (1, 0)
    assert counts.step_counts(Signal.INTERVENTION)[0].canary == 1


def test_one_author_alone_counts_three_times() -> None:
    counts = build_counts()
    for name in names(of_canary=True, count=20):
        counts.add(build_feedback(name, author="ann"))
    assert corrections(counts) == (3, 0)


def test_an_author_counts_for_at_most_one_more_than_all_others_against_the_canary() -> None:
    counts = build_counts()
    for name in names(of_canary=False, count=40):
        counts.add(build_feedback(name))
    for name in names(of_canary=True, count=40)[:5]:
        counts.add(build_feedback(name))
    for name in names(of_canary=True, count=40)[5:]:
        counts.add(build_feedback(name, author="ann"))
    assert corrections(counts) == (5 + 6, 40)


def test_two_authors_who_take_turns_are_counted_in_full() -> None:
    counts = build_counts()
    for place, name in enumerate(names(of_canary=True, count=20)):
        counts.add(build_feedback(name, author=("ann", "bob")[place % 2]))
    assert corrections(counts) == (20, 0)


def test_an_answer_older_than_the_canary_does_not_count() -> None:
    counts = build_counts()
    for name in (*names(of_canary=True, count=1), *names(of_canary=False, count=1)):
        counts.add(build_feedback(name, version=V6, answered_s=99.0))
    assert corrections(counts) == (0, 0)


def test_an_answer_that_the_champion_gave_in_its_place_does_not_count_against_the_canary() -> None:
    counts = build_counts()
    [name] = names(of_canary=True, count=1)
    counts.add(build_feedback(name, version=V6, answered_s=120.0))
    assert corrections(counts) == (0, 0)


def test_steps_are_counted_apart_and_what_came_between_them_or_later_is_not() -> None:
    counts = build_counts(
        build_step(0, share=0.05, began_s=100.0, ended_s=200.0),
        build_step(1, share=0.25, began_s=200.0, ended_s=300.0),
        build_step(2, share=1.0, began_s=300.0),
    )
    for name, received_s in zip(names(of_canary=False, count=4), (50.0, 150.0, 250.0, 350.0), strict=True):
        counts.add(build_feedback(name, received_s=received_s))
    assert counts.step_counts(Signal.CORRECTION) == (
        StepCounts(share=0.05, canary=0, champion=1),
        StepCounts(share=0.25, canary=0, champion=1),
    )


def test_feedback_about_no_known_conversation_is_counted_as_such() -> None:
    counts = build_counts()
    counts.add(build_feedback(None, seq=9))
    assert (counts.unattributed, counts.through_seq, corrections(counts)) == (1, 9, (0, 0))
