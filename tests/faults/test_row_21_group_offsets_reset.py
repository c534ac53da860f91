"""Row 21. Anybody may delete or reset the group's offsets in Kafka: intake uses those of the ledger."""

import pytest
from kafka import OffsetAndMetadata, TopicPartition

from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("how", ["deleted", "to the beginning", "to the end"])
def test_row_21_the_ledgers_offsets_win(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake, how: str
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    group = f"g-{topics.feedback}"
    process = start_intake(topics, options={"group": group})
    load.send(100)
    load.wait_until_kept(ledger)
    process.stop()
    load.send(100)
    admin = kafka.cluster.admin()
    if how == "deleted":
        admin.delete_groups([group])
    else:
        offset = 0 if how == "to the beginning" else 100
        places = [TopicPartition(topics.feedback, number) for number in (0, 1)]
        admin.alter_group_offsets(group, {place: OffsetAndMetadata(offset, "", -1) for place in places})
    admin.close()
    start_intake(topics, options={"group": group})
    load.wait_until_kept(ledger)
