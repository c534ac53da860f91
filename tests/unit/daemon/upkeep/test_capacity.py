"""Intake stops at the high marks and goes on below the low ones, not between the two."""

from collections import namedtuple
from pathlib import Path

import pytest

from daemon.upkeep.capacity import CHECK_EVERY_S, CHECK_SHARE_MAX, Capacity, HighMarks
from ledger.events import Status
from ledger.intake import outbox
from ledger.learning.event_queries import mark, untaught
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.ledger_builder import build_ledger

Usage = namedtuple("Usage", "total used free")
MIB = 1 << 20


class Place:
    """A ledger, a disk and a clock that the test turns."""

    def __init__(self, folder: Path) -> None:
        self.database = build_ledger(folder / "ledger.db", "billing")
        self.folder, self.now_s, self.free_mib = folder, 0.0, 1000
        self.looks = 0

    def room(self, **marks: int) -> Capacity:
        def usage(_: Path) -> Usage:
            self.looks += 1
            return Usage(4000 * MIB, 0, self.free_mib * MIB)

        wanted = {"rows_max": 1000, "mib_max": 1000, "free_mib_min": 0} | marks
        return Capacity(
            self.database, [self.folder], HighMarks(**wanted), clock=lambda: self.now_s, disk_usage=usage
        )

    def later(self, room: Capacity) -> str:
        self.now_s += CHECK_EVERY_S
        return room()

    def say(self, *ids: str) -> None:
        keep(self.database, *[build_event(id) for id in ids])

    def learn(self, number: int) -> None:
        """So many fewer wait; how does not matter here."""
        with self.database.read() as connection:
            gone = untaught(connection, "billing", limit=number)
        mark(self.database, {kept.seq: (Status.KNOWN, "") for kept in gone})


@pytest.fixture
def place(tmp_path: Path):
    made = Place(tmp_path)
    yield made
    made.database.close()


def test_rows_stop_it_at_the_high_mark_and_let_it_go_on_below_the_low_one(place: Place) -> None:
    room = place.room(rows_max=10)
    place.say(*map(str, range(9)))
    assert room() == ""
    place.say("9")
    assert place.later(room).startswith("10 events wait to be learned")
    place.learn(2)
    assert place.later(room) != "", "8 of 10 is the low mark, not below it"
    place.learn(1)
    assert place.later(room) == ""
    place.say("10", "11")
    assert place.later(room) == "", "9 again: between the marks it goes on as it was"


def test_what_is_owed_to_kafka_counts_too(place: Place) -> None:
    room = place.room(rows_max=10)
    place.say("1", "2")
    with place.database.write() as connection:
        outbox.put_all(connection, [("t", None, b"v", ())] * 8)
    assert "8 messages for Kafka" in room()
    outbox.mark_sent(place.database, [message.id for message in outbox.pending(place.database, limit=4)])
    assert place.later(room) == ""


def test_bytes_stop_it_too(place: Place) -> None:
    room = place.room(mib_max=2)
    place.say("1")
    assert room() == ""
    with place.database.write() as connection:
        outbox.put_all(connection, [("t", None, b"x" * (MIB // 2), ())] * 4)
    assert place.later(room).startswith("2 MiB wait")
    outbox.mark_sent(place.database, [outbox.pending(place.database, limit=1)[0].id])
    assert place.later(room) == ""


def test_a_large_ledger_in_which_little_waits_is_no_trouble(place: Place) -> None:
    room = place.room(rows_max=10, mib_max=2)
    place.say(*map(str, range(20)))
    place.learn(15)
    with place.database.write() as connection:
        outbox.put_all(connection, [("t", None, b"x" * MIB, ())] * 4)
    outbox.mark_sent(place.database, [message.id for message in outbox.pending(place.database, limit=9)])
    assert room() == ""


def test_the_disk_has_two_marks_as_well(place: Place) -> None:
    room = place.room(free_mib_min=200)
    place.free_mib = 199
    assert room() == room.disk_shortage() == "199 MiB of disk free, 200 needed"
    place.free_mib = 249
    assert "249 MiB" in place.later(room)
    place.free_mib = 251
    assert place.later(room) == ""
    place.free_mib = 200
    assert place.later(room) == ""


def test_a_look_that_takes_long_is_rare(place: Place) -> None:
    room = place.room(free_mib_min=1)
    room()
    assert (room(), place.looks) == ("", 1), "not before it is time"

    def slow(_: Path) -> Usage:
        place.now_s += 2.0
        place.looks += 1
        return Usage(10, 0, 10)

    slow_room = Capacity(
        place.database,
        [place.folder],
        HighMarks(rows_max=1, mib_max=1, free_mib_min=1),
        clock=lambda: place.now_s,
        disk_usage=slow,
    )
    slow_room()
    place.now_s += 2.0 / CHECK_SHARE_MAX - 3.0
    slow_room()
    assert place.looks == 2
    place.now_s += 3.0
    slow_room()
    assert place.looks == 3
