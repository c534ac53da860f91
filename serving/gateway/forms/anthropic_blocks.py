"""Translates the messages and tools of Anthropic's Messages API into the chat that a replica makes of them.

The rules are those of vLLM 0.32 (vllm/entrypoints/anthropic/serving.py): results of tools are messages of
their own, before the user's text. `NoChat` says what has no chat that gives the same prompt.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from serving.gateway.forms.answer_form import NoChat, chat_content, function_tools, texts_of_parts

_TOOL_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def messages_of(asked: Any) -> list[dict[str, Any]]:
    """The messages of a chat. Raises `NoChat`.

    Where a template wants the system's word first, vLLM moves system messages within there: they are no chat.
    """
    if not isinstance(asked, list):
        raise NoChat("not_text")
    messages: list[dict[str, Any]] = []
    for item in asked:
        role, content = (item.get("role"), item.get("content")) if isinstance(item, dict) else (None, None)
        if role not in ("user", "assistant"):
            raise NoChat("not_text")
        if isinstance(content, str):
            messages.append({"role": role, "content": content})
        elif not isinstance(content, list) or not content:
            raise NoChat("not_text")
        elif role == "user":
            messages += _of_user(content)
        else:
            messages.append(_of_agent(content))
    return messages


def tools_of(tools: Any) -> list[dict[str, Any]]:
    """The tools that the client runs, as tools of a chat. Raises `NoChat`."""
    return function_tools(tools, _parameters_of, fields=_TOOL_FIELDS)


def _parameters_of(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema = tool.get("input_schema")
    if not isinstance(schema, dict) or tool.get("type") not in (None, "custom"):
        raise NoChat("other_tools")
    return schema if "type" in schema else {**schema, "type": "object"}


def tool_choice_of(choice: Any) -> Any:
    """Which tool must be called, as in a chat. Raises `NoChat`."""
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind in _CHOICES:
        return _CHOICES[kind]
    if kind == "tool" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    raise NoChat("other_tools")


def _of_user(blocks: Sequence[Any]) -> list[dict[str, Any]]:
    """The results of tools, then the text."""
    results = [block for block in blocks if _is_result(block)]
    rest = [block for block in blocks if not _is_result(block)]
    messages: list[dict[str, Any]] = [
        {
            "role": "tool",
            "tool_call_id": _text(block, "tool_use_id"),
            "content": _result(block.get("content")),
        }
        for block in results
    ]
    if rest:
        messages.append({"role": "user", "content": chat_content(_texts(rest))})
    return messages


def _is_result(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "tool_result"


def _of_agent(blocks: Sequence[Any]) -> dict[str, Any]:
    texts, thoughts = [], []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "tool_use" and isinstance(block.get("input"), dict):
            function = {"name": _text(block, "name"), "arguments": json.dumps(block["input"])}
            calls.append({"id": _text(block, "id"), "type": "function", "function": function})
        elif kind == "thinking":
            thoughts.append(_text(block, "thinking"))
        else:
            texts += _texts([block])
    message: dict[str, Any] = {"role": "assistant", "content": chat_content(texts) if texts else None}
    if thoughts:
        message["reasoning"] = "".join(thoughts)
    return {**message, "tool_calls": calls} if calls else message


def _result(content: Any) -> str:
    """What a tool gave."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(_texts(content))


def _texts(blocks: Any) -> list[str]:
    texts = texts_of_parts(blocks, kinds=("text",))
    if texts is None:
        raise NoChat("not_text")
    return texts


def _text(block: Mapping[str, Any], name: str) -> str:
    if not isinstance(text := block.get(name), str):
        raise NoChat("not_text")
    return text
