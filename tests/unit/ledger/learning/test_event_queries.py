"""Events are found by their names, which may hold the sign that parts them; conversations as they were."""

from sqlalchemy import text

from ledger.database import Database, now_s
from ledger.learning.event_queries import conversation, event_by_uid, events_named
from tests.unit.feedback.intake_builder import wait_until
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, keep


def test_events_are_found_by_name_wherever_the_name_is_parted(database: Database) -> None:
    keep(database, build_event("e1"), build_event("b#1", source="a"), build_event("1", source="a#b"))
    with database.read() as connection:
        assert events_named(connection, ["dev#e1", "dev#none", "e1"]).keys() == {"dev#e1"}
        assert [kept.event.source for kept in event_by_uid(connection, "a#b#1")] == ["a", "a#b"]
        assert [kept.event.uid for kept in event_by_uid(connection, "e1")] == ["dev#e1"]
        assert event_by_uid(connection, "none") == []


def test_many_names_are_read_in_several_queries(database: Database) -> None:
    keep(database, *(build_event(f"e{n}") for n in range(230)))
    with database.read() as connection:
        assert len(events_named(connection, [f"dev#e{n}" for n in range(230)])) == 230


def test_a_name_is_looked_up_in_an_index(database: Database) -> None:
    keep(database, build_event("e1"))
    with database.read() as connection:
        if connection.dialect.name != "sqlite":
            return
        plan = connection.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT seq FROM events WHERE source = 'dev' AND id = 'e1'"
                " OR source = 'dev' AND claimed_id = 'e1' ORDER BY seq"
            )
        ).all()
    assert not [row for row in plan if row.detail == "SCAN events"]


def test_what_is_captured_later_is_no_part_of_a_conversation_as_it_was(database: Database) -> None:
    keep(database, build_interaction("t0", conversation="talk", turn=0), partition=INTERACTIONS)
    with database.read() as connection:
        then_s = now_s(connection)
    wait_until(lambda: _time_of(database) > then_s)  # SQLite's clock has milliseconds
    keep(database, build_interaction("t1", conversation="talk", turn=1), partition=INTERACTIONS)
    with database.read() as connection:
        assert [each.id for each in conversation(connection, "billing", "talk")] == ["t0", "t1"]
        then = conversation(connection, "billing", "talk", until_s=then_s)
    assert [each.id for each in then] == ["t0"]


def _time_of(database: Database) -> float:
    with database.read() as connection:
        return now_s(connection)
