"""Whatever needs a person is found, with the command that decides and the page that shows it."""

import shlex
from dataclasses import replace

import pytest
from sqlalchemy import update

from daemon.notices.finding import Notice, NoticeRules, needs_now, withdrawn_since
from ledger.database import Database
from ledger.events import Status
from ledger.learning.agents import Agent, declare
from ledger.learning.backlog import WAITS_FOR_ANOTHER
from ledger.notices.kinds import NoticeKind
from ledger.reports.health import newest_decision
from ledger.schema import events
from ledger.versions import promotion
from ledger.versions.decisions import BY_CANARY, Verdict
from ledger.versions.desired import Purpose, want
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import Version
from tests.unit.daemon.notices.notice_rules import RULES
from tests.unit.ledger.event_builder import build_event, build_unusable, keep
from tests.unit.ledger.ledger_builder import BASE_HASH, build_memory_ledger
from tests.unit.ledger.turn_builder import build_decision, build_version, promote, refuse


@pytest.fixture
def database() -> Database:
    return build_memory_ledger("billing")


def needed(database: Database, rules: NoticeRules = RULES) -> list[Notice]:
    with database.read() as connection:
        return needs_now(connection, rules)


def withdrawn(database: Database, after: int = 0) -> list[Notice]:
    with database.read() as connection:
        return withdrawn_since(connection, after, newest_decision(connection))[0]


def candidate(database: Database, *ids: str) -> Version:
    keep(database, *(build_event(id) for id in ids))
    return build_version(database)


def contest(database: Database, *ids: str, reason: str = "people disagree") -> None:
    with database.write() as connection:
        contested = {"status": Status.CONTESTED.value, "status_reason": reason}
        connection.execute(update(events).where(events.c.id.in_(ids)).values(**contested))


def test_nothing_is_needed_at_first(database: Database) -> None:
    keep(database, build_event("1"))
    assert needed(database) == []
    assert withdrawn(database) == []


def test_a_version_waits_for_a_person_once_it_passed_and_only_where_one_confirms(database: Database) -> None:
    version = candidate(database, "1")
    passed = build_decision(version, Verdict.CANARY)
    declare(database, Agent(name="billing", base_hash=BASE_HASH, confirm=True))
    assert needed(database) == [], "the gate has not decided"
    with database.write() as connection:
        want(connection, version, Purpose.CANARY)
    refuse(database, version, Verdict.CANARY, evidence=passed.evidence)
    [notice] = needed(database)
    assert (notice.kind, notice.agent) == (NoticeKind.CONFIRM, "billing")
    assert notice.command == f"clorad promote billing@{version.name}"
    assert notice.page == f"/versions/billing@{version.name}"
    declare(database, Agent(name="billing", base_hash=BASE_HASH, confirm=False))
    assert needed(database) == []


def test_contested_events_about_one_prompt_are_one_notice(database: Database) -> None:
    keep(database, build_event("1", prompt_group="p"), build_event("2", prompt_group="p"), build_event("3"))
    contest(database, "1", "2")
    [notice] = needed(database)
    assert (notice.kind, notice.why) == (NoticeKind.CONTESTED, "people disagree")
    assert notice.what.startswith("2 events of billing")
    assert shlex.split(notice.command) == [*["clorad", "contested", "settle", "dev#1", "--reason"], "…"]
    assert notice.page == "/review?only=contested&agent=billing"


def test_the_name_of_an_event_runs_nothing_in_a_shell(database: Database) -> None:
    hostile = "1'; rm -rf ~ #"
    keep(database, build_event(hostile), build_event("\x1b[2J"))
    contest(database, hostile, "\x1b[2J")
    quoted, unnamed = needed(database)
    assert shlex.split(quoted.command)[3] == f"dev#{hostile}"
    assert unnamed.command == "clorad contested list --agent billing"


def test_the_gate_abstained_again_and_again(database: Database) -> None:
    for number in range(3):
        assert needed(database) == []
        refuse(
            database,
            candidate(database, f"{number}"),
            Verdict.ABSTAIN,
            evidence=Evidence(reasons=(f"too little {number}",)),
        )
    [notice] = needed(database)
    assert (notice.kind, notice.why) == (NoticeKind.ABSTAINED, "too little 2")
    refuse(database, candidate(database, "3"), Verdict.ABSTAIN)
    assert [again.fact for again in needed(database)] == [notice.fact], "it is the same fact"
    refuse(database, candidate(database, "4"))
    assert needed(database) == []


def test_more_dead_letters_wait_than_allowed(database: Database) -> None:
    keep(database, *(build_unusable() for _ in range(2)))
    assert needed(database) == []
    keep(database, build_unusable())
    [notice] = needed(database)
    assert (notice.kind, notice.agent) == (NoticeKind.DEAD_LETTERS, None)
    assert notice.what.startswith("3 records")


def test_a_champion_is_rolled_back_and_a_canary_is_withdrawn_by_itself(database: Database) -> None:
    first = candidate(database, "1")
    promote(database, first)
    promotion.roll_back(database, "billing", to=0, by="ann", reason="worse")
    assert withdrawn(database) == [], "a person did it, and knows"
    second = candidate(database, "2")
    promote(database, second)
    promotion.roll_back(database, "billing", to=0, by=BY_CANARY, reason="it is corrected more often")
    third = candidate(database, "3")
    promotion.withdraw(database, third, by=BY_CANARY, evidence=Evidence(reasons=("errors",)))
    rollback, canary = withdrawn(database)
    assert (rollback.kind, rollback.why) == (NoticeKind.ROLLED_BACK, "it is corrected more often")
    assert (canary.kind, canary.why) == (NoticeKind.CANARY_WITHDRAWN, "errors")
    assert canary.command == f"clorad why billing@{third.name}"
    assert withdrawn(database, after=int(rollback.id)) == [canary]


def test_an_agent_lacks_evidence_for_long(database: Database) -> None:
    keep(database, build_event("1"))
    at_once = replace(RULES, without_evidence_s=0.0)
    assert needed(database) == []
    [notice] = needed(database, at_once)
    assert (notice.kind, notice.agent) == (NoticeKind.NO_EVIDENCE, "billing")
    assert "too few gate prompts" in notice.why
    assert (notice.command, notice.page) == ("clorad status", "/agents/billing")


def test_an_agent_waits_for_a_second_person_for_long(database: Database) -> None:
    keep(database, build_event("1"))
    with database.write() as connection:
        waits = {"status": Status.WAITING.value, "status_reason": WAITS_FOR_ANOTHER}
        connection.execute(update(events).values(**waits))
    [notice] = needed(database, replace(RULES, without_evidence_s=0.0))
    assert notice.why == "1 correction of one person each: let somebody else correct alike"


def test_a_notice_has_no_text_of_a_person(database: Database) -> None:
    words = {"messages": [{"role": "user", "content": "Zebra"}], "rejected": "Zebra", "corrected": "Zebra"}
    keep(database, build_event("1", data=words, author="Zebra"))
    contest(database, "1")
    assert "Zebra" not in str([notice.to_json("https://clorad.example") for notice in needed(database)])
