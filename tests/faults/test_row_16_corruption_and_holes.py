"""Row 16. A flipped bit on a broker's disk halts its partition or is passed over; so is compaction's hole."""

import dataclasses
import json
import time
from collections.abc import Callable

import pytest
from sqlalchemy import select

from deploy.kafka.broker import LocalBroker
from feedback import inspection
from ledger.schema import dead_letters
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.event_builder import CORRECTION, build_headers
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("on_gap", ["halt", "continue"])
def test_row_16_a_flipped_bit_halts_the_partition_or_is_given_up(
    own_broker: Callable[..., LocalBroker], ledger: IntakeLedger, start_intake: StartIntake, on_gap: str
) -> None:
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all(partitions=1)
    for number in range(3):
        send_correction(kafka, topics.feedback, f"e{number}", comment=f"mark-{number}")
    broker.stop()  # in order: after a kill the broker itself would check and cut its log
    (segment,) = broker.data.glob(f"log/{topics.feedback}-0/*.log")
    stored = bytearray(segment.read_bytes())
    stored[stored.index(b"mark-1")] ^= 1
    segment.write_bytes(stored)
    broker.start()
    process = start_intake(topics, on=kafka, options={"on_gap": on_gap})
    if on_gap == "halt":
        wait_until(lambda: process.has_logged("READY partitions False"))
        assert ledger.ids() == ["e0"]
    else:
        wait_until(lambda: ledger.ids() == ["e0", "e2"])
        assert ledger.column(select(dead_letters.c.offset)) == [1]
        assert ledger.dead_letter_reasons() == ["poison"]
    ledger.check_ranges()


def test_row_16_what_was_aborted_is_never_kept_and_its_offsets_are_accounted_for(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e1")
    kafka.send_transaction(topics.feedback, 20)
    send_correction(kafka, topics.feedback, "e2")
    start_intake(topics)
    wait_until(lambda: ledger.next_offsets(topics.feedback) == {0: 23})
    assert ledger.ids() == ["e1", "e2"]
    assert ledger.dead_letter_reasons() == []
    ledger.check_ranges()


def test_row_16_holes_of_compaction_are_passed(
    own_broker: Callable[..., LocalBroker], ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    broker = own_broker(log_cleaner_backoff_ms="200", log_cleaner_min_compaction_lag_ms="0")
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all(partitions=1)
    kafka.create_named(
        "compacted", 1, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01"
    )
    compacted = dataclasses.replace(topics, feedback="compacted")
    value = json.dumps(CORRECTION).encode()
    for number in range(30):
        given = build_headers("correction", ce_id=b"e%d" % number)
        kafka.send("compacted", value, key=b"k%d" % (number % 3), headers=given)
        time.sleep(0.02)

    def left() -> int:
        (log,) = inspection.extents(kafka.cluster, ("compacted",))
        return sum(1 for _ in inspection.records(kafka.cluster, log, start=0, end=log.end))

    wait_until(lambda: left() < 20, wait_s=60)
    start_intake(compacted, on=kafka)
    wait_until(lambda: ledger.next_offsets("compacted") == {0: 30})
    assert 3 <= len(ledger.ids()) < 30
    ledger.check_ranges()
