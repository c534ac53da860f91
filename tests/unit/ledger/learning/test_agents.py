"""Declaring agents."""

import pytest

from ledger.database import Database
from ledger.learning import agents
from ledger.learning.agents import Agent, declare
from ledger.learning.backlog import backlogs
from ledger.versions import routing

NO_ONE = {"billing": False, "sql": False}


def read_routing(database: Database, captured: dict[str, bool] = NO_ONE) -> routing.Routing:
    with database.read() as connection:
        return routing.routing(connection, captured)


class TestAgents:
    def test_an_agent_comes_back_as_it_was_declared(self, database: Database) -> None:
        agent = Agent(
            name="new", base_hash="c" * 64, scorer="json", recipe={"rank": 4}, capture=True, weight=2.0
        )
        assert declare(database, agent)
        with database.read() as connection:
            assert agents.all_agents(connection)["new"] == agent

    def test_declaring_again_brings_settings_up_to_date(self, database: Database) -> None:
        assert not declare(database, Agent(name="billing", base_hash="b" * 64, recipe={"rank": 8}))
        with database.read() as connection:
            assert agents.all_agents(connection)["billing"].recipe == {"rank": 8}

    def test_an_agent_may_be_due_with_a_number_of_events_of_its_own(self, database: Database) -> None:
        declare(database, Agent(name="billing", base_hash="b" * 64, events_min=128))
        agents.set_events_min(database, "billing", 120)
        with database.read() as connection:
            assert agents.all_agents(connection)["billing"].events_min == 120
            assert [waiting.events_min for waiting in backlogs(connection)] == [120, None]

    def test_capture_is_part_of_routing(self, database: Database) -> None:
        before = read_routing(database).generation
        declare(database, Agent(name="billing", base_hash="b" * 64, weight=3.0))
        assert read_routing(database).generation == before
        declare(database, Agent(name="billing", base_hash="b" * 64, capture=True))
        assert read_routing(database).generation == before + 1

    def test_another_base_is_another_lineage_and_refused(self, database: Database) -> None:
        with pytest.raises(ValueError, match="bbbbbbbbbbbb, not on cccccccccccc"):
            declare(database, Agent(name="billing", base_hash="c" * 64))

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a@b", "-a", "ä", "a" * 101, "a\n"])
    def test_a_name_that_cannot_be_a_path_is_refused(self, database: Database, name: str) -> None:
        with pytest.raises(ValueError, match="name"):
            declare(database, Agent(name=name, base_hash="b"))
