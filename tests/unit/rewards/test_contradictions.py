"""Corrections of one prompt that disagree."""

from dataclasses import replace

from rewards.contradictions import Contradictions, contradictions
from rewards.exchange import History
from rewards.supporters import Supporters, find_supporters
from tests.unit.rewards.events import ONE_IS_ENOUGH, KeptEvent, build_correction

NOTHING = Contradictions(superseded={}, contested={})


def contradictions_of(
    *events: KeptEvent, window_s: float = 100.0, supporters: Supporters = ONE_IS_ENOUGH
) -> Contradictions:
    return contradictions(events, interactions={}, window_s=window_s, supporters=supporters)


def contested_by_two(*events: KeptEvent) -> set[int]:
    """What is contested where two people have to correct alike."""
    history = History(interactions={}, conversations={})
    return set(
        contradictions_of(
            *events, supporters=find_supporters(events, history=history, authors_min=2)
        ).contested
    )


def build_correction_by(
    author: str, seq: int, corrected: str, *, prompt: str = "stop order 5", at_s: float | None = None
) -> KeptEvent:
    kept = build_correction(seq, prompt, "cancel", corrected, author=author)
    return kept if at_s is None else replace(kept, received_s=at_s)


def test_a_newer_correction_by_the_same_author_replaces_the_older_one() -> None:
    assert contradictions_of(
        build_correction_by("ann", 1, "a"), build_correction_by("ann", 2, "b")
    ) == Contradictions(superseded={1: 2}, contested={})


def test_two_people_who_disagree_within_the_window_are_both_contested() -> None:
    verdict = contradictions_of(build_correction_by("ann", 1, "a"), build_correction_by("bob", 2, "b"))
    assert verdict == Contradictions(superseded={}, contested={1: 2, 2: 1})


def test_the_side_with_fewer_people_is_contested_whoever_came_last() -> None:
    for few in (1, 2, 3):
        events = [build_correction_by("abc"[seq - 1], seq, "a" if seq == few else "b") for seq in (1, 2, 3)]
        assert set(contradictions_of(*events).contested) == {few}


def test_whoever_contradicts_many_people_contests_nobody_elses_prompts() -> None:
    honest = [build_correction_by("abcd"[seq % 4], seq, "a", prompt=f"stop {seq}") for seq in range(1, 21)]
    contrary = [build_correction_by("mallory", 20 + seq, "b", prompt=f"stop {seq}") for seq in range(1, 21)]
    assert set(contradictions_of(*honest, *contrary).contested) == set(range(21, 41))


def test_one_persons_other_text_is_contested_and_stalls_nobody() -> None:
    honest = [
        build_correction_by("ab"[seq % 2], seq, "stop it", prompt=f"stop order {seq}") for seq in range(1, 9)
    ]
    contrary = [
        build_correction_by("mallory", 10 + seq, "pay 99", prompt=f"stop order {seq}") for seq in range(1, 9)
    ]
    assert contested_by_two(*honest, *contrary) == set(range(11, 19))
    assert contested_by_two(*contrary[:1]) == set()


def test_a_lone_persons_newer_word_does_not_replace_what_two_people_said_long_ago() -> None:
    old = [build_correction_by(author, seq, "a", at_s=0.0) for seq, author in ((1, "ann"), (2, "bob"))]
    new = build_correction_by("mallory", 3, "b", at_s=1000.0)
    history = History(interactions={}, conversations={})
    verdict = contradictions_of(
        *old, new, supporters=find_supporters([*old, new], history=history, authors_min=2)
    )
    assert verdict == Contradictions(superseded={}, contested={3: 2})


def test_after_the_window_the_newer_correction_counts() -> None:
    verdict = contradictions_of(
        build_correction_by("ann", 1, "a", at_s=0.0), build_correction_by("bob", 2, "b", at_s=200.0)
    )
    assert verdict == Contradictions(superseded={1: 2}, contested={})


def test_an_author_who_agrees_later_is_not_contested() -> None:
    verdict = contradictions_of(
        build_correction_by("ann", 1, "a"),
        build_correction_by("bob", 2, "b"),
        build_correction_by("ann", 3, "b"),
    )
    assert verdict == Contradictions(superseded={1: 3}, contested={})


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
