"""Messages that the ledger owes Kafka."""

import time
from contextlib import suppress

from ledger.database import Database
from ledger.intake import outbox


class TestOutbox:
    def put(self, database: Database, *values: bytes) -> None:
        with database.write() as connection:
            for value in values:
                outbox.put(
                    connection, topic="t", key=None, value=value, headers=(("h", b"\xff"), ("h", None))
                )

    def test_messages_are_sent_in_the_order_they_were_owed(self, database: Database) -> None:
        self.put(database, b"1", b"2", b"3")
        pending = outbox.pending(database, limit=2)
        assert [message.value for message in pending] == [b"1", b"2"]
        assert pending[0].headers == (("h", b"\xff"), ("h", None))
        outbox.mark_sent(database, [pending[0].id])
        assert [message.value for message in outbox.pending(database, limit=5)] == [b"2", b"3"]

    def test_a_message_not_marked_is_sent_again_under_the_same_id(self, database: Database) -> None:
        self.put(database, b"1")
        assert outbox.pending(database, limit=1) == outbox.pending(database, limit=1)

    def test_a_message_is_owed_only_if_the_transaction_is_kept(self, database: Database) -> None:
        with suppress(ZeroDivisionError), database.write() as connection:
            outbox.put(connection, topic="t", key=None, value=b"1", headers=())
            raise ZeroDivisionError
        assert outbox.pending(database, limit=1) == []

    def test_depth_and_age_of_what_waits(self, database: Database) -> None:
        assert outbox.depth(database) == (0, 0.0)
        self.put(database, b"1", b"2")
        time.sleep(0.05)
        count, age_s = outbox.depth(database)
        assert count == 2
        assert 0.05 <= age_s < 30.0

    def test_only_what_was_sent_long_ago_is_forgotten(self, database: Database) -> None:
        self.put(database, b"1", b"2")
        outbox.mark_sent(database, [outbox.pending(database, limit=1)[0].id])
        outbox.mark_sent(database, [])
        assert outbox.forget_sent(database, older_than_s=60.0) == 0
        time.sleep(0.02)
        assert outbox.forget_sent(database, older_than_s=0.01) == 1
        assert outbox.depth(database)[0] == 1

    def test_an_id_never_names_a_second_message(self, database: Database) -> None:
        self.put(database, b"1")
        [first] = outbox.pending(database, limit=1)
        outbox.mark_sent(database, [first.id])
        time.sleep(0.02)
        outbox.forget_sent(database, older_than_s=0.01)
        self.put(database, b"2")
        assert outbox.pending(database, limit=1)[0].id > first.id
