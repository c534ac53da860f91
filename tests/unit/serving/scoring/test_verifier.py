"""Verifiers behind HTTP: what they are sent, and the fate of what they answer."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from serving.scoring.own import NoScore
from serving.scoring.remote import TRIES_MAX
from serving.scoring.verifier import ConversationVerifier, HttpVerifier
from tests.unit.serving.scoring.scorer_builder import ScoringServer, build_scoring_server

MESSAGES = [{"role": "user", "content": "what does it cost?"}]


@pytest.fixture
def server() -> Iterator[ScoringServer]:
    with build_scoring_server() as running:
        yield running


def scores(server: ScoringServer, *, wait_s_max: float = 5.0, **headers: str) -> tuple[float, ...]:
    with closing(HttpVerifier(f"{server.url}/score", headers=headers, wait_s_max=wait_s_max)) as verifier:
        return verifier.score(MESSAGES, "20 euros", ["20 euros", "30 euros"]).values


def test_a_verifier_gets_everything_and_returns_numbers(server: ScoringServer) -> None:
    server.reply = lambda _path, body: (
        200,
        {"scores": [float(a == body["wanted"]) for a in body["answers"]]},
    )
    assert scores(server, **{"x-secret": "s3"}) == (1.0, 0.0)
    [(path, body, headers)] = server.requests
    assert (path, headers["x-secret"]) == ("/score", "s3")
    assert body == {"messages": MESSAGES, "wanted": "20 euros", "answers": ["20 euros", "30 euros"]}


@pytest.mark.parametrize(
    ("status", "answer", "why", "tries"),
    [
        (500, {}, "status 500", TRIES_MAX),
        (429, {}, "status 429", TRIES_MAX),
        (401, {"scores": [1, 1]}, "status 401", 1),
        (302, {}, "status 302", 1),
        (200, b"<html>", "something else than JSON", 1),
        (200, b"[" * 100_000, "something else than JSON", 1),
        (200, b" " * 2_000_000, "more than", 1),
        (200, [1.0, 0.0], "no JSON object", 1),
        (200, {"scores": [1.0]}, "no list of 2", 1),
        (200, b'{"scores": [1.0, NaN]}', "outside 0 to 1", 1),
        (200, {"scores": [1.0, 2.0]}, "outside 0 to 1", 1),
    ],
)
def test_any_other_answer_is_no_score(
    server: ScoringServer, status: int, answer: Any, why: str, tries: int
) -> None:
    server.reply = lambda _path, _body: (status, answer)
    with pytest.raises(NoScore, match=why):
        scores(server)
    assert len(server.requests) == tries


def test_a_verifier_that_fails_once_is_asked_again(server: ScoringServer) -> None:
    server.reply = lambda _path, _body: (503, {}) if len(server.requests) == 1 else (200, {"scores": [1, 0]})
    assert scores(server) == (1.0, 0.0)


def test_a_silent_verifier_gives_no_score(server: ScoringServer) -> None:
    server.reply = lambda _path, _body: (200, None)
    with pytest.raises(NoScore, match=r"silent for 0\.3 s"):
        scores(server, wait_s_max=0.3)


def test_a_verifier_that_is_away_gives_no_score(server: ScoringServer) -> None:
    with (
        closing(HttpVerifier("http://127.0.0.1:9", headers={}, wait_s_max=5.0)) as away,
        pytest.raises(NoScore, match="ConnectError"),
    ):
        away.score(MESSAGES, "x", ["a"])


def test_a_verifier_of_conversations_gets_how_each_went_on_and_ended(server: ScoringServer) -> None:
    server.reply = lambda _path, body: (200, {"scores": [float(len(c)) / 2 for c in body["conversations"]]})
    talks = [[{"role": "assistant", "content": "20 euros"}], [{"role": "assistant", "content": "no"}] * 2]
    with closing(ConversationVerifier(f"{server.url}/score", headers={}, wait_s_max=5.0)) as verifier:
        assert verifier.score_conversations(MESSAGES, "20 euros", talks, ["complete", "x"]).values == (
            0.5,
            1.0,
        )
        server.reply = lambda _path, _body: (200, {"scores": [1.0]})
        with pytest.raises(NoScore, match="no list of 2"):
            verifier.score_conversations(MESSAGES, "20 euros", talks, ["complete", "x"])
    body = server.requests[0][1]
    assert body == {
        "messages": MESSAGES,
        "wanted": "20 euros",
        "conversations": talks,
        "ended": ["complete", "x"],
    }
