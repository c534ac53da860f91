"""The environment *corrections*: people correct what breaks their house rules, and approve the rest.

The world is that of the demo (examples/house_rules). Half of the prompts are such that a rule fires on them,
half are near misses and ordinary work. What is measured are held-out prompts, the same ones in each step:
those on which the rules of a wave fire (`wave-1`, `wave-2`) and near misses (`near`).
"""

import argparse
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.base_model.slots import SlotValues, read_words
from examples.experiments.agent_client import AgentClient
from examples.experiments.orders import RolloutOrder
from examples.experiments.playing import PlayedConversation, play_orders
from examples.house_rules.world import Task
from examples.house_rules.world_file import read_world

WORLD = Path(__file__).resolve().parents[1] / "house_rules" / "worlds" / "shop.toml"
ANSWER_TOKENS_MAX = 56
NEAR_SHARE = 0.5  # of the prompts that the newest rules are not about
AGENTS = ("support", "coder", "sql")  # those that answer in one turn, without tools


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionsOptions:
    """What an experiment may choose."""

    agent: str = "coder"  # of the world, whose rules people want followed
    wave_steps: int = 0  # steps until a second wave of rules is announced; 0: never
    corrected_share: float = 1.0  # of the wrong answers
    approves: bool = True  # whether people approve right answers

    def __post_init__(self) -> None:
        if self.agent not in AGENTS:
            raise ValueError(f"agent: one of {', '.join(AGENTS)}")
        if type(self.wave_steps) is not int or self.wave_steps < 0:
            raise ValueError("wave_steps: a whole number, 0 or more")
        if not 0.0 < self.corrected_share <= 1.0:
            raise ValueError("corrected_share: more than 0, at most 1")

    def wave(self, step: int, waves: int) -> int:
        """The newest wave that is announced in a step."""
        return min(waves, 1 + (step - 1) // self.wave_steps) if self.wave_steps else 1


class Corrections:
    """Draws prompts, and says what people say about the answers."""

    def __init__(self) -> None:
        self._world = read_world(WORLD)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises `ValueError` or `TypeError` where an experiment cannot choose that."""
        CorrectionsOptions(**options)

    def tasks(self, order: RolloutOrder) -> list[Task]:
        """Prompts about the newest wave's rules, and others in between."""
        options = CorrectionsOptions(**order.options)
        wave = self._wave(order, options)
        chance = random.Random(f"corrections {order.seed} {order.step}")
        source = SlotValues(chance, read_words(), held_out=False)
        rules = self._world.of_wave(options.agent, wave)
        announced = self._world.announced(options.agent, wave)
        earlier = self._world.announced(options.agent, wave - 1)
        tasks = []
        for place in range(order.groups):
            if place % 2 == 0:
                tasks.append(self._world.corrected(chance.choice(rules), source, announced))
            elif chance.random() < NEAR_SHARE:
                tasks.append(self._world.near(chance.choice(rules), source, announced))
            else:
                tasks.append(self._world.traffic(options.agent, source, earlier))
        return tasks

    def measured(self, order: RolloutOrder) -> list[tuple[str, Task]]:
        """Held-out prompts under all rules announced, of each measure as many."""
        options = CorrectionsOptions(**order.options)
        wave = self._wave(order, options)
        announced = self._world.announced(options.agent, wave)
        names = [*(f"wave-{number}" for number in range(1, wave + 1)), "near"]
        sources = {
            name: SlotValues(random.Random(f"{options.agent} {name}"), read_words(), held_out=True)
            for name in names
        }
        measured = []
        for place in range(order.measured):
            name = names[place % len(names)]
            of_wave = announced if name == "near" else self._world.of_wave(options.agent, int(name[5:]))
            make = self._world.near if name == "near" else self._world.fires
            rule = of_wave[place // len(names) % len(of_wave)]
            measured.append((name, make(rule, sources[name], announced)))
        return measured

    async def play(
        self, client: AgentClient, order: RolloutOrder, task: Task, conversation: str
    ) -> PlayedConversation:
        """Ask once. A person compares the answer with what is wanted."""
        options = CorrectionsOptions(**order.options)
        answer = await client.ask(
            order.agent,
            task.messages,
            tools=task.tools,
            conversation=conversation,
            turn=0,
            tokens_max=ANSWER_TOKENS_MAX,
            temperature=0.0,
        )
        is_right = answer.text == task.wanted
        feedback: list[tuple[str, Mapping[str, Any]]] = []
        if is_right and options.approves:
            feedback.append(("intervention", {"action": "approve", "interaction": answer.interaction}))
        elif not is_right and random.Random(conversation).random() < options.corrected_share:
            corrected = {"corrected": task.reply, "comment": task.comment}
            feedback.append(("correction", {"interaction": answer.interaction, **corrected}))
        return PlayedConversation(
            value=float(is_right),
            interaction=answer.interaction,
            turns=1,
            version=answer.version,
            feedback=feedback,
        )

    def _wave(self, order: RolloutOrder, options: CorrectionsOptions) -> int:
        return options.wave(order.step, self._world.waves(options.agent))


def main() -> None:
    """`clorad experiment run` starts it and writes orders to its standard input."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    play_orders(Corrections())


if __name__ == "__main__":
    main()
