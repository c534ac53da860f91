"""What a person on call must know of the ledger, on both databases."""

import pytest

from ledger import leases
from ledger.database import Database
from ledger.events import Status
from ledger.learning.turns import lease_name
from ledger.reports.health import Decided, LedgerHealth, decided_since, ledger_health, newest_decision
from ledger.versions import promotion
from ledger.versions.decisions import Verdict
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import (
    ALREADY_KNOWN,
    TRAINED,
    build_decision,
    build_version,
    open_pass,
    promote,
    record,
    refuse,
)


def look(database: Database) -> LedgerHealth:
    with database.read() as connection:
        return ledger_health(connection)


def decided(database: Database, number: int) -> tuple[int, list[Decided]]:
    with database.read() as connection:
        return decided_since(connection, number)


def test_an_empty_ledger_has_nothing_that_waits_or_is_old(database: Database) -> None:
    health = look(database)
    assert [backlog.agent for backlog in health.backlogs] == ["billing", "sql"]
    assert health.stuck == {Status.WAITING: 0, Status.HELD: 0, Status.CONTESTED: 0}
    assert (health.candidates, health.candidate_age_s, health.pass_age_s) == (0, 0.0, 0.0)
    assert (health.turns_held, health.turns_left, health.leases) == (0, 0, {})
    assert set(health.last_s) <= {"decision", "flip"}


def test_a_turn_is_held_until_its_lease_is_gone(database: Database) -> None:
    keep(database, build_event("1"), build_event("2", agent="sql"))
    opened = open_pass(database, "billing", "sql")
    assert (look(database).turns_held, look(database).turns_left) == (2, 0)
    assert look(database).leases == {"agent": 2}
    assert look(database).pass_age_s > 0.0
    leases.release(database, {lease_name("sql"): opened.turns[1].plan.token})
    assert (look(database).turns_held, look(database).turns_left) == (1, 1)
    for turn in opened.turns:
        record(database, turn)
    assert (look(database).turns_held, look(database).turns_left, look(database).pass_age_s) == (0, 0, 0.0)


def test_a_candidate_grows_old_until_its_verdict(database: Database) -> None:
    keep(database, build_event("1"))
    made = build_version(database)
    health = look(database)
    assert health.candidates == 1
    assert health.candidate_age_s == pytest.approx(health.now_s - made.made_s, abs=0.01)
    refuse(database, made)
    assert (look(database).candidates, look(database).candidate_age_s) == (0, 0.0)


def test_what_is_stuck_is_counted_by_why(database: Database) -> None:
    keep(
        database,
        build_event("1"),
        build_event("2", agent="sql", interaction="i", role=None, prompt_group=None),
    )
    made = build_version(database)
    promote(database, made)
    promotion.roll_back(database, "billing", to=None, by="ann", reason="worse")
    assert look(database).stuck == {Status.WAITING: 1, Status.HELD: 1, Status.CONTESTED: 0}


def test_the_last_of_each_kind_has_its_moment(database: Database) -> None:
    keep(database, build_event("1"))
    made = build_version(database)
    promote(database, made)
    last = look(database).last_s
    assert last["version"] == last["turn"]
    assert last["event"] <= last["turn"] <= last["decision"] <= look(database).now_s
    assert last["flip"] == pytest.approx(last["decision"], abs=1.0)
    keep(database, build_event("2", agent="sql"))
    [turn] = open_pass(database, "sql").turns
    from ledger.learning.turns import void_turn

    void_turn(database, turn, token=turn.plan.token, reason="test")
    again = look(database).last_s
    assert again["turn"] > last["turn"]
    assert again["version"] == last["version"]
    assert again["event"] > last["event"]


def test_decisions_are_told_once_whoever_took_them(database: Database) -> None:
    with database.read() as connection:
        number = newest_decision(connection)
    keep(database, build_event("1"), build_event("2"))
    made = build_version(database)
    promote(database, made)
    promotion.roll_back(database, "billing", to=None, by="ann", reason="worse")
    newest, decisions = decided(database, number)
    assert [(decision.verdict, decision.by) for decision in decisions] == [
        (Verdict.PROMOTE, build_decision(made, Verdict.PROMOTE).by),
        (Verdict.ROLLBACK, "ann"),
    ]
    assert decided(database, newest) == (newest, [])


def test_a_promotion_says_how_long_each_event_waited_that_was_trained(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"), build_event("3"))
    [turn] = open_pass(database, "billing").turns
    known, *trained = [event.seq for event in turn.plan.events]
    made = record(database, turn, results={known: ALREADY_KNOWN} | dict.fromkeys(trained, TRAINED))
    promote(database, made)
    _, decisions = decided(database, 0)
    [decision] = [decision for decision in decisions if decision.verdict is Verdict.PROMOTE]
    assert len(decision.waited_s) == 2
    assert all(0.0 <= waited_s < 60.0 for waited_s in decision.waited_s)


def test_after_a_restored_backup_it_goes_on_from_what_there_is(database: Database) -> None:
    """Numbers went back: what was decided since is gone, and what comes is told."""
    newest, decisions = decided(database, 1_000_000)
    assert decisions == []
    keep(database, build_event("1"))
    promote(database, build_version(database))
    assert [decision.verdict for decision in decided(database, newest)[1]] == [Verdict.PROMOTE]
