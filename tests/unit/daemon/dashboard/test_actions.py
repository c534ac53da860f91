"""Every action of the dashboard: what it changes, in whose name, and when it changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from ledger.database import Connection
from ledger.intake import dead_letters
from ledger.learning.event_queries import event_by_uid
from ledger.reports.receipts import receipt
from ledger.versions import holds
from ledger.versions.decisions import decisions_of
from ledger.versions.desired import champion
from tests.unit.daemon.dashboard.conftest import ADDRESS, Browser, Open, words

CANDIDATE = "billing@v4-000004"
CONTESTED = {"event": "dev#500", "status": "contested"}


def read(browser: Browser, what: Callable[[Connection], Any]) -> Any:
    with browser.database.read() as connection:
        return what(connection)


def last_decision(browser: Browser, agent: str = "billing") -> tuple[str, str, tuple[str, ...]]:
    decision = read(browser, lambda connection: decisions_of(connection, agent))[-1]
    return decision.verdict.value, decision.by, decision.evidence.reasons


def status_of(browser: Browser, uid: str) -> str:
    [kept] = read(browser, lambda connection: event_by_uid(connection, uid))
    return str(kept.status.value)


class TestWithTheKeyOfALead:
    @pytest.fixture(autouse=True)
    def _session(self, browser: Browser) -> None:
        browser.give_key("lead")

    def test_a_candidate_is_promoted_in_the_name_of_the_key(self, browser: Browser) -> None:
        page = browser.act("promote", version=CANDIDATE, reason="reads well", back="/versions/billing@v4")
        assert "billing: v4-000004 is promoted as soon as the replicas hold it" in page
        assert "confirmed by lead" in page, "the page that it goes back to shows the change at once"
        assert last_decision(browser) == ("confirm", "lead", ("reads well",))

    def test_a_candidate_is_refused(self, browser: Browser) -> None:
        assert "v4-000004 is refused" in browser.act("refuse", version=CANDIDATE, reason="too curt")
        assert last_decision(browser) == ("refuse", "lead", ("too curt",))

    def test_a_refused_version_is_brought_back(self, browser: Browser) -> None:
        browser.act("refuse", version=CANDIDATE, reason="too curt")
        page = browser.act("reinstate", version="billing@v3-000003", reason="better than it looked")
        assert "v3-000003 comes back" in page
        assert last_decision(browser) == ("reinstate", "lead", ("better than it looked",))

    def test_a_champion_is_rolled_back(self, browser: Browser) -> None:
        page = browser.act("rollback", agent="billing", champion="2", reason="users complain")
        assert "billing goes back from v2-000002 to v1-000001" in page
        assert read(browser, lambda connection: champion(connection, "billing")) == 1
        assert last_decision(browser) == ("rollback", "lead", ("users complain",))

    def test_an_agent_is_held_and_goes_on(self, browser: Browser) -> None:
        assert "sql is on hold" in browser.act("hold", agent="sql", reason="release")
        hold = read(browser, lambda connection: holds.hold_of(connection, "sql"))
        assert (hold.by, hold.reason) == ("lead", "release")
        assert "sql goes on" in browser.act("resume", agent="sql")
        assert read(browser, lambda connection: holds.hold_of(connection, "sql")) is None

    def test_a_contested_event_is_settled_against_the_other(self, browser: Browser) -> None:
        page = browser.act("settle", **CONTESTED, reason="the policy says so")
        assert "dev#500 counts from now on, against 1 others" in page
        assert (status_of(browser, "dev#500"), status_of(browser, "dev#501")) == ("open", "superseded")
        [kept] = read(browser, lambda connection: event_by_uid(connection, "dev#500"))
        decided = read(browser, lambda connection: receipt(connection, kept)).decided
        assert [(one.by, one.reason) for one in decided] == [("lead", "the policy says so")]

    def test_an_event_is_retracted_restored_and_the_decision_undone(self, browser: Browser) -> None:
        assert "dev#200 is retracted" in browser.act("retract", event="dev#200", reason="wrong")
        assert status_of(browser, "dev#200") == "retracted"
        assert "dev#200 counts again" in browser.act("restore", event="dev#200", reason="right after all")
        assert status_of(browser, "dev#200") == "open"
        assert "decision 1 is undone" in browser.act("undo", decision="1", reason="it was no test")
        assert status_of(browser, "dev#600") == "open"

    def test_a_dead_letter_is_sent_again_once(self, browser: Browser) -> None:
        assert "dead letter 2 is sent again" in browser.act("redrive", letter="2", reason="declared now")
        letter = read(browser, lambda connection: dead_letters.read(connection, 2))
        assert (letter.redriven_by, letter.redriven_why) == ("lead", "declared now")
        assert "was sent again meanwhile" in browser.act("redrive", 409, letter="2", reason="once more")

    def test_a_page_from_before_another_decision_changes_nothing(self, browser: Browser) -> None:
        browser.act("refuse", version=CANDIDATE, reason="too curt")
        before = last_decision(browser)
        for action in ("promote", "refuse"):
            page = browser.act(action, 409, version=CANDIDATE, reason="reads well")
            assert "Nothing was changed" in page
            assert "decided" in page
        assert last_decision(browser) == before

    def test_an_event_that_was_settled_meanwhile_stays_settled(self, browser: Browser) -> None:
        browser.act("settle", **CONTESTED, reason="the policy says so")
        assert "dev#500 is open now" in browser.act("retract", 409, **CONTESTED, reason="no")
        page = browser.act("settle", 409, event="dev#501", status="contested", reason="no")
        assert "dev#501 is superseded now" in page
        assert status_of(browser, "dev#500") == "open"

    def test_a_champion_that_changed_meanwhile_is_not_rolled_back(self, browser: Browser) -> None:
        page = browser.act("rollback", 409, agent="billing", champion="1", reason="users complain")
        assert "v1 is no longer champion" in page
        assert read(browser, lambda connection: champion(connection, "billing")) == 2

    def test_a_hold_that_stands_or_ended_meanwhile_is_said(self, browser: Browser) -> None:
        assert "was put on hold meanwhile" in browser.act("hold", 409, agent="coder", reason="mine")
        assert "is not on hold any more" in browser.act("resume", 409, agent="sql")

    @pytest.mark.parametrize(
        ("action", "fields", "why"),
        [
            ("promote", {"version": CANDIDATE}, "reason is missing"),
            ("promote", {"version": CANDIDATE, "reason": "  "}, "reason is missing"),
            ("promote", {"reason": "x"}, "version is missing"),
            ("rollback", {"agent": "billing", "champion": "two", "reason": "x"}, "champion is a number"),
            ("redrive", {"letter": "-1", "reason": "x"}, "letter is a number"),
            ("choose", {}, "choose what to do"),
        ],
    )
    def test_a_form_that_lacks_something_changes_nothing(
        self, browser: Browser, action: str, fields: dict[str, str], why: str
    ) -> None:
        assert why in browser.act(action, 400, **fields)

    @pytest.mark.parametrize(
        ("action", "fields", "why"),
        [
            ("promote", {"version": "billing@v9", "reason": "x"}, "billing has no version 9"),
            ("promote", {"version": "billing@v4-ffffff", "reason": "x"}, "not v4-ffffff"),
            ("promote", {"version": "nobody@v1", "reason": "x"}, "no agent nobody"),
            ("hold", {"agent": "nobody", "reason": "x"}, "no agent nobody"),
            ("retract", {"event": "dev#none", "reason": "x"}, "no event is called dev#none"),
            ("undo", {"decision": "99", "reason": "x"}, "no decision has the number 99"),
            ("redrive", {"letter": "99", "reason": "x"}, "no dead letter 99"),
        ],
    )
    def test_what_is_not_there_is_refused_in_words(
        self, browser: Browser, action: str, fields: dict[str, str], why: str
    ) -> None:
        assert why in browser.act(action, 409, **fields)

    def test_a_form_of_another_session_or_of_none_changes_nothing(self, browser: Browser) -> None:
        for token in ("", "made-up"):
            fields = {"agent": "sql", "reason": "x", "token": token}
            assert "older session" in browser.act("hold", 403, **fields)
        assert read(browser, lambda connection: holds.hold_of(connection, "sql")) is None

    @pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"origin": "null"}])
    def test_a_form_of_another_site_changes_nothing(self, browser: Browser, headers: dict[str, str]) -> None:
        data = {"agent": "sql", "reason": "x", "token": browser.form_token()}
        answer = browser.client.post("/actions/hold", data=data, headers=headers)
        assert answer.status_code == 403
        assert "pages of that origin may not call this dashboard" in words(answer.text)
        assert read(browser, lambda connection: holds.hold_of(connection, "sql")) is None

    @pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example/", "/\\evil.example/", ""])
    def test_the_way_back_leads_to_this_dashboard_only(self, browser: Browser, back: str) -> None:
        data = {"agent": "sql", "reason": "x", "token": browser.form_token(), "back": back}
        answer = browser.client.post(
            "/actions/hold", data=data, headers={"origin": ADDRESS}, follow_redirects=False
        )
        assert answer.headers["location"] == "/agents"


def test_without_a_key_nothing_changes_and_the_page_says_why(browser: Browser) -> None:
    assert "To decide, give a key" in browser.get("/review")
    assert "<form" not in browser.source("/review").partition("<main")[2]
    page = browser.act("promote", 403, version=CANDIDATE, reason="x")
    assert "actions need a key with the right `act`" in page
    assert last_decision(browser)[0] == "canary"


@pytest.mark.parametrize(
    ("key", "why"), [("reader", "not the right `act`"), ("sql-lead", "this key is not for that agent")]
)
def test_a_key_without_the_right_or_for_another_agent_changes_nothing(
    browser: Browser, key: str, why: str
) -> None:
    browser.give_key(key)
    for action, fields in (
        ("promote", {"version": CANDIDATE}),
        ("rollback", {"agent": "billing", "champion": "2"}),
        ("settle", CONTESTED),
        ("undo", {"decision": "1"}),
    ):
        assert why in browser.act(action, 403, **fields, reason="x")
    assert last_decision(browser)[0] == "canary"
    assert status_of(browser, "dev#500") == "contested"


def test_a_key_for_some_agents_sends_no_dead_letter_again(browser: Browser) -> None:
    browser.give_key("sql-lead")
    assert "not for all agents" in browser.act("redrive", 403, letter="1", reason="x")
    assert "sql is on hold" in browser.act("hold", agent="sql", reason="mine")


def test_a_program_with_a_key_needs_no_form_token(open_dashboard: Open) -> None:
    browser = open_dashboard(access="keys")
    answer = browser.client.post(
        "/actions/hold",
        data={"agent": "sql", "reason": "release"},
        headers={"authorization": f"Bearer {browser.ledger.keys['lead']}"},
        follow_redirects=False,
    )
    assert answer.status_code == 303
    assert read(browser, lambda connection: holds.hold_of(connection, "sql")).by == "lead"
