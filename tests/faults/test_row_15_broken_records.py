"""Row 15. Every kind of broken record is a dead letter with its reason, and polling goes on."""

import time

import pytest

from tests.unit.feedback.said import headers
from tests.unit.feedback.taking_in import correct, until

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


def test_row_15_each_broken_record_has_a_reason(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    for value in BROKEN:
        kafka.say(topics.feedback, value, headers=headers("correction"))
    kafka.say(topics.feedback, None, key=b"tombstone")
    odd = (("ce_id", b"\xff"), ("ce_id", b"1"), ("content-type", b"\xff"))
    kafka.say(topics.feedback, b"{}", headers=odd)
    correct(kafka, topics.feedback, "after")
    start(topics)
    until(lambda: kept.ids() == ["after"])
    assert kept.reasons() == [*BROKEN.values(), "empty", "invalid_schema"]
    kept.check_ranges()


def test_row_15_a_header_that_hangs_kafka_python_halts_its_partition_only(kafka, kept, start):
    topics = kafka.create_all(partitions=3)
    kafka.poison(topics.feedback, partition=1)
    correct(kafka, topics.feedback, "hidden", partition=1)
    process = start(topics)
    until(lambda: process.says("READY partitions False"))
    for number in range(6):
        correct(kafka, topics.feedback, f"e{number}", partition=(0, 2)[number % 2])
    until(lambda: kept.ids() == [f"e{number}" for number in range(6)])
    used_s = process.cpu_s()
    time.sleep(2.0)
    assert process.cpu_s() - used_s < 1.5, "poll spins"
    assert process.stop() == 0


def test_row_15_a_header_that_hangs_kafka_python_is_passed_over_if_told_to(kafka, kept, start):
    topics = kafka.create_all(partitions=2)
    correct(kafka, topics.feedback, "before")
    for _ in range(3):
        kafka.poison(topics.feedback)
    correct(kafka, topics.feedback, "after")
    start(topics, options={"on_gap": "continue"})
    until(lambda: kept.ids() == ["after", "before"])
    assert kept.reasons() == ["poison"] * 3
    kept.check_ranges()
