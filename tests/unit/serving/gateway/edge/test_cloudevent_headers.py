"""An event sent over HTTP has the same id as one sent to Kafka."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.edge.cloudevent_headers import kafka_headers
from tests.unit.serving.gateway.gateway_builder import RunningGateway

DATA = {
    "agent": "billing",
    "author": "ann",
    "messages": [{"role": "user", "content": "q"}],
    "rejected": "no",
    "corrected": "yes",
}
BINDING = {
    "ce_specversion": "1.0",
    "ce_source": "ide",
    "ce_type": "clorad.correction.v1",
    "content_type": "application/json",
}


def encoded(value: str) -> str:
    """As a producer must: space, quote, percent and what is not printable ASCII become escapes (3.1.3.2)."""
    return "".join(
        character
        if "!" <= character <= "~" and character not in '"%'
        else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in value
    )


@given(value=st.text(st.characters(exclude_categories=["Cs"])))
def test_an_attribute_is_what_its_producer_encoded(value: str) -> None:
    assert dict(kafka_headers({"ce-id": encoded(value)})) == {"ce_id": value.encode()}


@given(value=st.text(st.characters(max_codepoint=255)))
def test_any_header_value_is_decoded_or_left_to_the_reader(value: str) -> None:
    assert isinstance(dict(kafka_headers({"ce-id": value}))["ce_id"], bytes)


@pytest.mark.parametrize(
    ("sent", "means"),
    [
        ("caf%C3%A9", "café"),
        ("caf%c3%a9", "café"),
        ("run%2042", "run 42"),
        ("100%25", "100%"),
        ("100%2525", "100%25"),
        ("100%", "100%"),
        ('"run 42"', "run 42"),
        ('"a\\"b%20c"', 'a"b c'),
        ("plain-7", "plain-7"),
    ],
)
def test_the_gateway_keeps_an_event_under_its_decoded_id(
    gateway: RunningGateway, sent: str, means: str
) -> None:
    answer = gateway.send("/v1/feedback", DATA, ce_id=sent, **BINDING)
    assert (answer.status_code, answer.json().get("id")) == (202, means)
    assert dict(gateway.sends.records[-1].headers)["ce_id"] == means.encode()


@pytest.mark.parametrize("sent", ["a%FF", "a%00", "%C3"])
def test_escapes_that_are_no_text_are_refused(gateway: RunningGateway, sent: str) -> None:
    assert gateway.send("/v1/feedback", DATA, ce_id=sent, **BINDING).status_code == 400


def test_the_media_type_is_no_attribute_and_is_not_decoded() -> None:
    headers = {"content-type": "application/json; x=%20", "traceparent": "%30", "host": "x"}
    assert kafka_headers(headers) == (
        ("content-type", b"application/json; x=%20"),
        ("traceparent", b"%30"),
    )
