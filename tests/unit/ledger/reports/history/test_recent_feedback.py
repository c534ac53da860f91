"""What people said lately, by agent."""

from sqlalchemy import update

from ledger.database import Database
from ledger.events import Kind, LiveCounts, Status, VersionCounts
from ledger.learning.event_queries import mark
from ledger.reports.history.recent_feedback import contested_counts, recent_feedback
from ledger.schema import events
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_outcome, keep

DAY_S = 86_400.0


def test_corrections_and_interventions_of_the_window_are_counted_against_its_conversations(
    database: Database,
) -> None:
    keep(database, *(build_event(f"old{n}") for n in range(5)))
    with database.write() as connection:
        connection.execute(update(events).values(received_s=events.c.received_s - 9 * DAY_S))
    keep(
        database,
        build_event("e1"),
        build_event("e2", kind=Kind.OVERRIDE),
        build_event("e3", kind=Kind.REJECT),
        build_event("e4", kind=Kind.APPROVE),
        build_outcome("e5", -1.0),
        build_event("e6", agent="sql"),
    )
    counts = LiveCounts(
        producer="p1",
        sequence=1,
        agent="billing",
        canary="",
        share=0.0,
        versions={"v0": VersionCounts(conversations=30, signals={})},
    )
    keep(database, counts, partition=INTERACTIONS)
    with database.read() as connection:
        recent = recent_feedback(connection, window_s=7 * DAY_S)
    assert (recent["billing"].corrections, recent["billing"].interventions) == (2, 1)
    assert recent["billing"].corrected_share == 0.1
    assert recent["sql"].corrections == 1
    assert recent["sql"].corrected_share is None, "no gateway counted its conversations"


def test_an_empty_ledger_has_no_feedback(database: Database) -> None:
    with database.read() as connection:
        assert recent_feedback(connection, window_s=DAY_S) == {}
        assert contested_counts(connection) == {}


def test_contested_events_are_counted_by_agent(database: Database) -> None:
    keep(database, build_event("e1"), build_event("e2"))
    mark(database, {1: (Status.CONTESTED, "people disagree")})
    with database.read() as connection:
        assert contested_counts(connection) == {"billing": 1}
