"""Secrets and personal data are taken out, ordinary work is left alone; hostile text costs linear time."""

import base64
import json
import random
import time
import uuid
from collections import Counter

import msgspec
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.redaction import FALSE_ALARMS_MAX, RECALL_MIN, LabelledForm, measure, read_forms
from feedback.redaction import KINDS, RedactionCounts, Redactor, text_redactor
from feedback.redaction_rules import RULES, RedactionRule
from ledger.access.key_text import new_key_text
from tests.unit.feedback.event_builder import IDENTITY, redact_text

# Put together here, so that no scanner of repositories takes the test for a leak.
_HEX = "0123456789abcdef"
LATIN1 = re2.Options()
LATIN1.encoding = re2.Options.Encoding.LATIN1
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
    "token": "gsk_" + "a1B2" * 13,
    "webhook": "discord.com/api/webhooks/123456789012345678/" + "a1B2" * 15,
    "cookie": "Cookie: " + "session=abc123def",
    "iban": "DE89 3704 0044 0532 0130 00",
    "ssn": "078-05-1120",
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
    "PWD=/srv/project/dir1",
    "private_key: /etc/ssl/key.pem",
    "passwd: x:1000",
    "sk-learn-contrib-package-name-long",
    'credentials: "same-origin"',
]


def test_a_key_of_our_own_gateway_is_taken_out() -> None:
    text, counts = redact_text(f"use {new_key_text().text} for it")
    assert (text, counts) == ("use [token] for it", {"token": 1})


@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_each_kind_is_taken_out_and_counted(kind: str) -> None:
    text, counts = redact_text(f"before {SECRETS[kind]}\nafter")
    assert counts == {kind: 1}
    assert f"[{kind}]" in text
    assert text.startswith("before ")
    assert text.endswith("\nafter")


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


@pytest.mark.parametrize(
    "value",
    [
        {"name": "DB_PASSWORD", "value": "x9!x9!"},
        {"key": "password", "value": "x9!x9!", "enabled": True},
        [["user", "jane"], ["password", "x9!x9!"]],
        {"password": ["x9!x9!"]},
        {"password": ["x9!x9!", "y"]},
        {"password": ["x9!x9!", {"y": "z"}]},
        {"password": 91829182},
        {"arguments": '{"name": "DB_PASSWORD", "value": "x9!x9!"}'},
        {"arguments": '[{"name":"DB_PASSWORD","value":"x9!x9!"}]'},
        "env:\n- name: DB_PASSWORD\n  value: x9!x9!\n",
    ],
)
def test_a_value_is_given_away_by_a_name_that_stands_elsewhere(value: object) -> None:
    counts: Counter[str] = Counter()
    redactor = Redactor(IDENTITY.fingerprint)
    assert redactor.suspects(json.dumps(value).encode())
    redacted = json.dumps(redactor.value(value, counts))
    assert "x9!x9!" not in redacted
    assert "91829182" not in redacted
    assert counts == {"password": 1}


def test_numbers_and_values_of_other_names_stay_as_they_are() -> None:
    value = {
        "calls": [{"name": "amount", "value": "1042"}, {"name": "password", "value": "string"}, ["a", "b"]],
        "max_tokens": 4096,
        "password": None,
        "token": 91829182,
        "order": 1042,
    }
    assert Redactor(IDENTITY.fingerprint).value(value, Counter()) == value


@pytest.mark.parametrize(
    "kind", ["aws_key", "github_token", "openai_key", "google_key", "stripe_key", "token"]
)
def test_a_token_within_the_name_of_a_function_is_taken_out(kind: str) -> None:
    text, counts = redact_text(f"def call_with_{SECRETS[kind]}(x)")
    assert counts == {kind: 1}
    assert SECRETS[kind] not in text


def test_a_token_in_the_address_of_a_bot_is_taken_out() -> None:
    address = f"https://api.telegram.org/bot{SECRETS['telegram_token']}/sendMessage"
    assert redact_text(address)[1] == {"telegram_token": 1}


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


@pytest.mark.parametrize("kind", sorted(SECRETS))
@given(before=st.text(max_size=4), after=st.text(max_size=4), name=st.sampled_from(["text", "q", "content"]))
@settings(max_examples=25, deadline=None)
def test_what_is_redacted_anywhere_is_seen_in_the_encoded_event(
    kind: str, before: str, after: str, name: str
) -> None:
    data = {"messages": [{name: before + SECRETS[kind] + after, "more": [before, {after: SECRETS[kind]}]}]}
    redactor = text_redactor()
    if redactor.event_data(data, Counter()) != data:
        for raw in (msgspec.json.encode(data), json.dumps(data, ensure_ascii=False).encode()):
            assert redactor.suspects(raw)


def test_ids_that_programs_make_stay_as_they_are() -> None:
    """Now and then their checksum is that of an IBAN, but they have no country's length."""
    redactor, rng = Redactor(IDENTITY.fingerprint), random.Random(7)
    made = [uuid.UUID(int=rng.getrandbits(128)) for _ in range(5_000)]
    ids = ["dc32ee086040482ca81f58f9a2574141", *map(str, made), *(each.hex for each in made)]
    assert [name for name in ids if redactor.name(name, Counter()) != name] == []


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


FORMS = read_forms()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind}: {rule.source[:30]}")
def test_what_a_rule_takes_out_its_hint_has_seen(rule: RedactionRule) -> None:
    hint = re2.compile(rule.hint.encode(), LATIN1)
    for text in (place for form in FORMS for place in form.places):
        if any(rule.spans(text)):
            assert hint.search(text.encode("utf-8", "surrogatepass")) is not None, text
            assert hint.search(json.dumps(text, ensure_ascii=False).encode()) is not None, text


def test_the_list_holds_recall_and_false_alarms() -> None:
    result = measure(FORMS, text_redactor())
    assert result["forms"] >= 150
    assert result["recall"] >= RECALL_MIN, result["missed"]
    assert result["false_alarms"] <= FALSE_ALARMS_MAX, result["damaged"]


@pytest.mark.parametrize(
    "form", [form for form in FORMS if form.is_secret][::7], ids=lambda form: form.source
)
def test_a_secret_of_the_list_is_gone_after_one_redaction(form: LabelledForm) -> None:
    once, _ = redact_text(form.text)
    assert redact_text(once) == (once, {})


def test_every_rule_has_a_source() -> None:
    assert [rule.kind for rule in RULES if len(rule.source) < 5] == []


@pytest.mark.parametrize(
    "hidden",
    [
        "AKIA\u200b" + "ABCDEFGHIJKLMNOP",
        "\\u0041KIA" + "ABCDEFGHIJKLMNOP",
        "\\x41KIA" + "ABCDEFGHIJKLMNOP",
        "\0".join("AKIA" + "ABCDEFGHIJKLMNOP"),
        base64.b64encode(b"the key is AKIA" + b"ABCDEFGHIJKLMNOP").decode(),
        base64.urlsafe_b64encode(b"the key is AKIA" + b"ABCDEFGHIJKLMNOP??").decode(),
        base64.encodebytes(b"a long letter before " * 5 + b"AKIA" + b"ABCDEFGHIJKLMNOP").decode(),
    ],
    ids=["zero width", "JSON escape", "C escape", "UTF-16", "base64", "base64url", "MIME"],
)
def test_a_hidden_secret_is_taken_out_too(hidden: str) -> None:
    text, counts = redact_text(f"before {hidden}\nafter")
    assert counts == {"aws_key": 1}
    assert "ABCDEFGHIJKLMNOP" not in text
    assert text.startswith("before ")


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("jane%40example.com", "[email]"),
        ("jane\u200b@\u200bexample.com", "[email]"),
        ("jane＠example.com", "[email]"),
        ("jane&#64;example.com", "[email]"),
        ("jane&#x40;example.com", "[email]"),
        ("4111\u00a01111\u00a01111\u00a01111", "[card]"),
        ("+49\u202f170\u202f1234567", "[phone]"),
    ],
)
def test_other_spellings_of_a_character_hide_nothing(address: str, plain: str) -> None:
    assert redact_text(f"to {address}, now") == (f"to {plain}, now", {plain.strip("[]"): 1})


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-8", "latin-1"])
def test_bytes_of_a_dead_letter_keep_no_secret(codec: str) -> None:
    raw = ("é: AKIA" + "ABCDEFGHIJKLMNOP").encode(codec)
    once = Redactor(IDENTITY.fingerprint).binary(raw, Counter())
    assert b"[aws_key]" in once
    assert Redactor(IDENTITY.fingerprint).binary(once, Counter()) == once


@pytest.mark.parametrize(
    "piece",
    [
        "a", "@", "a@", "a@a.", "a.@", "1 ", "+1 ", "1-", "4111 ", "password", "password:", "aws", "aws key ",
        "eyJaaaaaaaa.", "sk-", "://", "://:", "bearer ", "hooks.slack.com/services/",
        "-----BEGIN PRIVATE KEY-----", "AKIA", "ghp_", "123456789:AA", "SG.aaaaaaaaaaaaaaaa.",
        "x-", "[email]", "token=", "token='", "password=a", "_KEY=", "A\u200b", "%40", "\\u0041", "QUtJ",
        "a1 ", "DE89 ", "01 ", "0170 ", "0049", "cookie: a=", "curl -u ", "mysql ", "twilio", "twilio_key=",
        "(at)", "a (at) ", "pat.", "--password ", "login a ", "password is ", "ey", "&#64;",
        "PuTTY-User-Key-File-3", "tel: 1", "password a ",
    ],
)  # fmt: skip
def test_hostile_text_costs_linear_time(piece) -> None:
    redactor, counts = text_redactor(), Counter[str]()

    def seconds(chars: int) -> float:
        begun = time.process_time()
        redactor.text(piece * (chars // len(piece)), counts)
        return time.process_time() - begun

    seconds(1000)  # compiles the rules
    short = min(seconds(20_000) for _ in range(3))
    assert seconds(200_000) < 40 * max(short, 0.002)  # quadratic time would be a hundred times as much


def test_tools_are_redacted_once_and_counted_every_time() -> None:
    redactor, calls = Redactor(lambda _: "f"), []
    redact = redactor.text
    redactor.text = lambda text, counts: calls.append(text) or redact(text, counts)  # type: ignore[method-assign]
    tools = [{"type": "function", "function": {"name": "mail", "description": "to jane@example.com"}}]
    for times in (1, 2):
        counts: RedactionCounts = Counter()
        data = redactor.event_data({"tools": tools}, counts)
        assert data["tools"][0]["function"]["description"] == "to [email]"
        assert counts == {"email": 1}
        assert calls.count("to jane@example.com") == 1, f"asked {times} times"
    other = [{"function": {"description": "to john@example.com"}}]
    assert redactor.event_data({"tools": other}, Counter())["tools"] == [
        {"function": {"description": "to [email]"}}
    ]
    assert redactor.event_data({"tools": [object()]}, Counter())["tools"] != []
