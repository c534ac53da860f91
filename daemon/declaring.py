"""From an agent's settings to the agent that the ledger knows: on which base, and how it is taught."""

from pathlib import Path

from daemon.settings import AgentSettings
from engine import base_memory
from engine.base_files import base_hash
from ledger.learning.agents import Agent


class BaseMissing(Exception):
    """The base's files cannot be read where `engine.base` says they are. One line for a person."""


MEMORY = ".base-hashes.json"
"""In the adapter store: which files were read and what their hash was. Without it they are read again."""


def hash_of_base(base: Path, store: Path) -> str:
    """Which base that directory holds. Raises `BaseMissing`.

    Read once, not at every start of every role: what is known of untouched files is kept in the store.
    """
    base_memory.recall(store / MEMORY)
    try:
        found = base_hash(base)
    except (OSError, ValueError) as fault:
        raise BaseMissing(f"engine.base: {fault}") from None
    base_memory.keep(store / MEMORY)
    return found


def agent_of(name: str, settings: AgentSettings, on: str) -> Agent:
    """The agent as the ledger is told of it; `on` is its base's hash."""
    return Agent(name=name, base_hash=on, **dict(settings))
