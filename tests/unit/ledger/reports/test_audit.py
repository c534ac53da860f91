"""The audit finds every way in which an offset could have no disposition, or two."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, update

from ledger import schema
from ledger.database import Database
from ledger.events import Partition
from ledger.intake.transaction import initial_partitions, start_at
from ledger.reports.audit import Audit, against, audit, recount
from ledger.topic_names import FEEDBACK_TOPIC
from tests.unit.ledger.event_builder import (
    FEEDBACK,
    INTERACTIONS,
    build_event,
    build_interaction,
    build_unusable,
    keep,
)
from tests.unit.ledger.ledger_builder import build_memory_ledger

OTHER = Partition(cluster_id="c1", topic=FEEDBACK_TOPIC, topic_id="t1", number=1)


def audited(database: Database, ends: dict[tuple[str, int], int] | None = None) -> Audit:
    with database.read() as connection:
        return against(audit(connection), ends or {})


def complaints(database: Database, ends: dict[tuple[str, int], int] | None = None) -> str:
    return "\n".join(
        f"{disagreement.topic}[{disagreement.partition}] {disagreement.what}"
        for disagreement in audited(database, ends).disagreements
    )


@pytest.fixture
def busy(database: Database) -> Database:
    """Two partitions of feedback and one of interactions, with everything that can happen in them."""
    keep(database, build_event("1"), build_unusable(), build_event("1"), holes=2)
    keep(database, build_event("2"))
    keep(database, build_event("3"), partition=OTHER)
    keep(database, build_interaction("i1"), build_interaction("i1"), build_event("4"), partition=INTERACTIONS)
    return database


def test_an_empty_ledger_is_clean(database: Database) -> None:
    assert audited(database) == Audit(partitions=(), disagreements=())


def test_what_intake_keeps_is_clean_and_counted(busy: Database) -> None:
    result = audited(busy, {("t1", 0): 6, ("t1", 1): 9, ("t9", 0): 4})
    assert result.disagreements == ()
    first = result.partitions[0]
    assert (first.began, first.next_offset, first.records) == (0, 6, 4)
    assert (first.stored, first.dead, first.duplicates, first.holes, first.unread) == (2, 1, 1, 2, 0)
    assert [partition.unread for partition in result.partitions] == [0, 8, None]


def test_a_partition_that_began_late_is_clean(database: Database) -> None:
    from ledger.intake import transaction

    transaction.start_at(database, FEEDBACK, 40)
    assert complaints(database) == ""
    keep(database, build_event("1"))
    assert complaints(database) == ""


def test_reading_beyond_the_end_of_the_topic_is_found(busy: Database) -> None:
    assert "read up to 6, but the topic ends at 3" in complaints(busy, {("t1", 0): 3})


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (delete(schema.ranges).where(schema.ranges.c.start == 5), "reading goes on at 6"),
        (
            delete(schema.ranges).where(schema.ranges.c.start == 0, schema.ranges.c.partition == 0),
            "range from 5 should start at 0",
        ),
        (delete(schema.ranges).where(schema.ranges.c.partition == 1), "offsets 0 to 1 are in no range"),
        (
            update(schema.ranges).where(schema.ranges.c.start == 5).values(start=4, end=6),
            "range from 4 should start at 5",
        ),
        (
            update(schema.positions).where(schema.positions.c.partition == 1).values(next_offset=7),
            "ranges end at 1, but reading goes on at 7",
        ),
        (delete(schema.events).where(schema.events.c.id == "1"), "1 events kept, 0 there"),
        (delete(schema.events).where(schema.events.c.id == "4"), "1 events kept, 0 there"),
        (delete(schema.dead_letters), "1 dead letters kept, 0 there"),
        (update(schema.events).where(schema.events.c.id == "3").values(offset=5), "1 events lie in no range"),
        (update(schema.events).where(schema.events.c.id == "3").values(topic_id="t7"), "topic id t7"),
        (update(schema.events).where(schema.events.c.id == "3").values(partition=0, offset=4), "there"),
    ],
)
def test_every_kind_of_damage_is_found(busy: Database, damage, complaint: str) -> None:
    assert complaints(busy) == ""
    with busy.write() as connection:
        assert connection.execute(damage).rowcount >= 1
    assert complaint in complaints(busy)


def test_purged_interactions_are_no_loss_but_invented_ones_are(busy: Database) -> None:
    row = {"agent": "billing", "version": "v0", "messages": [], "completion": "", "sampling": {}}
    rest = {"prompt_group": "g", "role": "train", "received_s": 0.0}
    with busy.write() as connection:
        connection.execute(delete(schema.interactions))
    assert complaints(busy) == ""
    with busy.write() as connection:
        connection.execute(insert(schema.interactions), [{"id": f"x{n}", **row, **rest} for n in range(2)])
    assert "1 interactions kept, 2 there" in complaints(busy)


class TestRecount:
    """With `--verify`, the topic itself is read again."""

    def recounted(self, database: Database, offsets: list[int], first: int = 0, end: int = 6) -> list[str]:
        with database.read() as connection:
            return [
                disagreement.what
                for disagreement in recount(connection, ("t1", 0), offsets, first=first, end=end)
            ]

    def test_the_same_records_agree(self, busy: Database) -> None:
        assert self.recounted(busy, [0, 1, 2, 5]) == []

    def test_a_record_the_ledger_took_for_a_hole_is_found(self, busy: Database) -> None:
        assert self.recounted(busy, [0, 1, 2, 4, 5]) == ["offsets 0 to 5: 3 records kept, 4 in the topic"]

    def test_a_record_that_was_never_there_is_found(self, busy: Database) -> None:
        assert self.recounted(busy, [0, 1, 2]) == ["offsets 5 to 6: 1 records kept, 0 in the topic"]

    def test_what_retention_dropped_cannot_be_compared(self, busy: Database) -> None:
        assert self.recounted(busy, [5], first=3) == []

    def test_what_was_kept_beyond_the_offsets_read_is_not_compared(self, busy: Database) -> None:
        assert self.recounted(busy, [0, 1, 2], end=5) == []

    def test_records_that_came_later_do_not_matter(self, busy: Database) -> None:
        assert self.recounted(busy, [0, 1, 2, 5, 6, 7]) == []


class TestPartitionsThatAppearLater:
    def complaints(self, database: Database, first: int) -> list[str]:
        for number, offset in ((0, 7), (1, 5)):
            place = replace(FEEDBACK, number=number)
            initial_partitions(database, place, now=1)
            start_at(database, place, offset)
        with database.read() as connection:
            firsts = {("t1", 0): first, ("t1", 1): first}
            result = against(audit(connection), {("t1", 0): 9, ("t1", 1): 9}, firsts)
        return [f"{found.partition}: {found.what}" for found in result.disagreements]

    def test_one_whose_first_records_were_skipped_is_found(self, database: Database) -> None:
        assert self.complaints(database, first=0) == [
            "1: it appeared later, and offsets 0 to 5 were never read"
        ]

    def test_one_whose_first_records_are_gone_is_not(self, database: Database) -> None:
        assert self.complaints(database, first=5) == []


@given(
    batches=st.lists(
        st.tuples(
            st.lists(st.sampled_from(["new", "same", "other body", "bad"]), max_size=4), st.integers(0, 3)
        ),
        max_size=8,
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_kept_is_clean(batches: list[tuple[list[str], int]]) -> None:
    database = build_memory_ledger("billing")
    fresh = 0
    for kinds, holes in batches:
        contents = []
        for kind in kinds:
            fresh += kind == "new"
            contents.append(
                build_unusable()
                if kind == "bad"
                else build_event(str(fresh), **({"digest": "another"} if kind == "other body" else {}))
            )
        if contents or holes:
            keep(database, *contents, holes=holes)
    assert complaints(database) == ""
    [partition] = audited(database).partitions or [None]
    if partition is not None:
        assert partition.records == partition.stored + partition.dead + partition.duplicates
        assert partition.next_offset - partition.began == partition.records + partition.holes
