"""The review queue and the rollouts: what waits for a person, and what is on its way to all users."""

import pytest

from tests.unit.daemon.dashboard.conftest import Browser, Open


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
