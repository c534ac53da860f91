"""CloudEvents as producers in other languages write them are read; what is missing is named."""

import base64
import json

import pytest

from feedback.envelope import RecordRefused, open_envelope
from ledger.events import Event, Interaction, Reason, UnusableRecord
from tests.unit.feedback.event_builder import (
    CORRECTION,
    INTERACTION,
    RECEIVED_S,
    build_headers,
    build_reader,
)

DATA = json.dumps(CORRECTION).encode()
AROUND = {"specversion": "1.0", "id": "e-1", "source": "ide", "type": "clorad.correction.v1"}
STRUCTURED = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
ENCODED = json.dumps(AROUND | {"data_base64": base64.b64encode(DATA).decode()}).encode()


@pytest.mark.parametrize("framing", [b"\xef\xbb\xbf", b"\0\0\0\0\x07", b"\0\0\0\0\x07\xef\xbb\xbf"])
def test_what_writers_put_before_the_json_is_no_part_of_it(framing: bytes) -> None:
    assert open_envelope(framing + DATA, build_headers("correction")).data == CORRECTION
    structured = json.dumps(AROUND | {"data": CORRECTION}).encode()
    assert open_envelope(framing + structured, STRUCTURED).data == CORRECTION


def test_data_in_base64_are_data() -> None:
    assert open_envelope(ENCODED, STRUCTURED).data == CORRECTION
    with_null = json.dumps(json.loads(ENCODED) | {"data": None, "time": None}).encode()
    assert open_envelope(with_null, STRUCTURED).data == CORRECTION
    plain = json.dumps(AROUND | {"data": CORRECTION, "data_base64": None}).encode()
    assert open_envelope(plain, STRUCTURED).data == CORRECTION


@pytest.mark.parametrize(
    "changed", [{"data_base64": "!"}, {"data_base64": 7}, {"data_base64": "e30=", "data": {}}]
)
def test_what_is_no_base64_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(RecordRefused):
        open_envelope(json.dumps(AROUND | changed).encode(), STRUCTURED)


def test_what_redaction_keeps_of_an_event_whose_base64_is_null_is_its_data() -> None:
    event = AROUND | {
        "data": CORRECTION | {"agent": 7, "rejected": "mail ann@shop.example"},
        "data_base64": None,
    }
    arrival = build_reader().read(
        offset=0, key=None, value=json.dumps(event).encode(), headers=STRUCTURED, received_s=RECEIVED_S
    )
    assert isinstance(arrival.content, UnusableRecord)
    assert json.loads(arrival.value or b"")["data"]["rejected"] == "mail [email]"


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (b"2026-11-22t10:00:00z", 1795341600.0),
        (b"2026-11-22T10:00:00.5Z", 1795341600.5),
        (b"2016-12-31T23:59:60Z", 1483228800.0),
        (b"2017-01-01T00:59:60.25+01:00", 1483228800.25),
    ],
)
def test_times_are_read_by_rfc_3339(time: bytes, seconds: float) -> None:
    assert open_envelope(DATA, build_headers("correction", ce_time=time)).occurred_s == seconds


def test_the_headers_that_are_missing_are_named() -> None:
    for headers, expected in (((), "ce_id"), ((("ce-id", b"1"),), "`ce-`")):
        with pytest.raises(RecordRefused, match=expected):
            open_envelope(DATA, headers)


def test_names_of_headers_may_have_capital_letters() -> None:
    headers = tuple((name.title(), value) for name, value in build_headers("correction"))
    assert open_envelope(DATA, headers).id == "e-1"


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_type", "content-type", "CE_ID"])
def test_an_attribute_with_two_values_is_refused(name: str) -> None:
    headers = (*build_headers("correction"), (name, b"other"))
    with pytest.raises(RecordRefused, match="given twice"):
        open_envelope(DATA, headers)


def test_a_header_that_is_repeated_as_it_is_and_others_beside_the_attributes_are_read() -> None:
    headers = (*build_headers("correction"), ("ce_id", b"e-1"), ("hop", b"1"), ("hop", b"2"))
    assert open_envelope(DATA, headers).id == "e-1"


def test_secrets_in_base64_are_redacted_in_events_and_in_dead_letters() -> None:
    secret = json.dumps(CORRECTION | {"corrected": "ask ann@example.com"}).encode()
    for kind in ("correction", "praise"):
        event = AROUND | {
            "type": f"clorad.{kind}.v1",
            "data_base64": base64.b64encode(secret).decode(),
        }
        arrival = build_reader().read(
            offset=0, key=None, value=json.dumps(event).encode(), headers=STRUCTURED, received_s=RECEIVED_S
        )
        assert arrival.value is not None
        assert b"ann@example.com" not in arrival.value
        assert base64.b64encode(secret) not in arrival.value
        if isinstance(arrival.content, Event):
            assert arrival.content.data["corrected"] == "ask [email]"


@pytest.mark.parametrize("any_captures", [True, False])
def test_an_unsigned_interaction_is_read_only_where_gateways_write(any_captures: bool) -> None:
    content = (
        build_reader()
        .read(
            offset=0,
            key=None,
            value=json.dumps(INTERACTION).encode(),
            headers=build_headers("interaction"),
            received_s=RECEIVED_S,
            any_captures=any_captures,
        )
        .content
    )
    if any_captures:
        assert isinstance(content, Interaction)
    else:
        assert isinstance(content, UnusableRecord)
        assert content.reason is Reason.UNSIGNED
