"""For any event, what became of it; for any version, the exact events it was taught."""

from typing import Any

import pytest

from ledger.database import Database
from ledger.events import Arrival, Batch, Kind, Reason, Role
from ledger.intake import dead_letters
from ledger.learning import event_queries, turns
from ledger.reports.overview import Overview, overview
from ledger.reports.provenance import provenance
from ledger.reports.receipts import Fate, Receipt, receipt
from ledger.reports.version_list import version_list
from ledger.versions import promotion, routing
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Answers, Evidence, Pair
from ledger.versions.lineage import Version
from tests.unit.ledger.event_builder import (
    FEEDBACK,
    build_event,
    build_interaction,
    build_retraction,
    build_unusable,
    keep,
)
from tests.unit.ledger.turn_builder import (
    JUDGEMENT,
    TRAINED,
    build_decision,
    build_evidence,
    build_version,
    lease,
    open_pass,
    promote,
    record,
    refuse,
)


def receipt_of(database: Database, id: str) -> Receipt:
    with database.read() as connection:
        [found] = event_queries.event_by_uid(connection, id)
        return receipt(connection, found)


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


def promoted(database: Database) -> Version:
    made = build_version(database)
    promotion.promote(database, made, build_decision(made, Verdict.PROMOTE, evidence=evidence()))
    return made


class TestFates:
    def test_an_event_goes_from_the_queue_to_the_fleet(self, database: Database) -> None:
        keep(database, build_event("1"))
        assert receipt_of(database, "1").fate is Fate.QUEUED
        [turn] = open_pass(database, "billing").turns
        assert receipt_of(database, "1").fate is Fate.LEARNING
        made = record(database, turn)
        assert receipt_of(database, "1").fate is Fate.JUDGING
        promote(database, made)
        found = receipt_of(database, "1")
        assert found.fate is Fate.LIVE
        assert found.live_since_s is not None
        [taken] = found.turns
        assert (taken.version, taken.verdict, taken.result, taken.serving) == (
            made.name,
            Verdict.PROMOTE,
            TRAINED,
            True,
        )

    @pytest.mark.parametrize(
        ("contents", "fate"),
        [
            ([build_event("1", role=Role.GATE)], Fate.EVIDENCE),
            ([build_event("1", role=Role.DEV)], Fate.EVIDENCE),
            ([build_event("1", kind=Kind.APPROVE)], Fate.STANDBY),
            ([build_event("1", interaction="i", role=None, prompt_group=None)], Fate.WAITING),
            ([build_event("1", key="k"), build_event("2", key="k", revision=2)], Fate.OUT),
            ([build_event("1"), build_retraction("r", "1")], Fate.OUT),
            ([build_retraction("1", "x")], Fate.DONE),
            (
                [build_event("1", interaction="i", role=None, prompt_group=None), build_interaction("i")],
                Fate.QUEUED,
            ),
        ],
    )
    def test_what_else_may_become_of_it(self, database: Database, contents: list[Any], fate: Fate) -> None:
        keep(database, *contents)
        assert receipt_of(database, "1").fate is fate

    def test_a_refused_event_is_queued_again_and_says_why(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        refuse(database, made, evidence=Evidence(reasons=("harm: 4 of 48 prompts became worse",)))
        found = receipt_of(database, "1")
        assert found.fate is Fate.QUEUED
        assert found.turns[0].reasons == ("harm: 4 of 48 prompts became worse",)
        assert found.live_since_s is None

    def test_an_event_whose_version_was_rolled_back_is_held_and_says_so(self, database: Database) -> None:
        keep(database, build_event("1"))
        promoted(database)
        promotion.roll_back(database, "billing", to=None, by="ann", reason="too short")
        found = receipt_of(database, "1")
        assert (found.fate, found.status_reason) == (Fate.OUT, "v1 was rolled back")
        assert found.turns[0].verdict is Verdict.ROLLBACK

    def test_a_retracted_event_names_its_retraction(self, database: Database) -> None:
        keep(database, build_event("1"), build_retraction("r", "1"))
        assert receipt_of(database, "1").status_reason == "dev#r"

    def test_a_dropped_turn_is_told(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        turns.drop_turn(
            database, turn, token=turn.plan.token, reason="nothing to learn", tokens=0, results={}
        )
        [taken] = receipt_of(database, "1").turns
        assert (taken.state, taken.reason, taken.version) == ("dropped", "nothing to learn", None)

    def test_an_event_stays_live_under_later_champions(self, database: Database) -> None:
        keep(database, build_event("1"))
        promoted(database)
        since = receipt_of(database, "1").live_since_s
        keep(database, build_event("2"))
        promoted(database)
        assert (receipt_of(database, "1").fate, receipt_of(database, "1").live_since_s) == (Fate.LIVE, since)

    def test_gate_evidence_shows_before_and_after(self, database: Database) -> None:
        keep(database, build_event("1"), build_event("g1", role=Role.GATE))
        made = promoted(database)
        [judged] = receipt_of(database, "g1").judged
        assert (judged.version, judged.verdict) == (made.name, Verdict.PROMOTE)
        assert not judged.example.suite
        assert (judged.example.before_text, judged.example.after_text) == ("drop it", "delete it")
        [judged] = receipt_of(database, "1").judged
        assert (judged.example.suite, judged.example.before_text) == (True, None)


class TestProvenance:
    def test_a_version_names_its_events_people_and_verdict(self, database: Database) -> None:
        keep(
            database,
            build_event("1"),
            build_event("2", author="bob"),
            build_event("3", author="bob"),
            build_event("g1", role=Role.GATE),
        )
        made = promoted(database)
        with database.read() as connection:
            found = provenance(connection, "billing", 1)
            assert provenance(connection, "billing", 2) is None
        assert found is not None
        assert [one.kept.event.id for one in found.taught] == ["1", "2", "3"]
        assert list(found.authors.items()) == [("bob", 2), ("ann", 1)]
        assert (found.version, found.parent_name, found.ancestors) == (made, "v0", ("v0",))
        assert (found.serving, found.withdrawn_with_it) == (True, ())
        assert [one.verdict for one in found.decisions] == [Verdict.PROMOTE]
        assert [(one.uid, one.suite, one.after_text) for one in found.examples] == [
            ("dev#g1", False, "delete it"),
            ("dev#1", True, None),
        ]

    def test_undoing_an_old_version_takes_its_heirs_with_it(self, database: Database) -> None:
        names = []
        for id in "123":
            keep(database, build_event(id))
            names.append(promoted(database).name)
        with database.read() as connection:
            found = provenance(connection, "billing", 2)
        assert found is not None
        assert found.withdrawn_with_it == (names[2],)
        assert found.ancestors == (names[0], "v0")

    def test_versions_are_listed_with_what_decided_them(self, database: Database) -> None:
        keep(database, build_event("1"), build_event("2", author="bob"))
        refuse(database, build_version(database), evidence=evidence("harm"))
        keep(database, build_event("3"))
        promoted(database)
        with database.read() as connection:
            newest, oldest = version_list(connection, "billing")
            assert version_list(connection, "nobody") == []
        assert (newest.version.number, newest.verdict, newest.events, newest.serving) == (
            2,
            Verdict.PROMOTE,
            3,
            True,
        )
        assert (oldest.verdict, oldest.by, oldest.reasons, oldest.authors) == (
            Verdict.REFUSE,
            "gate",
            ("harm",),
            2,
        )
        assert newest.judgement == JUDGEMENT
        assert (oldest.serving, oldest.in_lineage) == (False, False)


class TestOverview:
    def test_an_empty_ledger_has_a_state_too(self, database: Database) -> None:
        found = seen(database)
        assert [agent.name for agent in found.agents] == ["billing", "sql"]
        assert (found.agents[0].version, found.agents[0].last, found.agents[0].turn) == ("v0", None, None)
        assert (found.owed, found.dead, found.positions) == (0, {}, ())

    def test_what_an_agent_does_is_seen(self, database: Database) -> None:
        keep(database, build_event("1"), build_unusable(), build_unusable(Reason.EMPTY))
        [turn] = open_pass(database, "billing").turns
        running = seen(database).agents[0].turn
        assert running is not None
        assert (running.turn_id, running.version, running.holder) == (turn.id, 1, "learner-1")
        made = record(database, turn)
        assert seen(database).agents[0].candidate == made.name
        promotion.promote(database, made, build_decision(made, Verdict.PROMOTE, evidence=evidence()))
        found = seen(database)
        agent = found.agents[0]
        assert (agent.version, agent.candidate, agent.turn) == (made.name, None, None)
        assert agent.last is not None
        assert (agent.last.verdict, agent.last.judgement) == (Verdict.PROMOTE, JUDGEMENT)
        assert dict(found.dead) == {Reason.INVALID_JSON: 1, Reason.EMPTY: 1}
        assert dict(found.events) == {"open": 1}
        assert found.owed == 3
        assert [(one.partition, one.next_offset) for one in found.positions] == [(0, 3)]

    def test_a_turn_nobody_works_on_has_no_holder(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        from ledger import leases

        leases.release(database, {turns.lease_name("billing"): turn.plan.token})
        running = seen(database).agents[0].turn
        assert running is not None
        assert running.holder is None

    def test_replicas_and_leases_are_seen(self, database: Database) -> None:
        one = routing.ReplicaState(url="http://a", in_rotation=True, base_name="base", models=("m",))
        routing.record_replicas(database, [one])
        lease(database, "sql")
        found = seen(database)
        assert [replica.url for replica in found.replicas] == ["http://a"]
        assert dict(found.holders) == {"agent:sql": "learner-1"}


class TestDeadLetters:
    def bury(self, database: Database, headers: Any, value: bytes | None, reason: Reason) -> None:
        from ledger.intake import transaction

        start = transaction.start_at(database, FEEDBACK, 0)
        arrival = Arrival(
            offset=start, key=None, value=value, headers=headers, content=build_unusable(reason)
        )
        batch = Batch(partition=FEEDBACK, start=start, end=start + 1, arrivals=(arrival,))
        transaction.keep(database, [batch], dead_letter_topic="d")

    def test_they_are_counted_listed_and_read(self, database: Database) -> None:
        self.bury(database, (), b"\xff", Reason.INVALID_UTF8)
        self.bury(database, (), None, Reason.EMPTY)
        with database.read() as connection:
            assert dead_letters.counts(connection) == {Reason.INVALID_UTF8: 1, Reason.EMPTY: 1}
            newest = dead_letters.newest(connection, limit=10)
            assert [letter.reason for letter in newest] == [Reason.EMPTY, Reason.INVALID_UTF8]
            assert len(dead_letters.newest(connection, limit=1)) == 1
            [found] = dead_letters.newest(connection, limit=10, reason=Reason.INVALID_UTF8)
            assert dead_letters.read(connection, found.id) == found
            assert found.value == b"\xff"
            assert dead_letters.read(connection, 999) is None

    def test_one_is_found_by_the_name_it_gives_itself(self, database: Database) -> None:
        self.bury(database, (("ce_id", b"7"), ("ce_source", b"ide")), b"{", Reason.INVALID_JSON)
        self.bury(database, (), b'{"id": "8", "source": "ops"}', Reason.INVALID_SCHEMA)
        self.bury(database, (), b"[" * 9000, Reason.TOO_DEEP)
        self.bury(database, (("ce_id", b"\xff"),), b"\xff\xfe", Reason.INVALID_UTF8)
        with database.read() as connection:
            assert [one.offset for one in dead_letters.naming(connection, "ide#7")] == [0]
            assert [one.offset for one in dead_letters.naming(connection, "7")] == [0]
            assert [one.offset for one in dead_letters.naming(connection, "ops#8")] == [1]
            assert dead_letters.naming(connection, "ide#8") == []
