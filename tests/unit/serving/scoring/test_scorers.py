"""Scorers: total, in [0, 1], 1 for the wanted answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from serving.scoring.scorers import SCORERS, UnknownScorer, score


@pytest.mark.parametrize(
    ("scorer", "answer", "wanted", "expected"),
    [
        ("exact", "fix: login", "fix: login", 1.0),
        ("exact", "  fix: login\n", "fix: login", 1.0),
        ("exact", "Fix: login", "fix: login", 0.0),
        ("exact", "", "fix: login", 0.0),
        ("json", '{"a": 1, "b": [2]}', '{"b":[2],"a":1.0}', 1.0),
        ("json", '{"a": true}', '{"a": 1}', 0.0),
        ("json", '{"a": [true]}', '{"a": [1]}', 0.0),
        ("json", '{"a": 1', '{"a": 1}', 0.0),
        ("json", '{"a": NaN}', '{"a": NaN }', 0.0),
        ("json", '{"a": "1"}', '{"a": 1}', 0.0),
        ("json", "no json", "no json", 1.0),
        ("json", "[" * 100_000, "[]", 0.0),
        ("similarity", "abcd", "abcd", 1.0),
        ("similarity", "abcd", "abce", 0.75),
        ("similarity", "abcd", "wxyz", 0.0),
        ("auto", "Fix: login", "fix: login", 0.0),
        ("auto", "42.0", "42", 0.0),
        ("auto", '{"b": [2], "a": 1}', '{"a":1,"b":[2]}', 1.0),
        ("auto", '{"card": 4111111111111111, "n": 1}', '{"n": 1, "card": [card]}', 1.0),
        ("auto", "total = sum( rows )  # of all", "total = sum(rows)", 1.0),
        ("auto", "total = sum(row)", "total = sum(rows)", 0.0),
        ("exact", "total = sum( rows )", "total = sum(rows)", 0.0),
        ("auto", "Use:\n```python\nf( x )\n```\n", "Use:\n```python\nf(x)\n```", 1.0),
        ("auto", "Use:\n```python\nf(y)\n```\n", "Use:\n```python\nf(x)\n```", 0.0),
        ("auto", "Use:\n```\nf( x )\n```\n", "Use:\n```\nf(x)\n```", 0.0),
        ("auto", '```json\n{"b":2,"a":1}\n```', '```json\n{"a": 1, "b": 2}\n```', 1.0),
        ("auto", "```sh\nls\n```\n```sh\nrm x\n```", "```sh\nls\n```", 0.0),
        ("exact", "Write to help@shop.example.", "Write to [email].", 1.0),
        ("exact", "Write to [email].", "Write to [email].", 0.0),
        ("exact", "Write to the desk.", "Write to [email].", 0.0),
        ("json", '{"to": "help@shop.example", "n": 1}', '{"n":1,"to":"[email]"}', 1.0),
        ("json", '{"to": "[email]", "n": 1}', '{"n":1,"to":"[email]"}', 0.0),
        ("json", '{"card": 4111111111111111, "n": 1}', '{"n": 1, "card": [card]}', 1.0),
        ("similarity", "Write to help@shop.example.", "Write to [email].", 1.0),
        ("similarity", "Write to [email].", "Write to [email].", 0.0),
    ],
)
def test_answers_get_the_scores_of_the_table(scorer, answer, wanted, expected):
    assert score(scorer, answer, wanted) == pytest.approx(expected)


@given(
    scorer=some.sampled_from(sorted(SCORERS)), answer=some.text(max_size=60), wanted=some.text(max_size=60)
)
def test_every_score_is_between_0_and_1_and_the_wanted_answer_has_1(scorer, answer, wanted):
    assert 0.0 <= score(scorer, answer, wanted) <= 1.0
    assert score(scorer, wanted, wanted) == 1.0


def test_a_placeholder_that_the_prompt_holds_may_be_said() -> None:
    assert score("exact", "Sent to [email].", "Sent to [email].", shown="write to [email]") == 1.0
    assert score("exact", "Call [phone].", "Call [phone].", shown="write to [email]") == 0.0


@pytest.mark.parametrize("name", ["guess", "", "JSON"])
def test_an_unknown_scorer_is_an_error_that_names_those_there_are(name: str) -> None:
    with pytest.raises(UnknownScorer, match="there are auto, exact, json, similarity"):
        score(name, "yes", "yes")
