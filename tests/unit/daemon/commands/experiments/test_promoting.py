"""`clorad experiment promote`: an experiment's version becomes a candidate, which its agent's gate judges."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.manifest import read_manifest
from ledger import leases
from ledger.database import Database
from ledger.events import Kind, Role
from ledger.learning import event_queries
from ledger.learning.agents import Agent, declare
from ledger.learning.backlog import backlogs
from ledger.learning.turns import lease_name
from ledger.upkeep.mentions import taught_with
from ledger.versions import decisions, lineage
from ledger.versions.decisions import BY_NOBODY, Verdict
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import Version
from ledger.versions.promotion import promote, roll_back
from tests.fakes.vllm_models import probes
from tests.unit.daemon.conftest import Clorad, CommandResult
from tests.unit.ledger.event_builder import build_retraction
from tests.unit.ledger.turn_builder import build_decision, open_pass
from tests.unit.serving.fleet.test_judging import JudgingSetup, knows
from tests.unit.serving.serving_environment import PROMPT_IDS, ServingEnvironment, build_environment

RECIPE = {"rank": 4}  # as turn_builder trains
ASKED = ("--agent", "billing", "--by", "ann", "--reason", "81 % of its conversations end well")


class PromotedExperiment:
    """An experiment that is over, an agent, and the gate of a fleet with one replica."""

    def __init__(self, environment: ServingEnvironment, clorad: Clorad, folder: Path) -> None:
        self.environment, self._clorad, self._folder = environment, clorad, folder
        environment.agent("billing", recipe=RECIPE)
        environment.agent("slow", recipe=RECIPE, gate=GateMode.OFF)
        self.source = environment.candidate("slow")
        promote(environment.database, self.source, build_decision(self.source, Verdict.PROMOTE, by=BY_NOBODY))
        self.end(self.source.name)

    @property
    def database(self) -> Database:
        return self.environment.database

    def end(self, serves: str, *lines: dict[str, Any]) -> None:
        """Write the results of an experiment that is over."""
        (self._folder / "experiments").mkdir(exist_ok=True)
        mark = {"seq": 0, "turn": 0, "version": "v0"}
        written = [
            {"plan": {"steps": 1}, "began_s": 1.0, "mark": mark},
            {"step": 1, "seq": 1, "turn": 1, "serves": serves},
            *(lines or [{"end": "its steps are done"}]),
        ]
        text = "".join(json.dumps(line) + "\n" for line in written)
        (self._folder / "experiments" / "slow.jsonl").write_text(text)

    def promote(self, *words: str) -> CommandResult:
        store = {"CLORAD_STORE__PATH": str(self.environment.store)}
        return self._clorad("experiment", "promote", "slow", *(words or ASKED), env=store)

    def candidate(self) -> Version:
        """The candidate, which a fake replica serves as it was trained: it computes from the path."""
        with self.database.read() as connection:
            candidate = lineage.versions_of(connection, "billing")[-1]
        path = self.environment.path(candidate)
        values = json.loads((Path(path) / "manifest.json").read_text())
        values["probes"] = [probe.to_json() for probe in probes(path, PROMPT_IDS, base="base")]
        (Path(path) / "manifest.json").write_text(json.dumps(values))
        return candidate

    @contextmanager
    def judged(self, *, steps: int = 6, **options: Any) -> Iterator[JudgingSetup]:
        setup = JudgingSetup(self.environment, **options)
        try:
            setup.run(steps)
            yield setup
        finally:
            setup.close()


@pytest.fixture
def experiment(tmp_path: Path, clorad: Clorad) -> Iterator[PromotedExperiment]:
    with build_environment(tmp_path) as environment:
        yield PromotedExperiment(environment, clorad, tmp_path)


def test_a_version_that_passes_the_agents_gate_serves(experiment: PromotedExperiment) -> None:
    experiment.environment.replica(reply_function=knows("billing/v1-"))
    experiment.environment.corrections("billing", 12, role=Role.GATE)
    said = experiment.promote()
    assert (said.code, said.err) == (0, "")
    sentence = f"slow@{experiment.source.name} is the candidate {experiment.candidate().name} of billing"
    assert sentence in said.out
    with experiment.judged() as setup:
        assert setup.serving() == 1
        assert [decision.verdict for decision in setup.decisions()] == [Verdict.CANARY, Verdict.PROMOTE]
        assert setup.decisions()[-1].by == "gate"


def test_a_version_that_answers_no_better_is_refused_and_never_serves(experiment: PromotedExperiment) -> None:
    experiment.environment.replica(reply_function=knows("nothing"))
    experiment.environment.corrections("billing", 12, role=Role.GATE)
    experiment.promote()
    experiment.candidate()
    with experiment.judged() as setup:
        assert [decision.verdict for decision in setup.decisions()] == [Verdict.REFUSE]
        assert setup.serving() == 0


def test_the_gate_of_an_agent_without_evidence_abstains(experiment: PromotedExperiment) -> None:
    experiment.environment.replica()
    experiment.promote()
    experiment.candidate()
    with experiment.judged() as setup:
        assert [decision.verdict for decision in setup.decisions()] == [Verdict.ABSTAIN]
        assert setup.serving() == 0


def test_what_the_champion_knows_and_the_version_does_not_is_harm(experiment: PromotedExperiment) -> None:
    champion = experiment.environment.champion("billing")
    experiment.environment.replica(reply_function=knows(f"billing/{champion.name}"))
    experiment.environment.corrections("billing", 9, role=Role.GATE, kind=Kind.APPROVE)
    experiment.promote()
    experiment.candidate()
    with experiment.judged(steps=0) as setup:
        with experiment.database.read() as connection:
            setup.suite_events = event_queries.usable(
                connection, "billing", role=Role.GATE, kinds=[Kind.APPROVE]
            )
        setup.run()
        [refusal] = [decision for decision in setup.decisions() if decision.number == 2]
        assert refusal.verdict is Verdict.REFUSE
        assert "harm" in refusal.evidence.reasons[0]


def test_an_agent_that_outcomes_judge_lets_it_answer_a_share_first(experiment: PromotedExperiment) -> None:
    declare(
        experiment.database,
        Agent(name="billing", base_hash="b" * 64, recipe=RECIPE, gate=GateMode.OUTCOMES, canary_share=0.1),
    )
    experiment.environment.replica()
    assert "conversations with users decide" in experiment.promote().out
    experiment.candidate()
    with experiment.judged() as setup:
        assert [(decision.verdict, decision.by) for decision in setup.decisions()] == [
            (Verdict.CANARY, "gate"),
            (Verdict.CANARY, "canary"),
        ]
        assert setup.serving() == 0


def test_who_adopted_it_and_why_is_stored_and_shown(experiment: PromotedExperiment, clorad: Clorad) -> None:
    assert experiment.promote(*ASKED, "--json").json == {
        "experiment": "slow",
        "from": experiment.source.name,
        "agent": "billing",
        "version": experiment.candidate().name,
        "gate": "corrections",
        "by": "ann",
        "reason": "81 % of its conversations end well",
    }
    adopted = f"slow@{experiment.source.name} by ann: 81 % of its conversations end well"
    assert clorad("why", "billing@v1", "--json").json["adopted"] == adopted
    assert "adopted from" in clorad("why", "billing@v1").out


def test_its_files_are_the_experiments_under_a_name_of_its_own(experiment: PromotedExperiment) -> None:
    experiment.promote()
    store = experiment.environment.store
    candidate = experiment.candidate()
    assert candidate.hash == experiment.source.hash
    manifest = read_manifest(store / candidate.path)
    assert (manifest.agent, manifest.version, manifest.parent) == ("billing", candidate.name, "slow@v0")
    assert [path.name for path in (store / "billing").iterdir()] == [candidate.name]


def test_the_agent_goes_on_with_its_own_events_beside_it(experiment: PromotedExperiment) -> None:
    experiment.environment.corrections("billing", 3, role=Role.TRAIN)
    experiment.promote()
    with experiment.database.write() as connection:
        [candidate] = [version for version in decisions.undecided(connection) if version.agent == "billing"]
        decisions.decide(connection, build_decision(candidate, Verdict.REFUSE))
    with experiment.database.read() as connection:
        [backlog] = [backlog for backlog in backlogs(connection) if backlog.agent == "billing"]
    assert (backlog.untaught, backlog.news, backlog.has_candidate, backlog.last_try) == (3, True, False, None)


def test_a_rollback_goes_back_to_the_version_before_it(experiment: PromotedExperiment) -> None:
    champion = experiment.environment.champion("billing")
    experiment.promote()
    candidate = experiment.candidate()
    promote(experiment.database, candidate, build_decision(candidate, Verdict.PROMOTE))
    assert roll_back(experiment.database, "billing", to=None, by="ann", reason="no") == (2, champion.number)


def test_who_taught_the_experiment_is_found_in_the_adopted_version(experiment: PromotedExperiment) -> None:
    experiment.promote()
    with experiment.database.read() as connection:
        [kept] = event_queries.taught(connection, "slow")
        assert taught_with(connection, [kept.seq]).keys() == {"billing", "slow"}


def other_base(experiment: PromotedExperiment) -> None:
    declare(experiment.database, Agent(name="billing2", base_hash="c" * 64, recipe=RECIPE))


def leave_undecided(experiment: PromotedExperiment) -> None:
    experiment.environment.candidate("billing")


def train(experiment: PromotedExperiment) -> None:
    experiment.environment.corrections("billing", 1, role=Role.TRAIN)
    [turn] = open_pass(experiment.database, "billing").turns
    leases.release(experiment.database, {lease_name("billing"): turn.plan.token})


def lease_by_a_learner(experiment: PromotedExperiment) -> None:
    leases.acquire(experiment.database, [lease_name("billing")], holder="learner-9", ttl_s=10.0)


def change_rank(experiment: PromotedExperiment) -> None:
    experiment.environment.agent("billing", recipe={"rank": 8})


def adopt_before(experiment: PromotedExperiment) -> None:
    experiment.promote()
    with experiment.database.write() as connection:
        [candidate] = [version for version in decisions.undecided(connection) if version.agent == "billing"]
        decisions.decide(connection, build_decision(candidate, Verdict.REFUSE))


def retract(experiment: PromotedExperiment) -> None:
    experiment.environment.say(build_retraction("r1", "e1", agent="slow"))


def damage(experiment: PromotedExperiment) -> None:
    (Path(experiment.environment.path(experiment.source)) / "adapter_model.safetensors").write_bytes(b"other")


@pytest.mark.parametrize(
    ("prepare", "agent", "why"),
    [
        (other_base, "billing2", "it was made for base bbbbbbbbbbbb, billing2 has cccccccccccc"),
        (leave_undecided, "billing", "has no verdict yet: refuse it, or wait for its verdict"),
        (train, "billing", "billing is learning: try again after its turn"),
        (lease_by_a_learner, "billing", "billing is learning: try again after its turn"),
        (change_rank, "billing", "its rank is 4; the recipe of billing says 8"),
        (adopt_before, "billing", "it is billing@v1-"),
        (retract, "billing", "1 of the events that taught it were taken back"),
        (damage, "billing", "its files are not what was trained"),
        (lambda experiment: experiment.end("v0"), "billing", "slow learned nothing"),
        (lambda experiment: experiment.end("v7-123456"), "billing", "and not in this installation's ledger"),
        (lambda experiment: experiment.end("v1-123456", {"step": 2, "serves": "v0"}), "billing", "not over"),
        (lambda _: None, "slow", "slow is an experiment: nobody judges its versions"),
        (lambda _: None, "sales", "no agent sales; there are:"),
    ],
)
def test_what_cannot_be_adopted_is_refused_with_the_reason(
    experiment: PromotedExperiment, prepare: Callable[[PromotedExperiment], None], agent: str, why: str
) -> None:
    prepare(experiment)
    with experiment.database.read() as connection:
        before = lineage.versions_of(connection, agent)
    refused = experiment.promote("--agent", agent, "--reason", "it is better")
    assert (refused.code, refused.err.count("\n")) == (1, 1), refused
    assert why in refused.err
    with experiment.database.read() as connection:
        assert lineage.versions_of(connection, agent) == before
    folder = experiment.environment.store / agent
    left = [path.name for path in folder.iterdir() if path.name.startswith(".")] if folder.exists() else []
    assert left == []
