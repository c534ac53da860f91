"""Translates a request of OpenAI's Responses API into the chat that a replica makes of it.

The rules are those of vLLM 0.32 (vllm/entrypoints/openai/responses/utils.py): texts, thoughts and calls of
the agent that follow each other are one message. `NoChat` says what has no chat that gives the same prompt.
"""

from collections.abc import Mapping
from typing import Any

from serving.gateway.forms.answer_form import NoChat, chat_content, function_tools, texts_of_parts

_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = ("input_text", "output_text", "text")
_TOOL_FIELDS = frozenset({"type", "name", "description", "parameters", "strict"})


def messages_of(items: Any, instructions: Any) -> list[dict[str, Any]]:
    """The messages of a chat with this input and these instructions. Raises `NoChat`."""
    items = [{"role": "user", "content": items}] if isinstance(items, str) else items
    if not isinstance(items, list) or not items or not isinstance(instructions or "", str):
        raise NoChat("not_text")
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for item in items:
        if not isinstance(item, dict) or item.get("status") not in (None, "completed"):
            raise NoChat("not_text")  # an item that is not complete is to be continued
        match item.get("type", "message"):
            case "message" if item.get("role") in _ROLES:
                _add_message(messages, item)
            case "function_call":
                _add_call(messages, item)
            case "function_call_output":
                call_id, output = _text(item, "call_id"), _text(item, "output")
                messages.append({"role": "tool", "tool_call_id": call_id, "content": output})
            case "reasoning" if not item.get("encrypted_content"):
                thoughts = texts_of_parts(item.get("content"), kinds=("reasoning_text",))
                if thoughts is None or len(thoughts) > 1:
                    raise NoChat("not_text")
                _add_to_answer(messages, "reasoning", thoughts[0])
            case _:
                raise NoChat("not_text")
    return messages


def tools_of(tools: Any) -> list[dict[str, Any]]:
    """The functions as tools of a chat. Raises `NoChat`."""
    return function_tools(tools, _parameters_of, fields=_TOOL_FIELDS)


def _parameters_of(tool: Mapping[str, Any]) -> Any:
    if tool.get("type") != "function":
        raise NoChat("other_tools")
    return tool.get("parameters")


def tool_choice_of(choice: Any) -> Any:
    """Which function must be called, as in a chat. Raises `NoChat`."""
    if choice in ("auto", "none", "required"):
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    raise NoChat("other_tools")


def _add_message(messages: list[dict[str, Any]], item: Mapping[str, Any]) -> None:
    content = item.get("content")
    texts = [content] if isinstance(content, str) else texts_of_parts(content, kinds=_TEXTS)
    if texts is None:
        raise NoChat("not_text")
    if item["role"] != "assistant":
        messages.append({"role": item["role"], "content": chat_content(texts)})
    elif len(texts) > 1:
        raise NoChat("not_text")  # vLLM takes the first alone
    else:
        _add_to_answer(messages, "content", texts[0])


def _add_call(messages: list[dict[str, Any]], item: Mapping[str, Any]) -> None:
    if item.get("namespace"):
        raise NoChat("other_tools")
    function = {"name": _text(item, "name"), "arguments": _text(item, "arguments")}
    call = {"id": _text(item, "call_id"), "type": "function", "function": function}
    _answer_of(messages).setdefault("tool_calls", []).append(call)


def _add_to_answer(messages: list[dict[str, Any]], field: str, text: str) -> None:
    """Add to the agent's last message, unless that has this field already."""
    message = _answer_of(messages)
    if message.get(field) is not None:
        messages.append(message := {"role": "assistant", "content": None})
    message[field] = text


def _answer_of(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The agent's message that ends the list; a new one where the list ends with another message."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    return messages[-1]


def _text(item: Mapping[str, Any], name: str) -> str:
    if not isinstance(text := item.get(name), str):
        raise NoChat("not_text")
    return text
