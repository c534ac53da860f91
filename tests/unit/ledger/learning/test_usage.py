"""What turns cost is written as they are closed, the same for every learner, and forgotten after an hour."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, update

from ledger import schema
from ledger.database import Database
from ledger.errors import TurnVoid
from ledger.learning import backlog, turns, usage
from ledger.learning.agents import Agent, declare
from ledger.learning.usage import WINDOW_S, TurnCost, Usage, usage_of
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import BASE_HASH, build_version, open_pass, promote, record


def used(database: Database, agent: str = "billing") -> Usage:
    with database.read() as connection:
        return usage.usages(connection)[agent]


def costs(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return {cost.agent: cost.tokens for cost in usage.recent_costs(connection)}


def later(database: Database, seconds: float) -> None:
    """So much time has passed since every turn was closed."""
    with database.write() as connection:
        earlier = update(schema.turns).values(closed_s=schema.turns.c.closed_s - seconds)
        connection.execute(earlier)


def quota(database: Database, tokens: int | None) -> None:
    declare(database, Agent(name="billing", base_hash=BASE_HASH, tokens_per_hour_max=tokens))


class TestWhatATurnCost:
    def test_is_written_with_its_version(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        record(database, turn, tokens=1234)
        assert costs(database) == {"billing": 1234}

    def test_is_written_where_it_made_nothing(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        turns.drop_turn(database, turn, token=turn.plan.token, reason="known", tokens=77, results={})
        assert costs(database) == {"billing": 77}

    def test_is_nothing_where_its_world_changed(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        turns.void_turn(database, turn, token=turn.plan.token, reason="changed")
        assert costs(database) == {"billing": 0}

    def test_is_not_written_where_the_version_is_refused(self, database: Database) -> None:
        """One transaction: a cost without its turn would be charged again when the pass is resumed."""
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        with pytest.raises(TurnVoid):
            record(database, turn, token=turn.plan.token - 1, tokens=1234)
        assert costs(database) == {"billing": 0}
        record(database, turn, tokens=1234)
        with pytest.raises(TurnVoid):
            turns.drop_turn(database, turn, token=turn.plan.token, reason="late", tokens=9, results={})
        assert costs(database) == {"billing": 1234}


class TestLately:
    def test_every_turn_of_the_window_is_told_in_the_order_they_were_opened_in(
        self, database: Database
    ) -> None:
        declare(database, Agent(name="sql", base_hash=BASE_HASH, weight=2.0))
        keep(database, build_event("1"), build_event("2", agent="sql"))
        first = open_pass(database, "billing", virtual_time=5.0)
        open_pass(database, "sql", virtual_time=7.0)
        record(database, first.turns[0], tokens=30)
        with closing(Database(database.url)) as another, another.read() as connection:
            found = usage.recent_costs(connection)
        assert found == [
            TurnCost(agent="billing", weight=1.0, virtual_time=5.0, tokens=30, is_open=False),
            TurnCost(agent="sql", weight=2.0, virtual_time=7.0, tokens=0, is_open=True),
        ]

    def test_what_is_older_than_the_window_is_forgotten_but_not_what_is_still_open(
        self, database: Database
    ) -> None:
        keep(database, build_event("1"), build_event("2", agent="sql"))
        opened = open_pass(database, "billing", "sql")
        record(database, opened.turns[0])
        later(database, WINDOW_S + 1.0)
        assert costs(database) == {"sql": 0}
        assert used(database).tokens == 0

    def test_whose_turn_is_open_is_learning(self, database: Database) -> None:
        def learning(connection: Connection) -> bool:
            return {one.agent: one.is_learning for one in backlog.backlogs(connection)}["billing"]

        keep(database, build_event("1"))
        opened = open_pass(database, "billing")
        with database.read() as connection:
            assert learning(connection)
        record(database, opened.turns[0])
        with database.read() as connection:
            assert not learning(connection)


class TestQuotas:
    def test_without_one_nobody_waits(self, database: Database) -> None:
        keep(database, build_event("1"))
        build_version(database, tokens=10**9)
        assert used(database) == Usage(tokens=10**9, tokens_max=None, wait_s=0.0)

    def test_an_agent_waits_from_the_last_token_until_the_window_has_moved_on(
        self, database: Database
    ) -> None:
        quota(database, 100)
        keep(database, build_event("1"))
        promote(database, build_version(database, tokens=60))
        assert used(database).wait_s == 0.0
        later(database, 1000.0)
        keep(database, build_event("2"))
        promote(database, build_version(database, tokens=40))
        found = used(database)
        assert (found.tokens, found.tokens_max) == (100, 100)
        assert 2500.0 < found.wait_s <= WINDOW_S - 1000.0, "until the first turn leaves the window"
        later(database, WINDOW_S - 1000.0)
        assert used(database) == Usage(tokens=40, tokens_max=100, wait_s=0.0)

    def test_a_quota_is_raised_and_lifted_by_declaring_again(self, database: Database) -> None:
        keep(database, build_event("1"))
        build_version(database, tokens=60)
        for tokens_max, waits in ((60, True), (61, False), (1, True), (None, False)):
            quota(database, tokens_max)
            assert (used(database).wait_s > 0.0) is waits, tokens_max

    @given(
        st.lists(st.tuples(st.floats(0.0, WINDOW_S), st.integers(0, 1000)), max_size=20).map(sorted),
        st.integers(1, 3000),
    )
    def test_after_the_wait_and_not_before_there_is_room(
        self, spent: list[tuple[float, int]], tokens_max: int
    ) -> None:
        found = usage_of(spent, tokens_max=tokens_max)

        def left_after(seconds: float, *, already: bool) -> int:
            gone = [tokens for at_s, tokens in spent if at_s < seconds or (already and at_s == seconds)]
            return found.tokens - sum(gone)

        assert left_after(found.wait_s, already=True) < tokens_max
        if found.wait_s > 0.0:
            assert left_after(found.wait_s, already=False) >= tokens_max
