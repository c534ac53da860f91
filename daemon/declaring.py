"""From an agent's settings to the agent that the ledger knows: on which base, and how it is taught."""

from functools import cache
from pathlib import Path

from daemon.settings import AgentSettings
from engine.base_files import base_hash
from ledger.agents import Agent


class BaseMissing(Exception):
    """The base's files cannot be read where `engine.base` says they are. One line for a person."""


@cache
def hash_of_base(base: Path) -> str:
    """Which base that directory holds. Raises `BaseMissing`.

    Read once a process: a base is large, and does not change while a role runs.
    """
    try:
        return base_hash(base)
    except (OSError, ValueError) as fault:
        raise BaseMissing(f"engine.base: {fault}") from None


def agent_of(name: str, settings: AgentSettings, on: str) -> Agent:
    """The agent as the ledger is told of it; `on` is its base's hash."""
    return Agent(name=name, base_hash=on, **dict(settings))
