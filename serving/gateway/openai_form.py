"""OpenAI's forms: what a capture adds to a request, what the client sees of the answer, the list of models.

Pure functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.gateway.edge.json_text import decode_strictly


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedExtras:
    """Which of the extras the client asked for itself."""

    token_ids: bool
    logprobs: bool


def requested_extras(body: Mapping[str, Any], *, chat: bool) -> RequestedExtras:
    """What the client asked for. In completions `logprobs` is a number: 0 asks for the sampled tokens'."""
    logprobs = body.get("logprobs")
    return RequestedExtras(
        token_ids=bool(body.get("return_token_ids")),
        logprobs=bool(logprobs) if chat else logprobs is not None and logprobs is not False,
    )


def harmful_parameter(body: Mapping[str, Any], *, chat: bool) -> str | None:
    """The parameter by which this request would harm other requests; None where there is none.

    With LoRA enabled, vLLM's CPU build (0.32) crashes on log-probabilities of the prompt when another
    request is in the batch. `echo` asks for them too: beside `logprobs`, and in chats by itself.
    `logprob_token_ids` replace the log-probabilities that other requests of the batch asked for.
    """
    for name in ("prompt_logprobs", "logprob_token_ids"):
        if body.get(name) is not None:
            return name
    if body.get("echo") and (chat or body.get("logprobs") is not None):
        return "echo"
    return None


def with_capture_extras(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request, and it asks for the sampled tokens and their log-probabilities."""
    return {**body, "return_token_ids": True, "logprobs": True}


class UnreadableReply(ValueError):
    """A replica's answer is not in OpenAI's form. The text says what is wrong and quotes nothing."""


def error_status(chunk: Mapping[str, Any]) -> int | None:
    """The status of an event that reports an error; None for any other event.

    vLLM has already sent 200, so it writes the status into the error, as its code.
    """
    error = chunk.get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def read_json(raw: bytes) -> Any:
    """Decoded JSON that can be encoded again. Raises `UnreadableReply`."""
    try:
        return decode_strictly(raw)
    except (ValueError, RecursionError):
        raise UnreadableReply("not JSON") from None


def without_extras(answer: dict[str, Any], extras: RequestedExtras) -> None:
    """Remove from an answer, or from one chunk, what the client did not ask for."""
    if not extras.token_ids and "prompt_token_ids" in answer:
        answer["prompt_token_ids"] = None
    for choice in answer.get("choices") or ():
        for name in ("token_ids", "prompt_token_ids"):
            if not extras.token_ids and name in choice:
                choice[name] = None
        if not extras.logprobs and "logprobs" in choice:
            choice["logprobs"] = None


def model_card(agent: str) -> dict[str, Any]:
    """The body of `GET /v1/models/AGENT`."""
    return {"id": agent, "object": "model", "created": 0, "owned_by": "clorad"}


def model_list(agents: Sequence[str]) -> dict[str, Any]:
    """The body of `GET /v1/models`: the agents are the models of this server."""
    return {"object": "list", "data": [model_card(agent) for agent in agents]}
