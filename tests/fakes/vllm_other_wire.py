"""The JSON forms of vLLM's answers (0.32) on OpenAI's Responses API and Anthropic's Messages API."""

from collections.abc import Mapping
from typing import Any

from tests.fakes.vllm_wire import GeneratedAnswer


def response(body: Mapping[str, Any], answer: GeneratedAnswer, *, begun: bool = False) -> dict[str, Any]:
    """A whole response; `begun`: as the first event of a stream has it."""
    is_cut = answer.finish_reason == "length"
    part = {"annotations": [], "text": answer.text, "type": "output_text", "logprobs": None}
    item = {"id": "msg_1", "content": [part], "role": "assistant", "status": "completed", "type": "message"}
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": answer.created,
        "model": answer.model,
        "instructions": body.get("instructions"),
        "metadata": None,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "none",
        "tools": [],
        "top_p": 1.0,
        "output": [] if begun else [item],
        "status": "in_progress" if begun else "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut and not begun else None,
    }


def response_events(body: Mapping[str, Any], answer: GeneratedAnswer) -> list[dict[str, Any]]:
    place = {"item_id": "msg_1", "output_index": 0}
    item = {"id": "msg_1", "content": [], "role": "assistant", "status": "in_progress", "type": "message"}
    text = {**place, "content_index": 0}
    part = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
    deltas = [
        {**text, "type": "response.output_text.delta", "delta": piece, "logprobs": []}
        for piece in answer.pieces
    ]
    events = [
        {"type": "response.created", "response": response(body, answer, begun=True)},
        {"type": "response.output_item.added", "item": item, "output_index": 0},
        {**text, "type": "response.content_part.added", "part": part},
        *deltas,
        # vLLM names the last event so also where the answer was cut.
        {"type": "response.completed", "response": response(body, answer)},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def message(answer: GeneratedAnswer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": answer.text}],
        "model": answer.model,
        "stop_reason": _stop_reason(answer),
        "usage": _usage(answer),
    }


def message_events(answer: GeneratedAnswer) -> list[dict[str, Any]]:
    opening = {**message(answer), "content": [], "stop_reason": None, "stop_sequence": None}
    deltas = [
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}, "index": 0}
        for piece in answer.pieces
    ]
    ending = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    return [
        {"type": "message_start", "message": opening},
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}, "index": 0},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ending, "usage": _usage(answer)},
        {"type": "message_stop"},
    ]


def as_chat(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request to one of these paths as a request to the chat API."""
    messages = body.get("messages")
    if path.endswith("responses"):
        messages = body.get("input")
        messages = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    tokens = {"max_tokens": body.get("max_output_tokens", body.get("max_tokens"))}
    return {"model": body.get("model"), "messages": messages, **tokens}


def _stop_reason(answer: GeneratedAnswer) -> str:
    return "max_tokens" if answer.finish_reason == "length" else "end_turn"


def _usage(answer: GeneratedAnswer) -> dict[str, int]:
    return {"input_tokens": len(answer.prompt_ids), "output_tokens": len(answer.token_ids)}
