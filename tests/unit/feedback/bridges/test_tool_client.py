"""What a tool's API answers, within bounds; a fault is told and passes."""

from collections.abc import Iterator

import pytest

from feedback.bridges import tool_client
from feedback.bridges.tool_client import ToolAway, ToolClient, ToolLacks, list_in
from tests.unit.feedback.sending.answering_server import Answer, AnsweringServer, build_answering_server


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with build_answering_server() as running:
        yield running


def test_an_object_is_read_with_the_key(server: AnsweringServer) -> None:
    server.answers = [Answer(200, b'{"a": 1}')]
    client = ToolClient(server.url, key="s3cret")
    assert client.get("/x", {"q": ["1", "2"]}) == client.post("/x", {"b": 2}) == {"a": 1}
    client.close()
    assert [(request.method, request.path) for request in server.asked] == [
        ("GET", "/x?q=1&q=2"),
        ("POST", "/x"),
    ]
    assert {request.headers["authorization"] for request in server.asked} == {"Bearer s3cret"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(500), "status 500"),
        (Answer(401), "status 401"),
        (Answer(302, b"", {"location": "https://elsewhere.example"}), "status 302"),
        (Answer(200, b"[]"), "no JSON object"),
        (Answer(200, b"<html>"), "no JSON object"),
        (Answer(200, b"x" * 2000), "more than 1000 bytes"),
        (None, "RemoteProtocolError"),
    ],
)
def test_a_fault_is_told_and_passes(
    server: AnsweringServer, answer: Answer | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_client, "REPLY_BYTES_MAX", 1000)
    server.answers = [answer]
    client = ToolClient(server.url)
    with pytest.raises(ToolAway, match=why):
        client.get("/x")
    client.close()


def test_what_a_tool_has_not_is_another_matter(server: AnsweringServer) -> None:
    server.answers = [Answer(404)]
    client = ToolClient(server.url)
    with pytest.raises(ToolLacks):
        client.get("/x")
    client.close()


def test_an_answer_of_another_api_is_told() -> None:
    assert list_in({"data": [{}]}, "data") == [{}]
    for wrong in ({}, {"data": {}}, {"data": [1]}):
        with pytest.raises(ToolAway, match="which version"):
            list_in(wrong, "data")
