"""How the answers of two models are measured for the gate."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from ledger.versions.evidence import Pair
from serving.fleet.answers import (
    AnsweredQuestion,
    Asking,
    AskingOptions,
    JudgedModels,
    is_repetitive,
    measure_answers,
    with_second_scores,
)
from serving.fleet.gate import AnswerStatistics
from serving.fleet.questions import Question
from serving.fleet.replica import Completion, Replica
from serving.replaying.replay import COMPLETE, REFUSED
from tests.fakes.vllm import FakeVLLM


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


def _echo(path: str, messages: Sequence[Mapping[str, Any]]) -> str:
    return f"{path} heard {messages[-1]['content']}"


@pytest.fixture
def fake() -> Iterator[FakeVLLM]:
    server = FakeVLLM(reply_function=_echo)
    yield server
    server.kill()


def test_both_models_go_on_with_the_conversation_that_was_recorded(fake: FakeVLLM) -> None:
    replica = Replica(fake.url)
    fake.adapters["new"] = "new"
    options = AskingOptions(tokens_max=32, in_flight_max=1)
    models = JudgedModels(before="base", after="new")
    asking = Asking(replica=replica, models=models, options=options, stopping=threading.Event())
    question = Question(event="dev#1", messages=({"role": "user", "content": "a"},), wanted="x")
    first = Completion(text="first", finish_reason="stop")
    answered = AnsweredQuestion(question=question, before=first, after=first)
    said, more = {"role": "assistant", "content": "then"}, {"role": "user", "content": "more"}
    checked: list[None] = []
    before, after = asking.replays(answered, (said, more, said), lambda: checked.append(None))
    assert [message["content"] for message in before.messages] == ["first", "more", "base heard more"]
    assert [message["content"] for message in after.messages] == ["first", "more", "new heard more"]
    assert (before.ended, after.ended, len(checked)) == (COMPLETE, COMPLETE, 2)
    long = {"role": "user", "content": "x" * 2000}
    assert {each.ended for each in asking.replays(answered, (said, long, said), lambda: None)} == {REFUSED}
    replica.close()
