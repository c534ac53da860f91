"""An agent in this process: the base model in torch, trained by clorad's engine, asked without vLLM."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.lesson import Learned, Lesson
from engine.warm_engine import WarmEngine
from examples.base_model.heldout import replies
from examples.house_rules.world import Task
from rewards.episode import Message


class LocalAgent:
    """A base model and the adapter that the agent has so far."""

    def __init__(self, engine: WarmEngine, base: Path, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._engine = engine
        self._base = AutoModelForCausalLM.from_pretrained(base, dtype="float32").eval()
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._folder = folder
        self._model: Any = self._base
        self.version: Path | None = None
        self.training_s = 0.0  # of the last lesson

    def answers(self, tasks: Sequence[Task]) -> list[str | None]:
        """Greedy replies to the tasks."""
        return list(self.replies([task.messages for task in tasks]))

    def replies(self, prompts: Sequence[Sequence[Message]]) -> list[str]:
        """Greedy replies to prompts of one system and one user message."""
        texts = [(str(system["content"]), str(user["content"])) for system, user in prompts]
        return list(replies(self._model, self._tokenizer, texts))

    def learn(self, lesson: Lesson) -> Learned:
        """Train the lesson and use its adapter from now on. Raises `ValueError` where nothing was learned."""
        from peft import PeftModel

        started = time.monotonic()
        (learned,) = self._engine.learn([lesson])
        self.training_s = time.monotonic() - started
        if not isinstance(learned, Learned):
            raise ValueError(f"nothing learned: {learned.reason}")
        version = self._folder / f"{lesson.agent}-{lesson.seed}"
        self._engine.save(learned, version)
        if self.version is not None:
            self._base = self._model.unload()
        self._model = PeftModel.from_pretrained(self._base, version).eval()
        self.version = version
        return learned
