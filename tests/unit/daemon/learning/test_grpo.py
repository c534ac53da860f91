"""An agent that gets outcomes alone: from the ledger's events to an agent that does what is rewarded."""

import random
import statistics
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from daemon.learning.learner import Learner
from daemon.learning.loop import start_pass
from daemon.learning.replay import replay
from engine.adapter_weights import read_adapter
from engine.manifest import read_manifest
from engine.warm_engine import WarmEngine
from ledger.database import Database
from ledger.events import Event, Interaction, Kind
from ledger.learning import agents, passes
from ledger.learning.backlog import backlogs
from ledger.learning.event_queries import events_by_seq, untaught
from ledger.schema import events
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import Version, turns_between, version_name, versions_of
from tests.meters import metric_increases, metric_values
from tests.unit.daemon.learning.test_loop import OPTIONS, engine, nothing
from tests.unit.engine import peft_reference, tiny_base
from tests.unit.engine.tiny_engine import TOKENS
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, build_outcome, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import promote

__all__ = ["engine"]  # a fixture

RECIPE = {"preset": "grpo", "rank": 4, "alpha": 8.0, "learning_rate": 3e-2, "epochs": 4.0}
PROMPTS = ("one", "two")
SAMPLES = 32
TURNS = 3


@pytest.fixture
def database(tmp_path: Path, engine: WarmEngine) -> Iterator[Database]:
    opened = build_ledger(tmp_path / "clorad.db")
    agents.declare(opened, agents.Agent(name="billing", base_hash=engine.base_hash, recipe=RECIPE))
    yield opened
    opened.close()


@pytest.fixture
def learner(database: Database, engine: WarmEngine, tmp_path: Path) -> Learner:
    overdue = replace(OPTIONS.freshness, age_s_max=1e-9)
    return Learner(
        database=database,
        engine=engine,
        store=tmp_path / "store",
        holder="learner-1",
        options=replace(
            OPTIONS, freshness=overdue, limits=replace(OPTIONS.limits, new_max=len(PROMPTS) * SAMPLES)
        ),
        failpoint=nothing,
    )


class Choices:
    """Answers of one token, sampled from the newest version; half of the tokens are rewarded."""

    def __init__(self, learner: Learner, seed: int, *, shuffled: bool = False) -> None:
        self._learner, self._shuffled = learner, shuffled
        self._chance, self._sampler = random.Random(seed), torch.Generator().manual_seed(seed)
        head_VD = tiny_base.build_model().get_output_embeddings().weight.detach()
        score_V = head_VD @ torch.randn(head_VD.shape[1], generator=self._sampler)
        self._rewarded = frozenset((score_V > score_V.median()).nonzero()[:, 0].tolist())
        self._taken = 0

    def probabilities(self, version: Version | None) -> dict[str, torch.Tensor]:
        """Of every token as the answer to each prompt."""
        model = tiny_base.build_model()
        if version is not None:
            adapter = read_adapter(self._learner.store / version.path)
            model = peft_reference.build_peft_model(model, adapter)
        return {
            prompt: peft_reference.next_logprobs(
                model, tuple(TOKENS.text_ids(TOKENS.render([{"role": "user", "content": prompt}])))
            ).exp()
            for prompt in PROMPTS
        }

    def reward(self, version: Version | None) -> float:
        """The expected reward over all prompts."""
        rewarded = torch.tensor(sorted(self._rewarded))
        return statistics.fmean(float(row[rewarded].sum()) for row in self.probabilities(version).values())

    def sample(self, version: Version | None) -> None:
        """Store an answer and its outcome for each sample of each prompt."""
        captures: list[Interaction] = []
        answers: list[int] = []
        for prompt, row in self.probabilities(version).items():
            for token in torch.multinomial(row, SAMPLES, replacement=True, generator=self._sampler).tolist():
                name = f"i{self._taken + len(captures)}"
                captures.append(
                    build_interaction(
                        name,
                        version=version_name(0, "") if version is None else version.name,
                        messages=({"role": "user", "content": prompt},),
                        completion=f"token {token}",
                        token_ids=(token,),
                        logprobs=(float(row[token].log()),),
                        sampling={"temperature": 1.0},
                        prompt_group=f"group of {prompt}",
                    )
                )
                answers.append(token)
        values = [float(token in self._rewarded) for token in answers]
        if self._shuffled:
            self._chance.shuffle(values)
        database = self._learner.database
        keep(database, *captures, partition=INTERACTIONS)
        keep(database, *map(_outcome, captures, values))
        self._taken += len(captures)

    def learn(self, turns: int) -> list[Version]:
        """Sample, learn and promote, again and again."""
        versions: list[Version] = []
        for _ in range(turns):
            self.sample(versions[-1] if versions else None)
            assert start_pass(self._learner, threading.Event())
            with self._learner.database.read() as connection:
                versions = versions_of(connection, "billing")
            promote(self._learner.database, versions[-1])
        return versions


def _outcome(capture: Interaction, value: float) -> Event:
    data: Mapping[str, object] = {"value": value, "scope": "final"}
    return build_event(
        f"outcome of {capture.id}",
        kind=Kind.OUTCOME,
        data=data,
        interaction=capture.id,
        prompt_group=capture.prompt_group,
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_agent_that_gets_outcomes_alone_learns_what_is_rewarded(learner: Learner, seed: int) -> None:
    choices = Choices(learner, seed)
    before = choices.reward(None)
    versions = choices.learn(TURNS)
    after = choices.reward(versions[-1])
    assert before < 0.65, "half of the answers, by chance"
    assert after > max(0.7, before + 0.12)
    for version in versions:
        metrics = read_manifest(learner.store / version.path).metrics
        assert 1 <= metrics.steps <= 4
        assert metrics.anchors == metrics.replay == 0
        assert metrics.clipped_share is not None
        assert metrics.gap_nats == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("seed", [1, 2])
def test_outcomes_that_belong_to_other_answers_improve_nothing(learner: Learner, seed: int) -> None:
    """The control: the same rewards, shuffled among the answers of a turn."""
    choices = Choices(learner, seed, shuffled=True)
    before = choices.reward(None)
    assert choices.reward(choices.learn(TURNS)[-1]) < before + 0.06


def test_a_pass_of_outcomes_gives_the_same_adapter_again(learner: Learner) -> None:
    choices = Choices(learner, 1)
    choices.learn(2)
    with learner.database.read() as connection:
        recorded = [passes.read_pass(connection, number) for number in (1, 2)]
    for trained in recorded:
        assert trained is not None
        [again] = replay(learner.database, learner.engine, learner.store, trained)
        assert again.recorded is not None
        assert again.same


@pytest.mark.parametrize(("staleness_max", "teaches"), [(0, False), (1, True)])
def test_samples_of_an_older_version_teach_as_far_as_the_recipe_allows(
    learner: Learner, database: Database, staleness_max: int, teaches: bool
) -> None:
    recipe = {**RECIPE, "staleness_max": staleness_max}
    base_hash = learner.engine.base_hash
    agents.declare(database, agents.Agent(name="billing", base_hash=base_hash, recipe=recipe))
    choices = Choices(learner, 1)
    choices.learn(1)
    choices.sample(None)  # by the base, while the champion is v1
    assert start_pass(learner, threading.Event()) is teaches
    with database.read() as connection:
        reasons = {
            row.status_reason for row in connection.execute(select(events).where(events.c.status == "barren"))
        }
        assert (turns_between(connection, "billing", 1)["v0"], len(versions_of(connection, "billing"))) == (
            1,
            2 if teaches else 1,
        )
    assert ("sampled 1 turns away from the champion, at most 0 teach" in reasons) is not teaches


def taught_to(database: Database, pass_id: int) -> list[str]:
    """The interactions that the outcomes of a pass are about, by number."""
    with database.read() as connection:
        recorded = passes.read_pass(connection, pass_id)
        assert recorded is not None
        seqs = [event.seq for event in recorded.turns[0].plan.events]
        return [str(kept.event.interaction) for kept in events_by_seq(connection, seqs).values()]


def test_a_busy_agent_learns_from_its_newest_samples(learner: Learner, database: Database) -> None:
    choices = Choices(learner, 1)
    size = len(PROMPTS) * SAMPLES  # as many as a turn may have
    for _ in range(3):
        choices.sample(None)
    assert start_pass(learner, threading.Event())
    taught = taught_to(database, 1)
    assert taught
    assert {int(id[1:]) for id in taught} <= set(range(2 * size, 3 * size))


def test_what_people_show_is_taught_before_samples_and_in_its_order(database: Database) -> None:
    shown = [build_event(f"c{number}") for number in range(3)]
    keep(database, build_outcome("o0", 1.0), shown[0], build_outcome("o1", 1.0), *shown[1:])
    keep(database, build_outcome("o2", 1.0))
    with database.read() as connection:
        chosen = [
            [kept.event.id for kept in untaught(connection, "billing", limit=limit, newest_samples=True)]
            for limit in (2, 5)
        ]
        oldest = [kept.event.id for kept in untaught(connection, "billing", limit=2)]
    assert chosen == [["c0", "c1"], ["c0", "o1", "c1", "c2", "o2"]]
    assert oldest == ["o0", "c0"]


def test_samples_that_are_too_old_are_counted_and_named_and_make_no_agent_due(
    learner: Learner, database: Database
) -> None:
    agents.declare(
        database,
        agents.Agent(
            name="billing",
            base_hash=learner.engine.base_hash,
            recipe={**RECIPE, "staleness_max": 0},
            gate=GateMode.OUTCOMES,
        ),
    )
    choices = Choices(learner, 1)
    [first] = choices.learn(1)
    size = len(PROMPTS) * SAMPLES
    in_time = replace(learner.options.freshness, events_min=size + 1, age_s_max=3600.0)
    learner = replace(learner, options=replace(learner.options, freshness=in_time))
    counted = metric_values("clorad.learner.samples.stale")
    for version in (None, None, None, first):  # three times as many by the base as a turn may have
        choices.sample(version)
    assert not start_pass(learner, threading.Event()), "what is fresh is one too few"
    assert metric_increases(counted, "clorad.learner.samples.stale") == {(): 3 * size}
    with database.read() as connection:
        stale = {
            row.status_reason for row in connection.execute(select(events).where(events.c.status == "barren"))
        }
        [backlog] = backlogs(connection)
    assert "sampled 1 turns away from the champion, at most 0 teach" in stale
    assert backlog.untaught == size
    choices.sample(first)
    learner.pacing.stamp = None
    assert start_pass(learner, threading.Event())
    assert {int(id[1:]) for id in taught_to(database, 2)} <= set(range(4 * size, 6 * size))
