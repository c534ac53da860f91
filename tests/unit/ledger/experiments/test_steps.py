"""What the ledger knows of a step, on both databases."""

from ledger.database import Database
from ledger.events import Kind, Status
from ledger.experiments.steps import begin_mark, late_outcomes, step_outcomes, step_state
from ledger.turn_states import TurnState
from ledger.versions.decisions import BY_NOBODY, Verdict
from ledger.versions.promotion import promote
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, build_outcome, keep
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
