"""An event that we send is checked, redacted, and read by intake as what it is."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from feedback import wire
from feedback.event_record import build_event_record
from feedback.producer import KafkaRecord
from feedback.redaction import Redactor
from ledger.events import Event, Interaction
from tests.unit.feedback.event_builder import (
    CORRECTION,
    EVENT_DATA,
    IDENTITY,
    INTERACTION,
    RECEIVED_S,
    build_reader,
)

REDACTOR = Redactor(IDENTITY.fingerprint)


def _sent(kind: str = "correction", data: Any = CORRECTION, **changed) -> KafkaRecord:
    return build_event_record(kind, data, topic="t", source="ide", redactor=REDACTOR, **changed)


def _read(record: KafkaRecord):
    return (
        build_reader()
        .read(offset=0, key=record.key, value=record.value, headers=record.headers, received_s=RECEIVED_S)
        .content
    )


@pytest.mark.parametrize("kind", sorted(EVENT_DATA))
def test_what_we_send_is_what_intake_reads(kind: str) -> None:
    content = _read(_sent(kind, EVENT_DATA[kind], event_id="e-1", at=datetime(2026, 11, 22, tzinfo=UTC)))
    assert isinstance(content, Interaction if kind == "interaction" else Event)
    assert content.id == "e-1"


def test_events_of_a_conversation_share_a_key_else_those_of_one_feedback_key() -> None:
    assert _sent(data=CORRECTION | {"conversation": "c-1", "key": "k-1"}).key == b"c-1"
    assert _sent(data=CORRECTION | {"key": "k-1"}).key == b"k-1"
    assert _sent(event_id="e-1").key == b"e-1"


def test_what_is_wrong_is_named_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="corrected: string_too_short"):
        _sent(data=CORRECTION | {"corrected": ""})
    with pytest.raises(ValueError, match="unknown type"):
        _sent("praise")


def test_texts_are_redacted_and_names_stay_tellable_apart() -> None:
    record = _sent(data=CORRECTION | {"author": "jane@example.com", "comment": "ask jane@example.com"})
    data = json.loads(record.value)
    assert data["comment"] == "ask [email]"
    assert data["author"].startswith("redacted:")
    assert _read(record).author == data["author"]


def test_an_interaction_that_redaction_changed_is_sent_without_tokens() -> None:
    clean = json.loads(_sent("interaction", INTERACTION).value)
    changed = json.loads(_sent("interaction", INTERACTION | {"completion": "ask jane@example.com"}).value)
    assert clean["token_ids"] == INTERACTION["token_ids"]
    assert "token_ids" not in changed
    assert "logprobs" not in changed


def test_numbers_that_the_caller_checked_go_with_the_texts_unless_those_are_redacted() -> None:
    numbers = {"token_ids": [1], "logprobs": [-0.5]}
    clean = {name: INTERACTION[name] for name in INTERACTION if name not in wire.IDS}
    assert json.loads(_sent("interaction", clean, numbers=numbers).value).items() >= numbers.items()
    redacted = clean | {"completion": "ask jane@example.com"}
    data = json.loads(_sent("interaction", redacted, numbers=numbers).value)
    assert not data.keys() & numbers.keys()
    assert data["ids_left_out"] == "redacted"
