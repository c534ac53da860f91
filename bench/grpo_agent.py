"""An agent that solves word problems, for `bench.grpo`: sampled in torch, with the log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from examples.base_model.skills import SkillPrompt, Skills, read_skills
from examples.base_model.slots import fill
from examples.base_model.tokenizer import chat

AGENT = "math"
TOKENS_MAX = 56  # of an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledAnswer:
    """An answer to a problem, with the tokens and log-probabilities (nats) as they were sampled."""

    problem: SkillPrompt
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def reward(self) -> float:
        """1 for the right call of the calculator, else 0."""
        right = skills().agents[AGENT].intents[self.problem.intent].reply
        return float(self.text == fill(right, self.problem.values))


@cache
def skills() -> Skills:
    """What the example base can do."""
    return read_skills()


class SampledAgent:
    """The base in torch with the agent's newest adapter, sampled at temperature 1."""

    def __init__(self, base: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._base = AutoModelForCausalLM.from_pretrained(base, dtype="float32").eval()
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._model: Any = self._base

    def serve(self, version: Path) -> None:
        """Answer with this adapter from now on."""
        from peft import PeftModel

        if self._model is not self._base:
            self._base = self._model.unload()
        self._model = PeftModel.from_pretrained(self._base, version).eval()

    @torch.no_grad()
    def answers(self, problems: Sequence[SkillPrompt], *, seed: int) -> list[SampledAnswer]:
        """One sampled answer to each problem; the same seed gives the same answers."""
        torch.manual_seed(seed)
        prompts = [chat(problem.system, problem.prompt) for problem in problems]
        inputs = self._tokenizer(prompts, padding=True, return_tensors="pt")
        sampled = self._model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=TOKENS_MAX,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            return_dict_in_generate=True,
            output_logits=True,
        )
        logprobs = torch.stack(sampled.logits, dim=1).float().log_softmax(-1)
        new_ids = sampled.sequences[:, inputs["input_ids"].shape[1] :]
        chosen = logprobs.gather(2, new_ids[:, :, None])[:, :, 0]
        return [
            self._answer(problem, ids.tolist(), values.tolist())
            for problem, ids, values in zip(problems, new_ids, chosen, strict=True)
        ]

    def _answer(self, problem: SkillPrompt, token_ids: list[int], logprobs: list[float]) -> SampledAnswer:
        """The answer up to its end-of-turn token."""
        end = self._tokenizer.eos_token_id
        length = token_ids.index(end) + 1 if end in token_ids else len(token_ids)
        return SampledAnswer(
            problem=problem,
            text=self._tokenizer.decode(token_ids[:length], skip_special_tokens=True),
            token_ids=tuple(token_ids[:length]),
            logprobs=tuple(logprobs[:length]),
        )
