"""Evaluates agents on held-out prompts, asked through the gateway without being captured.

Three kinds of prompts for each agent: a rule *fires* on them (is the rule followed?), they are *near* misses
(is the rule applied where it must not be?), or they are *free* of rules (is the rest as good as before?).
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
class Evaluation:
    """One agent's questions. All of its rules count as announced."""

    agent: str
    fires: tuple[Task, ...]
    near: tuple[Task, ...]
    free: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """One agent's results, as shares of the questions of each kind."""

    n: int  # the smallest number of questions of one kind
    followed: float  # a rule fires: answered as wanted
    leaked: float  # near misses: answered by the rule, which does not hold there
    kept: float  # free of rules: answered as wanted
    requests: int
    failed: int


def build_evaluation(
    world: World, agent: str, *, n: int, wave: int | None = None, seed: int = 4242
) -> Evaluation:
    """Held-out prompts, at least `n` of each kind, about the rules up to `wave` (None: about all rules)."""
    source = SlotValues(random.Random(f"{seed} {agent}"), read_words(), held_out=True)
    rules = world.announced(agent, wave or world.waves(agent))
    per_rule = -(-n // len(rules))

    def of_each(make: Callable[..., Task]) -> tuple[Task, ...]:
        return tuple(make(rule, source, rules) for rule in rules for _ in range(per_rule))

    return Evaluation(
        agent=agent,
        fires=of_each(world.fires),
        near=of_each(world.near),
        free=tuple(world.rule_free(agent, source) for _ in range(n)),
    )


Answers = Callable[[Sequence[Task]], Sequence[str | None]]
"""Answers many tasks; None stands for a request that failed."""


def evaluate(evaluations: Sequence[Evaluation], answers: Answers) -> dict[str, EvaluationResult]:
    """Ask every question once. Returns the results by agent."""
    replies = iter(
        answers(
            [
                task
                for questions in evaluations
                for task in (*questions.fires, *questions.near, *questions.free)
            ]
        )
    )
    results = {}
    for questions in evaluations:
        fires = [(task, next(replies)) for task in questions.fires]
        near = [(task, next(replies)) for task in questions.near]
        free = [(task, next(replies)) for task in questions.free]
        results[questions.agent] = EvaluationResult(
            n=min(len(fires), len(near), len(free)),
            followed=_share([answer == task.wanted for task, answer in fires]),
            leaked=_share([answer == task.leak for task, answer in near]),
            kept=_share([answer == task.wanted for task, answer in free]),
            requests=len(fires) + len(near) + len(free),
            failed=sum(answer is None for _, answer in (*fires, *near, *free)),
        )
    return results


def through_gateway(gateway: GatewayClient) -> Answers:
    """Asks the gateway without capture. A request that fails is not tried again; its answer is None."""
    import openai

    def ask(task: Task) -> str | None:
        try:
            return gateway.ask(task.agent, task.messages, tools=task.tools, captured=False).text
        except openai.OpenAIError:
            return None

    def answers(tasks: Sequence[Task]) -> Sequence[str | None]:
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            return list(pool.map(ask, tasks))

    return answers


def _share(right: Sequence[bool]) -> float:
    return round(sum(right) / len(right), 4)
