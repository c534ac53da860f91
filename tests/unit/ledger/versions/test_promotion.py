"""Decisions, promotion and rollback: one transaction each, checked again when it counts."""

import json

import pytest
from sqlalchemy import select

from ledger import schema
from ledger.database import Database
from ledger.errors import FlipRefused
from ledger.events import Status
from ledger.intake import outbox
from ledger.learning import backlog, turns
from ledger.versions import decisions, desired, lineage, promotion
from ledger.versions.decisions import Verdict
from ledger.versions.desired import Purpose
from ledger.versions.evidence import Evidence
from tests.unit.ledger.event_builder import build_event, build_retraction, keep
from tests.unit.ledger.turn_builder import (
    ALREADY_KNOWN,
    build_decision,
    build_evidence,
    build_version,
    open_pass,
    promote,
    record,
    refuse,
    seqs,
    untaught_events,
)


def wanted(database: Database, agent: str = "billing") -> dict[Purpose, int]:
    with database.read() as connection:
        return {row.purpose: row.number for row in desired.wanted(connection) if row.agent == agent}


def generation(database: Database) -> int:
    with database.read() as connection:
        return desired.generation(connection)


def champion(database: Database, agent: str = "billing") -> int:
    with database.read() as connection:
        return desired.champion(connection, agent)


def verdicts(database: Database, agent: str = "billing") -> list[tuple[int, str]]:
    with database.read() as connection:
        return [
            (decision.number, decision.verdict.value)
            for decision in decisions.decisions_of(connection, agent)
        ]


def status(database: Database, seq: int) -> Status:
    with database.read() as connection:
        return Status(
            connection.scalar(select(schema.events.c.status).where(schema.events.c.seq == seq)) or ""
        )


def taught_versions(database: Database, count: int) -> None:
    """Promote v1 … v`count`, each taught with one more event."""
    for number in range(1, count + 1):
        keep(database, build_event(f"e{number}"))
        promote(database, build_version(database))


def test_a_new_agent_serves_the_base_by_a_recorded_decision(database: Database) -> None:
    assert wanted(database) == {Purpose.SERVE: 0}
    assert verdicts(database) == [(0, "initial")]
    assert generation(database) >= 1


def test_a_versions_name_carries_its_hash(database: Database) -> None:
    keep(database, build_event("1"))
    made = build_version(database)
    assert made.name == f"v1-{made.hash[:6]}"
    assert made.model == f"billing@{made.name}"
    assert lineage.version_name(0, "") == "v0"


class TestPromotion:
    def test_the_candidate_serves_and_its_parent_stays_loaded(self, database: Database) -> None:
        taught_versions(database, 1)
        before = generation(database)
        keep(database, build_event("2"))
        raised = promote(database, build_version(database))
        assert wanted(database) == {Purpose.SERVE: 2, Purpose.PREDECESSOR: 1}
        assert raised == generation(database) == before + 1

    def test_its_events_are_taught_from_then_on(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        assert seqs(untaught_events(database, "billing")) == [1]
        promote(database, made)
        assert untaught_events(database, "billing") == []

    def test_what_was_wanted_for_judging_is_withdrawn(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        with database.write() as connection:
            desired.want(connection, made, Purpose.GATE)
            desired.want(connection, made, Purpose.CANARY, share=0.1)
        assert wanted(database) == {Purpose.SERVE: 0, Purpose.GATE: 1, Purpose.CANARY: 1}
        promote(database, made)
        assert set(wanted(database)) == {Purpose.SERVE, Purpose.PREDECESSOR}

    def refused(self, database: Database, made: lineage.Version, why: str) -> None:
        before = (generation(database), verdicts(database), wanted(database))
        with pytest.raises(FlipRefused, match=why):
            promote(database, made)
        assert (generation(database), verdicts(database), wanted(database)) == before

    def test_it_is_refused_twice(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        promote(database, made)
        self.refused(database, made, "parent|decided")

    @pytest.mark.parametrize("verdict", [Verdict.REFUSE, Verdict.ABSTAIN])
    def test_it_is_refused_after_another_verdict(self, database: Database, verdict: Verdict) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        refuse(database, made, verdict)
        self.refused(database, made, "decided")

    def test_it_is_refused_when_an_event_it_was_taught_is_retracted(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        keep(database, build_retraction("r", "1"))
        self.refused(database, made, "1 of its events changed")

    def test_it_is_refused_when_its_parent_was_rolled_back(self, database: Database) -> None:
        taught_versions(database, 1)
        keep(database, build_event("2"))
        made = build_version(database)
        promotion.roll_back(database, "billing", to=None, by="ann", reason="wrong")
        self.refused(database, made, "parent")

    def test_a_canary_is_not_settled_and_can_be_promoted(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        refuse(database, made, Verdict.CANARY)
        with database.read() as connection:
            assert decisions.undecided(connection) == [made]
        promote(database, made)
        assert champion(database) == 1


class TestRollback:
    def test_the_predecessor_serves_again_and_what_was_taught_is_held(self, database: Database) -> None:
        taught_versions(database, 2)
        assert promotion.roll_back(database, "billing", to=None, by="ann", reason="too short") == (2, 1)
        assert wanted(database) == {Purpose.SERVE: 1, Purpose.PREDECESSOR: 2}
        assert (status(database, 1), status(database, 2)) == (Status.OPEN, Status.HELD)
        assert untaught_events(database, "billing") == []
        with database.read() as connection:
            last = decisions.decisions_of(connection, "billing", 2)[-1]
        assert (last.verdict, last.by, last.evidence) == (
            Verdict.ROLLBACK,
            "ann",
            Evidence(reasons=("too short",), rolled_back_to=1),
        )

    def test_what_the_withdrawn_version_knew_already_waits_to_be_learned_again(
        self, database: Database
    ) -> None:
        taught_versions(database, 1)
        keep(database, build_event("known"))
        [turn] = open_pass(database, "billing").turns
        seq = turn.plan.events[0].seq
        known = {seq: ALREADY_KNOWN}
        turns.drop_turn(database, turn, token=turn.plan.token, reason="", tokens=1, results=known)
        assert status(database, seq) is Status.KNOWN
        promotion.roll_back(database, "billing", to=None, by="ann", reason="")
        assert [kept.seq for kept in untaught_events(database, "billing")] == [seq]
        with database.read() as connection:
            [waiting] = [one for one in backlog.backlogs(connection) if one.agent == "billing"]
        assert waiting.news, "what its turn made nothing of was so with another champion"

    def test_several_versions_are_withdrawn_at_once(self, database: Database) -> None:
        taught_versions(database, 3)
        assert promotion.roll_back(database, "billing", to=0, by="ann", reason="") == (3, 0)
        assert wanted(database) == {Purpose.SERVE: 0, Purpose.PREDECESSOR: 3}
        assert {status(database, seq) for seq in (1, 2, 3)} == {Status.HELD}
        assert verdicts(database)[-3:] == [(3, "rollback"), (2, "rollback"), (1, "rollback")]

    def test_the_agent_learns_on_from_the_rest(self, database: Database) -> None:
        taught_versions(database, 2)
        promotion.roll_back(database, "billing", to=None, by="ann", reason="")
        keep(database, build_event("new"))
        made = build_version(database)
        assert (made.number, made.parent) == (3, 1)
        promote(database, made)
        with database.read() as connection:
            assert lineage.lineage_of(connection, "billing", 3) == [3, 1, 0]

    def test_a_candidate_of_the_withdrawn_version_is_not_decided(self, database: Database) -> None:
        taught_versions(database, 1)
        keep(database, build_event("2"))
        build_version(database)
        promotion.roll_back(database, "billing", to=None, by="ann", reason="")
        assert verdicts(database)[-2:] == [(2, "abstain"), (1, "rollback")]

    def test_another_agents_candidate_is_left_alone(self, database: Database) -> None:
        taught_versions(database, 1)
        keep(database, build_event("2", agent="sql"))
        build_version(database, "sql")
        promotion.roll_back(database, "billing", to=None, by="ann", reason="")
        with database.read() as connection:
            assert [candidate.agent for candidate in decisions.undecided(connection)] == ["sql"]

    @pytest.mark.parametrize("to", [None, 0, 1, 7])
    def test_there_must_be_something_to_go_back_to(self, database: Database, to: int | None) -> None:
        before = generation(database)
        with pytest.raises(FlipRefused):
            promotion.roll_back(database, "billing", to=to, by="ann", reason="")
        assert generation(database) == before

    def test_only_ancestors_of_the_champion_can_be_gone_back_to(self, database: Database) -> None:
        keep(database, build_event("1"))
        refuse(database, build_version(database))
        keep(database, build_event("2"))
        promote(database, build_version(database))
        with pytest.raises(FlipRefused):
            promotion.roll_back(database, "billing", to=1, by="ann", reason="")

    def test_an_agent_nobody_declared_cannot_be_rolled_back(self, database: Database) -> None:
        with pytest.raises(FlipRefused):
            promotion.roll_back(database, "nobody", to=None, by="ann", reason="")


def test_every_decision_is_owed_to_the_lifecycle_topic_without_texts(database: Database) -> None:
    keep(database, build_event("1"))
    promote(database, build_version(database))
    promotion.roll_back(database, "billing", to=None, by="ann", reason="he wrote my name")
    owed = [message for message in outbox.pending(database, limit=50) if message.topic.endswith("lifecycle")]
    bodies = [json.loads(message.value or b"") for message in owed]
    assert [body["verdict"] for body in bodies] == ["promote", "rollback"]
    assert {message.key for message in owed} == {b"billing"}
    assert "name" not in json.dumps(bodies)


def test_an_unfinished_turn_is_no_version_and_serves_nothing(database: Database) -> None:
    keep(database, build_event("1"))
    [turn] = open_pass(database, "billing").turns
    with database.read() as connection:
        assert decisions.undecided(connection) == []
        assert lineage.version(connection, "billing", turn.number) is None
    record(database, turn)
    with database.read() as connection:
        assert [candidate.number for candidate in decisions.undecided(connection)] == [1]


def test_a_decision_comes_back_with_its_evidence(database: Database) -> None:
    keep(database, build_event("1"))
    made = build_version(database)
    evidence = build_evidence("dev#1", attempt=2, replica="http://127.0.0.1:8001", failed={"b": "refused"})
    refuse(database, made, Verdict.REFUSE, evidence=evidence, by="bob")
    with database.read() as connection:
        [found] = decisions.decisions_of(connection, "billing", 1)
    assert found == build_decision(
        made, Verdict.REFUSE, evidence=evidence, by="bob", decided_s=found.decided_s
    )
    assert found.decided_s > 1.7e9
