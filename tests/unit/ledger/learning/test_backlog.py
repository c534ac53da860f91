"""What waits for each agent follows from what its champion was taught; nothing else remembers it."""

import time

import pytest

from ledger.database import Database
from ledger.events import Kind, Role, Status
from ledger.learning import backlog, event_queries, turns
from ledger.learning.backlog import Backlog
from ledger.learning.turns import TurnEvent
from ledger.turn_states import TurnPart
from ledger.versions import promotion
from ledger.versions.decisions import Verdict
from tests.unit.ledger.event_builder import (
    build_event,
    build_interaction,
    build_outcome,
    build_retraction,
    keep,
)
from tests.unit.ledger.turn_builder import build_version, open_pass, promote, refuse, seqs, untaught_events


def waiting(database: Database, agent: str = "billing") -> Backlog:
    with database.read() as connection:
        return {one.agent: one for one in backlog.backlogs(connection)}[agent]


def approve(id: str, **changed: object):
    return build_event(id, kind=Kind.APPROVE, data={"action": "approve", "said": "yes"}, **changed)


def test_agents_have_backlogs_of_their_own(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"), build_event("3", agent="sql"))
    assert (waiting(database).untaught, waiting(database, "sql").untaught) == (2, 1)


def test_only_usable_teaching_events_of_role_train_wait(database: Database) -> None:
    keep(
        database,
        build_event("1"),
        build_event("2", role=Role.DEV),
        build_event("3", role=Role.GATE),
        approve("4"),
        build_event("5", interaction="i", role=None, prompt_group=None),
        build_event("6", key="k"),
        build_event("7", key="k", revision=2),
        build_event("8"),
        build_retraction("r", "8"),
        build_outcome("9", 0.5),
    )
    assert seqs(untaught_events(database, "billing")) == [1, 7, 10]
    keep(database, build_interaction("i"))
    assert seqs(untaught_events(database, "billing")) == [1, 5, 7, 10]


def test_the_oldest_event_says_how_long_the_agent_waits(database: Database) -> None:
    assert waiting(database).oldest_age_s == 0.0
    keep(database, build_event("1"))
    time.sleep(0.05)
    keep(database, build_event("2"))
    assert 0.05 <= waiting(database).oldest_age_s < 30.0


def test_events_wait_until_a_version_taught_with_them_is_promoted(database: Database) -> None:
    keep(database, build_event("1"))
    made = build_version(database)
    found = waiting(database)
    assert (found.untaught, found.has_candidate, found.champion) == (1, True, 0)
    promote(database, made)
    found = waiting(database)
    assert (found.untaught, found.has_candidate, found.champion) == (0, False, 1)


def test_events_of_earlier_champions_stay_taught(database: Database) -> None:
    for number in range(1, 4):
        keep(database, build_event(f"e{number}"))
        promote(database, build_version(database))
    assert waiting(database).untaught == 0
    with database.read() as connection:
        assert seqs(event_queries.taught(connection, "billing")) == [1, 2, 3]


def test_replay_and_anchors_teach_nothing_new(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"))
    events = (
        TurnEvent(seq=1, part=TurnPart.NEW, revision=1),
        TurnEvent(seq=2, part=TurnPart.REPLAY, revision=1),
    )
    promote(database, build_version(database, events=events))
    assert seqs(untaught_events(database, "billing")) == [2]


def test_a_retracted_event_is_no_longer_replayed(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"))
    promote(database, build_version(database))
    keep(database, build_retraction("r", "1"))
    with database.read() as connection:
        assert seqs(event_queries.taught(connection, "billing")) == [2]


class TestRefusals:
    def test_the_events_return_and_the_next_try_needs_news(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        refuse(database, made, through_seq=made.through_seq)
        found = waiting(database)
        assert (found.untaught, found.refusals, found.news, found.has_candidate) == (1, 1, False, False)
        keep(database, build_event("2", role=Role.GATE))
        assert waiting(database).news

    @pytest.mark.parametrize(
        "useless",
        [
            approve("x"),
            build_event("x", role=Role.DEV),
            build_event("x", interaction="i", role=None, prompt_group=None),
        ],
        ids=["an approval", "a dev event", "an event that waits"],
    )
    def test_what_cannot_change_the_verdict_is_no_news(self, database: Database, useless) -> None:
        keep(database, build_event("1"))
        refuse(database, build_version(database))
        keep(database, useless)
        assert not waiting(database).news

    def test_what_arrived_while_it_was_judged_is_news(self, database: Database) -> None:
        keep(database, build_event("1"))
        made = build_version(database)
        keep(database, build_event("2"))
        refuse(database, made, through_seq=1)
        assert waiting(database).news

    def test_refusals_add_up_until_a_promotion(self, database: Database) -> None:
        for number in range(1, 4):
            keep(database, build_event(f"e{number}"))
            refuse(database, build_version(database))
            assert waiting(database).refusals == number
        keep(database, build_event("e4"))
        promote(database, build_version(database))
        assert (waiting(database).refusals, waiting(database).untaught) == (0, 0)

    def test_an_abstention_is_not_a_refusal_but_needs_news_too(self, database: Database) -> None:
        keep(database, build_event("1"))
        refuse(database, build_version(database), Verdict.ABSTAIN)
        found = waiting(database)
        assert (found.refusals, found.news, found.untaught) == (0, False, 1)

    def test_a_turn_that_made_nothing_waits_for_news(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        turns.drop_turn(
            database, turn, token=turn.plan.token, reason="nothing to learn", tokens=0, results={}
        )
        assert not waiting(database).news
        keep(database, build_event("2"))
        assert waiting(database).news

    def test_a_turn_whose_world_changed_is_due_again_at_once(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        turns.void_turn(database, turn, token=turn.plan.token, reason="2 events changed meanwhile")
        assert waiting(database).news


class TestGateEvidence:
    def test_gate_corrections_since_the_champions_turn_are_counted(self, database: Database) -> None:
        keep(
            database,
            build_event("1"),
            build_event("g1", role=Role.GATE),
            build_event("g2", role=Role.GATE, kind=Kind.OVERRIDE),
            build_event("g3", role=Role.GATE, kind=Kind.ABORT),
            approve("g4", role=Role.GATE),
        )
        assert waiting(database).gate_new == 2
        promote(database, build_version(database))
        assert waiting(database).gate_new == 0
        keep(database, build_event("g5", role=Role.GATE))
        assert waiting(database).gate_new == 1

    def test_after_a_rollback_what_the_earlier_champion_did_not_see_counts_again(
        self, database: Database
    ) -> None:
        keep(database, build_event("1"), build_event("g1", role=Role.GATE))
        promote(database, build_version(database))
        promotion.roll_back(database, "billing", to=None, by="ann", reason="")
        assert waiting(database).gate_new == 1

    def test_another_agents_evidence_is_not_mine(self, database: Database) -> None:
        keep(database, build_event("1"), build_event("g1", role=Role.GATE, agent="sql"))
        assert (waiting(database).gate_new, waiting(database, "sql").gate_new) == (0, 1)


class TestReading:
    def test_usable_events_by_role_and_kind(self, database: Database) -> None:
        keep(database, build_event("1", role=Role.GATE), approve("2", role=Role.GATE), build_event("3"))
        with database.read() as connection:
            assert seqs(
                event_queries.usable(
                    connection, "billing", role=Role.GATE, kinds=[Kind.CORRECTION, Kind.APPROVE]
                )
            ) == [1, 2]
            assert (
                event_queries.usable(
                    connection, "billing", role=Role.GATE, kinds=[Kind.CORRECTION], after_seq=1
                )
                == []
            )

    def test_the_last_outcomes_by_event_time(self, database: Database) -> None:
        keep(
            database,
            build_outcome("1", 1.0, occurred_s=1.0),
            build_outcome("2", 0.5, occurred_s=3.0),
            build_outcome("3", 0.0, occurred_s=2.0),
            build_outcome("4", -1.0, agent="sql"),
            build_outcome("5", 0.25, amends="k"),
        )
        with database.read() as connection:
            assert seqs(event_queries.outcomes(connection, "billing", last=2)) == [2, 3]
            assert seqs(event_queries.outcomes(connection, "billing", last=10)) == [2, 3, 1]

    def test_an_outcome_taken_back_counts_no_more(self, database: Database) -> None:
        keep(
            database,
            build_outcome("1", 1.0),
            build_outcome("2", -1.0),
            build_retraction("r", "2"),
            build_outcome("3", -1.0, key="k"),
            build_outcome("4", 0.0, key="k", revision=2),
        )
        with database.read() as connection:
            assert seqs(event_queries.outcomes(connection, "billing", last=10)) == [5, 1]


class TestMarks:
    def test_an_event_that_is_not_ripe_waits_and_can_be_read_again(self, database: Database) -> None:
        keep(database, build_event("1"), build_event("2"))
        event_queries.mark(database, {1: (Status.WAITING, "waits for its conversation")})
        assert seqs(untaught_events(database, "billing")) == [2]
        with database.read() as connection:
            assert seqs(event_queries.not_labelled(connection, "billing", limit=5)) == [1]
        event_queries.mark(database, {1: (Status.OPEN, "")})
        assert seqs(untaught_events(database, "billing")) == [1, 2]

    def test_an_unlabelled_event_keeps_its_role_when_an_interaction_arrives(self, database: Database) -> None:
        keep(database, build_event("1", interaction="i"))
        event_queries.mark(database, {1: (Status.WAITING, "waits")})
        keep(database, build_interaction("i", role=Role.GATE))
        with database.read() as connection:
            assert event_queries.events_by_seq(connection, [1])[1].event.role is Role.TRAIN

    @pytest.mark.parametrize("gone", [Status.RETRACTED, Status.SUPERSEDED])
    def test_what_was_taken_back_meanwhile_does_not_return(self, database: Database, gone: Status) -> None:
        keep(database, build_event("1", key="k"))
        keep(
            database,
            build_retraction("r", "1") if gone is Status.RETRACTED else build_event("2", key="k", revision=2),
        )
        event_queries.mark(database, {1: (Status.OPEN, "")})
        with database.read() as connection:
            assert event_queries.events_by_seq(connection, [1])[1].status is gone
