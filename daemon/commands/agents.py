"""`clorad agents`: who learns, and declaring one more."""

import json
from collections.abc import Sequence
from typing import Any

from daemon.commands.ledger import opened, reading
from daemon.console import CommandFailed, ago, console, show_json, table
from daemon.settings import Settings
from engine.base_files import base_hash
from engine.recipe import recipe_from
from ledger.agents import Agent, all_agents, declare
from ledger.backlog import backlogs
from ledger.versions import Purpose, wanted

SCORERS = ("exact", "json", "similarity")


def show(settings: Settings, *, as_json: bool) -> None:
    """Print the agents and how they are taught."""
    with reading(settings) as connection:
        agents = all_agents(connection)
        waiting = {one.agent: one for one in backlogs(connection)}
        serving = {one.agent: one for one in wanted(connection) if one.purpose is Purpose.SERVE}
    if as_json:
        shown = [
            {
                "name": agent.name,
                "base_hash": agent.base_hash,
                "scorer": agent.scorer,
                "recipe": dict(agent.recipe),
                "capture": agent.capture,
                "weight": agent.weight,
                "tokens_per_hour_max": agent.tokens_per_hour_max,
                "champion": waiting[agent.name].champion,
                "untaught": waiting[agent.name].untaught,
            }
            for agent in agents.values()
        ]
        show_json(shown)
        return
    rows = table(
        "AGENT", "SERVES", "SINCE", ">WAITING", "BASE", "SCORER", "CAPTURE", ">WEIGHT", ">QUOTA", "RECIPE"
    )
    for agent in agents.values():
        row = serving.get(agent.name)
        rows.add_row(
            agent.name,
            "v0" if row is None or row.version is None else row.version.name,
            ago(None if row is None else row.since_s),
            str(waiting[agent.name].untaught),
            agent.base_hash[:12],
            agent.scorer,
            "on" if agent.capture else "off",
            f"{agent.weight:g}",
            "–" if agent.tokens_per_hour_max is None else f"{agent.tokens_per_hour_max:,}/h",
            ", ".join(f"{name}={value}" for name, value in agent.recipe.items()) or "default",
        )
    console().print(
        rows if agents else "no agents yet: declare one under [agents.NAME] or `clorad agents add`"
    )


def add(
    settings: Settings,
    name: str,
    *,
    scorer: str,
    capture: bool,
    weight: float,
    tokens_per_hour_max: int | None,
    recipe: Sequence[str],
) -> str:
    """The agent is declared, or its settings brought up to date. Returns what was done."""
    if scorer not in SCORERS:
        raise CommandFailed(f"--scorer: one of {', '.join(SCORERS)}", code=2)
    changes = _recipe(recipe)
    try:
        on = base_hash(settings.engine.base)
    except (OSError, ValueError) as fault:
        raise CommandFailed(f"engine.base: {fault}", code=78) from None
    agent = Agent(
        name=name,
        base_hash=on,
        scorer=scorer,
        recipe=changes,
        capture=capture,
        weight=weight,
        tokens_per_hour_max=tokens_per_hour_max,
    )
    with opened(settings) as database:
        try:
            is_new = declare(database, agent)
        except ValueError as refusal:
            raise CommandFailed(str(refusal)) from None
    return f"{name} {'declared' if is_new else 'brought up to date'}, on base {on[:12]}"


def _recipe(given: Sequence[str]) -> dict[str, Any]:
    """`rank=8` and the like, checked against what a recipe has."""
    changes: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise CommandFailed("--recipe: NAME=VALUE, as in --recipe rank=8", code=2)
        try:
            changes[name] = json.loads(value)
        except ValueError:
            raise CommandFailed(f"--recipe {name}: a JSON value, as in 8, 0.5 or true", code=2) from None
    try:
        recipe_from(changes)
    except (ValueError, TypeError, AssertionError) as refusal:
        raise CommandFailed(f"--recipe: {refusal or 'out of range'}", code=2) from None
    return changes
