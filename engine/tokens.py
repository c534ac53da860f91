"""Tokenises episodes: prompt ids, the target tokens of the reply, and the weight of each target.

What was served and sampled is trained token by token where it was captured; the rest is rendered by the chat
template of the base, as vLLM does it. The token that ends a turn is a target, so that agents learn to stop.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from engine.base_model import BaseRefused
from engine.chat_template import REFUSED_TEMPLATE, ChatTemplate, UnusableEpisode, arguments_of
from rewards.episode import Episode, Message, Part, SampledTokens, Weighted, plain_prompt

_SENTINEL = "clorad"
_BY_CHANCE = re.compile(r"\|\s*random\b")
_CELLS_MAX = 1_000_000  # tokens of one reply x tokens of the other: about a second in the worst case


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
    sampled_by: str = ""  # the version whose log-probabilities the reply has; empty: not known, or tempered
    is_rendered: bool = False  # the prompt is not known as it was served; it was rendered from its messages

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
        if _BY_CHANCE.search(str(tokenizer.chat_template)):
            raise BaseRefused("a chat template that renders by chance cannot be repeated")
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._template = ChatTemplate(tokenizer)
        self._control_ids = frozenset(tokenizer.all_special_ids) | {
            index for index, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self.end_of_turn_id = self._find_end_of_turn()

    def sample(self, episode: Episode, *, tokens_max: int) -> Sample:
        """The episode as tokens. Raises `UnusableEpisode` with the reason."""
        try:
            return self._sample(episode, tokens_max=tokens_max)
        except RecursionError:
            raise UnusableEpisode("values nested too deeply") from None

    def _sample(self, episode: Episode, *, tokens_max: int) -> Sample:
        prompt_ids = episode.prompt_ids or tuple(self._rendered_ids(episode))
        if episode.advantage is not None:
            reply, rejected = self._sampled(episode), None
        else:
            reply, rejected = self._answers(episode)
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
            is_rendered=not episode.prompt_ids,
            reply=reply,
            rejected=rejected,
            advantage=episode.advantage,
            sampled_by=_sampler(episode.sampled) if episode.advantage is not None else "",
        )

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text, without any added token."""
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt of a request without anything but messages, up to the first token of the reply."""
        return self._template.prompt(messages, {}, asked_s=0.0)

    def _rendered_ids(self, episode: Episode) -> list[int]:
        text = self._template.prompt(episode.messages, episode.request, asked_s=episode.asked_s)
        if plain_prompt(episode.messages, episode.request) is not None:
            opens = bool(episode.request.get("add_special_tokens", True))
            return [int(token) for token in self._tokenizer(text, add_special_tokens=opens)["input_ids"]]
        return self.text_ids(text)

    def _answers(self, episode: Episode) -> tuple[TargetTokens, TargetTokens | None]:
        """The targets of the reply and of the rejected reply.

        Where one of them is more than a text, half of the mass lies on the tokens that the other does not
        have. A rejected reply that cannot be rendered is left out: the other one still shows what is right.
        """
        reply = self._answer(episode, episode.reply)
        if episode.rejected is None:
            return reply, None
        if _is_written(episode.reply) and _is_written(episode.rejected):
            return reply, self._answer(episode, episode.rejected)
        try:
            rejected = self._answer(episode, episode.rejected)
        except UnusableEpisode:
            return reply, None
        changed, changed_back = _changed(reply.token_ids, rejected.token_ids)
        return (
            replace(reply, weights=_weights(changed)),
            replace(rejected, weights=_weights(changed_back)),
        )

    def _answer(self, episode: Episode, reply: Weighted) -> TargetTokens:
        """What the agent has to generate after the prompt to give this reply, and the weights."""
        if reply.sampled_ids:
            return TargetTokens(token_ids=reply.sampled_ids, weights=_weights([0.0] * len(reply.sampled_ids)))
        if not reply.text:
            raise UnusableEpisode("empty target")
        message = reply.message or {"role": "assistant", "content": reply.text}
        self._check_texts(message)
        self._check_border(episode)
        text = self._template.continuation(
            episode.messages, message, episode.request, asked_s=episode.asked_s
        )
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = [int(token) for token in encoded["input_ids"]]
        offsets = encoded["offset_mapping"]
        ends = self._end_of_turn(ids, [text[start:end] for start, end in offsets])
        shift = 0 if reply.message is not None else _place_of(reply.text, text)
        changed = [_overlap(start - shift, end - shift, reply) for start, end in offsets[:ends]]
        if ends and ids[ends - 1] in self._control_ids:
            return TargetTokens(token_ids=tuple(ids[:ends]), weights=_weights(changed))
        return TargetTokens(token_ids=(*ids[:ends], self.end_of_turn_id), weights=_weights([*changed, 0.0]))

    def _end_of_turn(self, ids: Sequence[int], pieces: Sequence[str]) -> int:
        """How many tokens the turn has: up to the control token that ends it, if only others and white space
        follow. Phi-3 and others write one more after the whole conversation, which is never sampled."""
        last = begin = len(ids)
        while begin and (ids[begin - 1] in self._control_ids or not pieces[begin - 1].strip()):
            begin -= 1
        controls = [place for place in range(begin, last) if ids[place] in self._control_ids]
        if not controls:
            return len(ids)
        ending = (place for place in controls if ids[place] == self.end_of_turn_id)
        return next(ending, controls[-1]) + 1

    def _check_texts(self, message: Message) -> None:
        """Raise `UnusableEpisode` where a reply holds control tokens, or arguments that are no object."""
        calls = message.get("tool_calls") or ()
        given = (
            [call.get("function") for call in calls if isinstance(call, Mapping)]
            if isinstance(calls, list)
            else []
        )
        functions = [function for function in given if isinstance(function, Mapping)]
        arguments = [arguments_of(function) for function in functions]
        if None in arguments:
            raise UnusableEpisode("a tool call whose arguments are no JSON object")
        names = [function.get("name") for function in functions]
        for text in _texts_in([message.get("content"), message.get("reasoning"), names, arguments]):
            if not self._control_ids.isdisjoint(self.text_ids(text)):
                raise UnusableEpisode("control tokens inside the target")

    def _check_border(self, episode: Episode) -> None:
        """Raise `UnusableEpisode` where the served prompt does not open the reply as the template does."""
        served = episode.prompt_ids
        if not served or served == tuple(self._rendered_ids(episode)):
            return
        opening = self._template.opening(episode.messages, episode.request, asked_s=episode.asked_s)
        opening_ids = tuple(self.text_ids(opening))
        if served[len(served) - len(opening_ids) :] != opening_ids:
            raise UnusableEpisode("the served prompt ends otherwise than the chat template renders it")

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
            ends = text.rindex(_SENTINEL) + len(_SENTINEL)
        except REFUSED_TEMPLATE as refusal:
            raise BaseRefused("the chat template cannot render an assistant's turn") from refusal
        after_ids = self.text_ids(text[ends:])
        if after_ids and after_ids[0] in self._control_ids:
            return after_ids[0]
        if self._tokenizer.eos_token_id is None:
            raise BaseRefused("neither the chat template nor the tokenizer says what ends a turn")
        return int(self._tokenizer.eos_token_id)


def load_tokens(base: Path, *, vocabulary: int) -> Tokens:
    """The tokenizer of a base directory. Raises `BaseRefused`, which names what is not supported."""
    return Tokens(AutoTokenizer.from_pretrained(base), vocabulary=vocabulary)


def _sampler(sampled: SampledTokens | None) -> str:
    """The version whose own distribution the log-probabilities are of. vLLM reports greedy ones at 1 too."""
    return sampled.version if sampled is not None and sampled.temperature in (0.0, 1.0) else ""


def _is_written(reply: Weighted) -> bool:
    """Whether the reply is a text, of which its spans know what was changed."""
    return reply.message is None and not reply.sampled_ids


def _texts_in(value: Any) -> Iterable[str]:
    """Every string in a JSON value, names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield name
            yield from _texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(item)


def _place_of(reply: str, text: str) -> int:
    """Where the reply's first character stands in what the template wrote. Raises `UnusableEpisode`."""
    if (place := text.find(reply)) >= 0:
        return place
    trimmed = reply.strip()
    if not trimmed or (place := text.find(trimmed)) < 0:
        raise UnusableEpisode("the chat template changes the reply")
    return place - reply.index(trimmed)


def _changed(reply: Sequence[int], other: Sequence[int]) -> tuple[list[float], list[float]]:
    """For each token 1.0 where the other reply does not have it, else 0.0."""
    if len(reply) * len(other) > _CELLS_MAX:
        return [0.0] * len(reply), [0.0] * len(other)
    marks = [1.0] * len(reply), [1.0] * len(other)
    for block in SequenceMatcher(None, reply, other, autojunk=False).get_matching_blocks():
        marks[0][block.a : block.a + block.size] = [0.0] * block.size
        marks[1][block.b : block.b + block.size] = [0.0] * block.size
    return marks


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
