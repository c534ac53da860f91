"""OpenAI's Responses API: an answer is a list of items, and the last event of a stream repeats all of it.

Captured are texts, thoughts and calls of functions: what `response_items` makes a chat of without loss. Their
tokens are not reported on this path.
"""

from collections.abc import Mapping
from typing import Any

from serving.gateway.edge.request_fields import RESPONSES
from serving.gateway.forms.answer_form import (
    BROKE_OFF,
    AnswerForm,
    AnswerPart,
    NoChat,
    object_in,
    objects_in,
    read_object,
    text_in,
    tool_call,
    whole_choice,
)
from serving.gateway.forms.response_items import messages_of, tool_choice_of, tools_of
from serving.gateway.openai_form import UnreadableReply

_LAST = ("response.completed", "response.incomplete", "response.failed")
_FINISH_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_CAPTURED = frozenset(
    {
        *("model", "input", "instructions", "max_output_tokens", "temperature", "top_p", "top_k", "min_p"),
        *("seed", "stop", "presence_penalty", "frequency_penalty", "repetition_penalty", "stream", "user"),
        *("metadata", "store", "include", "top_logprobs", "service_tier", "truncation", "cache_salt"),
        *("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "include_reasoning"),
        *("tools", "tool_choice", "parallel_tool_calls"),
    }
)
"""Fields that change neither the prompt nor which answers are allowed, beside messages and tools."""


class ResponsesForm(AnswerForm):
    """`/v1/responses`."""

    path = RESPONSES
    are_events_named = True
    repeats_answer_in = "response"

    def translated(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not body.keys() <= _CAPTURED:
            raise NoChat("other_fields")
        chat = {
            **body,
            "messages": messages_of(body.get("input"), body.get("instructions")),
            "max_tokens": body.get("max_output_tokens"),
        }
        if "tools" in body:
            chat["tools"] = tools_of(body["tools"])
        if "tool_choice" in body:
            chat["tool_choice"] = tool_choice_of(body["tool_choice"])
        return chat

    def read_answer(self, raw: bytes) -> AnswerPart:
        answer = read_object(raw)
        if "output" not in answer:
            raise UnreadableReply("no output")
        return AnswerPart(data=answer, chat=_chat(answer))

    def read_event(self, raw: bytes) -> AnswerPart | None:
        event = read_object(raw)
        kind = text_in(event, "type")
        if kind == "error" or event.get("error"):
            return AnswerPart(data=event, error_status=500)
        response = object_in(event, "response")
        if kind not in _LAST:
            return AnswerPart(data=event)
        if kind == "response.failed":
            return AnswerPart(data=event, error_status=500, is_last=True)
        return AnswerPart(data=event, chat=_chat(response), is_last=True)

    def broken_event(self) -> dict[str, Any]:
        fields = {"code": "broken_stream", "message": BROKE_OFF, "param": None}
        return {"type": "error", **fields, "sequence_number": 0}


def _chat(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """The response as a chat answer. Raises `UnreadableReply`."""
    texts, refusals, thoughts = [], [], []
    calls: list[dict[str, Any]] = []
    for item in objects_in(response, "output"):
        kind = text_in(item, "type")
        if kind == "message":
            for part in objects_in(item, "content"):
                texts.append(text_in(part, "text"))
                refusals.append(text_in(part, "refusal"))
        elif kind == "reasoning":
            thoughts += [text_in(part, "text") for part in objects_in(item, "content")]
        else:
            arguments = text_in(item, "arguments") if kind == "function_call" else "{}"
            call_id, name = text_in(item, "call_id"), text_in(item, "name")
            calls.append(tool_call(len(calls), call_id=call_id, name=name, arguments=arguments))
    reason = _finish_reason(response, bool(calls))
    choice = whole_choice(texts, thoughts=thoughts, calls=calls, finish_reason=reason, refusals=refusals)
    return {"choices": [choice]}


def _finish_reason(response: Mapping[str, Any], has_calls: bool) -> str | None:
    if text_in(response, "status") == "incomplete":
        why = text_in(object_in(response, "incomplete_details"), "reason")
        return _FINISH_REASONS.get(why, why)
    return "tool_calls" if has_calls else "stop"
