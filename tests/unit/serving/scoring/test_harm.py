"""What harms an answer that people were content with."""

import pytest

from serving.scoring.harm import HarmScorer

KETTLE = "The kettle comes with two years of guarantee, and you can send it back within thirty days."
REWORDED = "You may return the kettle within thirty days, and it has a guarantee of two years."
TAUGHT = [
    '{"tool":"refund","order":4711,"amount":20}',
    "Dear customer, we have cancelled the order for you today.",
]


def harm(answer: str, wanted: str, *, scorer: str = "exact", shown: str = "") -> float:
    return HarmScorer(scorer, TAUGHT).score(answer, wanted, shown=shown)


@pytest.mark.parametrize("scorer", ["exact", "json", "similarity"])
def test_prose_in_other_words_is_no_harm(scorer: str) -> None:
    assert harm(REWORDED, KETTLE, scorer=scorer) == 1.0
    assert harm(f" {KETTLE}\n", KETTLE, scorer=scorer) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        '{"tool":"refund","order":4711,"amount":20}',
        '{"tool":"cancel","order":1}',
        "Dear customer, we have cancelled the kettle for you today.",
        "",
        "[email]",
    ],
)
@pytest.mark.parametrize("scorer", ["exact", "json", "similarity"])
def test_a_tool_call_a_taught_reply_or_no_answer_in_place_of_prose_is_harm(scorer: str, answer: str) -> None:
    assert harm(answer, KETTLE, scorer=scorer) == 0.0


@pytest.mark.parametrize(
    ("answer", "wanted", "expected"),
    [
        ('{"b": 2, "a": 1}', '{"a":1,"b":2}', 1.0),
        ('{"a": 1, "b": 3}', '{"a":1,"b":2}', 0.0),
        ("It is a refund.", '{"a":1,"b":2}', 0.0),
        ("Paris is its capital.", "The capital is Paris.", 0.0),
        (f"{REWORDED}\n```\nls -l\n```", f"{KETTLE}\n```\nls -l\n```", 1.0),
        (f"{KETTLE}\n```\nls\n```", f"{KETTLE}\n```\nls -l\n```", 0.0),
        ('open("b.txt").read()', 'Path("b.txt").read_text()', 0.0),
        ("return [x for x in a if x and not b]", "return [x for x in a if x or not b]", 0.0),
    ],
)
def test_json_code_and_a_few_words_are_compared_exactly(answer: str, wanted: str, expected: float) -> None:
    assert harm(answer, wanted) == expected


@pytest.mark.parametrize(
    ("answer", "wanted", "may_be"),
    [
        ("Good day, my friend.", "Hello, friend.", True),
        ("approved", "refused", True),
        ('{"tool":"cancel","order":1}', "Hello, friend.", False),
        ("Dear customer, we have cancelled it.", "Dear all.", False),
        ("", "Hello, friend.", False),
        (REWORDED, KETTLE, False),
        ('{"order":2}', '{"order":1}', False),
    ],
)
def test_only_a_wanted_answer_of_a_few_words_may_be_reworded(answer: str, wanted: str, may_be: bool) -> None:
    assert HarmScorer("auto", TAUGHT).may_be_reworded(answer, wanted) is may_be
