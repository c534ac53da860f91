"""A signed event is believed as it was signed, and nothing of it can be changed or used for another event."""

import base64
import json
from typing import Any

import pytest

from feedback.event_record import build_event_record, signed_record
from feedback.reading import Reader
from feedback.redaction import Redactor
from feedback.signing import (
    Algorithm,
    SignedFields,
    Signers,
    SigningKey,
    TrustedSigner,
    gateway_key,
    public_key_of,
    rights_of,
)
from ledger.events import Event, Headers, Interaction, Reason, Trust, UnusableRecord
from tests.unit.feedback.event_builder import CORRECTION, IDENTITY, INTERACTION, RECEIVED_S, build_headers

SECRET = bytes(range(32))
HMAC_KEY = SigningKey(id="ide-1", algorithm=Algorithm.HMAC_SHA256, secret=SECRET)
ED25519_KEY = SigningKey(id="ide-2", algorithm=Algorithm.ED25519, secret=SECRET)
KEYS = pytest.mark.parametrize("key", [HMAC_KEY, ED25519_KEY], ids=lambda key: key.algorithm.value)
DATA = json.dumps(CORRECTION).encode()


def build_signer(key: SigningKey, **changed: Any) -> TrustedSigner:
    public = public_key_of(key.secret) if key.algorithm is Algorithm.ED25519 else key.secret
    fields = {"sources": frozenset({"ide"}), "rights": frozenset({"act"})} | changed
    return TrustedSigner(id=key.id, algorithm=key.algorithm, key=public, **fields)


def build_fields(**changed: Any) -> SignedFields:
    """Of the event that `build_headers` describes."""
    fields: dict[str, Any] = {
        "id": "e-1",
        "source": "ide",
        "type": "clorad.correction.v1",
        "time": "2026-11-22T10:00:00Z",
        "key": "k-7",
        "rights": "act",
        "form": "bytes",
        "data": DATA,
    }
    return SignedFields(**fields | changed)


def build_signed_headers(key: SigningKey, fields: SignedFields, **changed: bytes | None) -> Headers:
    own = {
        "ce_id": fields.id.encode(),
        "ce_source": fields.source.encode(),
        "ce_type": fields.type.encode(),
        "ce_time": None if fields.time is None else fields.time.encode(),
        "ce_cloradkey": None if fields.key is None else fields.key.encode(),
        "ce_cloradrights": None if fields.rights is None else fields.rights.encode(),
    }
    signed = {f"ce_{name}": value.encode() for name, value in key.extensions(fields).items()}
    return build_headers("correction", **own | signed | changed)


def build_structured(key: SigningKey, data: Any) -> dict[str, Any]:
    fields = build_fields(form="json", data=data)
    return {
        "specversion": "1.0",
        "id": fields.id,
        "source": fields.source,
        "type": fields.type,
        "time": fields.time,
        "cloradkey": fields.key,
        "cloradrights": fields.rights,
        **key.extensions(fields),
        "data": data,
    }


def read(
    value: bytes | None, headers: Headers, *signers: TrustedSigner
) -> Event | Interaction | UnusableRecord:
    known = Signers(signers) if signers else None
    reader = Reader(IDENTITY, Redactor(IDENTITY.fingerprint), known)
    return reader.read(offset=0, key=None, value=value, headers=headers, received_s=RECEIVED_S).content


def refusal(value: bytes | None, headers: Headers, *signers: TrustedSigner) -> str:
    content = read(value, headers, *signers)
    assert isinstance(content, UnusableRecord)
    assert content.reason is Reason.BAD_SIGNATURE
    return content.detail


@KEYS
def test_a_signed_event_is_believed_with_its_key_and_its_rights(key: SigningKey) -> None:
    content = read(DATA, build_signed_headers(key, build_fields()), build_signer(key))
    assert isinstance(content, Event)
    assert (content.trust, content.signer, content.key_id, content.rights) == (
        Trust.SIGNED,
        key.id,
        "k-7",
        frozenset({"act"}),
    )


@KEYS
def test_time_key_and_rights_may_be_left_out(key: SigningKey) -> None:
    fields = build_fields(time=None, key=None, rights=None)
    content = read(DATA, build_signed_headers(key, fields), build_signer(key))
    assert isinstance(content, Event)
    assert (content.trust, content.rights) == (Trust.SIGNED, frozenset())


@KEYS
@pytest.mark.parametrize(
    "changed",
    [
        {"ce_id": b"e-2"},
        {"ce_source": b"ide2"},
        {"ce_type": b"clorad.outcome.v1"},
        {"ce_time": b"2026-11-22T10:00:01Z"},
        {"ce_time": None},
        {"ce_cloradkey": b"k-8"},
        {"ce_cloradkey": None},
        {"ce_cloradrights": b"judge"},
        {"ce_cloradrights": None},
        {"ce_cloradsignature": base64.b64encode(b"x" * 32)},
        {"ce_cloradsignature": base64.b64encode(b"x" * 64)},
        {"ce_cloradsignature": base64.b64encode(b"")[:0] or b"="},
        {"ce_cloradsignature": b"\xc3\xa4"},
        {"ce_cloradsignature": None},
        {"ce_cloradsigner": b"nobody"},
        {"ce_cloradsigner": None},
    ],
    ids=lambda changed: "-".join(f"{name}:{value!r}"[:40] for name, value in changed.items()),
)
def test_an_event_with_anything_changed_is_refused(key: SigningKey, changed: dict[str, bytes | None]) -> None:
    signer = build_signer(key, sources=frozenset({"*"}), rights=None)
    assert refusal(DATA, build_signed_headers(key, build_fields(), **changed), signer)


@KEYS
def test_a_signature_does_not_fit_other_data(key: SigningKey) -> None:
    other = json.dumps(CORRECTION | {"corrected": "no"}).encode()
    assert refusal(other, build_signed_headers(key, build_fields()), build_signer(key))
    assert refusal(DATA + b" ", build_signed_headers(key, build_fields()), build_signer(key)), "bytes count"


def test_fields_cannot_be_shifted_into_each_other() -> None:
    one = build_fields(id="ab", source="c").text(Algorithm.HMAC_SHA256, "k")
    other = build_fields(id="a", source="bc").text(Algorithm.HMAC_SHA256, "k")
    assert one != other
    assert build_fields(key=None).text(Algorithm.HMAC_SHA256, "k") != build_fields(key="").text(
        Algorithm.HMAC_SHA256, "k"
    )


def test_a_signature_of_one_algorithm_is_none_of_the_other() -> None:
    public = public_key_of(SECRET)
    # The sender does not choose the algorithm, or the public key would do as the secret of an HMAC.
    forged = SigningKey(id="ide-2", algorithm=Algorithm.HMAC_SHA256, secret=public)
    assert refusal(DATA, build_signed_headers(forged, build_fields()), build_signer(ED25519_KEY))


def test_a_signer_speaks_only_for_its_sources_and_vouches_only_for_its_rights() -> None:
    headers = build_signed_headers(HMAC_KEY, build_fields())
    assert "source" in refusal(DATA, headers, build_signer(HMAC_KEY, sources=frozenset({"ide*x", "ops"})))
    assert "rights" in refusal(DATA, headers, build_signer(HMAC_KEY, rights=frozenset({"judge"})))
    teams = build_fields(source="team-a/ide")
    assert isinstance(
        read(
            DATA,
            build_signed_headers(HMAC_KEY, teams),
            build_signer(HMAC_KEY, sources=frozenset({"team-a/*"})),
        ),
        Event,
    )


def test_without_a_signature_no_key_and_no_right_is_believed() -> None:
    headers = build_headers("correction", ce_cloradkey=b"k-7", ce_cloradrights=b"act,judge")
    content = read(DATA, headers)
    assert isinstance(content, Event)
    assert (content.trust, content.signer, content.key_id, content.rights) == (
        Trust.UNSIGNED,
        None,
        None,
        frozenset(),
    )


class TestStructuredMode:
    STRUCTURED = (("content-type", b"application/cloudevents+json"),)

    def build_event(self, key: SigningKey, **changed: Any) -> dict[str, Any]:
        return build_structured(key, CORRECTION) | changed

    @KEYS
    def test_any_spelling_of_the_same_json_is_the_same_event(self, key: SigningKey) -> None:
        event = self.build_event(key)
        turned = dict(reversed(event.items())) | {"data": dict(reversed(CORRECTION.items()))}
        for text in (json.dumps(event), json.dumps(turned, indent=2, ensure_ascii=False)):
            content = read(text.encode(), self.STRUCTURED, build_signer(key))
            assert isinstance(content, Event)
            assert (content.trust, content.rights) == (Trust.SIGNED, frozenset({"act"}))

    @KEYS
    def test_an_event_with_anything_changed_is_refused(self, key: SigningKey) -> None:
        for changed in (
            {"id": "e-2"},
            {"time": "2026-11-22T10:00:01Z"},
            {"cloradrights": "judge"},
            {"data": CORRECTION | {"corrected": "no"}},
        ):
            text = json.dumps(self.build_event(key, **changed))
            signer = build_signer(key, rights=None)
            assert refusal(text.encode(), self.STRUCTURED, signer), changed

    def test_data_without_a_canonical_form_cannot_be_signed(self) -> None:
        text = json.dumps(self.build_event(HMAC_KEY, data=CORRECTION | {"n": 2**60}))
        assert "canonical" in refusal(text.encode(), self.STRUCTURED, build_signer(HMAC_KEY))

    def test_an_extension_that_is_no_text_is_refused(self) -> None:
        text = json.dumps(self.build_event(HMAC_KEY, cloradrights=["act"]))
        content = read(text.encode(), self.STRUCTURED, build_signer(HMAC_KEY))
        assert isinstance(content, UnusableRecord)
        assert content.reason is Reason.INVALID_SCHEMA


class TestGateways:
    def build_record(self, kind: str = "correction", data: Any = CORRECTION, **changed: Any) -> Any:
        redactor = Redactor(IDENTITY.fingerprint)
        record = build_event_record(kind, data, topic="t", source="ide", redactor=redactor, **changed)
        return signed_record(record, gateway_key(IDENTITY))

    def test_what_a_gateway_signs_is_believed_without_a_setting(self) -> None:
        record = self.build_record(key_id="k-7", rights={"judge", "act"})
        content = read(record.value, record.headers)
        assert isinstance(content, Event)
        assert (content.signer, content.key_id) == ("gateway", "k-7")
        assert content.rights == frozenset({"act", "judge"})

    def test_what_it_redacted_is_believed_too(self) -> None:
        record = self.build_record(
            data=CORRECTION | {"author": "ann@example.com", "comment": "a@example.com"}
        )
        content = read(record.value, record.headers)
        assert isinstance(content, Event)
        assert content.trust is Trust.SIGNED

    def test_captures_are_signed_like_events(self) -> None:
        record = self.build_record("interaction", INTERACTION)
        assert isinstance(read(record.value, record.headers), Interaction)
        assert refusal(record.value + b" ", record.headers)

    def test_the_key_of_another_ledger_is_no_key_here(self) -> None:
        other = SigningKey(id="gateway", algorithm=Algorithm.HMAC_SHA256, secret=b"o" * 64)
        assert refusal(DATA, build_signed_headers(other, build_fields()))

    def test_no_text_has_the_key_as_its_fingerprint(self) -> None:
        key = gateway_key(IDENTITY).secret
        assert key.hex() != IDENTITY.fingerprint(b"clorad key: gateway")
        assert len(key) == 64


def test_the_signed_bytes_are_what_the_runbook_describes() -> None:
    """Producers in other languages build these bytes: they may never change under this label."""
    fields = build_fields(key=None, rights=None, data=b"{}")
    expected = b"clorad-signature-1"
    for part in (b"hmac-sha256", b"ide-1", b"e-1", b"ide", b"clorad.correction.v1", b"2026-11-22T10:00:00Z"):
        expected += len(part).to_bytes(8, "big") + part
    expected += b"\xff" * 16 + (5).to_bytes(8, "big") + b"bytes" + (2).to_bytes(8, "big") + b"{}"
    assert fields.text(Algorithm.HMAC_SHA256, "ide-1") == expected


def test_rights_are_read_from_a_list_with_commas() -> None:
    assert rights_of("act, judge,") == {"act", "judge"}
    assert rights_of("") == rights_of(None) == frozenset()


class TestWhatIsKeptOfASignedRecord:
    def kept(self, data: bytes, **changed: bytes | None) -> tuple[bytes | None, set[str]]:
        fields = build_fields(data=data, key=None, rights=None)
        headers = build_signed_headers(HMAC_KEY, fields, **changed)
        reader = Reader(IDENTITY, Redactor(IDENTITY.fingerprint), Signers([build_signer(HMAC_KEY)]))
        arrival = reader.read(offset=0, key=None, value=data, headers=headers, received_s=RECEIVED_S)
        return arrival.value, {name for name, _ in arrival.headers if name.startswith("ce_clorad")}

    SECRET_TEXT = json.dumps(CORRECTION | {"corrected": "ask ann@example.com"}).encode()

    def test_the_signature_stays_with_a_record_that_was_not_changed(self) -> None:
        assert self.kept(DATA) == (DATA, {"ce_cloradsigner", "ce_cloradsignature"})

    def test_redacted_it_has_no_signature_so_that_it_can_be_redriven(self) -> None:
        value, names = self.kept(self.SECRET_TEXT)
        assert value is not None
        assert b"ann@example.com" not in value
        assert names == set()

    def test_headers_in_capital_letters_are_the_same_ones(self) -> None:
        headers = build_signed_headers(HMAC_KEY, build_fields(data=self.SECRET_TEXT, key=None, rights=None))
        upper = tuple((name.upper(), value) for name, value in headers)
        reader = Reader(IDENTITY, Redactor(IDENTITY.fingerprint), Signers([build_signer(HMAC_KEY)]))
        arrival = reader.read(
            offset=0, key=None, value=self.SECRET_TEXT, headers=upper, received_s=RECEIVED_S
        )
        assert isinstance(arrival.content, Event)
        assert {"CE_ID", "CE_SOURCE", "CE_TYPE", "CE_TIME"} <= {name for name, _ in arrival.headers}
        assert not [name for name, _ in arrival.headers if "CLORADSIG" in name]

    @pytest.mark.parametrize("text", ["yes", "ask ann@example.com"])
    def test_a_structured_record_loses_its_signature_only_where_it_was_redacted(self, text: str) -> None:
        event = build_structured(HMAC_KEY, CORRECTION | {"corrected": text})
        value = json.dumps(event).encode()
        reader = Reader(IDENTITY, Redactor(IDENTITY.fingerprint), Signers([build_signer(HMAC_KEY)]))
        first = reader.read(offset=0, key=None, value=value, headers=(), received_s=RECEIVED_S)
        again = reader.read(offset=1, key=None, value=first.value, headers=(), received_s=RECEIVED_S)
        assert isinstance(first.content, Event)
        assert isinstance(again.content, Event), "it can be redriven"
        assert (first.value == value) == (text == "yes")
        assert first.content.trust is Trust.SIGNED
        assert again.content.trust is (Trust.SIGNED if text == "yes" else Trust.UNSIGNED)

    def test_a_record_whose_signature_is_wrong_does_not_lose_it(self) -> None:
        _, names = self.kept(self.SECRET_TEXT, ce_id=b"another")
        assert names == {"ce_cloradsigner", "ce_cloradsignature"}
