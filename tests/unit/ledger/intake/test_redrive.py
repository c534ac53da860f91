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
from tests.unit.feedback.said import headers
from tests.unit.feedback.taking_in import books, correct, intake, take_in


@pytest.fixture
def buried(tmp_path):
    """A correction for an agent not declared yet, beside records that nothing will make usable."""
    kafka, kept = FakeKafka(), books(tmp_path)
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "early", agent="newcomer")
    kafka.say(topics.feedback, b"", headers=headers("correction"))
    kafka.say(topics.feedback, b"{broken", headers=headers("correction"))
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 3)
    assert kept.reasons() == ["unknown_agent", "empty", "invalid_json"]
    publisher = shipping.Publisher(kafka, "ledger-1")
    assert shipping.ship(kept.database, publisher) == (3, True)
    return kafka, kept, topics, publisher


def test_a_letter_put_right_becomes_an_event(buried):
    kafka, kept, topics, publisher = buried
    newcomer = agents.Agent(
        name="newcomer", base_hash="0" * 64, scorer="exact", recipe={}, capture=False, weight=1.0
    )
    agents.declare(kept.database, newcomer)
    (one,) = redrive(kept.database, reason=Reason.UNKNOWN_AGENT)
    assert one.kept_back == ""
    shipping.ship(kept.database, publisher)
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 4)
    assert kept.ids() == ["early"]
    again = kafka.said(topics.feedback)[-1]
    assert dict(again.headers)[REDRIVEN] == b"1"
    assert redrive(kept.database, reason=Reason.UNKNOWN_AGENT) == [], "once"


def test_a_dry_run_says_what_would_be_sent_and_changes_nothing(buried):
    kafka, kept, topics, publisher = buried
    told = redrive(kept.database, dry_run=True)
    assert [one.record is None for one in told] == [False, True, False]
    assert redrive(kept.database)[0].record == told[0].record
    shipping.ship(kept.database, publisher)
    topic, key, value, sent_headers = told[0].record
    again = kafka.said(topics.feedback)[3]
    assert (again.topic, again.key, again.value) == (topic, key, value)
    assert tuple(again.headers)[: len(sent_headers)] == sent_headers


def test_a_dry_run_changes_nothing(buried):
    _, kept, _, _ = buried
    assert len(redrive(kept.database, dry_run=True)) == 3
    assert outbox.depth(kept.database)[0] == 0
    assert kept.column(select(dead_letters.c.redriven_s)) == [None] * 3


def test_what_cannot_be_used_again_is_kept_back(buried):
    _, kept, _, _ = buried
    chosen = {one.reason: one.kept_back for one in redrive(kept.database)}
    assert chosen[Reason.EMPTY] == "there is nothing in it"
    assert chosen[Reason.INVALID_JSON] == ""
    assert outbox.depth(kept.database)[0] == 2


def test_letters_can_be_named(buried):
    _, kept, _, _ = buried
    assert [one.id for one in redrive(kept.database, ids=[1])] == [1]
    assert [one.id for one in redrive(kept.database, ids=[1])] == [1], "named ones may go again"


def test_a_letter_sent_again_twice_is_one_event(buried):
    kafka, kept, topics, publisher = buried
    newcomer = agents.Agent(
        name="newcomer", base_hash="0" * 64, scorer="exact", recipe={}, capture=False, weight=1.0
    )
    agents.declare(kept.database, newcomer)
    for _ in range(2):
        redrive(kept.database, ids=[1])
    shipping.ship(kept.database, publisher)
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 5)
    assert kept.ids() == ["early"]
    assert len(kept.reasons()) == 3, "the second is a duplicate, no dead letter"


def test_a_letter_that_dies_again_names_the_one_it_was(buried):
    kafka, kept, topics, publisher = buried
    for told in ([b"1"], [b"1", b"4"]):
        redrive(kept.database, reason=Reason.UNKNOWN_AGENT)
        shipping.ship(kept.database, publisher)
        records = 3 + len(told)
        take_in(intake(kafka, kept, topics), partial(_has_read, kept, topics, records))
        with kept.database.read() as connection:
            newest = letters.newest(connection, limit=1)[0]
        assert [value for name, value in newest.headers if name == REDRIVEN] == told


def _has_read(kept, topics, records):
    return kept.kept(topics.feedback) == records
