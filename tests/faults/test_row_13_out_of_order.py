"""Row 13. Feedback before its interaction waits for it; amendments and retractions may come in any order."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from ledger.schema import events
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.event_builder import CORRECTION, INTERACTION, RETRACTION, build_headers
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = pytest.mark.kafka


def _send(kafka: RealKafka, topic: str, kind: str, event_id: str, data: Any, **changed) -> None:
    value = json.dumps(data | changed).encode()
    kafka.send(topic, value, headers=build_headers(kind, ce_id=event_id.encode()))


def _statuses(ledger: IntakeLedger):
    with ledger.database.read() as connection:
        return {row.id: row.status for row in connection.execute(select(events.c.id, events.c.status))}


def test_row_13_feedback_before_its_interaction_waits_for_it(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    start_intake(topics)
    about = {"agent": "sql", "author": "d", "interaction": "i-1", "corrected": "x"}
    _send(kafka, topics.feedback, "correction", "e1", about)
    wait_until(lambda: _statuses(ledger) == {"e1": "waiting"})
    _send(kafka, topics.interactions, "interaction", "i-1", INTERACTION)
    wait_until(lambda: _statuses(ledger) == {"e1": "open"})


def test_row_13_a_retraction_before_its_target_still_holds(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    start_intake(topics)
    _send(kafka, topics.feedback, "retraction", "r1", RETRACTION | {"target": {"source": "ide", "id": "e1"}})
    wait_until(lambda: "r1" in ledger.ids())
    _send(kafka, topics.feedback, "correction", "e1", CORRECTION)
    wait_until(lambda: _statuses(ledger).get("e1") == "retracted")


def test_row_13_revisions_in_the_wrong_order_leave_the_newest_standing(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    start_intake(topics)
    for revision in (2, 1, 3):
        send_correction(
            kafka, topics.feedback, f"e{revision}", key="k", revision=revision, corrected=f"v{revision}"
        )
    wait_until(lambda: len(ledger.ids()) == 3)
    wait_until(lambda: _statuses(ledger) == {"e1": "superseded", "e2": "superseded", "e3": "open"})


def test_row_13_an_event_a_week_old_is_kept_like_any_other(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    start_intake(topics)
    value = json.dumps(CORRECTION).encode()
    for event_id, moment in ((b"old", b"2020-01-01T00:00:00Z"), (b"new", b"2099-01-01T00:00:00Z")):
        kafka.send(
            topics.feedback, value, headers=build_headers("correction", ce_id=event_id, ce_time=moment)
        )
    wait_until(lambda: ledger.ids() == ["new", "old"])
