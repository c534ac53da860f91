"""Anthropic's Messages API (https://docs.anthropic.com/en/api/messages), and its count of tokens.

Captured are texts, thoughts and uses of tools: what `anthropic_blocks` makes a chat of without loss. Their
tokens are not reported on this path.
"""

import json
from collections.abc import Mapping
from typing import Any

from serving.gateway.edge.errors import anthropic_error, anthropic_kind
from serving.gateway.edge.request_fields import MESSAGES, TOKENS
from serving.gateway.forms.answer_form import (
    BROKE_OFF,
    AnswerForm,
    AnswerPart,
    Choices,
    NoChat,
    object_in,
    objects_in,
    read_object,
    text_in,
    texts_of_parts,
    tool_call,
    whole_choice,
)
from serving.gateway.forms.anthropic_blocks import messages_of, tool_choice_of, tools_of
from serving.gateway.openai_form import UnreadableReply

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_CAPTURED = frozenset(
    {
        *("model", "messages", "system", "max_tokens", "stop_sequences", "stream", "metadata"),
        *("temperature", "top_p", "top_k", "cache_salt", "service_tier", "tools", "tool_choice"),
    }
)
"""Fields that change neither the prompt nor which answers are allowed, beside messages and tools."""

_UNSEEN = "x-anthropic-billing-header"  # vLLM leaves texts of a system prompt that begin so out


class TokenCountForm(AnswerForm):
    """`/v1/messages/count_tokens`."""

    path = TOKENS
    is_conversation = False

    def read_answer(self, raw: bytes) -> AnswerPart:
        answer = read_object(raw)
        if not isinstance(answer.get("input_tokens"), int):
            raise UnreadableReply("no input_tokens")
        return AnswerPart(data=answer)

    def refusal(self, status: int, body: Any) -> dict[str, Any]:
        error = body.get("error") if isinstance(body, dict) else None
        text = error.get("message") if isinstance(error, dict) else None
        return anthropic_error(str(text or "the replica refused this request"), anthropic_kind(status))


class MessagesForm(TokenCountForm):
    """`/v1/messages`."""

    path = MESSAGES
    is_conversation = True
    are_events_named = True
    repeats_answer_in = "message"

    def translated(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not body.keys() <= _CAPTURED:
            raise NoChat("other_fields")
        messages = messages_of(body.get("messages"))
        if system := body.get("system"):
            texts = [system] if isinstance(system, str) else texts_of_parts(system, kinds=("text",))
            if texts is None or any(text.startswith(_UNSEEN) for text in texts):
                raise NoChat("not_text")
            messages.insert(0, {"role": "system", "content": "".join(texts)})
        chat = {**body, "messages": messages, "stop": body.get("stop_sequences")}
        if "tools" in body:
            chat["tools"] = tools_of(body["tools"])
        if "tool_choice" in body:
            chat["tool_choice"] = tool_choice_of(body["tool_choice"])
        return chat

    def read_answer(self, raw: bytes) -> AnswerPart:
        answer = read_object(raw)
        if "content" not in answer:
            raise UnreadableReply("no content")
        texts, thoughts = [], []
        calls: list[dict[str, Any]] = []
        for block in objects_in(answer, "content"):
            kind = text_in(block, "type")
            if kind == "text":
                texts.append(text_in(block, "text"))
            elif kind == "thinking":
                thoughts.append(text_in(block, "thinking"))
            else:
                arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
                call_id, name = text_in(block, "id"), text_in(block, "name")
                calls.append(tool_call(len(calls), call_id=call_id, name=name, arguments=arguments))
        reason = _finish_reason(text_in(answer, "stop_reason"))
        choice = whole_choice(texts, thoughts=thoughts, calls=calls, finish_reason=reason)
        return AnswerPart(data=answer, chat={"choices": [choice]})

    def read_event(self, raw: bytes) -> AnswerPart | None:
        event = read_object(raw)
        kind = text_in(event, "type")
        if kind == "error":
            return AnswerPart(data=event, error_status=500)
        return AnswerPart(data=event, chat={"choices": _choices(event, kind)}, is_last=kind == "message_stop")

    def broken_event(self) -> dict[str, Any]:
        return anthropic_error(BROKE_OFF, "api_error")


def _choices(event: Mapping[str, Any], kind: str) -> Choices:
    """What one event adds to the answer, as a part of one choice of a chat. Raises `UnreadableReply`."""
    place = event.get("index")
    index = place if isinstance(place, int) else 0
    delta, reason = object_in(event, "delta"), None
    added: dict[str, Any] = {}
    if kind == "content_block_start":
        block = object_in(event, "content_block")
        block_kind = text_in(block, "type")
        if block_kind not in ("text", "thinking"):
            added["tool_calls"] = [
                tool_call(index, call_id=text_in(block, "id"), name=text_in(block, "name"))
            ]
        added["content"] = text_in(block, "text")
        added["reasoning"] = text_in(block, "thinking") or None
    elif kind == "content_block_delta":
        added["content"] = text_in(delta, "text")
        added["reasoning"] = text_in(delta, "thinking") or None
        if arguments := text_in(delta, "partial_json"):
            added["tool_calls"] = [tool_call(index, arguments=arguments)]
    elif kind == "message_delta":
        reason = _finish_reason(text_in(delta, "stop_reason"))
    else:
        return ()
    return [{"index": 0, "delta": added, "finish_reason": reason}]


def _finish_reason(stop_reason: str) -> str | None:
    return _FINISH_REASONS.get(stop_reason, stop_reason) or None
