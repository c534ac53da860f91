"""What happened to one agent, newest first, a page at a time."""

from ledger.database import Database
from ledger.learning import event_decisions, event_queries
from ledger.reports.history.agent_timeline import Happening, TimelineEntry, agent_timeline
from ledger.versions import holds
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import build_version, promote, refuse


def timeline(database: Database, **changed: object) -> list[TimelineEntry]:
    options: dict[str, object] = {"before_s": float("inf"), "limit": 100, **changed}
    with database.read() as connection:
        return agent_timeline(connection, "billing", **options)  # type: ignore[arg-type]


def build_history(database: Database) -> None:
    keep(database, build_event("e1"), build_event("other", agent="sql"))
    promote(database, build_version(database))
    keep(database, build_event("e2", author="bob"))
    refuse(database, build_version(database))
    holds.hold(database, "billing", by="lead", reason="release")
    holds.resume(database, "billing", by="lead")
    with database.read() as connection:
        [kept] = event_queries.event_by_uid(connection, "dev#e2")
    event_decisions.retract(database, kept, by="lead", reason="wrong")


def test_it_has_feedback_turns_verdicts_shares_holds_and_decisions_newest_first(database: Database) -> None:
    build_history(database)
    entries = timeline(database)
    assert [entry.at_s for entry in entries] == sorted((entry.at_s for entry in entries), reverse=True)
    told = {(entry.happening, entry.what, entry.version, entry.by) for entry in entries}
    assert told >= {
        (Happening.EVENT, "correction", None, "bob"),
        (Happening.TURN, "made", "v2-000002", None),
        (Happening.VERDICT, "promote", "v1-000001", "gate"),
        (Happening.VERDICT, "refuse", "v2-000002", "gate"),
        (Happening.STEP, "watched", "v1-000001", None),
        (Happening.HOLD, "held", None, "lead"),
        (Happening.HOLD, "resumed", None, "lead"),
        (Happening.DECISION, "retract", None, "lead"),
    }
    assert {entry.event for entry in entries if entry.happening is Happening.EVENT} == {"dev#e1", "dev#e2"}


def test_failures_can_be_read_alone(database: Database) -> None:
    build_history(database)
    assert [entry.what for entry in timeline(database, failures_only=True)] == ["refuse"]


def test_pages_follow_one_another_without_a_gap(database: Database) -> None:
    build_history(database)
    whole, pages, before_s = timeline(database), list[TimelineEntry](), float("inf")
    while page := timeline(database, before_s=before_s, limit=3):
        pages += page
        before_s = page[-1].at_s
    assert {(entry.happening, entry.what) for entry in pages} == {(e.happening, e.what) for e in whole}
