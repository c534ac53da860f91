"""Samples that teach nothing leave the backlog: those that no term of the recipe uses."""

import threading
from dataclasses import replace

from sqlalchemy import select

from daemon.learning.learner import Learner
from daemon.learning.loop import start_pass
from daemon.learning.turns.staleness import NO_POLICY
from ledger.database import Database
from ledger.events import Kind, Status
from ledger.learning import agents, event_queries, passes
from ledger.learning.agents import set_events_min
from ledger.schema import events
from ledger.versions.gate_modes import GateMode
from tests.unit.daemon.learning.test_loop import RECIPE, corrections, database, engine, learner
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, build_outcome, keep

__all__ = ["database", "engine", "learner"]  # fixtures

NEVER = 1_000


def declare(learner: Learner, **coefficients: float) -> None:
    agent = agents.Agent(
        name="billing",
        base_hash=learner.engine.base_hash,
        recipe={**RECIPE, "coefficients": coefficients},
        gate=GateMode.OFF,
        events_min=NEVER,
    )
    agents.declare(learner.database, agent)


def measure(database: Database, count: int) -> None:
    """Answers with an outcome each, and one that was rejected besides."""
    names = [f"i{number}" for number in range(count)]
    keep(database, *(build_interaction(name) for name in names), partition=INTERACTIONS)
    keep(database, *(build_outcome(f"o-{name}", 1.0, interaction=name) for name in names))
    keep(database, build_event("rejected", kind=Kind.REJECT, interaction="i0", data={}))


def new_kinds(database: Database) -> list[Kind]:
    """Kinds of what the first pass was about."""
    with database.read() as connection:
        opened = passes.read_pass(connection, 1)
        assert opened is not None
        taught = event_queries.events_by_seq(connection, (event.seq for event in opened.turns[0].plan.events))
    return [kept.event.kind for kept in taught.values()]


def test_without_a_policy_term_outcomes_are_set_aside_and_corrections_are_taught(
    learner: Learner, database: Database
) -> None:
    declare(learner, policy=0.0)
    measure(database, 6)
    keep(database, *corrections("billing", 3))
    set_events_min(database, "billing", 3)
    learner = replace(
        learner, options=replace(learner.options, limits=replace(learner.options.limits, new_max=3))
    )
    assert start_pass(learner, threading.Event())
    assert new_kinds(database) == [Kind.CORRECTION] * 3, "outcomes take no room in the turn"
    with database.read() as connection:
        query = select(events.c.status_reason).where(events.c.status == Status.BARREN.value)
        assert list(connection.scalars(query)) == [NO_POLICY] * 7


def test_an_outcome_that_says_a_correction_lasted_is_no_sample(learner: Learner, database: Database) -> None:
    declare(learner, policy=0.0)
    [correction] = corrections("billing", 1)
    keep(database, replace(correction, key="k"), *corrections("billing", 2, prefix="other "))
    keep(database, build_outcome("lasted", 1.0, amends="k"))
    set_events_min(database, "billing", 4)
    assert start_pass(learner, threading.Event())
    assert Kind.OUTCOME in new_kinds(database)


def test_a_number_of_events_that_makes_an_agent_due_is_noticed_at_once(
    learner: Learner, database: Database
) -> None:
    declare(learner, policy=0.0)
    keep(database, *corrections("billing", 3))
    assert not start_pass(learner, threading.Event())
    set_events_min(database, "billing", 3)
    assert start_pass(learner, threading.Event()), "nothing else happened in the ledger"
