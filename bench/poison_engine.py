"""A learner for `bench.poison` that trains the example base with clorad's engine, and answers with it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.learning.preparing import prepare_turn
from engine.warm_engine import WarmEngine
from examples.house_rules.local_agent import LocalAgent
from examples.house_rules.rehearsal import BASE
from ledger.database import Database
from ledger.learning.turns import Turn
from rewards.replies import reply_text


class EngineLearner:
    """One agent in this process."""

    def __init__(self, engine: WarmEngine, folder: Path) -> None:
        self._folder = folder
        self._agent = LocalAgent(engine, BASE, folder)

    def learn(self, database: Database, turn: Turn) -> None:
        """Train the turn as the learner role would."""
        self._agent.learn(prepare_turn(database, self._folder, turn).lesson)

    def answers(self, prompts: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
        """The greedy replies."""
        return [reply_text(reply) for reply in self._agent.replies([(prompt, ()) for prompt in prompts])]


def engine_learner() -> Callable[[Path], EngineLearner]:
    """Makes learners that share one engine."""
    engine = WarmEngine.load(BASE, slots=1, rank=16, threads=1, token_budget=2048)
    return lambda folder: EngineLearner(engine, folder)
