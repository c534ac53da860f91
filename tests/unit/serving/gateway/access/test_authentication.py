"""Who a caller is: by key, by proxy, or unknown; and every key that does not count."""

import ipaddress
from typing import Any, ClassVar

import pytest
from starlette.datastructures import Headers

from ledger.access.keys import AccessKey
from serving.gateway.access.authentication import AuthenticationOptions, Authenticator
from serving.gateway.access.caller import Caller
from serving.gateway.edge.errors import RequestRefused
from tests.unit.serving.gateway.access.key_builder import build_key

CHAT, NOW_S = "/v1/chat/completions", 5000.0
PROXIES = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8"))


def build_options(**changed: Any) -> AuthenticationOptions:
    """Keys are asked for; no proxy is trusted."""
    return AuthenticationOptions(
        **{"access": "keys", "author_header": None, "trusted_proxies": (), **changed}
    )


def ask(
    *keys: AccessKey,
    path: str = CHAT,
    address: str | None = "127.0.0.1",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    **options: Any,
) -> Caller:
    """The caller as a gateway with these keys sees it."""
    pairs = headers.items() if isinstance(headers, dict) else headers or ()
    raw = [(name.lower().encode(), value.encode("utf-8")) for name, value in pairs]
    authenticator = Authenticator(
        build_options(**options),
        lambda: {key.id: key for key in keys},
        clock=lambda: NOW_S,
    )
    return authenticator.caller(path, Headers(raw=raw), address)


def refusal(*keys: AccessKey, **given: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        ask(*keys, **given)
    return refused.value


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


@pytest.mark.parametrize("word", ["Bearer ", "bearer ", "BEARER   "])
def test_a_key_names_its_holder(word: str) -> None:
    key, text = build_key()
    caller = ask(key, headers={"authorization": word + text.text})
    assert (caller.author, caller.key_id, caller.grant) == ("ann", key.id, key.grant)


def test_a_key_that_does_not_count_is_a_401_with_its_reason() -> None:
    key, text = build_key()
    other, _ = build_key()
    swapped = f"clorad_{other.id}_{text.text.rpartition('_')[2]}"
    revoked, revoked_text = build_key(changed={"revoked_s": 10.0})
    expired, expired_text = build_key(changed={"expires_s": NOW_S})
    known = (key, other, revoked, expired)
    for headers, reason in (
        ({}, "no_key"),
        (bearer("none"), "unknown_key"),
        (bearer(swapped), "unknown_key"),
        (bearer(build_key()[1].text), "unknown_key"),
        (bearer(text.text + " x"), "unknown_key"),
        ({"authorization": text.text}, "unknown_key"),
        ({"authorization": f"Basic {text.text}"}, "unknown_key"),
        ([("authorization", f"Bearer {text.text}")] * 2, "unknown_key"),
        (bearer(revoked_text.text), "revoked_key"),
        (bearer(expired_text.text), "expired_key"),
    ):
        refused = refusal(*known, headers=headers)
        assert (refused.status, refused.reason) == (401, reason), headers
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.body["error"]["code"] == "invalid_api_key"
        assert text.text not in str(refused.body)


def test_the_reason_of_a_closed_key_is_for_its_holder_only() -> None:
    revoked, _ = build_key(changed={"revoked_s": 10.0})
    guessed = f"clorad_{revoked.id}_{'0' * 64}"
    assert refusal(revoked, headers=bearer(guessed)).reason == "unknown_key"


def test_a_key_that_expires_later_counts_until_then() -> None:
    key, text = build_key(changed={"expires_s": NOW_S + 0.1})
    assert ask(key, headers=bearer(text.text)).author == "ann"


def test_before_the_keys_were_read_the_client_is_asked_to_come_again() -> None:
    _, text = build_key()
    unread = Authenticator(build_options(), lambda: None)
    raw = [(b"authorization", f"Bearer {text.text}".encode())]
    with pytest.raises(RequestRefused) as refused:
        unread.caller(CHAT, Headers(raw=raw), "127.0.0.1")
    assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "1")


def test_anthropics_clients_send_their_key_in_a_header_of_their_own() -> None:
    key, text = build_key()
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        assert ask(key, path=path, headers={"x-api-key": text.text}).author == "ann"
    assert refusal(key, headers={"x-api-key": text.text}).reason == "no_key"
    both = {"authorization": "Bearer none", "x-api-key": text.text}
    assert refusal(key, path="/v1/messages", headers=both).status == 401


class TestOpenAccess:
    @pytest.mark.parametrize(
        "headers", [{}, bearer("none"), bearer("sk-123"), {"authorization": "Basic eDp5"}]
    )
    def test_anybody_may_come_with_any_text_that_is_no_key(self, headers: dict[str, str]) -> None:
        assert ask(access="open", headers=headers) == Caller()

    def test_a_key_that_is_given_names_its_holder(self) -> None:
        key, text = build_key()
        assert ask(key, access="open", headers=bearer(text.text)).author == "ann"

    def test_a_key_that_is_given_must_be_right(self) -> None:
        revoked, text = build_key(changed={"revoked_s": 10.0})
        assert refusal(revoked, access="open", headers=bearer(text.text)).reason == "revoked_key"


class TestAuthorByProxy:
    OPTIONS: ClassVar[dict[str, Any]] = {"author_header": "x-forwarded-user", "trusted_proxies": PROXIES}

    @pytest.mark.parametrize("address", ["10.1.2.3", "fd00::1", "::ffff:10.1.2.3"])
    def test_a_trusted_proxy_names_the_author(self, address: str) -> None:
        given = {"headers": {"x-forwarded-user": "jörg"}, "address": address}
        assert ask(access="open", **given, **self.OPTIONS) == Caller(author="jörg")

    @pytest.mark.parametrize("address", ["10.2.0.1", "127.0.0.1", "fe80::1", None, "not an address"])
    def test_nobody_else_does(self, address: str | None) -> None:
        given = {"headers": {"x-forwarded-user": "bob"}, "address": address}
        assert ask(access="open", **given, **self.OPTIONS).author is None

    def test_without_the_setting_the_header_is_nothing(self) -> None:
        headers = {"x-forwarded-user": "bob"}
        assert ask(access="open", headers=headers, address="10.1.2.3", trusted_proxies=PROXIES).author is None

    def test_the_key_is_still_asked_for_and_the_author_is_the_proxys(self) -> None:
        key, text = build_key(name="portal")
        headers = {"x-forwarded-user": "bob"}
        assert refusal(key, headers=headers, address="10.1.2.3", **self.OPTIONS).reason == "no_key"
        caller = ask(key, headers=headers | bearer(text.text), address="10.1.2.3", **self.OPTIONS)
        assert (caller.author, caller.grant.name) == ("bob", "portal")
        caller = ask(key, headers=bearer(text.text), address="10.1.2.3", **self.OPTIONS)
        assert caller.author == "portal"

    @pytest.mark.parametrize(
        "headers",
        [
            [("x-forwarded-user", "bob"), ("X-Forwarded-User", "ann")],
            {"x-forwarded-user": ""},
            {"x-forwarded-user": "b\tb"},
            {"x-forwarded-user": "b" * 201},
        ],
    )
    def test_two_authors_or_none_are_refused(self, headers: Any) -> None:
        refused = refusal(access="open", headers=headers, address="10.1.2.3", **self.OPTIONS)
        assert (refused.status, refused.reason) == (400, "author_header")
