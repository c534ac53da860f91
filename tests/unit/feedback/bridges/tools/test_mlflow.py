"""MLflow's assessments, as a real MLflow 3.17 answered them (`record_mlflow.py` records them again)."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feedback.bridges.annotation import AnnotationRefused, Statement, event_of
from feedback.bridges.tool_client import ToolAway, ToolClient
from feedback.bridges.tools.mlflow import MlflowAssessments, said_by
from tests.unit.feedback.bridges.tool_options_builder import build_tool_options
from tests.unit.feedback.sending.answering_server import Answer, AnsweringServer, build_answering_server

OPTIONS = build_tool_options(name="ml", agent="billing")
RECORDED = json.loads((Path(__file__).parent / "recorded" / "mlflow.json").read_text())["search"]
SINCE = datetime(2026, 11, 16, tzinfo=UTC)
HUMAN = {"source_type": "HUMAN", "source_id": "ann"}


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with build_answering_server() as running:
        yield running


@pytest.fixture
def tool(server: AnsweringServer) -> Iterator[MlflowAssessments]:
    client = ToolClient(server.url, key="token")
    yield MlflowAssessments(client, OPTIONS, "1")
    client.close()


def answer(document: Any) -> Answer:
    return Answer(200, json.dumps(document).encode())


def test_what_people_assessed_keeps_author_comment_and_trace(
    server: AnsweringServer, tool: MlflowAssessments
) -> None:
    server.answers = [answer(RECORDED)]
    annotations = [tool.annotation(item) for item in tool.items(SINCE)]
    said = [(annotation.about.interaction, annotation.said) for annotation in annotations]
    assert said == [
        (None, Statement(kind="correction", value="cancel(7)")),
        ("i-1", Statement(kind="reject", comment="cancelling is not refunding")),
        ("i-1", Statement(kind="outcome", value=-0.5)),
        ("i-1", None),  # a model's judgement
        ("i-1", Statement(kind="correction", value="cancel(1042)")),
    ]
    by_texts, by_interaction = (event_of(annotation, OPTIONS).data for annotation in annotations[:2])
    assert by_texts["messages"] == [{"role": "user", "content": "cancel order 1042"}]
    assert (by_texts["rejected"], by_texts["author"]) == ("refund(1042)", "ann@example.com")
    assert (by_interaction["interaction"], by_interaction["agent"]) == ("i-1", "billing")
    [request] = server.asked
    assert request.headers["authorization"] == "Bearer token"
    assert f"trace.timestamp_ms > {int(SINCE.timestamp())}000" in request.body.decode()


def test_pages_follow_each_other(server: AnsweringServer, tool: MlflowAssessments) -> None:
    server.answers = [answer(RECORDED | {"next_page_token": "p2"}), answer({})]
    assert len(list(tool.items(SINCE))) == 5
    assert json.loads(server.asked[1].body)["page_token"] == "p2"


def test_a_text_that_was_cut_off_is_no_prompt(tool: MlflowAssessments) -> None:
    [item, *_] = [
        {"assessment": assessment, "trace": trace}
        for trace in RECORDED["traces"]
        for assessment in trace["assessments"]
    ]
    cut = item["trace"] | {"trace_metadata": {"mlflow.traceInputs": '{"messages": [{"role": "us...'}}
    about = tool.annotation(item | {"trace": cut}).about
    assert about.messages is None


@pytest.mark.parametrize(
    ("assessment", "said"),
    [
        ({"feedback": {"value": "yes"}}, Statement(kind="approve")),
        ({"feedback": {"value": True}, "valid": False}, None),
        ({"feedback": {"error": {"error_code": "X"}}}, None),
        ({"expectation": {"value": ["fact"]}, "assessment_name": "expected_facts"}, None),
        ({"expectation": {"value": {"a": 1}}, "assessment_name": "expected_response"}, None),
        ({"feedback": {"value": True}, "source": {"source_type": "CODE"}}, None),
        ({"feedback": {"value": True}, "assessment_name": "note"}, None),
    ],
)
def test_what_is_no_feedback_says_nothing(assessment: dict[str, Any], said: Statement | None) -> None:
    assert said_by({"assessment_name": "thumb", "source": HUMAN} | assessment, OPTIONS) == said


def test_another_answer_or_version_is_told(server: AnsweringServer, tool: MlflowAssessments) -> None:
    for wrong in (answer({"traces": 7}), answer([]), Answer(200, b"<html>"), Answer(404), Answer(401)):
        server.answers = [wrong]
        with pytest.raises(ToolAway):
            list(tool.items(SINCE))
    with pytest.raises(AnnotationRefused, match="assessment_id"):
        tool.identity({"assessment": {}})
