"""Which events a candidate is judged by."""

from ledger.database import Database
from ledger.events import Event, Kind, Role
from ledger.learning.gate_events import gate_corrections, suite_material, taught_events
from tests.unit.ledger.event_builder import build_event, build_retraction, keep
from tests.unit.ledger.turn_builder import build_version, promote


def gate(id: str) -> Event:
    return build_event(id, role=Role.GATE)


def test_gate_corrections_are_those_that_the_turn_of_the_champion_had_not_looked_at(
    database: Database,
) -> None:
    keep(database, build_event("1"), gate("g1"))
    promote(database, build_version(database))
    keep(
        database,
        build_event("2"),
        gate("g2"),
        gate("g3"),
        build_event("g4", role=Role.GATE, kind=Kind.APPROVE),
    )
    candidate = build_version(database)
    keep(database, gate("g5"), build_retraction("r", "g3"))
    with database.read() as connection:
        assert [kept.event.id for kept in gate_corrections(connection, candidate)] == ["g2", "g5"]


def test_taught_events_are_the_new_ones_of_the_turn(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"))
    promote(database, build_version(database))
    keep(database, build_event("3"), build_event("4"), build_event("5"))
    candidate = build_version(database)
    with database.read() as connection:
        assert [kept.event.id for kept in taught_events(connection, candidate)] == ["3", "4", "5"]
        assert [kept.event.id for kept in taught_events(connection, candidate, limit=2)] == ["3", "4"]


def test_the_suite_is_chosen_from_approvals_and_from_what_earlier_champions_were_judged_by(
    database: Database,
) -> None:
    keep(database, build_event("1"), gate("g1"), build_event("a1", role=Role.GATE, kind=Kind.APPROVE))
    keep(database, build_event("a2", kind=Kind.APPROVE))
    promote(database, build_version(database))
    keep(database, build_event("2"), gate("g2"))
    candidate = build_version(database)
    with database.read() as connection:
        material = suite_material(connection, candidate, settle_s=3600.0)
    assert [kept.event.id for kept in material.approvals] == ["a1"]
    assert [kept.event.id for kept in material.judged_before] == ["g1"]
    assert [kept.event.id for kept in material.new] == ["2", "g2"]
    assert {kept.event.id for kept in material.corrections} == {"1", "2", "g1", "g2"}
