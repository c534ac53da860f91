"""Row 16. A flipped bit on the broker's disk halts or is given up; what compaction took is a hole."""

import dataclasses
import json
import time

import pytest
from sqlalchemy import select

from feedback import inspection
from ledger.schema import dead_letters
from tests.kafka_broker import RealKafka
from tests.unit.feedback.said import CORRECTION, headers
from tests.unit.feedback.taking_in import correct, until

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("on_gap", ["halt", "continue"])
def test_row_16_a_flipped_bit_halts_the_partition_or_is_given_up(own_broker, kept, start, on_gap):
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all(partitions=1)
    for number in range(3):
        correct(kafka, topics.feedback, f"e{number}", comment=f"mark-{number}")
    broker.stop()  # in order: after a kill the broker itself would check and cut its log
    (segment,) = broker.data.glob(f"log/{topics.feedback}-0/*.log")
    stored = bytearray(segment.read_bytes())
    stored[stored.index(b"mark-1")] ^= 1
    segment.write_bytes(stored)
    broker.start()
    process = start(topics, on=kafka, options={"on_gap": on_gap})
    if on_gap == "halt":
        until(lambda: process.says("READY partitions False"))
        assert kept.ids() == ["e0"]
    else:
        until(lambda: kept.ids() == ["e0", "e2"])
        assert kept.column(select(dead_letters.c.offset)) == [1]
        assert kept.reasons() == ["poison"]
    kept.check_ranges()


def test_row_16_what_was_aborted_is_never_kept_and_its_offsets_are_accounted_for(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e1")
    kafka.abandon(topics.feedback, 20)
    correct(kafka, topics.feedback, "e2")
    start(topics)
    until(lambda: kept.next_offsets(topics.feedback) == {0: 23})
    assert kept.ids() == ["e1", "e2"]
    assert kept.reasons() == []
    kept.check_ranges()


def test_row_16_holes_of_compaction_are_passed(own_broker, kept, start):
    broker = own_broker(log_cleaner_backoff_ms="200", log_cleaner_min_compaction_lag_ms="0")
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all(partitions=1)
    kafka.create_named(
        "compacted", 1, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01"
    )
    compacted = dataclasses.replace(topics, feedback="compacted")
    value = json.dumps(CORRECTION).encode()
    for number in range(30):
        given = headers("correction", ce_id=b"e%d" % number)
        kafka.say("compacted", value, key=b"k%d" % (number % 3), headers=given)
        time.sleep(0.02)

    def left() -> int:
        (log,) = inspection.extents(kafka.cluster, ("compacted",))
        return sum(1 for _ in inspection.records(kafka.cluster, log, start=0, end=log.end))

    until(lambda: left() < 20, wait_s=60)
    start(compacted, on=kafka)
    until(lambda: kept.next_offsets("compacted") == {0: 30})
    assert 3 <= len(kept.ids()) < 30
    kept.check_ranges()
