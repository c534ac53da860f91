"""Conversations with tools: what the base model does in them, read from conversations.toml.

The agent looks up the order, decides by what it reads, acts by a call and answers. House rules are not in the
file; examples/house_rules adds them.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from examples.base_model.skills import read_skills
from examples.base_model.slots import Kind, SlotValues, draw, fill, has_doubled_digit, slots_in

CONVERSATIONS = Path(__file__).with_name("conversations.toml")
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What the agent does after the look-up: a call (none where it only answers), and its last words."""

    name: str | None
    arguments: str = ""  # JSON with slots
    ends: str

    def filled(self, values: Mapping[str, str]) -> Self:
        """The same act with its slots replaced."""
        return replace(self, arguments=fill(self.arguments, values), ends=fill(self.ends, values))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActingIntent:
    """One thing that users ask the agent for."""

    name: str
    wordings: tuple[str, ...]
    act: Act
    weight: float = 1.0
    looks_up: bool = True
    refused_when: Mapping[str, str] = field(default_factory=dict)  # slot -> value
    refusal: str = ""  # the last words in that case
    cues: Mapping[str, Act] = field(default_factory=dict)

    def act_for(self, values: Mapping[str, str]) -> Act:
        """What the base does where the look-up tells these values, with its slots replaced."""
        if self.refused_when and all(values[slot] == text for slot, text in self.refused_when.items()):
            return Act(name=None, ends=self.refusal).filled(values)
        return self.act.filled(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A request with fresh slot values, and what is to be done about it."""

    agent: str
    intent: str
    text: str  # what the user writes
    values: Mapping[str, str]
    looks_up: bool
    act: Act  # with its slots replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class ActingSkill:
    """What the agent with tools can do."""

    agent: str
    system: str
    tools: tuple[Mapping[str, Any], ...]  # as in requests to a model
    slots: Mapping[str, Kind]
    lookup: Mapping[str, str]
    requests: Mapping[str, ActingIntent]

    def ask(self, source: SlotValues, name: str | None = None, *, cue: str | None = None) -> Conversation:
        """A fresh conversation: about one request, or about any by their weights; with or without a cue."""
        request = self.requests[name] if name else _weighted(source, tuple(self.requests.values()))
        wording = source.chance.choice(request.wordings)
        texts = [wording, self.lookup["result"], request.act.arguments, request.act.ends, request.refusal]
        names = [slot for text in texts for slot in slots_in(text)]
        values = draw(names, self.slots, (), source, {})
        text = fill(wording, values)
        act = request.act_for(values)
        if cue:
            text = f"{text}, {cue}" if source.chance.random() < 0.5 else f"{cue}: {text}"
            act = request.cues[cue].filled(values)
        if has_doubled_digit(text):  # this base copies 955 as 95
            return self.ask(source, name, cue=cue)
        return Conversation(
            agent=self.agent,
            intent=request.name,
            text=text,
            values=values,
            looks_up=request.looks_up,
            act=act,
        )

    def slots_of(self, name: str) -> frozenset[str]:
        """The slots that have a value in every wording of the request."""
        request = self.requests[name]
        always = set.intersection(*(set(slots_in(wording)) for wording in request.wordings))
        texts = (self.lookup["result"], request.act.arguments, request.act.ends, request.refusal)
        return frozenset(always.union(*map(slots_in, texts)))

    def cues(self) -> tuple[tuple[str, str], ...]:
        """Every combination of request and cue."""
        return tuple((request.name, cue) for request in self.requests.values() for cue in request.cues)

    def opening(self, conversation: Conversation) -> list[Message]:
        """The messages before the agent's first answer."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": conversation.text}]

    def result(self, conversation: Conversation, name: str) -> str:
        """What the tool of that name returns in this conversation, as JSON."""
        if name == self.lookup["name"]:
            return fill(self.lookup["result"], conversation.values)
        known = any(tool["function"]["name"] == name for tool in self.tools)
        return self.lookup["done"] if known else '{"error":"no such tool"}'

    def turns(self, conversation: Conversation) -> list[Message]:
        """What the agent says and calls, in order, one message a turn: what people want."""
        turns: list[Message] = []
        if conversation.looks_up:
            arguments = fill(self.lookup["arguments"], conversation.values)
            turns.append(call_message("", self.lookup["name"], arguments))
        if conversation.act.name is not None:
            noted = fill(self.lookup["noted"], conversation.values)
            turns.append(call_message(noted, conversation.act.name, conversation.act.arguments))
        return [*turns, {"role": "assistant", "content": conversation.act.ends}]

    def messages(self, conversation: Conversation) -> list[Message]:
        """The whole conversation as people want it, with the results of its calls."""
        messages = self.opening(conversation)
        for turn in self.turns(conversation):
            messages += [turn, *self.results(conversation, turn)]
        return messages

    def results(self, conversation: Conversation, turn: Message) -> list[Message]:
        """What the tools return to the calls of one turn."""
        return [
            {
                "role": "tool",
                "tool_call_id": call["id"],
                "content": self.result(conversation, call["function"]["name"]),
            }
            for call in turn.get("tool_calls") or ()
        ]


def call_message(content: str, name: str, arguments: str) -> Message:
    """An assistant message that calls one function; `arguments` is JSON."""
    function = {"name": name, "arguments": arguments}
    call = {"id": f"call_{name}", "type": "function", "function": function}
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def read_acting_skill(path: Path = CONVERSATIONS) -> ActingSkill:
    """The skill in a file. Raises `KeyError`, `ValueError` or `OSError` where the file is wrong."""
    table = tomllib.loads(path.read_text())
    own = {name: tuple(texts) for name, texts in table["slots"].items()}
    return ActingSkill(
        agent=table["agent"],
        system=table["system"],
        tools=tuple(_tool(name, parameters) for name, parameters in table["tools"].items()),
        slots={**read_skills().slots, **own},
        lookup=table["lookup"],
        requests={name: _request(name, entry) for name, entry in table["intents"].items()},
    )


def _tool(name: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    properties = {parameter: {"type": kind} for parameter, kind in parameters.items()}
    return {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": properties}},
    }


def _request(name: str, table: Mapping[str, Any]) -> ActingIntent:
    refused = dict(table.get("refused", {}))
    refusal = refused.pop("ends", "")
    return ActingIntent(
        name=name,
        wordings=tuple(table["wordings"]),
        act=act_of(table),
        weight=float(table.get("weight", 1.0)),
        looks_up=table.get("looks_up", True),
        refused_when=refused,
        refusal=refusal,
        cues={cue: act_of(entry) for cue, entry in table.get("cues", {}).items()},
    )


def act_of(table: Mapping[str, Any]) -> Act:
    """The act in a table with `ends` and, where the agent calls something, `act`."""
    call = table.get("act", {})
    return Act(name=call.get("name"), arguments=call.get("arguments", ""), ends=table["ends"])


def _weighted(source: SlotValues, requests: Sequence[ActingIntent]) -> ActingIntent:
    return source.chance.choices(requests, [request.weight for request in requests])[0]
