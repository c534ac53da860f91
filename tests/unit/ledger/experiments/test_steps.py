"""What the ledger knows of a step, on both databases."""

from ledger.database import Database
from ledger.events import Kind, Status
from ledger.experiments.steps import (
    LearnsFrom,
    begin_mark,
    late_outcomes,
    step_corrections,
    step_outcomes,
    step_state,
)
from ledger.turn_states import TurnState
from ledger.versions.decisions import BY_NOBODY, Verdict
from ledger.versions.promotion import promote
from tests.unit.ledger.event_builder import (
    INTERACTIONS,
    build_event,
    build_interaction,
    build_outcome,
    build_retraction,
    keep,
)
from tests.unit.ledger.turn_builder import build_decision, build_version


def reward(database: Database, *names: str, version: str = "v0") -> None:
    keep(database, *(build_interaction(name, version=version) for name in names), partition=INTERACTIONS)
    keep(database, *(build_outcome(f"o-{name}", 0.5, interaction=name) for name in names))


def test_a_step_counts_the_outcomes_of_its_version_and_follows_its_turn(database: Database) -> None:
    reward(database, "before")
    with database.read() as connection:
        mark = begin_mark(connection, "billing")
    reward(database, "i1", "i2")
    reward(database, "other", version="v9-000000")
    keep(database, build_event("lost", kind=Kind.OUTCOME, interaction="i9", role=None, data={"value": 1.0}))
    with database.read() as connection:
        state = step_state(connection, "billing", mark)
        assert (state.outcomes, state.untaught, state.turn, state.serving) == (2, 2, None, "v0")
        assert late_outcomes(connection, "billing", mark) == 1
        assert [outcome.status for outcome in step_outcomes(connection, "billing", mark)] == [Status.OPEN] * 2
    made = build_version(database, "billing")
    with database.read() as connection:
        turn = step_state(connection, "billing", mark).turn
    assert turn is not None
    assert (turn.state, turn.verdict) == (TurnState.MADE, None)
    promote(database, made, build_decision(made, Verdict.PROMOTE, by=BY_NOBODY))
    with database.read() as connection:
        state = step_state(connection, "billing", mark)
        assert state.turn is not None
        assert (state.turn.verdict, state.serving) == ("promote", made.name)
        assert begin_mark(connection, "billing").turn == state.turn.id


def test_where_corrections_teach_those_are_untaught_and_outcomes_of_measures_are_told_apart(
    database: Database,
) -> None:
    keep(database, build_event("before"))
    with database.read() as connection:
        mark = begin_mark(connection, "billing")
    reward(database, "i1", "i2")
    keep(database, build_interaction("i3"), build_interaction("i4"), partition=INTERACTIONS)
    for name, task in (("i3", "measure:near:7"), ("i4", "measured")):
        data = {"value": 1.0, "scope": "final", "task": task}
        keep(database, build_event(f"o-{name}", kind=Kind.OUTCOME, interaction=name, data=data))
    keep(
        database,
        build_event("c1"),
        build_event("c2", kind=Kind.OVERRIDE),
        build_event("approved", kind=Kind.APPROVE),
        build_event("withdrawn"),
        build_retraction("r", "withdrawn"),
        build_event("waits", role=None, data={"corrected": "yes"}),
    )
    with database.read() as connection:
        state = step_state(connection, "billing", mark, LearnsFrom.CORRECTIONS)
        assert (state.outcomes, state.measured, state.untaught) == (3, 1, 2)
        assert step_state(connection, "billing", mark).untaught == 4
        assert step_corrections(connection, "billing", mark) == [Status.OPEN] * 2
        measures = [outcome.measure for outcome in step_outcomes(connection, "billing", mark)]
    assert measures == [None, None, "near", None]
