"""The list of agents and the page of one agent, as people read them."""

import re

import pytest

from daemon.dashboard.cached_reports import ReportCache
from tests.unit.daemon.dashboard.conftest import Browser


def test_the_list_says_what_each_agent_serves_how_well_and_what_it_waits_for(browser: Browser) -> None:
    page = browser.get("/agents")
    assert "4 of 4" in page
    assert re.search(r"v4-\w+ waits for a person: clorad promote billing@v4", page)
    assert "on hold by lead: a release is under way" in page
    assert "25 % v1-" in page, "the canary's share"
    assert "91 %" in page, "of the last promoted version of billing"
    assert "2 contested" in page


def test_a_page_that_comes_before_the_ledger_was_read_says_so_and_is_whole_later(browser: Browser) -> None:
    browser.reports.cache.close()
    browser.reports.cache = ReportCache(first_wait_s=0.0)
    sources = [browser.source("/agents")]
    while "data-reading" in sources[-1]:
        sources.append(browser.source("/agents"))
    assert "Reading the ledger" in sources[0]
    assert 'id="agents"' in sources[-1]
    browser.reports.cache.close()


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("q=bill", ["billing"]),
        ("state=on+hold", ["coder"]),
        ("state=idle", ["legal"]),
        ("sort=-accuracy", ["billing", "sql", "legal", "coder"]),
        ("sort=-name", ["sql", "legal", "coder", "billing"]),
        ("sort=nonsense&state=nonsense", ["billing", "coder", "legal", "sql"]),
        ("page=2", ["billing", "coder", "legal", "sql"]),  # the last page: the list has got shorter
    ],
)
def test_an_address_chooses_and_orders_the_list(browser: Browser, query: str, shown: list[str]) -> None:
    source = browser.source(f"/agents?{query}")
    rows = source.partition("<tbody>")[2].split("<tr ")[1:]
    assert [row.partition('href="/agents/')[2].partition('"')[0] for row in rows] == shown


def test_a_page_number_that_is_none_is_refused(browser: Browser) -> None:
    assert "page: a number from 1" in browser.get("/agents?page=x", 400)


def test_one_agent_has_its_curve_its_versions_and_everything_that_happened(browser: Browser) -> None:
    page = browser.get("/agents/billing")
    for version in ("v1-", "v2-", "v3-", "v4-"):
        assert version in page
    assert "harm: 2 of 3 prompts became worse" in page
    assert "turn for v4-" in page
    assert "retracted an event by lead it was a test" in page
    assert "correction by mallory (retracted)" in page
    assert browser.source("/agents/billing").count('class="promoted" cx=') == 2


def test_the_timeline_can_show_failures_alone_and_go_back(browser: Browser) -> None:
    page = browser.get("/agents/billing?only=failures")
    timeline = page.partition("Timeline")[2]
    assert "refused" in timeline
    assert "promoted" not in timeline
    assert "correction by" not in timeline
    assert "Nothing happened before" in browser.get("/agents/billing?before=1")
    assert "a time in seconds" in browser.get("/agents/billing?before=yesterday", 400)


def test_an_unknown_agent_and_an_unknown_page_say_so(browser: Browser) -> None:
    assert "no agent nobody" in browser.get("/agents/nobody", 404)
    assert "There is no such page" in browser.get("/nowhere", 404)


def test_a_browser_that_has_the_page_gets_no_second_copy(browser: Browser) -> None:
    tag = browser.client.get("/agents/legal").headers["etag"]
    again = browser.client.get("/agents/legal", headers={"if-none-match": tag})
    assert again.status_code == 304
    assert again.text == ""
