"""How long corrections took to change answers, in parts."""

from sqlalchemy import Table, update

from ledger import schema
from ledger.database import Database
from ledger.events import Kind
from ledger.reports.timeline import PARTS, Timeline, timelines
from ledger.versions.lineage import Version
from tests.unit.ledger.event_builder import build_event, build_interaction, keep
from tests.unit.ledger.turn_builder import open_pass, promote, record


def build_promoted(database: Database, *events: str, kind: Kind = Kind.CORRECTION) -> Version:
    keep(database, *(build_event(event, kind=kind) for event in events))
    [turn] = open_pass(database, "billing").turns
    version = record(database, turn)
    promote(database, version)
    return version


def move(database: Database, table: Table, **moments_s: float) -> None:
    with database.write() as connection:
        connection.execute(update(table).values(**moments_s))


def read(database: Database) -> list[Timeline]:
    with database.read() as connection:
        return timelines(connection)


def test_each_part_begins_where_the_one_before_ends(database: Database) -> None:
    version = build_promoted(database, "1", "2")
    keep(database, build_interaction("i1", version=version.name))
    move(database, schema.events, received_s=101.0)
    move(database, schema.passes, opened_s=104.0)
    move(database, schema.versions, made_s=110.0)
    move(database, schema.decisions, decided_s=118.0)
    move(database, schema.interactions, received_s=119.5)
    [timeline] = read(database)
    assert timeline.version == version.name
    assert timeline.correction.endswith("#2"), "the newest one"
    expected = {"intake": 1.0, "wait": 3.0, "train": 6.0, "judge": 8.0, "swap": 1.5}
    assert timeline.parts_s(acknowledged_s=100.0) == expected
    assert tuple(expected) == PARTS
    assert timeline.parts_s(acknowledged_s=100.0, answered_s=119.0)["swap"] == 1.0, "somebody saw it earlier"


def test_a_part_whose_end_is_not_known_is_left_out(database: Database) -> None:
    build_promoted(database, "1")
    [timeline] = read(database)
    assert timeline.answered_s is None
    assert tuple(timeline.parts_s()) == ("wait", "train", "judge")


def test_corrections_after_the_turn_was_planned_do_not_count(database: Database) -> None:
    build_promoted(database, "1")
    keep(database, build_event("later"))
    [timeline] = read(database)
    assert timeline.correction.endswith("#1")


def test_a_version_without_corrections_has_no_timeline(database: Database) -> None:
    build_promoted(database, "1", kind=Kind.TAKEOVER)
    assert read(database) == []
