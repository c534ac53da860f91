"""Asks an agent as any user does: OpenAI's own client, one try for each request."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai import OpenAI

from rewards.episode import Message
from rewards.replies import Reply, reply_text

ANSWER_S_MAX = 60.0
TOKENS_MAX = 56


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReply:
    """An agent's reply, and the version that gave it."""

    text: str  # what is compared: its calls where it calls something
    version: str  # v0 is the base model
    interaction: str
    message: Message | None = None  # where it calls tools

    @property
    def said(self) -> Reply:
        """The reply as feedback about it has it."""
        return self.message or self.text


class GatewayClient:
    """The agents behind one gateway. Safe to use from several threads."""

    def __init__(self, url: str, *, tokens_max: int = TOKENS_MAX) -> None:
        self._client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S_MAX)
        self._tokens_max = tokens_max

    def ask(
        self,
        agent: str,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        conversation: str | None = None,
        captured: bool = True,
        stream: bool = False,
    ) -> AgentReply:
        """The agent's reply at temperature 0. Raises `openai.OpenAIError`; nothing is tried again."""
        headers = {} if captured else {"x-clorad-capture": "off"}
        if conversation is not None:
            headers["x-clorad-conversation"] = conversation
        body: dict[str, Any] = {"messages": list(messages)} | ({"tools": list(tools)} if tools else {})
        body |= {"model": agent, "temperature": 0, "max_tokens": self._tokens_max}
        create = self._client.chat.completions.with_raw_response.create
        if stream:
            response: Any = create(stream=True, extra_headers=headers, **body)
            said = _put_together(response.parse())
        else:
            response = create(extra_headers=headers, **body)
            said = response.parse().choices[0].message.to_dict()
        message = assistant_message(said) if said.get("tool_calls") else None
        return AgentReply(
            text=reply_text(message) if message else said.get("content") or "",
            message=message,
            version=response.headers.get("x-clorad-version", ""),
            interaction=response.headers.get("x-clorad-interaction", ""),
        )


def assistant_message(said: Mapping[str, Any]) -> Message:
    """What an answer's message has of it in the next request: its text and its calls."""
    calls = [
        {"id": call["id"], "type": "function", "function": call["function"]}
        for call in said.get("tool_calls") or ()
    ]
    return {"role": "assistant", "content": said.get("content") or "", "tool_calls": calls}


def _put_together(chunks: Iterable[Any]) -> dict[str, Any]:
    """The message whose parts a stream brings."""
    content, calls = "", dict[int, dict[str, Any]]()
    for chunk in chunks:
        for choice in chunk.choices:
            content += choice.delta.content or ""
            for part in choice.delta.tool_calls or ():
                call = calls.setdefault(part.index, {"id": "", "function": {"name": "", "arguments": ""}})
                call["id"] += part.id or ""
                call["function"]["name"] += part.function.name or ""
                call["function"]["arguments"] += part.function.arguments or ""
    return {"content": content, "tool_calls": [calls[place] for place in sorted(calls)]}
