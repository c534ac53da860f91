"""Makes the ledger's agents from the settings, with the hash of their base."""

from pathlib import Path

from daemon.settings import AgentSettings
from engine import file_hash_cache
from engine.base_files import base_hash
from ledger.intake.ownership import levels_from
from ledger.learning.agents import Agent


class BaseMissing(Exception):
    """The files of the base cannot be read at `engine.base`. The text is one line for a person."""


MEMORY = ".base-hashes.json"
"""A file in the adapter store that remembers the hashes of files. Without it all files are read again."""


def hash_of_base(base: Path, store: Path) -> str:
    """The hash of the base in that directory. Raises `BaseMissing`.

    The first role that starts reads the files; later ones read from the store the hashes of unchanged files.
    """
    file_hash_cache.load(store / MEMORY)
    try:
        content_hash = base_hash(base)
    except (OSError, ValueError) as fault:
        raise BaseMissing(f"engine.base: {fault}") from None
    file_hash_cache.save(store / MEMORY)
    return content_hash


def agent_of(name: str, settings: AgentSettings, base_hash: str) -> Agent:
    """The agent for the ledger, with the hash of its base."""
    own = {**dict(settings), "trust": levels_from(settings.trust.model_dump())}
    return Agent(name=name, base_hash=base_hash, **own)
