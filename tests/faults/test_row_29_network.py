"""Row 29. Intake needs no restart after a slow, lossy, cut or half-open network, or after brokers moved."""

import pytest

from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import Relayed
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]  # waits are long where the machine is busy

SILENT_MS = 6000


def test_row_29_connections_are_cut_again_and_again(
    relayed: Relayed, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = relayed.kafka.create_all()
    load = Load(relayed.kafka, topics.feedback)
    process = start_intake(topics, on=relayed.through)
    for _ in range(5):
        load.send(100)
        relayed.relay.cut()
    load.wait_until_kept(ledger)
    assert relayed.relay.connections > 5
    assert process.ended is None


def test_row_29_two_seconds_of_delay(
    relayed: Relayed, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = relayed.kafka.create_all()
    load = Load(relayed.kafka, topics.feedback)
    load.send(200)
    process = start_intake(topics, on=relayed.through, options={"session_ms": 10_000}, bootstrap_ms=60_000)
    relayed.relay.delay_s = 1.0  # each way
    load.wait_until_kept(ledger, wait_s=150.0)
    assert process.ended is None


def test_row_29_one_frame_in_twenty_is_lost_on_the_way(
    relayed: Relayed, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = relayed.kafka.create_all()
    load = Load(relayed.kafka, topics.feedback)
    process = start_intake(topics, on=relayed.through)
    relayed.relay.lost_share = 0.05
    for _ in range(10):
        load.send(50)
        load.wait_until_kept(ledger, wait_s=90.0)
    assert process.ended is None


def test_row_29_connections_that_stay_open_and_hear_nothing(
    relayed: Relayed, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = relayed.kafka.create_all()
    load = Load(relayed.kafka, topics.feedback)
    patience = {"request_timeout_ms": SILENT_MS, "fetch_max_wait_ms": 500}
    process = start_intake(topics, on=relayed.through, kafka=patience)
    load.send(100)
    load.wait_until_kept(ledger)
    relayed.relay.silence()
    load.send(100)
    load.wait_until_kept(ledger, wait_s=90.0)
    assert process.ended is None


def test_row_29_a_broker_out_of_reach_for_a_while(
    relayed: Relayed, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = relayed.kafka.create_all()
    load = Load(relayed.kafka, topics.feedback)
    process = start_intake(topics, on=relayed.through)
    load.send(100)
    load.wait_until_kept(ledger)
    relayed.relay.target = 1
    relayed.relay.cut()
    wait_until(lambda: process.has_logged("READY kafka False"))
    load.send(100)
    relayed.relay.target = relayed.port
    load.wait_until_kept(ledger)
    assert process.ended is None


def test_row_29_brokers_that_moved_are_found_by_their_first_address(
    relayed: Relayed, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    """kafka-python has no KIP-899: a client that knows only old addresses is made anew."""
    topics = relayed.kafka.create_all()
    load = Load(relayed.kafka, topics.feedback)
    first = relayed.through
    process = start_intake(topics, on=first)
    moved = relayed.move()
    try:
        relayed.relay.cut()  # still answers, and the broker names another address now
        load.send(100)
        load.wait_until_kept(ledger)
        again = relayed.move()
        moved.close()
        try:
            load.send(100)
            load.wait_until_kept(ledger, wait_s=240.0)
            assert process.ended is None
        finally:
            again.close()
    finally:
        moved.close()
