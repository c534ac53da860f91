"""Feedback waits for the interaction it names, not for ever, and has one disposition before and after."""

import pytest
from sqlalchemy import func, select, update

from ledger import schema
from ledger.database import Database, now_s
from ledger.events import Kind, Reason, Role, Status
from ledger.intake import dead_letters, outbox, waiting
from ledger.learning import event_queries
from ledger.learning.event_queries import untaught
from ledger.reports.audit import audit
from tests.unit.ledger.event_builder import (
    DEAD_LETTERS,
    INTERACTIONS,
    build_event,
    build_interaction,
    build_outcome,
    build_retraction,
    keep,
)


def naming(id: str, interaction: str = "i", **changed: object):
    return build_event(id, interaction=interaction, role=None, prompt_group=None, **changed)


def give_up(database: Database) -> int:
    """Whatever waits has waited too long."""
    with database.read() as connection:
        now = now_s(connection)
    return waiting.give_up(database, kept_before_s=now + 1.0, dead_letter_topic=DEAD_LETTERS)


def ids(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.scalars(select(schema.events.c.id)))


def test_what_waited_too_long_is_a_dead_letter_once(database: Database) -> None:
    keep(database, build_event("1"), naming("2"), naming("3", key="k"), build_event("4"))
    assert give_up(database) == 2
    assert give_up(database) == 0
    with database.read() as connection:
        letters = dead_letters.newest(connection, limit=9)
        assert audit(connection).disagreements == ()
        counted = select(*(func.sum(schema.ranges.c[name]) for name in ("records", "stored", "dead")))
        assert tuple(connection.execute(counted).one()) == (4, 2, 2)
    assert [(letter.reason, letter.offset) for letter in letters] == [(Reason.ORPHAN, 2), (Reason.ORPHAN, 1)]
    assert (letters[0].key, letters[0].value) == (b"key", b"bytes 2")
    assert letters[0].headers == (("ce_id", b"1"), ("ce_id", None))
    owed = outbox.pending(database, limit=9)
    assert [(message.topic, message.value) for message in owed] == [
        (DEAD_LETTERS, b"bytes 1"),
        (DEAD_LETTERS, b"bytes 2"),
    ]
    assert dict(owed[0].headers)["clorad.dead.reason"] == b"orphan"
    assert ids(database) == {"1", "4"}


def test_a_number_is_given_out_once_though_an_older_event_is_given_up_after_a_newer_one(
    database: Database,
) -> None:
    keep(database, naming("1"), naming("2"))
    with database.write() as connection:  # the clock went back between the two
        later = schema.events.c.received_s + 3600.0
        connection.execute(update(schema.events).where(schema.events.c.id == "1").values(received_s=later))
    assert give_up(database) == 1
    with database.read() as connection:
        assert waiting.give_up(database, kept_before_s=now_s(connection) + 7200.0, dead_letter_topic="t") == 1
    keep(database, build_event("3"))
    with database.read() as connection:
        assert connection.scalar(select(schema.events.c.seq)) == 3


def test_only_what_waits_for_an_interaction_is_given_up(database: Database) -> None:
    keep(database, build_interaction("here"), partition=INTERACTIONS)
    keep(
        database,
        build_event("own texts", interaction="nowhere"),
        naming("joined", "here"),
        naming("taken back"),
        build_retraction("r", "taken back"),
        naming("replaced", key="k"),
        build_event("newer", key="k", revision=2),
        build_outcome("about the newer", 0.5, amends="k", role=None, prompt_group=None),
    )
    before = ids(database)
    assert give_up(database) == 0
    assert ids(database) == before


def test_an_amendment_of_nothing_is_given_up_too(database: Database) -> None:
    keep(database, build_outcome("1", 0.5, amends="nothing", role=None, prompt_group=None))
    assert give_up(database) == 1


def test_the_young_wait_on(database: Database) -> None:
    keep(database, naming("1"))
    with database.read() as connection:
        kept_s = waiting.waiting_state(connection).oldest_s
    assert kept_s is not None
    assert waiting.give_up(database, kept_before_s=kept_s, dead_letter_topic=DEAD_LETTERS) == 0
    keep(database, build_interaction("i"), partition=INTERACTIONS)
    with database.read() as connection:
        [found] = event_queries.event_by_uid(connection, "1")
        assert (found.status, found.event.role) == (Status.OPEN, Role.TRAIN)
        assert waiting.waiting_state(connection).oldest_s is None


def test_a_number_is_never_given_to_a_second_event(database: Database) -> None:
    keep(database, build_event("1"), naming("2"))
    with database.read() as connection:
        last = int(connection.scalar(select(func.max(schema.events.c.seq))) or 0)
    give_up(database)
    keep(database, build_event("3"), build_event("4"))
    give_up(database)
    keep(database, build_event("5"))
    with database.read() as connection:
        found = {kept.event.id: kept.seq for kept in untaught(connection, "billing", limit=9)}
    assert last < found["3"] < found["4"] < found["5"]


def test_given_up_feedback_may_come_again(database: Database) -> None:
    keep(database, naming("1"))
    give_up(database)
    keep(database, naming("1"))
    keep(database, build_interaction("i"), partition=INTERACTIONS)
    with database.read() as connection:
        assert [kept.status for kept in event_queries.event_by_uid(connection, "1")] == [Status.OPEN]
        assert audit(connection).disagreements == ()


@pytest.mark.parametrize("first", ["interaction", "feedback"])
def test_records_are_kept_only_while_they_are_waited_with(database: Database, first: str) -> None:
    if first == "interaction":
        keep(database, build_interaction("i"), partition=INTERACTIONS)
    keep(database, naming("1"), build_event("2"))
    if first == "feedback":
        keep(database, build_interaction("i"), partition=INTERACTIONS)
        waiting.forget_joined(database)
    with database.read() as connection:
        assert waiting.waiting_state(connection) == waiting.WaitingState(oldest_s=None, records=0, waiting=0)


def test_an_outcome_of_a_conversation_that_nobody_captured_stays_and_teaches_nothing(
    database: Database,
) -> None:
    common = {"role": None, "prompt_group": None, "conversation": "talk"}
    keep(database, build_outcome("o", 1.0, **common), build_event("2", kind=Kind.REJECT, **common))
    assert give_up(database) == 1, "other feedback becomes a dead letter"
    assert ids(database) == {"o"}
    with database.read() as connection:
        assert audit(connection).disagreements == ()
        [kept] = event_queries.event_by_uid(connection, "dev#o")
    assert (kept.status, kept.event.role) == (Status.BARREN, None)
    keep(database, build_interaction("late", conversation="talk"), partition=INTERACTIONS)
    with database.read() as connection:
        [kept] = event_queries.event_by_uid(connection, "dev#o")
    assert (kept.status, kept.event.role) == (Status.OPEN, Role.TRAIN)
