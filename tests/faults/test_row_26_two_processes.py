"""Row 26. Two processes: of one ledger they share the work; under one id or with two ledgers one ends."""

import pytest

from tests.faults.load import Load
from tests.unit.feedback.taking_in import books, correct, until

pytestmark = pytest.mark.kafka


def test_row_26_of_one_group_and_ledger_they_share_the_work(kafka, kept, start):
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=4)
    both = [start(topics), start(topics)]
    load.say(400)
    load.arrives(kept)
    assert all(process.ended is None for process in both)


def test_row_26_under_one_instance_id_the_first_is_fenced_and_ends(kafka, kept, start):
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    first = start(topics, options={"instance": "pod-1"})
    load.say(20)
    load.arrives(kept)
    second = start(topics, options={"instance": "pod-1"})
    assert first.wait() == 78
    load.say(20)
    load.arrives(kept)
    assert second.ended is None


def test_row_26_the_group_of_another_ledger_is_refused(kafka, kept, start, tmp_path):
    topics = kafka.create_all()
    correct(kafka, topics.feedback, "e0")
    first = start(topics)
    until(lambda: kept.ids() == ["e0"])
    first.stop()
    (tmp_path / "other").mkdir()
    other = books(tmp_path / "other")
    stranger = start(topics, ledger=other.database.url)
    assert stranger.wait() == 78
    assert other.ids() == []
