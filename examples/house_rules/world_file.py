"""Reads a world file (WORLDS.md has the format). A broken one is refused with one line that says why."""

import random
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from examples.base_model.conversations import read_acting_skill
from examples.base_model.skills import BrokenSkillsError, read_skills
from examples.base_model.slots import SlotValues, read_words, slots_in
from examples.house_rules.world import Rule, World
from serving.scoring.scorers import SCORERS

_RULE_KEYS = {"name", "agent", "wave", "intent", "when", "unless", "reply", "ends", "comment", "near"}
_DRAWS = 200


class BrokenWorldError(ValueError):
    """A world file that cannot be used. The message says where and why in one line."""


def read_world(path: Path) -> World:
    """The world in a file. Raises `BrokenWorldError`."""
    try:
        table = tomllib.loads(path.read_text())
        skills = read_skills(path.parent / _text(table, "skills", path.name))
        acting = (
            read_acting_skill(path.parent / _text(table, "conversations", path.name))
            if "conversations" in table
            else None
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, BrokenSkillsError) as fault:
        raise BrokenWorldError(f"{path.name}: {fault}") from fault
    agents = _table(table, "agents", path.name)
    known = {*skills.agents, *([acting.agent] if acting else [])}
    scorers = {name: _scorer(name, entry, known, path.name) for name, entry in agents.items()}
    entries = table.get("rules")
    if not isinstance(entries, list) or not entries:
        raise BrokenWorldError(f"{path.name}: no [[rules]]")
    rules = tuple(
        _rule(entry, scorers, f"{path.name}: rule {place}") for place, entry in enumerate(entries, 1)
    )
    world = World(
        title=_text(table, "title", path.name),
        skills=skills,
        scorers=scorers,
        rules=rules,
        acting=acting,
        short=_short(table, scorers, path.name),
    )
    for place, rule in enumerate(rules, 1):
        _check_slots(rule, world, f"{path.name}: rule {place}")
    _check_waves(world, path.name)
    _check_draws(world, path.name)
    return world


def _short(table: Mapping[str, Any], agents: Collection[str], where: str) -> tuple[str, ...]:
    names = table.get("short", list(agents))
    if not isinstance(names, list) or not names or not set(names) <= set(agents):
        raise BrokenWorldError(f"{where}: 'short' must name agents that are under [agents]")
    return tuple(names)


def _scorer(agent: str, entry: Any, known: Collection[str], where: str) -> str:
    if agent not in known:
        raise BrokenWorldError(f"{where}: the skills file has no agent {agent!r}")
    scorer = entry.get("scorer", "exact") if isinstance(entry, dict) else None
    if scorer not in SCORERS:
        raise BrokenWorldError(f"{where}: agents.{agent}.scorer must be one of {', '.join(SCORERS)}")
    return str(scorer)


def _rule(entry: Any, agents: Collection[str], where: str) -> Rule:
    if not isinstance(entry, dict):
        raise BrokenWorldError(f"{where}: not a table")
    unknown = sorted(set(entry) - _RULE_KEYS)
    if unknown:
        raise BrokenWorldError(f"{where}: unknown key {unknown[0]!r}")
    agent = _text(entry, "agent", where)
    if agent not in agents:
        raise BrokenWorldError(f"{where}: agent {agent!r} is not under [agents]")
    wave = entry.get("wave")
    if not isinstance(wave, int) or wave < 1:
        raise BrokenWorldError(f"{where}: wave must be a whole number from 1")
    rule = Rule(
        name=_text(entry, "name", where),
        agent=agent,
        wave=wave,
        intent=_text(entry, "intent", where),
        reply=_text(entry, "reply", where),
        comment=_text(entry, "comment", where),
        near=_texts(entry, "near", where),
        when=_texts(entry, "when", where),
        unless=_texts(entry, "unless", where),
        ends=_text(entry, "ends", where) if "ends" in entry else "",
    )
    if not rule.near:
        raise BrokenWorldError(f"{where}: at least one near miss is needed")
    return rule


def _check_slots(rule: Rule, world: World, where: str) -> None:
    """Check that every slot of the rule has a value in each prompt that it is about."""
    acting = world.acting if world.acting and world.acting.agent == rule.agent else None
    intents: Collection[str] = acting.requests if acting else world.skills.agents[rule.agent].intents
    conditions = "".join(f"<{slot}>" for slot in (*rule.when, *rule.unless))
    for intent, text in ((rule.intent, rule.reply + rule.ends + conditions), *rule.near.items()):
        if intent not in intents:
            raise BrokenWorldError(f"{where}: agent {rule.agent!r} has no intent {intent!r}")
        known = acting.slots_of(intent) if acting else world.skills.slots_of(rule.agent, intent)
        for slot in slots_in(text):
            if slot not in known:
                raise BrokenWorldError(f"{where}: prompts of {intent!r} have no slot <{slot}>")


def _check_waves(world: World, where: str) -> None:
    """Check that every agent has waves 1, 2, ... without a gap."""
    for agent in world.agents:
        waves = sorted({rule.wave for rule in world.rules if rule.agent == agent})
        if not waves or waves != list(range(1, len(waves) + 1)):
            raise BrokenWorldError(
                f"{where}: the waves of {agent!r} must be 1, 2, ... without a gap, not {waves}"
            )


def _check_draws(world: World, where: str) -> None:
    """Check that every rule fires on some prompts, not on its near misses, and changes the reply."""
    source = SlotValues(random.Random(0), read_words(), held_out=False)
    for rule in world.rules:
        prompts = [world.ask(source, rule.agent, rule.intent) for _ in range(_DRAWS)]
        if not any(rule.fires_on(prompt) for prompt in prompts):
            raise BrokenWorldError(f"{where}: rule {rule.name!r} never fires: its condition is never met")
        if rule.intent in rule.near and all(rule.fires_on(prompt) for prompt in prompts):
            raise BrokenWorldError(
                f"{where}: rule {rule.name!r} has no near miss in {rule.intent!r}: it always fires"
            )
        if rule.reply == _own_reply(rule, world):
            raise BrokenWorldError(f"{where}: rule {rule.name!r} wants the reply that the base gives anyway")


def _own_reply(rule: Rule, world: World) -> str:
    """How the base replies to what the rule is about; a call as a world file spells it."""
    if world.acting is None or rule.agent != world.acting.agent:
        return world.skills.agents[rule.agent].intents[rule.intent].reply
    act = world.acting.requests[rule.intent].act
    return f'[{{"name":"{act.name}","arguments":{act.arguments}}}]'


def _table(table: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = table.get(key)
    if not isinstance(value, dict) or not value:
        raise BrokenWorldError(f"{where}: no [{key}]")
    return value


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise BrokenWorldError(f"{where}: {key!r} must be a text")
    return value


def _texts(table: Mapping[str, Any], key: str, where: str) -> dict[str, str]:
    value = table.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise BrokenWorldError(f"{where}: {key!r} must be a table of texts")
    return dict(value)
