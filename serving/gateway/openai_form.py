"""What is asked of a replica beyond what the client asked, and what of the answer the client gets to see.

Token ids and log-probabilities are taken where they arise: re-tokenising a text later gives other tokens.
Pure functions; what a replica says is checked here once, and trusted from there on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)
"""Parameters of a request that say how its answer was drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedExtras:
    """Which of the extras the client wants to see itself."""

    token_ids: bool
    logprobs: bool


@dataclass(slots=True)
class CapturedReply:
    """What one answer was made of, gathered from a whole one or from its chunks."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    plain: bool = True  # nothing but text was said: no tool call

    def hear(self, choice: Mapping[str, Any]) -> None:
        """Add one choice of a chat answer, or the part of it in one chunk."""
        said = choice.get("message") or choice.get("delta") or {}
        self.plain = self.plain and not said.get("tool_calls") and not said.get("function_call")
        self.text += said.get("content") or ""
        self.token_ids += choice.get("token_ids") or []
        self.logprobs += [row["logprob"] for row in (choice.get("logprobs") or {}).get("content") or []]
        self.finish_reason = choice.get("finish_reason") or self.finish_reason

    @property
    def complete(self) -> bool:
        """Whether it is worth keeping: ended by itself or by its limit, and words only."""
        return self.finish_reason in ("stop", "length") and self.plain


def asked(body: Mapping[str, Any]) -> RequestedExtras:
    """What the client asked for. (`logprobs` is a truth in chats and a number in completions.)"""
    return RequestedExtras(
        token_ids=bool(body.get("return_token_ids")),
        logprobs=body.get("logprobs") not in (None, False),
    )


def deadly(body: Mapping[str, Any], *, chat: bool) -> str | None:
    """The parameter by which this request would spoil others' answers; None where there is none.

    With LoRA enabled, vLLM's CPU build (0.32) dies of log-probabilities of the prompt as soon as another
    request is in the batch. `echo` asks for them too: beside `logprobs`, and in chats by itself. And
    `logprob_token_ids` take the place of the log-probabilities that others in the batch asked for.
    """
    for name in ("prompt_logprobs", "logprob_token_ids"):
        if body.get(name) is not None:
            return name
    if body.get("echo") and (chat or body.get("logprobs") is not None):
        return "echo"
    return None


def with_extras(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat request that brings back the sampled tokens and their log-probabilities."""
    return {**body, "return_token_ids": True, "logprobs": True}


class Garbled(ValueError):
    """A replica's words are none of OpenAI's form. Its text says what is wrong and quotes nothing."""


def answer_in(raw: bytes) -> dict[str, Any]:
    """A whole answer (status 200), decoded. Raises `Garbled`."""
    answer = chunk_in(raw)
    if not answer.get("choices"):
        raise Garbled("no choices")
    return answer


def chunk_in(raw: bytes) -> dict[str, Any]:
    """One event of a streamed answer, decoded; usage and errors come without choices. Raises `Garbled`."""
    chunk = json_in(raw)
    if not isinstance(chunk, dict):
        raise Garbled("no object")
    choices = chunk.get("choices") or []
    if not isinstance(choices, list) or not all(map(_is_choice, choices)):
        raise Garbled("choices of another form")
    return chunk


def error_status(chunk: Mapping[str, Any]) -> int | None:
    """The status an event of a stream stands for that tells of an error; None for any other.

    vLLM has sent 200 by then, so it writes the status it would have sent beside the error, as its code.
    """
    error = chunk.get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def json_in(raw: bytes) -> Any:
    """Decoded, and sure to be encoded again. Raises `Garbled`."""
    try:
        value = json.loads(raw, parse_constant=_refuse)
        if b"\\ud" in raw or b"\\uD" in raw:  # half of a pair is JSON, but no UTF-8
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Garbled("no JSON") from None
    return value


def without_extras(answer: dict[str, Any], seen: RequestedExtras) -> None:
    """Take out of an answer, or of one chunk, what the client did not ask for."""
    if not seen.token_ids and "prompt_token_ids" in answer:
        answer["prompt_token_ids"] = None
    for choice in answer.get("choices") or ():
        if not seen.token_ids and "token_ids" in choice:
            choice["token_ids"] = None
        if not seen.logprobs and "logprobs" in choice:
            choice["logprobs"] = None


def sampling_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """How the answer was drawn, as far as the client said."""
    return {name: body[name] for name in SAMPLING if body.get(name) is not None}


def _is_choice(choice: Any) -> bool:
    """Whether `CapturedReply` and `without_extras` find what they look for, or nothing, where they look."""
    if not isinstance(choice, dict):
        return False
    said, scored = choice.get("message") or choice.get("delta") or {}, choice.get("logprobs") or {}
    if not isinstance(said, dict) or not isinstance(scored, dict):
        return False
    rows = scored.get("content") or []
    return (
        isinstance(said.get("content") or "", str)
        and _all_are(int, choice.get("token_ids") or [])
        and _all_are(dict, rows)
        and _all_are(float, [row.get("logprob") for row in rows])
    )


def _all_are(kind: type, values: Any) -> bool:
    accepted = (int, float) if kind is float else kind
    return isinstance(values, list) and all(isinstance(one, accepted) for one in values)


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are not JSON, and no client could read them


def complaint(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error body as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def model_list(agents: Sequence[str]) -> dict[str, Any]:
    """`GET /v1/models`: agents are the models of this server."""
    cards = [{"id": name, "object": "model", "created": 0, "owned_by": "clorad"} for name in agents]
    return {"object": "list", "data": cards}
