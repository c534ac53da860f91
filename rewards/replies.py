"""Replies of agents: a text, or an OpenAI assistant message with tool calls and reasoning.

Where replies are compared as texts, a message has the text of its calls: a JSON array of names and arguments,
in one spelling. So whatever compares JSON compares calls: in order, and by their arguments. Pure functions.
"""

import json
from collections.abc import Mapping
from typing import Any

from feedback.call_arguments import arguments_in
from feedback.reply_form import CallFlaw, call_flaw, function_names
from rewards.episode import Message, Weighted, text_of

_FLAWS = {
    CallFlaw.NAMELESS: "calls a tool without a name",
    CallFlaw.NO_ARGUMENTS: "calls a tool with arguments that are no JSON object",
    CallFlaw.NOT_OFFERED: "calls a tool that was not offered",
}

Reply = str | Message
"""What an agent said or should have said."""


def message_of(reply: Reply) -> Message:
    """The reply as an assistant message."""
    return {"role": "assistant", "content": reply} if isinstance(reply, str) else reply


def is_text(reply: Reply) -> bool:
    """Whether the reply is a text and nothing else, in either form."""
    return isinstance(reply, str) or not (reply.get("tool_calls") or reply.get("reasoning"))


def reply_text(reply: Reply) -> str:
    """What is compared of a reply: its calls as a JSON array, or its text where it calls nothing.

    A text beside calls does not count, nor do reasoning and the ids of calls.
    """
    if isinstance(reply, str):
        return reply
    calls = calls_of(reply)
    if not calls:
        return text_of(reply)
    called = [f'{{"name": {_json(name)}, "arguments": {_json(arguments)}}}' for name, arguments in calls]
    return f"[{', '.join(called)}]"


def compared_text(reply: Reply) -> str:
    """As `reply_text`, but a text that spells calls differs from calls that are made.

    Such a text stands in an object: it still compares as JSON with texts that spell the same.
    """
    text = reply_text(reply)
    is_call = not isinstance(reply, str) and bool(calls_of(reply))
    return f'{{"text": {text}}}' if not is_call and spells_calls(text) else text


def spells_calls(text: str) -> bool:
    """Whether the text reads as `reply_text` writes calls."""
    if not text.lstrip().startswith("["):
        return False
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return bool(values) and all(
        isinstance(value, dict) and value.keys() == {"name", "arguments"} for value in values
    )


def message_in(text: str) -> Message:
    """The assistant message of which `compared_text` made this text, with ids of its own for its calls."""
    if not spells_calls(text):
        return {"role": "assistant", "content": text}
    calls = [
        {
            "id": f"call_{place}",
            "type": "function",
            "function": {"name": value["name"], "arguments": _json(value["arguments"])},
        }
        for place, value in enumerate(json.loads(text))
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def calls_of(message: Message) -> list[tuple[str, Any]]:
    """Name and arguments of each call, in order. Arguments that are no JSON object stay the text they are."""
    calls = message.get("tool_calls")
    return [_called(call) for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []


def with_thought(message: Message) -> Message:
    """The message with its thought under `reasoning`, also where a client gave it its older name."""
    thought = message.get("reasoning_content")
    if message.get("reasoning") or not isinstance(thought, str) or not thought:
        return message
    return {
        **{name: value for name, value in message.items() if name != "reasoning_content"},
        "reasoning": thought,
    }


def as_said(reply: Reply, sampled_ids: tuple[int, ...] = ()) -> Weighted:
    """The reply to train on, all parts weighing the same; `sampled_ids` are its tokens, if known."""
    message = None if is_text(reply) else message_of(reply)
    return Weighted(text=reply_text(reply), message=message, sampled_ids=sampled_ids)


def uncallable(reply: Reply, request: Mapping[str, Any]) -> str | None:
    """Why the reply cannot be wanted of an agent that was asked so; None where it can."""
    calls = [] if isinstance(reply, str) else calls_of(reply)
    tools = request.get("tools")
    if calls and not tools:
        return "calls a tool, and no tools are known"
    offered = function_names(tools)
    flaws = (call_flaw(name, arguments, offered) for name, arguments in calls)
    return next((_FLAWS[flaw] for flaw in flaws if flaw is not None), None)


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


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _called(call: Mapping[str, Any]) -> tuple[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments = function.get("arguments") or {}
    parsed = arguments_in(arguments)
    return str(function.get("name") or ""), arguments if parsed is None else parsed
