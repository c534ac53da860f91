"""Reads lines of OpenAI's fine-tuning files as feedback: conversations to learn from, and preference pairs.

In a conversation every assistant message without `"weight": 0` is an example, as for OpenAI's trainers.
https://platform.openai.com/docs/api-reference/fine-tuning/chat-input and …/preference-input
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from feedback.envelope import VALUE_BYTES_MAX, RecordRefused, parse
from feedback.sending.event import FeedbackRefused, OutgoingEvent, build_outgoing_event

SOURCE = "clorad-import"
_ID_CHARS = 32
_NOT_OF_A_PROMPT = frozenset({"weight"})


class LineRefused(Exception):
    """The line holds nothing that can be learned. The reason quotes nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the files do not say."""

    agent: str
    author: str
    source: str = SOURCE
    conversations: Literal["corrections", "approvals"] = "corrections"
    """What an assistant message of a conversation is: what the agent should say, or what it said rightly."""


def lines_of(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines that are not blank, without their ends; None for one that is too long to be an event."""
    while line := file.readline(VALUE_BYTES_MAX + 1):
        is_whole = line.endswith(b"\n") or len(line) <= VALUE_BYTES_MAX
        while not is_whole:
            rest = file.readline(VALUE_BYTES_MAX + 1)
            is_whole = not rest or rest.endswith(b"\n")
        if len(line) > VALUE_BYTES_MAX:
            yield None
        elif line.strip():
            yield line.strip()


def events_of_line(line: bytes | None, options: ImportOptions) -> list[OutgoingEvent]:
    """The events of one line, one or more. The same line gives the same ids. Raises `LineRefused`."""
    example = _object_in(line)
    if "messages" in example:
        events = [
            _event(data, options)
            for data in _examples(example, _messages_in(example.get("messages"), "messages"), options)
        ]
    elif "preferred_output" in example:
        events = [_event(_preference(example), options)]
    else:
        raise LineRefused("needs messages, or input with preferred_output and non_preferred_output")
    return events


def _examples(
    example: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], options: ImportOptions
) -> list[dict[str, Any]]:
    """The data of an event for each assistant message to learn."""
    places = [
        place
        for place, message in enumerate(messages)
        if place and message.get("role") == "assistant" and message.get("weight") != 0
    ]
    if not places:
        raise LineRefused("no assistant message to learn after a prompt")
    is_approved = options.conversations == "approvals"
    return [
        {"action": "approve", "said": _reply(messages[place])} | _prompt(example, messages[:place])
        if is_approved
        else {"corrected": _reply(messages[place])} | _prompt(example, messages[:place])
        for place in places
    ]


def _preference(example: Mapping[str, Any]) -> dict[str, Any]:
    request = example.get("input")
    if not isinstance(request, dict):
        raise LineRefused("input: no object")
    preferred, other = (_output(example, name) for name in ("preferred_output", "non_preferred_output"))
    if preferred == other:
        raise LineRefused("both outputs are the same")
    messages = _messages_in(request.get("messages"), "input.messages")
    return {"corrected": preferred, "rejected": other} | _prompt(request, messages)


def _output(example: Mapping[str, Any], name: str) -> str | dict[str, Any]:
    messages = _messages_in(example.get(name), name)
    if len(messages) != 1 or messages[0].get("role") != "assistant":
        raise LineRefused(f"{name}: needs one assistant message")
    return _reply(messages[0])


def _prompt(request: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The messages before a reply, with the tools of the request."""
    if request.get("functions"):
        raise LineRefused("functions: the older form is not read, write tools")
    kept = [
        {name: value for name, value in message.items() if name not in _NOT_OF_A_PROMPT}
        for message in messages
    ]
    return {"messages": kept, "tools": request.get("tools") or None}


def _reply(message: Mapping[str, Any]) -> str | dict[str, Any]:
    """The message as a reply on the wire: a text where it is nothing else."""
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(_text(part) for part in content)
    if not message.get("tool_calls"):
        if not isinstance(content, str) or not content:
            raise LineRefused("an assistant message without a text or tool calls")
        return content
    return {"role": "assistant", "content": content, "tool_calls": message["tool_calls"]}


def _text(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    if not isinstance(text, str):
        raise LineRefused("an assistant message with a part that is no text")
    return text


def _object_in(line: bytes | None) -> dict[str, Any]:
    if line is None:
        raise LineRefused(f"oversized: more than {VALUE_BYTES_MAX} bytes")
    try:
        example = parse(line)
    except RecordRefused as refusal:
        raise LineRefused(refusal.unusable.reason.value) from None
    if not isinstance(example, dict):
        raise LineRefused("no JSON object")
    return example


def _messages_in(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise LineRefused(f"{name}: no list of messages")
    return value


def _event(data: Mapping[str, Any], options: ImportOptions) -> OutgoingEvent:
    kind = "intervention" if "action" in data else "correction"
    data = {"agent": options.agent, "author": options.author, **data}
    canonical = json.dumps([kind, data], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    event_id = hashlib.sha256(canonical.encode()).hexdigest()[:_ID_CHARS]
    try:
        return build_outgoing_event(kind, data, source=options.source, event_id=event_id)
    except FeedbackRefused as refusal:
        raise LineRefused(refusal.reason) from None
