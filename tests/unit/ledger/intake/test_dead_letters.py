"""Dead letters are found by their number, their reason, and the name they give themselves."""

from typing import Any

from ledger.database import Database
from ledger.events import Arrival, Batch, Reason
from ledger.intake import dead_letters
from tests.unit.ledger.event_builder import (
    FEEDBACK,
    build_unusable,
)


class TestDeadLetters:
    def bury(self, database: Database, headers: Any, value: bytes | None, reason: Reason) -> None:
        from ledger.intake import transaction

        start = transaction.start_at(database, FEEDBACK, 0)
        arrival = Arrival(
            offset=start, key=None, value=value, headers=headers, content=build_unusable(reason)
        )
        batch = Batch(partition=FEEDBACK, start=start, end=start + 1, arrivals=(arrival,))
        transaction.keep(database, [batch], dead_letter_topic="d")

    def test_they_are_counted_listed_and_read(self, database: Database) -> None:
        self.bury(database, (), b"\xff", Reason.INVALID_UTF8)
        self.bury(database, (), None, Reason.EMPTY)
        with database.read() as connection:
            assert dead_letters.counts(connection) == {Reason.INVALID_UTF8: 1, Reason.EMPTY: 1}
            newest = dead_letters.newest(connection, limit=10)
            assert [letter.reason for letter in newest] == [Reason.EMPTY, Reason.INVALID_UTF8]
            assert len(dead_letters.newest(connection, limit=1)) == 1
            [letter] = dead_letters.newest(connection, limit=10, reason=Reason.INVALID_UTF8)
            assert dead_letters.read(connection, letter.id) == letter
            assert letter.value == b"\xff"
            assert dead_letters.read(connection, 999) is None

    def test_one_is_found_by_the_name_it_gives_itself(self, database: Database) -> None:
        self.bury(database, (("ce_id", b"7"), ("ce_source", b"ide")), b"{", Reason.INVALID_JSON)
        self.bury(database, (), b'{"id": "8", "source": "ops"}', Reason.INVALID_SCHEMA)
        self.bury(database, (), b"[" * 9000, Reason.TOO_DEEP)
        self.bury(database, (("ce_id", b"\xff"),), b"\xff\xfe", Reason.INVALID_UTF8)
        with database.read() as connection:
            assert [letter.offset for letter in dead_letters.letters_named(connection, "ide#7")] == [0]
            assert [letter.offset for letter in dead_letters.letters_named(connection, "7")] == [0]
            assert [letter.offset for letter in dead_letters.letters_named(connection, "ops#8")] == [1]
            assert dead_letters.letters_named(connection, "ide#8") == []
