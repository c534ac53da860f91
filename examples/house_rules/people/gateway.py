"""Asks an agent as any user does: OpenAI's own client, one try for each request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai import OpenAI

ANSWER_S_MAX = 60.0
TOKENS_MAX = 56


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReply:
    """An agent's reply, and the version that gave it."""

    text: str
    version: str  # v0 is the base model
    interaction: str


class GatewayClient:
    """The agents behind one gateway. Safe to use from several threads."""

    def __init__(self, url: str, *, tokens_max: int = TOKENS_MAX) -> None:
        self._client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S_MAX)
        self._tokens_max = tokens_max

    def ask(
        self,
        agent: str,
        messages: Sequence[Mapping[str, str]],
        *,
        conversation: str | None = None,
        captured: bool = True,
    ) -> AgentReply:
        """The agent's reply at temperature 0. Raises `openai.OpenAIError`; nothing is tried again."""
        headers = {} if captured else {"x-clorad-capture": "off"}
        if conversation is not None:
            headers["x-clorad-conversation"] = conversation
        prompt: Any = list(messages)
        response = self._client.chat.completions.with_raw_response.create(
            model=agent, messages=prompt, temperature=0, max_tokens=self._tokens_max, extra_headers=headers
        )
        return AgentReply(
            text=response.parse().choices[0].message.content or "",
            version=response.headers.get("x-clorad-version", ""),
            interaction=response.headers.get("x-clorad-interaction", ""),
        )
