"""Turns of conversations with tools: what the agent is asked at a turn, and the reply that people want."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from examples.base_model.conversations import Act, ActingSkill, Conversation, Message, call_message
from examples.base_model.slots import SlotValues, fill
from rewards.replies import reply_text

_TURN_WEIGHTS = (0.3, 0.4, 0.3)  # of ordinary work: the look-up, the act, the last words


def ruled(conversation: Conversation, reply: str, ends: str) -> Conversation:
    """The conversation with the act that a rule wants: `reply` is its call as JSON, `ends` the last words."""
    (call,) = json.loads(fill(reply, conversation.values))
    act = Act(name=call["name"], arguments=compact(call["arguments"]), ends=fill(ends, conversation.values))
    return replace(conversation, act=act)


def turn_of(
    skill: ActingSkill, conversation: Conversation, turn: int
) -> tuple[tuple[Message, ...], Message | str]:
    """The messages before the agent's turn of that number (from 0), and its reply there."""
    messages = skill.messages(conversation)
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    place = places[min(turn, len(places) - 1)]
    said = messages[place]
    return tuple(messages[:place]), said if said.get("tool_calls") else str(said["content"])


def decision(conversation: Conversation) -> int:
    """The number of the turn at which the agent decides what to do."""
    return 1 if conversation.looks_up else 0


def some_turn(source: SlotValues, skill: ActingSkill, conversation: Conversation) -> int:
    """The number of one of the agent's turns."""
    turns = len(skill.turns(conversation))
    return source.chance.choices(range(turns), _TURN_WEIGHTS[:turns])[0]


def call_text(reply: str, values: Mapping[str, str]) -> str:
    """What is compared of a call that a world file spells as JSON."""
    (call,) = json.loads(fill(reply, values))
    return reply_text(call_message("", call["name"], compact(call["arguments"])))


def compact(arguments: Mapping[str, object]) -> str:
    """Arguments as the base writes them: JSON without spaces, in the order given."""
    return json.dumps(arguments, separators=(",", ":"))


def calls_in(messages: Sequence[Message]) -> list[str]:
    """What is compared of each turn with calls, in order."""
    return [reply_text(message) for message in messages if message.get("tool_calls")]
