"""Dead letters are sent again once, under their own id; those that cannot be used are kept back."""

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from feedback import outbox as shipping
from feedback.topics import Topics
from ledger.events import Reason
from ledger.intake import dead_letters as letters
from ledger.intake import outbox
from ledger.intake.redrive import REDRIVEN, redrive
from ledger.learning import agents
from ledger.schema import dead_letters
from tests.fakes.kafka import FakeKafka
from tests.unit.feedback.event_builder import build_headers
from tests.unit.feedback.intake_builder import (
    IntakeLedger,
    build_intake,
    build_ledger,
    run_intake_until,
    send_correction,
)


@pytest.fixture
def dead_letters_at_hand(tmp_path: Path):
    """A correction for an agent not declared yet, beside records that nothing will make usable."""
    kafka, ledger = FakeKafka(), build_ledger(tmp_path)
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "early", agent="newcomer")
    kafka.send(topics.feedback, b"", headers=build_headers("correction"))
    kafka.send(topics.feedback, b"{broken", headers=build_headers("correction"))
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 3)
    assert ledger.dead_letter_reasons() == ["unknown_agent", "empty", "invalid_json"]
    publisher = shipping.Publisher(kafka, "ledger-1")
    assert shipping.ship(ledger.database, publisher) == (3, True)
    return kafka, ledger, topics, publisher


def test_a_letter_put_right_becomes_an_event(dead_letters_at_hand) -> None:
    kafka, ledger, topics, publisher = dead_letters_at_hand
    newcomer = agents.Agent(
        name="newcomer", base_hash="0" * 64, scorer="exact", recipe={}, capture=False, weight=1.0
    )
    agents.declare(ledger.database, newcomer)
    (redriven,) = redrive(ledger.database, reason=Reason.UNKNOWN_AGENT)
    assert redriven.kept_back == ""
    shipping.ship(ledger.database, publisher)
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 4)
    assert ledger.ids() == ["early"]
    again = kafka.sent_records(topics.feedback)[-1]
    assert dict(again.headers)[REDRIVEN] == b"1"
    assert redrive(ledger.database, reason=Reason.UNKNOWN_AGENT) == [], "once"


def test_a_dry_run_says_what_would_be_sent_and_changes_nothing(dead_letters_at_hand) -> None:
    kafka, ledger, topics, publisher = dead_letters_at_hand
    planned = redrive(ledger.database, dry_run=True)
    assert [letter.record is None for letter in planned] == [False, True, False]
    assert redrive(ledger.database)[0].record == planned[0].record
    shipping.ship(ledger.database, publisher)
    topic, key, value, sent_headers = planned[0].record
    again = kafka.sent_records(topics.feedback)[3]
    assert (again.topic, again.key, again.value) == (topic, key, value)
    assert tuple(again.headers)[: len(sent_headers)] == sent_headers


def test_a_dry_run_changes_nothing(dead_letters_at_hand) -> None:
    _, ledger, _, _ = dead_letters_at_hand
    assert len(redrive(ledger.database, dry_run=True)) == 3
    assert outbox.depth(ledger.database)[0] == 0
    assert ledger.column(select(dead_letters.c.redriven_s)) == [None] * 3


def test_what_cannot_be_used_again_is_kept_back(dead_letters_at_hand) -> None:
    _, ledger, _, _ = dead_letters_at_hand
    chosen = {letter.reason: letter.kept_back for letter in redrive(ledger.database)}
    assert chosen[Reason.EMPTY] == "there is nothing in it"
    assert chosen[Reason.INVALID_JSON] == ""
    assert outbox.depth(ledger.database)[0] == 2


def test_letters_can_be_named(dead_letters_at_hand) -> None:
    _, ledger, _, _ = dead_letters_at_hand
    assert [letter.id for letter in redrive(ledger.database, ids=[1])] == [1]
    assert [letter.id for letter in redrive(ledger.database, ids=[1])] == [1], (
        "letters that are named may go again"
    )


def test_a_letter_sent_again_twice_is_one_event(dead_letters_at_hand) -> None:
    kafka, ledger, topics, publisher = dead_letters_at_hand
    newcomer = agents.Agent(
        name="newcomer", base_hash="0" * 64, scorer="exact", recipe={}, capture=False, weight=1.0
    )
    agents.declare(ledger.database, newcomer)
    for _ in range(2):
        redrive(ledger.database, ids=[1])
    shipping.ship(ledger.database, publisher)
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 5)
    assert ledger.ids() == ["early"]
    assert len(ledger.dead_letter_reasons()) == 3, "the second is a duplicate, no dead letter"


def test_a_letter_that_dies_again_names_the_one_it_was(dead_letters_at_hand) -> None:
    kafka, ledger, topics, publisher = dead_letters_at_hand
    for numbers in ([b"1"], [b"1", b"4"]):
        redrive(ledger.database, reason=Reason.UNKNOWN_AGENT)
        shipping.ship(ledger.database, publisher)
        records = 3 + len(numbers)
        run_intake_until(build_intake(kafka, ledger, topics), partial(_has_read, ledger, topics, records))
        with ledger.database.read() as connection:
            newest = letters.newest(connection, limit=1)[0]
        assert [value for name, value in newest.headers if name == REDRIVEN] == numbers


def _has_read(ledger: IntakeLedger, topics: Topics, records):
    return ledger.records_kept(topics.feedback) == records
