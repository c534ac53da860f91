"""What gateways route by, what was seen of replicas, and messages owed to Kafka."""

import time
from contextlib import suppress

import pytest

from ledger.database import Database
from ledger.intake import outbox
from ledger.learning import agents
from ledger.learning.agents import Agent, declare
from ledger.versions import desired, routing
from ledger.versions.desired import Purpose
from ledger.versions.routing import ReplicaState
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import build_version, promote

NO_ONE = {"billing": False, "sql": False}


def read_routing(database: Database, captured: dict[str, bool] = NO_ONE) -> routing.Routing:
    with database.read() as connection:
        return routing.routing(connection, captured)


class TestRouting:
    def test_an_untaught_agent_is_the_base(self, database: Database) -> None:
        route = read_routing(database).routes["billing"]
        assert (route.version, route.model, route.canary_model) == ("v0", None, None)

    def test_a_promotion_moves_one_agent_and_raises_the_generation(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        before = read_routing(database)
        promote(database, made)
        after = read_routing(database)
        assert after.generation > before.generation
        assert (after.routes["billing"].version, after.routes["billing"].model) == (made.name, made.model)
        assert after.routes["sql"] == before.routes["sql"]

    def test_a_canary_is_routed_only_with_a_share(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        for share, expected in ((0.0, None), (0.2, made.model)):
            with database.write() as connection:
                desired.want(connection, made, Purpose.CANARY, share=share)
            assert read_routing(database).routes["billing"].canary_model == expected
        assert read_routing(database).routes["billing"].canary_share == 0.2

    def test_candidates_at_the_gate_get_no_traffic(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        with database.write() as connection:
            desired.want(connection, made, Purpose.GATE)
        assert read_routing(database).routes["billing"].version == "v0"

    def test_who_is_captured_is_said_by_the_caller(self, database: Database) -> None:
        assert read_routing(database, {"billing": True}).routes["billing"].capture
        assert not read_routing(database, {}).routes["billing"].capture


class TestReplicas:
    one = ReplicaState(url="http://a", in_rotation=True, base_name="base", models=("x@v1", "a@v2"))

    def test_what_was_seen_replaces_what_was_seen_before(self, database: Database) -> None:
        routing.record_replicas(
            database, [self.one, ReplicaState(url="http://b", in_rotation=False, base_name=None, models=())]
        )
        routing.record_replicas(database, [self.one])
        [seen] = read_routing(database).replicas
        assert (seen.url, seen.models, seen.in_rotation) == ("http://a", ("a@v2", "x@v1"), True)
        assert seen.seen_s > 1.7e9

    def test_the_generation_rises_only_when_routing_may_change(self, database: Database) -> None:
        assert routing.record_replicas(database, [self.one])
        before = read_routing(database).generation
        assert not routing.record_replicas(database, [self.one])
        assert read_routing(database).generation == before
        assert routing.record_replicas(
            database, [ReplicaState(url="http://a", in_rotation=False, base_name="base", models=())]
        )
        assert read_routing(database).generation == before + 1
        assert routing.record_replicas(database, [])
        assert read_routing(database).replicas == []


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


class TestOutbox:
    def put(self, database: Database, *values: bytes) -> None:
        with database.write() as connection:
            for value in values:
                outbox.put(
                    connection, topic="t", key=None, value=value, headers=(("h", b"\xff"), ("h", None))
                )

    def test_messages_are_sent_in_the_order_they_were_owed(self, database: Database) -> None:
        self.put(database, b"1", b"2", b"3")
        pending = outbox.pending(database, limit=2)
        assert [message.value for message in pending] == [b"1", b"2"]
        assert pending[0].headers == (("h", b"\xff"), ("h", None))
        outbox.mark_sent(database, [pending[0].id])
        assert [message.value for message in outbox.pending(database, limit=5)] == [b"2", b"3"]

    def test_a_message_not_marked_is_sent_again_under_the_same_id(self, database: Database) -> None:
        self.put(database, b"1")
        assert outbox.pending(database, limit=1) == outbox.pending(database, limit=1)

    def test_a_message_is_owed_only_if_the_transaction_is_kept(self, database: Database) -> None:
        with suppress(ZeroDivisionError), database.write() as connection:
            outbox.put(connection, topic="t", key=None, value=b"1", headers=())
            raise ZeroDivisionError
        assert outbox.pending(database, limit=1) == []

    def test_depth_and_age_of_what_waits(self, database: Database) -> None:
        assert outbox.depth(database) == (0, 0.0)
        self.put(database, b"1", b"2")
        time.sleep(0.05)
        count, age_s = outbox.depth(database)
        assert count == 2
        assert 0.05 <= age_s < 30.0

    def test_only_what_was_sent_long_ago_is_forgotten(self, database: Database) -> None:
        self.put(database, b"1", b"2")
        outbox.mark_sent(database, [outbox.pending(database, limit=1)[0].id])
        outbox.mark_sent(database, [])
        assert outbox.forget_sent(database, older_than_s=60.0) == 0
        time.sleep(0.02)
        assert outbox.forget_sent(database, older_than_s=0.01) == 1
        assert outbox.depth(database)[0] == 1

    def test_an_id_never_names_a_second_message(self, database: Database) -> None:
        self.put(database, b"1")
        [first] = outbox.pending(database, limit=1)
        outbox.mark_sent(database, [first.id])
        time.sleep(0.02)
        outbox.forget_sent(database, older_than_s=0.01)
        self.put(database, b"2")
        assert outbox.pending(database, limit=1)[0].id > first.id
