"""A ledger that goes back to a backup under a running intake is read into again, quiet partitions too."""

from ledger.upkeep.backup import back_up, restore
from tests.fakes.kafka import FakeKafka
from tests.unit.feedback.intake_builder import (
    build_intake,
    build_ledger,
    running_intakes,
    send_correction,
    wait_until,
)


def test_an_intake_that_runs_meanwhile_reads_again_from_where_the_ledger_stands(tmp_path):
    kafka, kept = FakeKafka(), build_ledger(tmp_path)
    topics = kafka.create_all(partitions=2)
    with running_intakes(build_intake(kafka, kept, topics)):
        first = [send_correction(kafka, topics.feedback, partition=number % 2) for number in range(4)]
        wait_until(lambda: len(kept.ids()) == 4)
        back_up(kept.database.url, tmp_path / "copy")
        later = [send_correction(kafka, topics.feedback, partition=number % 2) for number in range(4)]
        wait_until(lambda: len(kept.ids()) == 8)
        restore(kept.database.url, tmp_path / "copy", replaced=tmp_path / "was")
        assert kept.ids() == sorted(first)
        wait_until(lambda: kept.ids() == sorted(first + later))
    kept.check_ranges()
