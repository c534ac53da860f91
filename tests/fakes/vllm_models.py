"""The models of a fake vLLM: each reply follows from a hash of the model's path and the tokens before it.

A reply function answers text prompts; token prompts are continued token by token. Tokens are the code points
of text. `path` is an adapter's path, or the base's name.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.measurements import Probe

ReplyFunction = Callable[[str, Sequence[Mapping[str, Any]]], str]
"""(path, messages) -> the reply."""

_LIKELY = 5


def hash_reply(path: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """A text that depends on the model and the prompt."""
    return hashlib.sha256((path + json.dumps(list(messages))).encode()).hexdigest()[:12]


def likely(path: str, token_ids: Sequence[int]) -> dict[int, float]:
    """The likeliest next tokens with their log-probabilities; the same tokens for every model."""
    tokens = [40 + byte % 80 for byte in _digest("", token_ids)[:_LIKELY]]
    return {token: _logprob(path, [*token_ids, token]) for token in tokens}


def continuation(path: str, prompt_ids: Sequence[int], count: int) -> list[int]:
    """The model's greedy continuation."""
    token_ids: list[int] = []
    for _ in range(count):
        named = likely(path, [*prompt_ids, *token_ids])
        token_ids.append(max(named, key=lambda token: named[token]))
    return token_ids


def probes(path: str, prompts: Sequence[Sequence[int]], *, base: str, tokens: int = 3) -> list[Probe]:
    """The probes that an engine would write for the adapter at `path`."""
    probes = []
    for prompt_ids in prompts:
        reply = continuation(path, prompt_ids, tokens)
        before = [[*prompt_ids, *reply[:place]] for place in range(tokens)]
        named = [sorted(likely(path, ids)) for ids in before]
        logprobs_of = {
            model: [
                [likely(model, ids)[token] for token in row] for ids, row in zip(before, named, strict=True)
            ]
            for model in (path, base)
        }
        probes.append(
            Probe(
                prompt_tokens=len(prompt_ids),
                token_ids=(*prompt_ids, *reply),
                likely=tuple(map(tuple, named)),
                logprobs=tuple(map(tuple, logprobs_of[path])),
                base_logprobs=tuple(map(tuple, logprobs_of[base])),
            )
        )
    return probes


def logprobs(path: str, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
    """The log-probability of each token."""
    return [_logprob(path, [*prompt_ids, *token_ids[: place + 1]]) for place in range(len(token_ids))]


def _logprob(path: str, token_ids: Sequence[int]) -> float:
    return -0.5 - int.from_bytes(_digest(path, token_ids)[:2], "big") / 16384


def _digest(path: str, token_ids: Sequence[int]) -> bytes:
    return hashlib.sha256(json.dumps([path, list(token_ids)]).encode()).digest()
