"""Argilla's webhooks, after its documentation and the schema of its server."""

from datetime import UTC, datetime
from typing import Any

import pytest

from feedback.bridges.annotation import AnnotationRefused, Statement
from feedback.bridges.tools.argilla import annotations_of
from tests.unit.feedback.bridges.tool_options_builder import build_tool_options
from tests.unit.feedback.bridges.tools.payloads import ASK, build_argilla

OPTIONS = build_tool_options(name="ar", score_min=1.0, score_max=5.0)


def test_a_submitted_response_keeps_its_author_its_comment_and_what_it_is_about() -> None:
    [annotation] = annotations_of(build_argilla(), OPTIONS)
    assert annotation.said == Statement(kind="correction", value="cancel(1042)", comment="not a refund")
    assert (annotation.name, annotation.person) == ("7f1a", "ann")
    assert annotation.revised_at == datetime(2026, 11, 30, 12, 0, 0, 344522, tzinfo=UTC)
    assert annotation.about.interaction == "i-1"


def test_chat_fields_are_conversations() -> None:
    payload = build_argilla(metadata={}, fields={"messages": ASK, "response": "refund(1042)"})
    [annotation] = annotations_of(payload, OPTIONS)
    assert (annotation.about.interaction, annotation.about.messages) == (None, ASK)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"quality": "good"}, Statement(kind="approve")),
        ({"quality": "no", "comment": "rude"}, Statement(kind="reject", comment="rude")),
        ({"stars": 4}, Statement(kind="outcome", value=0.5)),
        ({}, None),
    ],
)
def test_label_and_rating_questions_are_opinions(values: dict[str, Any], said: Statement | None) -> None:
    assert annotations_of(build_argilla(values), OPTIONS)[0].said == said


def test_drafts_wait_and_discarded_or_deleted_responses_are_withdrawn() -> None:
    assert annotations_of(build_argilla(status="draft"), OPTIONS) == []
    [discarded] = annotations_of(build_argilla(status="discarded"), OPTIONS)
    deletion = {"type": "response.deleted", "version": 1, "data": {"id": "7f1a"}}
    [deleted] = annotations_of(deletion, OPTIONS)
    assert (discarded.name, discarded.said) == (deleted.name, deleted.said) == ("7f1a", None)


def test_other_events_say_nothing() -> None:
    for kind in ("dataset.created", "record.completed", "ping"):
        assert annotations_of({"type": kind, "version": 1, "data": {}}, OPTIONS) == []


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ({}, "unknown_version: version"),
        (build_argilla(version=2), "unknown_version: version"),
        (build_argilla(kind="response.loved"), "unknown_version: type"),
        (build_argilla(status="odd"), "invalid: status"),
        (build_argilla() | {"data": []}, "invalid: data"),
        (build_argilla(updated_at="x"), "invalid: updated_at"),
        (build_argilla({"quality": ["good", "bad"]}), "unknown_label"),
        (build_argilla({"correction": 7}), "invalid: a correction is a text"),
    ],
)
def test_a_payload_of_another_form_is_refused_with_the_reason(payload: dict[str, Any], why: str) -> None:
    with pytest.raises(AnnotationRefused, match=why):
        annotations_of(payload, OPTIONS)
