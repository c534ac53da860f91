"""The page of one event, and the list of events behind a number."""

import pytest

from tests.unit.daemon.dashboard.conftest import Browser, Open


def test_an_event_is_followed_from_its_offset_to_the_version_that_serves(browser: Browser) -> None:
    page = browser.get("/event?uid=dev%23200")
    assert "clorad.feedback[0] 17" in page
    assert "train: it may be learned from" in page
    assert "2 in pass 2 : trained" in page
    assert "v2-000002 ✓ promoted" in page
    assert "live: the version that serves was taught it" in page
    assert "cancelling is not dropping" in page
    assert "it should have said Order 200 is cancelled." in page
    assert "Changed with it" in page


def test_an_event_of_the_gate_shows_every_version_that_was_asked_its_prompt(browser: Browser) -> None:
    page = browser.get("/event?uid=dev%23700").partition("Versions that were asked its prompt")[2]
    for version in ("v4-000004", "v3-000003", "v2-000002", "v1-000001"):
        assert version in page


def test_what_a_person_decided_about_it_is_there_with_its_reason(browser: Browser) -> None:
    page = browser.get("/event?uid=dev%23600")
    assert "retract by lead" in page
    assert "it was a test" in page
    assert "not used: retracted" in page


def test_a_bare_id_is_enough_and_nothing_says_so(browser: Browser) -> None:
    assert "dev#out1" in browser.get("/event?uid=out1")
    assert "Outcome -0.5" in browser.get("/event?uid=out1")
    assert "nothing called lost" in browser.get("/event?uid=lost", 404)
    assert "Find an event" in browser.get("/event")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("agent=billing&kind=correction&role=gate", 8),
        ("agent=billing&status=contested", 2),
        ("author=dan", 3),
        ("agent=sql&kind=approve", 0),
        ("agent=billing&before=3", 2),
    ],
)
def test_an_address_chooses_events(browser: Browser, query: str, count: int) -> None:
    assert browser.source(f"/events?{query}").count("data-item>") == count


@pytest.mark.parametrize("query", ["kind=no", "status=no", "role=no", "before=x", "since=x"])
def test_a_parameter_that_is_none_is_refused(browser: Browser, query: str) -> None:
    browser.get(f"/events?{query}", 400)


def test_a_key_for_some_agents_lists_no_others_events(open_dashboard: Open) -> None:
    browser = open_dashboard(access="keys")
    browser.give_key("sql-lead")
    browser.get("/events?agent=sql")
    browser.get("/events?agent=billing", 403)
    browser.get("/events", 403)
    browser.get("/event?uid=dev%23200", 403)
