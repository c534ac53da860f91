"""Who may look at the dashboard: names, pages of others, keys, sessions."""

import pytest
from starlette.requests import Request

from daemon.dashboard.sessions import COOKIE, SESSION_S_MAX, SESSIONS_MAX, Sessions
from ledger.access.keys import all_keys, revoke_keys
from serving.gateway.access.authentication import AuthenticationOptions, Authenticator
from serving.gateway.access.origins import OriginRules
from tests.unit.daemon.dashboard.conftest import ADDRESS, Browser, Open


def test_on_loopback_anybody_may_look_and_nobody_acts_without_a_key(browser: Browser) -> None:
    page = browser.get("/agents")
    assert "Give a key" in page
    assert "Forget key" not in page


def test_with_keys_only_those_who_have_one_may_look(open_dashboard: Open) -> None:
    browser = open_dashboard(access="keys")
    assert "A key is needed" in browser.get("/agents", 401)
    browser.give_key("reader")
    assert "reader (only looks)" in browser.get("/agents")
    browser.client.post("/key/forget", headers={"origin": ADDRESS})
    browser.get("/agents", 401)


def test_a_key_for_some_agents_shows_no_others(open_dashboard: Open) -> None:
    browser = open_dashboard(access="keys")
    browser.give_key("sql-lead")
    page = browser.get("/agents")
    assert "1 of 1" in page
    assert "billing" not in page
    assert "not for that agent" in browser.get("/agents/billing", 403)


def test_a_program_sends_its_key_as_to_the_gateway(open_dashboard: Open) -> None:
    browser = open_dashboard(access="keys")
    key = browser.ledger.keys["reader"]
    assert "reader" in browser.get("/agents", authorization=f"Bearer {key}")
    browser.get("/agents", 401, authorization="Bearer clorad_000000000000_" + "0" * 64)


@pytest.mark.parametrize("text", ["", "hunter2", "clorad_000000000000_" + "0" * 64])
def test_what_is_no_key_begins_no_session(browser: Browser, text: str) -> None:
    answer = browser.client.post("/key", data={"key": text}, headers={"origin": ADDRESS})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_revoked_key_ends_its_sessions(browser: Browser) -> None:
    browser.give_key("reader")
    browser.get("/agents")
    with browser.database.read() as connection:
        [key] = [key for key in all_keys(connection) if key.grant.name == "reader"]
    revoke_keys(browser.database, key_id=key.id)
    browser.forget_reports()
    assert "was revoked" in browser.get("/agents", 401)


def test_the_cookie_is_closed_to_scripts_and_to_forms_of_other_sites(browser: Browser) -> None:
    answer = browser.client.post(
        "/key",
        data={"key": browser.ledger.keys["lead"]},
        headers={"origin": ADDRESS},
        follow_redirects=False,
    )
    assert {"HttpOnly", "SameSite=lax"} <= {part.strip() for part in answer.headers["set-cookie"].split(";")}
    assert browser.ledger.keys["lead"] not in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
    ],
)
def test_a_foreign_page_or_name_gets_nothing(browser: Browser, headers: dict[str, str]) -> None:
    browser.get("/agents", 403, **headers)
    for path in ("/key", "/key/forget"):
        answer = browser.client.post(path, data={"key": browser.ledger.keys["lead"]}, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_a_link_on_another_page_may_be_followed(browser: Browser) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    browser.get("/agents", **headers)
    browser.get("/agents", 403, **headers | {"sec-fetch-dest": "iframe"})


def test_pages_load_nothing_from_elsewhere(browser: Browser) -> None:
    answer = browser.client.get("/agents")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http://" not in answer.text.replace(ADDRESS, "")
    assert "https://" not in answer.text


@pytest.mark.parametrize(
    ("form", "status"),
    [("&".join(f"f{number}=1" for number in range(101)), 400), ("f=" + "x" * 70_000, 413), ("%zz=%ff", 403)],
)
def test_a_form_that_no_page_sends_is_refused(browser: Browser, form: str, status: int) -> None:
    headers = {"origin": ADDRESS, "content-type": "application/x-www-form-urlencoded"}
    answer = browser.client.post("/actions/hold", content=form, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ("&".join(f"f{n}=x" for n in range(200)), "application/x-www-form-urlencoded", 400),
        ("key=" + "x" * 100_000, "application/x-www-form-urlencoded", 413),
        ('{"key": "x"}', "application/json", 415),
    ],
)
def test_what_is_no_form_of_ours_is_refused(browser: Browser, body: str, kind: str, code: int) -> None:
    for path in ("/key", "/actions/hold"):
        answer = browser.client.post(path, content=body, headers={"origin": ADDRESS, "content-type": kind})
        assert answer.status_code == code


def test_a_session_ends_after_some_hours_and_the_oldest_of_too_many_goes(browser: Browser) -> None:
    now_s = 0.0
    rules = OriginRules(checks_host=False, is_loopback=True, hosts=set(), origins=set())
    options = AuthenticationOptions(access="open", author_header=None, trusted_proxies=())
    authenticator = Authenticator(options, browser.reports.keys)
    sessions = Sessions(rules, authenticator, is_open=True, clock=lambda: now_s)
    first = sessions.begin(build_request(), browser.ledger.keys["lead"])
    assert sessions.admit(build_request(first)).has_key
    now_s = SESSION_S_MAX + 1
    assert not sessions.admit(build_request(first)).has_key
    values = [sessions.begin(build_request(), browser.ledger.keys["lead"]) for _ in range(SESSIONS_MAX + 1)]
    assert not sessions.admit(build_request(values[0])).has_key
    assert sessions.admit(build_request(values[1])).has_key


def build_request(session: str = "") -> Request:
    headers = [(b"host", b"127.0.0.1"), (b"cookie", f"{COOKIE}={session}".encode())]
    return Request({"type": "http", "method": "GET", "path": "/agents", "headers": headers, "client": None})
