"""What learners did: passes with their turns, and turns whose version does not serve."""

from ledger.database import Database
from ledger.learning import turns
from ledger.learning.retries import Remedy, Retry
from ledger.reports.history.pass_list import failed_turns, pass_list
from ledger.turn_states import TurnState
from ledger.versions.decisions import Verdict
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import (
    TRAINED,
    build_evidence,
    build_version,
    open_pass,
    promote,
    record,
    refuse,
)


def test_a_pass_has_its_turns_in_their_order_and_what_was_decided(database: Database) -> None:
    keep(database, build_event("e1"), build_event("e2"), build_event("s1", agent="sql"))
    opened = open_pass(database, "billing", "sql")
    billing, sql = opened.turns
    promote(database, record(database, billing, tokens=300))
    turns.drop_turn(
        database,
        sql,
        token=sql.plan.token,
        reason="nothing to teach",
        tokens=40,
        results={event.seq: TRAINED for event in sql.plan.events},
    )
    with database.read() as connection:
        [work] = pass_list(connection, limit=5)
    assert (work.pass_id, work.tokens, work.made, work.form["device"]) == (opened.id, 340, 1, "cpu")
    assert work.closed_s is not None
    first, second = work.turns
    assert (first.agent, first.version, first.verdict) == ("billing", "v1-000001", Verdict.PROMOTE)
    assert first.parts == {"new": 2}
    assert not first.failed
    assert (second.state, second.reason, second.version) == (TurnState.DROPPED, "nothing to teach", None)
    assert second.failed


def test_an_open_pass_has_no_end(database: Database) -> None:
    keep(database, build_event("e1"))
    open_pass(database, "billing")
    with database.read() as connection:
        [work] = pass_list(connection, limit=5)
    assert work.closed_s is None
    assert work.seconds(work.opened_s + 5.0) == 5.0
    assert work.turns[0].state is TurnState.OPEN


def test_passes_are_read_a_page_at_a_time_or_one_alone_and_of_some_agents(database: Database) -> None:
    for name in ("e1", "e2", "e3"):
        keep(database, build_event(name))
        promote(database, build_version(database))
    keep(database, build_event("s1", agent="sql"))
    build_version(database, "sql")
    with database.read() as connection:
        newest = pass_list(connection, limit=2)
        older = pass_list(connection, limit=2, before=newest[-1].pass_id)
        alone = pass_list(connection, limit=2, pass_id=2)
        of_billing = pass_list(connection, limit=9, agents=["billing"])
    assert [work.pass_id for work in newest] == [4, 3]
    assert [work.pass_id for work in older] == [2, 1]
    assert [work.pass_id for work in alone] == [2]
    assert [work.pass_id for work in of_billing] == [3, 2, 1]


def test_of_a_shared_pass_only_the_turns_of_the_chosen_agents_are_read(database: Database) -> None:
    keep(database, build_event("e1"), build_event("s1", agent="sql"))
    open_pass(database, "billing", "sql")
    with database.read() as connection:
        [work] = pass_list(connection, limit=5, agents=["sql"])
    assert [turn.agent for turn in work.turns] == ["sql"]


def test_failures_say_why_and_which_try_followed(database: Database) -> None:
    keep(database, build_event("e1"))
    reasons = ("not better: 1 of 8 prompts won",)
    refuse(database, build_version(database), evidence=build_evidence(reasons=reasons))
    longer = Retry(after=1, remedies=(Remedy.LONGER,))
    promote(database, build_version(database, retry=longer))
    with database.read() as connection:
        [failed] = failed_turns(connection, limit=5)
        assert failed_turns(connection, limit=5, before=failed.turn_id) == []
        assert failed_turns(connection, limit=5, agents=["sql"]) == []
    assert (failed.version, failed.verdict, failed.reasons) == ("v1-000001", Verdict.REFUSE, reasons)
    assert failed.followed_by == f"v2: {longer.text}"
