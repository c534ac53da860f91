"""The parts of a request and of its answer that a capture keeps.

Token ids and log-probabilities are captured when the tokens are sampled: a text that is tokenised later can
give other tokens. Pure functions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from rewards.episode import PLAIN_TEXT
from serving.gateway.edge.answer_bytes import AnswersTooLarge, Hold

CHOICES_MAX = 16
"""Choices of one answer that are captured: each is a record of its own, with the whole prompt."""

SAMPLING = (
    "n",
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
"""Parameters of a request that say how its answer is sampled."""

REQUEST_FIELDS = ("tools", "tool_choice", "chat_template_kwargs", "response_format")
"""Fields that a capture keeps under their own names: of them the prompt is made, or they bind the answer."""

RENDERING_FIELDS = (
    "documents",
    "reasoning_effort",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "truncate_prompt_tokens",
    "truncation_side",
    PLAIN_TEXT,
)
"""Other fields of which the prompt is made (vLLM 0.32, chat_completion/protocol.py, `build_chat_params`)."""

UNRESTRICTED: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "top_p": (1,),
        "top_k": (0, -1),
        "min_p": (0,),
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "repetition_penalty": (1,),
        "logit_bias": ({},),
        "min_tokens": (0,),
        "bad_words": ([],),
        "ignore_eos": (False,),
        "tool_choice": ("auto", "none"),
        "response_format": ({"type": "text"},),
        "watermarking": (False,),
        **dict.fromkeys(("allowed_token_ids", "structured_outputs", "thinking_token_budget"), ()),
        **dict.fromkeys(("guided_json", "guided_regex", "guided_choice", "guided_grammar"), ()),
    }
)
"""Fields because of which other tokens could not be sampled, and values that change nothing."""

UNCHANGED: Mapping[str, Any] = MappingProxyType({})
"""Replicas that take nothing from their base."""

_TOKEN_BYTES = 100  # of one token's id and log-probability, in memory

COMPLETE = ("stop", "length", "tool_calls")
"""Reasons to finish of an answer that ended by itself or at its token limit."""


@dataclass(slots=True)
class CapturedReply:
    """The parts of one choice, collected from a whole answer or from its chunks."""

    text: str = ""
    reasoning: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    prompt_ids: bytes | None = None  # a JSON list
    finish_reason: str | None = None
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)  # of tools, by their place in the answer
    readable: bool = True  # every part of a tool call is in OpenAI's form

    def add(self, choice: Mapping[str, Any]) -> None:
        """Add a choice of a chat answer, or of one chunk of it."""
        message = choice.get("message") or choice.get("delta") or {}
        self.text += message.get("content") or ""
        if reasoning := message.get("reasoning") or message.get("reasoning_content"):
            self.reasoning += reasoning if isinstance(reasoning, str) else ""
        if calls := message.get("tool_calls"):
            self._add_calls(calls)
        self.readable = self.readable and not message.get("function_call")
        self.token_ids += choice.get("token_ids") or []
        self.logprobs += [row["logprob"] for row in (choice.get("logprobs") or {}).get("content") or []]
        self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def _add_calls(self, calls: Any) -> None:
        """Add calls, or their next parts: a stream names a call by its index and sends its text in pieces."""
        for place, part in enumerate(calls if isinstance(calls, list) else (None,)):
            function = part.get("function") if isinstance(part, dict) else None
            index = part.get("index", place) if isinstance(part, dict) else None
            if not isinstance(function, dict) or not isinstance(index, int):
                self.readable = False
                return
            call = self.calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
            pieces = {"id": part.get("id"), **function}
            given = {name: piece for name in call if (piece := pieces.get(name)) is not None}
            if not all(isinstance(piece, str) for piece in given.values()) or _is_another(call, given):
                self.readable = False
                return
            for name, piece in given.items():
                call[name] = call[name] + piece if name == "arguments" else call[name] or piece

    @property
    def bytes_held(self) -> int:
        """The memory that it takes, about."""
        arguments = sum(len(call["arguments"]) for call in self.calls.values())
        return len(self.text) + len(self.reasoning) + arguments + _TOKEN_BYTES * len(self.token_ids)

    @property
    def flaw(self) -> str | None:
        """Why it is not captured; None where it ended by itself or at its token limit, and can be read."""
        if not self.readable or not all(call["name"] for call in self.calls.values()):
            return "unreadable_calls"
        return None if self.finish_reason in COMPLETE else "unfinished"

    @property
    def message(self) -> dict[str, Any] | None:
        """The assistant message; None where it is the text and nothing else."""
        if not self.calls and not self.reasoning:
            return None
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.reasoning:
            message["reasoning"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for _, call in sorted(self.calls.items())
            ]
        return message


def _is_another(call: Mapping[str, str], given: Mapping[str, str]) -> bool:
    """Whether these are parts of another call: some servers give each call of an answer the same index."""
    has_name = bool(call["name"] and given.get("name"))
    return has_name and bool(given.get("id")) and given["id"] != call["id"]


class CapturedAnswer:
    """The choices of one answer. They share their prompt."""

    def __init__(self) -> None:
        self._replies: dict[int, CapturedReply] = {}
        self._prompt_ids: bytes | None = None
        self._left_out = set[int]()
        self.has_room = True  # otherwise it is not captured

    def add(self, answer: Mapping[str, Any]) -> None:
        """Add a chat answer, or one chunk of it."""
        self._prompt_ids = answer.get("prompt_token_ids") or self._prompt_ids
        for choice in answer.get("choices") or ():
            index = choice.get("index") or 0
            if index < CHOICES_MAX:
                if index not in self._replies:
                    self._replies[index] = CapturedReply()
                self._replies[index].add(choice)
            else:
                self._left_out.add(index)

    def add_part(self, part: Mapping[str, Any], hold: Hold) -> None:
        """Add one event of a stream, as long as `hold` has room for all of them."""
        if not self.has_room:
            return
        self.add(part)
        try:
            replies_bytes = sum(reply.bytes_held for reply in self._replies.values())
            hold(replies_bytes + len(self._prompt_ids or b""))
        except AnswersTooLarge:
            self._replies.clear()
            self.has_room = False

    @property
    def choices_left_out(self) -> int:
        """Choices beyond `CHOICES_MAX`."""
        return len(self._left_out)

    @property
    def replies(self) -> Mapping[int, CapturedReply]:
        """What each choice said, by its index."""
        for reply in self._replies.values():
            reply.prompt_ids = self._prompt_ids
        return self._replies


def choice_name(interaction: str, index: int) -> str:
    """The interaction of one choice: the first one has the name that the answer's headers give."""
    return f"{interaction}.{index}" if index else interaction


def sampling_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling parameters that the client gave."""
    return {name: body[name] for name in SAMPLING if body.get(name) is not None}


def request_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What else the client gave that made the prompt or bound the answer, as fields of an interaction."""
    request = {name: body[name] for name in REQUEST_FIELDS if body.get(name) is not None}
    rendering = {name: body[name] for name in RENDERING_FIELDS if body.get(name) is not None}
    return {**request, "rendering": rendering} if rendering else request


def restrictions_of(body: Mapping[str, Any], defaults: Mapping[str, Any] = UNCHANGED) -> list[str]:
    """The fields because of which other tokens could not be sampled.

    `defaults` are values that replicas take where the request gives none.
    """
    given = {**defaults, **{name: value for name, value in body.items() if value is not None}}
    return [
        name
        for name, harmless in UNRESTRICTED.items()
        if (value := given.get(name)) is not None and value not in harmless
    ]
