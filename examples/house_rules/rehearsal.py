"""A world played in one process, without Kafka, vLLM and clorad's roles: can this base learn these rules?

`python -m examples.house_rules.rehearsal --world FILE`. People teach as in the demo; labels, batches,
training and the gate's judgement are clorad's own. A candidate that it would refuse goes on all the same.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.lesson import Learned, Lesson
from engine.recipe import Recipe, recipe_from
from engine.warm_engine import WarmEngine
from examples.base_model.heldout import replies
from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.measure import Exam, ExamResult, set_exam, take_exams
from examples.house_rules.people.developer import FIRST, NEAR_SHARE
from examples.house_rules.people.roles import GATE, TRAIN, role_of
from examples.house_rules.recipe import RECIPE
from examples.house_rules.world import Task, World
from examples.house_rules.world_file import read_world
from ledger.events import Event, KeptEvent, Kind, Role, Status
from rewards.batch import choose
from rewards.credit import label
from rewards.episode import Episode, Message
from rewards.suite import SuiteQuestion, suite
from serving.fleet.gate import GateEvidence, Judgement, Pair, Speech, judge
from serving.fleet.parity import Parity

SUITE_MAX = 48  # as in the demo
BASE = Path(__file__).resolve().parents[1] / "base_model" / "weights"


class Pupil:
    """One agent: a base model, and the adapter it has so far."""

    def __init__(self, engine: WarmEngine, base: Path, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._engine = engine
        self._base = AutoModelForCausalLM.from_pretrained(base, dtype="float32").eval()
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._folder = folder
        self._model: Any = self._base
        self.version: Path | None = None
        self.steps_s = 0.0

    def answers(self, tasks: Sequence[Task]) -> list[str | None]:
        """Greedy replies."""
        return list(self.say([task.messages for task in tasks]))

    def say(self, prompts: Sequence[Sequence[Message]]) -> list[str]:
        """Greedy replies to a system and a user message each."""
        asked = [(str(system["content"]), str(user["content"])) for system, user in prompts]
        return list(replies(self._model, self._tokenizer, asked))

    def learn(self, lesson: Lesson) -> Learned:
        """The adapter is one lesson further. Raises `ValueError` where it could not be taught."""
        from peft import PeftModel

        started = time.monotonic()
        (learned,) = self._engine.learn([lesson])
        self.steps_s = time.monotonic() - started
        if not isinstance(learned, Learned):
            raise ValueError(f"nothing learned: {learned.reason}")
        version = self._folder / f"{lesson.agent}-{lesson.seed}"
        self._engine.save(learned, version)
        if self.version is not None:
            self._base = self._model.unload()
        self._model = PeftModel.from_pretrained(self._base, version).eval()
        self.version = version
        return learned


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How an agent is taught: clorad's way, unless something of it is left out."""

    recipe: Recipe = field(default_factory=lambda: recipe_from(RECIPE))
    corrections: int = FIRST.corrections[TRAIN]  # a wave
    replay_max: int = 64
    anchors_max: int = 160
    spans: bool = True  # what a correction changed counts for more
    spoilt: float = 0.0  # share of corrections with the text that belongs to another prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedTurn:
    """What one turn made, and what the gate would have said of it."""

    learned: Learned
    judgement: Judgement


class Desk:
    """What one agent's people have said so far, as clorad would keep it."""

    def __init__(
        self, world: World, agent: str, pupil: Pupil, *, seed: int, method: Method | None = None
    ) -> None:
        self._world = world
        self._agent = agent
        self._pupil = pupil
        self._method = method or Method()
        self._source = SlotValues(random.Random(f"{seed} {agent}"), read_words(), held_out=False)
        self._spoils = SlotValues(random.Random(f"{seed} {agent} spoils"), read_words(), held_out=False)
        self._kept: list[KeptEvent] = []
        self._seed = seed

    def teach(self, wave: int) -> RehearsedTurn:
        """One wave: approvals, corrections, one turn."""
        rules = self._world.of_wave(self._agent, wave)
        announced = self._world.announced(self._agent, wave)
        earlier = self._world.announced(self._agent, wave - 1)
        chance = self._source.chance
        taught = self._of(Kind.CORRECTION, Role.TRAIN)

        def calm() -> Task:
            if chance.random() < NEAR_SHARE:
                return self._world.near(chance.choice(rules), self._source, announced)
            return self._world.traffic(self._agent, self._source, earlier)

        def broken() -> Task:
            task = self._world.fires(chance.choice(rules), self._source, announced)
            if self._spoils.chance.random() >= self._method.spoilt:
                return task
            other = self._world.fires(self._spoils.chance.choice(rules), self._spoils, announced)
            return replace(task, wanted=other.wanted)

        self._hear(Kind.CORRECTION, broken, self._method.corrections, (Role.TRAIN,))
        self._hear(
            Kind.APPROVE, calm, FIRST.approvals, tuple(Role)
        )  # after the corrections: see developer.py
        earlier_gate = self._of(Kind.CORRECTION, Role.GATE)
        self._hear(Kind.CORRECTION, broken, FIRST.corrections[GATE], (Role.GATE,))
        new = [one for one in self._of(Kind.CORRECTION, Role.TRAIN) if one not in taught]
        better = [one for one in self._of(Kind.CORRECTION, Role.GATE) if one not in earlier_gate]
        questions = [*map(_asked, better), *self._suite([*new, *better], earlier_gate)]
        before = self._scores(questions)
        learned = self._pupil.learn(self._lesson(new, taught, wave))
        pairs = [
            Pair(event=one.uid, before=was, after=now)
            for one, was, now in zip(questions, before, self._scores(questions), strict=True)
        ]
        return RehearsedTurn(learned=learned, judgement=_judged(pairs[: len(better)], pairs[len(better) :]))

    def _suite(self, new: Sequence[KeptEvent], earlier_gate: Sequence[KeptEvent]) -> Sequence[SuiteQuestion]:
        """What the agent answers well already and nothing new contradicts."""
        return suite(
            approvals=self._of(Kind.APPROVE, Role.GATE),
            taught_gate=earlier_gate,
            new=new,
            corrections=[one for one in self._kept if one.event.kind is Kind.CORRECTION],
            interactions={},
            seed=self._seed,
            questions_max=SUITE_MAX,
        )

    def _scores(self, questions: Sequence[SuiteQuestion]) -> list[float]:
        """1 where the pupil answers as the people wanted, else 0."""
        said = self._pupil.say([one.messages for one in questions])
        return [float(answer == one.expected) for answer, one in zip(said, questions, strict=True)]

    def _hear(self, kind: Kind, make: Callable[[], Task], count: int, roles: Sequence[Role]) -> None:
        """`count` more events: approvals of right answers, corrections of wrong ones."""
        missing = count
        for _ in range(5):
            tasks: list[Task] = []
            while len(tasks) < missing:
                if role_of((task := make()).messages) in roles:
                    tasks.append(task)
            for task, said in zip(tasks, self._pupil.answers(tasks), strict=True):
                if (said == task.wanted) == (kind is Kind.APPROVE):
                    self._kept.append(self._event(kind, task, said or ""))
                    missing -= 1
            if not missing:
                return

    def _event(self, kind: Kind, task: Task, said: str) -> KeptEvent:
        seq = len(self._kept) + 1
        data = {"messages": list(task.messages), "said": said}
        if kind is Kind.CORRECTION:
            data = {"messages": list(task.messages), "rejected": said, "corrected": task.wanted}
        event = Event(
            source="rehearsal",
            id=str(seq),
            digest="",
            kind=kind,
            agent=task.agent,
            author="developer",
            role=Role(role_of(task.messages)),
            prompt_group=task.prompt,
            data=data,
        )
        return KeptEvent(seq=seq, event=event, status=Status.OPEN, received_s=float(seq))

    def _of(self, kind: Kind, role: Role) -> list[KeptEvent]:
        return [one for one in self._kept if one.event.kind is kind and one.event.role is role]

    def _lesson(self, new: Sequence[KeptEvent], taught: Sequence[KeptEvent], wave: int) -> Lesson:
        seed = self._seed * 100 + wave
        choice = choose(
            new=new,
            taught=taught,
            approvals=self._of(Kind.APPROVE, Role.TRAIN),
            gate=self._of(Kind.CORRECTION, Role.GATE),
            dev=self._of(Kind.CORRECTION, Role.DEV),
            interactions={},
            seed=seed,
            replay_max=self._method.replay_max,
            anchors_max=self._method.anchors_max,
        )
        episodes = tuple(
            episode
            for part, members in choice.parts.items()
            for episode in label(members, interactions={}, conversations={}, baselines={}, part=part).episodes
        )
        return Lesson(
            agent=self._agent,
            parent=self._pupil.version,
            recipe=self._method.recipe,
            seed=seed,
            episodes=episodes if self._method.spans else tuple(map(_plain, episodes)),
        )


def _asked(kept: KeptEvent) -> SuiteQuestion:
    """A correction of the gate's role, as a question."""
    event = kept.event
    messages, wanted = tuple(event.data["messages"]), str(event.data["corrected"])
    return SuiteQuestion(seq=kept.seq, uid=event.uid, messages=messages, expected=wanted)


def _plain(episode: Episode) -> Episode:
    """Every character alike."""
    rejected = episode.rejected and replace(episode.rejected, spans=())
    return replace(episode, reply=replace(episode.reply, spans=()), rejected=rejected)


def _judged(better: Sequence[Pair], suite: Sequence[Pair]) -> Judgement:
    alike = Parity(probes=1, tokens=1, distance_nats=1.0, difference_nats=0.0, base_difference_nats=0.0)
    return judge(
        GateEvidence(
            attempt=1,
            better=tuple(better),
            suite=tuple(suite),
            before=Speech(),
            after=Speech(),
            parity=alike,
        )
    )


def rehearse(
    world: World, agent: str, engine: WarmEngine, base: Path, *, seed: int, misses: int = 0
) -> list[ExamResult]:
    """All waves of one agent; prints and returns the marks after each, and shows a few misses."""
    with tempfile.TemporaryDirectory() as folder:
        pupil = Pupil(engine, base, Path(folder))
        desk = Desk(world, agent, pupil, seed=seed)
        marks = []
        for wave in range(world.waves(agent) + 1):
            turn = desk.teach(wave) if wave else None
            exam = set_exam(world, agent, n=100, wave=max(1, wave))
            marks.append(take_exams([exam], pupil.answers)[agent])
            for task, said in _misses(exam, pupil)[:misses]:
                print(f"  {task.prompt!r}: {said!r}")
            gate = (
                f", gate: {turn.judgement.verdict.value} {'; '.join(turn.judgement.reasons)}" if turn else ""
            )
            told = f"{gate}, {pupil.steps_s:.0f} s, {turn.learned.metrics}" if turn else ""
            print(f"{agent} seed {seed} wave {wave}: {_told(marks[-1])}{told}", flush=True)
        return marks


def _misses(exam: Exam, pupil: Pupil) -> list[tuple[Task, str | None]]:
    tasks = (*exam.fires, *exam.near, *exam.free)
    return [
        (task, said) for task, said in zip(tasks, pupil.answers(tasks), strict=True) if said != task.wanted
    ]


def _told(marks: ExamResult) -> str:
    return f"follows {marks.followed:.3f}, fires on near misses {marks.leaked:.3f}, keeps {marks.kept:.3f}"


def main() -> None:
    """Rehearse every agent of a world with every seed."""
    parser = argparse.ArgumentParser(prog="python -m examples.house_rules.rehearsal", description=__doc__)
    parser.add_argument("--world", type=Path, default=Path(__file__).with_name("worlds") / "shop.toml")
    parser.add_argument("--base", type=Path, default=BASE)
    parser.add_argument("--agents", default="")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--misses", type=int, default=0, help="wrong answers to show after each wave")
    given = parser.parse_args()
    world = read_world(given.world)
    engine = WarmEngine.load(given.base, slots=1, rank=16, threads=1, token_budget=2048)
    for seed in map(int, given.seeds.split(",")):
        for agent in given.agents.split(",") if given.agents else world.agents:
            rehearse(world, agent, engine, given.base, seed=seed, misses=given.misses)


if __name__ == "__main__":
    main()
