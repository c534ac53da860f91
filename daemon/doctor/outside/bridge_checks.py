"""Checks of the bridges: whether tools answer with our keys, and what people say there would be believed."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from daemon.doctor.agent_checks import known_agents
from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.roles.bridge import polled_tool
from daemon.setting_groups.bridges import CALLING
from daemon.settings import Settings
from daemon.signers import why_not_believed
from feedback.bridges.annotation import source_of
from feedback.bridges.journal import SUFFIX
from feedback.bridges.tool_client import ToolAway


def bridge_checks(settings: Settings) -> list[CheckGroup]:
    """The checks of the tools and repositories that the settings name; none where they name none."""
    if not settings.bridges.tools and not settings.git.repositories:
        return []
    return [
        CheckGroup(
            name="bridges",
            checks=(
                HealthCheck(name="sources", run=lambda: _are_believed(settings)),
                HealthCheck(name="agents", run=lambda: _have_agents(settings)),
                HealthCheck(name="journals", run=lambda: _can_write(settings)),
                HealthCheck(name="mirrors", run=lambda: _have_mirrors(settings)),
                HealthCheck(name="tools", run=lambda: _answer(settings)),
            ),
        )
    ]


def _are_believed(settings: Settings) -> Iterator[FoundFault]:
    for name in settings.bridges.tools:
        if (why := why_not_believed(settings.feedback, source_of(name))) is not None:
            yield Fault.BRIDGE_SOURCE.at(name, why)


def _have_agents(settings: Settings) -> Iterator[FoundFault]:
    agents = {*settings.agents, *known_agents(settings)}
    named = {name: tool.agent for name, tool in settings.bridges.tools.items()}
    named |= {name: repository.agent for name, repository in settings.git.repositories.items()}
    for name, agent in named.items():
        if agent is not None and agent not in agents:
            yield Fault.BRIDGE_AGENT.at(name, "the agent that it is about was not declared")


def _can_write(settings: Settings) -> Iterator[FoundFault]:
    if not settings.bridges.tools:
        raise Undone("repositories have no journal")
    folder = settings.bridges.path
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    paths = [existing, *(folder / f"{name}{SUFFIX}" for name in settings.bridges.tools)]
    if not all(os.access(path, os.W_OK) for path in paths if path.exists()) or not existing.is_dir():
        yield Fault.BRIDGE_JOURNAL.at(str(folder), "a journal cannot be written there")


def _have_mirrors(settings: Settings) -> Iterator[FoundFault]:
    if not settings.git.repositories:
        raise Undone("git.repositories names none")
    for name, repository in settings.git.repositories.items():
        if not _is_repository(repository.path):
            yield Fault.BRIDGE_MIRROR.at(name, f"{repository.path} is no git repository")


def _is_repository(path: Path) -> bool:
    return (path / "HEAD").is_file() or (path / ".git").exists()


def _answer(settings: Settings) -> Iterator[FoundFault]:
    polled = {name: tool for name, tool in settings.bridges.tools.items() if tool.kind not in CALLING}
    if not polled:
        raise Undone("no tool is asked: they call the bridge")
    for name, tool in polled.items():
        with ExitStack() as stack:
            try:
                next(polled_tool(name, tool, stack).items(datetime.now(UTC)), None)
            except ToolAway as fault:
                yield Fault.BRIDGE_TOOL.at(name, f"{tool.kind} does not answer as expected: {fault}")
