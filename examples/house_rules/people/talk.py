"""Holds a conversation with the agent that has tools, through the gateway, with simulated tools."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.base_model.conversations import ActingSkill, Conversation, Message
from examples.base_model.heldout_conversations import TURNS_MAX
from examples.house_rules.people.gateway import AgentReply, GatewayClient
from rewards.replies import Reply, calls_of, message_of, reply_text


@dataclass(slots=True, kw_only=True)
class HeldConversation:
    """One conversation as far as it was held."""

    name: str | None  # at the gateway
    asked: Conversation
    messages: list[Message]
    replies: list[AgentReply] = field(default_factory=list)  # of the agent, by turn

    def before(self, turn: int) -> list[Message]:
        """The messages that the agent's turn of that number (from 0) answers."""
        places = [place for place, message in enumerate(self.messages) if message["role"] == "assistant"]
        return self.messages[: places[turn]]


def talk(
    gateway: GatewayClient,
    skill: ActingSkill,
    asked: Conversation,
    *,
    name: str | None = None,
    stream: bool = False,
    captured: bool = True,
    turns_max: int = TURNS_MAX,
) -> HeldConversation:
    """Ask and run the agent's calls until it answers without one. Raises `openai.OpenAIError`."""
    held = HeldConversation(name=name, asked=asked, messages=skill.opening(asked))
    for _ in range(turns_max):
        reply = gateway.ask(
            skill.agent, held.messages, tools=skill.tools, conversation=name, stream=stream, captured=captured
        )
        said = message_of(reply.said)
        held.replies.append(reply)
        held.messages += [said, *skill.results(asked, said)]
        if reply.message is None:
            break
    return held


def continued(skill: ActingSkill, asked: Conversation, turns: Sequence[Message]) -> list[Message]:
    """These turns of the agent, each with the results of its calls: what an operator's takeover has."""
    return [message for turn in turns for message in (turn, *skill.results(asked, turn))]


def first_wrong(held: HeldConversation, wanted: Sequence[Message]) -> int | None:
    """The number of the agent's first turn that says or calls something else than wanted; None: none does."""
    for turn, (reply, right) in enumerate(zip(held.replies, wanted, strict=False)):
        if reply.text != reply_text(right):
            return turn
    return None


def takeover_lines(before: Sequence[Message], said: Reply, turns: Sequence[Message]) -> list[str]:
    """A conversation that an operator took over, for people to read."""
    wrong = f"agent was about to: {_shown(message_of(said))}"
    return [*talk_lines(before), wrong, *(f"operator: {line}" for line in map(_shown, turns) if line)]


def talk_lines(messages: Sequence[Message]) -> list[str]:
    """The lines of a conversation, for people to read; system messages are left out."""
    names = {"user": "user", "assistant": "agent", "tool": "tool"}
    return [
        f"{names[message['role']]}: {_shown(message)}" for message in messages if message["role"] in names
    ]


def _shown(message: Message) -> str:
    called = [f"{name}({_arguments(arguments)})" for name, arguments in calls_of(message)]
    return " ".join(part for part in (message.get("content"), *called) if part)


def _arguments(arguments: Any) -> str:
    if not isinstance(arguments, dict):
        return str(arguments)
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
