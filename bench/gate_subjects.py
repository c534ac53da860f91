"""What `bench.gate` judges candidates of: agents with a champion, a gate's questions and an exam.

The exam shares no prompt with the gate. On the example base it has other slot values; in the prose world it
has other words too.
"""

import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bench.gate_candidates import ALONE, CHAMPION, SHUFFLED, TRAINED, alone, shuffled
from bench.prose_exam import wrong_replies
from bench.prose_feedback import REPLY_TOKENS_MAX, FeedbackPlan, ProseFeedback
from bench.prose_model import ProseModel
from bench.real_base import completions, samples
from engine.adapter_files import CONFIG
from engine.lesson import Learned, Lesson
from engine.recipe import Recipe
from engine.warm_engine import WarmEngine
from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.local_agent import LocalAgent
from examples.house_rules.rehearsal import BASE
from examples.house_rules.rehearsed_gate import GateQuestions
from examples.house_rules.simulated_feedback import Method, SimulatedFeedback
from examples.house_rules.world import Rule, Task, World
from examples.real_base.make import REAL_BASE
from examples.real_base.prose_world import ProsePrompt, read_prose_world
from rewards.replies import reply_text
from serving.fleet.questions import Question
from serving.fleet.replica import Completion
from serving.scoring.forms import holds_json

_SEED = 1
_GATE_CORRECTIONS = 16
_PROSE_EXAM = 24  # questions of each kind
_PROSE_CORRECTIONS, _PROSE_BESIDE = 64, 320  # of role train, all rules together; prompts about other things

Exam = Mapping[str, float]
"""Share of an exam's prompts answered as people want: `new` rules, `earlier` ones, `near` misses, `other`."""


class GateSubject(Protocol):
    """One agent. It answers as the champion until it is told to use another adapter."""

    asked: GateQuestions
    adapters: dict[str, Path]  # the trained ones, by name

    def use(self, adapter: Path) -> None:
        """Answer with this adapter from now on."""

    def completions(self) -> list[Completion]:
        """Greedy answers to all of the gate's questions."""

    def champion_samples(self, questions: Sequence[Question]) -> Sequence[Sequence[str]]:
        """What the champion says to each question when it is sampled several times."""

    def exam(self) -> Exam:
        """What the agent is worth on prompts that the gate does not ask."""


class RuleSubject:
    """An agent of the example world, on the example base: short replies. Its people approve what is right."""

    def __init__(self, world: World, agent: str, *, wave: int, folder: Path, questions: int) -> None:
        engine = WarmEngine.load(BASE, slots=1, rank=16, threads=1, token_budget=2048)
        self._agent = LocalAgent(engine, BASE, folder)
        self.adapters: dict[str, Path] = {}
        method = Method(gate_corrections=_GATE_CORRECTIONS)
        feedback = SimulatedFeedback(world, agent, self._agent, seed=_SEED, method=method)
        for number in range(1, wave):
            given = feedback.give(number)
            assert given is not None, "several people corrected alike"
            self.adapters[CHAMPION] = _trained(engine, given[0], folder / f"{CHAMPION}-{number}")
            self.use(self.adapters[CHAMPION])
        given = feedback.give(wave)
        assert given is not None, "several people corrected alike"
        taught, self.asked = given
        lessons = {TRAINED: taught, SHUFFLED: shuffled(taught), ALONE: alone(taught)}
        self.adapters |= {name: _trained(engine, lesson, folder / name) for name, lesson in lessons.items()}
        self._exam = _rule_exam(world, agent, wave=wave, questions=questions)

    def use(self, adapter: Path) -> None:
        """As `GateSubject`."""
        self._agent.use(adapter)

    def completions(self) -> list[Completion]:
        """As `GateSubject`."""
        prompts = [(question.messages, question.request.get("tools", ())) for question in self.asked.all]
        replies = self._agent.replies(prompts)
        return [Completion(text=reply_text(reply), finish_reason="stop") for reply in replies]

    def champion_samples(self, questions: Sequence[Question]) -> Sequence[Sequence[str]]:
        """As `GateSubject`. The gate never asks: people approved every reply of the suite."""
        assert not questions
        return []

    def exam(self) -> Exam:
        """As `GateSubject`."""
        tasks = [task for group in self._exam.values() for task in group]
        answers = iter(self._agent.answers(tasks))
        return {
            kind: _share([next(answers) == task.wanted for task in group])
            for kind, group in self._exam.items()
        }


class ProseSubject:
    """An agent of the prose world in its first wave, on the pretrained base. Nobody approves anything."""

    def __init__(self, agent: str, *, folder: Path) -> None:
        engine = WarmEngine.load(REAL_BASE, slots=1, rank=16, threads=1, token_budget=1024)
        world = read_prose_world()
        self._model = ProseModel(REAL_BASE, cache=folder / "replies.json")
        rules = world.of_wave(agent, 1)
        plan = FeedbackPlan(corrections=_PROSE_CORRECTIONS // len(rules), beside=_PROSE_BESIDE)
        feedback = ProseFeedback(world=world, agent=agent, model=self._model, plan=plan, seed=_SEED)
        feedback.ask(1)
        self.asked = feedback.questions()
        taught = feedback.lesson(1, parent=None, recipe=Recipe())
        lessons = {TRAINED: taught, ALONE: alone(taught)}
        self.adapters = {name: _trained(engine, lesson, folder / name) for name, lesson in lessons.items()}
        self._marks = world.marks(agent)
        self._new = [
            prompt
            for rule in rules
            for prompt in world.about(rule, _PROSE_EXAM // len(rules), seed="gate exam", held_out=True)
        ]
        self._near, self._other = (
            world.beside(agent, kind, _PROSE_EXAM, seed="gate exam", held_out=True)
            for kind in ("near", "chat")
        )

    def use(self, adapter: Path) -> None:
        """As `GateSubject`."""
        self._model.use(adapter)

    def completions(self) -> list[Completion]:
        """As `GateSubject`."""
        return completions(self._model, self.asked.all)

    def champion_samples(self, questions: Sequence[Question]) -> Sequence[Sequence[str]]:
        """As `GateSubject`. The champion is the bare base."""
        return samples(self._model, None, questions)

    def exam(self) -> Exam:
        """As `GateSubject`. Beside the rules an answer counts unless it is a rule's, JSON or empty."""
        beside = [*self._near, *self._other]
        replies = self._model.replies(_messages(beside), tokens_max=REPLY_TOKENS_MAX)
        stayed = [
            bool(text) and not text.startswith(self._marks) and not holds_json(text)
            for text in (reply.text.strip() for reply in replies)
        ]
        wrong = wrong_replies(self._model, self._new)
        return {
            "new": _share([prompt.text not in wrong for prompt in self._new]),
            "near": _share(stayed[: len(self._near)]),
            "other": _share(stayed[len(self._near) :]),
        }


def _trained(engine: WarmEngine, lesson: Lesson, folder: Path) -> Path:
    """The adapter of a lesson; it is trained unless it is there from a run before."""
    if not (folder / CONFIG).is_file():
        (learned,) = engine.learn([lesson])
        assert isinstance(learned, Learned), learned.reason
        engine.save(learned, draft := folder.with_name(f"{folder.name}.draft"))
        draft.rename(folder)
    return folder


def _rule_exam(world: World, agent: str, *, wave: int, questions: int) -> dict[str, list[Task]]:
    """So many held-out prompts of each kind."""
    source = SlotValues(random.Random(f"gate exam {agent}"), read_words(), held_out=True)
    announced = world.announced(agent, wave)
    new = world.of_wave(agent, wave)
    earlier = world.announced(agent, wave - 1)

    exam = {
        "new": [world.fires(rule, source, announced) for rule in _in_turn(new, questions)],
        "near": [world.near(rule, source, announced) for rule in _in_turn(announced, questions)],
        "other": [world.rule_free(agent, source) for _ in range(questions)],
    }
    if earlier:
        exam["earlier"] = [world.fires(rule, source, announced) for rule in _in_turn(earlier, questions)]
    return exam


def _in_turn(rules: Sequence[Rule], count: int) -> list[Rule]:
    return [rules[place % len(rules)] for place in range(count)]


def _messages(prompts: Sequence[ProsePrompt]) -> list[tuple[Mapping[str, str], ...]]:
    return [prompt.messages for prompt in prompts]


def _share(right: Sequence[bool]) -> float:
    return round(statistics.fmean(right), 4)
