"""An episode is what the engine trains on: a conversation, a reply to it, and how good the reply is.

It has texts and character spans only; the engine tokenises. Standard library only: this is the one module
that the engine imports from `rewards/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

Message = Mapping[str, Any]
"""One OpenAI chat message: `role`, `content`, and whatever else the client sent with it."""


PLAIN_TEXT = "plain_text"
"""The field of a request that is true for a text completion: a prompt without a chat template."""


class Part(StrEnum):
    """Why an episode is in a turn's batch."""

    NEW = "new"  # the feedback this turn is about
    REPLAY = "replay"  # feedback the champion was already taught
    ANCHOR = "anchor"  # approved replies that must stay as they are
    DEV = "dev"  # never trained on; measured for early stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Characters `start` up to `end` of a text; `weight` is per character, relative to its other spans.

    The spans of a text share half of its mass; the other characters and the end of the turn share the rest.
    """

    start: int
    end: int
    weight: float

    def __post_init__(self) -> None:
        assert 0 <= self.start <= self.end, "a span runs forwards"
        assert self.weight >= 0.0, "weights are not signs; an advantage is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """A reply that an agent gave or should give, and the weights of its parts.

    The engine trains the sampled tokens where they are known, else the message as the base's template renders
    it, else the text. `text` of a message is what it is compared by.
    """

    text: str
    spans: tuple[Span, ...] = ()  # none: every character weighs the same
    message: Message | None = None  # the assistant message, where it is more than the text
    sampled_ids: tuple[int, ...] = ()  # what the agent sampled when it gave this reply, the end included

    def __post_init__(self) -> None:
        assert all(span.end <= len(self.text) for span in self.spans), "spans lie inside their text"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTokens:
    """The tokens that a served version sampled, and their log-probabilities (nats) at that time."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    version: str = ""  # that sampled them, as in v7-3fa2c1; empty: not known
    temperature: float = 1.0  # of the distribution that the log-probabilities are of

    def __post_init__(self) -> None:
        assert len(self.token_ids) == len(self.logprobs), "one log-probability a token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One prompt with one reply to learn from.

    * `reply` alone: a demonstration (cross entropy).
    * `reply` and `rejected`: a demonstration and a preference pair over one prompt.
    * `reply` and `advantage`: a reply of the agent and how much better (> 0) or worse (< 0) than its
      baseline it was: the difference of two outcomes, in [-2, 2]. Policy gradients need `sampled`; without
      it the engine leaves the episode out and reports it.
    """

    events: tuple[str, ...]  # uids (SOURCE#ID) of the events it comes from
    part: Part
    messages: tuple[Message, ...]  # the prompt, system message included
    reply: Weighted
    rejected: Weighted | None = None
    advantage: float | None = None
    sampled: SampledTokens | None = None
    prompt_ids: tuple[int, ...] = ()  # the prompt that was served, token by token; empty where not known
    request: Mapping[str, Any] = field(default_factory=dict)  # tools and what else the prompt was made of
    asked_s: float = 0.0  # Unix time of the request: templates may write the date
    mass: float = 1.0  # credit weight; an ordinary correction has 1

    def __post_init__(self) -> None:
        assert self.events, "every gradient has a name"
        assert self.messages, "an episode answers something"
        assert self.mass > 0.0
        assert self.advantage is None or (self.rejected is None and -2.0 <= self.advantage <= 2.0)


def without_spans(episode: Episode) -> Episode:
    """The episode with every character of equal weight."""
    rejected = episode.rejected and replace(episode.rejected, spans=())
    return replace(episode, reply=replace(episode.reply, spans=()), rejected=rejected)


def first_user_text(messages: Sequence[Message]) -> str:
    """The first user message's text; empty where there is none. Multi-part content is joined."""
    for message in messages:
        if message.get("role") == "user":
            return text_of(message)
    return ""


def plain_prompt(messages: Sequence[Message], request: Mapping[str, Any]) -> str | None:
    """The text that a model is to continue as it stands; None where the messages are those of a chat."""
    return text_of(messages[0]) if request.get(PLAIN_TEXT) is True and len(messages) == 1 else None


def text_of(message: Message) -> str:
    """The text of one message, its parts joined by line breaks where the client sent a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "\n".join(text for text in texts if isinstance(text, str))  # an image part has none
    return ""
