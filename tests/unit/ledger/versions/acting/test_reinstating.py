"""A version that was refused or rolled back is brought back by a person, and its events with it."""

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from ledger import schema
from ledger.database import Database
from ledger.errors import FlipRefused
from ledger.events import Status
from ledger.learning.backlog import backlogs
from ledger.versions import canary, decisions, desired, lineage, promotion
from ledger.versions.acting.reinstating import EventLeftBehind, reinstate
from ledger.versions.decisions import Verdict
from ledger.versions.desired import Purpose
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import Version
from tests.unit.ledger.event_builder import build_event, build_retraction, keep
from tests.unit.ledger.turn_builder import build_decision, build_version, promote, refuse

BACK = "the new scorer was wrong"


def build_champion(database: Database, *ids: str) -> Version:
    keep(database, *(build_event(id) for id in ids))
    version = build_version(database)
    promote(database, version)
    return version


def serve(database: Database, version: Version) -> int:
    """What the fleet role does once replicas hold the version."""
    decision = build_decision(version, Verdict.PROMOTE, by="ann", evidence=Evidence(reasons=(BACK,)))
    return promotion.promote(database, version, decision)


def bring_back(database: Database, version: Version) -> list[EventLeftBehind]:
    return reinstate(database, version, by="ann", reason=BACK)


def statuses(database: Database) -> dict[str, Status]:
    with database.read() as connection:
        rows = connection.execute(select(schema.events.c.id, schema.events.c.status))
        return {row.id: Status(row.status) for row in rows}


def champion(database: Database) -> int:
    with database.read() as connection:
        return desired.champion(connection, "billing")


def candidates(database: Database) -> list[int]:
    with database.read() as connection:
        return [version.number for version in decisions.undecided(connection)]


@pytest.fixture
def withdrawn(database: Database) -> Version:
    """v1, which was promoted and rolled back to the base."""
    version = build_champion(database, "1", "2")
    promotion.roll_back(database, "billing", to=None, by="ann", reason="worse")
    return version


def test_a_rolled_back_version_serves_again_with_its_held_events(
    database: Database, withdrawn: Version
) -> None:
    assert set(statuses(database).values()) == {Status.HELD}
    assert bring_back(database, withdrawn) == []
    assert (candidates(database), champion(database)) == ([1], 0)
    assert set(statuses(database).values()) == {Status.HELD}, "until it serves"
    serve(database, withdrawn)
    assert (candidates(database), champion(database)) == ([], 1)
    assert set(statuses(database).values()) == {Status.OPEN}
    with database.read() as connection:
        decided = decisions.decisions_of(connection, "billing", 1)
        [waiting] = [row for row in backlogs(connection) if row.agent == "billing"]
    assert [decision.verdict for decision in decided] == [
        *(Verdict.PROMOTE, Verdict.ROLLBACK, Verdict.REINSTATE, Verdict.PROMOTE)
    ]
    assert (decided[2].by, decided[2].evidence.reasons) == ("ann", (BACK,))
    assert waiting.untaught == 0, "its champion was taught with them"


def test_replicas_are_asked_to_hold_it_before_it_serves(database: Database, withdrawn: Version) -> None:
    bring_back(database, withdrawn)
    with database.read() as connection:
        wanted = {row.purpose: (row.number, row.share) for row in desired.wanted(connection)}
    assert wanted[Purpose.CANARY] == (1, 0.0)


def test_a_refused_version_serves(database: Database) -> None:
    keep(database, build_event("1"))
    version = build_version(database)
    refuse(database, version)
    bring_back(database, version)
    serve(database, version)
    assert champion(database) == 1


def test_a_rollback_takes_it_back(database: Database, withdrawn: Version) -> None:
    bring_back(database, withdrawn)
    serve(database, withdrawn)
    assert promotion.roll_back(database, "billing", to=None, by="ben", reason="no") == (1, 0)
    assert set(statuses(database).values()) == {Status.HELD}
    bring_back(database, withdrawn)
    serve(database, withdrawn)
    assert champion(database) == 1


def test_a_refusal_takes_it_back_before_it_serves(database: Database, withdrawn: Version) -> None:
    bring_back(database, withdrawn)
    promotion.refuse(database, withdrawn, by="ben", reason="no")
    assert candidates(database) == []
    assert set(statuses(database).values()) == {Status.HELD}
    with pytest.raises(FlipRefused, match="already decided"):
        serve(database, withdrawn)


def test_several_versions_come_back_with_the_last_of_them(database: Database) -> None:
    build_champion(database, "1")
    second = build_champion(database, "2")
    promotion.roll_back(database, "billing", to=0, by="ann", reason="worse")
    bring_back(database, second)
    serve(database, second)
    assert champion(database) == 2
    assert set(statuses(database).values()) == {Status.OPEN}
    assert promotion.roll_back(database, "billing", to=None, by="ann", reason="worse") == (2, 1)


def test_events_that_were_withdrawn_meanwhile_are_named_and_stay_so(
    database: Database, withdrawn: Version
) -> None:
    keep(database, build_retraction("r", "2"))
    assert bring_back(database, withdrawn) == [EventLeftBehind(uid="dev#2", status=Status.RETRACTED)]
    serve(database, withdrawn)
    assert statuses(database) | {"r": Status.OPEN} == {
        "1": Status.OPEN,
        "2": Status.RETRACTED,
        "r": Status.OPEN,
    }


def test_what_was_counted_in_its_steps_withdraws_it_no_more(database: Database) -> None:
    keep(database, build_event("1"))
    version = build_version(database)
    promotion.give_share(database, version, 0.05, by="canary", evidence=Evidence())
    promotion.withdraw(database, version, by="canary", evidence=Evidence(reasons=("worse",)))
    bring_back(database, version)
    serve(database, version)
    with database.read() as connection:
        shares = [step.share for step in canary.steps_of(connection, "billing", 1)]
    assert shares == [canary.ALL]


def test_a_version_that_does_not_fit_is_not_brought_back(database: Database, withdrawn: Version) -> None:
    second = build_champion(database, "3")
    with pytest.raises(FlipRefused, match="comes from v0, and v2 serves, which is not in its line"):
        bring_back(database, withdrawn)
    with pytest.raises(FlipRefused, match="v2 serves, which is or comes from it"):
        bring_back(database, second)
    promotion.roll_back(database, "billing", to=None, by="ann", reason="worse")
    keep(database, build_event("4"))
    third = build_version(database)
    with pytest.raises(FlipRefused, match=f"{third.name} has no verdict yet"):
        bring_back(database, withdrawn)
    with pytest.raises(FlipRefused, match="it has no final verdict yet"):
        bring_back(database, third)
    refuse(database, third)
    with database.write() as connection:
        connection.execute(update(schema.agents).values(base_hash="c" * 64))
    with pytest.raises(FlipRefused, match=r"made for base b{12}, the agent has c{12}"):
        bring_back(database, withdrawn)


def test_a_pruned_version_is_not_brought_back(database: Database, withdrawn: Version) -> None:
    with database.write() as connection:
        connection.execute(update(schema.versions).values(pruned_s=1.0))
        [pruned] = lineage.versions_of(connection, "billing")
    with pytest.raises(FlipRefused, match="its files are gone"):
        bring_back(database, pruned)
    assert replace(pruned, pruned_s=None) == withdrawn
