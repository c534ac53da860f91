"""Corrections of one prompt that disagree."""

from dataclasses import replace

from rewards.contradictions import Contradictions, contradictions
from tests.unit.rewards.events import KeptEvent, build_correction

NOTHING = Contradictions(superseded={}, contested=frozenset())


def contradictions_of(*events: KeptEvent, window_s: float = 100.0) -> Contradictions:
    return contradictions(events, interactions={}, window_s=window_s)


def build_correction_by(
    author: str, seq: int, corrected: str, *, prompt: str = "stop order 5", at_s: float | None = None
) -> KeptEvent:
    kept = build_correction(seq, prompt, "cancel", corrected, author=author)
    return kept if at_s is None else replace(kept, received_s=at_s)


def test_a_newer_correction_by_the_same_author_replaces_the_older_one() -> None:
    assert contradictions_of(
        build_correction_by("ann", 1, "a"), build_correction_by("ann", 2, "b")
    ) == Contradictions(superseded={1: 2}, contested=frozenset())


def test_people_who_disagree_within_the_window_are_both_contested() -> None:
    verdict = contradictions_of(
        build_correction_by("ann", 1, "a"),
        build_correction_by("bob", 2, "b"),
        build_correction_by("cy", 3, "b"),
    )
    assert verdict == Contradictions(superseded={}, contested=frozenset({1, 2, 3}))


def test_after_the_window_the_newer_correction_counts() -> None:
    verdict = contradictions_of(
        build_correction_by("ann", 1, "a", at_s=0.0), build_correction_by("bob", 2, "b", at_s=200.0)
    )
    assert verdict == Contradictions(superseded={1: 2}, contested=frozenset())


def test_an_author_who_agrees_later_is_not_contested() -> None:
    verdict = contradictions_of(
        build_correction_by("ann", 1, "a"),
        build_correction_by("bob", 2, "b"),
        build_correction_by("ann", 3, "b"),
    )
    assert verdict == Contradictions(superseded={1: 3}, contested=frozenset())


def test_agreement_is_no_contradiction() -> None:
    assert (
        contradictions_of(build_correction_by("ann", 1, "a  b"), build_correction_by("bob", 2, "a b"))
        == NOTHING
    )


def test_prompts_that_differ_in_case_and_white_space_are_the_same() -> None:
    assert contradictions_of(
        build_correction_by("ann", 1, "a"), build_correction_by("ann", 2, "b", prompt="Stop  order 5")
    ).superseded == {1: 2}
    assert (
        contradictions_of(
            build_correction_by("ann", 1, "a"), build_correction_by("ann", 2, "b", prompt="stop order 6")
        )
        == NOTHING
    )


def test_the_same_prompt_in_compatible_characters_is_the_same() -> None:
    full_width = build_correction_by("ann", 2, "b", prompt="ｓｔｏｐ\u00a0order 5")
    assert contradictions_of(build_correction_by("ann", 1, "a"), full_width).superseded == {1: 2}


def test_two_turns_of_one_conversation_are_not_the_same_prompt() -> None:
    first, second = build_correction_by("ann", 1, "a"), build_correction_by("ann", 2, "b")
    longer = [*second.event.data["messages"], {"role": "assistant", "content": "ok"}]
    data = {**second.event.data, "messages": longer}
    second = replace(second, event=replace(second.event, data=data, prompt_group=first.event.prompt_group))
    assert contradictions_of(first, second) == NOTHING
