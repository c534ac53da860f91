"""A turn is written before it is trained and becomes a version only if its world still stands."""

import time

import pytest
from sqlalchemy import select

from ledger import leases, schema
from ledger.database import Database
from ledger.errors import TurnVoid
from ledger.events import Role, Status
from ledger.learning import event_queries, passes, turns
from ledger.learning.turns import TurnEvent
from ledger.turn_states import TurnPart, stored_result
from ledger.versions import decisions, lineage, promotion
from tests.unit.ledger import turn_builder
from tests.unit.ledger.event_builder import build_event, build_retraction, keep
from tests.unit.ledger.turn_builder import (
    ALREADY_KNOWN,
    FORM,
    TRAINED,
    build_barren,
    build_version,
    lease,
    open_pass,
    promote,
    record,
    seqs,
    untaught_events,
)


def test_a_pass_is_read_back_exactly_as_it_was_written(database: Database) -> None:
    keep(database, build_event("1", revision=2), build_event("2", agent="sql"), build_event("3"))
    opened = open_pass(database, "sql", "billing", seed=2**40)
    with database.read() as connection:
        assert passes.read_pass(connection, opened.id) == opened
        assert passes.unfinished_passes(connection) == [opened]
        assert passes.read_pass(connection, 999) is None
    assert [turn.plan.agent for turn in opened.turns] == ["sql", "billing"]
    assert opened.turns[1].plan.events == (
        TurnEvent(seq=1, part=TurnPart.NEW, revision=2),
        TurnEvent(seq=3, part=TurnPart.NEW, revision=1),
    )


def test_the_order_of_events_within_a_turn_is_kept(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"), build_event("3"))
    shuffled = tuple(TurnEvent(seq=seq, part=TurnPart.NEW, revision=1) for seq in (3, 1, 2))
    [turn] = open_pass(
        database, "billing", events=(*shuffled, TurnEvent(seq=1, part=TurnPart.ANCHOR, revision=1))
    ).turns
    with database.read() as connection:
        found = passes.read_pass(connection, turn.pass_id)
    assert found is not None
    assert [(event.seq, event.part) for event in found.turns[0].plan.events] == [
        (3, "new"),
        (1, "new"),
        (2, "new"),
        (1, "anchor"),
    ]


def test_a_pass_is_opened_only_under_the_lease(database: Database) -> None:
    keep(database, build_event("1"))
    token = lease(database, "billing")["billing"]
    plan = turn_builder.build_plan(database, "billing", token)
    lease(database, "billing")
    with pytest.raises(TurnVoid, match="lease"):
        passes.open_pass(database, [plan], holder="old", form=FORM)
    with database.read() as connection:
        assert passes.unfinished_passes(connection) == []


def test_numbers_are_never_used_twice(database: Database) -> None:
    keep(database, build_event("1"))
    first = open_pass(database, "billing").turns[0]
    turns.drop_turn(database, first, token=first.plan.token, reason="nothing to learn", tokens=0, results={})
    second = open_pass(database, "billing").turns[0]
    assert (first.number, second.number) == (1, 2)
    assert record(database, second).number == 2


def test_a_version_taught_with_events_is_recorded_with_its_turn(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"), build_event("3"))
    [turn] = open_pass(database, "billing").turns
    made = record(database, turn, results={1: TRAINED, 2: ALREADY_KNOWN, 3: build_barren("no texts" * 30)})
    with database.read() as connection:
        assert lineage.version(connection, "billing", 1) == made
        assert passes.unfinished_passes(connection) == []
        found = event_queries.events_by_seq(connection, [1, 2, 3])
        assert [found[seq].status for seq in (1, 2, 3)] == [Status.OPEN, Status.KNOWN, Status.BARREN]
        members = schema.turn_events.c
        query = select(members.outcome, members.outcome_reason).order_by(members.event_seq)
        assert [stored_result(*row) for row in connection.execute(query)] == [
            TRAINED,
            ALREADY_KNOWN,
            build_barren(("no texts" * 30)[:200]),
        ]
        assert [candidate.number for candidate in decisions.undecided(connection)] == [1]


def test_a_turn_makes_one_version_at_most(database: Database) -> None:
    keep(database, build_event("1"))
    [turn] = open_pass(database, "billing").turns
    record(database, turn)
    with pytest.raises(TurnVoid, match="closed"):
        turns.drop_turn(database, turn, token=turn.plan.token, reason="late", tokens=0, results={})
    with database.read() as connection:
        assert len(lineage.versions_of(connection, "billing")) == 1


class TestVoid:
    """What happened meanwhile, and what the turn can no longer become."""

    def void(self, database: Database, turn: turns.Turn, why: str) -> None:
        with pytest.raises(TurnVoid, match=why):
            record(database, turn)
        with database.read() as connection:
            assert lineage.versions_of(connection, turn.plan.agent) == []

    def test_the_lease_was_taken_over(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        leases.release(database, {turns.lease_name("billing"): turn.plan.token})
        lease(database, "billing", holder="another")
        self.void(database, turn, "lease")

    def test_the_lease_expired_but_nobody_took_it(self, database: Database) -> None:
        keep(database, build_event("1"))
        token = lease(database, "billing", ttl_s=0.01)["billing"]
        plan = turn_builder.build_plan(database, "billing", token)
        [turn] = passes.open_pass(database, [plan], holder="one", form=FORM).turns
        time.sleep(0.02)
        assert record(database, turn).number == 1

    @pytest.mark.parametrize("part", [TurnPart.NEW, TurnPart.REPLAY, TurnPart.ANCHOR])
    def test_an_event_was_retracted(self, database: Database, part: TurnPart) -> None:
        keep(database, build_event("1"), build_event("2"))
        events = (TurnEvent(seq=1, part=TurnPart.NEW, revision=1), TurnEvent(seq=2, part=part, revision=1))
        [turn] = open_pass(database, "billing", events=events).turns
        keep(database, build_retraction("r", "2"))
        self.void(database, turn, "1 events changed")

    def test_a_dev_event_was_retracted_which_taught_nothing(self, database: Database) -> None:
        keep(database, build_event("1"), build_event("2", role=Role.DEV))
        events = (
            TurnEvent(seq=1, part=TurnPart.NEW, revision=1),
            TurnEvent(seq=2, part=TurnPart.DEV, revision=1),
        )
        [turn] = open_pass(database, "billing", events=events).turns
        keep(database, build_retraction("r", "2"))
        assert record(database, turn).number == 1

    def test_an_event_was_revised(self, database: Database) -> None:
        keep(database, build_event("1", key="k"))
        [turn] = open_pass(database, "billing").turns
        keep(database, build_event("2", key="k", revision=2))
        self.void(database, turn, "1 events changed")

    def test_new_events_alone_void_nothing(self, database: Database) -> None:
        keep(database, build_event("1"))
        [turn] = open_pass(database, "billing").turns
        keep(database, build_event("2"))
        record(database, turn)
        assert len(untaught_events(database, "billing")) == 2  # none is taught before the promotion

    def test_the_champion_changed(self, database: Database) -> None:
        keep(database, build_event("1"))
        promote(database, build_version(database))
        keep(database, build_event("2"))
        [turn] = open_pass(database, "billing").turns
        promotion.roll_back(database, "billing", to=None, by="ann", reason="wrong")
        with pytest.raises(TurnVoid, match="parent"):
            record(database, turn)


class TestResuming:
    def test_whoever_takes_the_leases_over_finishes_the_pass(self, database: Database) -> None:
        keep(database, build_event("1"))
        opened = open_pass(database, "billing")
        leases.release(database, {turns.lease_name("billing"): opened.turns[0].plan.token})
        tokens = lease(database, "billing", holder="another")
        passes.adopt_pass(database, opened, tokens)
        assert record(database, opened.turns[0], token=tokens["billing"]).number == 1

    def test_a_pass_half_finished_is_adopted_for_what_is_left(self, database: Database) -> None:
        keep(database, build_event("1"), build_event("2", agent="sql"))
        opened = open_pass(database, "billing", "sql")
        record(database, opened.turns[0])
        with database.read() as connection:
            [left] = passes.unfinished_passes(connection)
        assert [turn.is_open for turn in left.turns] == [False, True]
        tokens = lease(database, "sql")
        passes.adopt_pass(database, left, tokens)
        record(database, left.turns[1], token=tokens["sql"])
        with database.read() as connection:
            assert passes.unfinished_passes(connection) == []

    def test_a_pass_cannot_be_adopted_without_its_leases(self, database: Database) -> None:
        keep(database, build_event("1"))
        opened = open_pass(database, "billing")
        with pytest.raises(TurnVoid):
            passes.adopt_pass(database, opened, {"billing": opened.turns[0].plan.token - 1})

    def test_one_that_slept_through_its_lease_cannot_drop_what_its_successor_trains(
        self, database: Database
    ) -> None:
        keep(database, build_event("1"))
        opened = open_pass(database, "billing")
        [turn] = opened.turns
        leases.release(database, {turns.lease_name("billing"): turn.plan.token})
        tokens = lease(database, "billing", holder="successor")
        passes.adopt_pass(database, opened, tokens)
        with pytest.raises(TurnVoid):
            turns.drop_turn(database, turn, token=turn.plan.token, reason="lease lost", tokens=0, results={})
        assert record(database, turn, token=tokens["billing"]).number == 1


def test_a_dropped_turn_leaves_its_events_untaught_but_for_those_that_teach_nothing(
    database: Database,
) -> None:
    keep(database, build_event("1"), build_event("2"))
    [turn] = open_pass(database, "billing").turns
    turns.drop_turn(
        database,
        turn,
        token=turn.plan.token,
        reason="nothing" * 100,
        tokens=0,
        results={2: build_barren("empty")},
    )
    assert seqs(untaught_events(database, "billing")) == [1]
    with database.read() as connection:
        assert passes.unfinished_passes(connection) == []
        assert decisions.undecided(connection) == []


def test_an_event_retracted_while_it_was_trained_keeps_that_status(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"))
    [turn] = open_pass(database, "billing").turns
    keep(database, build_retraction("r", "1"))
    turns.drop_turn(
        database, turn, token=turn.plan.token, reason="changed", tokens=0, results={1: build_barren("empty")}
    )
    with database.read() as connection:
        assert event_queries.events_by_seq(connection, [1])[1].status is Status.RETRACTED
