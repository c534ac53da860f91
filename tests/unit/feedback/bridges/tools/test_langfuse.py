"""Langfuse's scores, after the documentation of its API and its schema, version 3."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from feedback.bridges.annotation import AnnotationRefused, Statement, event_of
from feedback.bridges.tool_client import ToolClient
from feedback.bridges.tools.langfuse import LangfuseScores, said_by
from tests.unit.feedback.bridges.tool_options_builder import build_tool_options
from tests.unit.feedback.sending.answering_server import Answer, AnsweringServer, build_answering_server

OPTIONS = build_tool_options(name="lf", agent="billing", people={"user-123": "ann"})
SINCE = datetime(2026, 11, 16, tzinfo=UTC)
TRACE = {"id": "t-1", "userId": "customer-9", "metadata": {"clorad.interaction": "i-1"}}
OBSERVATION = {
    "id": "o-1",
    "traceId": "t-2",
    "metadata": {"attributes": {}},
    "input": {"messages": [{"role": "user", "content": "cancel order 1042"}]},
    "output": {"role": "assistant", "content": "refund(1042)"},
}


def build_score(
    kind: str = "CORRECTION", value: Any = "cancel(1042)", *, of: str = "trace", **changed: Any
) -> dict[str, Any]:
    subject = {"kind": "trace", "id": "t-1"}
    if of == "observation":
        subject = {"kind": "observation", "id": "o-1", "traceId": "t-2"}
    return {
        "id": "s-1",
        "projectId": "p-1",
        "name": "output",
        "value": value,
        "dataType": kind,
        "source": "ANNOTATION",
        "timestamp": "2026-11-30T12:00:00.000Z",
        "createdAt": "2026-11-30T12:00:00.000Z",
        "updatedAt": "2026-11-30T12:05:00.000Z",
        "environment": "default",
        "details": {"comment": "not a refund", "configId": None, "metadata": {}},
        "subject": subject,
        "annotation": {"authorUserId": "user-123", "queueId": None},
        **changed,
    }


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with build_answering_server() as running:
        yield running


@pytest.fixture
def tool(server: AnsweringServer) -> Iterator[LangfuseScores]:
    client = ToolClient(server.url, user="pk-lf-1", key="sk-lf-1")
    yield LangfuseScores(client, OPTIONS)
    client.close()


def answer(document: Any) -> Answer:
    return Answer(200, json.dumps(document).encode())


def test_a_correction_keeps_its_author_its_comment_and_its_trace(
    server: AnsweringServer, tool: LangfuseScores
) -> None:
    server.answers = [answer({"data": [build_score()], "meta": {"limit": 100}}), answer(TRACE)]
    [item] = tool.items(SINCE)
    data = event_of(tool.annotation(item), OPTIONS).data
    assert (data["author"], data["interaction"]) == ("ann", "i-1")
    assert (data["corrected"], data["comment"], data["key"]) == ("cancel(1042)", "not a refund", "s-1")
    scores, trace = server.asked
    assert scores.path.startswith("/api/public/v3/scores?limit=100&fields=details%2Csubject%2Cannotation")
    assert trace.path == "/api/public/traces/t-1"
    assert scores.headers["authorization"] == "Basic " + base64.b64encode(b"pk-lf-1:sk-lf-1").decode()


def test_a_score_of_an_observation_is_about_its_texts(server: AnsweringServer, tool: LangfuseScores) -> None:
    server.answers = [answer(OBSERVATION), Answer(404)]
    data = event_of(tool.annotation(build_score(of="observation")), OPTIONS).data
    assert (data["messages"], data["rejected"]) == (OBSERVATION["input"]["messages"], "refund(1042)")
    assert [request.path for request in server.asked] == [
        "/api/public/observations/o-1",
        "/api/public/traces/t-2",
    ]


def test_fields_may_stand_in_the_score_itself(server: AnsweringServer, tool: LangfuseScores) -> None:
    """As in the API's OpenAPI document; the server's own schema has them in groups."""
    score = build_score(comment="no", authorUserId="user-7")
    flat = {name: score[name] for name in score if name not in ("details", "annotation")}
    server.answers = [answer(TRACE)]
    annotation = tool.annotation(flat)
    assert (annotation.person, annotation.said and annotation.said.comment) == ("user-7", "no")


def test_pages_follow_each_other(server: AnsweringServer, tool: LangfuseScores) -> None:
    last = {"data": [build_score(id="s-2")], "meta": {"limit": 100}}
    server.answers = [answer({"data": [build_score()], "meta": {"cursor": "c2"}}), answer(last)]
    assert [item["id"] for item in tool.items(SINCE)] == ["s-1", "s-2"]
    assert "cursor=c2" in server.asked[1].path


def test_users_feedback_that_a_program_sent_has_the_user_as_author(
    server: AnsweringServer, tool: LangfuseScores
) -> None:
    server.answers = [answer(TRACE)]
    score = build_score("BOOLEAN", False, source="API", annotation={"authorUserId": None})
    assert tool.annotation(score).person == "customer-9"
    named = score | {"details": {"comment": None, "metadata": {"author": "bob"}}}
    assert tool.annotation(named).person == "bob"


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (build_score(value=""), None),
        (build_score("BOOLEAN", True), Statement(kind="approve", comment="not a refund")),
        (build_score("CATEGORICAL", "wrong"), Statement(kind="reject", comment="not a refund")),
        (build_score("NUMERIC", 0.25), Statement(kind="outcome", value=-0.5, comment="not a refund")),
        (build_score("TEXT", "hm", name="impression"), None),
        (
            build_score("TEXT", "yes", name="correction"),
            Statement(kind="correction", value="yes", comment="not a refund"),
        ),
        (build_score("BOOLEAN", True, source="EVAL"), None),
    ],
)
def test_what_people_scored_is_an_opinion(score: dict[str, Any], said: Statement | None) -> None:
    assert said_by(score, OPTIONS) == said


def test_a_score_that_says_nothing_asks_for_no_trace(server: AnsweringServer, tool: LangfuseScores) -> None:
    assert tool.annotation(build_score("BOOLEAN", True, source="EVAL")).said is None
    assert server.asked == []


@pytest.mark.parametrize(
    ("score", "why"),
    [
        (build_score("PICTURE", "x"), "unknown_version: dataType"),
        (build_score(subject=None), "invalid: subject"),
        (build_score(id=None), "invalid: id"),
        (build_score(updatedAt=7, timestamp=None), "invalid: updatedAt"),
        (build_score(subject={"kind": "session", "id": "x"}), "no_interaction"),
    ],
)
def test_a_score_of_another_form_is_refused_with_the_reason(
    tool: LangfuseScores, score: dict[str, Any], why: str
) -> None:
    with pytest.raises(AnnotationRefused, match=why):
        event_of(tool.annotation(score), OPTIONS)
