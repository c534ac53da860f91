"""A judge is asked in both orders, and only an answer that is preferred in both is better."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from serving.scoring.judge import PROMPT, ModelJudge
from serving.scoring.own import NoScore
from tests.unit.serving.scoring.scorer_builder import ScoringServer, build_scoring_server, chat_reply

MESSAGES = [{"role": "user", "content": "what does it cost?"}]


@pytest.fixture
def server() -> Iterator[ScoringServer]:
    with build_scoring_server() as running:
        yield running


@pytest.fixture
def judge(server: ScoringServer) -> Iterator[ModelJudge]:
    opened = ModelJudge(
        f"{server.url}/v1",
        model="m",
        headers={"authorization": "Bearer s3"},
        wait_s_max=5.0,
        requests_max=6,
        prompt=PROMPT.read_text(),
    )
    yield opened
    opened.close()


def material(body: Any) -> dict[str, Any]:
    """What the judge is to compare, of one request."""
    read: dict[str, Any] = json.loads(body["messages"][1]["content"])
    return read


def test_a_judge_is_asked_twice_with_the_answers_exchanged(server: ScoringServer, judge: ModelJudge) -> None:
    server.reply = lambda _path, body: (
        200,
        chat_reply("I compare.\n\n**A**" if material(body)["A"] == "good" else "b."),
    )
    scored = judge.score(MESSAGES, "fine", ["bad", "good"])
    assert (scored.values, scored.verdicts) == ((0.0, 1.0), ("second", "second"))
    first, second = server.requests
    assert (first[0], first[2]["authorization"]) == ("/v1/chat/completions", "Bearer s3")
    assert (first[1]["model"], first[1]["temperature"]) == ("m", 0.0)
    assert first[1]["messages"][0]["content"] == PROMPT.read_text()
    assert material(first[1]) == {"conversation": MESSAGES, "reference": "fine", "A": "bad", "B": "good"}
    assert (material(second[1])["A"], material(second[1])["B"]) == ("good", "bad")


@pytest.mark.parametrize("word", ["A", "B", "tie"])
def test_a_judge_that_prefers_a_position_or_neither_makes_a_tie(
    server: ScoringServer, judge: ModelJudge, word: str
) -> None:
    server.reply = lambda _path, _body: (200, chat_reply(word))
    assert judge.score(MESSAGES, "fine", ["one", "two"]).values == (0.5, 0.5)


def test_equal_answers_are_a_tie_that_costs_nothing(server: ScoringServer, judge: ModelJudge) -> None:
    assert judge.score(MESSAGES, "fine", ["same", "same"]).values == (0.5, 0.5)
    assert server.requests == []


@pytest.mark.parametrize(
    "reply",
    [chat_reply("C"), chat_reply("A or B"), chat_reply(""), chat_reply(None), {}, {"choices": []}, []],
)
def test_nonsense_is_no_score_after_a_second_try(
    server: ScoringServer, judge: ModelJudge, reply: Any
) -> None:
    server.reply = lambda _path, _body: (200, reply)
    with pytest.raises(NoScore, match="none of A, B and TIE"):
        judge.score(MESSAGES, "fine", ["one", "two"])
    assert len(server.requests) == 2


def test_a_judge_is_not_asked_more_often_than_allowed(server: ScoringServer, judge: ModelJudge) -> None:
    server.reply = lambda _path, _body: (200, chat_reply("TIE"))
    for _ in range(3):
        judge.score(MESSAGES, "fine", ["one", "two"])
    with pytest.raises(NoScore, match="all 6 requests"):
        judge.score(MESSAGES, "fine", ["one", "two"])
    assert len(server.requests) == 6
