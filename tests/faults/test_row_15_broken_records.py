"""Row 15. Every kind of broken record is a dead letter with its reason, and polling goes on."""

import time

import pytest

from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.event_builder import build_headers
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = pytest.mark.kafka

BROKEN = {
    b"": "empty",
    b"\xff\xfe": "invalid_utf8",
    b'{"agent":': "invalid_json",
    b"[" * 5000 + b"]" * 5000: "too_deep",
    b'{"value": NaN}': "invalid_json",
    b'{"n": ' + b"9" * 6000 + b"}": "invalid_json",
    b'{"a": "\\u0000"}': "invalid_json",
    b'{"a": 1, "a": 2}': "invalid_json",
    b"\0\0\0": "invalid_json",
    b'"' + b"x" * 300_000 + b'"': "oversized",
    b"{}": "invalid_schema",
}


def test_row_15_each_broken_record_has_a_reason(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    for value in BROKEN:
        kafka.send(topics.feedback, value, headers=build_headers("correction"))
    kafka.send(topics.feedback, None, key=b"tombstone")
    odd = (("ce_id", b"\xff"), ("ce_id", b"1"), ("content-type", b"\xff"))
    kafka.send(topics.feedback, b"{}", headers=odd)
    send_correction(kafka, topics.feedback, "after")
    start_intake(topics)
    wait_until(lambda: ledger.ids() == ["after"])
    assert ledger.dead_letter_reasons() == [*BROKEN.values(), "empty", "invalid_schema"]
    ledger.check_ranges()


def test_row_15_a_header_that_hangs_kafka_python_halts_its_partition_only(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=3)
    kafka.send_undecodable(topics.feedback, partition=1)
    send_correction(kafka, topics.feedback, "hidden", partition=1)
    process = start_intake(topics)
    wait_until(lambda: process.has_logged("READY partitions False"))
    for number in range(6):
        send_correction(kafka, topics.feedback, f"e{number}", partition=(0, 2)[number % 2])
    wait_until(lambda: ledger.ids() == [f"e{number}" for number in range(6)])
    used_s = process.cpu_s()
    time.sleep(2.0)
    assert process.cpu_s() - used_s < 1.5, "poll spins"
    assert process.stop() == 0


def test_row_15_a_header_that_hangs_kafka_python_is_passed_over_if_told_to(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=2)
    send_correction(kafka, topics.feedback, "before")
    for _ in range(3):
        kafka.send_undecodable(topics.feedback)
    send_correction(kafka, topics.feedback, "after")
    start_intake(topics, options={"on_gap": "continue"})
    wait_until(lambda: ledger.ids() == ["after", "before"])
    assert ledger.dead_letter_reasons() == ["poison"] * 3
    ledger.check_ranges()
