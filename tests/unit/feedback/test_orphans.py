"""An interaction that never comes is given up, but not while it may still lie in Kafka unread."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from feedback import outbox as shipping
from ledger.intake.redrive import redrive
from ledger.schema import events
from tests.fakes.kafka import FakeKafka
from tests.unit.feedback.event_builder import INTERACTION, build_headers
from tests.unit.feedback.intake_builder import (
    IntakeLedger,
    build_intake,
    build_ledger,
    run_intake_until,
    running_intakes,
    wait_until,
)

ABOUT = {"agent": "sql", "author": "d", "interaction": "i-1", "corrected": "x"}
JOIN_S = 0.2


@pytest.fixture
def scene(tmp_path: Path):
    kafka, ledger = FakeKafka(), build_ledger(tmp_path)
    return kafka, ledger, kafka.create_all(partitions=2)


def send_event(kafka: FakeKafka, topic: str, kind: str, event_id: str, data: Any, **where) -> None:
    kafka.send(
        topic, json.dumps(data).encode(), headers=build_headers(kind, ce_id=event_id.encode()), **where
    )


def statuses(ledger: IntakeLedger):
    with ledger.database.read() as connection:
        return {row.id: row.status for row in connection.execute(select(events.c.id, events.c.status))}


def test_feedback_whose_interaction_never_comes_is_given_up_and_can_be_sent_again(scene) -> None:
    kafka, ledger, topics = scene
    send_event(kafka, topics.feedback, "correction", "e-1", ABOUT)
    run_intake_until(
        build_intake(kafka, ledger, topics, join_s_max=JOIN_S),
        lambda: ledger.dead_letter_reasons() == ["orphan"],
    )
    assert ledger.ids() == []
    ledger.check_ranges()
    send_event(kafka, topics.interactions, "interaction", "i-1", INTERACTION)
    redrive(ledger.database)
    shipping.ship(ledger.database, shipping.Publisher(kafka, "ledger-1"))
    run_intake_until(
        build_intake(kafka, ledger, topics, join_s_max=JOIN_S), lambda: statuses(ledger) == {"e-1": "open"}
    )


def test_what_kafka_may_still_hold_is_waited_for(scene) -> None:
    kafka, ledger, topics = scene
    send_event(kafka, topics.feedback, "correction", "e-1", ABOUT)
    # Records after it are not read before a person decides.
    kafka.send_undecodable(topics.interactions, partition=1)
    with running_intakes(build_intake(kafka, ledger, topics, join_s_max=JOIN_S)):
        wait_until(lambda: statuses(ledger) == {"e-1": "waiting"})
        time.sleep(6 * JOIN_S)
        assert ledger.dead_letter_reasons() == []
    run_intake_until(
        build_intake(kafka, ledger, topics, join_s_max=JOIN_S, on_gap="continue"),
        lambda: sorted(ledger.dead_letter_reasons()) == ["orphan", "poison"],
    )


def test_feedback_that_waits_through_an_outage_of_intake_meets_its_interaction(scene) -> None:
    kafka, ledger, topics = scene
    send_event(kafka, topics.feedback, "correction", "e-1", ABOUT)
    run_intake_until(build_intake(kafka, ledger, topics), lambda: statuses(ledger) == {"e-1": "waiting"})
    time.sleep(2 * JOIN_S)
    for number in range(300):
        send_event(kafka, topics.interactions, "interaction", f"i-{number}", INTERACTION, partition=1)
    slow = build_intake(kafka, ledger, topics, join_s_max=JOIN_S, records_max=10)
    run_intake_until(slow, lambda: ledger.records_kept(topics.interactions) == 300)
    assert (statuses(ledger), ledger.dead_letter_reasons()) == ({"e-1": "open"}, [])


def test_two_that_look_at_once_give_up_once(scene) -> None:
    kafka, ledger, topics = scene
    for number in range(20):
        send_event(kafka, topics.feedback, "correction", f"e-{number}", ABOUT, partition=number % 2)
    members = [build_intake(kafka, ledger, topics, join_s_max=JOIN_S) for _ in range(2)]
    with running_intakes(*members):
        wait_until(lambda: len(ledger.dead_letter_reasons()) == 20)
    assert ledger.ids() == []
    ledger.check_ranges()
