"""The page of one version: where it comes from, who decided, and its answers beside those of its parent."""

import pytest

from tests.unit.daemon.dashboard.conftest import Browser, Open


def test_it_says_where_the_version_comes_from_and_what_was_decided(browser: Browser) -> None:
    page = browser.get("/versions/billing@v3")
    assert "from v2-000002 , in pass 3" in page
    assert "cas (4)" in page
    assert "v3-000003 ← v2-000002 ← v1-000001 ← v0" in page
    assert "refused by gate" in page
    assert "harm: 2 of 3 prompts became worse" in page
    assert "4 wins, 0 losses, 4 ties; p = 0.0625" in page
    assert "differs by 0.0021 nats, allowed 0.05 nats" in page
    assert "dev#300 correction cas" in page
    assert "nothing, it serves nobody" in page


def test_answers_stand_side_by_side_with_changed_words_marked(browser: Browser) -> None:
    source = browser.source("/versions/billing@v3")
    assert source.count('<article class="card"') == 4
    assert "<del>Your order was dropped from </del>the <del>list</del>" in source
    assert "<ins>Order 700 is cancelled. You get a mail within </ins>the <ins>hour</ins>" in source


@pytest.mark.parametrize(("shown", "answers"), [("all", 11), ("won", 4), ("lost", 0), ("suite", 3)])
def test_an_address_chooses_the_answers(browser: Browser, shown: str, answers: int) -> None:
    source = browser.source(f"/versions/billing@v3?answers={shown}")
    assert source.count('<article class="card"') == answers


def test_a_version_that_serves_has_the_command_that_undoes_it(browser: Browser) -> None:
    page = browser.get("/versions/billing@v2")
    assert "✓ serves" in page
    assert "clorad rollback billing --to 1" in page


def test_a_candidate_says_what_it_waits_for_and_a_canary_its_steps(browser: Browser) -> None:
    assert "waits for a person" in browser.get("/versions/billing@v4")
    assert "waits for a person" not in browser.get("/versions/billing@v3")
    assert "25 %" in browser.get("/versions/sql@v1").partition("Shares of the conversations")[2]


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("billing@v9", "billing has no version 9"),
        ("billing@v0", "is the base model"),
        ("billing@v1-ffffff", "is v1-000001, not v1-ffffff"),
        ("nobody@v1", "no agent nobody"),
        ("nonsense", "a version is named AGENT@vN"),
    ],
)
def test_a_version_that_is_not_there_is_refused_in_words(browser: Browser, reference: str, why: str) -> None:
    assert why in browser.get(f"/versions/{reference}", 404)


def test_a_key_for_another_agent_opens_no_version(open_dashboard: Open) -> None:
    browser = open_dashboard(access="keys")
    browser.give_key("sql-lead")
    browser.get("/versions/sql@v1")
    assert "not for that agent" in browser.get("/versions/billing@v1", 403)
