"""Row 26. Two intakes of one ledger share the work; of two with one id, or with two ledgers, one ends."""

from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, build_ledger, send_correction, wait_until

pytestmark = pytest.mark.kafka


def test_row_26_of_one_group_and_ledger_they_share_the_work(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    both = [start_intake(topics), start_intake(topics)]
    load.send(400)
    load.wait_until_kept(ledger)
    assert all(process.ended is None for process in both)


def test_row_26_under_one_instance_id_the_first_is_fenced_and_ends(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    first = start_intake(topics, options={"instance": "pod-1"})
    load.send(20)
    load.wait_until_kept(ledger)
    second = start_intake(topics, options={"instance": "pod-1"})
    assert first.wait() == 78
    load.send(20)
    load.wait_until_kept(ledger)
    assert second.ended is None


def test_row_26_the_group_of_another_ledger_is_refused(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake, tmp_path: Path
) -> None:
    topics = kafka.create_all()
    send_correction(kafka, topics.feedback, "e0")
    first = start_intake(topics)
    wait_until(lambda: ledger.ids() == ["e0"])
    first.stop()
    (tmp_path / "other").mkdir()
    other = build_ledger(tmp_path / "other")
    stranger = start_intake(topics, ledger_url=other.database.url)
    assert stranger.wait() == 78
    assert other.ids() == []
