"""Secrets and personal data are taken out, ordinary work is left alone; hostile text costs linear time."""

import json
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.redaction import KINDS, PATTERNS, Pattern, Redactor
from tests.unit.feedback.event_builder import IDENTITY, redact_text

# Put together here, so that no scanner of repositories takes the test for a leak.
_HEX = "0123456789abcdef"
SECRETS = {
    "aws_key": "AKIA" + "ABCDEFGHIJKLMNOP",
    "aws_secret": "aws_secret_access_key = " + "abcdefghij" * 4,
    "github_token": "ghp_" + "a1" * 18,
    "gitlab_token": "glpat-" + "a1" * 10,
    "slack_token": "xoxb-" + "1234567890-abcdef",
    "openai_key": "sk-proj-" + "a1b2" * 10,
    "stripe_key": "sk_live_" + "a1" * 12,
    "google_key": "AIza" + "a" * 35,
    "registry_token": "npm_" + "a1" * 18,
    "cloud_token": "dop_v1_" + _HEX * 4,
    "telegram_token": "123456789:AA" + "a" * 33,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "authorization": "Authorization: Bearer " + "abc123" * 4,
    "url_password": "postgres://app:" + "s3cret@db/orders",
    "password": "password = " + "hunter2!",
    "private_key": "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    "email": "jane.doe+work@mail.example.com",
    "card": "4111 1111 1111 1111",
    "phone": "+49 170 1234567",
}
ORDINARY = [
    '{"tool":"refund","order":1042,"amount":35}',
    'text = open("notes.txt").read()',
    "DELETE FROM users WHERE id=17",
    "password: str = field(default='')",
    "api_key = os.environ['API_KEY']",
    "def secret_key(self) -> str: ...",
    "git clone git@github.com:team/project.git",
    "@app.route('/users/<int:id>')",
    "2026-11-22T10:15:00Z took 1234567 us",
    "order 4111111111111112 is late",
    "550e8400-e29b-41d4-a716-446655440000",
    "version 192.168.10.1 of 2026-11-22",
    "the secret is not to hurry",
    "see https://example.com/a:b?c=d",
]


@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_each_kind_is_taken_out_and_counted(kind: str) -> None:
    text, counts = redact_text(f"before {SECRETS[kind]} after")
    assert counts == {kind: 1}
    assert f"[{kind}]" in text
    assert text.startswith("before ")
    assert text.endswith(" after")


def test_every_kind_has_an_example() -> None:
    assert SECRETS.keys() == KINDS


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_work_is_left_alone(text: str) -> None:
    assert redact_text(text) == (text, {})


def test_other_ways_to_write_the_same() -> None:
    for text in ("(415) 555-0100", "415-555-0100", "+1 (415) 555-0100"):
        assert redact_text(text) == ("[phone]", {"phone": 1})
    for text in (
        '{"password": "hunter2!"}',
        "pwd=hunter2!",
        "client_secret: 'hunter2!'",
        "API-KEY=abc123def",
    ):
        assert "[password]" in redact_text(text)[0]


def test_a_field_named_after_a_secret_gives_its_value_away() -> None:
    counts: Counter[str] = Counter()
    value = {"arguments": {"password": "hunter2!", "user": "jane", "db_password": "x9!x9!"}}
    redacted = Redactor(IDENTITY.fingerprint).value(value, counts)
    assert redacted == {"arguments": {"password": "[password]", "user": "jane", "db_password": "[password]"}}
    assert counts == {"password": 2}


def test_kinds_can_be_left_in() -> None:
    counts: Counter[str] = Counter()
    redactor = Redactor(IDENTITY.fingerprint, KINDS - {"email"})
    assert redactor.text("a@example.com +49 170 1234567", counts) == "a@example.com [phone]"
    with pytest.raises(ValueError, match="unknown kinds"):
        Redactor(IDENTITY.fingerprint, frozenset({"gossip"}))


def test_with_no_kinds_nothing_is_suspect() -> None:
    redactor = Redactor(IDENTITY.fingerprint, frozenset())
    for secret in SECRETS.values():
        assert not redactor.suspects(secret.encode())
        assert redactor.text(secret, Counter()) == secret


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_the_prefilter_sees_each_kind_in_raw_json(kind: str, ascii_only) -> None:
    raw = json.dumps({"text": f'"quoted" {SECRETS[kind]}\n'}, ensure_ascii=ascii_only).encode()
    assert Redactor(IDENTITY.fingerprint, frozenset({kind})).suspects(raw)


def test_an_identifier_without_personal_data_stays_as_it_is() -> None:
    counts: Counter[str] = Counter()
    redactor = Redactor(IDENTITY.fingerprint)
    assert redactor.name("dev-17", counts) == "dev-17"
    once = redactor.name("jane@example.com", counts)
    assert once.startswith("redacted:")
    assert redactor.name(once, counts) == once
    assert counts == {"identifier": 1}


@given(
    st.lists(st.sampled_from([*SECRETS.values(), *ORDINARY]) | st.text(max_size=20), max_size=6).map(" ".join)
)
@settings(max_examples=300, deadline=None)
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once, _ = redact_text(text)
    assert redact_text(once) == (once, {})


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_can_be_gone_through(raw) -> None:
    Redactor(IDENTITY.fingerprint).binary(raw, Counter())


@given(st.text(max_size=100), st.sampled_from(PATTERNS))
@settings(max_examples=300, deadline=None)
def test_what_the_expression_finds_its_hint_has_seen(text: str, pattern: Pattern) -> None:
    redactor = Redactor(IDENTITY.fingerprint, frozenset({pattern.kind}))
    if pattern.expression.search(text) is not None and len(text) >= 6:
        assert redactor.suspects(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "piece",
    [
        "a", "@", "a@", "a@a.", "a.@", "1 ", "+1 ", "1-", "4111 ", "password", "password:", "aws", "aws key ",
        "eyJaaaaaaaa.", "sk-", "://", "://:", "bearer ", "hooks.slack.com/services/",
        "-----BEGIN PRIVATE KEY-----", "AKIA", "ghp_", "123456789:AA", "SG.aaaaaaaaaaaaaaaa.",
        "x-", "[email]",
    ],
)  # fmt: skip
def test_hostile_text_costs_linear_time(piece) -> None:
    text = piece * (200_000 // len(piece))
    begun = time.process_time()
    redact_text(text)
    assert time.process_time() - begun < 1.0
