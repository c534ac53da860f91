"""Skills: what the base model can do, read from skills.toml.

A skill is an agent with intents. An intent has wordings of a prompt and the reply they get. House rules are
not in this file; examples/house_rules adds them.
"""

import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from examples.base_model.slots import Kind, SlotValues, bounds, draw, fill, slots_in

SKILLS = Path(__file__).with_name("skills.toml")
_Weighted = TypeVar("_Weighted", "Intent", "Frame")
_INTENT_KEYS = {"wordings", "reply", "weight", "cues", "right", "wrong"}


class BrokenSkillsError(ValueError):
    """The skills file is wrong. The message names the place in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One thing that an agent is asked for, and the base's reply."""

    name: str
    wordings: tuple[str, ...]
    reply: str
    weight: float = 1.0
    cues: Mapping[str, str]  # words added to the prompt -> the reply that they lead to
    right: tuple[float, ...] = ()  # share of right replies for each wording; empty: always right
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Text around a prompt, and the slot values that come with it."""

    prompt: str = "<prompt>"
    weight: float = 1.0
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """What one agent can do."""

    agent: str
    system: str
    frames: tuple[Frame, ...]
    intents: Mapping[str, Intent]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillPrompt:
    """A prompt with fresh slot values, and the base's own reply to it."""

    agent: str
    system: str
    intent: str
    prompt: str
    reply: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skills:
    """All skills of one file."""

    slots: Mapping[str, Kind]
    records: tuple[tuple[Mapping[str, str], ...], ...]
    agents: Mapping[str, Skill]

    def ask(
        self, source: SlotValues, agent: str, intent: str | None = None, *, cue: str | None = None
    ) -> SkillPrompt:
        """A fresh prompt for `agent`: of one intent, or of any by their weights; with or without a cue."""
        skill = self.agents[agent]
        chosen = skill.intents[intent] if intent else _weighted(source.chance, tuple(skill.intents.values()))
        wording = source.chance.randrange(len(chosen.wordings))
        frame = _weighted(source.chance, skill.frames)
        texts = (chosen.wordings[wording], chosen.cues[cue] if cue else chosen.reply)
        names = [name for text in texts for name in slots_in(text)]
        values = draw(names, self.slots, self.records, source, frame.values)
        prompt = fill(frame.prompt, {**values, "prompt": fill(texts[0], values)})
        if cue:
            prompt = f"{prompt}, {cue}" if source.chance.random() < 0.5 else f"{cue}: {prompt}"
        reply = fill(_reply_text(chosen, wording, texts[1], source.chance), values)
        return SkillPrompt(
            agent=agent,
            system=skill.system,
            intent=chosen.name,
            prompt=prompt,
            reply=reply,
            values=values,
        )

    def slots_of(self, agent: str, intent: str) -> frozenset[str]:
        """The slots that have a value in every wording of the intent."""
        skill = self.agents[agent]
        chosen = skill.intents[intent]
        always = set(slots_in(chosen.reply))
        always |= set.intersection(*(set(slots_in(wording)) for wording in chosen.wordings))
        for lines in self.records:
            if always & set(lines[0]):
                always |= set(lines[0])
        return frozenset(always | set(skill.frames[0].values))

    def cues(self, agent: str | None = None) -> tuple[tuple[str, str, str], ...]:
        """Every combination of agent, intent and cue."""
        return tuple(
            (skill.agent, intent.name, cue)
            for skill in self.agents.values()
            for intent in skill.intents.values()
            for cue in intent.cues
            if agent in (None, skill.agent)
        )


def read_skills(path: Path = SKILLS) -> Skills:
    """The skills in a file. Raises `BrokenSkillsError`."""
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise BrokenSkillsError(f"{path.name}: {fault}") from fault
    try:
        return _skills(table)
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise BrokenSkillsError(f"{path.name}: {fault}") from fault


def _skills(table: Mapping[str, Any]) -> Skills:
    slots: dict[str, Kind] = {}
    for name, kind in table["slots"].items():
        if isinstance(kind, str) and kind not in ("word", "city"):
            bounds(kind)
        slots[name] = kind if isinstance(kind, str) else tuple(kind)
    records = tuple(tuple(dict(line) for line in lines) for lines in table.get("records", {}).values())
    known = set(slots) | {name for lines in records for name in lines[0]}
    for name, kind in slots.items():
        for text in kind if isinstance(kind, tuple) else ():
            _require(text, known, f"slot {name}")
    for line in (line for lines in records for line in lines):
        for name, text in line.items():
            _require(text, set(slots), f"record {name}")
    agents = {name: _skill(name, entry, known) for name, entry in table["agents"].items()}
    return Skills(slots=slots, records=records, agents=agents)


def _skill(agent: str, table: Mapping[str, Any], known: set[str]) -> Skill:
    frames = tuple(
        Frame(
            prompt=line["prompt"],
            weight=line.get("weight", 1.0),
            values={name: text for name, text in line.items() if name not in ("prompt", "weight")},
        )
        for line in table.get("frames", [{"prompt": "<prompt>"}])
    )
    named = known | set(frames[0].values)
    intents = {name: _intent(agent, name, entry, named) for name, entry in table["intents"].items()}
    return Skill(agent=agent, system=table["system"], frames=frames, intents=intents)


def _intent(agent: str, name: str, table: Mapping[str, Any], known: set[str]) -> Intent:
    where = f"agents.{agent}.intents.{name}"
    unknown = set(table) - _INTENT_KEYS
    if unknown:
        raise BrokenSkillsError(f"{where}: unknown key {sorted(unknown)[0]!r}")
    intent = Intent(
        name=name,
        wordings=tuple(table["wordings"]),
        reply=table["reply"],
        weight=float(table.get("weight", 1.0)),
        cues=dict(table.get("cues", {})),
        right=tuple(table.get("right", ())),
        wrong=tuple(table.get("wrong", ())),
    )
    for text in (*intent.wordings, intent.reply, *intent.cues.values(), *intent.wrong):
        _require(text, known, where)
    if intent.right and len(intent.right) != len(intent.wordings):
        raise BrokenSkillsError(f"{where}: `right` needs one share a wording")
    return intent


def _require(text: str, known: set[str], where: str) -> None:
    for slot in slots_in(text):
        if slot not in known:
            raise BrokenSkillsError(f"{where}: no slot <{slot}>")


def _reply_text(intent: Intent, wording: int, reply: str, chance: random.Random) -> str:
    """The right reply, or a wrong one as often as the intent says."""
    if intent.right and chance.random() >= intent.right[wording]:
        return chance.choice(intent.wrong)
    return reply


def _weighted(chance: random.Random, options: tuple[_Weighted, ...]) -> _Weighted:
    return chance.choices(options, [option.weight for option in options])[0]
