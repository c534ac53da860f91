"""Row 18. Order and bounds do not depend on the senders' clocks."""

import json

import pytest
from sqlalchemy import select

from ledger.schema import events
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.event_builder import CORRECTION, build_headers
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka

DAY_MS = 86_400_000
TIMES = (
    b"2026-11-23T10:00:00Z",
    b"2026-11-21T10:00:00+14:00",
    b"1970-01-01T00:00:00Z",
    b"9999-12-31T23:59Z",
)


def test_row_18_events_are_kept_in_the_order_of_the_log(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1, message_timestamp_after_max_ms=str(10**15))
    producer = kafka.cluster.producer(acks="all")
    for number, stamp in enumerate((0, 1, DAY_MS, 4_102_444_800_000, 1)):
        moment = TIMES[number % len(TIMES)]
        given = list(build_headers("correction", ce_id=b"e%d" % number, ce_time=moment))
        value = json.dumps(CORRECTION).encode()
        producer.send(topics.feedback, value=value, headers=given, timestamp_ms=stamp).get(timeout=20)
    producer.close(timeout=5)
    start_intake(topics)
    wait_until(lambda: len(ledger.ids()) == 5)
    assert ledger.column(select(events.c.id).order_by(events.c.seq)) == [f"e{number}" for number in range(5)]
    received = ledger.column(select(events.c.received_s).order_by(events.c.seq))
    assert received == sorted(received)
