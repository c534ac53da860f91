"""The page of the learner: passes, what agents wait for, failures with what followed, delays."""

import re

import pytest

from daemon.dashboard.pages import learner
from tests.unit.daemon.dashboard.conftest import Browser, Open
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import open_pass


def test_the_page_has_passes_waits_failures_and_delays(browser: Browser) -> None:
    page = browser.get("/learner")
    assert "trains nothing" in page
    assert re.search(r"Pass 4 1 agent, [\d.]+ s, 100 tokens, 1 version", page)
    assert "coder on hold by lead: a release is under way" in page
    assert "refused harm: 2 of 3 prompts became worse" in page
    assert "billing v2-000002" in page.partition("How long corrections took")[2]


def test_numbers_lead_to_their_rows(browser: Browser) -> None:
    source = browser.source("/learner?pass=1")
    [events] = set(re.findall(r'href="(/events\?agent=billing&amp;turn=1)">(\d+) new', source))
    address, number = events[0].replace("&amp;", "&"), int(events[1])
    assert browser.source(address).count("data-item>") == number
    assert "All passes" in source
    assert source.count("data-item>") == 1


def test_an_agent_has_a_page_of_its_passes_alone(browser: Browser) -> None:
    source = browser.source("/learner?agent=sql")
    assert "/agents/sql" in source
    assert "/agents/billing" not in source


def test_a_pass_that_is_being_trained_comes_first(browser: Browser) -> None:
    keep(browser.database, build_event("l1", agent="legal"))
    opened = open_pass(browser.database, "legal")
    browser.forget_reports()
    page = browser.get("/learner")
    assert f"trains pass {opened.id}" in page
    assert "▲ being trained 1 agent" in page


def test_older_passes_are_on_pages_of_their_own(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "PASSES_A_PAGE", 2)
    newest = browser.source("/learner")
    [older] = re.findall(r'rel="next" href="([^"]*)"', newest)
    page = browser.get(older.replace("&amp;", "&"))
    assert "What agents wait for" not in page
    assert "← Newest" in page


@pytest.mark.parametrize(("query", "status"), [("pass=999", 404), ("pass=x", 400), ("before=-1", 400)])
def test_an_address_of_nothing_is_refused(browser: Browser, query: str, status: int) -> None:
    browser.get(f"/learner?{query}", status)


def test_a_key_for_some_agents_shows_only_their_turns(open_dashboard: Open) -> None:
    browser = open_dashboard(access="keys")
    browser.give_key("sql-lead")
    page = browser.get("/learner")
    assert "sql" in page
    assert "billing" not in page
    browser.get("/learner?agent=billing", 403)
    browser.get("/learner?pass=1", 404)
