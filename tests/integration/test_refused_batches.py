"""From a refused batch with one bad event to the promotion of all good ones, without anybody's help.

Planning, gate, replicas' answers and promotions are the real ones, on a real ledger. Only learning is
simulated: a version knows every rule that it or an ancestor was taught, and a bad event spoils its answers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.learning.scheduler import Freshness, due_backlogs, readiness
from daemon.learning.turns.material import TurnLimits
from daemon.learning.turns.planning import plan_turn
from ledger import leases
from ledger.database import Database
from ledger.events import Event, Kind, Role, Status
from ledger.learning import passes, turns
from ledger.learning.agents import all_agents
from ledger.learning.backlog import backlogs
from ledger.learning.event_queries import event_by_uid, events_by_seq, mark, taught
from ledger.learning.retries import Remedy, Retry
from ledger.learning.turns import TurnPlan
from ledger.turn_states import TurnPart
from ledger.versions.lineage import BASE, lineage_of
from serving.fleet.judging import Judging
from serving.fleet.suite import suite_questions
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import lease
from tests.unit.serving.fleet.test_judging import JudgingSetup
from tests.unit.serving.serving_environment import ServingEnvironment, build_environment

FRESHNESS = Freshness(
    events_min=16, age_s_max=3600.0, alpha=0.05, refusals_max=3, suite_min=0, settle_s=0.0, authors_min=1
)
LIMITS = TurnLimits(new_max=256, replay_max=64, anchors_max=160, settle_s=3600.0, authors_min=1)
ORDER, CITY, GREETING = "cancel order {}", "weather in {}", "good morning {}"
RIGHT = {ORDER: '{{"tool": "cancel", "order": {}}}', CITY: "call forecast with {}", GREETING: "Hello {}!"}
CITIES = [
    "Lyon",
    "Oslo",
    "Bern",
    "Kyiv",
    "Riga",
    "Bonn",
    "Nice",
    "Cork",
    "Brno",
    "Pisa",
    "Graz",
    "Lodz",
    "Turku",
    "Vigo",
    "Bath",
    "Gent",
]


def right(prompt: str) -> str:
    """The answer that people want."""
    for form, answer in RIGHT.items():
        if match := re.fullmatch(form.format("(.*)"), prompt):
            return answer.format(match[1])
    return "I do not know."


def correct(name: str, prompt: str, *, role: Role, wanted: str | None = None) -> Event:
    data = {
        "messages": [{"role": "user", "content": prompt}],
        "rejected": "Sure!",
        "corrected": wanted or right(prompt),
    }
    return build_event(name, role=role, data=data, prompt_group=prompt)


class Simulation:
    """An agent whose versions know what they were taught; `turn` plans, trains and judges the next one."""

    def __init__(self, environment: ServingEnvironment) -> None:
        self.environment, self.database = environment, environment.database
        environment.agent("billing")
        environment.replica(reply_function=self.answer)
        self.setup = JudgingSetup(environment)
        self.setup.judging = _with_suite(self.setup)
        self.spoils: set[str] = set()  # ids of events that spoil every version that is taught them
        self.plans: list[TurnPlan] = []
        self.freshness = FRESHNESS

    def answer(self, path: str, messages: Sequence[Mapping[str, Any]]) -> str:
        prompt = str(messages[-1]["content"])
        number = re.search(r"/v(\d+)-", path)
        known, spoilt = self._taught(0 if number is None else int(number[1]))
        if prompt.startswith("good morning"):
            return "Go away." if spoilt else right(prompt)
        form = next((form for form in RIGHT if prompt.startswith(form.split("{")[0])), None)
        return right(prompt) if form in known and not spoilt else "Sure!"

    def turn(self) -> TurnPlan | None:
        """Plan the next turn if the agent is due, make its version, and have it judged."""
        plan = self.plan()
        if plan is None:
            return None
        opened = passes.open_pass(self.database, [plan], holder="learner-1", form={})
        self.environment.record(opened.turns[0])
        leases.release(self.database, {turns.lease_name("billing"): plan.token})
        self.plans.append(plan)
        self.setup.run(steps=4)
        return plan

    def plan(self) -> TurnPlan | None:
        with self.database.read() as connection:
            [backlog] = backlogs(connection)
            if not due_backlogs([backlog], self.freshness):
                return None
        token = lease(self.database, "billing")["billing"]
        with self.database.read() as connection:
            planned = plan_turn(
                connection,
                all_agents(connection)["billing"],
                backlog,
                token=token,
                limits=LIMITS,
                readiness=readiness(backlog, self.freshness),
            )
        mark(self.database, planned.marks)
        return planned.plan

    def run(self, turns_max: int = 20) -> list[str]:
        """Turn after turn until the agent waits for something. Returns the verdicts."""
        for _ in range(turns_max):
            if self.turn() is None:
                break
        return [decision.verdict.value for decision in self.setup.decisions() if decision.verdict != "canary"]

    def status(self, name: str) -> Status:
        with self.database.read() as connection:
            return event_by_uid(connection, f"dev#{name}")[0].status

    def taught(self) -> set[str]:
        with self.database.read() as connection:
            return {kept.event.id for kept in taught(connection, "billing")}

    def _taught(self, number: int) -> tuple[set[str], bool]:
        """The forms of prompts that a version was taught, and whether an event spoilt it."""
        if number == BASE:
            return set(), False
        with self.database.read() as connection:
            line = set(lineage_of(connection, "billing", number))
        seqs = [
            event.seq
            for place, plan in enumerate(self.plans, start=1)
            if place in line
            for event in plan.events
            if event.part is TurnPart.NEW
        ]
        with self.database.read() as connection:
            ids = {kept.event.id for kept in events_by_seq(connection, seqs).values()}
        return {form for form in RIGHT if any(id.startswith(form[:4]) for id in ids)}, bool(ids & self.spoils)


def _with_suite(setup: JudgingSetup) -> Judging:
    suite = partial(suite_questions, limit=128, settle_s=3600.0)
    return replace(setup.judging, suite=suite)


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    with build_environment(tmp_path) as environment:
        built = Simulation(environment)
        yield built
        built.setup.close()


def say(database: Database, *, gate: int = 14) -> None:
    """Eight corrections of each of two rules to train on, `gate` of each to judge by, and some approvals."""
    for number in range(8):
        keep(database, correct(f"canc-{number}", ORDER.format(100 + number), role=Role.TRAIN))
        keep(database, correct(f"weat-{number}", CITY.format(CITIES[number]), role=Role.TRAIN))
    for number in range(gate):
        keep(database, correct(f"g-canc-{number}", ORDER.format(500 + number), role=Role.GATE))
        keep(database, correct(f"g-weat-{number}", CITY.format(f"New {CITIES[number]}"), role=Role.GATE))
    for number in range(8):
        prompt = GREETING.format(CITIES[number])
        data = {"messages": [{"role": "user", "content": prompt}], "said": right(prompt)}
        event = build_event(f"a-{number}", kind=Kind.APPROVE, role=Role.GATE, data=data, prompt_group=prompt)
        keep(database, event)


GOOD = {f"{rule}-{number}" for rule in ("canc", "weat") for number in range(8)}


def test_a_good_batch_needs_one_turn(simulation: Simulation) -> None:
    say(simulation.database)
    assert simulation.run() == ["promote"]
    assert simulation.taught() == GOOD
    assert simulation.plans[0].retry is None


BAD = {
    "another thing": correct("bad", GREETING.format("Sir"), role=Role.TRAIN, wanted="Go away."),
    "one of a rule": correct("canc-bad", ORDER.format(999), role=Role.TRAIN),
}


def learned_forms(simulation: Simulation) -> set[str]:
    return {id[:4] for id in simulation.taught()}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_the_good_rules_of_a_batch_with_a_bad_event_serve_after_five_turns(
    simulation: Simulation, bad: Event
) -> None:
    say(simulation.database)
    keep(simulation.database, bad)
    simulation.spoils = {bad.id}
    verdicts = simulation.run()
    assert learned_forms(simulation) == {"canc", "weat"}
    assert bad.id not in simulation.taught()
    assert len(simulation.plans) == 5
    assert verdicts.count("promote") == 2
    first, second, third = (plan.retry for plan in simulation.plans[:3])
    assert first is None
    assert second == Retry(after=1, remedies=(Remedy.ANCHORS,))
    assert third is not None
    assert third.is_part


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_only_what_the_gate_refused_alone_is_held_for_a_person(simulation: Simulation, bad: Event) -> None:
    say(simulation.database)
    keep(simulation.database, bad)
    simulation.spoils = {bad.id}
    simulation.run()
    assert simulation.status(bad.id) is Status.OPEN, "it waits for prompts to judge it by"
    simulation.freshness = replace(FRESHNESS, age_s_max=1e-6)
    simulation.run()
    assert simulation.status(bad.id) is Status.CONTESTED
    assert {simulation.status(id) for id in GOOD} == {Status.OPEN}
    assert len(simulation.plans) <= 12


def test_a_learner_that_dies_before_any_turn_leaves_the_same_plan(simulation: Simulation) -> None:
    say(simulation.database)
    keep(simulation.database, BAD["another thing"])
    simulation.spoils = {"bad"}
    while True:
        planned = simulation.plan()
        again = simulation.plan()
        assert planned is None or planned == replace(again, token=planned.token)
        if planned is None or simulation.turn() is None:
            break
    assert len(simulation.plans) == 5


def test_every_try_spends_its_share_of_the_chance_of_error_until_a_promotion(simulation: Simulation) -> None:
    say(simulation.database)
    keep(simulation.database, BAD["another thing"])
    simulation.spoils = {"bad"}
    simulation.run()
    attempts = {
        decision.number: decision.evidence.attempt
        for decision in simulation.setup.decisions()
        if decision.evidence.attempt is not None
    }
    assert [attempts[number] for number in sorted(attempts)] == [1, 2, 3, 1, 2]


def test_a_half_is_judged_by_prompts_of_its_own_rule_and_the_other_half_by_the_others(
    simulation: Simulation,
) -> None:
    say(simulation.database)
    keep(simulation.database, BAD["another thing"])
    simulation.spoils = {"bad"}
    simulation.run()
    judged = {
        decision.number: {pair.event.split("#")[1][:6] for pair in decision.evidence.gate}
        for decision in simulation.setup.decisions()
        if decision.verdict == "promote"
    }
    assert judged == {3: {"g-canc"}, 5: {"g-weat"}}


def test_a_part_with_too_few_prompts_of_its_own_waits_and_what_is_new_does_not(
    simulation: Simulation,
) -> None:
    say(simulation.database, gate=6)  # 12 for the whole batch, 6 for each half
    keep(simulation.database, BAD["another thing"])
    simulation.spoils = {"bad"}
    assert simulation.run() == ["refuse", "refuse"]
    more = [
        correct(f"g-canc-{number}", ORDER.format(700 + number), role=Role.GATE) for number in range(6, 10)
    ]
    keep(simulation.database, *more)
    assert simulation.run() == ["refuse", "refuse", "promote"]
    assert learned_forms(simulation) == {"canc"}
