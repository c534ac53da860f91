"""How near two texts are by the sequences that they share."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from serving.scoring.nearness import nearest, nearness, sequences_of

KETTLE = "The kettle comes with two years of guarantee."


def near(answer: str, wanted: str) -> float:
    return nearness(sequences_of(answer), sequences_of(wanted))


@given(answer=some.text(max_size=60), wanted=some.text(max_size=60))
def test_nearness_is_between_0_and_1_and_the_same_both_ways(answer: str, wanted: str) -> None:
    assert 0.0 <= near(answer, wanted) <= 1.0
    assert near(answer, wanted) == pytest.approx(near(wanted, answer))


def test_the_same_words_are_nearest_and_other_words_are_further_away() -> None:
    assert near(KETTLE, f"  {KETTLE}\n") == pytest.approx(1.0)
    reworded = near("The kettle has a guarantee of two years.", KETTLE)
    assert near("", KETTLE) == 0.0 < near("It is raining.", KETTLE) < reworded < 1.0


def test_an_answer_that_says_too_much_is_further_away() -> None:
    assert near(f"{KETTLE} It is blue, it is heavy, and many people like it.", KETTLE) < 0.8


def test_numbers_count() -> None:
    assert near("order 4711 is on its way", "order 4712 is on its way") < 1.0


def test_the_nearest_of_no_texts_is_not_near() -> None:
    assert nearest(sequences_of(KETTLE), []) == 0.0
