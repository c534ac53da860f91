"""The pages of fleet, intake and playground."""

from collections.abc import Iterator

import pytest

from ledger.versions import routing
from tests.fakes.vllm import FakeVLLM
from tests.unit.daemon.dashboard.conftest import ADDRESS, Browser, Open, words


def test_the_fleet_is_a_matrix_of_versions_and_replicas(browser: Browser) -> None:
    page = browser.get("/fleet")
    assert "1 of 2 replicas in rotation" in page
    assert "http://127.0.0.1:8002 ✗ out base 1" in page
    assert "parity: 0.2 nats" in page
    assert "billing v4-000004 canary 0 % ✓ holds" in page
    assert "– missing" in page
    source = browser.source("/fleet?only=missing&q=bill")
    assert 0 < source.partition('id="matrix"')[2].count("<tr data-item>") < 3


def test_intake_shows_partitions_fates_and_reasons(browser: Browser) -> None:
    page = browser.get("/intake")
    assert "clorad.feedback[0]" in page
    assert "2 dead letters" in page
    assert "invalid json 1" in page
    assert "unknown agent 1" in page
    assert "contested 2" in page


def test_a_broker_that_is_away_is_said_and_the_rest_is_shown(browser: Browser) -> None:
    page = browser.get("/intake?lag=1")
    assert "clorad.feedback[0]" in page
    assert "Kafka" in page


@pytest.fixture
def replica(browser: Browser) -> Iterator[FakeVLLM]:
    """A replica in rotation that holds every version of billing."""
    server = FakeVLLM()
    models = ("billing@v2-000002", "billing@v4-000004")
    server.adapters |= dict.fromkeys(models, "/adapters")
    state = routing.ReplicaState(url=server.url, in_rotation=True, base_name="base", models=models)
    routing.record_replicas(browser.database, [state])
    yield server
    server.kill()


def ask(browser: Browser, code: int = 200, /, **fields: str) -> str:
    data = {"token": browser.form_token(), **fields}
    answer = browser.client.post("/playground", data=data, headers={"origin": ADDRESS})
    assert answer.status_code == code, answer.text
    return words(answer.text)


def test_champion_and_candidate_answer_the_same_prompt(browser: Browser, replica: FakeVLLM) -> None:
    browser.give_key("lead")
    page = ask(browser, agent="billing", prompt="Cancel order 9, please.")
    answers = page.partition("Answers")[2]
    assert "v2-000002 serves" in answers
    assert "v4-000004 candidate" in answers
    assert "no replica" not in answers


def test_where_no_replica_holds_a_version_the_page_says_so(browser: Browser) -> None:
    browser.give_key("lead")
    routing.record_replicas(browser.database, [])
    browser.forget_reports()
    assert "no replica in rotation holds it" in ask(browser, agent="billing", prompt="Cancel it.")


@pytest.mark.parametrize(("key", "why"), [("reader", "not the right `talk`"), (None, "needs a key")])
def test_without_the_right_to_talk_nobody_is_asked(browser: Browser, key: str | None, why: str) -> None:
    if key is not None:
        browser.give_key(key)
    assert why in ask(browser, 403, agent="billing", prompt="x")


def test_a_key_for_some_agents_sees_their_versions_alone(open_dashboard: Open) -> None:
    browser = open_dashboard(access="keys")
    browser.give_key("sql-lead")
    assert "billing" not in browser.get("/fleet")
    assert "billing" not in browser.get("/playground")
    browser.get("/intake")
