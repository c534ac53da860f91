"""An episode is what an agent is taught from: a conversation, the words that answer it, what they are worth.

Text and character spans only; the engine tokenises. Standard library only: this is the one module
the engine imports from the stages below it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Message = Mapping[str, Any]
"""One OpenAI chat message: `role`, `content`, and whatever else the client sent with it."""


class Part(StrEnum):
    """Why an episode is in a turn's batch."""

    NEW = "new"  # the feedback this turn is about
    REPLAY = "replay"  # feedback the champion was already taught
    ANCHOR = "anchor"  # replies somebody approved: where nothing should change
    DEV = "dev"  # never trained on; watched for early stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Characters `start` up to `end` of a text, worth `weight` per character relative to its other spans.

    The spans of a text share half of its mass; what lies in none, and the end of the turn, has the rest.
    """

    start: int
    end: int
    weight: float

    def __post_init__(self) -> None:
        assert 0 <= self.start <= self.end, "a span runs forwards"
        assert self.weight >= 0.0, "weights are not signs; an advantage is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """A text an agent said or should have said, and how much each part of it matters."""

    text: str
    spans: tuple[Span, ...] = ()  # none: every character alike

    def __post_init__(self) -> None:
        assert all(span.end <= len(self.text) for span in self.spans), "spans lie inside their text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """The tokens a served version really sampled, and their log-probabilities (nats) when it did."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.token_ids) == len(self.logprobs), "one log-probability a token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One thing to learn.

    * `reply` alone: a demonstration (cross entropy).
    * `reply` and `rejected`: a demonstration and a preference pair over one prompt.
    * `reply` and `advantage`: the agent's own words and how much better (> 0) or worse (< 0) than
      usual they were; `spoken` carries what policy gradients need, and without it the engine leaves
      the episode out and says so.
    """

    events: tuple[str, ...]  # uids (SOURCE#ID) of the events it comes from
    part: Part
    messages: tuple[Message, ...]  # the prompt, system message included
    reply: Weighted
    rejected: Weighted | None = None
    advantage: float | None = None
    spoken: Spoken | None = None
    mass: float = 1.0  # credit weight; 1 is one ordinary correction

    def __post_init__(self) -> None:
        assert self.events, "every gradient has a name"
        assert self.messages, "an episode answers something"
        assert self.mass > 0.0
        assert self.advantage is None or (self.rejected is None and -1.0 <= self.advantage <= 1.0)


def first_user_text(messages: Sequence[Message]) -> str:
    """The first user message's text; empty where there is none. Multi-part content is joined."""
    for message in messages:
        if message.get("role") == "user":
            return text_of(message)
    return ""


def text_of(message: Message) -> str:
    """The text of one message, its parts joined by line breaks where the client sent a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "\n".join(text for text in texts if isinstance(text, str))  # an image part has none
    return ""
