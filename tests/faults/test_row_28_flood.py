"""Row 28. A flood, a hot partition, five hundred partitions: memory stays flat and every partition moves on.

A backlog of a million events is in `python -m bench.intake`.
"""

import dataclasses

import pytest

from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]  # waits are long where the machine is busy

FLOOD = 20_000
GROWTH_MIB_MAX = 40.0


def test_row_28_a_flood_of_one_partition_costs_no_memory_and_holds_up_no_other(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=1)
    process = start_intake(topics, options={"records_max": 500})
    load.send(FLOOD // 10)
    load.wait_until_kept(ledger)
    before_mib = process.rss_mib()
    process.stop()  # so that the flood is there before anybody reads
    load.send(FLOOD)
    others = {send_correction(kafka, topics.feedback, partition=partition) for partition in (1, 2, 3)}
    load.ids |= others
    process = start_intake(topics, options={"records_max": 500})
    wait_until(lambda: others <= set(ledger.ids()), 120.0)
    assert ledger.next_offsets(topics.feedback)[0] < load.sent, "they need not wait for the hot one"
    load.wait_until_kept(ledger, wait_s=200.0)
    assert process.rss_mib() - before_mib < GROWTH_MIB_MAX


def test_row_28_five_hundred_partitions_are_read(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    wide = dataclasses.replace(topics, feedback=f"{topics.feedback}-wide")
    kafka.create_named(wide.feedback, 500)
    load = Load(kafka, wide.feedback, partitions=500)
    load.send(1000)
    process = start_intake(wide, options={"session_ms": 10_000})
    load.wait_until_kept(ledger, wait_s=120.0)
    load.send(1000)
    load.wait_until_kept(ledger, wait_s=60.0)
    assert process.ended is None
