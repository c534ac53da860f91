"""Tokenises episodes: prompt ids, the target tokens of the reply, and the weight of each target.

The base's own chat template renders the prompt, as vLLM does. The token that ends a turn is always a target:
an agent must also learn where to stop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer

from engine.base_model import BaseRefused
from rewards.episode import Episode, Message, Part, Weighted, text_of

_SENTINEL = "clorad"
_REFUSED_TEMPLATE = (TemplateError, TypeError, ValueError, KeyError)


class UnusableEpisode(ValueError):
    """An episode that the engine cannot train on; it is reported with its events, and the turn continues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTokens:
    """Target tokens after a prompt; `weights` sum to one."""

    token_ids: tuple[int, ...]
    weights: tuple[float, ...]
    sampled_logprobs: tuple[float, ...] = ()  # under the version that sampled them; empty for written replies

    def __post_init__(self) -> None:
        assert self.token_ids
        assert len(self.token_ids) == len(self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One episode, tokenised."""

    events: tuple[str, ...]
    part: Part
    mass: float
    prompt_ids: tuple[int, ...]
    reply: TargetTokens
    rejected: TargetTokens | None = None
    advantage: float | None = None

    @property
    def answers(self) -> tuple[TargetTokens, ...]:
        """The reply, and the rejected reply if there is one."""
        return (self.reply,) if self.rejected is None else (self.reply, self.rejected)


class Tokens:
    """The base's tokenizer and chat template."""

    def __init__(self, tokenizer: Any, *, vocabulary: int) -> None:
        if not tokenizer.is_fast:
            raise BaseRefused("a tokenizer without character offsets (a slow one) is not supported")
        if not tokenizer.chat_template:
            raise BaseRefused("a tokenizer without a chat template is not supported")
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._control_ids = frozenset(tokenizer.all_special_ids) | {
            index for index, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self.end_of_turn_id = self._find_end_of_turn()

    def sample(self, episode: Episode, *, tokens_max: int) -> Sample:
        """The episode as tokens. Raises `UnusableEpisode` with the reason."""
        prompt_ids = tuple(self.prompt_ids(episode.messages))
        reply = self._sampled(episode) if episode.advantage is not None else self.answer(episode.reply)
        rejected = self.answer(episode.rejected) if episode.rejected is not None else None
        longest = max(len(answer.token_ids) for answer in (reply, rejected) if answer is not None)
        read = (*prompt_ids, *(token for answer in (reply, rejected) if answer for token in answer.token_ids))
        if max(read) >= self._vocabulary:
            raise UnusableEpisode("a token that the base has no embedding for")
        if len(prompt_ids) + longest > tokens_max:
            raise UnusableEpisode(f"too long: {len(prompt_ids) + longest} tokens, at most {tokens_max}")
        return Sample(
            events=episode.events,
            part=episode.part,
            mass=episode.mass,
            prompt_ids=prompt_ids,
            reply=reply,
            rejected=rejected,
            advantage=episode.advantage,
        )

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text, without any added token."""
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt as the base reads it, up to the first token of the agent's reply."""
        plain = [_with_plain_text(message) for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
        except _REFUSED_TEMPLATE:
            raise UnusableEpisode(
                "the chat template refuses these messages"
            ) from None  # its text may quote them
        return text

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the rendered prompt."""
        return self.text_ids(self.render(messages))

    def answer(self, reply: Weighted) -> TargetTokens:
        """Tokens and weights of a written reply, with the token that ends the turn."""
        if not reply.text:
            raise UnusableEpisode("empty target")
        encoded = self._tokenizer(reply.text, add_special_tokens=False, return_offsets_mapping=True)
        ids = [int(token) for token in encoded["input_ids"]]
        if not self._control_ids.isdisjoint(ids):
            raise UnusableEpisode("control tokens inside the target")
        changed = [_overlap(start, end, reply) for start, end in encoded["offset_mapping"]]
        return TargetTokens(token_ids=(*ids, self.end_of_turn_id), weights=_weights([*changed, 0.0]))

    def _sampled(self, episode: Episode) -> TargetTokens:
        sampled = episode.sampled
        if sampled is None:
            raise UnusableEpisode("an advantage without the tokens that were sampled")
        if not sampled.token_ids:
            raise UnusableEpisode("empty target")
        if not all(0 <= token < self._vocabulary for token in sampled.token_ids):
            raise UnusableEpisode("sampled tokens from another vocabulary")
        share = 1.0 / len(sampled.token_ids)
        return TargetTokens(
            token_ids=sampled.token_ids,
            weights=(share,) * len(sampled.token_ids),
            sampled_logprobs=sampled.logprobs,
        )

    def _find_end_of_turn(self) -> int:
        """The token that the template writes after an assistant's message."""
        question: list[Message] = [{"role": "user", "content": _SENTINEL}]
        dialogue = [*question, {"role": "assistant", "content": _SENTINEL}]
        try:
            text = self._tokenizer.apply_chat_template(dialogue, tokenize=False)
        except _REFUSED_TEMPLATE as refusal:
            raise BaseRefused("the chat template cannot render an assistant's turn") from refusal
        after_ids = self.text_ids(text[text.rindex(_SENTINEL) + len(_SENTINEL) :])
        if after_ids and after_ids[0] in self._control_ids:
            return after_ids[0]
        if self._tokenizer.eos_token_id is None:
            raise BaseRefused("neither the chat template nor the tokenizer says what ends a turn")
        return int(self._tokenizer.eos_token_id)


def load_tokens(base: Path, *, vocabulary: int) -> Tokens:
    """The tokenizer of a base directory. Raises `BaseRefused`, which names what is not supported."""
    return Tokens(AutoTokenizer.from_pretrained(base), vocabulary=vocabulary)


def _with_plain_text(message: Message) -> dict[str, Any]:
    if isinstance(message.get("content"), list):
        return {**message, "content": text_of(message)}
    return dict(message)


def _overlap(start: int, end: int, reply: Weighted) -> float:
    """Weighted number of the token's characters that lie inside the reply's spans."""
    return sum(max(0, min(end, span.end) - max(start, span.start)) * span.weight for span in reply.spans)


def _weights(changed: Sequence[float]) -> tuple[float, ...]:
    """Half on the changed tokens, in proportion; half on the others, equally. All equal if none changed."""
    total = sum(changed)
    if total <= 0.0:
        return (1.0 / len(changed),) * len(changed)
    unchanged = sum(1 for value in changed if value == 0.0)
    return tuple(0.5 * value / total if value > 0.0 else 0.5 / unchanged for value in changed)
