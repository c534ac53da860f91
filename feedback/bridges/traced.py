"""Finds in the traces of other tools what an annotation is about: the interaction, or the texts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INTERACTION_NAMES = ("x-clorad-interaction", "clorad.interaction", "clorad_interaction")
"""Names in a trace's metadata under which it has the `x-clorad-interaction` of the gateway's answer."""
AGENT_NAMES = ("x-clorad-agent", "clorad.agent", "clorad_agent")

_INSIDE = ("metadata", "attributes", "tags")
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedAnswer:
    """What an annotation is about, as far as the tool knows it."""

    interaction: str | None = None
    agent: str | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    said: str | Mapping[str, Any] | None = None


def about_of(metadata: Iterable[Any], *, asked: Any = None, answered: Any = None) -> TracedAnswer:
    """What is known from any number of metadata objects, and from what was asked and answered."""
    known = list(metadata)
    request = _parsed(asked)
    return TracedAnswer(
        interaction=_named(known, INTERACTION_NAMES),
        agent=_named(known, AGENT_NAMES),
        messages=messages_in(request),
        tools=_tools_in(request),
        said=reply_in(answered),
    )


def messages_in(asked: Any) -> list[dict[str, Any]] | None:
    """The conversation that was asked: messages, an object with them or with one text, or a text."""
    asked = _parsed(asked)
    if isinstance(asked, dict):
        alone = next(iter(asked.values())) if len(asked) == 1 else None  # the one argument of a function
        asked = asked.get("messages", asked.get("input", asked.get("prompt", alone)))
    if isinstance(asked, str) and asked.strip():
        return [{"role": "user", "content": asked}]
    if isinstance(asked, list) and asked and all(_is_message(item) for item in asked):
        return asked
    return None


def reply_in(answered: Any) -> str | dict[str, Any] | None:
    """The agent's reply: a text, an assistant message, or an answer of OpenAI's API with one choice."""
    answered = _parsed(answered)
    if isinstance(answered, dict) and isinstance(answered.get("choices"), list) and answered["choices"]:
        first = answered["choices"][0]
        answered = first.get("message") if isinstance(first, dict) else None
    if isinstance(answered, dict) and isinstance(answered.get("messages"), list):
        answered = answered["messages"]
    if isinstance(answered, list):
        answered = answered[-1] if answered and _is_message(answered[-1]) else None
    if isinstance(answered, str):
        return answered if answered.strip() else None
    if isinstance(answered, dict) and answered.get("role") == "assistant":
        calls, content = answered.get("tool_calls"), answered.get("content")
        return answered if calls else content if isinstance(content, str) and content else None
    return None


def whole_json(text: Any) -> Any:
    """The value that a JSON text spells; None where it spells none, as where a tool cut it off."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None


def text_in(value: Any) -> str | None:
    """A text that is not blank; None for anything else."""
    return value if isinstance(value, str) and value.strip() else None


def _tools_in(request: Any) -> list[dict[str, Any]] | None:
    tools = request.get("tools") if isinstance(request, dict) else None
    return (
        tools if isinstance(tools, list) and tools and all(isinstance(tool, dict) for tool in tools) else None
    )


def _named(known: Iterable[Any], names: Sequence[str]) -> str | None:
    for value in known:
        metadata = _parsed(value)
        if not isinstance(metadata, dict):
            continue
        for name in names:
            if (text := text_in(metadata.get(name))) is not None:
                return text
        inner = [metadata[name] for name in _INSIDE if name in metadata]
        if inner and (text := _named(inner, names)) is not None:
            return text
    return None


def _parsed(value: Any) -> Any:
    """The JSON in a text that looks like an object or a list; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and item.get("role") in _ROLES
