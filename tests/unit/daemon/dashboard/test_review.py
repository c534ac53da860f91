"""The review queue and the rollouts: what waits for a person, and what is on its way to all users."""

import re

import pytest

from daemon.dashboard.pages.review import ITEMS_A_PAGE
from tests.unit.daemon.dashboard.conftest import Browser, Open
from tests.unit.ledger.event_builder import build_unusable, keep


def test_the_queue_has_candidates_both_sides_of_contested_events_and_dead_letters(browser: Browser) -> None:
    page = browser.get("/review")
    assert "5 wait for a person" in page
    assert "v4-000004 billing" in page
    assert "25 % → 100 %" in page
    assert (
        "ann wants Order 500 is cancelled . bob wants ( dev#501 , contested) Ask the customer first ." in page
    )
    assert "unknown agent line 1; clorad.feedback[0]" in page


@pytest.mark.parametrize(
    ("query", "items"), [("only=contested", 2), ("only=letters", 2), ("agent=sql", 0), ("agent=billing", 3)]
)
def test_an_address_chooses_what_is_shown(browser: Browser, query: str, items: int) -> None:
    assert browser.source(f"/review?{query}").count("data-item>") == items


def test_a_long_queue_has_pages_and_says_how_long_it_is(browser: Browser) -> None:
    keep(browser.database, *(build_unusable() for _ in range(2 * ITEMS_A_PAGE)))
    browser.forget_reports()
    assert "Dead letters 42" in browser.get("/review")
    first = browser.source("/review")
    assert first.count("data-item>") == 3 + ITEMS_A_PAGE
    assert 'href="/review?only=letters">All 42' in first
    shown = [browser.source(f"/review?only=letters&page={page}") for page in (1, 2, 3)]
    assert [source.count("data-item>") for source in shown] == [ITEMS_A_PAGE, ITEMS_A_PAGE, 2]
    assert "page 2 of 3" in shown[1]
    ids = [set(re.findall(r'name="letter" value="(\d+)"', source)) for source in shown]
    assert not ids[0] & ids[1]
    assert not ids[1] & ids[2]


def test_a_page_after_the_last_one_shows_the_last_one(browser: Browser) -> None:
    assert browser.source("/review?only=letters&page=9").count("data-item>") == 2


def test_the_pages_of_a_kind_that_belongs_to_agents_are_those_of_the_agents_that_a_key_opens(
    open_dashboard: Open,
) -> None:
    browser = open_dashboard(access="keys")
    browser.give_key("reader")
    assert browser.source("/review?only=contested&page=2").count("data-item>") == 2
    browser.give_key("sql-lead")
    assert browser.source("/review?only=contested").count("data-item>") == 0


def test_what_was_decided_leaves_the_queue(browser: Browser) -> None:
    browser.give_key("lead")
    browser.act("redrive", letter="1", reason="x")
    page = browser.act("settle", event="dev#500", status="contested", reason="x")
    assert "2 wait for a person" in page


def test_a_key_for_some_agents_shows_only_what_waits_about_them(open_dashboard: Open) -> None:
    browser = open_dashboard(access="keys")
    browser.give_key("sql-lead")
    assert "Nothing waits for a person" in browser.get("/review")
    browser.get("/review?agent=billing", 403)
    page = browser.get("/rollouts")
    assert "sql" in page
    assert "billing" not in page


def test_rollouts_show_each_share_what_was_counted_and_what_comes_next(browser: Browser) -> None:
    page = browser.get("/rollouts")
    assert "3 agents with a candidate, a watched version or a hold" in page
    sql = page.partition("serves v0 , candidate v1-000005")[2]
    assert "25 % since" in sql
    assert "100 % not yet" in sql
    assert "v1-000005 is being watched:" in sql
    assert "more of this step" in sql
    assert "no sign of trouble was counted" in sql
    assert "on hold by lead: a release is under way" in page
