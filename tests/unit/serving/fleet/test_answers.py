"""How the answers of two models are measured for the gate."""

import pytest

from ledger.versions.evidence import Pair
from serving.fleet.answers import is_repetitive, measure_answers, with_second_scores
from serving.fleet.gate import AnswerStatistics
from serving.fleet.questions import Question
from serving.fleet.replica import Completion


@pytest.mark.parametrize(
    ("text", "repetitive"),
    [
        ("word " * 6, True),
        ("word " * 5, False),
        ("a sentence that says something else, and then: " + "no " * 6, False),
        ("=" * 40, False),
        ("", False),
    ],
)
def test_a_text_is_repetitive_if_half_of_it_is_one_sequence_six_times(text: str, repetitive: bool) -> None:
    assert is_repetitive(text) is repetitive


def test_lengths_and_faults_of_answers_are_counted() -> None:
    def answered(wanted: str, text: str, finish_reason: str = "stop") -> tuple[Question, Completion]:
        question = Question(event="dev#1", messages=({"role": "user", "content": "hello"},), wanted=wanted)
        return question, Completion(text=text, finish_reason=finish_reason)

    answers = [
        answered('{"a": 1}', '{"a": 1'),
        answered("plain", "not JSON either"),
        answered("no " * 9, "no " * 9),
        answered("yes", "no " * 9, finish_reason="length"),
    ]
    assert measure_answers(answers) == AnswerStatistics(
        answers=4,
        characters=7 + 15 + 27 + 27,
        characters_wanted=8 + 5 + 27 + 3,
        repetitive=1,
        cut_short=1,
        unparsable=1,
    )


def test_an_answer_is_not_cut_short_where_more_was_wanted_than_may_be_said() -> None:
    question = Question(event="dev#1", messages=(), wanted="word " * 8000)
    statistics = measure_answers([(question, Completion(text="word " * 256, finish_reason="length"))])
    assert (statistics.cut_short, statistics.characters_wanted) == (0, statistics.characters)


def test_second_scores_are_added_to_the_first() -> None:
    first = [Pair(event=uid, before=1.0, after=0.0) for uid in ("dev#1", "dev#2")]
    second = [Pair(event="dev#2", before=1.0, after=1.0)]
    assert with_second_scores(first, second) == (
        first[0],
        Pair(event="dev#2", before=1.0, after=0.0, again=(1.0, 1.0)),
    )
