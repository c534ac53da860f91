"""Events by agent, kind, author, status and role, newest first, a page at a time."""

import pytest

from ledger.database import Database
from ledger.events import Kind, Role
from ledger.reports.history.event_list import EventFilter, event_list
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import build_version


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        (EventFilter(), ["e4", "e3", "e2", "e1"]),
        (EventFilter(agent="sql"), ["e3"]),
        (EventFilter(kind="approve"), ["e2"]),
        (EventFilter(author="bob", agent="billing"), ["e4"]),
        (EventFilter(role="gate"), ["e4"]),
        (EventFilter(status="contested"), []),
        (EventFilter(since_s=0.0, status="open", kind="correction"), ["e4", "e3", "e1"]),
    ],
)
def test_a_filter_chooses_events(database: Database, chosen: EventFilter, ids: list[str]) -> None:
    keep(
        database,
        build_event("e1"),
        build_event("e2", kind=Kind.APPROVE),
        build_event("e3", agent="sql"),
        build_event("e4", author="bob", role=Role.GATE),
    )
    with database.read() as connection:
        events = event_list(connection, chosen, before_seq=None, limit=10)
    assert [kept.event.id for kept in events] == ids


def test_the_events_of_a_turn_are_those_that_were_new_in_it(database: Database) -> None:
    keep(database, build_event("e1"), build_event("e2", role=Role.GATE))
    build_version(database)
    keep(database, build_event("e3"))
    with database.read() as connection:
        events = event_list(connection, EventFilter(turn=1), before_seq=None, limit=10)
    assert [kept.event.id for kept in events] == ["e1"]


def test_a_page_begins_where_the_one_before_ended(database: Database) -> None:
    keep(database, *(build_event(f"e{n}") for n in range(5)))
    with database.read() as connection:
        first = event_list(connection, EventFilter(), before_seq=None, limit=2)
        second = event_list(connection, EventFilter(), before_seq=first[-1].seq, limit=2)
    assert [kept.event.id for kept in (*first, *second)] == ["e4", "e3", "e2", "e1"]
