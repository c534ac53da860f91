"""How alike prompts look."""

import time

from hypothesis import given
from hypothesis import strategies as st

from rewards.likeness import likeness, most_alike, text_features, words


def alike(one: str, other: str) -> float:
    return likeness(text_features(one), text_features(other))


def test_numbers_and_case_do_not_matter() -> None:
    assert alike("Stop order 5", "stop order 1042") == 1.0


def test_the_same_intent_in_the_same_words_is_more_alike_than_another_intent() -> None:
    refund = "refund 35 for order 1042, vip customer"
    assert alike(refund, "refund 20 for order 7, new customer") > 0.6
    assert alike(refund, "cancel order 7") < 0.4


def test_names_with_underscores_are_several_words() -> None:
    assert words("drop TMP_users 120") == ["drop", "tmp", "users", "###"]


def test_every_target_takes_its_own_nearest() -> None:
    candidates = [
        text_features(text) for text in ("stop order 1", "stop order 2", "count users", "read a file")
    ]
    targets = [text_features("stop order 9"), text_features("count things")]
    assert most_alike(candidates, targets, 2) == [0, 2]


def test_without_targets_nothing_is_similar() -> None:
    assert most_alike([text_features("a")], [], 3) == []


def test_a_thousand_long_prompts_are_compared_in_seconds() -> None:
    started_s = time.process_time()
    candidates = [
        text_features(f"{number} " + "lorem ipsum dolor " * 500 + str(number)) for number in range(1000)
    ]
    most_alike(candidates, candidates[:64], 80)
    assert time.process_time() - started_s < 10.0


@given(st.text(max_size=50), st.text(max_size=50))
def test_likeness_is_symmetric_and_between_nothing_and_one(one: str, other: str) -> None:
    assert 0.0 <= alike(one, other) <= 1.0
    assert alike(one, other) == alike(other, one)


@given(
    st.lists(st.text(max_size=12), max_size=12),
    st.lists(st.text(max_size=12), max_size=5),
    st.integers(0, 15),
)
def test_as_many_different_places_come_back_as_there_are(
    some: list[str], targets: list[str], count: int
) -> None:
    found = most_alike(
        [text_features(text) for text in some], [text_features(text) for text in targets], count
    )
    assert len(found) == len(set(found)) == (min(count, len(some)) if targets else 0)
