"""How similar prompts are."""

import time

from hypothesis import given
from hypothesis import strategies as st

from rewards.similarity import most_similar, most_similar_in_other_words, similarity, text_features, words


def similarity_of(text: str, other_text: str) -> float:
    return similarity(text_features(text), text_features(other_text))


def test_numbers_and_case_do_not_matter() -> None:
    assert similarity_of("Stop order 5", "stop order 1042") == 1.0


def test_prompts_of_one_intent_are_more_similar_than_prompts_of_two() -> None:
    refund = "refund 35 for order 1042, vip customer"
    assert similarity_of(refund, "refund 20 for order 7, new customer") > 0.6
    assert similarity_of(refund, "cancel order 7") < 0.4


def test_names_with_underscores_are_several_words() -> None:
    assert words("drop TMP_users 120") == ["drop", "tmp", "users", "###"]


def test_each_target_takes_its_most_similar_candidate() -> None:
    candidates = [
        text_features(text) for text in ("stop order 1", "stop order 2", "count users", "read a file")
    ]
    targets = [text_features("stop order 9"), text_features("count things")]
    assert most_similar(candidates, targets, 2) == [0, 2]


def test_without_targets_nothing_is_similar() -> None:
    assert most_similar([text_features("a")], [], 3) == []


def test_of_prompts_in_the_same_words_one_is_taken_before_those_in_other_words() -> None:
    cities = ("Lyon", "Porto")
    many = [f"thank you, order {number} arrived in {city}" for number in range(9) for city in cities]
    texts = [*many, "where is the number of my order?", "may an order be stopped once it is sent?"]
    candidates = [text_features(text) for text in texts]
    targets = [text_features(f"thank you, send order 12 to {city}") for city in cities]
    assert {18, 19} <= set(most_similar_in_other_words(candidates, targets, 4))
    assert not {18, 19} & set(most_similar(candidates, targets, 4))


def test_where_there_are_no_other_words_the_most_similar_are_taken() -> None:
    candidates = [text_features(f"stop order {number}") for number in range(5)]
    assert most_similar_in_other_words(candidates, candidates[:1], 3) == [0, 1, 2]
    assert most_similar_in_other_words([], candidates, 3) == []


def test_a_thousand_long_prompts_are_compared_in_seconds() -> None:
    started_s = time.process_time()
    candidates = [
        text_features(f"{number} " + "lorem ipsum dolor " * 500 + str(number)) for number in range(1000)
    ]
    most_similar_in_other_words(candidates, candidates[:64], 80)
    assert time.process_time() - started_s < 10.0


@given(st.text(max_size=50), st.text(max_size=50))
def test_similarity_is_symmetric_and_between_0_and_1(text: str, other_text: str) -> None:
    assert 0.0 <= similarity_of(text, other_text) <= 1.0
    assert similarity_of(text, other_text) == similarity_of(other_text, text)


@given(
    st.lists(st.text(max_size=12), max_size=12),
    st.lists(st.text(max_size=12), max_size=5),
    st.integers(0, 15),
)
def test_the_result_has_as_many_different_places_as_asked_or_as_there_are(
    candidates: list[str], targets: list[str], count: int
) -> None:
    places = most_similar(
        [text_features(text) for text in candidates], [text_features(text) for text in targets], count
    )
    assert len(places) == len(set(places)) == (min(count, len(candidates)) if targets else 0)
