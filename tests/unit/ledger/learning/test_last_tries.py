"""The last tries of all agents take as many queries as the last try of one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

from ledger.database import Database
from ledger.learning.last_tries import last_tries
from ledger.reports.upcoming import what_follows
from ledger.versions.causes import Cause
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import build_evidence, build_version, refuse

AGENTS = ("billing", "coder", "sql")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = build_ledger(tmp_path / "clorad.db", *AGENTS)
    keep(opened, *[build_event(agent, agent=agent) for agent in AGENTS])
    for agent in AGENTS:
        reasons = ("harm: 8 of 13 prompts became worse", "not better: 2 wins")
        refuse(opened, build_version(opened, agent), evidence=build_evidence(reasons=reasons))
    yield opened
    opened.close()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What any ledger is asked meanwhile."""
    asked: list[str] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield asked
    event.remove(Engine, "before_cursor_execute", note)


def test_three_agents_take_as_many_queries_as_one(database: Database, statements: list[str]) -> None:
    counts = []
    for agent in (None, "billing"):
        statements.clear()
        with database.read() as connection:
            tries = last_tries(connection, agent)
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert tries["billing"].causes == {Cause.HARM, Cause.NOT_BETTER}


def test_what_follows_a_refusal_reads_the_last_try_once(database: Database, statements: list[str]) -> None:
    with database.read() as connection:
        assert what_follows(connection, "billing", 1, refusals_max=3)
    assert sum(statement.startswith("SELECT turns.id,") for statement in statements) == 1
