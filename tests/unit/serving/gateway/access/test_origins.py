"""A web page somewhere cannot make a browser talk to a gateway."""

from dataclasses import replace

import pytest
from starlette.datastructures import Headers

from serving.gateway.access.origins import OriginRules
from serving.gateway.edge.errors import RequestRefused

LOOPBACK = OriginRules(
    checks_host=True,
    is_loopback=True,
    hosts=frozenset({"clorad.example"}),
    origins=frozenset({"https://chat.example"}),
)
BEYOND = OriginRules(checks_host=False, is_loopback=False, hosts=frozenset(), origins=frozenset())
JSON = {"content-type": "application/json"}


def status(rules: OriginRules, method: str = "POST", **given: str | tuple[str, ...]) -> int:
    """200, or the status of the refusal. Several values of a header are a tuple."""
    headers: dict[str, str | tuple[str, ...]] = {"host": "127.0.0.1:8080", **JSON}
    headers |= {name.replace("_", "-"): value for name, value in given.items()}
    raw = [
        (name.encode(), value.encode("latin-1"))
        for name, values in headers.items()
        for value in ((values,) if isinstance(values, str) else values)
    ]
    try:
        rules.check(method, Headers(raw=raw))
    except RequestRefused as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "text/plain",
            "text/plain;charset=UTF-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
        ),
        *(
            "",
            "text/json",
            "application/jsonp",
            "text/plain; application/json",
            "application/json, text/plain",
        ),
    ],
)
def test_what_a_page_may_post_unasked_is_not_read(kind: str) -> None:
    assert status(LOOPBACK, content_type=kind) == 415
    assert status(BEYOND, content_type=kind) == 415


def test_a_post_without_a_type_is_read_where_no_browser_sent_it() -> None:
    assert status(LOOPBACK, content_type=()) == 200
    assert status(LOOPBACK, content_type=(), origin="http://127.0.0.1:8080") == 415
    assert status(LOOPBACK, content_type=(), sec_fetch_site="same-origin") == 415


def test_a_post_with_two_types_is_not_read() -> None:
    assert status(LOOPBACK, content_type=("application/json", "text/plain")) == 415


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json; charset=UTF-8"],
)
def test_json_is_read(kind: str) -> None:
    assert status(LOOPBACK, content_type=kind) == 200


def test_a_get_needs_no_type() -> None:
    assert status(LOOPBACK, "GET", content_type=()) == 200


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "null", "", "http://127.0.0.1:3000", "http://localhost:8080", "file://"),
        *("https://chat.example.evil.example", "http://chat.example", "https://chat.example:444"),
        ("https://chat.example", "http://evil.example"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_foreign_page_is_refused(origin: str | tuple[str, ...], method: str) -> None:
    assert status(LOOPBACK, method, origin=origin) == 403
    assert status(BEYOND, method, origin=origin, host="gateway:80") == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "https://chat.example"])
def test_our_own_page_and_one_that_was_allowed_are_let_in(origin: str) -> None:
    assert status(LOOPBACK, origin=origin) == 200


def test_a_page_that_sends_no_origin_is_known_by_its_fetch_metadata() -> None:
    assert status(LOOPBACK, "GET", sec_fetch_site="cross-site") == 403
    for site in ("same-origin", "none"):
        assert status(LOOPBACK, "GET", sec_fetch_site=site) == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "10.0.0.1",
        ),
        *("127.0.0.1@evil.example", "clorad.example.evil.example", "[::2]:80", "8.8.8.8:8080"),
    ],
)
def test_on_loopback_a_name_that_is_not_ours_is_refused(host: str) -> None:
    assert status(LOOPBACK, host=host) == 403
    assert status(LOOPBACK, host=host, origin=f"http://{host}") == 403, "rebinding makes it the same origin"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost:8080",
        "LOCALHOST",
        "localhost.",
        "[::1]:8080",
        "127.1.2.3:1",
        "Clorad.Example:9",
    ],
)
def test_our_own_names_are_let_in(host: str) -> None:
    assert status(LOOPBACK, host=host) == 200


@pytest.mark.parametrize("host", ["localhost:8080", "x", "clorad-gateway", "gateway_1:80"])
def test_a_name_of_one_label_is_ours_since_nobody_can_register_it(host: str) -> None:
    assert status(LOOPBACK, host=host) == 200


def test_two_names_or_none_are_refused() -> None:
    assert status(LOOPBACK, host=()) == 403
    assert status(LOOPBACK, host=("127.0.0.1", "evil.example")) == 403


def test_beyond_loopback_addresses_are_ours_and_names_must_be_said() -> None:
    rules = replace(BEYOND, checks_host=True, hosts=frozenset({"gateway.clorad.svc"}))
    for host in ("10.0.0.7:8080", "[fd00::7]:8080", "gateway.clorad.svc", "localhost"):
        assert status(rules, host=host) == 200
    assert status(rules, host="evil.example") == 403
    assert status(BEYOND, host="whatever.example") == 200
