"""Replies of agents: a text, or an OpenAI assistant message with tool calls and reasoning.

Where replies are compared as texts, a message has the text of its calls: names and arguments, as JSON whose
spelling does not matter. Pure functions.
"""

import json
from collections.abc import Mapping
from typing import Any

from rewards.episode import Message, text_of

Reply = str | Message
"""What an agent said or should have said."""


def message_of(reply: Reply) -> Message:
    """The reply as an assistant message."""
    return {"role": "assistant", "content": reply} if isinstance(reply, str) else reply


def is_text(reply: Reply) -> bool:
    """Whether the reply is a text and nothing else, in either form."""
    return isinstance(reply, str) or not (reply.get("tool_calls") or reply.get("reasoning"))


def reply_text(reply: Reply) -> str:
    """What is compared of a reply: its calls, one a line, or its text where it calls nothing.

    A text beside calls does not count, nor do reasoning and the ids of calls.
    """
    if isinstance(reply, str):
        return reply
    calls = calls_of(reply)
    if not calls:
        return text_of(reply)
    called = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return "\n".join(json.dumps(call, ensure_ascii=False, sort_keys=True) for call in called)


def calls_of(message: Message) -> list[tuple[str, Any]]:
    """Name and arguments of each call, in order. Arguments that are no JSON object stay the text they are."""
    calls = message.get("tool_calls")
    return [_called(call) for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []


def is_same_reply(reply: Reply, other: Reply) -> bool:
    """Whether both say the same. The spelling of JSON does not count, nor a thought that only one has."""
    message, other_message = message_of(reply), message_of(other)
    thoughts = {
        str(thought) for thought in (message.get("reasoning"), other_message.get("reasoning")) if thought
    }
    return len(thoughts) < 2 and said_in(message) == said_in(other_message)


def said_in(message: Message) -> tuple[str, str]:
    """The text of a message and its calls: equal for messages that say the same."""
    return text_of(message), json.dumps(calls_of(message), sort_keys=True)


def _called(call: Mapping[str, Any]) -> tuple[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except (ValueError, RecursionError):
            parsed = None
        arguments = parsed if isinstance(parsed, dict) else arguments
    return str(function.get("name") or ""), arguments
