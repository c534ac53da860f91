"""What the demo reads from the ledger: whether an agent waits for more corrections than it was given."""

from typing import Any

import pytest

from examples.house_rules.ledger_view import lacks_events
from examples.house_rules.recipe import EVENTS_MIN
from ledger.learning.backlog import Backlog


def build_backlog(**changed: Any) -> Backlog:
    fields: dict[str, Any] = {
        "agent": "support",
        "champion": 0,
        "untaught": EVENTS_MIN + 15,
        "oldest_age_s": 9.0,
        "gate_new": 12,
        "refusals": 0,
        "news": True,
    }
    return Backlog(**{**fields, **changed})


@pytest.mark.parametrize(
    ("changed", "lacks"),
    [
        ({"gate_new": 3}, True),  # chance held out too few
        ({"untaught": EVENTS_MIN - 1}, True),
        ({}, False),  # it is due
        ({"gate_new": 3, "is_learning": True}, False),
        ({"gate_new": 3, "has_candidate": True}, False),
        ({"untaught": 0, "gate_new": 0}, False),
    ],
)
def test_an_agent_lacks_events_where_its_developer_could_give_more(
    changed: dict[str, object], lacks: bool
) -> None:
    assert lacks_events(build_backlog(**changed)) is lacks
