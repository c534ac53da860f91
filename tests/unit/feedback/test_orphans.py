"""An interaction that never comes is given up, but not while it may still lie in Kafka unread."""

import json
import time

import pytest
from sqlalchemy import select

from feedback import outbox as shipping
from ledger.intake.redrive import redrive
from ledger.schema import events
from tests.fakes.kafka import FakeKafka
from tests.unit.feedback.said import INTERACTION, headers
from tests.unit.feedback.taking_in import books, intake, running, take_in, until

ABOUT = {"agent": "sql", "author": "d", "interaction": "i-1", "corrected": "x"}
JOIN_S = 0.2


@pytest.fixture
def scene(tmp_path):
    kafka, kept = FakeKafka(), books(tmp_path)
    return kafka, kept, kafka.create_all(partitions=2)


def say(kafka, topic, kind, event_id, data, **where):
    kafka.say(topic, json.dumps(data).encode(), headers=headers(kind, ce_id=event_id.encode()), **where)


def statuses(kept):
    with kept.database.read() as connection:
        return {row.id: row.status for row in connection.execute(select(events.c.id, events.c.status))}


def test_feedback_whose_interaction_never_comes_is_given_up_and_can_be_sent_again(scene):
    kafka, kept, topics = scene
    say(kafka, topics.feedback, "correction", "e-1", ABOUT)
    take_in(intake(kafka, kept, topics, join_s_max=JOIN_S), lambda: kept.reasons() == ["orphan"])
    assert kept.ids() == []
    kept.check_ranges()
    say(kafka, topics.interactions, "interaction", "i-1", INTERACTION)
    redrive(kept.database)
    shipping.ship(kept.database, shipping.Publisher(kafka, "ledger-1"))
    take_in(intake(kafka, kept, topics, join_s_max=JOIN_S), lambda: statuses(kept) == {"e-1": "open"})


def test_what_kafka_may_still_hold_is_waited_for(scene):
    kafka, kept, topics = scene
    say(kafka, topics.feedback, "correction", "e-1", ABOUT)
    kafka.poison(topics.interactions, partition=1)  # what comes after it is not read before a person decides
    with running(intake(kafka, kept, topics, join_s_max=JOIN_S)):
        until(lambda: statuses(kept) == {"e-1": "waiting"})
        time.sleep(6 * JOIN_S)
        assert kept.reasons() == []
    take_in(
        intake(kafka, kept, topics, join_s_max=JOIN_S, on_gap="continue"),
        lambda: sorted(kept.reasons()) == ["orphan", "poison"],
    )


def test_feedback_that_waits_through_an_outage_of_intake_meets_its_interaction(scene):
    kafka, kept, topics = scene
    say(kafka, topics.feedback, "correction", "e-1", ABOUT)
    take_in(intake(kafka, kept, topics), lambda: statuses(kept) == {"e-1": "waiting"})
    time.sleep(2 * JOIN_S)
    for number in range(300):
        say(kafka, topics.interactions, "interaction", f"i-{number}", INTERACTION, partition=1)
    slow = intake(kafka, kept, topics, join_s_max=JOIN_S, records_max=10)
    take_in(slow, lambda: kept.kept(topics.interactions) == 300)
    assert (statuses(kept), kept.reasons()) == ({"e-1": "open"}, [])


def test_two_that_look_at_once_give_up_once(scene):
    kafka, kept, topics = scene
    for number in range(20):
        say(kafka, topics.feedback, "correction", f"e-{number}", ABOUT, partition=number % 2)
    members = [intake(kafka, kept, topics, join_s_max=JOIN_S) for _ in range(2)]
    with running(*members):
        until(lambda: len(kept.reasons()) == 20)
    assert kept.ids() == []
    kept.check_ranges()
