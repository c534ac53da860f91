"""Notices are stored once, sent at least once, and bounded in number, on both databases."""

import pytest
from sqlalchemy import update

from ledger.database import Database
from ledger.notices import queue
from ledger.notices.queue import Ending, NewNotice
from ledger.schema import notices


def note(database: Database, *facts: str, receiver: str = "ops") -> int:
    with database.write() as connection:
        return queue.note(connection, receiver, [NewNotice(fact=fact, body={"fact": fact}) for fact in facts])


def message(database: Database, receiver: str = "ops") -> tuple[str, list[str]]:
    sent = queue.next_message(database, receiver)
    assert sent is not None
    return sent.id, [notice["fact"] for notice in sent.notices]


def test_each_receiver_is_told_a_fact_once(database: Database) -> None:
    assert note(database, "a", "b", "a") == 2
    assert note(database, "b", "c") == 1
    assert note(database, "a", receiver="chat") == 1
    assert message(database)[1] == ["a", "b", "c"]
    assert message(database, "chat")[1] == ["a"]


def test_a_message_stays_the_same_until_it_ends(database: Database) -> None:
    note(database, "a")
    first = message(database)
    note(database, "b")
    assert message(database) == first
    sent = queue.next_message(database, "ops")
    assert sent is not None
    queue.end_message(database, sent, Ending.DELIVERED)
    second = message(database)
    assert (second[1], second[0] != first[0]) == (["b"], True)
    assert note(database, "a") == 0, "it was told"


def test_a_message_carries_so_many_notices_and_a_queue_holds_so_many(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "NOTICES_PER_MESSAGE_MAX", 2)
    monkeypatch.setattr(queue, "WAITING_MAX", 3)
    assert note(database, *"abcde") == 3
    assert message(database)[1] == ["a", "b"]
    assert queue.depth(database, "ops").waiting == 3
    sent = queue.next_message(database, "ops")
    assert sent is not None
    queue.end_message(database, sent, Ending.GIVEN_UP)
    assert note(database, *"abcde") == 2


def test_what_is_over_is_not_sent_but_a_message_that_was_tried_is_not_taken_back(database: Database) -> None:
    note(database, "a")
    message(database)
    note(database, "b", "c")
    with database.write() as connection:
        assert queue.end_past(connection, "ops", lambda fact: fact != "c") == 1
    sent = queue.next_message(database, "ops")
    assert sent is not None
    assert [notice["fact"] for notice in sent.notices] == ["a"]
    queue.end_message(database, sent, Ending.DELIVERED)
    assert message(database)[1] == ["c"]


def test_old_notices_go_but_not_those_whose_fact_still_holds(database: Database) -> None:
    note(database, "a", "b", "c")
    sent = queue.next_message(database, "ops")
    assert sent is not None
    queue.end_message(database, sent, Ending.DELIVERED)
    note(database, "d")
    with database.write() as connection:
        assert queue.forget_old(connection, {"a"}) == 0
        connection.execute(update(notices).where(notices.c.ended_s.is_not(None)).values(ended_s=1.0))
        assert queue.forget_old(connection, {"a"}) == 2
    assert note(database, "a", "b", "d") == 1
