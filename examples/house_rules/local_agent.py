"""An agent in this process: the base model in torch, trained by clorad's engine, asked without vLLM."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.lesson import Learned, Lesson
from engine.warm_engine import WarmEngine
from examples.base_model.conversations import ActingSkill, Conversation
from examples.base_model.heldout import continuations
from examples.base_model.heldout_conversations import TOKENS_MAX, play, read_turn
from examples.house_rules.world import Task
from rewards.episode import Message
from rewards.replies import Reply, reply_text


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
        """What is compared of greedy replies to the tasks."""
        return [reply_text(reply) for reply in self.said(tasks)]

    def said(self, tasks: Sequence[Task]) -> list[Reply]:
        """Greedy replies to the tasks."""
        return self.replies([(task.messages, task.tools) for task in tasks])

    def replies(self, prompts: Sequence[tuple[Sequence[Message], Sequence[Message]]]) -> list[Reply]:
        """Greedy replies to messages with tools: a text, or a message where it calls something."""
        texts = [
            self._tokenizer.apply_chat_template(
                list(messages), tools=list(tools) or None, tokenize=False, add_generation_prompt=True
            )
            for messages, tools in prompts
        ]
        written = continuations(self._model, self._tokenizer, texts, tokens_max=TOKENS_MAX)
        turns = map(read_turn, written)
        return [turn if turn.get("tool_calls") else str(turn["content"]) for turn in turns]

    def play(self, skill: ActingSkill, asked: Sequence[Conversation]) -> list[list[Message]]:
        """Conversations with simulated tools, held to their end."""
        return play(self._model, self._tokenizer, skill, asked)

    def learn(self, lesson: Lesson) -> Learned:
        """Train the lesson and use its adapter from now on. Raises `ValueError` where nothing was learned."""
        started = time.monotonic()
        (learned,) = self._engine.learn([lesson])
        self.training_s = time.monotonic() - started
        if not isinstance(learned, Learned):
            raise ValueError(f"nothing learned: {learned.reason}")
        version = self._folder / f"{lesson.agent}-{lesson.seed}"
        self._engine.save(learned, version)
        self.use(version)
        return learned

    def use(self, version: Path) -> None:
        """Answer with the adapter in this directory from now on."""
        from peft import PeftModel

        if self.version is not None:
            self._base = self._model.unload()
        self._model = PeftModel.from_pretrained(self._base, version).eval()
        self.version = version
