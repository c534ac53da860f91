"""For any event, what became of it."""

from typing import Any

import pytest

from ledger.database import Database
from ledger.events import Kind, Role
from ledger.learning import event_queries, turns
from ledger.reports.receipts import Fate, Receipt, receipt
from ledger.versions import promotion
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Answers, Evidence, Pair
from ledger.versions.lineage import Version
from tests.unit.ledger.event_builder import (
    build_event,
    build_interaction,
    build_retraction,
    keep,
)
from tests.unit.ledger.turn_builder import (
    TRAINED,
    build_decision,
    build_evidence,
    build_version,
    open_pass,
    promote,
    record,
    refuse,
)


def receipt_of(database: Database, id: str) -> Receipt:
    with database.read() as connection:
        [kept] = event_queries.event_by_uid(connection, id)
        return receipt(connection, kept)


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
        event_receipt = receipt_of(database, "1")
        assert event_receipt.fate is Fate.LIVE
        assert event_receipt.live_since_s is not None
        [taken] = event_receipt.turns
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
        event_receipt = receipt_of(database, "1")
        assert event_receipt.fate is Fate.QUEUED
        assert event_receipt.turns[0].reasons == ("harm: 4 of 48 prompts became worse",)
        assert event_receipt.live_since_s is None

    def test_an_event_whose_version_was_rolled_back_is_held_and_says_so(self, database: Database) -> None:
        keep(database, build_event("1"))
        promoted(database)
        promotion.roll_back(database, "billing", to=None, by="ann", reason="too short")
        event_receipt = receipt_of(database, "1")
        assert (event_receipt.fate, event_receipt.status_reason) == (Fate.OUT, "v1 was rolled back")
        assert event_receipt.turns[0].verdict is Verdict.ROLLBACK

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
