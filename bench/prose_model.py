"""What a pretrained base says with and without an adapter, computed by transformers and PEFT.

A wanted answer is compared without generating it: a greedy reply equals it exactly where each of its tokens
and the end of the turn are the model's first choice.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rewards.episode import Message

_BATCH = 16
Asked = Sequence[Sequence[Message]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReading:
    """What the adapter makes of a given answer, against the bare base."""

    first_choice: bool  # of every token and the end of the turn: a greedy reply is this answer
    same_share: float  # of its tokens that are the adapter's first choice where they are the base's
    kl_nats: float  # forward KL from the base, mean over the answer's tokens


class ProseModel:
    """A base, and the adapter it is asked with."""

    def __init__(self, base: Path, *, cache: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._base = AutoModelForCausalLM.from_pretrained(base, dtype="float32").eval()
        self._tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        self._model: Any = self._base
        self._adapted = False
        self._cache_path = cache
        self._cache: dict[str, str | None] = json.loads(cache.read_text()) if cache.is_file() else {}

    def use(self, version: Path) -> None:
        """Answer with this version's adapter from now on."""
        from peft import PeftModel

        if self._adapted:
            self._base = self._model.unload()
        self._model = PeftModel.from_pretrained(self._base, version).eval()
        self._adapted = True

    def base_replies(self, prompts: Asked, *, tokens_max: int) -> list[str | None]:
        """The bare base's greedy replies; None where it does not end within `tokens_max`. Kept in a file."""
        keys = [self._key(prompt, tokens_max) for prompt in prompts]
        missing = [place for place, key in enumerate(keys) if key not in self._cache]
        if missing:
            with self._bare():
                for place, reply in zip(
                    missing,
                    self._generate([prompts[place] for place in missing], tokens_max),
                    strict=True,
                ):
                    self._cache[keys[place]] = reply
            self._cache_path.write_text(json.dumps(self._cache))
        return [self._cache[key] for key in keys]

    def beginnings(self, prompts: Asked, *, tokens: int) -> list[str]:
        """How the adapter's greedy replies begin."""
        return [str(text) for text in self._generate(prompts, tokens, whole=False)]

    @torch.no_grad()
    def read(self, prompts: Asked, answers: Sequence[str]) -> list[AnswerReading]:
        """What the adapter makes of one given answer a prompt."""
        readings = []
        for prompt, answer in zip(prompts, answers, strict=True):
            head = self._ids(prompt)
            tail = [*self._tokenizer(answer, add_special_tokens=False)["input_ids"], self._end]
            ids = torch.tensor([[*head, *tail]])
            now = self._model(ids).logits[0, len(head) - 1 : -1].log_softmax(-1)
            with self._bare():
                before = self._base(ids).logits[0, len(head) - 1 : -1].log_softmax(-1)
            target = torch.tensor(tail)
            mine, bases = now.argmax(-1) == target, before.argmax(-1) == target
            readings.append(
                AnswerReading(
                    first_choice=bool(mine.all()),
                    same_share=float((mine & bases).sum() / bases.sum().clamp_min(1)),
                    kl_nats=float((before.exp() * (before - now)).sum(-1).mean()),
                )
            )
        return readings

    @property
    def _end(self) -> int:
        return int(self._tokenizer.eos_token_id)

    def _bare(self) -> Any:
        return self._model.disable_adapter() if self._adapted else nullcontext()

    def _ids(self, prompt: Sequence[Message]) -> list[int]:
        text = self._tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def _generate(self, prompts: Asked, tokens: int, *, whole: bool = True) -> list[str | None]:
        replies: list[str | None] = []
        for first in range(0, len(prompts), _BATCH):
            texts = [
                self._tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
                for prompt in prompts[first : first + _BATCH]
            ]
            inputs = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
            with torch.no_grad():
                ids = self._model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
            for row in ids[:, inputs["input_ids"].shape[1] :].tolist():
                ended = self._end in row
                text = self._tokenizer.decode(row, skip_special_tokens=True)
                replies.append(text if ended or not whole else None)
        return replies

    def _key(self, prompt: Sequence[Message], tokens: int) -> str:
        return hashlib.sha256(json.dumps([list(prompt), tokens]).encode()).hexdigest()[:16]
