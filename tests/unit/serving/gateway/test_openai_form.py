"""An error that a replica reports within an answer is recognised."""

from typing import Any

import pytest

from serving.gateway.openai_form import error_status


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"error": {"code": 404}}, 404),
        ({"error": {"code": "rate_limit"}}, 500),
        ({"error": "oh"}, 500),
        ({"error": {"code": 200}}, 500),
        ({"error": None, "choices": []}, None),
        ({"choices": []}, None),
    ],
)
def test_the_status_of_an_event_that_reports_an_error(event: dict[str, Any], status: int | None) -> None:
    assert error_status(event) == status
