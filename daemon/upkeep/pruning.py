"""Prunes the adapter store: removes versions that are no longer needed and folders that killed learners left.

It may be killed anywhere and may run beside every role. It marks versions in the ledger before it removes
their folders. It renames folders that the ledger does not know under the ledger's write lock, so that no
learner can begin to use one meanwhile.
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
"""Seconds without a change after which a leftover is removed: a learner with a void turn may still write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedFolder:
    """One folder that was removed, or would be."""

    agent: str
    name: str  # of the version, or of the folder
    why: str
    size_bytes: int  # 0 if it was removed already


def prune(
    database: Database, store: Path, agents: Iterable[str], *, keep: int, quiet_s: float = QUIET_S
) -> list[PrunedFolder]:
    """Remove those of these agents' folders that are no longer needed.

    Raises `OSError` if the store is away or cannot be written. Versions that were marked before that are
    removed the next time.
    """
    store.stat()  # a store that is not mounted would look empty
    if not os.access(store, os.W_OK):  # replicas and the fleet role may only read it
        raise PermissionError(errno.EACCES, "may only be read here; the learners write it")
    return [folder for agent in agents for folder in _prune(database, store, agent, keep, quiet_s)]


def prunable_folders(
    database: Database, store: Path, agents: Iterable[str], *, keep: int, quiet_s: float = QUIET_S
) -> list[PrunedFolder]:
    """The folders that `prune` would remove now; nothing is changed."""
    store.stat()
    removed: list[PrunedFolder] = []
    for agent in agents:
        with database.read() as connection:
            unneeded = pruning.unneeded(connection, agent, keep=keep)
            agent_versions, writers = versions_of(connection, agent), pruning.writers(connection, agent)
        quiet_folders = [
            folder for folder in adapter_store.folders(store, agent) if _is_quiet(folder, quiet_s)
        ]
        removed += [
            _pruned_folder(version.agent, version.name, "nobody needs it", store / version.path)
            for version in unneeded
        ]
        removed += [
            _pruned_folder(agent, folder.path.name, why, folder.path)
            for folder in quiet_folders
            if (why := _leftover_reason(folder, agent_versions, writers))
        ]
    return removed


def _prune(database: Database, store: Path, agent: str, keep: int, quiet_s: float) -> list[PrunedFolder]:
    quiet_folders = [folder for folder in adapter_store.folders(store, agent) if _is_quiet(folder, quiet_s)]
    with database.read() as connection:  # without the write lock, because most agents have nothing to prune
        idle = not quiet_folders and not pruning.unneeded(connection, agent, keep=keep)
    if idle:
        return []
    removed: list[PrunedFolder] = []
    marked: list[Path] = []
    with database.write() as connection:
        agent_versions, writers = versions_of(connection, agent), pruning.writers(connection, agent)
        unneeded = pruning.unneeded(connection, agent, keep=keep)
        pruning.mark(connection, unneeded)
        for folder in quiet_folders:
            if why := _leftover_reason(folder, agent_versions, writers):
                removed.append(_pruned_folder(agent, folder.path.name, why, folder.path))
                marked.append(
                    folder.path if folder.is_being_removed else adapter_store.mark_for_removal(folder.path)
                )
    for version in unneeded:  # after the commit: until then the ledger says that their folders are there
        directory = store / version.path
        removed.append(_pruned_folder(agent, version.name, "nobody needs it", directory))
        if directory.exists():
            marked.append(adapter_store.mark_for_removal(directory))
    for path in dict.fromkeys(marked):  # two may have the same name
        adapter_store.remove(path)
    return removed


def _leftover_reason(folder: Folder, agent_versions: list[Version], writers: Writers) -> str:
    """Why no role needs the folder and no learner can make a version of it; empty if one may."""
    if folder.is_being_removed:
        return "a removal that was not finished"
    if folder.draft is not None:
        return "" if folder.draft in writers.drafts else "a draft that its learner left"
    of_name = [version for version in agent_versions if Path(version.path).name == folder.path.name]
    if of_name:
        return "pruned before" if of_name[0].pruned_s is not None else ""
    return "" if folder.number in writers.numbers else "the ledger knows no such version"


def _is_quiet(folder: Folder, quiet_s: float) -> bool:
    return folder.is_being_removed or time.time() - adapter_store.last_written_s(folder.path) >= quiet_s


def _pruned_folder(agent: str, name: str, why: str, path: Path) -> PrunedFolder:
    size_bytes = adapter_store.size_bytes(path) if path.exists() else 0
    return PrunedFolder(agent=agent, name=name, why=why, size_bytes=size_bytes)
