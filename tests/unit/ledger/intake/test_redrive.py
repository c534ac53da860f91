"""Dead letters go again once, under their own id, and those that cannot be used again are kept back."""

from functools import partial

import pytest
from sqlalchemy import select

from feedback import outbox as shipping
from ledger.events import Reason
from ledger.intake import dead_letters as letters
from ledger.intake import outbox
from ledger.intake.redrive import REDRIVEN, redrive
from ledger.learning import agents
from ledger.schema import dead_letters
from tests.fakes.kafka import FakeKafka
from tests.unit.feedback.event_builder import build_headers
from tests.unit.feedback.intake_builder import build_intake, build_ledger, run_intake_until, send_correction


@pytest.fixture
def buried(tmp_path):
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


def test_a_letter_put_right_becomes_an_event(buried):
    kafka, ledger, topics, publisher = buried
    newcomer = agents.Agent(
        name="newcomer", base_hash="0" * 64, scorer="exact", recipe={}, capture=False, weight=1.0
    )
    agents.declare(ledger.database, newcomer)
    (one,) = redrive(ledger.database, reason=Reason.UNKNOWN_AGENT)
    assert one.kept_back == ""
    shipping.ship(ledger.database, publisher)
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 4)
    assert ledger.ids() == ["early"]
    again = kafka.sent_records(topics.feedback)[-1]
    assert dict(again.headers)[REDRIVEN] == b"1"
    assert redrive(ledger.database, reason=Reason.UNKNOWN_AGENT) == [], "once"


def test_a_dry_run_says_what_would_be_sent_and_changes_nothing(buried):
    kafka, ledger, topics, publisher = buried
    told = redrive(ledger.database, dry_run=True)
    assert [one.record is None for one in told] == [False, True, False]
    assert redrive(ledger.database)[0].record == told[0].record
    shipping.ship(ledger.database, publisher)
    topic, key, value, sent_headers = told[0].record
    again = kafka.sent_records(topics.feedback)[3]
    assert (again.topic, again.key, again.value) == (topic, key, value)
    assert tuple(again.headers)[: len(sent_headers)] == sent_headers


def test_a_dry_run_changes_nothing(buried):
    _, ledger, _, _ = buried
    assert len(redrive(ledger.database, dry_run=True)) == 3
    assert outbox.depth(ledger.database)[0] == 0
    assert ledger.column(select(dead_letters.c.redriven_s)) == [None] * 3


def test_what_cannot_be_used_again_is_kept_back(buried):
    _, ledger, _, _ = buried
    chosen = {one.reason: one.kept_back for one in redrive(ledger.database)}
    assert chosen[Reason.EMPTY] == "there is nothing in it"
    assert chosen[Reason.INVALID_JSON] == ""
    assert outbox.depth(ledger.database)[0] == 2


def test_letters_can_be_named(buried):
    _, ledger, _, _ = buried
    assert [one.id for one in redrive(ledger.database, ids=[1])] == [1]
    assert [one.id for one in redrive(ledger.database, ids=[1])] == [1], "named ones may go again"


def test_a_letter_sent_again_twice_is_one_event(buried):
    kafka, ledger, topics, publisher = buried
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


def test_a_letter_that_dies_again_names_the_one_it_was(buried):
    kafka, ledger, topics, publisher = buried
    for told in ([b"1"], [b"1", b"4"]):
        redrive(ledger.database, reason=Reason.UNKNOWN_AGENT)
        shipping.ship(ledger.database, publisher)
        records = 3 + len(told)
        run_intake_until(build_intake(kafka, ledger, topics), partial(_has_read, ledger, topics, records))
        with ledger.database.read() as connection:
            newest = letters.newest(connection, limit=1)[0]
        assert [value for name, value in newest.headers if name == REDRIVEN] == told


def _has_read(ledger, topics, records):
    return ledger.records_kept(topics.feedback) == records
