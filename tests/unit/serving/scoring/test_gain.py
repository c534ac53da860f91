"""Prose counts as a gain where it is nearer to what its own prompt wants."""

import pytest

from serving.scoring.gain import GainScorer

WANTED = [
    "Dear customer, your order has left our house today and arrives by Friday. Kind regards, Lindenhof",
    "Dear customer, we have paid the money back to your account this morning. Kind regards, Lindenhof",
    "Dear customer, the oak table can be ordered in three sizes and two colours. Kind regards, Lindenhof",
]
SHORT = "It was sent today and you will have it by Friday."


def test_an_answer_in_the_wanted_words_gains() -> None:
    scorer = GainScorer("auto", WANTED)
    better = scorer.score("Dear customer, your order left us today. Kind regards, Lindenhof", WANTED[0])
    assert 0.0 < scorer.score(SHORT, WANTED[0]) < better < 1.0
    assert scorer.score(WANTED[0], WANTED[0]) == 1.0


def test_the_wanted_answer_of_another_prompt_is_worth_nothing_though_its_style_is_right() -> None:
    scorer = GainScorer("auto", WANTED)
    assert scorer.score(WANTED[1], WANTED[0]) == 0.0
    assert scorer.score(f"{WANTED[2]} Bye!", WANTED[0]) == 0.0
    assert GainScorer("auto", WANTED[:1]).score(WANTED[1], WANTED[0]) > 0.4, "by its style alone"


@pytest.mark.parametrize(
    ("scorer", "wanted", "name"),
    [
        ("auto", WANTED[0], "prose"),
        ("json", WANTED[0], "prose"),
        ("similarity", WANTED[0], "similarity"),
        ("exact", WANTED[0], "exact"),
        ("exact", '{"tool": "refund"}', "json"),
        ("auto", "f(x)", "python"),
        ("auto", "yes", "exact"),
    ],
)
def test_the_evidence_names_the_comparison(scorer: str, wanted: str, name: str) -> None:
    assert GainScorer(scorer, WANTED).comparison(wanted) == name
