"""Row 28. A flood, a hot partition, five hundred partitions: memory stays flat and every partition moves on.

The backlog of a million events is in `python -m bench.intake`.
"""

import dataclasses

import pytest

from tests.faults.load import Load
from tests.unit.feedback.taking_in import correct, until

pytestmark = pytest.mark.kafka


def test_row_28_memory_stays_flat_in_a_flood_of_one_partition(kafka, kept, start):
    topics = kafka.create_all(partitions=4)
    load = Load(kafka, topics.feedback, partitions=1)
    process = start(topics, options={"records_max": 500})
    load.say(2000)
    load.arrives(kept)
    before_mib = process.rss_mib()
    load.say(20_000)
    for partition in (1, 2, 3):
        load.ids.add(correct(kafka, topics.feedback, partition=partition))
    until(lambda: all(kept.next_offsets(topics.feedback).get(number) for number in (1, 2, 3)))
    assert kept.next_offsets(topics.feedback)[0] < 22_000, "the others need not wait for the hot one"
    load.arrives(kept, wait_s=180.0)
    assert process.rss_mib() - before_mib < 40


def test_row_28_five_hundred_partitions_are_read(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    kafka.create_named(f"{topics.feedback}-wide", 500)
    wide = dataclasses.replace(topics, feedback=f"{topics.feedback}-wide")
    load = Load(kafka, wide.feedback, partitions=500)
    load.say(1000)
    start(wide, options={"session_ms": 10_000})
    load.arrives(kept, wait_s=120.0)
