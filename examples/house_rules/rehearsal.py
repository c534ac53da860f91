"""A world played in one process, without Kafka, vLLM and clorad's roles: can this base learn these rules?

`python -m examples.house_rules.rehearsal --world FILE`. People teach as in the demo; labels, batches and
training are clorad's own. There is no gate: what it would have said is printed as marks.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.lesson import Learned, Lesson
from engine.recipe import recipe_from
from engine.warm_engine import WarmEngine
from examples.base_model.heldout import replies
from examples.base_model.slots import Source, read_words
from examples.house_rules.measure import Exam, Marks, set_exam, take_exams
from examples.house_rules.people.developer import FIRST, NEAR_SHARE
from examples.house_rules.people.roles import GATE, TRAIN, role_of
from examples.house_rules.recipe import RECIPE
from examples.house_rules.world import Task, World
from examples.house_rules.world_file import read_world
from ledger.events import Event, KeptEvent, Kind, Role, Status
from rewards.batch import choose
from rewards.credit import label

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
        prompts = [(task.messages[0]["content"], task.prompt) for task in tasks]
        return list(replies(self._model, self._tokenizer, prompts))

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


class Desk:
    """What one agent's people have said so far, as clorad would keep it."""

    def __init__(self, world: World, agent: str, pupil: Pupil, *, seed: int) -> None:
        self._world = world
        self._agent = agent
        self._pupil = pupil
        self._source = Source(random.Random(f"{seed} {agent}"), read_words(), held_out=False)
        self._kept: list[KeptEvent] = []
        self._seed = seed

    def teach(self, wave: int) -> Learned:
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
            return self._world.fires(chance.choice(rules), self._source, announced)

        self._hear(Kind.CORRECTION, broken, FIRST.corrections[TRAIN], (Role.TRAIN,))
        self._hear(
            Kind.APPROVE, calm, FIRST.approvals, tuple(Role)
        )  # after the corrections: see developer.py
        self._hear(Kind.CORRECTION, broken, FIRST.corrections[GATE], (Role.GATE,))
        new = [one for one in self._of(Kind.CORRECTION, Role.TRAIN) if one not in taught]
        return self._pupil.learn(self._lesson(new, taught, wave))

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
            replay_max=64,
            anchors_max=160,
        )
        episodes = tuple(
            episode
            for part, members in choice.parts.items()
            for episode in label(members, interactions={}, conversations={}, baselines={}, part=part).episodes
        )
        return Lesson(
            agent=self._agent,
            parent=self._pupil.version,
            recipe=recipe_from(RECIPE),
            seed=seed,
            episodes=episodes,
        )


def rehearse(
    world: World, agent: str, engine: WarmEngine, base: Path, *, seed: int, misses: int = 0
) -> list[Marks]:
    """All waves of one agent; prints and returns the marks after each, and shows a few misses."""
    with tempfile.TemporaryDirectory() as folder:
        pupil = Pupil(engine, base, Path(folder))
        desk = Desk(world, agent, pupil, seed=seed)
        marks = []
        for wave in range(world.waves(agent) + 1):
            learned = desk.teach(wave) if wave else None
            exam = set_exam(world, agent, n=100, wave=max(1, wave))
            marks.append(take_exams([exam], pupil.answers)[agent])
            for task, said in _misses(exam, pupil)[:misses]:
                print(f"  {task.prompt!r}: {said!r}")
            told = f", {pupil.steps_s:.0f} s, {learned.metrics}" if learned else ""
            print(f"{agent} seed {seed} wave {wave}: {_told(marks[-1])}{told}", flush=True)
        return marks


def _misses(exam: Exam, pupil: Pupil) -> list[tuple[Task, str | None]]:
    tasks = (*exam.fires, *exam.near, *exam.free)
    return [
        (task, said) for task, said in zip(tasks, pupil.answers(tasks), strict=True) if said != task.wanted
    ]


def _told(marks: Marks) -> str:
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
