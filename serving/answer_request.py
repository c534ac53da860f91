"""How a replica is asked to answer a prompt: as a chat, or as a text completion without a chat template."""

from collections.abc import Mapping, Sequence
from typing import Any

from rewards.episode import PLAIN_TEXT, plain_prompt
from rewards.replies import compared_text


def answer_request(
    messages: Sequence[Mapping[str, Any]], request: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The path, and the body without the model: `request` has tools and other fields."""
    plain = plain_prompt(messages, request)
    others = {name: value for name, value in request.items() if name != PLAIN_TEXT}
    if plain is None:
        return "/v1/chat/completions", {**others, "messages": list(messages)}
    return "/v1/completions", {**others, "prompt": plain}


def said_in_choice(choice: Mapping[str, Any]) -> str:
    """What is compared of one choice. Raises `LookupError`, `TypeError` and more in another form."""
    return compared_text(choice["message"] if "message" in choice else choice["text"])
