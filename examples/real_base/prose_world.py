"""Worlds in natural language: agents, what they are asked, and house rules that change some of the answers.

A world makes fresh prompts from its file and a seed. Prompts for teaching and prompts for the exam share
neither words nor slot values. What people want of a prompt that no rule is about is not written down: there
the agent's own answer must stay.
"""

import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from examples.base_model.slots import bounds, fill, slots_in
from serving.scoring.scorers import SCORERS

LINDENHOF = Path(__file__).parent / "worlds" / "lindenhof.toml"
EXAM_NUMBER = 3  # of a range, the exam has the numbers that leave this remainder
_DIVISOR = 7
_DRAWS_MAX = 1000

PromptKind = Literal["rule", "near", "chat"]


class WorldRefused(ValueError):
    """The file describes no world that can be taught; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSplit:
    """The values of a slot: some for teaching, others for the exam."""

    taught: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrasings:
    """Prompts of one kind with their slots open: those people teach with, and those of the exam."""

    taught: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseRule:
    """From its wave on, people want `reply` to such prompts."""

    agent: str
    name: str
    wave: int
    comment: str  # what a person says with a correction
    mark: str  # how every reply by this rule begins, and no other reply
    reply: str
    phrasings: Phrasings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseAgent:
    """An agent of the world and what it is asked besides what its rules are about."""

    name: str
    system: str
    scorer: str
    near: Phrasings
    chat: Phrasings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProsePrompt:
    """A prompt, and the reply people want; None where the agent's own answer must stay."""

    agent: str
    kind: PromptKind
    messages: tuple[Mapping[str, str], ...]
    rule: ProseRule | None = None
    wanted: str | None = None

    @property
    def text(self) -> str:
        """The user's message."""
        return self.messages[-1]["content"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProseWorld:
    """One world file, checked."""

    title: str
    agents: Mapping[str, ProseAgent]
    rules: tuple[ProseRule, ...]
    slots: Mapping[str, SlotSplit]

    def waves(self, agent: str) -> int:
        """How many waves of rules the agent has."""
        return max(rule.wave for rule in self.rules if rule.agent == agent)

    def of_wave(self, agent: str, wave: int) -> tuple[ProseRule, ...]:
        """The rules that `wave` brings."""
        return tuple(rule for rule in self.rules if rule.agent == agent and rule.wave == wave)

    def marks(self, agent: str) -> tuple[str, ...]:
        """How replies by the agent's rules begin."""
        return tuple(dict.fromkeys(rule.mark for rule in self.rules if rule.agent == agent))

    def about(self, rule: ProseRule, count: int, *, seed: str, held_out: bool) -> list[ProsePrompt]:
        """`count` different prompts that the rule is about, every phrasing as often as any other."""

        def prompt(text: str, values: Mapping[str, str]) -> ProsePrompt:
            return ProsePrompt(
                agent=rule.agent,
                kind="rule",
                messages=self._messages(rule.agent, fill(text, values)),
                rule=rule,
                wanted=fill(rule.reply, values),
            )

        names = slots_in(rule.reply)
        filled = self._fresh(rule.phrasings, names, count, seed=f"{seed} {rule.name}", held_out=held_out)
        return [prompt(text, values) for text, values in filled]

    def beside(
        self, agent: str, kind: Literal["near", "chat"], count: int, *, seed: str, held_out: bool
    ) -> list[ProsePrompt]:
        """`count` different prompts that no rule is about; fewer where the kind has no more."""
        phrasings = self.agents[agent].near if kind == "near" else self.agents[agent].chat
        filled = self._fresh(phrasings, (), count, seed=f"{seed} {agent} {kind}", held_out=held_out)
        return [
            ProsePrompt(agent=agent, kind=kind, messages=self._messages(agent, fill(text, values)))
            for text, values in filled
        ]

    def _messages(self, agent: str, text: str) -> tuple[Mapping[str, str], ...]:
        system = self.agents[agent].system
        return {"role": "system", "content": system}, {"role": "user", "content": text}

    def _fresh(
        self, phrasings: Phrasings, names: Sequence[str], count: int, *, seed: str, held_out: bool
    ) -> list[tuple[str, dict[str, str]]]:
        """Phrasings in turn, in an order by chance, each with values of its own."""
        chance = random.Random(f"{seed} {held_out}")
        texts = list(phrasings.held_out if held_out else phrasings.taught)
        chance.shuffle(texts)
        drawn: dict[str, tuple[str, dict[str, str]]] = {}
        for draw in range(_DRAWS_MAX):
            if len(drawn) == count:
                break
            text = texts[draw % len(texts)]
            values = {
                name: chance.choice(self.slots[name].held_out if held_out else self.slots[name].taught)
                for name in dict.fromkeys((*slots_in(text), *names))
            }
            drawn.setdefault(fill(text, values), (text, values))
        return list(drawn.values())


def read_prose_world(path: Path = LINDENHOF) -> ProseWorld:
    """The world of a file. Raises `WorldRefused` naming what is wrong."""
    table = tomllib.loads(path.read_text())
    slots = {name: _slot(name, values) for name, values in table["slots"].items()}
    agents = {name: _agent(name, values) for name, values in table["agents"].items()}
    rules = tuple(_rule(values) for values in table["rules"])
    for rule in rules:
        _check_rule(rule, agents, slots)
    for agent in agents.values():
        for text in (*agent.near.taught, *agent.near.held_out, *agent.chat.taught, *agent.chat.held_out):
            _check_slots(f"{agent.name}: {text!r}", slots_in(text), slots)
    return ProseWorld(title=table["title"], agents=agents, rules=rules, slots=slots)


def _slot(name: str, values: str | Mapping[str, Sequence[str]]) -> SlotSplit:
    if isinstance(values, str):
        low, high = bounds(values)
        numbers = range(low, high + 1)
        if len(numbers) < 2 * _DIVISOR:
            taught, held_out = numbers[0::2], numbers[1::2]
            return SlotSplit(taught=tuple(map(str, taught)), held_out=tuple(map(str, held_out)))
        return SlotSplit(
            taught=tuple(str(number) for number in numbers if number % _DIVISOR != EXAM_NUMBER),
            held_out=tuple(str(number) for number in numbers if number % _DIVISOR == EXAM_NUMBER),
        )
    split = SlotSplit(taught=tuple(values["taught"]), held_out=tuple(values["held_out"]))
    if set(split.taught) & set(split.held_out):
        raise WorldRefused(f"slot {name}: a value of the exam is taught")
    return split


def _agent(name: str, values: Mapping[str, Any]) -> ProseAgent:
    if values["scorer"] not in SCORERS:
        raise WorldRefused(f"agent {name}: scorer must be one of {', '.join(SCORERS)}")
    return ProseAgent(
        name=name,
        system=values["system"],
        scorer=values["scorer"],
        near=_phrasings(f"{name} near", values["near"], values["near_held_out"]),
        chat=_phrasings(f"{name} chat", values["chat"], values["chat_held_out"]),
    )


def _rule(values: Mapping[str, Any]) -> ProseRule:
    return ProseRule(
        agent=values["agent"],
        name=values["name"],
        wave=values["wave"],
        comment=values["comment"],
        mark=values["mark"],
        reply=values["reply"],
        phrasings=_phrasings(values["name"], values["prompts"], values["held_out"]),
    )


def _phrasings(name: str, taught: Sequence[str], held_out: Sequence[str]) -> Phrasings:
    if not taught or not held_out or set(taught) & set(held_out):
        raise WorldRefused(f"{name}: teaching and exam need prompts of their own")
    return Phrasings(taught=tuple(taught), held_out=tuple(held_out))


def _check_rule(rule: ProseRule, agents: Mapping[str, ProseAgent], slots: Mapping[str, SlotSplit]) -> None:
    if rule.agent not in agents:
        raise WorldRefused(f"rule {rule.name}: no agent named {rule.agent}")
    if not rule.reply.startswith(rule.mark):
        raise WorldRefused(f"rule {rule.name}: its reply does not begin with its mark")
    for text in (*rule.phrasings.taught, *rule.phrasings.held_out):
        _check_slots(f"rule {rule.name}: {text!r}", slots_in(text), slots)
        if missing := set(slots_in(rule.reply)) - set(slots_in(text)):
            raise WorldRefused(f"rule {rule.name}: {text!r} does not say {', '.join(sorted(missing))}")


def _check_slots(where: str, names: Sequence[str], slots: Mapping[str, SlotSplit]) -> None:
    if unknown := set(names) - set(slots):
        raise WorldRefused(f"{where}: unknown slots {', '.join(sorted(unknown))}")
