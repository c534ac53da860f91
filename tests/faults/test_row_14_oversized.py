"""Row 14. Records larger than our bound or than a fetch, also once unpacked, become dead letters."""

from collections.abc import Callable

import pytest

from deploy.kafka.broker import LocalBroker
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.event_builder import build_headers
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = pytest.mark.kafka

MIB = 1 << 20


def test_row_14_oversized_records_are_dead_letters_and_memory_stays(
    own_broker: Callable[..., LocalBroker], ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    broker = own_broker(message_max_bytes=str(64 * MIB), replica_fetch_max_bytes=str(64 * MIB))
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all(partitions=1, max_message_bytes=str(64 * MIB))
    producer = kafka.cluster.producer(acks="all", max_request_size=64 * MIB)
    bomb = kafka.cluster.producer(acks="all", max_request_size=64 * MIB, compression_type="gzip")
    given = list(build_headers("correction"))
    send_correction(kafka, topics.feedback, "before")
    process = start_intake(topics, on=kafka)
    wait_until(lambda: ledger.ids() == ["before"])
    before_mib = process.rss_mib()
    for size in (300 * 1024, 2 * MIB, 10 * MIB):
        producer.send(topics.feedback, value=b"x" * size, headers=given).get(timeout=30)
    bomb.send(topics.feedback, value=b"\0" * (40 * MIB), headers=given).get(timeout=30)
    # Beyond the bound while it unpacks (`feedback.unpacking`): 150 MiB in some kilobytes.
    zstd = kafka.cluster.producer(acks="all", max_request_size=200 * MIB, compression_type="zstd")
    zstd.send(topics.feedback, value=b"x" * (150 * MIB), headers=given).get(timeout=60)
    for sender in (producer, bomb, zstd):
        sender.close(timeout=5)
    send_correction(kafka, topics.feedback, "after")
    wait_until(lambda: ledger.ids() == ["after", "before"])
    assert ledger.dead_letter_reasons() == ["oversized"] * 5
    assert process.rss_mib() - before_mib < 200, "one record at a time, and a copy or two of it"
    ledger.check_ranges()
