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

_BATCH = 64  # a step of generation reads all weights, whatever the number of replies
_SAMPLING = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
Asked = Sequence[Sequence[Message]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseReply:
    """A generated reply."""

    text: str
    ended: bool  # False: cut at the limit of tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReading:
    """What the adapter makes of a given answer, against the bare base."""

    first_choice: bool  # of every token and the end of the turn: a greedy reply is this answer
    same_share: float  # of its tokens that are the adapter's first choice where they are the base's
    kl_nats: float  # forward KL from the base, mean over the answer's tokens
    loss_nats: float  # cross entropy, mean over the answer's tokens


class ProseModel:
    """A base, and the adapter it is asked with."""

    def __init__(self, base: Path, *, cache: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._base = AutoModelForCausalLM.from_pretrained(base, dtype="float32").eval()
        self._tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        self._model: Any = self._base
        self._version: Path | None = None
        self._cache_path = cache
        self._cache: dict[str, tuple[str, bool]] = json.loads(cache.read_text()) if cache.is_file() else {}

    def use(self, version: Path) -> None:
        """Answer with this version's adapter from now on."""
        from peft import PeftModel

        if self._version:
            self._base = self._model.unload()
        self._model = PeftModel.from_pretrained(self._base, version).eval()
        self._version = version

    def replies(self, prompts: Asked, *, tokens_max: int) -> list[ProseReply]:
        """The greedy replies. Those of the bare base are kept in a file."""
        return (
            self._generate(prompts, tokens_max) if self._version else self.base_replies(prompts, tokens_max)
        )

    def base_replies(self, prompts: Asked, tokens_max: int) -> list[ProseReply]:
        """The bare base's greedy replies. Kept in a file."""
        return self._kept(prompts, tokens_max, seed=None)

    def sampled_by_base(self, prompts: Asked, tokens_max: int, *, seed: int) -> list[ProseReply]:
        """Replies of the bare base sampled at temperature 1. Kept in a file."""
        return self._kept(prompts, tokens_max, seed=seed)

    def samples(
        self, version: Path | None, prompts: Asked, *, tokens_max: int, count: int
    ) -> list[tuple[str, ...]]:
        """So many replies to each prompt by this version, or the bare base, sampled at temperature 1."""
        seeds, current = range(1, count + 1), self._version
        if not prompts:
            return []
        if version is None:
            drawn = [self.sampled_by_base(prompts, tokens_max, seed=seed) for seed in seeds]
        else:
            self.use(version)
            drawn = [self._generate(prompts, tokens_max, seed=seed) for seed in seeds]
            if current:
                self.use(current)
        return [tuple(reply.text for reply in replies) for replies in zip(*drawn, strict=True)]

    def _kept(self, prompts: Asked, tokens_max: int, *, seed: int | None) -> list[ProseReply]:
        keys = [_key(prompt, tokens_max, seed) for prompt in prompts]
        missing = [keys.index(key) for key in dict.fromkeys(keys) if key not in self._cache]
        for first in range(0, len(missing), _BATCH):
            places = missing[first : first + _BATCH]
            with self._bare():
                replies = self._generate([prompts[place] for place in places], tokens_max, seed=seed)
            self._cache |= {
                keys[place]: (reply.text, reply.ended) for place, reply in zip(places, replies, strict=True)
            }
            self._cache_path.write_text(json.dumps(self._cache))
        return [ProseReply(text=text, ended=ended) for text, ended in (self._cache[key] for key in keys)]

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
                    loss_nats=-float(now.gather(-1, target[:, None]).mean()),
                )
            )
        return readings

    @property
    def _end(self) -> int:
        return int(self._tokenizer.eos_token_id)

    def _bare(self) -> Any:
        return self._model.disable_adapter() if self._version else nullcontext()

    def _ids(self, prompt: Sequence[Message]) -> list[int]:
        text = self._tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def _generate(self, prompts: Asked, tokens: int, *, seed: int | None = None) -> list[ProseReply]:
        """Greedy replies, or with a seed those sampled at temperature 1."""
        if seed is not None:
            torch.manual_seed(seed)
        sampling: dict[str, Any] = {"do_sample": False} if seed is None else _SAMPLING
        replies: list[ProseReply] = []
        for first in range(0, len(prompts), _BATCH):
            texts = [
                self._tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
                for prompt in prompts[first : first + _BATCH]
            ]
            inputs = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
            with torch.no_grad():
                ids = self._model.generate(**inputs, max_new_tokens=tokens, **sampling)
            for row in ids[:, inputs["input_ids"].shape[1] :].tolist():
                text = self._tokenizer.decode(row, skip_special_tokens=True)
                replies.append(ProseReply(text=text, ended=self._end in row))
        return replies


def _key(prompt: Sequence[Message], tokens: int, seed: int | None) -> str:
    asked = [list(prompt), tokens] if seed is None else [list(prompt), tokens, seed]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
