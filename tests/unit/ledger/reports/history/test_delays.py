"""How long corrections took from being stored to being live."""

import pytest
from sqlalchemy import update

from ledger.database import Database
from ledger.events import Kind
from ledger.reports.history.delays import PARTS, teaching_delays
from ledger.schema import decisions, events, passes, versions
from ledger.versions.decisions import Verdict
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import build_version, promote, refuse


def test_the_parts_are_those_of_the_way_from_stored_to_live(database: Database) -> None:
    keep(database, build_event("e1"), build_event("e2"), build_event("ok", kind=Kind.APPROVE))
    made = build_version(database)
    refuse(database, made, Verdict.CANARY)
    promote(database, made)
    with database.write() as connection:
        connection.execute(update(events).values(received_s=1000.0))
        connection.execute(update(events).where(events.c.id == "e2").values(received_s=980.0))
        connection.execute(update(passes).values(opened_s=1010.0))
        connection.execute(update(versions).values(made_s=1040.0))
        for kind, at_s in ((Verdict.CANARY, 1045.0), (Verdict.PROMOTE, 1046.0)):
            row = decisions.c.kind == kind.value
            connection.execute(update(decisions).where(row).values(decided_s=at_s))
    with database.read() as connection:
        [delay] = teaching_delays(connection, limit=5)
    assert (delay.agent, delay.version, delay.corrections) == ("billing", "v1-000001", 2)
    assert (delay.median_s, delay.longest_s) == (56.0, 66.0)
    assert tuple(delay.parts_s) == PARTS
    assert list(delay.parts_s.values()) == pytest.approx([20.0, 30.0, 5.0, 1.0])


def test_a_version_that_was_promoted_at_once_was_not_judged(database: Database) -> None:
    keep(database, build_event("e1"), build_event("s1", agent="sql"))
    promote(database, build_version(database))
    build_version(database, "sql")  # not live yet
    with database.read() as connection:
        [delay] = teaching_delays(connection, limit=5)
        assert teaching_delays(connection, limit=5, agents=["sql"]) == []
    assert delay.parts_s["swap"] == 0.0
