"""`clorad agents`: who learns, and declaring one more."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from daemon.commands.ledger import opened, reading
from daemon.console import CommandFailed, ago, console, show_json, table
from daemon.declaring import BaseMissing, agent_of, hash_of_base
from daemon.exit_codes import ExitCode
from daemon.settings import AgentSettings, Settings
from daemon.settings_file import one_line
from ledger.learning.agents import all_agents, declare
from ledger.learning.backlog import backlogs
from ledger.versions.desired import Purpose, wanted


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
    try:
        taught = AgentSettings(
            scorer=scorer,  # type: ignore[arg-type]  # pydantic looks
            capture=capture,
            weight=weight,
            tokens_per_hour_max=tokens_per_hour_max,
            recipe=_changes(recipe),
        )
        agent = agent_of(name, taught, hash_of_base(settings.engine.base, settings.store.path))
    except ValidationError as refusal:
        raise CommandFailed(f"--{one_line(refusal)}", code=ExitCode.USAGE) from None
    except BaseMissing as missing:
        raise CommandFailed(str(missing), code=ExitCode.CHANGE_NEEDED) from None
    with opened(settings) as database:
        try:
            is_new = declare(database, agent)
        except ValueError as refusal:
            raise CommandFailed(str(refusal)) from None
    return f"{name} {'declared' if is_new else 'brought up to date'}, on base {agent.base_hash[:12]}"


def _changes(given: Sequence[str]) -> dict[str, Any]:
    """`rank=8` and the like, as JSON values."""
    changes: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise CommandFailed("--recipe: NAME=VALUE, as in --recipe rank=8", code=ExitCode.USAGE)
        try:
            changes[name] = json.loads(value)
        except ValueError:
            raise CommandFailed(
                f"--recipe {name}: a JSON value, as in 8, 0.5 or true", code=ExitCode.USAGE
            ) from None
    return changes
