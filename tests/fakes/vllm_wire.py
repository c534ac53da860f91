"""The JSON forms of vLLM's answers (0.32): chat and text, whole and in chunks."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedAnswer:
    """One answer, as tokens."""

    id: str
    model: str
    prompt_ids: list[int]
    pieces: list[str]
    token_ids: list[int]
    logprobs: list[float]
    likely: list[dict[int, float]]  # likely tokens at each position
    finish_reason: str
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def usage(self) -> dict[str, int]:
        completion_tokens, prompt_tokens = len(self.token_ids), len(self.prompt_ids)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }


def _head(answer: GeneratedAnswer, kind: str) -> dict[str, Any]:
    return {"id": answer.id, "object": kind, "created": answer.created, "model": answer.model}


def _chat_logprobs(body: Mapping[str, Any], answer: GeneratedAnswer, places: slice) -> dict[str, Any] | None:
    if not body.get("logprobs"):
        return None
    rows = zip(answer.pieces[places], answer.logprobs[places], strict=True)
    return {"content": [{"token": piece, "logprob": value, "top_logprobs": []} for piece, value in rows]}


def _text_logprobs(body: Mapping[str, Any], answer: GeneratedAnswer, places: slice) -> dict[str, Any] | None:
    if body.get("logprobs") is None:
        return None
    by_id = bool(body.get("return_tokens_as_token_ids"))
    rows = zip(answer.token_ids[places], answer.logprobs[places], answer.likely[places], strict=True)
    tops = [{token: value, **(named if body["logprobs"] else {})} for token, value, named in rows]
    name = (lambda token: f"token_id:{token}") if by_id else chr
    return {
        "tokens": [name(token) for token in answer.token_ids[places]],
        "token_logprobs": answer.logprobs[places],
        "top_logprobs": [{name(token): value for token, value in top.items()} for top in tops],
    }


def chat(body: Mapping[str, Any], answer: GeneratedAnswer) -> dict[str, Any]:
    with_ids = bool(body.get("return_token_ids"))
    choice = {
        "message": {"role": "assistant", "content": answer.text},
        "logprobs": _chat_logprobs(body, answer, slice(None)),
        "finish_reason": answer.finish_reason,
        "stop_reason": None,
        "token_ids": answer.token_ids if with_ids else None,
    }
    return {
        **_head(answer, "chat.completion"),
        "choices": [{"index": index, **choice} for index in _indices(body)],
        "usage": answer.usage(),
        "prompt_token_ids": answer.prompt_ids if with_ids else None,
    }


def text(body: Mapping[str, Any], answer: GeneratedAnswer) -> dict[str, Any]:
    with_ids = bool(body.get("return_token_ids"))
    choice = {
        "text": answer.text,
        "logprobs": _text_logprobs(body, answer, slice(None)),
        "finish_reason": answer.finish_reason,
        "token_ids": answer.token_ids if with_ids else None,
        "prompt_token_ids": answer.prompt_ids if with_ids else None,
        "prompt_logprobs": None,
    }
    choices = [{"index": index, **choice} for index in _indices(body)]
    return {**_head(answer, "text_completion"), "choices": choices, "usage": answer.usage()}


def chat_chunks(body: Mapping[str, Any], answer: GeneratedAnswer) -> list[dict[str, Any]]:
    head = _head(answer, "chat.completion.chunk")
    opening = {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    chunks = [{**head, "choices": [{"index": index, **opening}]} for index in _indices(body)]
    if body.get("return_token_ids"):
        chunks[0]["prompt_token_ids"] = answer.prompt_ids
    for place, piece in enumerate(answer.pieces):
        choice: dict[str, Any] = {
            "delta": {"content": piece},
            "logprobs": _chat_logprobs(body, answer, slice(place, place + 1)),
            "finish_reason": answer.finish_reason if place == len(answer.pieces) - 1 else None,
        }
        if body.get("return_token_ids"):
            choice["token_ids"] = answer.token_ids[place : place + 1]
        chunks += [{**head, "choices": [{"index": index, **choice}]} for index in _indices(body)]
    return [*chunks, *_usage_chunk(body, answer, head)]


def text_chunks(body: Mapping[str, Any], answer: GeneratedAnswer) -> list[dict[str, Any]]:
    head = _head(answer, "text_completion")
    chunks: list[dict[str, Any]] = []
    for place, piece in enumerate(answer.pieces):
        choice: dict[str, Any] = {
            "text": piece,
            "logprobs": _text_logprobs(body, answer, slice(place, place + 1)),
            "finish_reason": answer.finish_reason if place == len(answer.pieces) - 1 else None,
        }
        if body.get("return_token_ids"):
            choice["token_ids"] = answer.token_ids[place : place + 1]
            choice["prompt_token_ids"] = answer.prompt_ids if place == 0 else None
        chunks += [{**head, "choices": [{"index": index, **choice}]} for index in _indices(body)]
    return [*chunks, *_usage_chunk(body, answer, head)]


def _indices(body: Mapping[str, Any]) -> range:
    """The choices, which all say the same here."""
    return range(body.get("n") or 1)


def _usage_chunk(
    body: Mapping[str, Any], answer: GeneratedAnswer, head: Mapping[str, Any]
) -> list[dict[str, Any]]:
    if not (body.get("stream_options") or {}).get("include_usage"):
        return []
    return [{**head, "choices": [], "usage": answer.usage()}]


def rendered(template: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request to tokenize messages, one token a character."""
    text = "".join(template.format(**message) for message in body["messages"])
    text += "".join(json.dumps(tool) for tool in body.get("tools") or ())
    shown = {"token_strs": list(text)} if body.get("return_token_strs") else {}
    return {"count": len(text), "max_model_len": 512, "tokens": [ord(sign) for sign in text], **shown}
