"""`clorad audit`: it accuses nobody falsely while events stream in, and still finds what is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon.commands.audit import audited_with_broker
from feedback.inspection import Extent
from ledger.database import Database
from ledger.learning.agents import Agent, declare
from ledger.reports.audit import Audit
from tests.unit.daemon.conftest import Clorad
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


def complaints(audit: Audit) -> list[str]:
    return [disagreement.what for disagreement in audit.disagreements]


def test_what_streams_in_meanwhile_is_no_finding(stream: Stream) -> None:
    audit = stream.audited()
    assert complaints(audit) == []
    assert (audit.partitions[0].next_offset, audit.partitions[0].unread) == (3, 3)


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
    audit = audited_with_broker(stream.database, None)
    assert complaints(audit) == []
    assert [partition.end_offset for partition in audit.partitions] == [None]


@pytest.mark.usefixtures("story")
class TestAudit:
    def test_a_clean_ledger_is_clean(self, clorad: Clorad) -> None:
        result = clorad("audit", "--offline")
        assert result.code == 0
        assert "clean: every offset has one disposition (the ledger)" in result.out
        document = clorad("audit", "--offline", "--json").json
        assert (document["clean"], document["records"], document["stored"], document["dead"]) == (
            True,
            10,
            7,
            3,
        )

    def test_a_damaged_one_is_not_and_the_exit_code_says_so(self, clorad: Clorad, story: Path) -> None:
        import sqlite3

        with sqlite3.connect(story) as connection:
            connection.execute("DELETE FROM dead_letters WHERE id = 1")
        result = clorad("audit", "--offline")
        assert result.code == 1
        assert "dead letters kept, 1 there" in result.out
        assert result.err == "clorad: the audit disagrees in 1 place\n"
        assert clorad("audit", "--offline", "--json").json["clean"] is False

    def test_a_broker_that_is_away_is_said_and_not_ignored(self, clorad: Clorad) -> None:
        options = '{"bootstrap_timeout_ms": 500}'
        env = {"CLORAD_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "CLORAD_KAFKA__OPTIONS": options}
        result = clorad("audit", env=env)
        assert (result.code, result.out) == (75, "")
        assert "Kafka at 127.0.0.1:1 did not answer" in result.err
        assert result.err.endswith("; --offline audits the ledger alone\n")

    def test_a_ledger_that_is_not_there_is_said_before_the_broker_is_asked(
        self, clorad: Clorad, tmp_path: Path
    ) -> None:
        away = {"CLORAD_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        for url, code in (("sqlite:///lost.db", 1), ("postgresql+psycopg://x@127.0.0.1:1/x", 75)):
            result = clorad("audit", env={**away, "CLORAD_LEDGER__URL": url})
            assert result.code == code
            assert "Kafka" not in result.err
