"""Phoenix's span annotations, as a real Phoenix 20.26 answered (`record_phoenix.py` records them again)."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from feedback.bridges.annotation import Statement, event_of
from feedback.bridges.tool_client import ToolAway, ToolClient
from feedback.bridges.tools.phoenix import PhoenixAnnotations, said_by
from tests.unit.feedback.bridges.tool_options_builder import build_tool_options
from tests.unit.feedback.sending.answering_server import Answer, AnsweringServer, build_answering_server

OPTIONS = build_tool_options(name="ph", agent="billing")
RECORDED = json.loads((Path(__file__).parent / "recorded" / "phoenix.json").read_text())
SINCE = datetime(2026, 11, 16, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with build_answering_server() as running:
        running.answers = [answer(RECORDED["spans"]), answer(RECORDED["annotations"])]
        yield running


@pytest.fixture
def tool(server: AnsweringServer) -> Iterator[PhoenixAnnotations]:
    client = ToolClient(server.url)
    yield PhoenixAnnotations(client, OPTIONS, "my project")
    client.close()


def answer(document: Any) -> Answer:
    return Answer(200, json.dumps(document).encode())


def test_what_people_annotated_keeps_author_comment_and_span(
    server: AnsweringServer, tool: PhoenixAnnotations
) -> None:
    judge, correction, thumb = [tool.annotation(item) for item in tool.items(SINCE)]
    assert judge.said is None, "a model's judgement"
    assert correction.said == Statement(kind="correction", value="cancel(1042)")
    assert thumb.said == Statement(kind="reject", comment="cancelling is not refunding")
    by_texts, by_interaction = (event_of(annotation, OPTIONS).data for annotation in (correction, thumb))
    assert by_texts["messages"] == [{"role": "user", "content": "cancel order 1042"}]
    assert (by_texts["rejected"], by_texts["author"]) == ("refund(1042)", "ann")
    assert (by_interaction["interaction"], by_interaction["author"]) == ("i-1", "ann")
    assert by_interaction["key"] == "0000000000000001/thumb/review-1", "what Phoenix replaces it by"
    spans, annotations = (urlsplit(request.path) for request in server.asked)
    assert spans.path == "/v1/projects/my%20project/spans"
    assert parse_qs(annotations.query)["span_ids"] == ["0000000000000002", "0000000000000001"]


def test_pages_follow_each_other(server: AnsweringServer, tool: PhoenixAnnotations) -> None:
    empty = answer({"data": [], "next_cursor": None})
    server.answers = [answer(RECORDED["spans"] | {"next_cursor": "c2"}), empty, empty]
    assert list(tool.items(SINCE)) == []
    assert parse_qs(urlsplit(server.asked[2].path).query)["cursor"] == ["c2"]
    assert len(server.asked) == 3, "no annotations are asked for where there are no spans"


def annotation(name: str = "quality", kind: str = "HUMAN", **result: Any) -> dict[str, Any]:
    return {"name": name, "annotator_kind": kind, "result": result}


@pytest.mark.parametrize(
    ("annotated", "said"),
    [
        (annotation(label="good", score=0.0), Statement(kind="approve")),
        (annotation(label="purple", score=0.75), Statement(kind="outcome", value=0.5)),
        (annotation(explanation="only words"), None),
        (annotation("correction", label="yes"), Statement(kind="correction", value="yes")),
        (annotation("correction"), None),
        (annotation("note", label="good"), None),
        (annotation(kind="CODE", score=1.0), None),
        ({"name": "quality", "annotator_kind": "HUMAN", "result": None}, None),
    ],
)
def test_labels_come_before_scores(annotated: dict[str, Any], said: Statement | None) -> None:
    assert said_by(annotated, OPTIONS) == said


def test_a_project_that_is_not_there_is_told(server: AnsweringServer, tool: PhoenixAnnotations) -> None:
    server.answers = [Answer(404, b"no")]
    with pytest.raises(ToolAway, match="no such project"):
        list(tool.items(SINCE))
