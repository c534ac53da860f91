"""What gateways route by, and what was last reported of replicas."""

from ledger.database import Database
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
