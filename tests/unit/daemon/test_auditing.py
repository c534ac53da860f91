"""An audit while events stream in: it accuses nobody falsely, and what is wrong is found all the same."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from daemon.commands.audit import audited_with_broker
from feedback.inspection import Extent
from ledger.database import Database
from ledger.learning.agents import Agent, declare
from ledger.reports.audit import Audit
from tests.unit.ledger.event_builder import FEEDBACK, build_event, keep


@dataclass
class Stream:
    """A topic that people write to and intake reads at any moment: between two questions of an audit too."""

    database: Database
    offsets: list[int] = field(default_factory=list)
    lost: int = 0  # records at the end that a broker acknowledged and lost
    unread: int = 0  # records that intake has not kept yet

    def flow(self) -> None:
        """Three records are written and kept."""
        for _ in range(3):
            number = len(self.offsets)
            self.offsets.append(number)
            keep(self.database, build_event(f"e{number}"))

    def extents(self) -> tuple[Extent, ...]:
        self.flow()
        end = len(self.offsets) - self.lost + self.unread
        self.flow()
        place = {"topic": FEEDBACK.topic, "topic_id": FEEDBACK.topic_id}
        return (
            Extent(**place, partition=0, first=0, end=end),
            Extent(**place, partition=1, first=2, end=7),
        )

    def read(self, extent: Extent, start: int, end: int) -> Iterator[int]:
        assert extent.partition == 0, "nothing was read of the other one"
        self.flow()
        yield from [offset for offset in self.offsets if start <= offset < end]
        self.flow()

    def audited(self) -> Audit:
        return audited_with_broker(self.database, self.extents, self.read)


@pytest.fixture
def stream(url: str) -> Iterator[Stream]:
    database = Database(url)
    declare(database, Agent(name="billing", base_hash="b" * 64))
    flowing = Stream(database)
    flowing.flow()
    yield flowing
    database.close()


def complaints(found: Audit) -> list[str]:
    return [one.what for one in found.disagreements]


def test_what_streams_in_meanwhile_is_no_finding(stream: Stream) -> None:
    found = stream.audited()
    assert complaints(found) == []
    assert (found.partitions[0].next_offset, found.partitions[0].unread) == (3, 3)


def test_a_log_that_lost_records_is_found_in_the_stream(stream: Stream) -> None:
    stream.lost = 4
    assert complaints(stream.audited()) == ["read up to 3, but the topic ends at 2"]


def test_a_record_that_is_not_in_the_topic_is_found_in_the_stream(stream: Stream) -> None:
    stream.offsets[1] = -1
    assert complaints(stream.audited()) == ["offsets 1 to 2: 1 records kept, 0 in the topic"]


def test_a_partition_that_nobody_reads_is_all_unread(stream: Stream) -> None:
    other = stream.audited().partitions[1]
    assert (other.partition, other.began, other.next_offset, other.unread) == (1, 2, 2, 5)


def test_without_a_broker_nothing_is_said_about_ends(stream: Stream) -> None:
    found = audited_with_broker(stream.database, None)
    assert complaints(found) == []
    assert [one.end_offset for one in found.partitions] == [None]
