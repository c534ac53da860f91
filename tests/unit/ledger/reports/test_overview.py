"""The whole ledger at one moment."""

from ledger.database import Database
from ledger.events import Reason
from ledger.learning import turns
from ledger.reports.overview import Overview, overview
from ledger.versions import promotion, routing
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Answers, Evidence, Pair
from tests.unit.ledger.event_builder import (
    build_event,
    build_unusable,
    keep,
)
from tests.unit.ledger.turn_builder import (
    JUDGEMENT,
    build_decision,
    build_evidence,
    lease,
    open_pass,
    record,
)


def seen(database: Database) -> Overview:
    with database.read() as connection:
        return overview(connection)


def evidence(*reasons: str) -> Evidence:
    return build_evidence(
        reasons=reasons,
        gate=(Pair(event="dev#g1", before=0.0, after=1.0), Pair(event="dev#g2", before=1.0, after=1.0)),
        suite=(Pair(event="dev#1", before=1.0, after=0.0, again=(1.0, 1.0)),),
        answers={"dev#g1": Answers(before="drop it", after="delete it")},
    )


class TestOverview:
    def test_an_empty_ledger_has_a_state_too(self, database: Database) -> None:
        state = seen(database)
        assert [agent.name for agent in state.agents] == ["billing", "sql"]
        assert (state.agents[0].version, state.agents[0].last, state.agents[0].turn) == ("v0", None, None)
        assert (state.owed, state.dead, state.positions) == (0, {}, ())

    def test_what_an_agent_does_is_seen(self, database: Database) -> None:
        keep(database, build_event("1"), build_unusable(), build_unusable(Reason.EMPTY))
        [turn] = open_pass(database, "billing").turns
        running = seen(database).agents[0].turn
        assert running is not None
        assert (running.turn_id, running.version, running.holder) == (turn.id, 1, "learner-1")
        made = record(database, turn)
        assert seen(database).agents[0].candidate == made.name
        promotion.promote(database, made, build_decision(made, Verdict.PROMOTE, evidence=evidence()))
        state = seen(database)
        agent = state.agents[0]
        assert (agent.version, agent.candidate, agent.turn) == (made.name, None, None)
        assert agent.last is not None
        assert (agent.last.verdict, agent.last.judgement) == (Verdict.PROMOTE, JUDGEMENT)
        assert dict(state.dead) == {Reason.INVALID_JSON: 1, Reason.EMPTY: 1}
        assert dict(state.events) == {"open": 1}
        assert state.owed == 3
        assert [(position.partition, position.next_offset) for position in state.positions] == [(0, 3)]

    def test_a_turn_nobody_works_on_has_no_holder(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        from ledger import leases

        leases.release(database, {turns.lease_name("billing"): turn.plan.token})
        running = seen(database).agents[0].turn
        assert running is not None
        assert running.holder is None

    def test_replicas_and_leases_are_seen(self, database: Database) -> None:
        replica_state = routing.ReplicaState(
            url="http://a", in_rotation=True, base_name="base", models=("m",)
        )
        routing.record_replicas(database, [replica_state])
        lease(database, "sql")
        state = seen(database)
        assert [replica.url for replica in state.replicas] == ["http://a"]
        assert dict(state.holders) == {"agent:sql": "learner-1"}
