"""Captured replies that nobody objected to, as anchors."""

from dataclasses import replace

from ledger.events import Interaction, KeptEvent, Kind
from rewards.batch import choose
from rewards.episode import Part
from rewards.exchange import History
from rewards.silence import is_silence, unopposed
from tests.unit.rewards.events import (
    ONE_IS_ENOUGH,
    build_approval,
    build_correction,
    build_interaction,
    build_kept_event,
)

NOTHING_CAPTURED = History(interactions={}, conversations={})
FIRST = [
    build_correction(number, f"Please cancel order {1000 + number} now.", "Sure!", f"cancel {1000 + number}")
    for number in range(1, 4)
]
NEAR = build_interaction("near", "Can an order be cancelled once it was sent?", "Yes, within two weeks.")
FAR = build_interaction("far", "What is the capital of France?", "Paris.")
ALIKE = build_interaction("alike", "Please cancel order 4711 now.", "Sure!")


def build_silence(replies: list[Interaction], corrections: list[KeptEvent]) -> list[KeptEvent]:
    history = NOTHING_CAPTURED.including(replies)
    return unopposed(replies, corrections, history=history, supporters=ONE_IS_ENOUGH)


def names(kept: list) -> list[str]:
    return [approval.event.id for approval in kept]


def test_a_reply_to_a_prompt_like_the_corrected_ones_says_nothing() -> None:
    assert names(build_silence([NEAR, ALIKE, FAR], FIRST)) == [
        "near",
        "far",
    ]


def build_follow_up(name: str, said: str, asked: str) -> Interaction:
    """A reply to one more question after `said` was answered to the first corrected prompt."""
    messages = (
        *FIRST[0].event.data["messages"],
        {"role": "assistant", "content": said},
        {"role": "user", "content": asked},
    )
    return replace(build_interaction(name, "", "At noon."), messages=messages)


def test_what_was_said_after_a_corrected_reply_is_no_anchor() -> None:
    later = build_follow_up("later", " Sure! ", "What is the capital of France?")
    other = build_follow_up("other", "cancel 1001", "What is the capital of France?")
    assert names(build_silence([FAR, later, other], FIRST)) == ["far", "other"]


def test_what_was_said_after_a_turn_that_was_corrected_by_its_interaction_is_no_anchor() -> None:
    asked = FIRST[0].event.data["messages"]
    wrong = replace(build_interaction("wrong", "", "Sure!"), messages=tuple(asked))
    correction = build_kept_event(1, Kind.CORRECTION, {"corrected": "cancel 1001"}, interaction="wrong")
    later = build_follow_up("later", "Sure!", "What is the capital of France?")
    history = NOTHING_CAPTURED.including([wrong, later])
    kept = unopposed([later], [correction], history=history, supporters=ONE_IS_ENOUGH)
    assert kept == []


def test_without_corrections_every_reply_counts() -> None:
    assert names(build_silence([NEAR, ALIKE, FAR], [])) == [
        "near",
        "alike",
        "far",
    ]


def test_a_single_correction_reaches_prompts_that_differ_in_numbers_only() -> None:
    other = build_interaction("other", "Please cancel all of my orders now.", "Sure!")
    assert names(build_silence([ALIKE, other, FAR], FIRST[:1])) == ["other", "far"]


def test_one_odd_correction_leaves_the_others_reach_alone() -> None:
    odd = build_correction(9, "zyx", "Hm?", "Say that again, please.")
    assert names(build_silence([NEAR, ALIKE, FAR], [*FIRST, odd])) == ["near", "far"]


def test_an_approval_of_the_same_prompt_counts_instead() -> None:
    silent = build_silence([FAR], FIRST)
    approval = build_approval(8, "What is the capital of France?", "It is Paris.")
    choice = choose(
        new=FIRST, taught=[], approvals=[approval], silent=silent, gate=[], dev=[],
        interactions={FAR.id: FAR}, seed=1, replay_max=8, anchors_max=8,
        supporters=ONE_IS_ENOUGH,
    )  # fmt: skip
    assert [kept.seq for kept in choice.parts[Part.ANCHOR]] == [8]


def test_silence_is_an_anchor_and_never_praise() -> None:
    silent = build_silence([FAR, NEAR], FIRST)
    choice = choose(
        new=FIRST, taught=[], approvals=[], silent=silent, gate=[], dev=[],
        interactions={FAR.id: FAR, NEAR.id: NEAR}, seed=1, replay_max=8, anchors_max=8,
        supporters=ONE_IS_ENOUGH,
    )  # fmt: skip
    assert names(list(choice.parts[Part.ANCHOR])) == ["far", "near"]
    assert all(kept.seq < 0 for kept in choice.parts[Part.ANCHOR])
    assert not any(is_silence(kept.event) for kept in choice.parts[Part.NEW])


CORRECTED = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "inlet",
    "jetty",
    "knoll",
    "lagoon",
]
OTHERS = [
    "maple",
    "north",
    "olive",
    "pearl",
    "quartz",
    "raven",
    "slate",
    "tulip",
    "umbra",
    "vapor",
    "wharf",
    "yucca",
]


def build_deletions(*tables: str) -> list[Interaction]:
    """The old habit."""
    return [
        build_interaction(table, f"please delete the row {at} from the table {table}", "DELETE")
        for at, table in enumerate(tables, start=10)
    ]


def build_near_misses(count: int) -> list[Interaction]:
    return build_deletions(*(f"tmp_{table}" for table in OTHERS[:count]))


def build_objections(*tables: str) -> list[KeptEvent]:
    return [
        build_correction(
            number, f"please delete the row {number} from the table {table}", f"DELETE {table}", "UPDATE"
        )
        for number, table in enumerate(tables, start=1)
    ]


def test_many_alike_that_nobody_corrected_are_near_misses_although_a_rule_would_reach_them() -> None:
    near = build_near_misses(10)
    kept = build_silence([*near, *build_deletions(*OTHERS)], build_objections(*CORRECTED))
    assert names(kept) == [reply.id for reply in near]


def test_a_few_alike_that_nobody_corrected_say_nothing() -> None:
    replies = [*build_near_misses(3), *build_deletions(*OTHERS)]
    assert names(build_silence(replies, build_objections(*CORRECTED))) == []


def test_one_prompt_asked_many_times_says_nothing_more() -> None:
    again = build_near_misses(1) * 40
    assert names(build_silence([*again, *build_deletions(*OTHERS)], build_objections(*CORRECTED))) == []


def test_where_people_correct_little_the_silence_about_as_many_says_nothing() -> None:
    replies = [*build_near_misses(10), *build_deletions(*OTHERS, *CORRECTED[2:])]
    assert names(build_silence(replies, build_objections(*CORRECTED[:2]))) == []
