"""When a candidate that passed the gate may serve: at once, after its canary, or when a person says so."""

import pytest

from ledger.database import Database
from ledger.errors import FlipRefused
from ledger.learning.agents import Agent, declare
from ledger.versions import canary, decisions, desired, holds, promotion
from ledger.versions.decisions import Verdict
from ledger.versions.lineage import Version
from serving.canary.admission import Admission, admissions, admit
from serving.canary.steps import CanaryOptions
from tests.canary_options_builder import build_canary_options
from tests.unit.ledger.turn_builder import BASE_HASH, build_decision, refuse
from tests.unit.serving.serving_environment import ServingEnvironment

AT_ONCE = build_canary_options(share=0.0, s_max=1800.0)
IN_STEPS = build_canary_options(share=0.05, s_max=1800.0)


@pytest.fixture
def candidate(environment: ServingEnvironment) -> Version:
    environment.agent("billing")
    return environment.candidate("billing")


def admission(database: Database, candidate: Version, options: CanaryOptions = AT_ONCE) -> Admission:
    with database.read() as connection:
        return admissions(connection, [candidate], options)[candidate.agent]


def share(database: Database) -> float:
    with database.read() as connection:
        return desired.share_of(connection, "billing")


def test_without_a_share_the_gate_promotes_at_once(
    environment: ServingEnvironment, candidate: Version
) -> None:
    assert admit(environment.database, candidate, AT_ONCE) == "gate"


def test_with_a_share_the_canary_begins_and_the_promotion_waits(
    environment: ServingEnvironment, candidate: Version
) -> None:
    assert admit(environment.database, candidate, IN_STEPS) is None
    assert share(environment.database) == 0.05
    assert admission(environment.database, candidate, IN_STEPS).waits_for == "its canary"


def test_an_agents_own_share_goes_before_the_installations(
    environment: ServingEnvironment, candidate: Version
) -> None:
    declare(environment.database, Agent(name="billing", base_hash=BASE_HASH, canary_share=0.1))
    assert admission(environment.database, candidate, AT_ONCE).share == 0.1
    declare(environment.database, Agent(name="billing", base_hash=BASE_HASH, canary_share=0.0))
    assert admission(environment.database, candidate, IN_STEPS).by == "gate"


def test_after_its_steps_the_candidate_may_be_promoted(
    environment: ServingEnvironment, candidate: Version
) -> None:
    admit(environment.database, candidate, IN_STEPS)
    with environment.database.write() as connection:
        canary.end_steps(connection, "billing", candidate.number)
    assert admit(environment.database, candidate, IN_STEPS) == "gate"


def test_an_agent_on_hold_waits_for_the_person_who_put_it_there(
    environment: ServingEnvironment, candidate: Version
) -> None:
    holds.hold(environment.database, "billing", by="ann", reason="month's end")
    waiting = admission(environment.database, candidate, IN_STEPS)
    assert waiting.waits_for == "ann, who put the agent on hold: clorad resume billing"
    assert admit(environment.database, candidate, IN_STEPS) is None
    holds.resume(environment.database, "billing", by="ann")
    assert admission(environment.database, candidate, IN_STEPS).share == 0.05


def test_an_agent_that_must_be_confirmed_waits_for_any_person(
    environment: ServingEnvironment, candidate: Version
) -> None:
    declare(environment.database, Agent(name="billing", base_hash=BASE_HASH, confirm=True))
    waiting = admission(environment.database, candidate)
    assert waiting.waits_for == "a person: clorad promote billing@v1 or clorad refuse billing@v1"
    with environment.database.write() as connection:
        decisions.decide(connection, build_decision(candidate, Verdict.CONFIRM, by="ann"))
    assert admit(environment.database, candidate, IN_STEPS) == "ann"


def test_a_candidate_that_was_settled_meanwhile_gets_no_share(
    environment: ServingEnvironment, candidate: Version
) -> None:
    refuse(environment.database, candidate)
    assert admit(environment.database, candidate, IN_STEPS) is None
    assert share(environment.database) == 0.0
    with pytest.raises(FlipRefused):
        promotion.withdraw(environment.database, candidate, by="canary", evidence=decisions.Evidence())
