"""`clorad agents`: lists the agents with their settings, or declares one."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from daemon import setting_checks
from daemon.commands.ledger import opened, reading
from daemon.console import CommandFailed, ago, console, show_json, table
from daemon.declaring import BaseMissing, agent_of, hash_of_base
from daemon.exit_codes import ExitCode
from daemon.feedback_settings import TrustSettings
from daemon.settings import AgentSettings, Settings
from daemon.settings_file import one_line
from daemon.terminal.progress import working
from ledger.learning.agents import declare
from ledger.reports.agent_list import AgentSummary, agent_list
from ledger.versions.gate_modes import GateMode


def show(settings: Settings, *, as_json: bool) -> None:
    """Print the agents and their settings."""
    with reading(settings) as connection:
        summaries = agent_list(connection)
    if as_json:
        show_json([summary.to_json() for summary in summaries])
    elif summaries:
        _render(summaries)
    else:
        console().print("no agents yet: declare one under [agents.NAME] or with `clorad agents add`")


def add(
    settings: Settings,
    name: str,
    *,
    scorer: str,
    capture: bool,
    weight: float,
    tokens_per_hour_max: int | None,
    canary_share: float | None,
    confirm: bool,
    gate: GateMode,
    recipe: Sequence[str],
) -> str:
    """Declare the agent, or bring its settings up to date. Returns a sentence that says which."""
    try:
        setting_checks.scorer(scorer, settings.scorers, setting="--scorer")
    except ValueError as refusal:
        raise CommandFailed(str(refusal), code=ExitCode.USAGE) from None
    try:
        agent_settings = AgentSettings(
            scorer=scorer,
            capture=capture,
            weight=weight,
            tokens_per_hour_max=tokens_per_hour_max,
            canary_share=canary_share,
            confirm=confirm,
            gate=gate,
            recipe=_recipe_changes(recipe),
            trust=settings.agents[name].trust if name in settings.agents else TrustSettings(),
        )
        with working("reading the base"):
            base_hash = hash_of_base(settings.engine.base, settings.store.path)
        agent = agent_of(name, agent_settings, base_hash)
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


def _render(summaries: Sequence[AgentSummary]) -> None:
    rows = table(
        "AGENT",
        "SERVES",
        "SINCE",
        ">WAITING",
        "BASE",
        "SCORER",
        "GATE",
        "CAPTURE",
        ">WEIGHT",
        ">QUOTA",
        "RECIPE",
    )
    for summary in summaries:
        agent = summary.agent
        rows.add_row(
            agent.name,
            summary.champion_name,
            ago(summary.since_s),
            str(summary.untaught),
            agent.base_hash[:12],
            agent.scorer,
            agent.gate.value,
            "on" if agent.capture else "off",
            f"{agent.weight:g}",
            "–" if agent.tokens_per_hour_max is None else f"{agent.tokens_per_hour_max:,}/h",
            ", ".join(f"{name}={value}" for name, value in agent.recipe.items()) or "default",
        )
    console().print(rows)


def _recipe_changes(options: Sequence[str]) -> dict[str, Any]:
    """The values of options such as `rank=8`, read as JSON."""
    changes: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise CommandFailed("--recipe: NAME=VALUE, as in --recipe rank=8", code=ExitCode.USAGE)
        try:
            changes[name] = json.loads(value)
        except ValueError:
            raise CommandFailed(
                f"--recipe {name}: a JSON value, as in 8, 0.5 or true", code=ExitCode.USAGE
            ) from None
    return changes
