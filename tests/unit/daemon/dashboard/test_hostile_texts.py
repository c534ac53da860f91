"""Texts of people and agents that would be HTML: every page shows them as texts."""

import re

from ledger.events import Reason, Status
from ledger.learning.event_queries import mark
from tests.unit.daemon.dashboard.conftest import Browser
from tests.unit.ledger.event_builder import build_event, build_unusable, keep

HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7 * 7 }}</div>\u202e"
TAGS = re.compile(r"<(?:img|script(?! src=\"/static/))|onerror=alert\(1\)>", re.IGNORECASE)


def test_no_page_has_a_tag_that_somebody_wrote(browser: Browser) -> None:
    data = {
        "messages": [{"role": "user", "content": HOSTILE}],
        "rejected": HOSTILE,
        "corrected": f"{HOSTILE} other",
        "comment": HOSTILE,
    }
    event = build_event("hostile", source=f"dev{HOSTILE}", author=HOSTILE, conversation=HOSTILE, data=data)
    keep(browser.database, event, build_unusable(Reason.INVALID_SCHEMA))
    with browser.database.read() as connection:
        [seq] = [row.seq for row in connection.exec_driver_sql("SELECT seq FROM events WHERE id = 'hostile'")]
    mark(browser.database, {seq: (Status.CONTESTED, HOSTILE)})
    browser.forget_reports()
    shown = 0
    for address in ("/agents", "/agents/billing", "/events", "/review", "/rollouts", "/event?uid=hostile"):
        page = browser.source(address)
        assert not TAGS.search(page), address
        assert "49" not in re.findall(r"script&gt;(\d*)", page)
        shown += "&lt;img src=x" in page
    assert shown >= 3, "the texts are shown"
    assert not TAGS.search(browser.client.get("/agents", params={"q": HOSTILE}).text)
    assert not TAGS.search(browser.client.get(f"/versions/{HOSTILE}").text)
    assert not TAGS.search(browser.client.get(f"/{HOSTILE}").text)
