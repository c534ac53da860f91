"""Making room in the adapter store: versions that nobody needs, and what killed learners left behind.

Safe to kill anywhere and to run beside everything: the ledger is told before anything goes, and what it does
not know is set aside under its write lock, when nobody can begin to count on it.
"""

import errno
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine import adapter_store
from engine.adapter_store import Folder
from ledger.database import Database
from ledger.upkeep import pruning
from ledger.upkeep.pruning import Writers
from ledger.versions.lineage import Version, versions_of

QUIET_S = 3600.0
"""How long leftovers must lie untouched: a learner whose turn is void is let finish its writing in peace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """One folder that goes."""

    agent: str
    name: str  # of the version, or of the folder
    why: str
    size_bytes: int  # 0 where it was gone already


def prune(
    database: Database, store: Path, agents: Iterable[str], *, keep: int, quiet_s: float = QUIET_S
) -> list[Gone]:
    """These agents' folders that nobody needs are gone.

    Raises `OSError` where the store is away or cannot be written; what is marked by then goes the next time.
    """
    store.stat()  # a store that is not mounted would look empty
    if not os.access(store, os.W_OK):  # replicas and the fleet role may only read it
        raise PermissionError(errno.EACCES, "may only be read here; learners write it")
    return [one for agent in agents for one in _prune(database, store, agent, keep, quiet_s)]


def would_go(
    database: Database, store: Path, agents: Iterable[str], *, keep: int, quiet_s: float = QUIET_S
) -> list[Gone]:
    """What `prune` would remove as things stand; nothing is changed."""
    store.stat()
    found: list[Gone] = []
    for agent in agents:
        with database.read() as connection:
            going = pruning.unneeded(connection, agent, keep=keep)
            known, writers = versions_of(connection, agent), pruning.writers(connection, agent)
        lying = [folder for folder in adapter_store.folders(store, agent) if _lies_still(folder, quiet_s)]
        found += [_gone(one.agent, one.name, "nobody needs it", store / one.path) for one in going]
        found += [
            _gone(agent, folder.path.name, why, folder.path)
            for folder in lying
            if (why := _leftover(folder, known, writers))
        ]
    return found


def _prune(database: Database, store: Path, agent: str, keep: int, quiet_s: float) -> list[Gone]:
    lying = [folder for folder in adapter_store.folders(store, agent) if _lies_still(folder, quiet_s)]
    with database.read() as connection:  # who finds nothing to do needs no lock
        idle = not lying and not pruning.unneeded(connection, agent, keep=keep)
    if idle:
        return []
    found: list[Gone] = []
    leaving: list[Path] = []
    with database.write() as connection:
        known, writers = versions_of(connection, agent), pruning.writers(connection, agent)
        going = pruning.unneeded(connection, agent, keep=keep)
        pruning.mark(connection, going)
        for folder in lying:
            if why := _leftover(folder, known, writers):
                found.append(_gone(agent, folder.path.name, why, folder.path))
                leaving.append(folder.path if folder.is_going else adapter_store.set_aside(folder.path))
    for one in going:  # only now: until the transaction is kept, the ledger believes in them
        directory = store / one.path
        found.append(_gone(agent, one.name, "nobody needs it", directory))
        if directory.exists():
            leaving.append(adapter_store.set_aside(directory))
    for path in dict.fromkeys(leaving):  # one may have taken the name of what lay there
        adapter_store.remove(path)
    return found


def _leftover(folder: Folder, known: list[Version], writers: Writers) -> str:
    """Why nobody can need the folder and nobody's writing in it can become a version; empty where one may."""
    if folder.is_going:
        return "somebody was killed while removing it"
    if folder.draft is not None:
        return "" if folder.draft in writers.drafts else "a draft that its learner left"
    here = [one for one in known if Path(one.path).name == folder.path.name]
    if here:
        return "pruned before" if here[0].pruned_s is not None else ""
    return "" if folder.number in writers.numbers else "the ledger knows no such version"


def _lies_still(folder: Folder, quiet_s: float) -> bool:
    return folder.is_going or time.time() - adapter_store.touched_s(folder.path) >= quiet_s


def _gone(agent: str, name: str, why: str, path: Path) -> Gone:
    size_bytes = adapter_store.size_bytes(path) if path.exists() else 0
    return Gone(agent=agent, name=name, why=why, size_bytes=size_bytes)
