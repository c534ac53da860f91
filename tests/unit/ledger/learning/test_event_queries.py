"""Events are found by names, which may hold the sign that parts them; conversations as a pass saw them."""

from sqlalchemy import text, update

from ledger.database import Database
from ledger.learning.event_queries import (
    conversations,
    event_by_uid,
    events_named,
    interactions_named,
)
from ledger.schema import interactions, passes
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, keep
from tests.unit.ledger.turn_builder import open_pass


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


def test_what_is_captured_in_the_millisecond_in_which_a_pass_opens_is_in_it_or_not(
    database: Database,
) -> None:
    """Stored before or after: a time cannot tell, and a pass that is trained again must be the same."""
    keep(database, build_event("e0"))
    keep(database, build_interaction("t0", conversation="talk", turn=0), partition=INTERACTIONS)
    opened = open_pass(database, "billing")
    keep(database, build_interaction("t1", conversation="talk", turn=1), partition=INTERACTIONS)
    with database.write() as connection:
        connection.execute(update(interactions).values(received_s=1000.0))
        connection.execute(update(passes).values(opened_s=1000.0))
    assert captured_before(database, opened.id) == ["t0"]
    assert captured_before(database, None) == ["t0", "t1"]


def test_what_an_older_clorad_captured_is_compared_by_time(database: Database) -> None:
    keep(database, build_event("e0"))
    for turn in (0, 1):
        keep(database, build_interaction(f"t{turn}", conversation="talk", turn=turn), partition=INTERACTIONS)
    opened = open_pass(database, "billing")
    with database.write() as connection:
        connection.execute(update(interactions).values(after_pass=None, received_s=interactions.c.turn))
        connection.execute(update(passes).values(opened_s=0.5))
    assert captured_before(database, opened.id) == ["t0"]


def captured_before(database: Database, pass_id: int | None) -> list[str]:
    """The captures of the conversation, and those that are found by their names: the same ones."""
    with database.read() as connection:
        talk = conversations(connection, "billing", ["talk"], before_pass=pass_id)["talk"]
        named = interactions_named(connection, ["t0", "t1"], before_pass=pass_id)
    assert {capture.id for capture in talk} == named.keys()
    return [capture.id for capture in talk]
