"""The shapes of a vLLM server's answers (0.32): chat and text, whole and in chunks."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """One answer, as tokens."""

    id: str
    model: str
    prompt_ids: list[int]
    pieces: list[str]
    token_ids: list[int]
    logprobs: list[float]
    likely: list[dict[int, float]]  # what else could have been said
    finish_reason: str
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def usage(self) -> dict[str, int]:
        spoken, asked = len(self.token_ids), len(self.prompt_ids)
        return {"prompt_tokens": asked, "completion_tokens": spoken, "total_tokens": asked + spoken}


def _head(speech: Speech, kind: str) -> dict[str, Any]:
    return {"id": speech.id, "object": kind, "created": speech.created, "model": speech.model}


def _chat_logprobs(body: Mapping[str, Any], speech: Speech, places: slice) -> dict[str, Any] | None:
    if not body.get("logprobs"):
        return None
    rows = zip(speech.pieces[places], speech.logprobs[places], strict=True)
    return {"content": [{"token": piece, "logprob": value, "top_logprobs": []} for piece, value in rows]}


def _text_logprobs(body: Mapping[str, Any], speech: Speech, places: slice) -> dict[str, Any] | None:
    if body.get("logprobs") is None:
        return None
    by_id = bool(body.get("return_tokens_as_token_ids"))
    rows = zip(speech.token_ids[places], speech.logprobs[places], speech.likely[places], strict=True)
    tops = [{token: value, **(named if body["logprobs"] else {})} for token, value, named in rows]
    name = (lambda token: f"token_id:{token}") if by_id else chr
    return {
        "tokens": [name(token) for token in speech.token_ids[places]],
        "token_logprobs": speech.logprobs[places],
        "top_logprobs": [{name(token): value for token, value in top.items()} for top in tops],
    }


def chat(body: Mapping[str, Any], speech: Speech) -> dict[str, Any]:
    with_ids = bool(body.get("return_token_ids"))
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": speech.text},
        "logprobs": _chat_logprobs(body, speech, slice(None)),
        "finish_reason": speech.finish_reason,
        "stop_reason": None,
        "token_ids": speech.token_ids if with_ids else None,
    }
    return {
        **_head(speech, "chat.completion"),
        "choices": [choice],
        "usage": speech.usage(),
        "prompt_token_ids": speech.prompt_ids if with_ids else None,
    }


def text(body: Mapping[str, Any], speech: Speech) -> dict[str, Any]:
    with_ids = bool(body.get("return_token_ids"))
    choice = {
        "index": 0,
        "text": speech.text,
        "logprobs": _text_logprobs(body, speech, slice(None)),
        "finish_reason": speech.finish_reason,
        "token_ids": speech.token_ids if with_ids else None,
        "prompt_token_ids": speech.prompt_ids if with_ids else None,
        "prompt_logprobs": None,
    }
    return {**_head(speech, "text_completion"), "choices": [choice], "usage": speech.usage()}


def chat_chunks(body: Mapping[str, Any], speech: Speech) -> list[dict[str, Any]]:
    head = _head(speech, "chat.completion.chunk")
    opening = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    first: dict[str, Any] = {**head, "choices": [opening]}
    if body.get("return_token_ids"):
        first["prompt_token_ids"] = speech.prompt_ids
    chunks = [first]
    for place, piece in enumerate(speech.pieces):
        choice: dict[str, Any] = {
            "index": 0,
            "delta": {"content": piece},
            "logprobs": _chat_logprobs(body, speech, slice(place, place + 1)),
            "finish_reason": speech.finish_reason if place == len(speech.pieces) - 1 else None,
        }
        if body.get("return_token_ids"):
            choice["token_ids"] = speech.token_ids[place : place + 1]
        chunks.append({**head, "choices": [choice]})
    return [*chunks, *_usage_chunk(body, speech, head)]


def text_chunks(body: Mapping[str, Any], speech: Speech) -> list[dict[str, Any]]:
    head = _head(speech, "text_completion")
    chunks: list[dict[str, Any]] = []
    for place, piece in enumerate(speech.pieces):
        choice: dict[str, Any] = {
            "index": 0,
            "text": piece,
            "logprobs": _text_logprobs(body, speech, slice(place, place + 1)),
            "finish_reason": speech.finish_reason if place == len(speech.pieces) - 1 else None,
        }
        if body.get("return_token_ids"):
            choice["token_ids"] = speech.token_ids[place : place + 1]
            choice["prompt_token_ids"] = speech.prompt_ids if place == 0 else None
        chunks.append({**head, "choices": [choice]})
    return [*chunks, *_usage_chunk(body, speech, head)]


def _usage_chunk(body: Mapping[str, Any], speech: Speech, head: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not (body.get("stream_options") or {}).get("include_usage"):
        return []
    return [{**head, "choices": [], "usage": speech.usage()}]
