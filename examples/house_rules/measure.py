"""The exam: held-out prompts, asked through the gateway as any user would, and not captured.

Three parts an agent: prompts on which a rule *fires* (is it followed?), *near* misses (does it leak?),
and *free* prompts, which no rule is about (is the rest as good as it was?).
"""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.world import Task, World

IN_FLIGHT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """One agent's questions; all of its rules count as announced."""

    agent: str
    fires: tuple[Task, ...]
    near: tuple[Task, ...]
    free: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamResult:
    """What share of an exam's parts came out how."""

    n: int  # of each part at least
    followed: float  # rules fire: answered as wanted
    leaked: float  # near misses: answered as the rule would, where it must not
    kept: float  # free prompts: answered as wanted
    requests: int
    failed: int


def set_exam(world: World, agent: str, *, n: int, wave: int | None = None, seed: int = 4242) -> Exam:
    """Fresh held-out prompts, at least `n` of each part, about the rules up to `wave` (all unless given)."""
    source = SlotValues(random.Random(f"{seed} {agent}"), read_words(), held_out=True)
    rules = world.announced(agent, wave or world.waves(agent))
    per_rule = -(-n // len(rules))

    def of_each(make: Callable[..., Task]) -> tuple[Task, ...]:
        return tuple(make(rule, source, rules) for rule in rules for _ in range(per_rule))

    return Exam(
        agent=agent,
        fires=of_each(world.fires),
        near=of_each(world.near),
        free=tuple(world.rule_free(agent, source) for _ in range(n)),
    )


Answers = Callable[[Sequence[Task]], Sequence[str | None]]
"""Answers many tasks; None stands for a request that failed."""


def take_exams(exams: Sequence[Exam], answers: Answers) -> dict[str, ExamResult]:
    """Marks by agent."""
    said = iter(answers([task for exam in exams for task in (*exam.fires, *exam.near, *exam.free)]))
    marks = {}
    for exam in exams:
        fires = [(task, next(said)) for task in exam.fires]
        near = [(task, next(said)) for task in exam.near]
        free = [(task, next(said)) for task in exam.free]
        marks[exam.agent] = ExamResult(
            n=min(len(fires), len(near), len(free)),
            followed=_share([answer == task.wanted for task, answer in fires]),
            leaked=_share([answer == task.leak for task, answer in near]),
            kept=_share([answer == task.wanted for task, answer in free]),
            requests=len(fires) + len(near) + len(free),
            failed=sum(answer is None for _, answer in (*fires, *near, *free)),
        )
    return marks


def through(gateway: GatewayClient) -> Answers:
    """Asks the gateway, uncaptured; a request that fails is an answer missing, never tried again."""
    import openai

    def ask(task: Task) -> str | None:
        try:
            return gateway.ask(task.agent, task.messages, captured=False).text
        except openai.OpenAIError:
            return None

    def answers(tasks: Sequence[Task]) -> Sequence[str | None]:
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            return list(pool.map(ask, tasks))

    return answers


def _share(right: Sequence[bool]) -> float:
    return round(sum(right) / len(right), 4)
