"""Talking to an agent as any user does: the official client, one try a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai import OpenAI

ANSWER_S_MAX = 60.0
TOKENS_MAX = 56


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReply:
    """What an agent said, and who exactly said it."""

    text: str
    version: str  # v0 is the base
    interaction: str


class GatewayClient:
    """The agents behind one gateway. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        self._client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S_MAX)

    def ask(
        self,
        agent: str,
        messages: Sequence[Mapping[str, str]],
        *,
        conversation: str | None = None,
        captured: bool = True,
    ) -> AgentReply:
        """The agent's answer at temperature 0. Raises openai's errors: nothing is tried again."""
        headers = {} if captured else {"x-clorad-capture": "off"}
        if conversation is not None:
            headers["x-clorad-conversation"] = conversation
        spoken: Any = list(messages)
        said = self._client.chat.completions.with_raw_response.create(
            model=agent, messages=spoken, temperature=0, max_tokens=TOKENS_MAX, extra_headers=headers
        )
        return AgentReply(
            text=said.parse().choices[0].message.content or "",
            version=said.headers.get("x-clorad-version", ""),
            interaction=said.headers.get("x-clorad-interaction", ""),
        )
