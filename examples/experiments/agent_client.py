"""Asks an agent through the gateway, as OpenAI's clients do, many conversations at once."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from examples.experiments.orders import Surroundings

ANSWER_S_MAX = 60.0  # of one try
TRIES_S_MAX = 600.0
"""Seconds of all tries: a replica that was killed reads a large base for minutes before it is back. The
runner bounds a step by `experiments.rollouts_s_max`."""

RETRY_S = 0.5
POLL_S = 0.05
ROUTED_S_MAX = TRIES_S_MAX  # the gateway may be away when the order comes


class AgentAway(Exception):
    """The agent gave no answer, or the version that should answer is not routed. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledTool:
    """One call in an answer."""

    id: str
    name: str
    arguments: Mapping[str, Any] | None  # None: they are no JSON object


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAnswer:
    """One answer: an assistant message, and what the gateway calls it."""

    message: Mapping[str, Any]
    interaction: str
    version: str

    @property
    def text(self) -> str:
        """Its text, without calls."""
        return str(self.message.get("content") or "")

    @property
    def calls(self) -> tuple[CalledTool, ...]:
        """The tools that it calls, in order."""
        return tuple(
            CalledTool(
                id=str(call.get("id", "")),
                name=str(call["function"]["name"]),
                arguments=_object(call["function"]["arguments"]),
            )
            for call in self.message.get("tool_calls") or ()
        )


class AgentClient:
    """The agents behind one gateway. Belongs to one event loop."""

    def __init__(self, surroundings: Surroundings, *, in_flight_max: int) -> None:
        self._url = surroundings.gateway
        self._headers = {"authorization": f"Bearer {surroundings.key}"} if surroundings.key else {}
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            headers=self._headers,
            connector=TCPConnector(limit=0),
            timeout=ClientTimeout(total=ANSWER_S_MAX),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def wait_for(self, agent: str, version: str, *, wait_s_max: float = ROUTED_S_MAX) -> None:
        """Return once this version answers the holder of the key. Raises `AgentAway` after `wait_s_max`."""
        assert self._session is not None
        until_s, routed = time.monotonic() + wait_s_max, ""
        while time.monotonic() < until_s:
            try:
                async with self._session.get(f"{self._url}/routing") as response:
                    routed = str((await response.json()).get("agents", {}).get(agent, ""))
            except (ClientError, TimeoutError, ValueError):
                routed = "no answer"
            if routed == version:
                return
            await asyncio.sleep(POLL_S)
        raise AgentAway(f"{version} is not routed: {routed or 'the agent is not known'}")

    async def ask(
        self,
        agent: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]],
        conversation: str,
        turn: int,
        tokens_max: int,
        temperature: float = 1.0,
    ) -> AgentAnswer:
        """One answer. Raises `AgentAway` after `TRIES_S_MAX` seconds."""
        body: dict[str, Any] = {"model": agent, "messages": list(messages)}
        body |= {"tools": list(tools)} if tools else {}  # vLLM refuses an empty list
        body |= {"temperature": temperature, "max_tokens": tokens_max}
        headers = {"x-clorad-conversation": conversation, "x-clorad-turn": str(turn)}
        until_s, why = time.monotonic() + TRIES_S_MAX, ""
        while time.monotonic() < until_s:
            async with self._in_flight:
                answer = await self._try(body, headers)
            if isinstance(answer, AgentAnswer):
                return answer
            why = answer
            await asyncio.sleep(RETRY_S)
        raise AgentAway(why)

    async def _try(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> AgentAnswer | str:
        """The answer, or why there is none now. Raises `AgentAway` where another try would end alike."""
        assert self._session is not None
        try:
            async with self._session.post(
                f"{self._url}/v1/chat/completions", json=body, headers=headers
            ) as response:
                text = await response.text()
                if response.status == 200:
                    return AgentAnswer(
                        message=json.loads(text)["choices"][0]["message"],
                        interaction=response.headers.get("x-clorad-interaction", ""),
                        version=response.headers.get("x-clorad-version", ""),
                    )
        except (ClientError, TimeoutError, ValueError, LookupError) as fault:
            return type(fault).__name__
        if response.status < 500 and response.status != 429:
            raise AgentAway(f"{response.status}: {text[:200]}")
        return f"{response.status}"


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
