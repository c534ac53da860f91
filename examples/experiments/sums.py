"""The environment *sums*: an agent solves word problems by calling a calculator, over one or more turns.

The example base is right in 30 to 40 % of its samples, on purpose. It calls the calculator in the form
that it knows for sums, `calc(37+58)`, and reads one problem at a time, without the turns before it.
"""

import argparse
import asyncio
import math
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from examples.base_model.skills import SkillPrompt, Skills, read_skills
from examples.base_model.slots import SlotValues, fill, read_words
from examples.experiments.agent_client import AgentAnswer, AgentClient
from examples.experiments.calculator import calculate, called_expression
from examples.experiments.orders import RolloutOrder
from examples.experiments.playing import PlayedConversation, play_orders

SKILL = "math"
FAMILIES = ("sum", "difference", "product", "share", "times_sum", "product_plus", "before", "mean")
ANSWER_TOKENS_MAX = 32
TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "calc",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SumsOptions:
    """What an experiment may choose."""

    family: str | None = None  # of the problems; None: any
    turns: int = 1  # problems in one conversation, one after the other
    tool_s: float = 0.0  # that the calculator takes
    offers_tool: bool = True  # whether requests name the calculator among their tools

    def __post_init__(self) -> None:
        if self.family not in (None, *FAMILIES):
            raise ValueError(f"family: one of {', '.join(FAMILIES)}")
        if self.turns < 1 or not 0.0 <= self.tool_s <= 60.0:
            raise ValueError("turns: at least 1; tool_s: 0 to 60 seconds")


class Sums:
    """Draws tasks and plays conversations about them."""

    def __init__(self) -> None:
        self._skills: Skills = read_skills()

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises `ValueError` or `TypeError` where an experiment cannot choose that."""
        SumsOptions(**options)

    def tasks(self, order: RolloutOrder) -> list[tuple[SkillPrompt, ...]]:
        """The problems of each task of the order."""
        options = SumsOptions(**order.options)
        source = SlotValues(random.Random(f"sums {order.seed} {order.step}"), read_words(), held_out=False)
        return [
            tuple(self._skills.ask(source, SKILL, options.family) for _ in range(options.turns))
            for _ in range(order.groups)
        ]

    async def play(
        self, client: AgentClient, order: RolloutOrder, task: tuple[SkillPrompt, ...], conversation: str
    ) -> PlayedConversation:
        """Hold one conversation. Its reward is the share of its problems that were solved."""
        options, rewards, answer = SumsOptions(**order.options), [], None
        for turn, problem in enumerate(task):
            messages = [
                {"role": "system", "content": problem.system},
                {"role": "user", "content": problem.prompt},
            ]
            answer = await client.ask(
                order.agent,
                messages,
                tools=[TOOL] if options.offers_tool else [],
                conversation=conversation,
                turn=turn,
                tokens_max=ANSWER_TOKENS_MAX,
            )
            expression = expression_of(answer)
            if expression is not None:
                await asyncio.sleep(options.tool_s)
            rewards.append(float(expression is not None and self._is_right(problem, expression)))
        assert answer is not None
        return PlayedConversation(
            value=statistics.fmean(rewards),
            interaction=answer.interaction,
            turns=len(task),
            version=answer.version,
        )

    def _is_right(self, problem: SkillPrompt, expression: str) -> bool:
        value, wanted = calculate(expression), self._wanted(problem)
        return value is not None and math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1e-9)

    def _wanted(self, problem: SkillPrompt) -> float:
        right = fill(self._skills.agents[SKILL].intents[problem.intent].reply, problem.values)
        expression = called_expression(right)
        wanted = None if expression is None else calculate(expression)
        assert wanted is not None, "skills.toml has a call of the calculator"
        return wanted


def expression_of(answer: AgentAnswer) -> str | None:
    """What the agent called the calculator with, in a tool call or a text; None: it did not."""
    for call in answer.calls:
        if call.name == "calc":
            expression = (call.arguments or {}).get("expression")
            return None if expression is None else str(expression)
    return called_expression(answer.text)


def main() -> None:
    """`clorad experiment run` starts it and writes orders to its standard input."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    play_orders(Sums())


if __name__ == "__main__":
    main()
