"""Row 4. Intake goes on when the coordinator of its group moves, refuses or dies, and when a commit fails."""

import pytest

from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import Relayed, ThreeBrokers
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]  # waits are long where the machine is busy

LOADING, NOT_AVAILABLE, NOT_COORDINATOR, GENERATION, MEMBER, REBALANCE = 14, 15, 16, 22, 25, 27
CODES = (LOADING, NOT_AVAILABLE, NOT_COORDINATOR, GENERATION, MEMBER, REBALANCE)
TIMES = 2  # in succession, of each code
CAUSED_BY = {"join_group": MEMBER, "sync_group": MEMBER, "find_coordinator": NOT_COORDINATOR}
"""What a heartbeat must be told for the client to ask for that."""


@pytest.mark.parametrize(
    "answer", ["heartbeat", "join_group", "sync_group", "offset_commit", "find_coordinator"]
)
def test_row_04_errors_of_the_coordinator_are_lived_with(
    relayed: Relayed, ledger: IntakeLedger, start_intake: StartIntake, answer: str
) -> None:
    topics, group = relayed.kafka.create_all(), f"lied-{answer}"
    load = Load(relayed.kafka, topics.feedback)
    process = start_intake(topics, on=relayed.through, options={"group": group})
    load.send(50)
    load.wait_until_kept(ledger)
    for code in CODES:
        for _ in range(TIMES):
            relayed.relay.falsify(answer, code)
        if answer in CAUSED_BY:
            relayed.relay.falsify("heartbeat", CAUSED_BY[answer])
        load.send(20)  # kept while Kafka does not take their commits, so it is behind the ledger
        wait_until(lambda: relayed.relay.falsified_left() == 0)
        load.send(20)
        load.wait_until_kept(ledger)
    wait_until(
        lambda: relayed.kafka.committed(group, topics.feedback) == ledger.next_offsets(topics.feedback)
    )
    assert process.ended is None
    assert not process.has_logged("READY partitions False"), "no partition is halted for it"


def test_row_04_a_coordinator_that_dies_or_leaves_is_replaced(
    three_brokers: ThreeBrokers, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    kafka = three_brokers.kafka
    topics = kafka.create_all(replicas=3)
    load = Load(kafka, topics.feedback)
    process = start_intake(topics, on=kafka, options={"group": "moving"})
    load.send(100)
    load.wait_until_kept(ledger)
    for leave in ("kill", "stop"):
        wait_until(lambda: three_brokers.coordinator_of("moving"))
        coordinator = three_brokers.coordinator_of("moving")
        getattr(coordinator, leave)()
        gone = (None, coordinator)
        wait_until(lambda gone=gone: three_brokers.coordinator_of("moving") not in gone, wait_s=90.0)
        load.send(100)
        load.wait_until_kept(ledger, wait_s=120.0)
        coordinator.start()
    assert process.ended is None
