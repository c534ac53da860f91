"""The course of one experiment, on a real ledger: what ends a step, and what environments may do wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.commands.experiments.course import BUDGET_USED, GRACE_S, STOPPED, ExperimentCourse
from daemon.commands.experiments.environments import OrderDone
from daemon.commands.experiments.plan import ExperimentPlan
from daemon.commands.experiments.results import StepResult, read_results, stop_file
from daemon.setting_groups.experiments import ExperimentSettings
from ledger.database import Database
from ledger.events import Event, Interaction, Kind, Status
from ledger.experiments.steps import LearnsFrom, begin_mark
from ledger.learning.agents import NOT_YET, Agent, all_agents, declare, set_events_min
from ledger.learning.event_queries import mark as mark_events
from ledger.learning.event_queries import untaught
from ledger.versions.decisions import BY_NOBODY, Verdict
from ledger.versions.gate_modes import GateMode
from ledger.versions.promotion import promote
from rewards.baseline import ALIKE
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, keep
from tests.unit.ledger.ledger_builder import BASE_HASH, build_ledger
from tests.unit.ledger.turn_builder import build_decision, build_version, refuse

PLAN = ExperimentPlan(
    name="solver",
    environment=("environment",),
    groups=2,
    samples=2,
    steps=2,
    seed=5,
    recipe={"preset": "grpo"},
    options={"family": "sum"},
)


class FakeEnvironment:
    """An environment that does nothing by itself."""

    def __init__(self) -> None:
        self.orders: list[Mapping[str, Any]] = []
        self.starts, self.is_dead, self.is_done = 1, False, False

    def order(self, order: Mapping[str, Any]) -> bool:
        self.orders.append(order)
        return not self.is_dead

    def done(self, experiment: str, step: int) -> OrderDone | None:
        assert experiment == PLAN.name
        assert step >= 1
        return OrderDone(rollouts=4, failed=0) if self.is_done else None

    def is_alive(self) -> bool:
        return not self.is_dead

    def obituary(self) -> str:
        return "the environment ended with 1: boom"


class Bench:
    """A course, its environment, and what learner and fleet would do."""

    def __init__(self, database: Database, folder: Path, plan: ExperimentPlan = PLAN) -> None:
        self.database, self.path, self.now_s = database, folder / "solver.jsonl", 1000.0
        self.plan = plan
        self.environment, self._sent = FakeEnvironment(), 0
        declare(database, Agent(name="solver", base_hash=BASE_HASH))
        results = read_results(self.path)
        with database.read() as connection:
            results.begin(plan, begin_mark(connection, "solver"), now_s=1000.0)
        self.course = self.restarted()

    def restarted(self) -> ExperimentCourse:
        """A course as another process begins it, from the file of results."""
        due = self.plan.events_min
        agent = Agent(name="solver", base_hash=BASE_HASH, gate=GateMode.OFF, events_min=due)
        declare(self.database, agent)
        self.course = ExperimentCourse(
            self.plan,
            read_results(self.path),
            self.environment,  # type: ignore[arg-type]
            ExperimentSettings(rollouts_s_max=60.0, update_s_max=120.0),
            set_events_min=lambda agent, events_min: set_events_min(self.database, agent, events_min),
        )
        return self.course

    def poll(self, *, after_s: float = 1.0) -> StepResult | None:
        self.now_s += after_s
        with self.database.read() as connection:
            return self.course.poll(connection, self.now_s)

    def reward(self, *values: float, version: str = "v0", task: str = "t") -> list[str]:
        """An answer of the version for each value, with its outcome. Returns the interactions."""
        pairs = [self._answer(value, version, task) for value in values]
        keep(self.database, *(capture for capture, _ in pairs), partition=INTERACTIONS)
        keep(self.database, *(outcome for _, outcome in pairs))
        return [capture.id for capture, _ in pairs]

    def train(self) -> str:
        """The learner makes a version of everything untaught, and the fleet lets it serve."""
        made = build_version(self.database, "solver")
        promote(self.database, made, build_decision(made, Verdict.PROMOTE, by=BY_NOBODY))
        return made.name

    def events_min(self) -> int | None:
        with self.database.read() as connection:
            return all_agents(connection)["solver"].events_min

    def correct(self, count: int) -> list[int]:
        """Corrections of so many answers. Returns their numbers."""
        self._sent += count
        names = [f"c{self._sent - place}" for place in range(count)]
        keep(self.database, *(build_event(name, agent="solver") for name in names))
        with self.database.read() as connection:
            events = untaught(connection, "solver", limit=99)
        return [kept.seq for kept in events if kept.event.id in names]

    def _answer(self, value: float, version: str, task: str) -> tuple[Interaction, Event]:
        self._sent += 1
        name = f"i{self._sent}"
        messages = ({"role": "user", "content": f"problem {name}"},)
        capture = build_interaction(
            name, agent="solver", version=version, messages=messages, prompt_group=f"group {name}"
        )
        data = {"value": value, "scope": "final", "task": task}
        outcome = build_event(
            f"o{self._sent}", kind=Kind.OUTCOME, agent="solver", interaction=name, data=data
        )
        return capture, outcome


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    database = build_ledger(tmp_path / "clorad.db")
    yield Bench(database, tmp_path)
    database.close()


def test_a_step_is_over_when_the_version_made_of_its_rollouts_serves(bench: Bench) -> None:
    assert bench.poll() is None
    [order] = bench.environment.orders
    assert (order["version"], order["groups"], order["samples"]) == ("v0", 2, 2)
    bench.reward(1.0, 0.0, 1.0)
    assert bench.poll() is None
    bench.reward(1.0)
    assert bench.poll() is None
    made = bench.train()
    step = bench.poll()
    assert step is not None
    assert (step.reward, step.outcomes, step.missing, step.version, step.serves) == (0.75, 4, 0, "v0", made)
    assert bench.poll() is None
    assert bench.environment.orders[-1]["version"] == made, "the next step is answered by the new version"


def test_an_experiment_ends_with_its_budget(bench: Bench) -> None:
    version = "v0"
    for _ in range(2):
        bench.poll()
        bench.reward(1.0, 0.0, 1.0, 0.0, version=version)
        bench.poll()
        version = bench.train()
        assert bench.poll() is not None
    bench.poll()
    assert bench.course.results.end == BUDGET_USED


def test_a_step_in_which_all_groups_are_alike_learns_nothing_and_the_next_one_begins(bench: Bench) -> None:
    bench.poll()
    bench.reward(1.0, 1.0, 1.0, 1.0)
    bench.poll()
    with bench.database.read() as connection:
        seqs = [kept.seq for kept in untaught(connection, "solver", limit=9)]
    mark_events(bench.database, dict.fromkeys(seqs, (Status.BARREN, ALIKE)))
    step = bench.poll()
    assert step is not None
    assert (step.serves, step.alike, step.tokens) == ("v0", 4, 0)


def test_rollouts_that_are_lost_hold_nobody_up_and_are_said(bench: Bench) -> None:
    bench.poll()
    bench.reward(1.0, 0.0, 0.0)
    bench.environment.is_done = True
    bench.poll()
    bench.poll(after_s=GRACE_S + 1.0)
    assert bench.events_min() == 3, "the agent is due with what came"
    bench.train()
    step = bench.poll()
    assert step is not None
    assert (step.missing, step.notes) == (1, ("1 of 4 rollouts have no outcome",))
    assert bench.events_min() == 4


@pytest.mark.parametrize("after_s", [GRACE_S, 61.0])
def test_a_step_without_any_outcome_ends_the_experiment(bench: Bench, after_s: float) -> None:
    bench.poll()
    bench.environment.is_done = after_s == GRACE_S
    bench.poll()
    bench.poll(after_s=after_s + 1.0)
    assert bench.course.results.end == "no outcome of step 1 came"


def test_outcomes_of_earlier_versions_come_too_late_and_are_counted(bench: Bench) -> None:
    bench.poll()
    bench.reward(1.0, 0.0, 1.0, 0.0)
    bench.poll()
    version = bench.train()
    bench.poll()
    bench.poll()
    bench.reward(1.0, version="v0")
    bench.reward(1.0, 1.0, 1.0, 0.0, version=version)
    bench.poll()
    bench.train()
    step = bench.poll()
    assert step is not None
    assert (step.late, step.outcomes, step.reward) == (1, 4, 0.75)


def test_an_answer_that_is_rewarded_twice_is_one_rollout(bench: Bench) -> None:
    bench.poll()
    [twice, *_] = bench.reward(1.0, 0.0, 0.0)
    data = {"value": 0.0, "scope": "final", "task": "t"}
    keep(
        bench.database, build_event("again", kind=Kind.OUTCOME, agent="solver", interaction=twice, data=data)
    )
    bench.poll()
    assert bench.course.phase == "rollouts", "three of four answers have an outcome"
    bench.reward(0.0)
    with bench.database.read() as connection:
        first = untaught(connection, "solver", limit=1)[0].seq
    mark_events(bench.database, {first: (Status.SUPERSEDED, "a newer one replaced it")})
    bench.poll()
    bench.train()
    step = bench.poll()
    assert step is not None
    assert (step.twice, step.outcomes, step.reward) == (1, 4, 0.0)


def test_an_environment_that_was_started_again_is_asked_for_what_is_missing(bench: Bench) -> None:
    bench.poll()
    bench.reward(1.0)
    bench.environment.starts = 2
    bench.poll()
    first, second = bench.environment.orders
    assert (second["groups"], second["samples"]) == (2, 2), "three rollouts are missing: two tasks"
    assert first["task_prefix"] != second["task_prefix"]


def test_an_environment_that_stays_dead_ends_its_experiments_by_name(bench: Bench) -> None:
    bench.environment.is_dead = True
    bench.poll()
    assert bench.course.results.end == "step 1: the environment ended with 1: boom"


def test_a_version_that_is_refused_ends_the_experiment(bench: Bench) -> None:
    bench.poll()
    bench.reward(1.0, 0.0, 1.0, 0.0)
    bench.poll()
    refuse(bench.database, build_version(bench.database, "solver"))
    bench.poll()
    assert bench.course.results.end == "the version of step 1 does not serve: refuse"


def test_an_experiment_whose_version_never_comes_ends(bench: Bench) -> None:
    bench.poll()
    bench.reward(1.0, 0.0, 1.0, 0.0)
    bench.poll()
    bench.poll(after_s=121.0)
    assert bench.course.results.end == "no version of step 1 after 120 s"


def test_a_run_that_was_killed_goes_on_where_it_was_and_counts_nothing_twice(bench: Bench) -> None:
    bench.poll()
    bench.reward(1.0, 0.0, 1.0)
    bench.restarted()
    bench.poll()
    assert bench.environment.orders[-1]["groups"] == 1, "one rollout is missing"
    bench.reward(0.0)
    made = bench.train()
    bench.restarted()
    bench.poll()
    [step] = read_results(bench.path).steps or [None]
    assert step is not None
    assert (step["outcomes"], step["serves"]) == (4, made)
    assert len(bench.environment.orders) == 2, "what is there already is not ordered again"


def test_a_person_who_stops_it_ends_it_before_the_next_step(bench: Bench) -> None:
    stop_file(bench.path.parent, "solver").touch()
    assert bench.poll() is None
    assert bench.course.results.end == STOPPED
    assert not stop_file(bench.path.parent, "solver").exists()
    assert bench.environment.orders == []


def test_a_last_line_that_a_crash_cut_off_is_removed(bench: Bench) -> None:
    with bench.path.open("a") as file:
        file.write('{"step": 1, "rew')
    assert read_results(bench.path).steps == []
    assert bench.path.read_text().endswith("\n")
    assert replace(PLAN, name="solver").batch == 4


# ── corrections teach, outcomes measure ───────────────────────────────────────────────────────────


@pytest.fixture
def taught(tmp_path: Path) -> Iterator[Bench]:
    """An experiment that learns from corrections: four conversations a step, and two that measure."""
    database = build_ledger(tmp_path / "clorad.db")
    plan = replace(PLAN, learns_from=LearnsFrom.CORRECTIONS, measured=2)
    yield Bench(database, tmp_path, plan)
    database.close()


def test_corrections_are_taught_once_all_outcomes_are_there(taught: Bench) -> None:
    taught.poll()
    [order] = taught.environment.orders
    assert (order["learns_from"], order["measured"]) == ("corrections", 2)
    taught.correct(2)
    taught.reward(0.0, 0.0, 1.0)
    taught.reward(0.0, 1.0, task="measure:near:1")
    taught.poll()
    assert (taught.events_min(), taught.course.phase) == (NOT_YET, "rollouts"), "one outcome is missing"
    taught.reward(1.0)
    taught.poll()
    assert (taught.events_min(), taught.course.phase) == (2, "update")
    made = taught.train()
    step = taught.poll()
    assert step is not None
    assert (step.reward, step.outcomes, step.corrections, step.serves) == (0.5, 4, 2, made)
    assert step.measures == {"near": 0.5}
    assert taught.events_min() == NOT_YET, "what comes late makes no turn of its own"


def test_a_step_waits_for_what_measures_it(taught: Bench) -> None:
    taught.poll()
    taught.correct(1)
    taught.reward(0.0, 1.0, 1.0, 1.0)
    taught.reward(1.0, task="measure:near:1")
    taught.environment.starts = 2
    taught.poll()
    assert taught.course.phase == "rollouts"
    order = taught.environment.orders[-1]
    assert (order["groups"], order["measured"]) == (0, 1), "only what is missing is ordered again"
    taught.environment.is_done = True
    taught.poll()
    taught.poll(after_s=GRACE_S + 1.0)
    taught.train()
    step = taught.poll()
    assert step is not None
    assert (step.missing, step.notes) == (0, ("1 of 2 measured conversations have no outcome",))


def test_an_answer_that_is_measured_twice_counts_once_though_no_turn_sees_it(taught: Bench) -> None:
    taught.poll()
    taught.correct(1)
    [twice, *_] = taught.reward(1.0, 0.0, 0.0, 0.0)
    taught.reward(1.0, 1.0, task="measure:near:1")
    again = build_event("again", kind=Kind.OUTCOME, agent="solver", interaction=twice, data={"value": 0.0})
    keep(taught.database, again)
    taught.poll()
    taught.train()
    step = taught.poll()
    assert step is not None
    assert (step.twice, step.outcomes, step.reward) == (1, 4, 0.0)


def test_a_step_in_which_everything_is_right_learns_nothing_and_the_next_one_begins(taught: Bench) -> None:
    taught.poll()
    taught.reward(1.0, 1.0, 1.0, 1.0)
    taught.reward(1.0, 0.0, task="measure:near:1")
    step = taught.poll()
    assert step is not None
    assert (step.serves, step.corrections, taught.course.results.end) == ("v0", 0, None)


def test_an_environment_that_corrects_nothing_ends_the_experiment_by_name(taught: Bench) -> None:
    taught.poll()
    taught.reward(1.0, 0.0, 1.0, 1.0)
    taught.reward(1.0, 0.0, task="measure:near:1")
    taught.poll()
    assert taught.course.results.end == "4 outcomes in step 1 and no correction: its environment sends none"


def test_corrections_that_teach_nothing_hold_nobody_up(taught: Bench) -> None:
    taught.poll()
    [seq] = taught.correct(1)
    taught.reward(1.0, 0.0, 1.0, 1.0)
    taught.reward(1.0, 0.0, task="measure:near:1")
    taught.poll()
    assert taught.course.phase == "update"
    mark_events(taught.database, {seq: (Status.BARREN, "nothing was changed")})
    step = taught.poll()
    assert step is not None
    assert (step.serves, step.corrections) == ("v0", 1)


@pytest.mark.parametrize("killed", ["before it learns", "while it learns", "after it learned"])
def test_a_run_that_was_killed_teaches_each_correction_once(taught: Bench, killed: str) -> None:
    taught.poll()
    taught.correct(2)
    taught.reward(0.0, 0.0, 1.0, 1.0)
    taught.reward(1.0, 1.0, task="measure:near:1")
    if killed != "before it learns":
        taught.poll()
        assert taught.events_min() == 2
    made = taught.train() if killed == "after it learned" else None
    taught.restarted()  # `clorad experiment run` declares its agents first
    taught.poll()
    if made is None:
        assert taught.events_min() == 2, "the agent is due again"
        made = taught.train()
        taught.poll()
    [step] = read_results(taught.path).steps
    assert (step["corrections"], step["outcomes"], step["serves"]) == (2, 4, made)
    assert taught.events_min() == NOT_YET
    assert len(taught.environment.orders) == 1
