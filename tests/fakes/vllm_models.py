"""The models of a fake vLLM: what each says, drawn from a hash of who speaks and what came before.

Text prompts are answered by a brain, token prompts token by token; tokens are the code points of text.
`path` is that of an adapter, or the base's name.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.measurements import Probe

Brain = Callable[[str, Sequence[Mapping[str, Any]]], str]
"""(path, messages) -> what it says."""

_LIKELY = 5


def babble(path: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """Something that depends on who speaks and what was asked."""
    return hashlib.sha256((path + json.dumps(list(messages))).encode()).hexdigest()[:12]


def likely(path: str, token_ids: Sequence[int]) -> dict[int, float]:
    """The next tokens that could be said and their log-probabilities; the same few for every model."""
    tokens = [40 + byte % 80 for byte in _digest("", token_ids)[:_LIKELY]]
    return {token: _logprob(path, [*token_ids, token]) for token in tokens}


def continuation(path: str, prompt_ids: Sequence[int], count: int) -> list[int]:
    """How the model goes on, greedily."""
    said: list[int] = []
    for _ in range(count):
        named = likely(path, [*prompt_ids, *said])
        said.append(max(named, key=lambda token: named[token]))
    return said


def probes(path: str, prompts: Sequence[Sequence[int]], *, base: str, tokens: int = 3) -> list[Probe]:
    """What an engine would have written about the adapter at `path`."""
    found = []
    for prompt_ids in prompts:
        reply = continuation(path, prompt_ids, tokens)
        before = [[*prompt_ids, *reply[:place]] for place in range(tokens)]
        named = [sorted(likely(path, ids)) for ids in before]
        said = {
            who: [[likely(who, ids)[one] for one in row] for ids, row in zip(before, named, strict=True)]
            for who in (path, base)
        }
        found.append(
            Probe(
                prompt_tokens=len(prompt_ids),
                token_ids=(*prompt_ids, *reply),
                likely=tuple(map(tuple, named)),
                logprobs=tuple(map(tuple, said[path])),
                base_logprobs=tuple(map(tuple, said[base])),
            )
        )
    return found


def logprobs(path: str, prompt_ids: Sequence[int], said: Sequence[int]) -> list[float]:
    """Of each token said."""
    return [_logprob(path, [*prompt_ids, *said[: place + 1]]) for place in range(len(said))]


def _logprob(path: str, token_ids: Sequence[int]) -> float:
    return -0.5 - int.from_bytes(_digest(path, token_ids)[:2], "big") / 16384


def _digest(path: str, token_ids: Sequence[int]) -> bytes:
    return hashlib.sha256(json.dumps([path, list(token_ids)]).encode()).digest()
