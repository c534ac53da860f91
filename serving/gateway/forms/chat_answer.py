"""Reads answers of OpenAI's completions: decoded where the gateway looks, all other fields stay JSON text.

Token ids and log-probabilities are most of an answer that is captured. What nobody looks at is neither made
into Python objects nor written anew: a client that asked for it gets the replica's own bytes.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict, TypeVar

import msgspec

from serving.gateway.openai_form import UnreadableReply, read_json

Choice = TypeVar("Choice", bound=Mapping[str, Any])

Place = Annotated[int, msgspec.Meta(ge=0)]  # of a choice in an answer, or of a token in the vocabulary


class AnswerMessage(TypedDict, total=False):
    """A message, or the part of one that a chunk adds."""

    content: str | None
    refusal: Any
    reasoning: Any
    reasoning_content: Any
    tool_calls: Any
    function_call: Any


class ScoredToken(TypedDict):
    """One sampled token."""

    logprob: float


class ChatLogprobs(TypedDict, total=False):
    """The sampled tokens of a choice."""

    content: list[ScoredToken] | None


class ChatChoice(TypedDict, total=False):
    """What the gateway looks at in a choice of `/v1/chat/completions`."""

    index: Place | None
    message: AnswerMessage | None
    delta: AnswerMessage | None
    finish_reason: Any
    logprobs: ChatLogprobs | None
    token_ids: list[Place] | None


class TextLogprobs(TypedDict, total=False):
    """The sampled tokens of a choice."""

    token_logprobs: list[float | None] | None


class TextChoice(TypedDict, total=False):
    """What the gateway looks at in a choice of `/v1/completions`."""

    index: Place | None
    text: str | None
    finish_reason: Any
    logprobs: TextLogprobs | None
    token_ids: list[Place] | None
    prompt_token_ids: msgspec.Raw


CHAT_CHOICES = msgspec.json.Decoder(list[ChatChoice] | None)
TEXT_CHOICES = msgspec.json.Decoder(list[TextChoice] | None)

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CHOICES_FIELDS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None)
_DIGITS = b"0123456789, \t\r\n"


def read_fields(raw: bytes) -> dict[str, Any]:
    """The fields of a JSON object, each as JSON text. Raises `UnreadableReply`."""
    try:
        if not raw.isascii():
            raw.decode()
        return dict(_FIELDS.decode(raw))
    except (ValueError, RecursionError):
        raise UnreadableReply("not an object in JSON") from None


def read_choices(
    fields: dict[str, Any], decoder: "msgspec.json.Decoder[list[Choice] | None]"
) -> list[Choice]:
    """The choices in the fields of an answer, decoded; none where it has none. Raises `UnreadableReply`.

    In `fields` afterwards each choice is an object whose fields are JSON texts, and an error is decoded.
    """
    if "error" in fields:
        fields["error"] = read_json(fields["error"])
    if "choices" not in fields:
        return []
    try:
        choices = decoder.decode(fields["choices"])
        fields["choices"] = _CHOICES_FIELDS.decode(fields["choices"])
    except (ValueError, RecursionError):
        raise UnreadableReply("choices in another form") from None
    return choices or []


def read_prompt_ids(text: msgspec.Raw | None) -> bytes | None:
    """The ids of a prompt as a JSON list; None where there are none. Raises `UnreadableReply`."""
    ids = b"" if text is None else bytes(text)
    if ids in (b"", b"null", b"[]"):
        return None
    if ids[:1] != b"[" or ids[-1:] != b"]" or ids[1:-1].translate(None, _DIGITS):
        raise UnreadableReply("prompt_token_ids in another form")
    return ids
