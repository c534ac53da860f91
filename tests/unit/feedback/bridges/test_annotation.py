"""The event of an annotation: its name, its author, and what it is about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feedback.bridges.annotation import (
    Annotation,
    AnnotationRefused,
    Statement,
    ToolOptions,
    event_of,
    opinion_of,
)
from feedback.bridges.traced import TracedAnswer
from tests.unit.feedback.bridges.tool_options_builder import build_tool_options

OPTIONS = build_tool_options(name="ls", agent="billing")
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
ASK = ({"role": "user", "content": "cancel"},)


def build_annotation(**changed: Any) -> Annotation:
    usual = {
        "name": "7",
        "revised_at": AT,
        "person": "5",
        "about": TracedAnswer(interaction="i-1"),
        "said": Statement(kind="correction", value="yes", comment="ask first"),
    }
    return Annotation(**{**usual, **changed})


def test_an_annotation_with_an_interaction_is_an_event_without_texts() -> None:
    event = event_of(
        build_annotation(about=TracedAnswer(interaction="i-1", messages=ASK, said="no")), OPTIONS
    )
    assert (event.type, event.source, event.time) == ("clorad.correction.v1", "bridge/ls", AT)
    assert event.data == {
        "agent": "billing",
        "author": "5",
        "key": "7",
        "revision": int(AT.timestamp()) - 1_577_836_800,
        "interaction": "i-1",
        "corrected": "yes",
        "comment": "ask first",
    }


def test_without_an_interaction_it_brings_its_texts() -> None:
    texts = TracedAnswer(messages=ASK, said="no")
    corrected = event_of(build_annotation(about=texts), OPTIONS).data
    assert (corrected["messages"], corrected["rejected"]) == (list(ASK), "no")
    approved = event_of(build_annotation(about=texts, said=Statement(kind="approve", comment="ok")), OPTIONS)
    assert (approved.data["said"], approved.data["action"], approved.data["reason"]) == (
        "no",
        "approve",
        "ok",
    )
    graded = event_of(build_annotation(said=Statement(kind="outcome", value=0.5, comment="slow")), OPTIONS)
    assert (graded.data["value"], graded.data["comment"]) == (0.5, "slow")


def test_ids_follow_from_the_annotation_and_change_with_it() -> None:
    first = event_of(build_annotation(), OPTIONS)
    assert event_of(build_annotation(), OPTIONS).id == first.id
    later = build_annotation(revised_at=AT + timedelta(seconds=5))
    changed = build_annotation(said=Statement(kind="correction", value="no"))
    assert len({first.id, event_of(later, OPTIONS).id, event_of(changed, OPTIONS).id}) == 3
    assert event_of(later, OPTIONS).data["revision"] == first.data["revision"] + 5
    long = event_of(build_annotation(name="x" * 500), OPTIONS)
    assert len(long.data["key"]) == 64


def test_people_are_known_by_one_name_in_all_tools() -> None:
    options = replace(OPTIONS, people={"5": "ann"}, author="somebody")
    assert event_of(build_annotation(), options).data["author"] == "ann"
    assert event_of(build_annotation(person=None), options).data["author"] == "somebody"


@pytest.mark.parametrize(
    ("changed", "options", "why"),
    [
        ({"about": TracedAnswer()}, OPTIONS, "no_interaction"),
        ({"about": TracedAnswer(said="no")}, OPTIONS, "no_interaction"),
        ({"about": TracedAnswer(messages=ASK), "said": Statement(kind="approve")}, OPTIONS, "no_interaction"),
        ({"person": None}, OPTIONS, "no_author"),
        ({}, build_tool_options(name="ls"), "no_agent"),
        ({"said": Statement(kind="correction", value="")}, OPTIONS, "refused: corrected"),
        ({"person": "x" * 300}, OPTIONS, "refused: author"),
    ],
)
def test_what_lacks_something_is_refused_with_the_reason(
    changed: Any, options: ToolOptions, why: str
) -> None:
    with pytest.raises(AnnotationRefused, match=why):
        event_of(build_annotation(**changed), options)


def test_the_agent_of_a_trace_comes_before_that_of_the_settings() -> None:
    about = TracedAnswer(interaction="i-1", agent="sales")
    assert event_of(build_annotation(about=about), OPTIONS).data["agent"] == "sales"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, Statement(kind="approve")),
        (False, Statement(kind="reject")),
        (" Thumbs_Up ", Statement(kind="approve")),
        ("👎", Statement(kind="reject")),
        (0.25, Statement(kind="outcome", value=-0.5)),
        (1, Statement(kind="outcome", value=1.0)),
    ],
)
def test_opinions_are_booleans_labels_or_numbers(value: Any, said: Statement) -> None:
    assert opinion_of(value, None, OPTIONS) == said


@pytest.mark.parametrize("value", ["maybe", None, [1], float("nan"), 1.01, -0.1])
def test_other_values_are_no_opinions(value: Any) -> None:
    with pytest.raises(AnnotationRefused):
        opinion_of(value, None, OPTIONS)
