"""Label Studio's webhooks, after its documentation: corrections, opinions, deletions, and what is neither."""

from datetime import UTC, datetime
from typing import Any

import pytest

from feedback.bridges.annotation import AnnotationRefused, Statement, ToolOptions
from feedback.bridges.tools.label_studio import annotations_of
from tests.unit.feedback.bridges.tool_options_builder import build_tool_options
from tests.unit.feedback.bridges.tools.payloads import (
    build_choice,
    build_label_studio,
    build_rating,
    build_text,
)

OPTIONS = build_tool_options(name="ls", score_min=1.0, score_max=5.0)


def said_in(*results: dict[str, Any], options: ToolOptions = OPTIONS) -> Statement | None:
    [annotation] = annotations_of(build_label_studio(*results), options)
    return annotation.said


def test_a_correction_keeps_its_author_its_comment_and_what_it_is_about() -> None:
    results = [
        build_choice("quality", "bad"),
        build_text("correction", "cancel(1042)"),
        build_text("comment", "no"),
    ]
    [annotation] = annotations_of(build_label_studio(*results), OPTIONS)
    assert annotation.said == Statement(kind="correction", value="cancel(1042)", comment="no")
    assert (annotation.name, annotation.person) == ("7", "5")
    assert annotation.revised_at == datetime(2026, 11, 30, 12, tzinfo=UTC)
    assert (annotation.about.interaction, annotation.about.agent) == ("i-1", "billing")
    assert (annotation.about.messages, annotation.about.said) == (
        [{"role": "user", "content": "cancel order 1042"}],
        "refund(1042)",
    )


def test_choices_and_ratings_are_opinions() -> None:
    assert said_in(build_choice("quality", "Good"), build_text("reason", "short")) == Statement(
        kind="approve", comment="short"
    )
    assert said_in(build_choice("quality", "wrong")) == Statement(kind="reject")
    assert said_in(build_rating("stars", 2)) == Statement(kind="outcome", value=-0.5)


def test_names_of_ones_own_say_what_a_field_holds() -> None:
    options = build_tool_options(name="ls", names={"better": "correction", "topic": "ignored"})
    results = (build_choice("topic", "billing"), build_text("better", "cancel", "(1042)"))
    assert said_in(*results, options=options) == Statement(kind="correction", value="cancel\n(1042)")


def test_an_author_may_come_with_an_address() -> None:
    payload = build_label_studio(completed_by={"id": 5, "email": "ann@example.com"})
    assert annotations_of(payload, OPTIONS)[0].person == "ann@example.com"


def test_who_changed_an_annotation_last_is_its_author() -> None:
    payload = build_label_studio(action="ANNOTATION_UPDATED", completed_by=5, updated_by=6)
    assert annotations_of(payload, OPTIONS)[0].person == "6"


def test_what_was_cancelled_or_deleted_is_withdrawn() -> None:
    [cancelled] = annotations_of(build_label_studio(was_cancelled=True), OPTIONS)
    deleted = annotations_of(
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 7}, {"id": 8}]}, OPTIONS
    )
    assert cancelled.said is None
    assert [(annotation.name, annotation.said) for annotation in deleted] == [("7", None), ("8", None)]


def test_other_actions_say_nothing() -> None:
    for action in ("PROJECT_UPDATED", "TASKS_CREATED", "LABEL_LINK_CREATED", "ANNOTATIONS_CREATED"):
        assert annotations_of({"action": action}, OPTIONS) == []


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ({}, "unknown_version: action"),
        ({"action": "ANNOTATION_EATEN"}, "unknown_version: action"),
        ({"action": ["ANNOTATION_CREATED"]}, "unknown_version: action"),
        ({"action": "ANNOTATION_CREATED"}, "invalid: annotation"),
        ({"action": "ANNOTATIONS_DELETED", "annotations": [7]}, "invalid: annotations"),
        ({"action": "ANNOTATIONS_DELETED"}, "invalid: annotations"),
        (build_label_studio() | {"task": None}, "invalid: task"),
        (build_label_studio(result="x"), "invalid: annotation.result"),
        (build_label_studio(id=None), "invalid: id"),
        (build_label_studio(updated_at="yesterday"), "invalid: updated_at"),
        (build_label_studio(build_choice("quality", "purple")), "unknown_label"),
        (build_label_studio(build_rating("stars", 9)), "out_of_range"),
    ],
)
def test_a_payload_of_another_form_is_refused_with_the_reason(payload: dict[str, Any], why: str) -> None:
    with pytest.raises(AnnotationRefused, match=why):
        annotations_of(payload, OPTIONS)
