"""An event that no receiver could use is refused before it is sent, in words that quote nothing of it."""

import json
from datetime import UTC, datetime

import pytest

from feedback.sending.event import FeedbackRefused, SentFeedback, build_outgoing_event

DATA = {"agent": "billing", "author": "ann", "interaction": "i-1", "corrected": "yes", "comment": None}


def test_an_event_is_one_cloudevent_without_absent_fields() -> None:
    at = datetime(2026, 11, 22, 7, tzinfo=UTC)
    event = build_outgoing_event("correction", DATA, source="ide", event_id="e-1", at=at)
    assert json.loads(event.structured()) == {
        "specversion": "1.0",
        "id": "e-1",
        "source": "ide",
        "type": "clorad.correction.v1",
        "time": "2026-11-22T07:00:00+00:00",
        "data": {name: value for name, value in DATA.items() if value is not None},
    }


def test_an_event_without_an_id_gets_one_that_stays() -> None:
    event = build_outgoing_event("correction", DATA, source="ide")
    assert len(event.id) == 36
    assert event.structured() == event.structured(), "sent again it has the same id and time"


def test_the_author_may_be_left_to_the_receiver() -> None:
    nameless = {name: value for name, value in DATA.items() if name != "author"}
    with pytest.raises(FeedbackRefused, match="author: missing"):
        build_outgoing_event("correction", nameless, source="ide")
    event = build_outgoing_event("correction", nameless, source="ide", has_author=False)
    assert "author" not in event.data


@pytest.mark.parametrize(
    ("kind", "changed", "complaint"),
    [
        ("praise", {}, "unknown type"),
        ("correction", {"corrected": 7}, "corrected"),
        ("correction", {"corrected": {"role": "user", "content": "secret"}}, "corrected"),
        ("outcome", {"value": float("nan")}, "value"),
        ("correction", {"tools": [{"when": datetime(2026, 1, 1, tzinfo=UTC)}]}, "not JSON"),
        ("correction", {"chat_template_kwargs": {"x": float("inf")}}, "not JSON"),
    ],
)
def test_an_unusable_event_is_refused_and_not_quoted(kind: str, changed: dict, complaint: str) -> None:
    with pytest.raises(FeedbackRefused, match=complaint) as refused:
        build_outgoing_event(kind, DATA | {"corrected": "secret"} | changed, source="ide")
    assert "secret" not in str(refused.value)
    assert refused.value.status is None


def test_a_time_without_its_zone_is_refused() -> None:
    with pytest.raises(FeedbackRefused, match="zone"):
        build_outgoing_event("correction", DATA, source="ide", at=datetime(2026, 1, 1))


def test_a_sent_event_has_the_name_that_receipts_know() -> None:
    sent = SentFeedback(id="e-1", source="ide", topic="clorad.feedback", partition=0, offset=3)
    assert sent.uid == "ide#e-1"
